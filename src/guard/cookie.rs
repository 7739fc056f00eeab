//! The session's cookie: written, taken back, found among what a browser sends.

use axum::http::header::COOKIE;
use axum::http::{HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use crate::services::access::SESSION_DAYS;

/// Its name. The gateway keeps cookies that begin with `slipway_` away from apps.
pub const SESSION_COOKIE: &str = "slipway_session";

/// Sessions that one request may try. An app on a neighbouring host can set cookies of this name
/// too, and is not to hide the good one behind a single bad one.
const TRIED_MAX: usize = 8;
/// Longest secret that is looked up, in bytes.
const SECRET_MAX: usize = 128;

/// The value of `Set-Cookie` that begins a session. `secure`: sent over https alone.
pub fn session_cookie(secret: &SecretString, secure: bool) -> HeaderValue {
    let max_age = SESSION_DAYS * 24 * 60 * 60;
    let mut value = written(secret.expose_secret(), max_age, secure);
    value.set_sensitive(true);
    value
}

/// The value of `Set-Cookie` that ends a session.
pub fn clear_session_cookie(secure: bool) -> HeaderValue {
    written("", 0, secure)
}

fn written(secret: &str, max_age: i64, secure: bool) -> HeaderValue {
    let secure = if secure { "; Secure" } else { "" };
    let text = format!("{SESSION_COOKIE}={secret}; Path=/; HttpOnly; SameSite=Lax; Max-Age={max_age}{secure}");
    HeaderValue::try_from(text).expect("a session's secret is hexadecimal")
}

/// What may be a session's secret among a request's cookies. What is no text, or none of ours, is
/// passed over: a browser sends whatever it was given by anyone.
pub fn session_secrets(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().strip_prefix(SESSION_COOKIE)?.strip_prefix('='))
        .filter(|secret| {
            (1..=SECRET_MAX).contains(&secret.len()) && secret.bytes().all(|byte| byte.is_ascii_alphanumeric())
        })
        .take(TRIED_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(cookies: &[&[u8]]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(COOKIE, HeaderValue::from_bytes(cookie).expect("a header"));
        }
        session_secrets(&headers).map(str::to_owned).collect()
    }

    #[test]
    fn a_session_is_found_among_anything() {
        assert_eq!(found(&[b"a=b; slipway_session=00ff; c"]), ["00ff"]);
        assert_eq!(found(&[b"slipway_session=bad value; slipway_session=11", b"slipway_session=22"]), ["11", "22"]);
        for garbage in [
            &b""[..],
            b"slipway_session",
            b"slipway_session=",
            b"slipway_sessionx=1",
            b"xslipway_session=1",
            b"slipway_session=\"1\"",
            b"slipway_session=\xff\xfe",
            b";;;===",
        ] {
            assert!(found(&[garbage]).is_empty(), "{garbage:?}");
        }
        assert!(found(&[format!("slipway_session={}", "a".repeat(129)).as_bytes()]).is_empty());
        assert_eq!(found(&["slipway_session=a; ".repeat(50).as_bytes()]).len(), TRIED_MAX);
    }

    #[test]
    fn the_cookie_is_kept_from_scripts_and_neighbours() {
        let cookie = session_cookie(&SecretString::from("00ff"), true);
        assert_eq!(
            cookie.to_str().expect("text"),
            "slipway_session=00ff; Path=/; HttpOnly; SameSite=Lax; Max-Age=2592000; Secure"
        );
        assert!(cookie.is_sensitive());
        let gone = clear_session_cookie(false);
        assert_eq!(gone.to_str().expect("text"), "slipway_session=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0");
    }
}
