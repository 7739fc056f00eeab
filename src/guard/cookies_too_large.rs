//! A response that clears cookies when a browser sends too many of them.
//!
//! An app can set cookies for the domain that the builder and all apps share. A browser sends them with every request
//! to any of these hosts, up to some hundreds of kilobytes, and would be locked out of all of them.

use std::collections::BTreeSet;

use axum::http::header::{CONNECTION, COOKIE, HeaderName, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;

use super::plain_page;
use crate::domain::name::strip_port;

/// Maximum bytes of cookies in a request. Servers of apps have lower limits, often 64 KiB for the whole head.
const COOKIES_MAX: usize = 32 * 1024;
/// Maximum bytes of `Set-Cookie` in one response; browsers accept a head of about 256 KiB. The next response clears the rest.
const CLEARED_MAX: usize = 160 * 1024;
/// Suffix of a cookie's name that makes it expire.
const EXPIRY: &str = "=; Max-Age=0; Path=";
/// Maximum number of parent domains for which cookies are cleared.
const DOMAINS_MAX: usize = 10;
/// Maximum number of parent paths for which cookies are cleared.
const PATHS_MAX: usize = 8;
/// Prefix of our own cookies.
const OUR_COOKIES: &str = "slipway_";

/// The response to a request for `host` if its cookies are too large.
pub fn cookies_too_large(parts: &Parts, host: &str, is_https: bool) -> Option<Response> {
    let lines = || parts.headers.get_all(COOKIE).iter();
    let bytes: usize = lines().map(HeaderValue::len).sum();
    (bytes > COOKIES_MAX).then(|| {
        let names = lines().flat_map(|line| names(line.as_bytes()));
        clearing(names, host, parts.uri.path(), is_https)
    })
}

/// The response to a request whose head is too large: `cookies` are names of cookies, separated by `;`.
pub fn head_too_large(cookies: &[u8], host: &str, path: &str, is_https: bool) -> Response {
    if !cookies.is_empty() {
        return clearing(names(cookies), host, path, is_https);
    }
    let sentences = ["The address and the headers of this request are larger than this server accepts."];
    let mut response = plain_page(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "This request is too large", &sentences);
    close(response.headers_mut());
    response
}

/// The valid names in a `Cookie` header.
fn names(line: &[u8]) -> impl Iterator<Item = &str> {
    line.split(|byte| *byte == b';')
        .filter_map(|pair| std::str::from_utf8(pair).ok()?.trim().split('=').next())
        .filter(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()))
}

fn close(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
}

/// The response that clears the cookies with these names.
fn clearing<'a>(names: impl Iterator<Item = &'a str>, host: &str, path: &str, is_https: bool) -> Response {
    let mut response = plain_page(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "Too many cookies",
        &[
            "Your browser sent more cookies than this server accepts. Most likely an app set them for all hosts of this domain.",
            "They have been deleted, and you may have to log in again. Reload this page. If it does not go away after some \
             reloads, delete the cookies of this site in your browser's settings.",
        ],
    );
    let headers = response.headers_mut();
    // Only where browsers support it. Elsewhere the cookies expire by name; Chromium ignores `Set-Cookie` beside
    // `Clear-Site-Data` even where it does not support the latter.
    if is_https || is_localhost(host) {
        headers.insert(HeaderName::from_static("clear-site-data"), HeaderValue::from_static("\"cookies\""));
    }
    // The next request on this connection would be as large.
    close(headers);
    let (domains, paths) = (shared_domains(host), paths(path));
    let names: BTreeSet<&str> = names.collect();
    // Cookies of the whole domain first, which are the usual cause.
    let shared = paths.iter().map(|path| (domains.as_slice(), path, false));
    let own = paths.iter().map(|path| (&[][..], path, true));
    let mut room = CLEARED_MAX;
    for (domains, path, own_host) in shared.chain(own) {
        for name in &names {
            let shared = domains.iter().map(|domain| format!("{name}{EXPIRY}{path}; Domain={domain}"));
            // Our own cookie of this host is small: only one of that name for the whole domain was set by an app.
            let own = (own_host && !is_ours(name)).then(|| format!("{name}{EXPIRY}{path}"));
            for text in shared.chain(own) {
                let Some(left) = room.checked_sub(text.len()) else { return response };
                room = left;
                if let Ok(value) = HeaderValue::try_from(text) {
                    headers.append(SET_COOKIE, value);
                }
            }
        }
    }
    response
}

