//! What stands around every page and call of the builder: who may ask, from where, and what is
//! said with every answer.
//!
//! Owns the checks of `Origin` and of sessions and tokens, the session's cookie, the security
//! headers, request ids and their log lines, and what a panic becomes. Which host a request is for
//! is read here and decided in [`crate::server`]. Knows nothing of what pages and calls do.

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

/// Most bytes of a request's body, where a call does not say otherwise.
pub const BODY_MAX: usize = 2 * 1024 * 1024;

/// What the checks need to know.
#[derive(Clone)]
struct Guard(Arc<Inner>);

struct Inner {
    services: Services,
    proxies: Proxies,
    content_security_policy: HeaderValue,
    is_https: bool,
}

/// Puts the checks around the builder's pages and calls.
pub fn protect(routes: Router, services: Services) -> Router {
    let content_security_policy = headers::content_security_policy(services.config());
    let is_https = is_https(&services);
    let proxies = Proxies::new(&services.config().trusted_proxies);
    let guard = Guard(Arc::new(Inner { services, proxies, content_security_policy, is_https }));
    let worth_compressing = DefaultPredicate::new().and(NotForContentType::const_new("application/gzip"));
    // The last one is the outermost: an id first, headers on whatever comes back, even after a panic.
    routes
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(middleware::from_fn_with_state(guard.clone(), access::check))
        .layer(middleware::from_fn_with_state(guard.clone(), tell_client))
        .layer(middleware::from_fn(origin::check))
        .layer(tower_http::catch_panic::CatchPanicLayer::custom(trace::Panicked))
        .layer(middleware::from_fn(trace::forms))
        .layer(middleware::from_fn_with_state(guard, headers::add))
        // Streams of events, images and small answers are left as they are. A middling level: a page
        // is made for each request, and is not to wait for the last percent.
        .layer(CompressionLayer::new().quality(CompressionLevel::Precise(4)).compress_when(worth_compressing))
        .layer(middleware::from_fn(trace::follow))
}

/// Whether links to the builder are written with https, so that its cookie is sent over nothing else.
pub fn is_https(services: &Services) -> bool {
    services.config().is_https()
}

/// Says in the request's extensions who asks.
async fn tell_client(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    let peer = ClientIp::of_socket(request.extensions());
    let client = guard.0.proxies.client(peer, request.headers());
    request.extensions_mut().insert(client);
    next.run(request).await
}

/// Whether a program asks at this address, which wants problem JSON, and no person.
fn is_call(uri: &Uri) -> bool {
    let path = uri.path();
    path == "/api" || path.starts_with("/api/") || matches!(path, "/healthz" | "/readyz" | "/metrics")
}
