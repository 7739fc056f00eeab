//! The *Logs* tab: logs of the last build and of running releases.

use std::convert::Infallible;

use axum::extract::State;
use axum::http::header;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt, TryStreamExt};
use serde::Deserialize;

use super::history_views::{LOG_SOURCES, LogRow, LogSource, LogsTab};
use super::page::show;
use super::query::AppQuery;
use crate::domain::{App, AppName, Bytes, Environment, LogStream};
use crate::error::{AppResult, ErrorKind};
use crate::services::Services;
use crate::web::Web;
use crate::web::chrome::Chrome;
use crate::web::extract::{Path, Query};
use crate::web::format;
use crate::web::reply::{self, Caller};

/// Maximum lines on the page; a link opens the rest.
const LINES_SHOWN: usize = 2_000;
/// Maximum lines in one message to the browser.
const BATCH: usize = 200;

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Source {
    #[default]
    Build,
    Preview,
    Prod,
}

impl Source {
    fn shown(self) -> LogSource {
        LOG_SOURCES[self as usize]
    }

    fn environment(self) -> Option<Environment> {
        match self {
            Self::Build => None,
            Self::Preview => Some(Environment::Preview),
            Self::Prod => Some(Environment::Prod),
        }
    }
}

/// The query parameters.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct LogQuery {
    source: Source,
}

/// `GET /apps/{app}/logs`
pub async fn tab(
    State(web): State<Web>,
    chrome: Chrome,
    caller: Caller,
    Path(name): Path<AppName>,
    Query(query): Query<LogQuery>,
) -> AppResult<Response> {
    let services = &web.services;
    let app = services.app(&name).await?;
    let source = query.source;
    let is_job = services.answers_http(&app).is_ok_and(|answers| !answers);
    let deployed = source.environment().is_some_and(|environment| app.environment(environment).release.is_some());
    let runs = deployed && !is_job;
    let notice = match source.environment().filter(|_| runs) {
        Some(environment) => services.app_log_rate(&app, environment).await.map(|rate| {
            let (lines, bytes) = (format::count(rate.lines, "line", "lines"), Bytes(rate.bytes));
            format!(
                "This app prints about {lines} ({bytes}) a second. Its log keeps the last 20 MiB, and drops lines \
                 when the app prints faster than they can be stored."
            )
        }),
        None => None,
    };
    // One more than is shown, to know whether there are earlier ones.
    let lines = match lines(services, &app, source, u32::try_from(LINES_SHOWN + 1).unwrap_or(u32::MAX)).await {
        Ok(lines) => lines,
        // The page still opens and shows why there is no log.
        Err(error) if error.kind == ErrorKind::Unavailable => vec![(LogStream::Deploy, error.detail)],
        Err(error) => return Err(error),
    };
    let earlier = lines.len().saturating_sub(LINES_SHOWN);
    let rows =
        lines.into_iter().skip(earlier).map(|(stream, text)| LogRow { deploy: stream == LogStream::Deploy, text });
    let stage = reply::render(&LogsTab {
        app: &app.name,
        sources: LOG_SOURCES,
        source: source.shown(),
        lines: rows.collect(),
        earlier,
        earlier_words: match source {
            Source::Build => format::count(earlier as u64, "earlier line is", "earlier lines are"),
            // How many there are is not known: only the end of an app's log is read.
            Source::Preview | Source::Prod => "Earlier lines are".to_owned(),
        },
        live: runs,
        notice,
        nothing: match source {
            Source::Preview | Source::Prod if is_job => "Each run has its own log: see Runs in the Preview tab.",
            Source::Build => "There is no build yet.",
            Source::Preview => "Nothing runs in preview.",
            Source::Prod => "Nothing runs in production.",
        },
    })?;
    show(services, chrome, caller, &app, "logs", stage, &AppQuery::default()).await
}

/// The lines of a log: at most `tail` last lines of an app's log, or all stored lines of a build's log.
async fn lines(services: &Services, app: &App, source: Source, tail: u32) -> AppResult<Vec<(LogStream, String)>> {
    match source.environment() {
        Some(_) if services.answers_http(app).is_ok_and(|answers| !answers) => Ok(Vec::new()),
        None => Ok(services.build_log(app).await?.map(|(_, lines)| lines).unwrap_or_default()),
        Some(environment) => {
            let lines = services.app_log_lines(app, environment, tail).await?;
            Ok(lines.into_iter().map(|line| (LogStream::App, line)).collect())
        }
    }
}

/// `GET /apps/{app}/logs.txt`
pub async fn text(
    State(web): State<Web>,
    Path(name): Path<AppName>,
    Query(query): Query<LogQuery>,
) -> AppResult<Response> {
    let app = web.services.app(&name).await?;
    let mut text = String::new();
    for (_, line) in lines(&web.services, &app, query.source, u32::MAX).await? {
        text.push_str(&line);
        text.push('\n');
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")], text)
        .into_response())
}

/// `GET /apps/{app}/logs/stream`: an app's live log. Each connection starts again with the last
/// lines, so a page that reconnects shows each line once.
pub async fn stream(
    State(web): State<Web>,
    Path(name): Path<AppName>,
    Query(query): Query<LogQuery>,
) -> AppResult<Sse<impl Stream<Item = Result<Event, Infallible>> + Send>> {
    let app = web.services.app(&name).await?;
    let environment = query.source.environment().unwrap_or(Environment::Preview);
    let tail = u32::try_from(LINES_SHOWN).unwrap_or(u32::MAX);
    let lines = web.services.app_log(&app, environment, tail, true);
    let begin = futures_util::stream::once(async { Ok(Event::default().event("reset").data("{}")) });
    let batches = lines.map_ok(Some).or_else(async |_| Ok::<_, Infallible>(None)).ready_chunks(BATCH).map(|batch| {
        let lines: Vec<String> = batch.into_iter().filter_map(|line| line.ok().flatten()).collect();
        let json = serde_json::json!({ "lines": lines }).to_string();
        Ok(Event::default().event("lines").data(json))
    });
    Ok(Sse::new(begin.chain(batches)).keep_alive(KeepAlive::default()))
}
