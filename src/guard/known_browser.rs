//! The cookie of a browser that has logged in before. It gives no access: it only gives the browser's login
//! attempts a separate limit.

use axum::http::header::COOKIE;
use axum::http::{HeaderMap, HeaderValue};

use crate::services::login_limit::KNOWN_DAYS;

/// Its name over http. The gateway removes cookies that begin with `slipway_` from requests to apps.
const NAME: &str = "slipway_browser";
/// Its name over https, where no other host can set it.
const HOST_NAME: &str = "__Host-slipway_browser";
/// Maximum length of a mark in bytes.
const MARK_MAX: usize = 128;

/// The value of `Set-Cookie` that marks a browser. `secure`: sent only over https.
pub fn browser_cookie(mark: &str, secure: bool) -> HeaderValue {
    let max_age = KNOWN_DAYS * 24 * 60 * 60;
    let (name, secure) = if secure { (HOST_NAME, "; Secure") } else { (NAME, "") };
    let text = format!("{name}={mark}; Path=/; HttpOnly; SameSite=Lax; Max-Age={max_age}{secure}");
    let mut value = HeaderValue::try_from(text).expect("a mark is hexadecimal, with dots");
    value.set_sensitive(true);
    value
}

/// All possible marks in a request's cookies.
pub fn browser_marks(headers: &HeaderMap, secure: bool) -> impl Iterator<Item = &str> {
    let name = if secure { HOST_NAME } else { NAME };
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(move |pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
        .filter(|mark| (1..=MARK_MAX).contains(&mark.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_only_under_their_name() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("a=b; slipway_browser=1.2.3; slipway_browserx=4"));
        headers.append(COOKIE, HeaderValue::from_static("__Host-slipway_browser=5"));
        assert_eq!(browser_marks(&headers, false).collect::<Vec<_>>(), ["1.2.3"]);
        assert_eq!(browser_marks(&headers, true).collect::<Vec<_>>(), ["5"]);
        let cookie = browser_cookie("1.2.3", true);
        assert_eq!(
            cookie.to_str().expect("text"),
            "__Host-slipway_browser=1.2.3; Path=/; HttpOnly; SameSite=Lax; Max-Age=31536000; Secure"
        );
    }
}
