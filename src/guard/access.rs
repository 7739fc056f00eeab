//! Authentication: with a password set, all but a few addresses need a session or a token.

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, LOCATION};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::{ClientIp, Guard, cookie, is_call, is_https};
use crate::domain::Principal;
use crate::error::{AppError, AppResult, ErrorKind};
use crate::services::Services;
use crate::services::tokens::TokenCheck;

/// Maximum length of the address that a login redirects to, in bytes.
const NEXT_MAX: usize = 2000;

/// The caller; in every request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// No password is set: every caller has full access.
    Anyone,
    /// A browser with a session.
    Session,
    /// A program with an API token.
    Token,
    /// An unauthenticated caller at a public address.
    Stranger,
}

impl Caller {
    /// Whether the caller may see details.
    pub fn is_known(self) -> bool {
        self != Self::Stranger
    }
}

/// Whether a password is set; in every request's extensions, for the pages' menu.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswordSet(pub bool);

/// Authenticates the caller. Adds it to the request's extensions: as a [`Caller`] and, if it is authenticated, as a
/// [`Principal`].
pub(super) async fn check(State(guard): State<Guard>, from: ClientIp, mut request: Request, next: Next) -> Response {
    let services = &guard.0.services;
    let caller = match principal(services, request.headers(), from).await {
        Ok(Some(principal)) => {
            if matches!(principal, Principal::Token(_)) && !accepts_tokens(request.uri()) {
                return AppError::new(
                    ErrorKind::Forbidden,
                    "needs_login",
                    "API tokens are only valid for the HTTP API.",
                )
                .hint("Pages need a login. /docs lists the API's calls.")
                .into_response();
            }
            let caller = Caller::from(&principal);
            request.extensions_mut().insert(principal);
            caller
        }
        Ok(None) if is_open(request.uri().path()) => Caller::Stranger,
        Ok(None) => return refuse(&request),
        Err(error) if error.kind == ErrorKind::Unauthorized && is_open(request.uri().path()) => Caller::Stranger,
        Err(error) => return error.into_response(),
    };
    request.extensions_mut().insert(PasswordSet(services.password_is_set()));
    request.extensions_mut().insert(caller);
    let mut response = next.run(request).await;
    // The listener reserves connections for addresses with logged-in users. After a login the page has reported it.
    if response.extensions().get::<Caller>().is_none() {
        response.extensions_mut().insert(caller);
    }
    response
}

impl From<&Principal> for Caller {
    fn from(principal: &Principal) -> Self {
        match principal {
            Principal::Anyone => Self::Anyone,
            Principal::Session(_) => Self::Session,
            Principal::Token(_) => Self::Token,
        }
    }
}

/// Addresses that need no login.
fn is_open(path: &str) -> bool {
    matches!(path, "/login" | "/healthz" | "/readyz" | "/favicon.ico") || path.starts_with("/static/")
}

/// Where tokens are valid: at the API, whose calls declare the scope that they need, and at its description. Pages
/// are only for users.
fn accepts_tokens(uri: &Uri) -> bool {
    let path = uri.path();
    is_call(uri) || path == "/docs" || path.starts_with("/docs/") || path.starts_with("/static/")
}

async fn principal(services: &Services, headers: &HeaderMap, from: ClientIp) -> AppResult<Option<Principal>> {
    if !services.password_is_set() {
        return Ok(Some(Principal::Anyone));
    }
    // A request with a token is authenticated only by the token: a cookie does not replace an invalid token.
    if headers.contains_key(AUTHORIZATION) {
        let Some(token) = bearer(headers) else { return Ok(None) };
        return match services.check_token(token).await? {
            TokenCheck::Good(token) => Ok(Some(Principal::Token(token.grant()))),
            TokenCheck::Ended(end) => Err(AppError::new(
                ErrorKind::Unauthorized,
                "token_ended",
                format!("This API token expired on {}.", end.strftime("%-d %B %Y")),
            )
            .hint("Create a new one on the settings page.")),
            TokenCheck::Unknown => Ok(None),
        };
    }
    let secrets = cookie::session_secrets(headers, is_https(services)).collect();
    Ok(services.find_session(secrets, from.0).await?.map(Principal::Session))
}

