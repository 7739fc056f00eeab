//! `/health`, `/shortcuts`, the theme and the keys.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use serde_json::json;

use super::Web;
use super::chrome::{Chrome, DEMO_NOTE_COOKIE, KEYS_COOKIE, THEME_COOKIE, Theme};
use super::extract::Form;
use super::format::When;
use super::login::own_path;
use super::plain_pages::{CheckView, HealthPage, SHORTCUTS, ShortcutsPage};
use super::reply::{self, Caller};
use super::ui;
use crate::domain::{Bytes, Principal};
use crate::error::AppResult;
use crate::services::health::CheckTime;

/// `GET /health`
pub async fn health(State(web): State<Web>, chrome: Chrome) -> AppResult<Response> {
    let (mut checks, disk) = tokio::join!(web.services.health(), web.services.image_disk());
    let now = web.services.now();
    let all_tested = checks.iter().all(|check| check.tested != CheckTime::Never);
    let title = match (checks.iter().all(|check| check.ok), checks.iter().any(|check| check.warning)) {
        (true, false) if all_tested => "Everything works",
        (true, false) => "No problem found",
        (true, true) => "Everything works, with a warning",
        (false, _) => "Something needs attention",
    };
    let engine = checks.iter_mut().find(|check| check.name == "docker" && check.ok);
    if let (Some(engine), Some(disk)) = (engine, disk.filter(|disk| disk.images > 0)) {
        engine.detail = format!("{} The apps’ images take {} of its disk.", engine.detail, Bytes(disk.bytes));
    }
    let checks = checks
        .into_iter()
        .map(|check| CheckView {
            name: capitalised(&check.name),
            ok: check.ok,
            warning: check.warning,
            at: if let CheckTime::At(at) = check.tested { Some(When::new(at, now)) } else { None },
            untested: check.tested == CheckTime::Never,
            detail: check.detail,
            hint: check.hint,
        })
        .collect();
    reply::page(&HealthPage { chrome, title, checked: When::new(now, now), checks })
}

/// `POST /health/model-test`: asks the model something small.
pub async fn test_model(State(web): State<Web>, Extension(principal): Extension<Principal>) -> AppResult<Response> {
    web.services.test_model(&principal).await?;
    Ok(Redirect::to("/health").into_response())
}

fn capitalised(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// `GET /shortcuts`
pub async fn shortcuts(chrome: Chrome) -> AppResult<Response> {
    reply::page(&ShortcutsPage { chrome, keys: SHORTCUTS })
}

/// The form's fields.
#[derive(Deserialize)]
pub struct ThemeForm {
    theme: Theme,
    #[serde(default)]
    to: String,
}

/// `POST /theme`
pub async fn theme(caller: Caller, headers: axum::http::HeaderMap, Form(form): Form<ThemeForm>) -> AppResult<Response> {
    if let Caller::Fragment = caller {
        // The open page changes in place.
        let mut response = reply::page(&ThemeButton { theme: form.theme })?;
        if let Ok(event) = HeaderValue::try_from(
            json!({"slipway:theme": {"theme": form.theme.as_str(), "target": "body"}}).to_string(),
        ) {
            response.headers_mut().insert("hx-trigger", event);
        }
        return Ok(with_cookie(response, THEME_COOKIE, form.theme.as_str()));
    }
    // The menu has this form on every page: return to the page where it was submitted.
    let came_from = came_from(&headers);
    let to = if form.to.is_empty() { own_path(&came_from) } else { own_path(&form.to) };
    Ok(with_cookie(Redirect::to(to).into_response(), THEME_COOKIE, form.theme.as_str()))
}

/// The button that switches to the next theme.
#[derive(Template)]
#[template(path = "theme_button.html")]
struct ThemeButton {
    theme: Theme,
}

/// The page on which a form was sent, as a path with its query; empty where the browser does not say.
fn came_from(headers: &axum::http::HeaderMap) -> String {
    let referrer = headers.get(header::REFERER).and_then(|value| value.to_str().ok());
    let uri = referrer.and_then(|text| text.parse::<axum::http::Uri>().ok());
    uri.and_then(|uri| uri.path_and_query().map(ToString::to_string)).unwrap_or_default()
}

/// `POST /demo-note`: dismisses the note of demo mode, in this browser and for good.
pub async fn dismiss_demo_note(caller: Caller, headers: axum::http::HeaderMap) -> Response {
    let response = if caller.is_htmx() {
        ().into_response()
    } else {
        Redirect::to(own_path(&came_from(&headers))).into_response()
    };
    with_cookie(response, DEMO_NOTE_COOKIE, "off")
}

/// The form's fields.
#[derive(Deserialize)]
pub struct KeysForm {
    keys: Switch,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Switch {
    On,
    Off,
}

/// `POST /settings/keys`: single-key shortcuts on or off.
pub async fn keys(Form(form): Form<KeysForm>) -> Response {
    let value = match form.keys {
        Switch::On => "on",
        Switch::Off => "off",
    };
    with_cookie(Redirect::to("/settings").into_response(), KEYS_COOKIE, value)
}

fn with_cookie(mut response: Response, name: &str, value: &str) -> Response {
    let text = format!("{name}={value}; Path=/; SameSite=Lax; Max-Age=31536000");
    let cookie = HeaderValue::from_str(&text).expect("our own words");
    response.headers_mut().append(header::SET_COOKIE, cookie);
    response
}
