//! One HTTP request to one address, with limits of size and time. It follows no redirects and uses no
//! proxies: the result is the app's own response.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::header::{HOST, HeaderMap, LOCATION, USER_AGENT};
use tokio::time::Instant;

/// The default user agent of requests. Sites exclude it from their access log.
const AGENT: &str = "slipway-proof";

/// An HTTP client. Cheap to clone; connections are reused.
#[derive(Debug, Clone)]
pub struct Asker(reqwest::Client);

/// A request.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// `GET`, `POST`, …
    pub method: &'a str,
    /// Its path with its query.
    pub path: &'a str,
    /// The `Host` header.
    pub host: &'a str,
    /// Further headers.
    pub headers: &'a [(String, String)],
    /// The body.
    pub body: Vec<u8>,
    /// Maximum bytes of the response body that are read.
    pub body_max: usize,
    /// Timeout of the whole request.
    pub time_limit: Duration,
    /// Timeout of the body after the head; the body received until then is the result.
    pub body_wait: Duration,
}

impl<'a> Question<'a> {
    /// A `GET` with the default limits.
    pub fn get(path: &'a str) -> Self {
        Self {
            method: "GET",
            path,
            host: "localhost",
            headers: &[],
            body: Vec::new(),
            body_max: 64 * 1024,
            time_limit: Duration::from_secs(10),
            body_wait: Duration::from_secs(10),
        }
    }
}

/// The response of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// The beginning of its body.
    pub body: Vec<u8>,
    /// The body was longer.
    pub truncated: bool,
    /// Its duration in milliseconds.
    pub millis: u64,
}

impl Answer {
    /// A header's text; empty if it is missing.
    pub fn header(&self, name: impl reqwest::header::AsHeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The target, if it is a redirect.
    pub fn location(&self) -> Option<&str> {
        (300..400).contains(&self.status).then(|| self.header(LOCATION)).filter(|location| !location.is_empty())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Why there is no response, in a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The request is invalid.
    #[error("{0}")]
    Invalid(&'static str),
    /// Timeout.
    #[error("The app did not answer within {} seconds.", .0.as_secs())]
    TimedOut(Duration),
    /// No response, or an incomplete one.
    #[error("The app did not answer.")]
    NoAnswer,
}

impl Default for Asker {
    fn default() -> Self {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .pool_idle_timeout(Duration::from_secs(5))
            .build();
        Self(client.expect("the TLS provider is installed at start"))
    }
}

impl Asker {
    /// Sends a request. Returns when the head and the requested part of the body have arrived.
    pub async fn ask(&self, address: SocketAddr, question: Question<'_>) -> Result<Answer, AskError> {
        if !question.path.starts_with('/') {
            return Err(AskError::Invalid("A path must start with “/”."));
        }
        let method = reqwest::Method::from_bytes(question.method.to_ascii_uppercase().as_bytes())
            .map_err(|_| AskError::Invalid("This is not an HTTP method."))?;
        if method == reqwest::Method::CONNECT {
            return Err(AskError::Invalid("CONNECT is only for proxies."));
        }
        let url = reqwest::Url::parse(&format!("http://{address}{}", question.path))
            .map_err(|_| AskError::Invalid("This path cannot be sent."))?;
        let mut request = self.0.request(method, url).header(HOST, question.host);
        if !question.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(USER_AGENT.as_str())) {
            request = request.header(USER_AGENT, AGENT);
        }
        for (name, value) in question.headers {
            // Headers that frame the request are set by the client.
            if ["host", "content-length", "transfer-encoding", "connection", "upgrade"]
                .iter()
                .any(|ours| name.eq_ignore_ascii_case(ours))
            {
                continue;
            }
            request = request.header(name, value);
        }
        let request = request.body(question.body).timeout(question.time_limit);
        let begun = Instant::now();
        let failed = |error: reqwest::Error| {
            if error.is_builder() {
                AskError::Invalid("One of the headers cannot be sent.")
            } else if error.is_timeout() {
                AskError::TimedOut(question.time_limit)
            } else {
                AskError::NoAnswer
            }
        };
        let mut answer = request.send().await.map_err(failed)?;
        let millis = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let (mut body, mut ended) = (Vec::new(), false);
        let body_end = Instant::now() + question.body_wait;
        while body.len() <= question.body_max && !ended {
            match tokio::time::timeout_at(body_end, answer.chunk()).await {
                Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
                Ok(Ok(None)) => ended = true,
                // An event stream is endless: the part received so far is the result.
                Err(_) => break,
                Ok(Err(error)) if error.is_timeout() => break,
                Ok(Err(error)) => return Err(failed(error)),
            }
        }
        let truncated = !ended;
        body.truncate(question.body_max);
        Ok(Answer { status, headers, body, truncated, millis })
    }
}
