//! The event stream of an app.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::extract::{Path, Query};
use super::sse::{self, AfterQuery};
use crate::domain::AppName;
use crate::error::AppResult;
use crate::services::Services;

/// Follow an app.
///
/// Server-sent events: first the stored ones, from the beginning or after the event in
/// `Last-Event-ID`, then live ones. Names: `job`, `text`, `file`, `tool`, `log`,
/// `environment`, `usage`. The stream does not end.
#[utoipa::path(
    get, path = "/api/v1/apps/{app}/events", tag = "Apps",
    params(
        ("app" = String, Path, description = "The app's name."),
        AfterQuery,
        ("Last-Event-ID" = Option<i64>, Header, description = "The id of the last received event."),
    ),
    responses((status = 200, description = "Events, each with `id`, a name and JSON data.", body = String, content_type = "text/event-stream")),
)]
pub async fn follow(
    State(services): State<Services>,
    Path(name): Path<AppName>,
    Query(after): Query<AfterQuery>,
    headers: HeaderMap,
) -> AppResult<Response> {
    let app = services.app(&name).await?;
    let after = after.event(&headers, services.last_event_id(app.id).await?)?;
    Ok(sse::kept(services.app_events(app.id, after)))
}
