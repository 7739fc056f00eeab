//! The logs of running apps.

use std::time::Duration;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, future, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::extract::{Path, Query};
use super::sse;
use crate::domain::{AppName, Environment, LogStream};
use crate::error::{AppError, AppResult};
use crate::output::LogLine;
use crate::output::level::{Levels, LogLevel};
use crate::output::needle::Needle;
use crate::output::window::Selection;
use crate::services::Services;

/// Default number of existing lines.
const TAIL_DEFAULT: u32 = 200;
/// Maximum number of existing lines.
const TAIL_MAX: u32 = 10_000;
/// How long the response to a request with `follow` waits for the first line: after
/// this time it is known whether the log exists.
const FIRST_LINE: Duration = Duration::from_millis(300);

/// Selects lines of a log.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LogsQuery {
    /// The environment; default `prod`.
    environment: Option<Environment>,
    /// Continue with new lines, as server-sent events.
    #[serde(default)]
    follow: bool,
    /// Number of existing lines, up to 10000; default 200.
    #[param(value_type = Option<u32>, minimum = 0, maximum = 10000)]
    tail: Option<String>,
    /// Only lines that contain these words, in any case. The whole log is searched.
    #[param(max_length = 200)]
    q: Option<String>,
    /// Only lines of this level or a more serious one, as far as lines say a level. Lines without a level count as
    /// `info`.
    level: Option<LogLevel>,
    /// Put the time in front of each line; an event has it as `at`.
    #[serde(default)]
    timestamps: bool,
}

#[derive(Serialize)]
struct LineEvent<'a> {
    stream: LogStream,
    line: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Timestamp>,
}

/// Read an app's log.
///
/// Lines of text, oldest first: the last ones, of at most 1 MiB. With `follow=true`, server-sent events named `log` with
/// `{"stream": "app", "line": …}`, until the container ends. Their ids number the lines of one
/// connection: logs are not stored, and a client that reconnects requests earlier lines with `tail`.
#[utoipa::path(
    get, path = "/api/v1/apps/{app}/logs", tag = "Deployments",
    params(("app" = String, Path, description = "The app's name."), LogsQuery),
    responses((status = 200, description = "The lines.", content((String = "text/plain"), (String = "text/event-stream")))),
)]
pub async fn tail(
    State(services): State<Services>,
    Path(name): Path<AppName>,
    Query(query): Query<LogsQuery>,
) -> AppResult<Response> {
    let lines_before = match &query.tail {
        None => TAIL_DEFAULT,
        Some(text) => text.parse().ok().filter(|tail| *tail <= TAIL_MAX).ok_or_else(|| {
            AppError::bad_request("The query cannot be read: tail must be a whole number of lines up to 10000.")
        })?,
    };
    let app = services.app(&name).await?;
    let environment = query.environment.unwrap_or(Environment::Prod);
    let selection = Selection { level: query.level, needle: query.q.as_deref().and_then(Needle::new) };
    if query.follow {
        let lines = services.app_log(&app, environment, lines_before, true);
        let mut lines = selected(lines, selection);
        let first = tokio::time::timeout(FIRST_LINE, lines.next()).await;
        return match first {
            Ok(Some(Err(error))) => Err(error),
            Ok(first) => Ok(followed(stream::iter(first).chain(lines).boxed(), query.timestamps)),
            Err(_) => Ok(followed(lines, query.timestamps)),
        };
    }
    let lines = services.app_log_lines(&app, environment, lines_before, selection).await?;
    let mut text = String::new();
    for LogLine { at, text: line } in lines {
        if let Some(at) = at.filter(|_| query.timestamps) {
            text.push_str(&at.to_string());
            text.push(' ');
        }
        text.push_str(&line);
        text.push('\n');
    }
    let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (CACHE_CONTROL, "no-store")];
    Ok((headers, text).into_response())
}

/// The lines that the selection shows and that contain its words.
fn selected(
    lines: BoxStream<'static, AppResult<LogLine>>,
    selection: Selection,
) -> BoxStream<'static, AppResult<LogLine>> {
    let mut levels = Levels::default();
    let is_selected = move |line: &AppResult<LogLine>| {
        future::ready(line.as_ref().map_or(true, |line| {
            let is_found = selection.needle.as_ref().is_none_or(|needle| needle.is_in(&line.text));
            selection.shows(levels.next(&line.text)) && is_found
        }))
    };
    lines.filter(is_selected).boxed()
}

/// Lines as events. An error ends the stream: the client reconnects and gets the error then.
fn followed(lines: BoxStream<'static, AppResult<LogLine>>, timestamps: bool) -> Response {
    let lines = lines.take_while(|line| future::ready(line.is_ok())).enumerate();
    sse::stream(lines.filter_map(move |(number, line)| {
        let event = line.ok().and_then(|LogLine { at, text }| {
            let line = LineEvent { stream: LogStream::App, line: &text, at: at.filter(|_| timestamps) };
            let data = serde_json::to_string(&line).ok()?;
            Some(Event::default().id((number + 1).to_string()).event("log").data(data))
        });
        future::ready(event)
    }))
}
