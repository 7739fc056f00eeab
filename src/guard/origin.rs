//! Requests that change something come from our own pages, or from no browser at all.
//!
//! Apps live on neighbouring hosts, which browsers call the same *site*: what a cookie's `SameSite`
//! keeps out is not enough, so the very origin is looked at.

use axum::extract::Request;
use axum::http::header::{HeaderName, ORIGIN};
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::host::requested_host;
use crate::domain::name::strip_port;
use crate::error::{AppError, AppResult, ErrorKind};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses what another origin's page sends.
pub(super) async fn check(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let checked = if matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS) {
        Ok(())
    } else {
        match requested_host(&parts) {
            Ok(host) => same_origin(&parts.headers, host),
            Err(error) => Err(AppError::bad_request(error.to_string())),
        }
    };
    match checked {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(error) => error.into_response(),
    }
}

/// Whether a request with these headers comes from a page of `host`, or from no browser.
fn same_origin(headers: &HeaderMap, host: &str) -> AppResult<()> {
    let refused = || {
        Err(AppError::new(ErrorKind::Forbidden, "cross_origin", "This request comes from another site's page.")
            .hint("Do it on Slipway's own pages. A program sends neither Origin nor Sec-Fetch-Site."))
    };
    let mut sites = headers.get_all(SEC_FETCH_SITE).iter();
    if sites.any(|site| !matches!(site.as_bytes(), b"same-origin" | b"none")) {
        return refused();
    }
    let mut origins = headers.get_all(ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (None, _) => Ok(()),
        (Some(origin), None) if origin.to_str().is_ok_and(|origin| is_of(origin, host)) => Ok(()),
        _ => refused(),
    }
}

fn is_of(origin: &str, host: &str) -> bool {
    let (authority, port) = if let Some(authority) = origin.strip_prefix("http://") {
        (authority, 80)
    } else if let Some(authority) = origin.strip_prefix("https://") {
        (authority, 443)
    } else {
        return false;
    };
    // `Host` leaves out the port that its scheme has by default, and the scheme is the origin's.
    split(authority, port) == split(host, port)
}

fn split(authority: &str, default_port: u16) -> Option<(String, u16)> {
    let name = strip_port(authority);
    let port = authority[name.len()..].trim_start_matches(':');
    let port = if port.is_empty() { default_port } else { port.parse().ok()? };
    Some((name.to_ascii_lowercase(), port))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn allowed(host: &str, given: &[(HeaderName, &[u8])]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(name, HeaderValue::from_bytes(value).expect("a header"));
        }
        same_origin(&headers, host).is_ok()
    }

    #[test]
    fn only_our_own_pages_and_programs_change_things() {
        let host = "builder.localhost:8080";
        assert!(allowed(host, &[]));
        for good in ["http://builder.localhost:8080", "http://Builder.Localhost:8080"] {
            assert!(allowed(host, &[(ORIGIN, good.as_bytes())]), "{good}");
        }
        assert!(allowed("builder.test", &[(ORIGIN, b"https://builder.test")]));
        assert!(allowed("builder.test:443", &[(ORIGIN, b"https://builder.test")]));
        assert!(allowed(host, &[(SEC_FETCH_SITE, b"same-origin")]));
        assert!(allowed(host, &[(SEC_FETCH_SITE, b"none")]));
        for bad in [
            &b"null"[..],
            b"",
            b"http://brisk-otter.localhost:8080",
            b"http://builder.localhost",
            b"http://builder.localhost:8081",
            b"https://builder.localhost:8080.evil.test",
            b"http://builder.localhost:8080/",
            b"http://user@builder.localhost:8080",
            b"ftp://builder.localhost:8080",
            b"builder.localhost:8080",
            b"\xff",
        ] {
            assert!(!allowed(host, &[(ORIGIN, bad)]), "{}", String::from_utf8_lossy(bad));
        }
        for bad in [&b"same-site"[..], b"cross-site", b"", b"Same-Origin", b"\xff"] {
            assert!(!allowed(host, &[(SEC_FETCH_SITE, bad)]), "{}", String::from_utf8_lossy(bad));
        }
        // Both are looked at, and one good header among several saves nothing.
        let good: &[u8] = b"http://builder.localhost:8080";
        assert!(!allowed(host, &[(ORIGIN, good), (SEC_FETCH_SITE, b"same-site")]));
        assert!(!allowed(host, &[(ORIGIN, good), (ORIGIN, good)]));
        assert!(!allowed(host, &[(SEC_FETCH_SITE, b"same-origin"), (SEC_FETCH_SITE, b"cross-site")]));
    }
}
