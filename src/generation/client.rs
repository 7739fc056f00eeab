//! The HTTP side of the model: one request out, one stream of events in, in either wire format.
//!
//! Makes a single attempt; when to try again is [`retry`](super::retry)'s and the agent's to say.
//! Only a request whose words an OpenAI-compatible server does not take is said again at once in other words.
//! Dropping an [`AnswerStream`], or the future that waits for it, closes the connection at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::RngExt as _;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Response, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::time::timeout;

use super::answer_stream::{AnswerStream, scrub};
use super::error::ModelError;
use super::listed::{self, ListedModel};
use super::retry::{self, RetryPolicy};
use super::wire::chat_stream;
use super::wire::message::BYTES_PER_TOKEN;
use super::wire::{Assembler, ChatAssembler, ContentBlock, Dialect, Images, Message, Reader, Request, WireFormat};
use crate::domain::Clock;

/// Where the public provider answers.
pub const PUBLIC_BASE_URL: &str = "https://api.anthropic.com";
/// The version of the API that is spoken.
const API_VERSION: &str = "2023-06-01";
/// Most bytes that are read of an error's body.
const ERROR_BODY_MAX: usize = 64 * 1024;
/// Most bytes of a list of models.
const MODELS_BODY_MAX: usize = 4 * 1024 * 1024;

/// Most tokens of the answer to a test.
const TEST_TOKENS: u32 = 256;

/// How often a request is said in other words.
const WORDINGS_MAX: usize = 4;

impl WireFormat {
    /// An address under the base URL, which may or may not name the version.
    fn address(self, base: &Url, rest: &str) -> Url {
        let mut url = base.clone();
        let path = base.path().trim_end_matches('/');
        let version = match self {
            Self::Anthropic => !path.ends_with("/v1"),
            // Some have a version or a path of their own: only a bare host lacks one.
            Self::OpenAi => path.is_empty(),
        };
        url.set_path(&format!("{path}{}/{rest}", if version { "/v1" } else { "" }));
        url
    }

    /// The address that takes requests.
    fn endpoint(self, base: &Url) -> Url {
        self.address(
            base,
            match self {
                Self::Anthropic => "messages",
                Self::OpenAi => "chat/completions",
            },
        )
    }

    fn body(self, request: &Request<'_>, dialect: Dialect) -> Value {
        match self {
            Self::Anthropic => request.to_json(),
            Self::OpenAi => request.to_chat_json(dialect),
        }
    }

