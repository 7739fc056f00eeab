//! Each request has an id, one line in the log, and a response even if its handler panics.

use std::any::Any;
use std::fmt::Write as _;

use axum::extract::Request;
use axum::http::header::{ACCEPT, HeaderName};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::Instant;
use tracing::Instrument;

use super::{is_call, plain_page};
use crate::error::{AppError, ErrorKind};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request in the log and in its response. In every request's extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(pub String);

impl RequestId {
    fn random() -> Self {
        Self(hex::encode(rand::random::<[u8; 8]>()))
    }
}

/// Assigns the request's id and logs its method, path and status, never a body or a query.
/// Read requests are logged at `debug`, because open pages send them all the time.
pub(super) async fn follow(mut request: Request, next: Next) -> Response {
    // Always a new id, because a caller's value would appear in the log.
    let id = RequestId::random();
    let span = tracing::info_span!("request", id = %id.0);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    request.extensions_mut().insert(id.clone());
    let began = Instant::now();
    async {
        let mut response = next.run(request).await;
        let status = response.status();
        let elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if status.is_server_error() {
            tracing::warn!(%method, path, status = status.as_u16(), elapsed_ms, "answered");
        } else if matches!(method, Method::GET | Method::HEAD) {
            tracing::debug!(%method, path, status = status.as_u16(), elapsed_ms, "answered");
        } else {
            tracing::info!(%method, path, status = status.as_u16(), elapsed_ms, "answered");
        }
        if let Ok(value) = HeaderValue::try_from(&id.0) {
            response.headers_mut().insert(X_REQUEST_ID, value);
        }
        response
    }
    .instrument(span)
    .await
}

/// Converts a panic to a 500, and logs its position.
#[derive(Clone, Copy)]
pub(super) struct Panicked;

impl tower_http::catch_panic::ResponseForPanic for Panicked {
    type ResponseBody = axum::body::Body;

    fn response_for_panic(&mut self, panic: Box<dyn Any + Send>) -> Response {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        AppError::internal(&format!("a handler panicked: {said}")).into_response()
    }
}

/// Renders problem JSON from outside of the pages in the caller's format: a
/// browser that opens a page gets a page. The pages' own errors are already pages here.
pub(super) async fn forms(request: Request, next: Next) -> Response {
    let wants_page = !is_call(request.uri()) && accepts_html(request.headers());
    let response = next.run(request).await;
    if !wants_page || response.headers().get("content-type").is_none_or(|kind| kind != "application/problem+json") {
        return response;
    }
    let Some(error) = response.extensions().get::<AppError>().cloned() else { return response };
    page(&error, response.headers())
}

fn accepts_html(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|accept| accept.contains("text/html"))
}

fn page(error: &AppError, before: &HeaderMap) -> Response {
    let status = error.kind.status();
    let mut title = match error.kind {
        ErrorKind::Internal => "Something went wrong".to_owned(),
        _ => status.canonical_reason().unwrap_or("Request failed").to_owned(),
    };
    if status != StatusCode::INTERNAL_SERVER_ERROR {
        let _ = write!(title, " ({})", status.as_u16());
    }
    let sentences = [error.detail.as_str(), error.hint.as_deref().unwrap_or("Go back, reload the page and try again.")];
    let mut response = plain_page(status, &title, &sentences);
    for (name, value) in before {
        // Headers of the replaced body are removed too.
        if !matches!(name.as_str(), "content-type" | "content-length") {
            response.headers_mut().entry(name).or_insert_with(|| value.clone());
        }
    }
    response.extensions_mut().insert(error.clone());
    response
}
