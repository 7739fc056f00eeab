//! Access to drafts and previews that require a login: a browser needs the cookie of a pass for the host.
//!
//! A browser that opens a page without the cookie is redirected to the builder's host, which checks its login and
//! redirects it back with a ticket; the ticket is exchanged for the cookie here. A share link is exchanged here as
//! well. The builder's own cookie and its API tokens are never sent to these hosts, and are not accepted there.

use axum::http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, COOKIE, LOCATION, REFERRER_POLICY, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use secrecy::ExposeSecret;

use crate::browser_errors::Place;
use crate::config::Config;
use crate::domain::{AppName, HostName};
use crate::error::{AppError, AppResult, ErrorKind};
use crate::gateway::inject::{PREFIX, opens_page};
use crate::guard::{linked_page, local_path, plain_page};
use crate::services::Services;
use crate::services::preview_access::{ENTER, Pass};

/// Name of the cookie; with https it has a prefix that prevents other hosts from setting it. The gateway removes cookies
/// with this prefix from requests to apps, and from responses of apps.
const COOKIE_NAME: &str = "slipway_preview";
const HOST_PREFIX: &str = "__Host-";
/// Path below [`PREFIX`] that verifies that the browser has stored the cookie.
const ENTERED: &str = "entered";
/// The path of webhook calls; see [`Services::accepts_signed_calls`].
const WEBHOOK: &str = "/webhook";
/// Maximum length of a secret in bytes.
const SECRET_MAX: usize = 128;

