//! Requests to a running app from its page, and its endpoints.
//!
//! The response is untrusted data: it is limited in size and time, and shown as text.

use std::time::Duration;

use super::Services;
use super::described::{self, Endpoints};
use super::test_call::{self, TestCall};
use crate::domain::{App, Environment};
use crate::error::{AppError, AppResult, ErrorKind};
use crate::gateway::RouteState;
use crate::proof::{Answer, AskError, Question};

/// Timeout of a request.
const TIME_LIMIT: Duration = Duration::from_secs(30);
/// Maximum bytes of a response that are shown.
const BODY_MAX: usize = 64 * 1024;

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
    /// The bytes of its body, if they are known.
    pub size: Option<u64>,
    /// Its duration in milliseconds.
    pub millis: u64,
}

impl Services {
    /// Sends one request to a running app.
    pub async fn try_request(&self, app: &App, environment: Environment, call: &TestCall) -> AppResult<TestAnswer> {
        let answer = self.ask_app(app, environment, call, BODY_MAX).await?;
        let headers = answer
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        // A response to HEAD states the length of a body that it does not have.
        let stated = || answer.header("content-length").parse().ok();
        Ok(TestAnswer {
            status: answer.status,
            headers,
            body: answer.text(),
            truncated: answer.truncated,
            size: if answer.truncated { stated() } else { Some(answer.body.len() as u64) },
            millis: answer.millis,
        })
    }

    async fn ask_app(
        &self,
        app: &App,
        environment: Environment,
        call: &TestCall,
        body_max: usize,
    ) -> AppResult<Answer> {
        let Some(RouteState::Up(upstream)) = self.platform.gateway.routes().state(&app.name, environment) else {
            let detail = format!("“{}” is not running in {environment}.", app.name);
            return Err(AppError::conflict("not_running", detail).hint("Deploy it first."));
        };
        let question = Question {
            method: &call.method,
            path: &call.path,
            host: &upstream.address.to_string(),
            headers: &call.headers,
            body: call.body.clone(),
            body_max,
            time_limit: TIME_LIMIT,
            body_wait: TIME_LIMIT,
        };
        self.platform.asker.ask(upstream.address, question).await.map_err(|error| match error {
            AskError::Invalid(why) => AppError::invalid(why),
            AskError::TimedOut(_) | AskError::NoAnswer => {
                AppError::new(ErrorKind::BadGateway, "app_unreachable", error.to_string())
                    .hint("The app's log may show the cause.")
            }
        })
    }

    /// This call as a command for curl, to the app's public address.
    pub fn curl(&self, app: &App, environment: Environment, call: &TestCall) -> AppResult<String> {
        let url = self.environment_url(app, environment);
        let url = url.ok_or_else(|| AppError::conflict("not_running", format!("“{}” has no address.", app.name)))?;
        test_call::curl(&url, call)
    }

    /// The operations of a running app's own OpenAPI document; none if it has no such document.
    pub async fn endpoints(&self, app: &App, environment: Environment) -> AppResult<Endpoints> {
        let call = TestCall { method: "GET".to_owned(), path: "/openapi.json".to_owned(), ..TestCall::default() };
        let answer = self.ask_app(app, environment, &call, described::DOCUMENT_MAX).await?;
        let Ok(document) = serde_json::from_slice(&answer.body) else { return Ok(Endpoints::default()) };
        Ok(described::endpoints(&document))
    }
}
