//! Requests to a running app from its page: any call, a signed call, a run; and their results.

use std::fmt::Write as _;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};
use secrecy::ExposeSecret;
use serde::Deserialize;

use super::preview_views::{AnswerView, RunLog};
use crate::domain::{AppName, Environment, RunId};
use crate::error::{AppError, AppResult};
use crate::services::probing::TestAnswer;
use crate::web::Web;
use crate::web::extract::{Form, Path, Query};
use crate::web::highlight::escape_into;
use crate::web::reply::{self, Caller};

/// Maximum lines of a run's log on the page.
const LINES_SHOWN: usize = 2_000;

/// The form's fields.
#[derive(Deserialize)]
pub struct TryForm {
    environment: Environment,
    method: String,
    path: String,
    #[serde(default)]
    headers: String,
    #[serde(default)]
    body: String,
}

/// `POST /apps/{app}/try`
pub async fn try_request(
    State(web): State<Web>,
    caller: Caller,
    Path(name): Path<AppName>,
    Form(form): Form<TryForm>,
) -> AppResult<Response> {
    let app = web.services.app(&name).await?;
    let mut headers = Vec::new();
    for line in form.headers.lines().filter(|line| !line.trim().is_empty()) {
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| AppError::invalid("Write each header on its own line, as “Name: value”."))?;
        headers.push((name.trim().to_owned(), value.trim().to_owned()));
    }
    let has_type = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    if !has_type && serde_json::from_str::<serde::de::IgnoredAny>(&form.body).is_ok() {
        headers.push(("Content-Type".to_owned(), "application/json".to_owned()));
    }
    let body = form.body.into_bytes();
    let path = form.path.trim();
    let answer = web.services.try_request(&app, form.environment, &form.method, path, &headers, body).await?;
    answered(caller, answer)
}

/// The form's fields.
#[derive(Deserialize)]
pub struct WebhookForm {
    environment: Environment,
    #[serde(default)]
    body: String,
}

/// `POST /apps/{app}/webhook-test`
pub async fn test_webhook(
    State(web): State<Web>,
    caller: Caller,
    Path(name): Path<AppName>,
    Form(form): Form<WebhookForm>,
) -> AppResult<Response> {
    let app = web.services.app(&name).await?;
    let body = form.body.replace("\r\n", "\n");
    let answer = web.services.test_webhook(&app, form.environment, &body).await?;
    answered(caller, answer)
}

/// The response as a fragment of the page, or as plain text for a browser without scripts.
fn answered(caller: Caller, answer: TestAnswer) -> AppResult<Response> {
    if !caller.is_htmx() {
        let mut text = format!("{} in {} ms\n", answer.status, answer.millis);
        for (name, value) in &answer.headers {
            let _ = writeln!(text, "{name}: {value}");
        }
        text.push('\n');
        text.push_str(&answer.body);
        return Ok(text.into_response());
    }
    reply::page(&AnswerView::new(answer.status, answer.headers, &answer.body, answer.truncated, answer.millis))
}

/// The query parameters.
#[derive(Deserialize)]
pub struct SecretQuery {
    environment: Environment,
}

/// `GET /apps/{app}/webhook-secret`: only on request, and never cached by the browser.
pub async fn webhook_secret(
    State(web): State<Web>,
    caller: Caller,
    Path(name): Path<AppName>,
    Query(query): Query<SecretQuery>,
) -> AppResult<Response> {
    let app = web.services.app(&name).await?;
    let secret = web.services.webhook_secret(&app, query.environment).await?;
    let mut response = if caller.is_htmx() {
        reply::page(&super::preview_views::Secret { text: secret.expose_secret() })?
    } else {
        secret.expose_secret().to_owned().into_response()
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The form's fields.
#[derive(Deserialize)]
pub struct RunForm {
    environment: Environment,
}

/// `POST /apps/{app}/runs`
pub async fn run_now(
    State(web): State<Web>,
    caller: Caller,
    Path(name): Path<AppName>,
    Form(form): Form<RunForm>,
) -> AppResult<Response> {
    web.services.run_now(&name, form.environment).await?;
    let to = format!("/apps/{name}?view={}", form.environment);
    if !caller.is_htmx() {
        return Ok(Redirect::to(&to).into_response());
    }
    // Runs have no events, so the page reloads its list.
    let mut response = axum::http::StatusCode::NO_CONTENT.into_response();
    response.headers_mut().insert("hx-trigger", HeaderValue::from_static("slipway:refresh"));
    Ok(response)
}

/// `GET /apps/{app}/runs/{run}`
pub async fn run_log(
    State(web): State<Web>,
    caller: Caller,
    Path((name, id)): Path<(AppName, i64)>,
) -> AppResult<Response> {
    let app = web.services.app(&name).await?;
    let run = web.services.run(&app, RunId(id)).await?;
    let log = web.services.run_log(&app, run.id).await?;
    if !caller.is_htmx() {
        return Ok(log.into_response());
    }
    let all = log.lines().count();
    let lines: Vec<&str> = log.lines().skip(all.saturating_sub(LINES_SHOWN)).collect();
    let mut html = reply::render(&RunLog { error: run.error.as_deref(), lines })?;
    if all > LINES_SHOWN {
        let mut href = String::new();
        escape_into(&format!("/apps/{name}/runs/{id}"), &mut href);
        let _ = write!(html, r#"<p class="step"><a href="{href}">Open the whole log as text</a></p>"#);
    }
    Ok(reply::html(html))
}