/// Whether browsers trust this host without https.
fn is_localhost(host: &str) -> bool {
    let host = strip_port(host).to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

/// The paths whose cookies are sent to this path: itself and its parents.
fn paths(path: &str) -> BTreeSet<&str> {
    let mut paths = BTreeSet::from(["/"]);
    if path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';') {
        for (at, _) in path.match_indices('/').skip(1).take(PATHS_MAX) {
            paths.extend([&path[..at], &path[..=at]]);
        }
        paths.extend(path.starts_with('/').then_some(path));
    }
    paths
}

/// The domains whose cookies are sent to this host.
fn shared_domains(host: &str) -> Vec<String> {
    let host = strip_port(host).trim_end_matches('.').to_ascii_lowercase();
    let is_name = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    if !is_name || host.parse::<std::net::IpAddr>().is_ok() {
        return Vec::new();
    }
    let above = std::iter::successors(Some(host.as_str()), |name| name.split_once('.').map(|(_, rest)| rest));
    // `localhost` is the only name without a dot for which browsers accept cookies.
    let settable = above.filter(|name| name.contains('.') || *name == "localhost");
    settable.take(DOMAINS_MAX).map(str::to_owned).collect()
}

fn is_ours(name: &str) -> bool {
    name.trim_start_matches("__Host-").starts_with(OUR_COOKIES)
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn expired(response: &Response) -> Vec<&str> {
        response.headers().get_all(SET_COOKIE).iter().map(|value| value.to_str().expect("text")).collect()
    }

    #[test]
    fn too_large_cookies_are_cleared_by_name() {
        let parts = |cookies: &[&str]| {
            let request =
                cookies.iter().fold(Request::get("/apps/tides"), |request, line| request.header(COOKIE, *line));
            request.body(()).expect("a request").into_parts().0
        };
        let cookie = format!("a={}; slipway_session=00; b", "x".repeat(COOKIES_MAX - 30));
        assert!(cookies_too_large(&parts(&[&cookie]), "builder.x.test", false).is_none());
        let other = format!("c={}", "x".repeat(100));
        let response = cookies_too_large(&parts(&[&cookie, &other]), "builder.x.test:8080", false).expect("too large");
        assert_eq!(response.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        assert!(!response.headers().contains_key("clear-site-data"), "it would only disable the other headers");
        for (host, is_https) in [("builder.x.test", true), ("builder.localhost:8080", false), ("LOCALHOST", false)] {
            let response = head_too_large(b"a", host, "/", is_https);
            assert_eq!(response.headers()["clear-site-data"], "\"cookies\"", "{host}");
        }
        let expired = expired(&response);
        for name in ["a", "b", "c"] {
            for path in ["/", "/apps", "/apps/", "/apps/tides"] {
                for of in ["", "; Domain=builder.x.test", "; Domain=x.test"] {
                    let wanted = format!("{name}=; Max-Age=0; Path={path}{of}");
                    assert!(expired.contains(&wanted.as_str()), "{wanted}: {expired:?}");
                }
            }
        }
        assert!(expired.contains(&"slipway_session=; Max-Age=0; Path=/; Domain=x.test"), "{expired:?}");
        assert!(!expired.contains(&"slipway_session=; Max-Age=0; Path=/"), "the operator stays logged in");
    }

    #[test]
    fn a_response_is_bounded_and_the_next_clears_the_rest() {
        // The limit of browsers for one domain: 180 cookies of 4096 bytes, name and value together.
        let mut names: Vec<String> = (0..180).map(|n| format!("{n:0>4000}")).collect();
        let mut answers = 0;
        while !names.is_empty() {
            let line = names.join(";");
            let response = head_too_large(line.as_bytes(), "ducks.x.test", "/a/b/c", true);
            let expired = expired(&response);
            assert!(expired.iter().map(|text| text.len()).sum::<usize>() <= CLEARED_MAX);
            let before = names.len();
            names.retain(|name| !expired.contains(&format!("{name}=; Max-Age=0; Path=/; Domain=x.test").as_str()));
            assert!(names.len() < before);
            answers += 1;
        }
        assert!(answers <= 10, "{answers}");
    }

    #[test]
    fn invalid_hosts_and_paths_add_nothing_to_a_response() {
        for (host, path) in [("x.test; Secure", "/"), ("192.0.2.1", "/a;Domain=y"), ("[::1]:80", "*"), ("", "/a b")] {
            let response = head_too_large(b"a", host, path, false);
            assert_eq!(expired(&response), ["a=; Max-Age=0; Path=/"], "{host} {path}");
        }
        let response = head_too_large(b"", "x.test", "/", true);
        assert!(!response.headers().contains_key("clear-site-data"));
    }
}
