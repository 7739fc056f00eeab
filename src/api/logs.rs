//! The logs of running apps.

use std::time::Duration;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, future, stream};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::extract::{Path, Query};
use super::sse;
use crate::domain::{AppName, Environment, LogStream};
use crate::error::{AppError, AppResult};
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
}

#[derive(Serialize)]
struct LogLine<'a> {
    stream: LogStream,
    line: &'a str,
}

/// Read an app's log.
///
/// Lines of text, oldest first, of the last 1 MiB. With `follow=true`, server-sent events named `log` with
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
    if query.follow {
        let mut lines = services.app_log(&app, environment, lines_before, true);
        let first = tokio::time::timeout(FIRST_LINE, lines.next()).await;
        return match first {
            Ok(Some(Err(error))) => Err(error),
            Ok(first) => Ok(followed(stream::iter(first).chain(lines).boxed())),
            Err(_) => Ok(followed(lines)),
        };
    }
    let lines = services.app_log_lines(&app, environment, lines_before).await?;
    let text: String = lines.into_iter().map(|line| line + "\n").collect();
    let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (CACHE_CONTROL, "no-store")];
    Ok((headers, text).into_response())
}

/// Lines as events. An error ends the stream: the client reconnects and gets the error then.
fn followed(lines: BoxStream<'static, AppResult<String>>) -> Response {
    let lines = lines.take_while(|line| future::ready(line.is_ok())).enumerate();
    sse::stream(lines.filter_map(async |(at, line)| {
        let line = line.ok()?;
        let data = serde_json::to_string(&LogLine { stream: LogStream::App, line: &line }).ok()?;
        Some(Event::default().id((at + 1).to_string()).event("log").data(data))
    }))
}