/// The token of a single `Authorization: Bearer …` header.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && (1..=256).contains(&token.len())).then_some(token)
}

fn refuse(request: &Request) -> Response {
    let error = AppError::new(ErrorKind::Unauthorized, "unauthorized", "This needs a login or an API token.")
        .hint("Send an API token as “Authorization: Bearer …”. Create tokens on the settings page.");
    if is_call(request.uri()) || request.headers().contains_key(AUTHORIZATION) {
        return error.into_response();
    }
    let headers = request.headers();
    // htmx would insert the login into a part of the open page, so the response makes it navigate there.
    if headers.contains_key("hx-request") {
        let open = headers.get("hx-current-url").and_then(|url| url.to_str().ok()?.parse::<Uri>().ok());
        let mut response = StatusCode::UNAUTHORIZED.into_response();
        response.headers_mut().insert("hx-redirect", login_address(open.as_ref().and_then(path_of)));
        return response;
    }
    // After the login, a form's request cannot be repeated by opening its address.
    let next = matches!(*request.method(), Method::GET | Method::HEAD).then(|| path_of(request.uri())).flatten();
    (StatusCode::SEE_OTHER, [(LOCATION, login_address(next))]).into_response()
}

fn path_of(uri: &Uri) -> Option<&str> {
    uri.path_and_query().and_then(|path| local_path(path.as_str()))
}

/// The login page's address, with the address to open afterwards.
pub fn login_address(next: Option<&str>) -> HeaderValue {
    let next = next.filter(|next| *next != "/");
    let text = next.map_or_else(|| "/login".to_owned(), |next| format!("/login?to={}", encoded(next)));
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("/login"))
}

/// `text` if it is a path on this host, which no browser interprets as another host.
pub fn local_path(text: &str) -> Option<&str> {
    let is_path = text.starts_with('/') && !text.starts_with("//");
    let is_plain = !text.contains('\\') && text.bytes().all(|byte| byte.is_ascii_graphic());
    (is_path && is_plain && text.len() <= NEXT_MAX).then_some(text)
}

/// Percent-encoded, for a query.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&hex::encode_upper([byte]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_redirects_only_to_this_host() {
        for good in ["/", "/apps/brisk-otter?tab=files", "/a//b"] {
            assert_eq!(local_path(good), Some(good));
        }
        let long = format!("/{}", "a".repeat(NEXT_MAX));
        for bad in [
            "",
            "apps",
            "//evil.test",
            "/\\evil.test",
            "\\\\evil.test",
            "https://evil.test",
            "/a\nb",
            "/a b",
            "/ü",
            "/\t/evil.test",
            &long,
        ] {
            assert_eq!(local_path(bad), None, "{bad:?}");
        }
        assert_eq!(login_address(Some("/apps/a?b=c&d")), "/login?to=/apps/a%3Fb%3Dc%26d");
        assert_eq!(login_address(Some("/")), "/login");
        assert_eq!(login_address(None), "/login");
    }

    #[test]
    fn a_token_is_parsed_strictly() {
        let token = |values: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).expect("a header"));
            }
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(token(&[b"Bearer abc"]).as_deref(), Some("abc"));
        assert_eq!(token(&[b"bearer  abc "]).as_deref(), Some("abc"));
        for bad in [&b""[..], b"Bearer", b"Bearer ", b"Basic YTpi", b"abc", b"Bearer \xff"] {
            assert_eq!(token(&[bad]), None, "{}", String::from_utf8_lossy(bad));
        }
        assert_eq!(token(&[b"Bearer a", b"Bearer a"]), None);
        assert_eq!(token(&[format!("Bearer {}", "a".repeat(300)).as_bytes()]), None);
    }
}
