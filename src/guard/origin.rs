//! Requests must come from our own pages, from an address that a user opened, or not from a browser.
//!
//! Apps live on neighbouring hosts, which browsers treat as the same *site*: `SameSite` cookies do not
//! protect against them, so the exact origin is checked. Read requests are checked as well: an app's
//! `<img>`, `fetch` or frame must not run with the session. The only exception is a browser that opens an address
//! in a tab.
//!
//! Browsers send the origin of a request (`Sec-Fetch-Site`) over https and to localhost. Over plain http they send
//! `Origin` with some requests, and `Referer` unless the page disables it. So an app that hides its `Referer`
//! can make a browser load our pages there; it cannot read them, and they change nothing.

use axum::extract::Request;
use axum::http::header::{ACCEPT, HeaderName, ORIGIN, REFERER};
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::host::requested_host;
use crate::domain::name::strip_port;
use crate::error::{AppError, AppResult, ErrorKind};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
/// Redirects a browser to a draft or a preview. The app's host redirects a frame without a pass to this address.
const PREVIEW_ACCESS: &str = "/preview-access";

/// Refuses requests of pages with another origin.
pub(super) async fn check(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let checked = match requested_host(&parts) {
        Ok(host) if is_safe(&parts.method) => may_read(&parts.method, parts.uri.path(), &parts.headers, host),
        Ok(host) => same_origin(&parts.headers, host),
        Err(error) => Err(AppError::bad_request(error.to_string())),
    };
    match checked {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(error) => error.into_response(),
    }
}

/// Whether a method only reads.
fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

fn refused() -> AppResult<()> {
    Err(AppError::new(ErrorKind::Forbidden, "cross_origin", "This request comes from a page of another site.")
        .hint("Use Slipway's own pages. Programs must not send Origin or Sec-Fetch-Site."))
}

/// Whether a read request with these headers may be answered. Without `Sec-Fetch-Site`, `Origin` and
/// `Referer` decide, if they are present.
fn may_read(method: &Method, path: &str, headers: &HeaderMap, host: &str) -> AppResult<()> {
    if !headers.contains_key(SEC_FETCH_SITE) {
        return if is_loaded_by_other(headers, host) { refused() } else { same_origin(headers, host) };
    }
    if is_same_origin_or_none(headers) {
        return Ok(());
    }
    // A tab that opens our page through a link or a redirect. A frame has another destination.
    let opens_page = *method == Method::GET
        && is_only(headers, &SEC_FETCH_MODE, b"navigate")
        && (is_only(headers, &SEC_FETCH_DEST, b"document")
            || (path == PREVIEW_ACCESS && is_only(headers, &SEC_FETCH_DEST, b"iframe")));
    if opens_page { Ok(()) } else { refused() }
}

/// Whether the request comes from another origin's page and does not open a page, like an `<img>` or a script. Links
/// and frames request HTML.
fn is_loaded_by_other(headers: &HeaderMap, host: &str) -> bool {
    let opens_page =
        headers.get_all(ACCEPT).iter().any(|accept| accept.to_str().is_ok_and(|accept| accept.contains("text/html")));
    let is_ours = |referer: &str| {
        let end = referer.match_indices('/').nth(2).map_or(referer.len(), |(at, _)| at);
        is_of(&referer[..end], host)
    };
    !opens_page && headers.get_all(REFERER).iter().any(|referer| !referer.to_str().is_ok_and(is_ours))
}

/// Whether a header occurs once, with this value.
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
    // `Host` omits the default port of the origin's scheme.
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
    fn only_our_own_pages_and_programs_can_change_things() {
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
        // Both headers are checked, and one valid header among several is not enough.
        let good: &[u8] = b"http://builder.localhost:8080";
        assert!(!allowed(host, &[(ORIGIN, good), (SEC_FETCH_SITE, b"same-site")]));
        assert!(!allowed(host, &[(ORIGIN, good), (ORIGIN, good)]));
        assert!(!allowed(host, &[(SEC_FETCH_SITE, b"same-origin"), (SEC_FETCH_SITE, b"cross-site")]));
    }

    #[test]
    fn requests_of_other_pages_are_refused_and_opened_tabs_are_not() {
        let host = "builder.localhost:8080";
        let looks = |method: &Method, given: &[(HeaderName, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in given {
                headers.append(name, HeaderValue::from_str(value).expect("a header"));
            }
            may_read(method, "/apps", &headers, host).is_ok()
        };
        let fetched = |site: &str, mode: &str, dest: &str| {
            let given = [(SEC_FETCH_SITE, site), (SEC_FETCH_MODE, mode), (SEC_FETCH_DEST, dest)];
            looks(&Method::GET, &given)
        };
        for (mode, dest) in [("navigate", "document"), ("navigate", "iframe"), ("cors", "empty"), ("no-cors", "image")]
        {
            assert!(fetched("same-origin", mode, dest), "our own pages: {mode} {dest}");
            assert!(fetched("none", mode, dest), "typed by the user: {mode} {dest}");
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
        let framed = [(SEC_FETCH_SITE, "same-site"), (SEC_FETCH_MODE, "navigate"), (SEC_FETCH_DEST, "iframe")];
        let framed = framed.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value)));
        let framed = framed.collect::<HeaderMap>();
        assert!(may_read(&Method::GET, PREVIEW_ACCESS, &framed, host).is_ok(), "a preview's frame requests a new pass");
        assert!(may_read(&Method::GET, "/preview-access/x", &framed, host).is_err());

        assert!(looks(&Method::GET, &[]), "a program, or an old browser");
        let (ours, page) = ("http://builder.localhost:8080/apps/tides?x=/", "text/html,*/*;q=0.8");
        for (referer, accept, allowed) in [
            (ours, "image/*", true),
            ("http://builder.localhost:8080", "*/*", true),
            ("http://ducks.localhost:8080/", page, true),
            ("http://ducks.localhost:8080/", "image/avif,*/*", false),
            ("http://ducks.localhost:8080/builder.localhost:8080/", "*/*", false),
            ("http://builder.localhost:8081/", "*/*", false),
            ("about:client", "*/*", false),
            ("//", "*/*", false),
        ] {
            let found = looks(&Method::GET, &[(REFERER, referer), (ACCEPT, accept)]);
            assert_eq!(found, allowed, "{referer} {accept}");
        }
        assert!(!looks(&Method::GET, &[(REFERER, "http://ducks.localhost:8080/")]));
        assert!(looks(&Method::GET, &[(ORIGIN, "http://builder.localhost:8080")]));
        assert!(!looks(&Method::GET, &[(ORIGIN, "http://ducks.localhost:8080")]));
        assert!(!looks(&Method::GET, &[(ORIGIN, "null")]));
    }
}
