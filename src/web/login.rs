//! `/login` and `/logout`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::{ConnectInfo, Extension, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};
use secrecy::ExposeSecret;
use serde::Deserialize;

use super::Web;
use super::chrome::{Chrome, cookie};
use super::extract::{Form, Query};
use super::plain_pages::LoginPage;
use super::reply;
use crate::domain::HostName;
use crate::error::{AppResult, ErrorKind};
use crate::services::access::SESSION_DAYS;

/// Cookie that holds a session's secret.
pub const SESSION_COOKIE: &str = "slipway_session";

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
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    Form(form): Form<LoginForm>,
) -> AppResult<Response> {
    let from = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.0.ip());
    let to = ours(&form.to);
    match web.services.login(&form.password, from).await {
        Ok(secret) => {
            let mut response = Redirect::to(to).into_response();
            let age = SESSION_DAYS * 24 * 60 * 60;
            response.headers_mut().append(header::SET_COOKIE, session_cookie(&web, secret.expose_secret(), age));
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

/// `POST /logout`
pub async fn logout(State(web): State<Web>, headers: HeaderMap) -> AppResult<Response> {
    if let Some(secret) = cookie(&headers, SESSION_COOKIE) {
        web.services.logout(secret).await?;
    }
    let mut response = Redirect::to("/login").into_response();
    response.headers_mut().append(header::SET_COOKIE, session_cookie(&web, "", 0));
    Ok(response)
}

fn session_cookie(web: &Web, value: &str, age: i64) -> HeaderValue {
    let secure = if web.services.url(&HostName::Builder).starts_with("https://") { "; Secure" } else { "" };
    let text = format!("{SESSION_COOKIE}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={age}{secure}");
    HeaderValue::from_str(&text).expect("a secret is hexadecimal")
}

/// A path of ours to go to; anything else is the first page.
pub(super) fn ours(to: &str) -> &str {
    let path = to.starts_with('/') && !to.starts_with("//") && !to.contains('\\');
    if path && to.bytes().all(|b| b.is_ascii_graphic()) { to } else { "/" }
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