/// The response to a request that may not reach the draft or preview; `None` if it may.
pub(super) async fn answer(services: &Services, app: &AppName, place: Place, parts: &Parts) -> Option<Response> {
    let ours = parts.uri.path().strip_prefix(PREFIX).filter(|ours| matches!(*ours, ENTER | ENTERED));
    if !services.config().protects_previews() {
        // An old link, or a share link that is not needed.
        return ours.map(|_| redirect(&next(parts)));
    }
    let answered = match ours {
        Some(_) if parts.method != Method::GET => {
            Ok(Some((StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET")]).into_response()))
        }
        Some(ENTER) => enter(services, app, place, parts).await.map(Some),
        Some(_) => entered(services, app, place, parts).await.map(Some),
        None => check(services, app, place, parts).await,
    };
    answered.unwrap_or_else(|error| {
        Some(plain_page(error.kind.status(), "This cannot be shown at the moment", &[&error.detail]))
    })
}

async fn check(services: &Services, app: &AppName, place: Place, parts: &Parts) -> AppResult<Option<Response>> {
    let is_https = services.config().is_https();
    if services.has_pass(app, place, secrets(&parts.headers, is_https)).await? {
        return Ok(None);
    }
    let is_webhook = place == Place::Preview && parts.method == Method::POST && parts.uri.path() == WEBHOOK;
    if is_webhook && services.accepts_signed_calls(app).await {
        return Ok(None);
    }
    if opens_page(&parts.method, &parts.headers) {
        let next = parts.uri.path_and_query().and_then(|path| local_path(path.as_str())).unwrap_or("/");
        return Ok(Some(redirect(&builder_address(services, app, place, next))));
    }
    Ok(Some(refusal(&parts.headers)))
}

/// The builder's address that redirects a logged-in browser back, with a ticket.
fn builder_address(services: &Services, app: &AppName, place: Place, next: &str) -> String {
    let pairs = [("app", app.as_str()), ("place", place.as_str()), ("next", next)];
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    format!("{}/preview-access?{query}", services.url(&HostName::Builder))
}

/// The response for a script or a program, in its format.
fn refusal(headers: &HeaderMap) -> Response {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let detail = "Drafts and previews need a login to Slipway or a share link.";
    let hint =
        "Open the address in a browser, or ask for a share link, which can be created on the app's page in Slipway.";
    if accept.contains("text/html") {
        return plain_page(StatusCode::UNAUTHORIZED, "Login required", &[detail, hint]);
    }
    let mut response = if accept.contains("json") {
        AppError::new(ErrorKind::Unauthorized, "unauthorized", detail).hint(hint).into_response()
    } else {
        let kind = [(CONTENT_TYPE, "text/plain; charset=utf-8")];
        (StatusCode::UNAUTHORIZED, kind, format!("{detail} {hint}\n")).into_response()
    };
    // Tokens are not valid here, so the usual `WWW-Authenticate` header is removed.
    response.headers_mut().remove(axum::http::header::WWW_AUTHENTICATE);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// `/.slipway/enter?ticket=…&next=…` and `/.slipway/enter?link=…`: sets the cookie.
async fn enter(services: &Services, app: &AppName, place: Place, parts: &Parts) -> AppResult<Response> {
    let config = services.config();
    let (ticket, link) = (parameter(parts, "ticket"), parameter(parts, "link"));
    let entered = redirect(&entered_address(&next(parts)));
    let pass = match (&ticket, &link) {
        (Some(ticket), _) => services.enter_by_ticket(ticket, app, place).await?,
        (None, Some(link)) => services.enter_by_link(link, app, place).await?,
        (None, None) => None,
    };
    if let Some(pass) = pass {
        let mut response = entered;
        for cookie in cookies(config, &pass) {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
        return Ok(response);
    }
    // A used address, opened again by a browser that already has the cookie.
    if services.has_pass(app, place, secrets(&parts.headers, config.is_https())).await? {
        return Ok(entered);
    }
    if ticket.is_some() {
        return Ok(linked_page(
            StatusCode::FORBIDDEN,
            "This address can be used only once",
            &["It was already opened, or it is more than a minute old."],
            (&services.place_url(app, place, &next(parts)), "Open the page again"),
        ));
    }
    let sentences = [
        "It has expired or was revoked. Ask the person who sent it for a new one.",
        "Users of Slipway can create one on the app's page.",
    ];
    Ok(plain_page(StatusCode::GONE, "This link is no longer valid", &sentences))
}

fn entered_address(next: &str) -> String {
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("next", next).finish();
    format!("{PREFIX}{ENTERED}?{query}")
}

/// `/.slipway/entered?next=…`: redirects to the page. Without this step, a browser without the cookie would be redirected endlessly.
async fn entered(services: &Services, app: &AppName, place: Place, parts: &Parts) -> AppResult<Response> {
    if services.has_pass(app, place, secrets(&parts.headers, services.config().is_https())).await? {
        return Ok(redirect(&next(parts)));
    }
    let sentences = [
        "Your browser did not store the cookie that gives access to this page.",
        "Some browsers store no cookies for embedded pages: open the page in a new tab. Otherwise allow cookies for this address.",
    ];
    let url = services.place_url(app, place, &next(parts));
    Ok(linked_page(StatusCode::FORBIDDEN, "This page needs a cookie", &sentences, (&url, "Open it in a new tab")))
}

/// The path to open afterwards, which cannot be on another host.
fn next(parts: &Parts) -> String {
    parameter(parts, "next").filter(|next| local_path(next).is_some()).unwrap_or_else(|| "/".to_owned())
}

fn parameter(parts: &Parts, name: &str) -> Option<String> {
    let query = parts.uri.query().unwrap_or_default();
    let found = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name);
    found.map(|(_, value)| value.into_owned()).filter(|value| !value.is_empty())
}

fn redirect(to: &str) -> Response {
    let to = HeaderValue::try_from(to).unwrap_or(HeaderValue::from_static("/"));
    let headers = [
        (LOCATION, to),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (StatusCode::SEE_OTHER, headers).into_response()
}

/// All possible secrets of a pass in a request's cookies.
fn secrets(headers: &HeaderMap, is_https: bool) -> impl Iterator<Item = &str> {
    let prefix = if is_https { HOST_PREFIX } else { "" };
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(move |pair| pair.trim().strip_prefix(prefix)?.strip_prefix(COOKIE_NAME)?.strip_prefix('='))
        .filter(|secret| {
            (1..=SECRET_MAX).contains(&secret.len()) && secret.bytes().all(|byte| byte.is_ascii_alphanumeric())
        })
}

/// The cookies that contain a pass.
///
/// The builder's pages show drafts and previews in a frame. If the browser treats both hosts as the same site, an
/// ordinary cookie is sent in the frame. If it does not, only a cookie with `SameSite=None; Partitioned` is sent, which
/// the browser stores separately for each embedding site, and only over https or on `*.localhost`, which browsers trust
/// as well. With plain http and two sites, the frame shows a link that opens a new tab.
fn cookies(config: &Config, pass: &Pass) -> Vec<HeaderValue> {
    let max_age = pass.until.as_second().saturating_sub(pass.at.as_second()).max(0);
    let is_https = config.is_https();
    let prefix = if is_https { HOST_PREFIX } else { "" };
    let secret = pass.secret.expose_secret();
    let common = format!("{prefix}{COOKIE_NAME}={secret}; Path=/; HttpOnly; Max-Age={max_age}");
    let secure = if is_https { "; Secure" } else { "" };
    let own = format!("{common}; SameSite=Lax{secure}");
    let framed = format!("{common}; SameSite=None; Secure; Partitioned");
    let is_local = config.apps_domain == "localhost" || config.apps_domain.ends_with(".localhost");
    let all = match (config.apps_are_another_site(), is_https) {
        (true, true) => vec![framed],
        // Some browsers reject a `Secure` cookie on `localhost`.
        (true, false) if is_local => vec![own, framed],
        _ => vec![own],
    };
    let value = |text: String| {
        let mut value = HeaderValue::try_from(text).expect("a pass's secret is hexadecimal");
        value.set_sensitive(true);
        value
    };
    all.into_iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set_by(environment: &[(&str, &str)]) -> Vec<String> {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let config = Config::load(None, environment, &[]).expect("good");
        let at = jiff::Timestamp::UNIX_EPOCH;
        let pass = Pass { secret: "00ff".into(), at, until: at + jiff::SignedDuration::from_hours(1) };
        cookies(&config, &pass).iter().map(|cookie| cookie.to_str().expect("text").to_owned()).collect()
    }

    #[test]
    fn browsers_send_the_cookie_from_frames_in_our_pages() {
        let plain = "slipway_preview=00ff; Path=/; HttpOnly; Max-Age=3600";
        let nip = ("SLIPWAY_DOMAIN", "203.0.113.7.nip.io");
        let (https, apart) = (("SLIPWAY_PUBLIC_URL", "https://{host}"), ("SLIPWAY_APPS_DOMAIN", "apps.test"));
        assert_eq!(set_by(&[nip]), [format!("{plain}; SameSite=Lax")]);
        assert_eq!(set_by(&[nip, https]), [format!("__Host-{plain}; SameSite=Lax; Secure")]);
        let framed = "SameSite=None; Secure; Partitioned";
        assert_eq!(set_by(&[nip, https, apart]), [format!("__Host-{plain}; {framed}")]);
        assert_eq!(set_by(&[nip, apart]), [format!("{plain}; SameSite=Lax")]);
        assert_eq!(set_by(&[]), [format!("{plain}; SameSite=Lax"), format!("{plain}; {framed}")]);
    }

    #[test]
    fn passes_are_found_among_other_cookies() {
        let found = |cookie: &str, is_https: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(COOKIE, HeaderValue::from_str(cookie).expect("a header"));
            secrets(&headers, is_https).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(found("a=b; slipway_preview=11; slipway_preview=22; c", false), ["11", "22"]);
        assert_eq!(
            found("__Host-slipway_preview=11; slipway_preview=22", true),
            ["11"],
            "not the cookie of another host"
        );
        for garbage in
            ["", "slipway_preview", "slipway_preview=", "slipway_previewx=1", "slipway_preview=\"1\"", ";;==="]
        {
            assert!(found(garbage, false).is_empty(), "{garbage}");
        }
        assert!(found(&format!("slipway_preview={}", "a".repeat(SECRET_MAX + 1)), false).is_empty());
    }
}
