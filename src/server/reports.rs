//! `/.slipway/` on the hosts of drafts and previews: the script of their pages, and the endpoint for
//! reports of errors. Reports are untrusted: limited, and stored as data.

use axum::body::Body;
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, ORIGIN, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use crate::browser_errors::{BrowserError, Place};
use crate::domain::AppName;
use crate::gateway::inject::{PREFIX, script};
use crate::guard::plain_page;
use crate::services::Services;

/// Maximum size of a report in bytes.
const REPORT_MAX: usize = 32 * 1024;
/// Maximum number of reports that are read concurrently. Reports are optional, so others are dropped.
static READING: Semaphore = Semaphore::const_new(64);

/// Whether a path belongs to Slipway and not to the app.
pub(super) fn is_ours(path: &str) -> bool {
    path.starts_with(PREFIX)
}

/// The response to a request for one of Slipway's own paths.
pub(super) async fn answer(services: &Services, app: &AppName, place: Place, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    match (parts.uri.path().strip_prefix(PREFIX), &parts.method) {
        (Some("errors.js"), &Method::GET | &Method::HEAD) => {
            let headers = [
                (CONTENT_TYPE, "text/javascript; charset=utf-8"),
                (CACHE_CONTROL, "no-cache"),
                (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            ];
            (headers, script(&services.config().builder_origins())).into_response()
        }
        (Some("errors"), &Method::POST) => {
            if !is_same_origin(&parts.headers) {
                return StatusCode::FORBIDDEN.into_response();
            }
            let Ok(_reading) = READING.try_acquire() else {
                return StatusCode::TOO_MANY_REQUESTS.into_response();
            };
            let Ok(bytes) = axum::body::to_bytes(body, REPORT_MAX).await else {
                return StatusCode::PAYLOAD_TOO_LARGE.into_response();
            };
            let Ok(errors) = serde_json::from_slice::<Vec<BrowserError>>(&bytes) else {
                return StatusCode::BAD_REQUEST.into_response();
            };
            match services.report_browser_errors(app, place, errors).await {
                Ok(true) => StatusCode::NO_CONTENT.into_response(),
                Ok(false) => StatusCode::TOO_MANY_REQUESTS.into_response(),
                Err(error) => error.kind.status().into_response(),
            }
        }
        (Some("errors"), _) => (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "POST")]).into_response(),
        (Some("errors.js"), _) => (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET, HEAD")]).into_response(),
        _ => plain_page(StatusCode::NOT_FOUND, "Not found", &["This address is reserved for Slipway."]),
    }
}

/// Whether the report comes from the same origin. (A request without an origin does not come from a browser.)
fn is_same_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok()) else {
        return headers.get("sec-fetch-site").is_none_or(|site| site == "same-origin");
    };
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    origin.split_once("://").is_some_and(|(_, from)| from.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn only_pages_of_the_same_origin_can_report() {
        let same = |headers: &[(&'static str, &'static str)]| {
            let mut map = HeaderMap::new();
            map.insert(HOST, HeaderValue::from_static("a-draft.localhost:8080"));
            for (name, value) in headers {
                map.insert(*name, HeaderValue::from_static(value));
            }
            is_same_origin(&map)
        };
        assert!(same(&[("origin", "http://a-draft.localhost:8080")]));
        assert!(same(&[]));
        assert!(same(&[("sec-fetch-site", "same-origin")]));
        assert!(!same(&[("sec-fetch-site", "cross-site")]));
        for origin in ["http://b-draft.localhost:8080", "http://a-draft.localhost", "null", "http://evil.example"] {
            assert!(!same(&[("origin", origin)]), "{origin}");
        }
    }
}
