//! `/made-with/{name}`: a recorded conversation, to be read, with the page that came of it.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::Web;
use super::chrome::Chrome;
use super::extract::Path;
use super::made_with_view::{self, MadePage, MadeTile};
use super::reply;
use crate::error::{AppError, AppResult};
use crate::services::Services;

/// What a recorded page may do in its frame: run its own script and style, without an origin and without loading anything.
const FRAME_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; \
                            frame-ancestors 'self'; sandbox allow-scripts";

/// The tiles of the first page.
pub fn tiles(services: &Services) -> Vec<MadeTile> {
    made_with_view::tiles(services.recordings())
}

/// `GET /made-with/{name}`
pub async fn page(State(web): State<Web>, chrome: Chrome, Path(name): Path<String>) -> AppResult<Response> {
    let recording = web.services.recording(&name)?;
    let template = web.services.template(&recording.template)?.manifest.title.clone();
    reply::page(&MadePage::new(chrome, recording, template))
}

/// `GET /made-with/{name}/page`: a recorded static site, for a frame.
pub async fn frame(State(web): State<Web>, Path(name): Path<String>) -> AppResult<Response> {
    let recording = web.services.recording(&name)?;
    let html = made_with_view::frame(recording).ok_or_else(|| AppError::not_found("page of this recorded app"))?;
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "private, no-cache"),
        (header::CONTENT_SECURITY_POLICY, FRAME_POLICY),
    ];
    Ok((headers, html).into_response())
}
