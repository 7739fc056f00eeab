//! The *Logs* tab: logs of the last build and of running releases.

use std::convert::Infallible;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt};
use serde::Deserialize;

use super::log_views::{
    Address, Found, LOG_SOURCES, LogRow, LogRows, LogSource, LogsTab, level_choices, log_tab_parts,
};
use super::page::show;
use super::query::AppQuery;
use crate::domain::{App, AppName, Bytes, Environment};
use crate::error::{AppError, AppResult, ErrorKind};
use crate::output::LogLine;
use crate::output::level::{Levels, LogLevel};
use crate::output::needle::Needle;
use crate::output::window::{Place, Selection, Shown, WINDOW_LINES, Window};
use crate::services::Services;
use crate::services::logs::LogPart;
use crate::web::Web;
use crate::web::chrome::Chrome;
use crate::web::extract::{Path, Query};
use crate::web::format;
use crate::web::reply::{self, Caller};
use crate::web::visible;

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

/// The query parameters. A form sends all of its fields, including empty ones.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct LogQuery {
    source: Source,
    q: String,
    level: String,
    /// The line around which lines are shown.
    at: Option<i64>,
    /// The last line that an open page has.
    after: Option<i64>,
}

impl LogQuery {
    fn selection(&self) -> AppResult<Selection> {
        let level = match self.level.as_str() {
            "" => None,
            key => Some(LogLevel::ALL.into_iter().find(|level| level.key() == key).ok_or_else(|| {
                AppError::bad_request("This address cannot be read: level is debug, info, warn or error.")
            })?),
        };
        Ok(Selection { level, needle: Needle::new(&self.q) })
    }

    fn place(&self) -> Place {
        match self.at {
            Some(id) => Place::Line(id),
            None if Needle::new(&self.q).is_some() => Place::LastFound,
            None => Place::End,
        }
    }
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
    let (source, selection) = (query.source, query.selection()?);
    let is_job = services.answers_http(&app).is_ok_and(|answers| !answers);
    let deployed = source.environment().is_some_and(|environment| app.environment(environment).release.is_some());
    let runs = deployed && !is_job;
    // The page still opens and shows why there is no log.
    let (part, problem) = match part(services, &app, source, selection.clone(), query.place()).await {
        Ok(part) => (part, None),
        Err(error) if error.kind == ErrorKind::Unavailable => {
            (LogPart { window: Window::default(), is_counted: true, is_cut: false }, Some(error.detail))
        }
        Err(error) => return Err(error),
    };
    let window = &part.window;
    let address = Address { app: &app.name, source: source.shown(), selection: &selection };
    let is_live = runs && problem.is_none() && query.place() == Place::End;
    let stage = reply::render(&LogsTab {
        app: &app.name,
        parts: log_tab_parts(&app.name, source.shown().title),
        source: source.shown(),
        rows: LogRows { address: &address, rows: LogRow::of_window(window, selection.needle.as_ref(), services.now()) },
        words: selection.needle.as_ref().map_or("", Needle::words),
        levels: level_choices(selection.level),
        found: selection.needle.as_ref().map(|_| Found::new(window, &address)),
        earlier: earlier(&part, &address),
        later: later(window, &address),
        stream: is_live.then(|| address.stream(window.lines.last().and_then(|line| line.id))),
        end: (query.place() != Place::End).then(|| address.end()),
        has_usage: runs,
        notice: notice(services, &app, source.environment().filter(|_| is_live), part.is_cut).await,
        nothing: match (&problem, source) {
            (Some(problem), _) => problem,
            _ if selection.level.is_some() && (runs || query.source.environment().is_none()) => {
                "No line of this level."
            }
            (_, Source::Preview | Source::Prod) if is_job => "Each run has its own log: see Runs in the Preview tab.",
            (_, Source::Build) => "There is no build yet.",
            (_, Source::Preview | Source::Prod) if runs => "The app has printed nothing yet.",
            (_, Source::Preview) => "Nothing runs in preview.",
            (_, Source::Prod) => "Nothing runs in production.",
        },
    })?;
    show(services, chrome, caller, &app, "logs", stage, &AppQuery::default()).await
}

