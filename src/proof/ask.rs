//! One HTTP request to one address, its answer bounded in size and time. Follows no redirects, knows
//! no proxies: what the app itself answers is what comes back.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::header::{HOST, HeaderMap, LOCATION, USER_AGENT};
use tokio::time::Instant;

/// What a question says it comes from, where it does not say it itself. Sites leave it out of their log of visits.
const AGENT: &str = "slipway-proof";

/// Asks. Cheap to clone; connections are kept for the next question.
#[derive(Debug, Clone)]
pub struct Asker(reqwest::Client);

/// What is asked.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// `GET`, `POST`, …
    pub method: &'a str,
    /// With its query.
    pub path: &'a str,
    /// The host that the app is called by.
    pub host: &'a str,
    /// Further headers.
    pub headers: &'a [(String, String)],
    /// The body.
    pub body: Vec<u8>,
    /// Most bytes of the answer's body that are read.
    pub body_max: usize,
    /// How long the whole may take.
    pub time_limit: Duration,
    /// How long the body may take once the head is there; what came until then is the answer.
    pub body_wait: Duration,
}

impl<'a> Question<'a> {
    /// A `GET` with the usual bounds.
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

/// What an app answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// The beginning of its body.
    pub body: Vec<u8>,
    /// The body went on.
    pub truncated: bool,
    /// How long it took, in milliseconds.
    pub millis: u64,
}

impl Answer {
    /// A header's text; empty without one.
    pub fn header(&self, name: impl reqwest::header::AsHeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Where it leads, if it is a redirect.
    pub fn location(&self) -> Option<&str> {
        (300..400).contains(&self.status).then(|| self.header(LOCATION)).filter(|location| !location.is_empty())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Why there is no answer, in a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The question itself cannot be sent.
    #[error("{0}")]
    Invalid(&'static str),
    /// Too slow.
    #[error("The app did not answer within {} seconds.", .0.as_secs())]
    TimedOut(Duration),
    /// No answer, or half of one.
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
        Self(client.expect("the TLS provider is installed first thing"))
    }
}

impl Asker {
    /// Asks an address. Its answer comes when the head and as much of the body as is wanted are there.
    pub async fn ask(&self, address: SocketAddr, question: Question<'_>) -> Result<Answer, AskError> {
        if !question.path.starts_with('/') {
            return Err(AskError::Invalid("A path starts with “/”."));
        }
        let method = reqwest::Method::from_bytes(question.method.to_ascii_uppercase().as_bytes())
            .map_err(|_| AskError::Invalid("This is no HTTP method."))?;
        if method == reqwest::Method::CONNECT {
            return Err(AskError::Invalid("CONNECT is for proxies."));
        }
        let url = reqwest::Url::parse(&format!("http://{address}{}", question.path))
            .map_err(|_| AskError::Invalid("This path cannot be sent."))?;
        let mut request = self.0.request(method, url).header(HOST, question.host);
        if !question.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(USER_AGENT.as_str())) {
            request = request.header(USER_AGENT, AGENT);
        }
        for (name, value) in question.headers {
            // What frames the request is ours to say.
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
                // A stream of events has no end: what came of it is an answer all the same.
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
