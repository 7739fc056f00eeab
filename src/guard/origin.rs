//! Requests come from our own pages, from an address that a person opened, or from no browser at all.
//!
//! Apps live on neighbouring hosts, which browsers call the same *site*: what a cookie's `SameSite`
//! keeps out is not enough, so the very origin is looked at. Looking is checked as well as changing: an app's
//! `<img>`, `fetch` or frame must not run with the session. Only a browser that opens an address in a tab may come
//! from elsewhere.

use axum::extract::Request;
use axum::http::header::{HeaderName, ORIGIN};
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::host::requested_host;
use crate::domain::name::strip_port;
use crate::error::{AppError, AppResult, ErrorKind};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// Refuses what another origin's page sends.
pub(super) async fn check(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let checked = match requested_host(&parts) {
        Ok(host) if is_safe(&parts.method) => may_look(&parts.method, &parts.headers, host),
        Ok(host) => same_origin(&parts.headers, host),
        Err(error) => Err(AppError::bad_request(error.to_string())),
    };
    match checked {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(error) => error.into_response(),
    }
}

/// Whether a method only looks.
fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

fn refused() -> AppResult<()> {
    Err(AppError::new(ErrorKind::Forbidden, "cross_origin", "This request comes from another site's page.")
        .hint("Do it on Slipway's own pages. A program sends neither Origin nor Sec-Fetch-Site."))
}

/// Whether a request that only looks, with these headers, may be answered. A browser that tells no `Sec-Fetch-Site`,
/// an old one or one at a plain http address, is judged by `Origin`, which it sends with some requests only.
fn may_look(method: &Method, headers: &HeaderMap, host: &str) -> AppResult<()> {
    if !headers.contains_key(SEC_FETCH_SITE) {
        return same_origin(headers, host);
    }
    if is_same_origin_or_none(headers) {
        return Ok(());
    }
    // A tab that goes to us from elsewhere, by a link or a redirect. In a frame the destination is another one.
    let opens_page = *method == Method::GET
        && is_only(headers, &SEC_FETCH_MODE, b"navigate")
        && is_only(headers, &SEC_FETCH_DEST, b"document");
    if opens_page { Ok(()) } else { refused() }
}

/// Whether a header is there once, with this value.
fn is_only(headers: &HeaderMap, name: &HeaderName, value: &[u8]) -> bool {
    let mut values = headers.get_all(name).iter();
    values.next().is_some_and(|first| first.as_bytes() == value) && values.next().is_none()
}

/// Whether no `Sec-Fetch-Site` names another origin.
fn is_same_origin_or_none(headers: &HeaderMap) -> bool {
    headers.get_all(SEC_FETCH_SITE).iter().all(|site| matches!(site.as_bytes(), b"same-origin" | b"none"))
}

/// Whether a request with these headers comes from a page of `host`, or from no browser.
fn same_origin(headers: &HeaderMap, host: &str) -> AppResult<()> {
    if !is_same_origin_or_none(headers) {
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

    #[test]
    fn what_another_page_loads_is_refused_and_what_a_person_opens_is_not() {
        let host = "builder.localhost:8080";
        let looks = |method: &Method, given: &[(HeaderName, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in given {
                headers.append(name, HeaderValue::from_str(value).expect("a header"));
            }
            may_look(method, &headers, host).is_ok()
        };
        let fetched = |site: &str, mode: &str, dest: &str| {
            let given = [(SEC_FETCH_SITE, site), (SEC_FETCH_MODE, mode), (SEC_FETCH_DEST, dest)];
            looks(&Method::GET, &given)
        };
        for (mode, dest) in [("navigate", "document"), ("navigate", "iframe"), ("cors", "empty"), ("no-cors", "image")]
        {
            assert!(fetched("same-origin", mode, dest), "our own pages: {mode} {dest}");
            assert!(fetched("none", mode, dest), "typed by a person: {mode} {dest}");
        }
        for site in ["same-site", "cross-site", "", "Same-Origin"] {
            assert!(fetched(site, "navigate", "document"), "a link from {site}");
            for (mode, dest) in [
                ("navigate", "iframe"),
                ("navigate", "frame"),
                ("navigate", "embed"),
                ("navigate", "object"),
                ("no-cors", "image"),
                ("no-cors", "script"),
                ("no-cors", "empty"),
                ("cors", "empty"),
                ("websocket", "websocket"),
                ("no-cors", "document"),
                ("", ""),
            ] {
                assert!(!fetched(site, mode, dest), "{site} {mode} {dest}");
            }
            assert!(!looks(&Method::GET, &[(SEC_FETCH_SITE, site)]));
            let head = [(SEC_FETCH_SITE, site), (SEC_FETCH_MODE, "navigate"), (SEC_FETCH_DEST, "document")];
            assert!(!looks(&Method::HEAD, &head), "no browser opens a page with HEAD");
        }
        assert!(looks(&Method::GET, &[]), "a program, or an old browser");
        assert!(looks(&Method::GET, &[(ORIGIN, "http://builder.localhost:8080")]));
        assert!(!looks(&Method::GET, &[(ORIGIN, "http://ducks.localhost:8080")]));
        assert!(!looks(&Method::GET, &[(ORIGIN, "null")]));
    }
}
