//! When a browser sends more cookies than we read: an answer that clears them.
//!
//! An app can set cookies for the domain that the builder and all apps share. A browser sends them with every request
//! to any of these hosts, up to some hundreds of kilobytes, and would be locked out of all of them.

use std::collections::BTreeSet;

use axum::http::header::{CONNECTION, COOKIE, HeaderName, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;

use super::plain_page;
use crate::domain::name::strip_port;

/// Most bytes of cookies that a request may carry. Servers of apps take less than we do, often 64 KiB of head in all.
pub const COOKIES_MAX: usize = 32 * 1024;
/// Most bytes of `Set-Cookie` in one answer; browsers take about 256 KiB of head. What is left is cleared by the next.
const CLEARED_MAX: usize = 96 * 1024;
/// What is added to one cookie's name to have it expire, reckoned in bytes.
const EXPIRY: &str = "=; Max-Age=0; Path=/";
/// Most domains above a host for which cookies are cleared.
const DOMAINS_MAX: usize = 10;
/// Begins the names of our own cookies.
const OUR_COOKIES: &str = "slipway_";

/// The answer to a request for `host` whose cookies are too large; none where they are not.
pub fn cookies_too_large(headers: &HeaderMap, host: &str) -> Option<Response> {
    let bytes: usize = headers.get_all(COOKIE).iter().map(HeaderValue::len).sum();
    (bytes > COOKIES_MAX).then(|| {
        let lines = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
        clearing(lines, host)
    })
}

/// The answer that clears the cookies in these lines of `Cookie`.
pub fn clearing<'a>(lines: impl Iterator<Item = &'a [u8]>, host: &str) -> Response {
    let mut response = plain_page(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "Too many cookies",
        &[
            "Your browser sent more cookies than this server reads. Most likely an app set them for all of its neighbours.",
            "They have been cleared now. Reload this page; if you see it again, reload once more, or delete the cookies of \
             this site in your browser's settings.",
        ],
    );
    let headers = response.headers_mut();
    // Browsers heed it over https and on localhost; elsewhere the cookies expire by name.
    headers.insert(HeaderName::from_static("clear-site-data"), HeaderValue::from_static("\"cookies\""));
    // What may follow on this connection is as large.
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    let domains = shared_domains(host);
    let names: BTreeSet<&str> = lines
        .filter_map(|line| std::str::from_utf8(line).ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split('=').next())
        .filter(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()))
        .collect();
    let mut room = CLEARED_MAX;
    for name in names {
        // Our own cookie of this very host is small: only one of that name for the whole domain is another's.
        let own_host = (!is_ours(name)).then_some(None);
        for of in domains.iter().map(|domain| Some(domain.as_str())).chain(own_host) {
            let text = match of {
                Some(domain) => format!("{name}{EXPIRY}; Domain={domain}"),
                None => format!("{name}{EXPIRY}"),
            };
            let Some(left) = room.checked_sub(text.len()) else { return response };
            room = left;
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.append(SET_COOKIE, value);
            }
        }
    }
    response
}

fn is_ours(name: &str) -> bool {
    name.trim_start_matches("__Host-").starts_with(OUR_COOKIES)
}

/// The domains for which a neighbour of `host` may have set a cookie that is sent to it: the host and what stands above
/// it. Browsers pass over those that take no cookies.
fn shared_domains(host: &str) -> Vec<String> {
    let host = strip_port(host).trim_end_matches('.').to_ascii_lowercase();
    if host.starts_with('[') || host.parse::<std::net::IpAddr>().is_ok() {
        return Vec::new();
    }
    let above = std::iter::successors(Some(host.as_str()), |name| name.split_once('.').map(|(_, rest)| rest));
    above.take(DOMAINS_MAX).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expired(response: &Response) -> Vec<&str> {
        response.headers().get_all(SET_COOKIE).iter().map(|value| value.to_str().expect("text")).collect()
    }

    #[test]
    fn what_is_too_large_is_cleared_by_name() {
        let mut headers = HeaderMap::new();
        let cookie = format!("a={}; slipway_session=00; b", "x".repeat(COOKIES_MAX - 30));
        headers.append(COOKIE, HeaderValue::try_from(cookie).expect("a header"));
        assert!(cookies_too_large(&headers, "builder.x.test").is_none());
        headers.append(COOKIE, HeaderValue::try_from(format!("c={}", "x".repeat(100))).expect("a header"));
        let response = cookies_too_large(&headers, "builder.x.test:8080").expect("too large");
        assert_eq!(response.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        assert_eq!(response.headers()["clear-site-data"], "\"cookies\"");
        let expired = expired(&response);
        for name in ["a", "b", "c"] {
            for of in ["", "; Domain=builder.x.test", "; Domain=x.test"] {
                let wanted = format!("{name}=; Max-Age=0; Path=/{of}");
                assert!(expired.contains(&wanted.as_str()), "{wanted}: {expired:?}");
            }
        }
        assert!(expired.contains(&"slipway_session=; Max-Age=0; Path=/; Domain=x.test"), "{expired:?}");
        assert!(!expired.contains(&"slipway_session=; Max-Age=0; Path=/"), "the operator stays logged in");
    }

    #[test]
    fn an_answer_is_bounded_and_the_next_clears_the_rest() {
        let mut names: Vec<String> = (0..180).map(|n| format!("{n:0>4000}")).collect();
        let mut answers = 0;
        while !names.is_empty() {
            let line = names.iter().map(|name| format!("{name}=x")).collect::<Vec<_>>().join("; ");
            let response = clearing([line.as_bytes()].into_iter(), "ducks.x.test");
            let expired = expired(&response);
            assert!(expired.iter().map(|text| text.len()).sum::<usize>() <= CLEARED_MAX);
            let before = names.len();
            names.retain(|name| expired.iter().filter(|text| text.starts_with(name.as_str())).count() < 4);
            assert!(names.len() < before);
            answers += 1;
        }
        assert!(answers <= 30, "{answers}");
    }
}
