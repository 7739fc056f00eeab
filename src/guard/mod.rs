//! What stands around every page and call of the builder: who may ask, from where, and what is
//! said with every answer.
//!
//! Owns the checks of `Origin` and of sessions and tokens, the session's cookie, the security
//! headers, request ids and their log lines, and what a panic becomes. Which host a request is for
//! is read here and decided in [`crate::server`]. Knows nothing of what pages and calls do.

mod access;
mod cookie;
mod headers;
mod host;
mod origin;
mod plain;
mod trace;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderValue, Uri};
use axum::middleware::Next;
use axum::response::Response;
use axum::{Router, middleware};
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, NotForContentType, Predicate};

pub use access::{Caller, PasswordSet, local_path, login_address};
pub use cookie::{SESSION_COOKIE, clear_session_cookie, session_cookie, session_secrets};
pub use host::{BadHost, OwnHosts, requested_host};
pub use plain::plain_page;
pub use trace::RequestId;

use crate::services::Services;

/// Most bytes of a request's body, where a call does not say otherwise.
pub const BODY_MAX: usize = 2 * 1024 * 1024;

/// What the checks need to know.
#[derive(Clone)]
struct Guard(Arc<Inner>);

struct Inner {
    services: Services,
    content_security_policy: HeaderValue,
    is_https: bool,
}

/// Puts the checks around the builder's pages and calls.
pub fn protect(routes: Router, services: Services) -> Router {
    let content_security_policy = headers::content_security_policy(services.config());
    let is_https = is_https(&services);
    let guard = Guard(Arc::new(Inner { services, content_security_policy, is_https }));
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
    services.config().public_url.starts_with("https://")
}

/// The address that a request came from; in the extensions of every request to the builder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientIp(pub IpAddr);

impl ClientIp {
    /// The socket's other end. Without a socket, as in tests, it is this machine.
    pub fn of_socket(extensions: &Extensions) -> Self {
        let address = extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip());
        Self(address.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |ip| ip.to_canonical()))
    }

    /// Whom the operator's proxy, which is the socket's other end, says that it speaks for: the last
    /// entry, since whatever stands before it was written by somebody else.
    fn through_proxy(headers: &HeaderMap) -> Option<Self> {
        let line = headers.get_all("x-forwarded-for").iter().next_back()?.to_str().ok()?;
        let ip: IpAddr = line.rsplit(',').next()?.trim().parse().ok()?;
        Some(Self(ip.to_canonical()))
    }
}

/// Says in the request's extensions who asks.
async fn tell_client(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    let trusted = guard.0.services.config().trust_proxy;
    let told = trusted.then(|| ClientIp::through_proxy(request.headers())).flatten();
    let client = told.unwrap_or_else(|| ClientIp::of_socket(request.extensions()));
    request.extensions_mut().insert(client);
    next.run(request).await
}

impl<S: Send + Sync> FromRequestParts<S> for ClientIp {
    type Rejection = std::convert::Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get().copied().unwrap_or_else(|| Self::of_socket(&parts.extensions)))
    }
}

/// Whether a program asks at this address, which wants problem JSON, and no person.
fn is_call(uri: &Uri) -> bool {
    let path = uri.path();
    path == "/api" || path.starts_with("/api/") || matches!(path, "/healthz" | "/readyz" | "/metrics")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_speaks_for_the_last_it_names() {
        let told = |lines: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("x-forwarded-for", HeaderValue::from_bytes(line).expect("a header"));
            }
            ClientIp::through_proxy(&headers).map(|ClientIp(ip)| ip.to_string())
        };
        assert_eq!(told(&[b"192.0.2.1"]).as_deref(), Some("192.0.2.1"));
        assert_eq!(told(&[b"10.0.0.1, 192.0.2.7"]).as_deref(), Some("192.0.2.7"));
        assert_eq!(told(&[b"10.0.0.1", b"::ffff:192.0.2.7"]).as_deref(), Some("192.0.2.7"));
        for garbage in [&[][..], &[&b""[..]], &[b"unknown"], &[b"192.0.2.1,"], &[b"\xff"]] {
            assert_eq!(told(garbage), None);
        }
    }
}
