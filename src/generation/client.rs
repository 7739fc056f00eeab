//! The HTTP side of the Messages API: one request out, one stream of events in.
//!
//! Makes a single attempt; when to try again is [`retry`](super::retry)'s and the agent's to say.
//! Dropping an [`AnswerStream`], or the future that waits for it, closes the connection at once.

use std::collections::VecDeque;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Response, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::timeout;

use super::error::ModelError;
use super::retry::RetryPolicy;
use super::wire::{AnswerBlock, Assembler, Request, SseEvent, SseParser, StopReason, StreamItem, WireUsage};

/// Where the public provider answers.
pub const PUBLIC_BASE_URL: &str = "https://api.anthropic.com";
/// The version of the API that is spoken.
const API_VERSION: &str = "2023-06-01";
/// Most bytes that are read of an error's body.
const ERROR_BODY_MAX: usize = 64 * 1024;

/// How a provider is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WireFormat {
    /// The Messages API.
    #[default]
    Anthropic,
}

impl WireFormat {
    /// The address that takes requests, under the base URL.
    fn endpoint(self, base: &Url) -> Url {
        let mut url = base.clone();
        match self {
            Self::Anthropic => {
                let path = base.path().trim_end_matches('/');
                let version = if path.ends_with("/v1") { "" } else { "/v1" };
                url.set_path(&format!("{path}{version}/messages"));
            }
        }
        url
    }

    fn body(self, request: &Request<'_>) -> Value {
        match self {
            Self::Anthropic => request.to_json(),
        }
    }
}

/// Whom to ask.
#[derive(Debug, Clone)]
pub struct Provider {
    /// How it is spoken to.
    pub format: WireFormat,
    /// Where it answers, e.g. [`PUBLIC_BASE_URL`].
    pub base_url: String,
    /// Who we are to it.
    pub key: SecretString,
}

/// How long silence is borne.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until a connection stands.
    pub connect: Duration,
    /// Between two pieces of an answer, and before the first.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), idle: Duration::from_secs(90) }
    }
}

/// A provider that can be asked. Cheap to clone; connections are shared.
#[derive(Debug, Clone)]
pub struct ModelClient {
    http: reqwest::Client,
    provider: Provider,
    endpoint: Url,
    idle: Duration,
    retry: RetryPolicy,
}

impl ModelClient {
    /// Prepares to ask. A TLS provider must have been installed by then.
    pub fn new(provider: Provider, timeouts: Timeouts, retry: RetryPolicy) -> Result<Self, ModelError> {
        let base = Url::parse(&provider.base_url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| ModelError::Setup("the base URL is no http or https address".into()))?;
        let mut http = reqwest::Client::builder()
            .connect_timeout(timeouts.connect)
            // A redirect would carry the key to another host.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("slipway/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&base) {
            http = http.no_proxy();
        }
        if base.scheme() == "http" {
            // No certificate will be looked at, so none are loaded, and none need be on the machine.
            http = http.tls_certs_only([]);
        }
        let http = http.build().map_err(|error| {
            let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            ModelError::Setup(cause)
        })?;
        let endpoint = provider.format.endpoint(&base);
        Ok(Self { http, provider, endpoint, idle: timeouts.idle, retry })
    }

    /// How long to wait between attempts.
    pub fn retry_policy(&self) -> RetryPolicy {
        self.retry
    }

    /// Sends the request; returns when the provider has begun to answer.
    pub async fn open(&self, request: &Request<'_>) -> Result<AnswerStream, ModelError> {
        let key = HeaderValue::from_str(self.provider.key.expose_secret().trim());
        // A key that no header can carry is certainly not the right one.
        let mut key = key.map_err(|_| ModelError::Unauthorized)?;
        key.set_sensitive(true);
        let sent = self
            .http
            .post(self.endpoint.clone())
            .header("x-api-key", key)
            .header("anthropic-version", API_VERSION)
            .json(&self.provider.format.body(request))
            .send();
        let response = match timeout(self.idle, sent).await {
            Err(_) => return Err(ModelError::Timeout { after: self.idle }),
            Ok(Err(error)) if error.is_connect() => return Err(self.unreachable()),
            Ok(Err(_)) => return Err(ModelError::Disconnected),
            Ok(Ok(response)) => response,
        };
        if response.status() != StatusCode::OK {
            return Err(self.refusal(response, request.model).await);
        }
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.starts_with("text/event-stream") {
            return Err(ModelError::Malformed("it is no event stream".into()));
        }
        Ok(AnswerStream {
            response,
            sse: SseParser::default(),
            events: VecDeque::new(),
            assembler: Assembler::default(),
            idle: self.idle,
            model: request.model.to_owned(),
            key: self.provider.key.clone(),
        })
    }

    fn unreachable(&self) -> ModelError {
        ModelError::Unreachable { base_url: self.endpoint.origin().ascii_serialization() }
    }

    /// What a response that is no answer says.
    async fn refusal(&self, mut response: Response, model: &str) -> ModelError {
        let status = response.status();
        if status.is_redirection() {
            return ModelError::Invalid("it answered with a redirect. Check the base URL.".into());
        }
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.trim().parse().ok())
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let mut body = Vec::new();
        while body.len() < ERROR_BODY_MAX {
            match timeout(self.idle, response.chunk()).await {
                Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
                _ => break,
            }
        }
        let body: ErrorBody = serde_json::from_slice(&body).unwrap_or_default();
        if status == StatusCode::TOO_MANY_REQUESTS && body.error.is_spend_limit() {
            return ModelError::SpendLimit;
        }
        let message = scrub(&body.error.message, &self.provider.key);
        ModelError::reported(Some(status.as_u16()), &body.error.kind, &message, model, retry_after)
    }
}

