//! Sessions of browsers: list, end.

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::{Path, Query};
use super::list::PageQuery;
use crate::domain::{Principal, SessionId};
use crate::error::{AppError, AppResult};
use crate::services::Services;
use crate::store::sessions::Session;

/// A browser that has logged in.
#[derive(Serialize, ToSchema)]
#[schema(as = Session)]
pub struct SessionJson {
    /// Unique id; never reused.
    #[schema(value_type = i64)]
    id: SessionId,
    /// When it logged in.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last used, to the minute.
    #[schema(value_type = String, format = DateTime)]
    last_used_at: Timestamp,
    /// Its expiry.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// The address of its last use.
    address: String,
    /// The user agent of the browser.
    browser: String,
    /// It is the session of this request.
    current: bool,
}

/// A page of sessions.
#[derive(Serialize, ToSchema)]
pub struct SessionList {
    /// Most recently used first.
    sessions: Vec<SessionJson>,
    /// Cursor of the next page; null on the last page.
    next: Option<String>,
}

/// List sessions.
#[utoipa::path(
    get, path = "/api/v1/sessions", tag = "Sessions", params(PageQuery),
    responses((status = 200, description = "Browsers that have logged in, most recently used first.", body = SessionList)),
)]
pub async fn list(
    State(services): State<Services>,
    Extension(principal): Extension<Principal>,
    Query(page): Query<PageQuery>,
) -> AppResult<axum::Json<SessionList>> {
    let sessions = services.sessions(&principal).await?;
    let (sessions, next) = page.cut(sessions, |session: &Session| {
        let used = i64::MAX - session.last_used_at.as_millisecond();
        format!("{used:020}{:020}", i64::MAX - session.id.0)
    })?;
    let current = principal.session();
    let json = |session: Session| SessionJson {
        current: current == Some(session.id),
        id: session.id,
        created_at: session.created_at,
        last_used_at: session.last_used_at,
        expires_at: session.expires_at,
        address: session.address,
        browser: session.browser,
    };
    Ok(axum::Json(SessionList { sessions: sessions.into_iter().map(json).collect(), next }))
}

/// End a session.
///
/// Its browser has to log in again. Ending an ended session succeeds.
#[utoipa::path(
    delete, path = "/api/v1/sessions/{id}", tag = "Sessions",
    params(("id" = i64, Path, description = "The session's id.")),
    responses((status = 204, description = "The session has ended.")),
)]
pub async fn end(
    State(services): State<Services>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
) -> AppResult<StatusCode> {
    let id = id.parse().map_err(|_| AppError::not_found("session with this id: a session's id is a whole number"))?;
    services.end_session(&principal, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// End all sessions.
///
/// Every browser has to log in again, including the caller's. Tokens stay valid.
#[utoipa::path(
    delete, path = "/api/v1/sessions", tag = "Sessions",
    responses((status = 204, description = "All sessions have ended.")),
)]
pub async fn end_all(
    State(services): State<Services>,
    Extension(principal): Extension<Principal>,
) -> AppResult<StatusCode> {
    services.end_all_sessions(&principal).await?;
    Ok(StatusCode::NO_CONTENT)
}