    /// Reads the answer to a request.
    fn reader(self, request: &Request<'_>) -> Reader {
        match self {
            Self::Anthropic => Reader::Messages(Assembler::default()),
            Self::OpenAi => {
                let mut random = rand::rng();
                let prefix: String = (0..6).map(|_| char::from(random.sample(rand::distr::Alphanumeric))).collect();
                let bytes = request.messages.iter().flat_map(|message| &message.content).map(ContentBlock::size);
                let bytes = request.system.len() + bytes.sum::<usize>();
                Reader::Chat(ChatAssembler::new((bytes as u64).div_ceil(BYTES_PER_TOKEN), prefix))
            }
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
    base: Url,
    idle: Duration,
    retry: RetryPolicy,
    /// What was learnt of the server's words, by the model that they were for.
    dialects: Arc<Mutex<HashMap<String, Dialect>>>,
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
        Ok(Self { http, provider, base, idle: timeouts.idle, retry, dialects: Arc::default() })
    }

    /// How the provider is spoken to.
    pub fn format(&self) -> WireFormat {
        self.provider.format
    }

    /// How long to wait between attempts.
    pub fn retry_policy(&self) -> RetryPolicy {
        self.retry
    }

    /// Sends the request; returns when the provider has begun to answer.
    pub async fn open(&self, request: &Request<'_>) -> Result<AnswerStream, ModelError> {
        let mut wordings = 0;
        let response = loop {
            let dialect = self.dialects().get(request.model).copied().unwrap_or_default();
            let body = self.provider.format.body(request, dialect);
            let asked = self.http.post(self.provider.format.endpoint(&self.base)).json(&body);
            let response = self.send(asked).await?;
            if response.status() == StatusCode::OK {
                break response;
            }
            let (status, refusal) = (response.status(), self.refusal(response, request.model).await);
            wordings += 1;
            let is_wording = matches!(status.as_u16(), 400 | 422 | 500) && self.provider.format == WireFormat::OpenAi;
            let learnt = dialect.learn(&refusal.words).filter(|learnt| {
                let is_seen = request.shows_images() || learnt.no_images == dialect.no_images;
                is_wording && is_seen && wordings < WORDINGS_MAX
            });
            let Some(learnt) = learnt else { return Err(refusal.error) };
            self.dialects().insert(request.model.to_owned(), learnt);
        };
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.starts_with("text/event-stream") {
            return Err(ModelError::Malformed("it is no event stream".into()));
        }
        let reader = self.provider.format.reader(request);
        Ok(AnswerStream::new(response, reader, self.idle, request.model, self.provider.key.clone()))
    }

    fn dialects(&self) -> MutexGuard<'_, HashMap<String, Dialect>> {
        self.dialects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request with our key; waits for the head of the answer.
    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response, ModelError> {
        let secret = self.provider.key.expose_secret().trim();
        // A key that no header can carry is certainly not the right one.
        let header = |text: &str| {
            let mut value = HeaderValue::from_str(text).map_err(|_| ModelError::Unauthorized)?;
            value.set_sensitive(true);
            Ok::<_, ModelError>(value)
        };
        let request = match self.provider.format {
            WireFormat::Anthropic => {
                request.header("x-api-key", header(secret)?).header("anthropic-version", API_VERSION)
            }
            // Servers on this machine want none.
            WireFormat::OpenAi if secret.is_empty() => request,
            WireFormat::OpenAi => request.header(AUTHORIZATION, header(&format!("Bearer {secret}"))?),
        };
        match timeout(self.idle, request.send()).await {
            Err(_) => Err(ModelError::Timeout { after: self.idle }),
            Ok(Err(error)) if error.is_connect() => Err(self.unreachable()),
            Ok(Err(_)) => Err(ModelError::Disconnected),
            Ok(Ok(response)) => Ok(response),
        }
    }

    /// Has a model answer one small request. `patience` is for all of it.
    pub async fn test(&self, model: &str, patience: Duration) -> Result<(), ModelError> {
        let messages = [Message::user(vec![ContentBlock::text("Answer with the word: ready")])];
        let request = Request {
            model,
            max_tokens: TEST_TOKENS,
            system: "You answer with one word.",
            messages: &messages,
            images: &Images::default(),
            tools: &[],
            effort: None,
        };
        let asked = async {
            let mut answer = self.open(&request).await?;
            while answer.next().await?.is_some() {}
            Ok(())
        };
        timeout(patience, asked).await.unwrap_or(Err(ModelError::Timeout { after: patience }))
    }

    /// The models that the provider offers. `patience` is for all of it.
    pub async fn list_models(&self, patience: Duration) -> Result<Vec<ListedModel>, ModelError> {
        let asked = async {
            let mut address = self.provider.format.address(&self.base, "models");
            if self.provider.format == WireFormat::Anthropic {
                address.set_query(Some("limit=1000"));
            }
            let mut response = self.send(self.http.get(address)).await?;
            if response.status() != StatusCode::OK {
                return Err(self.refusal(response, "").await.error);
            }
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(|_| ModelError::Disconnected)? {
                body.extend_from_slice(&chunk);
                if body.len() > MODELS_BODY_MAX {
                    return Err(ModelError::Malformed("its list of models is too long".into()));
                }
            }
            listed::read(&body)
        };
        timeout(patience, asked).await.unwrap_or(Err(ModelError::Timeout { after: patience }))
    }

    fn unreachable(&self) -> ModelError {
        ModelError::Unreachable { base_url: self.base.origin().ascii_serialization() }
    }

    /// What a response that is no answer says.
    async fn refusal(&self, mut response: Response, model: &str) -> Refusal {
        let status = response.status();
        if status.is_redirection() {
            let error = ModelError::Invalid("it answered with a redirect. Check the base URL.".into());
            return Refusal { words: String::new(), error };
        }
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|asked| retry::asked_for(asked, Clock::System.now()));
        let mut body = Vec::new();
        while body.len() < ERROR_BODY_MAX {
            match timeout(self.idle, response.chunk()).await {
                Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
                _ => break,
            }
        }
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let (kind, words) = chat_stream::reported(&body, true).unwrap_or_default();
        let error = if status == StatusCode::TOO_MANY_REQUESTS && is_spend_limit(&body) {
            ModelError::SpendLimit
        } else {
            let message = scrub(&words, &self.provider.key);
            ModelError::reported(Some(status.as_u16()), &kind, &message, model, retry_after)
        };
        Refusal { words, error }
    }
}

/// Why a request was not answered.
struct Refusal {
    /// The server's own words, which may teach another wording.
    words: String,
    error: ModelError,
}

fn is_spend_limit(body: &Value) -> bool {
    body.pointer("/error/details/error_code").and_then(Value::as_str) == Some("enforced_spend_limit_reached")
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
