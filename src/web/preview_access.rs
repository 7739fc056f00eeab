//! `/preview-access`: redirects a logged-in browser to a draft or a preview, with a ticket.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::Web;
use super::extract::Query;
use super::login::own_path;
use crate::browser_errors::Place;
use crate::domain::AppName;
use crate::error::{AppError, AppResult, ErrorKind};
use crate::guard::{is_https, session_secrets};

/// The query parameters.
#[derive(Deserialize)]
pub struct PlaceQuery {
    app: AppName,
    place: Place,
    /// A path on the host of the draft or the preview.
    #[serde(default)]
    next: String,
}

/// The address of the builder that redirects to the first page of a draft or a preview.
pub fn preview_access_address(app: &AppName, place: Place) -> String {
    format!("/preview-access?app={app}&place={}", place.as_str())
}

/// `GET /preview-access`. The guard has already sent callers without a session to the login.
pub async fn redirect_with_ticket(
    State(web): State<Web>,
    headers: HeaderMap,
    Query(query): Query<PlaceQuery>,
) -> AppResult<Response> {
    let next = own_path(&query.next);
    let sessions = session_secrets(&headers, is_https(&web.services));
    let url = web.services.ticket_url(&query.app, query.place, next, sessions).await?;
    let url = url.and_then(|url| HeaderValue::try_from(url).ok()).ok_or_else(|| {
        AppError::new(
            ErrorKind::Forbidden,
            "browser_needed",
            "Only a browser that is logged in can open a draft or a preview here.",
        )
        .hint("Programs need a share link.")
    })?;
    let headers = [(header::LOCATION, url), (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((StatusCode::SEE_OTHER, headers).into_response())
}
