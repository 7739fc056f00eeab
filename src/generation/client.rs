//! The HTTP client of the model: sends one request, and receives one stream of events, in either wire format.
//!
//! It makes a single attempt; [`retry`](super::retry) and the agent decide about retries. Only a request whose form an
//! OpenAI-compatible server rejects is sent again at once in another form. Dropping an [`AnswerStream`], or the future
//! that waits for it, closes the connection at once.

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

/// Base URL of the public provider.
pub const PUBLIC_BASE_URL: &str = "https://api.anthropic.com";
/// The API version that is sent.
const API_VERSION: &str = "2023-06-01";
/// Maximum number of bytes that are read of an error's body.
const ERROR_BODY_MAX: usize = 64 * 1024;
/// Maximum size of a list of models in bytes.
const MODELS_BODY_MAX: usize = 4 * 1024 * 1024;

/// Maximum number of tokens of the answer to a test.
const TEST_TOKENS: u32 = 256;

/// Maximum number of forms in which a request is sent.
const WORDINGS_MAX: usize = 4;

impl WireFormat {
    /// An address below the base URL, which may or may not contain the version.
    fn address(self, base: &Url, rest: &str) -> Url {
        let mut url = base.clone();
        let path = base.path().trim_end_matches('/');
        let version = match self {
            Self::Anthropic => !path.ends_with("/v1"),
            // Some servers have another version or path: only a URL without a path needs the version.
            Self::OpenAi => path.is_empty(),
        };
        url.set_path(&format!("{path}{}/{rest}", if version { "/v1" } else { "" }));
        url
    }

    /// The address for requests.
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

    /// The parser for the answer to a request.
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

/// The provider of the model.
#[derive(Debug, Clone)]
pub struct Provider {
    /// Its wire format.
    pub format: WireFormat,
    /// Its base URL, e.g. [`PUBLIC_BASE_URL`].
    pub base_url: String,
    /// The API key.
    pub key: SecretString,
}

/// Timeouts of the connection to the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Timeout for opening a connection.
    pub connect: Duration,
    /// Timeout between two pieces of an answer, and before the first one.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), idle: Duration::from_secs(90) }
    }
}

/// A client of a provider. Cheap to clone; connections are shared.
#[derive(Debug, Clone)]
pub struct ModelClient {
    http: reqwest::Client,
    provider: Provider,
    base: Url,
    idle: Duration,
    retry: RetryPolicy,
    /// The dialect that was learnt from the server's errors, by model.
    dialects: Arc<Mutex<HashMap<String, Dialect>>>,
}

impl ModelClient {
    /// Creates a client. A TLS provider must be installed before.
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
            // No certificate is verified, so none are loaded, and the machine needs none.
            http = http.tls_certs_only([]);
        }
        let http = http.build().map_err(|error| {
            let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            ModelError::Setup(cause)
        })?;
        Ok(Self { http, provider, base, idle: timeouts.idle, retry, dialects: Arc::default() })
    }

    /// The provider's wire format.
    pub fn format(&self) -> WireFormat {
        self.provider.format
    }

    /// The backoff between attempts.
    pub fn retry_policy(&self) -> RetryPolicy {
        self.retry
    }

    /// Sends the request; returns when the answer has started.
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

    /// Sends a request with the key, and waits for the head of the response.
    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response, ModelError> {
        let secret = self.provider.key.expose_secret().trim();
        // A key that is not a valid header value cannot be right.
        let header = |text: &str| {
            let mut value = HeaderValue::from_str(text).map_err(|_| ModelError::Unauthorized)?;
            value.set_sensitive(true);
            Ok::<_, ModelError>(value)
        };
        let request = match self.provider.format {
            WireFormat::Anthropic => {
                request.header("x-api-key", header(secret)?).header("anthropic-version", API_VERSION)
            }
            // Servers on this machine need no key.
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

    /// Sends one small request to a model and reads the whole answer. `patience` is the timeout for all of it.
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

    /// The models that the provider offers. `patience` is the timeout for all of it.
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

    /// Reads an error response.
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

/// Why a request failed.
struct Refusal {
    /// The server's own message, from which a dialect may be learnt.
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
