//! The page of a webhook: test calls, received calls, the secret.

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};
use secrecy::ExposeSecret;
use serde::Deserialize;

use super::trying::{answered, shown_command, unanswered};
use super::webhook_views::{CallList, CallView, Secret, WebhookPanel, reach};
use crate::domain::{App, AppName, Environment};
use crate::error::AppResult;
use crate::services::Services;
use crate::services::webhook_samples::Sample;
use crate::services::webhooks::WEBHOOK_PATH;
use crate::web::Web;
use crate::web::extract::{Form, Path, Query};
use crate::web::reply::{self, Caller};

/// The panel of an environment. `url` is the environment's.
pub async fn panel(
    services: &Services,
    app: &App,
    environment: Environment,
    url: &str,
    sample: Option<Sample>,
) -> AppResult<String> {
    // If app.toml cannot be read at the moment, the page shows the rest.
    let signature = services.webhook_signature(app, environment).await.ok();
    let url = format!("{url}{WEBHOOK_PATH}");
    reply::render(&WebhookPanel {
        app: &app.name,
        environment,
        reach: reach(&url),
        url,
        signature,
        running: app.environment(environment).release.is_some(),
        sample: sample.unwrap_or_else(|| Sample::of_signature(signature)),
        calls: calls(services, app, environment).await?,
    })
}

async fn calls(services: &Services, app: &App, environment: Environment) -> AppResult<String> {
    let now = services.now();
    let calls = services.webhook_calls(app, environment).await?;
    reply::render(&CallList {
        app: &app.name,
        environment,
        records: services.records_webhook_calls(),
        calls: calls.iter().map(|call| CallView::new(call, now)).collect(),
        targets: Environment::ALL.into_iter().filter(|one| app.environment(*one).release.is_some()).collect(),
    })
}

/// The query parameters, or the form's fields.
#[derive(Deserialize)]
pub struct EnvironmentForm {
    environment: Environment,
}

/// `GET /apps/{app}/webhook-calls`: the received calls, for an open page.
pub async fn list(
    State(web): State<Web>,
    caller: Caller,
    Path(name): Path<AppName>,
    Query(query): Query<EnvironmentForm>,
) -> AppResult<Response> {
    if !caller.is_htmx() {
        return Ok(Redirect::to(&format!("/apps/{name}?view={}", query.environment)).into_response());
    }
    let app = web.services.app(&name).await?;
    Ok(reply::html(calls(&web.services, &app, query.environment).await?))
}

/// The form's fields.
#[derive(Deserialize)]
pub struct TestForm {
    environment: Environment,
    #[serde(default)]
    sample: Sample,
    #[serde(default)]
    body: String,
}

impl TestForm {
    /// Browsers send the line breaks of a field as CRLF.
    fn body(&self) -> String {
        self.body.replace("\r\n", "\n")
    }
}

/// `POST /apps/{app}/webhook-test`
pub async fn test(
    State(web): State<Web>,
    caller: Caller,
    Path(name): Path<AppName>,
    Form(form): Form<TestForm>,
) -> AppResult<Response> {
    let app = web.services.app(&name).await?;
    let sent = async {
        let call = web.services.webhook_test_call(&app, form.environment, form.sample, &form.body()).await?;
        web.services.send_webhook_call(&app, form.environment, call).await
    };
    match sent.await {
        Ok((call, answer)) => Ok(called(answered(caller, &call, form.environment, answer)?)),
        Err(error) => unanswered(caller, error),
    }
}

/// The list of calls has changed.
fn called(mut response: Response) -> Response {
    response.headers_mut().insert("hx-trigger", HeaderValue::from_static("slipway:called"));
    response
}

/// `POST /apps/{app}/webhook-test/curl`: the same call as a command, signed now.
pub async fn test_as_curl(
    State(web): State<Web>,
    caller: Caller,
    Path(name): Path<AppName>,
    Form(form): Form<TestForm>,
) -> AppResult<Response> {
    let (services, environment) = (&web.services, form.environment);
    let app = services.app(&name).await?;
    let made = async {
        let call = services.webhook_test_call(&app, environment, form.sample, &form.body()).await?;
        Ok((services.curl(&app, environment, &call)?, services.webhook_signature(&app, environment).await?))
    };
    match made.await {
        Ok((command, signature)) if signature.ages() => {
            shown_command(caller, &command, "Its signature is valid for 5 minutes.")
        }
        Ok((command, _)) => shown_command(caller, &command, ""),
        Err(error) => unanswered(caller, error),
    }
}

/// The form's fields.
#[derive(Deserialize)]
pub struct AgainForm {
    to: Environment,
}

/// `POST /apps/{app}/webhook-calls/{call}/again`
pub async fn send_again(
    State(web): State<Web>,
    caller: Caller,
    Path((name, call)): Path<(AppName, u64)>,
    Form(form): Form<AgainForm>,
) -> AppResult<Response> {
    let app = web.services.app(&name).await?;
    match web.services.send_webhook_call_again(&app, call, form.to).await {
        Ok((call, answer)) => answered(caller, &call, form.to, answer),
        Err(error) => unanswered(caller, error),
    }
}

/// `POST /apps/{app}/webhook-secret/rotate`
pub async fn rotate(
    State(web): State<Web>,
    caller: Caller,
    Path(name): Path<AppName>,
    Form(form): Form<EnvironmentForm>,
) -> AppResult<Response> {
    web.services.rotate_webhook_secret(&name, form.environment).await?;
    Ok(reply::done(caller, &format!("/apps/{name}?view={}", form.environment)))
}

/// `GET /apps/{app}/webhook-secret`: only on request, and never cached by the browser.
pub async fn secret(
    State(web): State<Web>,
    caller: Caller,
    Path(name): Path<AppName>,
    Query(query): Query<EnvironmentForm>,
) -> AppResult<Response> {
    let app = web.services.app(&name).await?;
    let secret = web.services.webhook_secret(&app, query.environment).await?;
    let mut response = if caller.is_htmx() {
        reply::page(&Secret { text: secret.expose_secret() })?
    } else {
        secret.expose_secret().to_owned().into_response()
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
