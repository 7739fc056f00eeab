//! Checks around every page and call of the builder: authentication, origin, and common headers.
//!
//! Owns the checks of `Origin` and of sessions and tokens, the session's cookie, the security
//! headers, request ids and their log lines, and the response to a panic. It parses a request's
//! host; [`crate::server`] routes by it. Independent of the content of pages and calls.

mod access;
mod client;
mod cookie;
mod cookies_too_large;
mod headers;
mod host;
mod known_browser;
mod origin;
mod plain;
mod trace;

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, Uri};
use axum::middleware::Next;
use axum::response::Response;
use axum::{Router, middleware};
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, NotForContentType, Predicate};

pub use access::{Caller, PasswordSet, local_path, login_address};
pub use client::{ClientIp, Proxies};
pub use cookie::{HOST_SESSION_COOKIE, SESSION_COOKIE, clear_session_cookie, session_cookie, session_secrets};
pub use cookies_too_large::{cookies_too_large, head_too_large};
pub use host::{BadHost, OwnHosts, requested_host};
pub use known_browser::{browser_cookie, browser_marks};
pub use plain::{linked_page, plain_page};
pub use trace::RequestId;

use crate::services::Services;

/// Default limit of a request's body in bytes.
pub const BODY_MAX: usize = 2 * 1024 * 1024;

/// The data of the checks.
#[derive(Clone)]
struct Guard(Arc<Inner>);

struct Inner {
    services: Services,
    proxies: Proxies,
    content_security_policy: HeaderValue,
    is_https: bool,
}

/// Adds the checks to the builder's pages and calls.
pub fn protect(routes: Router, services: Services) -> Router {
    let content_security_policy = headers::content_security_policy(services.config());
    let is_https = is_https(&services);
    let proxies = Proxies::new(&services.config().trusted_proxies);
    let guard = Guard(Arc::new(Inner { services, proxies, content_security_policy, is_https }));
    let worth_compressing = DefaultPredicate::new().and(NotForContentType::const_new("application/gzip"));
    // The last layer is the outermost: first the request id, and headers on every response, even after a panic.
    routes
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(middleware::from_fn_with_state(guard.clone(), access::check))
        .layer(middleware::from_fn_with_state(guard.clone(), tell_client))
        .layer(middleware::from_fn(origin::check))
        .layer(tower_http::catch_panic::CatchPanicLayer::custom(trace::Panicked))
        .layer(middleware::from_fn(trace::forms))
        .layer(middleware::from_fn_with_state(guard, headers::add))
        // Event streams, images and small responses are not compressed. A medium level, because a page
        // is rendered for each request and must not be delayed for the last percent.
        .layer(CompressionLayer::new().quality(CompressionLevel::Precise(4)).compress_when(worth_compressing))
        .layer(middleware::from_fn(trace::follow))
}

/// Whether links to the builder use https, so that its cookie is sent only over https.
pub fn is_https(services: &Services) -> bool {
    services.config().is_https()
}

/// Adds the client's address to the request's extensions.
async fn tell_client(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    let peer = ClientIp::of_socket(request.extensions());
    let client = guard.0.proxies.client(peer, request.headers());
    request.extensions_mut().insert(client);
    next.run(request).await
}

/// Whether the address belongs to the API, whose errors are problem JSON.
fn is_call(uri: &Uri) -> bool {
    let path = uri.path();
    path == "/api" || path.starts_with("/api/") || matches!(path, "/healthz" | "/readyz" | "/metrics")
}