/// What is before the lines of a window, and its address.
fn earlier(part: &LogPart, address: &Address<'_>) -> Option<(String, String)> {
    let first = part.window.lines.first()?.id?;
    let words = match part.window.earlier {
        0 => return None,
        count if part.is_counted => format::count(count, "earlier line is", "earlier lines are"),
        // How many there are is not known: only the end of the log was read.
        _ => "Earlier lines are".to_owned(),
    };
    Some((words, address.line(first)))
}

fn later(window: &Window, address: &Address<'_>) -> Option<(String, String)> {
    let last = window.lines.last()?.id?;
    (window.later > 0).then(|| (format::count(window.later, "later line is", "later lines are"), address.line(last)))
}

async fn notice(services: &Services, app: &App, live: Option<Environment>, is_cut: bool) -> Option<String> {
    if is_cut {
        return Some("This log is too long to be read to its end: later lines are missing here.".to_owned());
    }
    let rate = services.app_log_rate(app, live?).await?;
    let (lines, bytes) = (format::count(rate.lines, "line", "lines"), Bytes(rate.bytes));
    Some(format!(
        "This app prints about {lines} ({bytes}) a second. Its log keeps the last 20 MiB, and drops lines \
         when the app prints faster than they can be stored."
    ))
}

async fn part(
    services: &Services,
    app: &App,
    source: Source,
    selection: Selection,
    place: Place,
) -> AppResult<LogPart> {
    match source.environment() {
        None => services.build_log_window(app, selection, place).await,
        Some(_) if services.answers_http(app).is_ok_and(|answers| !answers) => {
            Ok(LogPart { window: Window::default(), is_counted: true, is_cut: false })
        }
        Some(environment) => services.app_log_window(app, environment, selection, place).await,
    }
}

/// `GET /apps/{app}/logs.txt`: the whole log.
pub async fn text(
    State(web): State<Web>,
    Path(name): Path<AppName>,
    Query(query): Query<LogQuery>,
) -> AppResult<Response> {
    let services = &web.services;
    let app = services.app(&name).await?;
    let body = match query.source.environment() {
        None => {
            let lines = services.build_log(&app).await?.map(|(_, lines)| lines).unwrap_or_default();
            Body::from(lines.into_iter().map(|(_, line)| line + "\n").collect::<String>())
        }
        Some(_) if services.answers_http(&app).is_ok_and(|answers| !answers) => Body::empty(),
        Some(environment) => {
            let mut texts = services.app_log_text(&app, environment);
            // A log that cannot be read is answered with its error.
            match texts.next().await {
                Some(Ok(first)) => Body::from_stream(
                    futures_util::stream::iter([Ok(first)])
                        .chain(texts)
                        .map(|text| text.map_err(|error: AppError| std::io::Error::other(error.detail))),
                ),
                Some(Err(error)) if error.kind != ErrorKind::NotFound => return Err(error),
                Some(Err(_)) | None => Body::empty(),
            }
        }
    };
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, body).into_response())
}

/// `GET /apps/{app}/logs/stream`: new lines of an app's log, as HTML. After a disconnect the browser sends the id of the
/// last line that it received, so each line is shown once. If lines between are missing, the message *reset* clears the
/// page first.
pub async fn stream(
    State(web): State<Web>,
    Path(name): Path<AppName>,
    Query(query): Query<LogQuery>,
    headers: HeaderMap,
) -> AppResult<Sse<impl Stream<Item = Result<Event, Infallible>> + Send>> {
    let app = web.services.app(&name).await?;
    let source = query.source;
    let environment = source.environment().unwrap_or(Environment::Preview);
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.parse().ok());
    let batches = Batches {
        services: web.services.clone(),
        selection: query.selection()?,
        source: source.shown(),
        app,
        levels: Levels::default(),
        after: last.or(query.after),
        has_begun: false,
    };
    let tail = u32::try_from(WINDOW_LINES).unwrap_or(u32::MAX);
    let lines = web.services.app_log(&batches.app, environment, tail, true).ready_chunks(BATCH);
    let events = lines.scan(batches, |batches, lines| {
        let lines: Vec<LogLine> = lines.into_iter().filter_map(Result::ok).collect();
        std::future::ready(Some(batches.events(lines)))
    });
    let events = events.flat_map(|events| futures_util::stream::iter(events.into_iter().map(Ok)));
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

/// Renders new lines.
struct Batches {
    services: Services,
    app: App,
    source: LogSource,
    selection: Selection,
    levels: Levels,
    /// The last line that the page has.
    after: Option<i64>,
    has_begun: bool,
}

