//! `/preview-access`: hands a browser that is logged in on to a draft or a preview.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::Web;
use super::extract::Query;
use super::login::ours;
use crate::browser_errors::Place;
use crate::domain::AppName;
use crate::error::{AppError, AppResult, ErrorKind};
use crate::guard::{is_https, session_secrets};

/// What the address says.
#[derive(Deserialize)]
pub struct PlaceQuery {
    app: AppName,
    place: Place,
    /// A path on the host of the draft or the preview.
    #[serde(default)]
    next: String,
}

/// Where a page of ours is handed on to the first page of a draft or a preview.
pub fn hand_on_address(app: &AppName, place: Place) -> String {
    format!("/preview-access?app={app}&place={}", place.as_str())
}

/// `GET /preview-access`. Whoever has no session was sent to the log-in before this.
pub async fn hand_on(
    State(web): State<Web>,
    headers: HeaderMap,
    Query(query): Query<PlaceQuery>,
) -> AppResult<Response> {
    let next = ours(&query.next);
    let sessions = session_secrets(&headers, is_https(&web.services));
    let url = web.services.ticket_url(&query.app, query.place, next, sessions).await?;
    let url = url.and_then(|url| HeaderValue::try_from(url).ok()).ok_or_else(|| {
        AppError::new(
            ErrorKind::Forbidden,
            "browser_needed",
            "Only a browser that is logged in is handed on from here.",
        )
        .hint("A program opens a draft or a preview with a share link.")
    })?;
    let headers = [(header::LOCATION, url), (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((StatusCode::SEE_OTHER, headers).into_response())
}