/// The provider's words without the key, should it ever repeat it.
fn scrub(message: &str, key: &SecretString) -> String {
    match key.expose_secret().trim() {
        "" => message.to_owned(),
        key => message.replace(key, "…"),
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ErrorBody {
    error: ErrorDetail,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ErrorDetail {
    #[serde(rename = "type")]
    kind: String,
    message: String,
    details: Value,
}

impl ErrorDetail {
    fn is_spend_limit(&self) -> bool {
        self.details.get("error_code").and_then(Value::as_str) == Some("enforced_spend_limit_reached")
    }
}

/// An answer on its way.
pub struct AnswerStream {
    response: Response,
    sse: SseParser,
    events: VecDeque<SseEvent>,
    assembler: Assembler,
    idle: Duration,
    model: String,
    key: SecretString,
}

impl AnswerStream {
    /// The next thing that the model says; none when the answer is complete. Can be dropped and
    /// called again without losing anything.
    pub async fn next(&mut self) -> Result<Option<StreamItem>, ModelError> {
        loop {
            while let Some(event) = self.events.pop_front() {
                let item = self.assembler.push(&event).map_err(|error| match error {
                    super::wire::StreamError::Reported { kind, message } => {
                        let message = scrub(&message, &self.key);
                        ModelError::reported(None, &kind, &message, &self.model, None)
                    }
                    other => ModelError::Malformed(other.to_string()),
                })?;
                if item.is_some() {
                    return Ok(item);
                }
            }
            if self.assembler.is_ended() {
                return Ok(None);
            }
            let chunk = match timeout(self.idle, self.response.chunk()).await {
                Err(_) => return Err(ModelError::Timeout { after: self.idle }),
                Ok(Ok(Some(chunk))) => chunk,
                // The reason to stop is the last thing that matters.
                Ok(_) if self.assembler.stop_reason().is_some() => return Ok(None),
                Ok(_) => return Err(ModelError::Disconnected),
            };
            let mut events = Vec::new();
            let read = self.sse.push(&chunk, &mut events);
            self.events.extend(events);
            // What came whole before the fault is still said, then the stream is found broken again.
            if let (Err(error), true) = (read, self.events.is_empty()) {
                return Err(ModelError::Malformed(error.to_string()));
            }
        }
    }

    /// Why the model stopped, once it has.
    pub fn stop_reason(&self) -> Option<&StopReason> {
        self.assembler.stop_reason()
    }

    /// What it has said so far.
    pub fn blocks(&self) -> Vec<AnswerBlock> {
        self.assembler.blocks()
    }

    /// What it has used so far.
    pub fn usage(&self) -> WireUsage {
        self.assembler.usage()
    }
}