impl Batches {
    fn events(&mut self, lines: Vec<LogLine>) -> Vec<Event> {
        let mut events = Vec::new();
        let Some(first) = lines.first() else { return events };
        if !self.has_begun {
            self.has_begun = true;
            // The page's last line is not among the last lines any more, or belongs to another release.
            if self.after.is_none() || first.id().is_none() || first.id() > self.after {
                self.after = None;
                events.push(Event::default().event("reset").data("{}"));
            }
        }
        let now = self.services.now();
        let (mut rows, mut last) = (Vec::new(), None);
        for line in lines {
            let level = self.levels.next(&line.text);
            let id = line.id();
            // What follows the page's last line is new, even if its time is some microseconds earlier.
            let is_new = match (id, self.after) {
                (Some(id), Some(after)) => {
                    if id == after {
                        self.after = None;
                    }
                    id > after
                }
                _ => true,
            };
            if is_new && self.selection.shows(level) {
                last = id.or(last);
                rows.push(LogRow::new(&Shown::alone(line, level), None, false, now));
            }
        }
        let address = Address { app: &self.app.name, source: self.source, selection: &self.selection };
        if let Ok(html) = reply::render(&LogRows { address: &address, rows })
            && !html.is_empty()
        {
            let json = serde_json::json!({ "html": visible::in_html(html) }).to_string();
            let event = Event::default().event("lines").data(json);
            events.push(match last {
                Some(id) => event.id(id.to_string()),
                None => event,
            });
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::{Request, StatusCode};
    use jiff::{SignedDuration, Timestamp};
    use tower::ServiceExt;

    use super::*;
    use crate::domain::Principal;
    use crate::jobs::testing::Scene;
    use crate::web::samples;

    /// Pages over an app in preview, which has printed a line each millisecond.
    async fn printed(count: i64) -> (Scene, Router) {
        let scene = Scene::of("simple-api").await;
        scene.live(Environment::Preview).await;
        let start = Timestamp::from_second(1_795_000_000).expect("a time");
        let line = |number: i64| LogLine {
            at: Some(start + SignedDuration::from_millis(number)),
            text: match number % 1_000 {
                0 => format!("ERROR: <gauge> {number} is silent"),
                1 => format!("DEBUG line {number}"),
                _ => format!("line {number}"),
            },
        };
        scene.memory.with(|state| state.log = (1..=count).map(line).collect());
        let services = Services::new(scene.platform.clone(), scene.jobs.clone());
        let own = crate::api::router(services.clone()).merge(crate::web::router(services));
        (scene, own.layer(axum::Extension(Principal::Anyone)))
    }

    async fn get(router: &Router, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let response = router.clone().oneshot(request).await.expect("never fails");
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 10 << 20).await.expect("a body");
        (status, String::from_utf8(bytes.to_vec()).expect("text"))
    }

    async fn page(router: &Router, query: &str) -> samples::Selected {
        let (status, body) = get(router, &format!("/apps/tides/logs?source=preview{query}")).await;
        assert_eq!(status, StatusCode::OK, "{query}: {body}");
        samples::select(&body)
    }

    fn id(number: i64) -> i64 {
        1_795_000_000_000_000_000 + number * 1_000_000
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_end_of_a_log_has_times_levels_and_links() {
        let (_scene, router) = printed(5_000).await;
        let shown = page(&router, "").await;
        assert_eq!(shown.count("#log-lines > div"), WINDOW_LINES);
        assert_eq!(shown.text("#log-lines > div:last-child > span"), "ERROR: <gauge> 5000 is silent");
        assert_eq!(shown.count("#log-lines > div.error"), 1);
        assert_eq!(shown.texts("#log-lines > .gap"), ["Earlier lines are not shown. Show earlier lines"]);
        let link = format!("/apps/tides/logs?source=preview&at={0}#L{0}", id(5_000));
        assert_eq!(shown.attribute("#log-lines > div:last-child > a", "href"), link);
        assert_eq!(shown.attribute("div:last-child > a > time", "datetime"), "2026-11-18T11:06:45.000Z");
        let stream = shown.attribute("#log-lines", "hx-sse:connect");
        assert_eq!(stream, format!("/apps/tides/logs/stream?source=preview&after={}", id(5_000)));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_whole_log_is_searched() {
        let (_scene, router) = printed(5_000).await;
        let shown = page(&router, "&q=GAUGE").await;
        assert_eq!(shown.text("[data-log-count]"), "5 of 5 lines");
        assert_eq!(shown.text("#log-lines > .at mark"), "gauge");
        let previous = format!("/apps/tides/logs?source=preview&q=GAUGE&at={0}#L{0}", id(4_000));
        assert_eq!(shown.attribute("[data-log-step='-1']", "href"), previous);
        assert_eq!(shown.attribute("[data-log-step='1']", "aria-disabled"), "true");
        assert_eq!(shown.count("#log-lines[hx-sse\\:connect]"), 0, "found lines do not scroll away");
        let shown = page(&router, &format!("&q=GAUGE&at={}", id(2_000))).await;
        assert_eq!(shown.text("[data-log-count]"), "2 of 5 lines");
        let next = format!("/apps/tides/logs?source=preview&q=GAUGE&at={0}#L{0}", id(3_000));
        assert_eq!(shown.attribute("[data-log-step='1']", "href"), next);
        assert_eq!(shown.attribute("#log-lines > .at", "id"), format!("L{}", id(2_000)));
        let none = page(&router, "&q=boats").await;
        assert_eq!(none.text("[data-log-count]"), "Not found in the whole log");
        assert_eq!(none.count("#log-lines > div"), WINDOW_LINES);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn lines_are_filtered_by_level() {
        let (_scene, router) = printed(2_500).await;
        let shown = page(&router, "&level=error").await;
        assert_eq!(shown.count("#log-lines > div"), 2);
        assert_eq!(shown.count("#log-lines > .gap"), 0);
        assert_eq!(page(&router, "&level=info").await.texts("#log-lines > .gap")[0].split(' ').next(), Some("1,497"));
        assert_eq!(page(&router, "&level=").await.count("#log-lines > div"), WINDOW_LINES);
        let (status, _) = get(&router, "/apps/tides/logs?source=preview&level=loud").await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_whole_log_is_downloaded_with_times() {
        let (_scene, router) = printed(5_000).await;
        let (status, text) = get(&router, "/apps/tides/logs.txt?source=preview").await;
        assert_eq!((status, text.lines().count()), (StatusCode::OK, 5_000));
        assert_eq!(text.lines().next(), Some("2026-11-18T11:06:40.001Z DEBUG line 1"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_api_searches_the_whole_log() {
        let (_scene, router) = printed(5_000).await;
        let read =
            async |query: &str| get(&router, &format!("/api/v1/apps/tides/logs?environment=preview{query}")).await;
        assert_eq!(read("&tail=1").await.1, "ERROR: <gauge> 5000 is silent\n", "the text is unchanged");
        let found = read("&tail=2&q=Gauge&timestamps=true").await.1;
        assert_eq!(
            found,
            "2026-11-18T11:06:44Z ERROR: <gauge> 4000 is silent\n2026-11-18T11:06:45Z ERROR: <gauge> 5000 is silent\n"
        );
        assert_eq!(read("&level=error").await.1.lines().count(), 5);
        assert_eq!(read("&level=error&q=3000").await.1.lines().count(), 1);
        assert_eq!(read("&level=loud").await.0, StatusCode::BAD_REQUEST);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_stream_continues_after_the_last_line_of_the_page() {
        let (_scene, router) = printed(2_000).await;
        let first = async |query: &str| {
            let path = format!("/apps/tides/logs/stream?source=preview{query}");
            let request = Request::get(path).body(Body::empty()).expect("a request");
            let response = router.clone().oneshot(request).await.expect("never fails");
            let mut body = response.into_body().into_data_stream();
            let bytes = body.next().await.expect("an event").expect("bytes");
            String::from_utf8(bytes.to_vec()).expect("text")
        };
        let after = first(&format!("&after={}", id(1_900))).await;
        assert!(
            after.contains("event: lines") && after.contains("line 1901") && !after.contains("line 1900"),
            "{after}"
        );
        assert!(after.contains("id: 17950000"), "{after}");
        assert!(first("").await.contains("event: reset"), "all lines follow");
        assert!(first(&format!("&after={}", id(900))).await.contains("event: reset"), "lines between are missing");
        let errors = first(&format!("&level=error&after={}", id(1_100))).await;
        assert!(errors.contains("2000 is silent") && !errors.contains("line 1101"), "{errors}");
    }
}
