//! Requests to a running app: from its page, a signed test call, its endpoints.
//!
//! The response is untrusted data: it is limited in size and time, and shown as text.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::Services;
use super::described::{self, Parameter};
use crate::domain::{App, Environment};
use crate::error::{AppError, AppResult, ErrorKind};
use crate::gateway::RouteState;
use crate::proof::{AskError, Question, Signature, sign};

/// Timeout of a request.
const TIME_LIMIT: Duration = Duration::from_secs(30);
/// Maximum bytes of a response that are shown.
const BODY_MAX: usize = 64 * 1024;

/// Maximum number of operations that are read of an app's document.
const ENDPOINTS_MAX: usize = 200;
/// Maximum characters of an operation's documentation.
const DESCRIPTION_MAX: usize = 1_000;

/// The beginning of a text.
fn shown(text: &str, limit: usize) -> String {
    text.trim().chars().take(limit).collect()
}

/// The response of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestAnswer {
    /// HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// The beginning of its body, as text.
    pub body: String,
    /// The body was longer.
    pub truncated: bool,
    /// Its duration in milliseconds.
    pub millis: u64,
}

/// One operation of an app's own OpenAPI document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `GET`, `POST`, …
    pub method: String,
    /// Its path, with parameters in braces.
    pub path: String,
    /// A summary in one line, if the app has one.
    pub summary: String,
    /// Its documentation.
    pub description: String,
    /// What its path and its query take.
    pub parameters: Vec<Parameter>,
    /// An example of its body as JSON text; none if it takes none.
    pub body: Option<String>,
}

impl Services {
    /// Sends one request to a running app.
    pub async fn try_request(
        &self,
        app: &App,
        environment: Environment,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        body: Vec<u8>,
    ) -> AppResult<TestAnswer> {
        let Some(RouteState::Up(upstream)) = self.platform.gateway.routes().state(&app.name, environment) else {
            let detail = format!("“{}” is not running in {environment}.", app.name);
            return Err(AppError::conflict("not_running", detail).hint("Deploy it first."));
        };
        let question = Question {
            method,
            path,
            host: &upstream.address.to_string(),
            headers,
            body,
            body_max: BODY_MAX,
            time_limit: TIME_LIMIT,
            body_wait: TIME_LIMIT,
        };
        let answer = self.platform.asker.ask(upstream.address, question).await.map_err(|error| match error {
            AskError::Invalid(why) => AppError::invalid(why),
            AskError::TimedOut(_) | AskError::NoAnswer => {
                AppError::new(ErrorKind::BadGateway, "app_unreachable", error.to_string())
                    .hint("The app's log may show the cause.")
            }
        })?;
        let headers = answer
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        Ok(TestAnswer {
            status: answer.status,
            headers,
            body: answer.text(),
            truncated: answer.truncated,
            millis: answer.millis,
        })
    }

    /// The secret that signs calls to a webhook.
    pub async fn webhook_secret(&self, app: &App, environment: Environment) -> AppResult<SecretString> {
        let mut secrets = self.platform.secrets(app, environment).await?;
        secrets.remove("WEBHOOK_SECRET").ok_or_else(|| AppError::not_found("webhook secret of this app"))
    }

    /// Sends a correctly signed call to a webhook.
    pub async fn test_webhook(&self, app: &App, environment: Environment, body: &str) -> AppResult<TestAnswer> {
        let secret = self.webhook_secret(app, environment).await?;
        let signature = Signature::parse(self.settings(app).await?.signature.as_deref())?;
        let mut headers = sign(signature, secret.expose_secret(), self.now().as_second(), body);
        headers.push(("Content-Type".to_owned(), "application/json".to_owned()));
        self.try_request(app, environment, "POST", "/webhook", &headers, body.as_bytes().to_vec()).await
    }

    /// The operations of a running app's own OpenAPI document; empty if it has no such document.
    pub async fn endpoints(&self, app: &App, environment: Environment) -> AppResult<Vec<Endpoint>> {
        let answer = self.try_request(app, environment, "GET", "/openapi.json", &[], Vec::new()).await?;
        let Ok(document) = serde_json::from_str::<serde_json::Value>(&answer.body) else { return Ok(Vec::new()) };
        let mut endpoints = Vec::new();
        for (path, operations) in document["paths"].as_object().into_iter().flatten() {
            for (method, operation) in operations.as_object().into_iter().flatten() {
                if endpoints.len() == ENDPOINTS_MAX {
                    return Ok(endpoints);
                }
                if matches!(method.as_str(), "get" | "post" | "put" | "patch" | "delete" | "head" | "options") {
                    endpoints.push(Endpoint {
                        method: method.to_ascii_uppercase(),
                        path: path.clone(),
                        summary: operation["summary"].as_str().unwrap_or_default().to_owned(),
                        description: shown(operation["description"].as_str().unwrap_or_default(), DESCRIPTION_MAX),
                        parameters: described::parameters(&document, path, &operations["parameters"], operation),
                        body: described::body(&document, method, operation),
                    });
                }
            }
        }
        Ok(endpoints)
    }
}
