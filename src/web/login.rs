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

/// Largest form, in bytes: anybody can send it.
pub(super) const FORM_MAX: usize = 4 * 1024;

/// What the address says.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct LoginQuery {
    to: String,
}

/// What the form says.
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
    reply::page(&LoginPage { chrome, to: ours(&query.to).to_owned(), problem: None })
}

/// `POST /login`
pub async fn login(
    State(web): State<Web>,
    chrome: Chrome,
    from: ClientIp,
    headers: HeaderMap,
    Form(form): Form<LoginForm>,
) -> AppResult<Response> {
    let to = ours(&form.to);
    let is_https = is_https(&web.services);
    let known = web.services.known_browser(browser_marks(&headers, is_https)).await?;
    let attempt = Attempt { from: from.0, browser: known };
    let agent = headers.get(header::USER_AGENT).and_then(|name| name.to_str().ok()).unwrap_or_default();
    match web.services.login(&form.password, &attempt, agent).await {
        Ok(secret) => {
            let mut response = go_on(to);
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

/// Leads on after a login. The pages' policy lets no form of theirs end at another host, not even by redirects: where the
/// way leads to a draft or a preview, the browser begins it anew.
fn go_on(to: &str) -> Response {
    if !to.starts_with("/preview-access?") {
        return Redirect::to(to).into_response();
    }
    let mut response = plain_page(StatusCode::OK, "You are logged in", &["The page that you asked for opens now."]);
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

/// A path of ours to go to; anything else is the first page.
pub(super) fn ours(to: &str) -> &str {
    local_path(to).filter(|path| path.is_ascii()).unwrap_or("/")
}

#[cfg(test)]
mod tests {
    use super::ours;

    #[test]
    fn a_login_leads_only_to_our_own_pages() {
        assert_eq!(ours("/apps/brisk-otter"), "/apps/brisk-otter");
        for bad in ["", "//evil.test", "/\\evil.test", "https://evil.test", "javascript:x", "/a\r\nSet-Cookie: x"] {
            assert_eq!(ours(bad), "/", "{bad:?}");
        }
    }
}
