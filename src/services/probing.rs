//! Asking a running app: a request tried from its page, a signed test call, its endpoints.
//!
//! What comes back is data of an app that nobody trusts: bounded in size and time, shown as text.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use tokio::time::Instant;

use super::Services;
use crate::domain::{App, Environment};
use crate::error::{AppError, AppResult, ErrorKind};
use crate::gateway::RouteState;

/// How long an app may take.
const TIME_LIMIT: Duration = Duration::from_secs(30);
/// How much of an answer is shown, in bytes.
const BODY_MAX: usize = 64 * 1024;

/// What an app answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestAnswer {
    /// HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// The beginning of its body, as text.
    pub body: String,
    /// The body went on.
    pub truncated: bool,
    /// How long it took, in milliseconds.
    pub millis: u64,
}

/// One operation of an app's own OpenAPI document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `GET`, `POST`, …
    pub method: String,
    /// With its parameters in braces.
    pub path: String,
    /// One line, if the app says one.
    pub summary: String,
}

/// Follows no redirects: what the app answers is what is shown.
pub(super) fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(TIME_LIMIT)
        .build()
        .expect("the TLS provider is installed first thing")
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
        if !path.starts_with('/') {
            return Err(AppError::invalid("A path starts with “/”."));
        }
        let method = reqwest::Method::from_bytes(method.to_ascii_uppercase().as_bytes())
            .map_err(|_| AppError::invalid("This is no HTTP method."))?;
        let url = reqwest::Url::parse(&format!("http://{}{path}", upstream.address))
            .map_err(|_| AppError::invalid("This path cannot be sent."))?;
        let mut request = self.http.request(method, url).body(body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let begun = Instant::now();
        let failed = |error: reqwest::Error| {
            let detail = if error.is_builder() {
                return AppError::invalid("One of the headers cannot be sent.");
            } else if error.is_timeout() {
                format!("The app did not answer within {} seconds.", TIME_LIMIT.as_secs())
            } else {
                "The app did not answer.".to_owned()
            };
            AppError::new(ErrorKind::BadGateway, "app_unreachable", detail).hint("Its log may say why.")
        };
        let mut answer = request.send().await.map_err(failed)?;
        let status = answer.status().as_u16();
        let headers = answer
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        let mut body = Vec::new();
        while body.len() <= BODY_MAX
            && let Some(chunk) = answer.chunk().await.map_err(failed)?
        {
            body.extend_from_slice(&chunk);
        }
        let truncated = body.len() > BODY_MAX;
        body.truncate(BODY_MAX);
        Ok(TestAnswer {
            status,
            headers,
            body: String::from_utf8_lossy(&body).into_owned(),
            truncated,
            millis: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// The secret that calls to a webhook are signed with. For its user's eyes.
    pub async fn webhook_secret(&self, app: &App, environment: Environment) -> AppResult<SecretString> {
        let mut secrets = self.platform.secrets(app, environment).await?;
        secrets.remove("WEBHOOK_SECRET").ok_or_else(|| AppError::not_found("webhook secret of this app"))
    }

    /// Sends a webhook a rightly signed call.
    pub async fn test_webhook(&self, app: &App, environment: Environment, body: &str) -> AppResult<TestAnswer> {
        let secret = self.webhook_secret(app, environment).await?;
        let mode = self.settings(app).await?.signature;
        let mut headers = sign(mode.as_deref(), secret.expose_secret(), self.now().as_second(), body)?;
        headers.push(("Content-Type".to_owned(), "application/json".to_owned()));
        self.try_request(app, environment, "POST", "/webhook", &headers, body.as_bytes().to_vec()).await
    }

    /// The operations of a running app's own OpenAPI document; none where it has no such document.
    pub async fn endpoints(&self, app: &App, environment: Environment) -> AppResult<Vec<Endpoint>> {
        let answer = self.try_request(app, environment, "GET", "/openapi.json", &[], Vec::new()).await?;
        let Ok(document) = serde_json::from_str::<serde_json::Value>(&answer.body) else { return Ok(Vec::new()) };
        let mut endpoints = Vec::new();
        for (path, operations) in document["paths"].as_object().into_iter().flatten() {
            for (method, operation) in operations.as_object().into_iter().flatten() {
                if matches!(method.as_str(), "get" | "post" | "put" | "patch" | "delete" | "head" | "options") {
                    endpoints.push(Endpoint {
                        method: method.to_ascii_uppercase(),
                        path: path.clone(),
                        summary: operation["summary"].as_str().unwrap_or_default().to_owned(),
                    });
                }
            }
        }
        Ok(endpoints)
    }
}

/// The headers of a rightly signed call, as the template's `verify.py` checks them.
fn sign(mode: Option<&str>, secret: &str, now: i64, body: &str) -> AppResult<Vec<(String, String)>> {
    let mac = |message: &str| {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
        mac.update(message.as_bytes());
        hex::encode(mac.finalize().into_bytes())
    };
    let header = |name: &str, value: String| (name.to_owned(), value);
    match mode.unwrap_or("timestamped") {
        "timestamped" => Ok(vec![
            header("X-Timestamp", now.to_string()),
            header("X-Signature-256", format!("sha256={}", mac(&format!("{now}.{body}")))),
        ]),
        "github" => Ok(vec![header("X-Hub-Signature-256", format!("sha256={}", mac(body)))]),
        "stripe" => Ok(vec![header("Stripe-Signature", format!("t={now},v1={}", mac(&format!("{now}.{body}"))))]),
        other => Err(AppError::invalid(format!("app.toml says signature = “{other}”, which is not known."))
            .hint("It is timestamped, github or stripe.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_signed_as_the_contract_says() {
        // Computed with `printf 17.{} | openssl dgst -sha256 -hmac secret`.
        let headers = sign(None, "secret", 17, "{}").expect("signed");
        assert_eq!(headers[0], ("X-Timestamp".to_owned(), "17".to_owned()));
        assert!(headers[1].1.starts_with("sha256=") && headers[1].1.len() == 71);
        assert_eq!(sign(Some("github"), "secret", 17, "{}").expect("signed")[0].0, "X-Hub-Signature-256");
        assert!(sign(Some("stripe"), "secret", 17, "{}").expect("signed")[0].1.starts_with("t=17,v1="));
        assert!(sign(Some("none"), "secret", 17, "{}").is_err());
    }
}
