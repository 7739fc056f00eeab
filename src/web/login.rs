//! `/login` and `/logout`.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::Web;
use super::chrome::Chrome;
use super::extract::{Form, Query};
use super::plain_pages::LoginPage;
use super::reply;
use crate::error::{AppResult, ErrorKind};
use crate::guard::{
    Caller, ClientIp, browser_cookie, browser_marks, clear_session_cookie, is_https, local_path, plain_page,
    session_cookie, session_secrets,
};
use crate::services::login_limit::Attempt;

/// Maximum size of the form in bytes: it is read before authentication.
pub(super) const FORM_MAX: usize = 4 * 1024;

/// The query parameters.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct LoginQuery {
    to: String,
}

/// The form's fields.
#[derive(Deserialize)]
pub struct LoginForm {
    password: String,
    #[serde(default)]
    to: String,
}

/// `GET /login`
pub async fn page(State(web): State<Web>, chrome: Chrome, Query(query): Query<LoginQuery>) -> AppResult<Response> {
    if !web.services.password_is_set() {
        return Ok(Redirect::to("/").into_response());
    }
    reply::page(&LoginPage { chrome, to: own_path(&query.to).to_owned(), problem: None })
}

/// `POST /login`
pub async fn login(
    State(web): State<Web>,
    chrome: Chrome,
    from: ClientIp,
    headers: HeaderMap,
    Form(form): Form<LoginForm>,
) -> AppResult<Response> {
    let to = own_path(&form.to);
    let is_https = is_https(&web.services);
    let known = web.services.known_browser(browser_marks(&headers, is_https)).await?;
    let attempt = Attempt { from: from.0, browser: known };
    let agent = headers.get(header::USER_AGENT).and_then(|name| name.to_str().ok()).unwrap_or_default();
    match web.services.login(&form.password, &attempt, agent).await {
        Ok(secret) => {
            let mut response = redirect_after_login(to);
            response.headers_mut().append(header::SET_COOKIE, session_cookie(&secret, is_https));
            let mark = web.services.browser_mark(known).await?;
            response.headers_mut().append(header::SET_COOKIE, browser_cookie(&mark, is_https));
            response.extensions_mut().insert(Caller::Session);
            Ok(response)
        }
        Err(error) if matches!(error.kind, ErrorKind::Forbidden | ErrorKind::TooManyRequests) => {
            let problem = match &error.hint {
                Some(hint) => format!("{} {hint}", error.detail),
                None => error.detail.clone(),
            };
            let mut response = reply::page(&LoginPage { chrome, to: to.to_owned(), problem: Some(problem) })?;
            *response.status_mut() = error.kind.status();
            if let Some(seconds) = error.retry_after {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            }
            Ok(response)
        }
        Err(error) => Err(error),
    }
}

/// Redirects after a login. The pages' content security policy forbids forms to end at another host, even through
/// redirects. So if the target is a draft or a preview, the browser gets a page that opens it with a new navigation.
fn redirect_after_login(to: &str) -> Response {
    if !to.starts_with("/preview-access?") {
        return Redirect::to(to).into_response();
    }
    let mut response = plain_page(StatusCode::OK, "You are logged in", &["The page that you requested opens now."]);
    if let Ok(refresh) = HeaderValue::try_from(format!("0; url={to}")) {
        response.headers_mut().insert(header::REFRESH, refresh);
    }
    response
}

/// `POST /logout`
pub async fn logout(State(web): State<Web>, headers: HeaderMap) -> AppResult<Response> {
    let is_https = is_https(&web.services);
    web.services.logout(session_secrets(&headers, is_https).collect()).await?;
    let mut response = Redirect::to("/login").into_response();
    response.headers_mut().append(header::SET_COOKIE, clear_session_cookie(is_https));
    Ok(response)
}

/// A path on the builder to redirect to; any other address becomes the start page.
pub(super) fn own_path(to: &str) -> &str {
    local_path(to).filter(|path| path.is_ascii()).unwrap_or("/")
}

#[cfg(test)]
mod tests {
    use super::own_path;

    #[test]
    fn a_login_redirects_only_to_paths_of_the_builder() {
        assert_eq!(own_path("/apps/brisk-otter"), "/apps/brisk-otter");
        for bad in ["", "//evil.test", "/\\evil.test", "https://evil.test", "javascript:x", "/a\r\nSet-Cookie: x"] {
            assert_eq!(own_path(bad), "/", "{bad:?}");
        }
    }
}
