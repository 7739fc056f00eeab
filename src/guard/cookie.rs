//! The session's cookie: set, clear, read.

use axum::http::header::COOKIE;
use axum::http::{HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use crate::services::access::SESSION_DAYS;

/// Its name over plain http. The gateway removes cookies that begin with `slipway_` from requests to apps.
pub const SESSION_COOKIE: &str = "slipway_session";
/// Its name over https: browsers accept a cookie with this prefix only from the host itself, so no app on a
/// neighbouring host can set one.
pub const HOST_SESSION_COOKIE: &str = "__Host-slipway_session";

/// Length of a secret in characters: 32 bytes in hexadecimal.
const SECRET_LENGTH: usize = 64;

/// The cookie's name.
fn name(secure: bool) -> &'static str {
    if secure { HOST_SESSION_COOKIE } else { SESSION_COOKIE }
}

/// The value of `Set-Cookie` that starts a session. `secure`: sent only over https.
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
    let name = name(secure);
    let secure = if secure { "; Secure" } else { "" };
    let text = format!("{name}={secret}; Path=/; HttpOnly; SameSite=Lax; Max-Age={max_age}{secure}");
    HeaderValue::try_from(text).expect("a session's secret is hexadecimal")
}

/// All possible session secrets in a request's cookies; `secure`: links are https. Over plain http an
/// app on a neighbouring host can set cookies of this name too, and must not hide the valid one behind invalid ones. Their
/// number is limited by the size of the request's head. Invalid values are skipped, because a
/// browser sends cookies of any origin on the domain.
pub fn session_secrets(headers: &HeaderMap, secure: bool) -> impl Iterator<Item = &str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(move |pair| pair.trim().strip_prefix(name(secure))?.strip_prefix('='))
        .filter(|secret| secret.len() == SECRET_LENGTH && secret.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(cookies: &[&[u8]], secure: bool) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(COOKIE, HeaderValue::from_bytes(cookie).expect("a header"));
        }
        session_secrets(&headers, secure).map(str::to_owned).collect()
    }

    #[test]
    fn sessions_are_found_among_other_cookies() {
        let secret = |digit: &str| digit.repeat(SECRET_LENGTH);
        let cookie = format!("a=b; slipway_session={}; c", secret("0"));
        assert_eq!(found(&[cookie.as_bytes()], false), [secret("0")]);
        let two = format!("slipway_session=bad value; slipway_session={}", secret("1"));
        let third = format!("slipway_session={}", secret("2"));
        assert_eq!(found(&[two.as_bytes(), third.as_bytes()], false), [secret("1"), secret("2")]);
        for garbage in [
            &b""[..],
            b"slipway_session",
            b"slipway_session=",
            b"slipway_session=00ff",
            b"slipway_sessionx=1",
            b"slipway_session=\"1\"",
            b"slipway_session=\xff\xfe",
            b";;;===",
            format!("slipway_session={}", "a".repeat(SECRET_LENGTH + 1)).as_bytes(),
            format!("xslipway_session={}", secret("a")).as_bytes(),
            format!("slipway_session={}", secret("g")).as_bytes(),
        ] {
            assert!(found(&[garbage], false).is_empty(), "{garbage:?}");
        }
        let tossed = format!("slipway_session={}; ", secret("a")).repeat(500) + &third;
        assert_eq!(found(&[tossed.as_bytes()], false).last(), Some(&secret("2")), "there is no limit on their number");
    }

    #[test]
    fn over_https_only_the_hosts_own_cookie_counts() {
        let secret = |digit: &str| digit.repeat(SECRET_LENGTH);
        let both = format!("slipway_session={}; __Host-slipway_session={}", secret("1"), secret("2"));
        assert_eq!(found(&[both.as_bytes()], true), [secret("2")]);
        assert_eq!(found(&[both.as_bytes()], false), [secret("1")]);
    }

    #[test]
    fn scripts_and_other_hosts_cannot_access_the_cookie() {
        let cookie = session_cookie(&SecretString::from("00ff"), true);
        assert_eq!(
            cookie.to_str().expect("text"),
            "__Host-slipway_session=00ff; Path=/; HttpOnly; SameSite=Lax; Max-Age=2592000; Secure"
        );
        assert!(cookie.is_sensitive());
        let gone = clear_session_cookie(false);
        assert_eq!(gone.to_str().expect("text"), "slipway_session=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0");
    }
}
