//! A real builder in a folder of its own, with the demo model and no engine behind it, asked
//! without a socket.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use axum::response::Response;
use futures_util::StreamExt;
use http_body_util::BodyExt;
use serde_json::Value;
use slipway::config::Config;
use slipway::server::{self, App};
use slipway::services::Services;
use slipway::startup::{self, Builder};

/// Longest that anything in a test is waited for.
pub const PATIENCE: Duration = Duration::from_mins(1);
/// The builder's host in tests.
pub const HOST: &str = "builder.localhost:8080";

/// A builder, and the folder that it lives in.
pub struct Bench {
    /// Answers requests.
    pub app: App,
    /// What a user can do.
    pub services: Services,
    builder: Builder,
    _folder: tempfile::TempDir,
}

impl Bench {
    /// One that is open to all.
    pub async fn new() -> Self {
        Self::with(&[]).await
    }

    /// One with these environment variables.
    pub async fn with(variables: &[(&str, &str)]) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        let environment = [
            ("SLIPWAY_DATA_DIR", path("data")),
            ("DOCKER_HOST", format!("unix://{}", path("no-engine.sock"))),
            ("SLIPWAY_PROVIDER", "demo".to_owned()),
            ("SLIPWAY_DEMO_PACE", "0".to_owned()),
        ];
        let own = environment.into_iter().map(|(name, value)| (name.to_owned(), value));
        let given = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let file = folder.path().join("slipway.toml");
        std::fs::write(&file, "").expect("written");
        let config = Config::load(Some(&file), own.chain(given), &[]).expect("good");
        let builder = startup::start(config).await.expect("starts");
        let services = builder.services.clone();
        let app = server::app(services.clone(), slipway::web::router(services.clone()));
        Self { app, services, builder, _folder: folder }
    }

    /// Starting and stopping.
    pub fn lifecycle(&self) -> slipway::lifecycle::Lifecycle {
        self.builder.lifecycle.clone()
    }

    /// Asks, and reads the answer to its end.
    pub async fn ask(&self, request: Asked) -> Answer {
        Answer::read(self.open(request).await).await
    }

    /// Asks; the answer's body is still to be read.
    pub async fn open(&self, request: Asked) -> Response {
        self.app.answer(request.0).await
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> Answer {
        self.ask(get(path)).await
    }

    /// `POST` with JSON.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(post(path).json(&body)).await
    }

    /// A new app of a template, whose preview is deployed when a test asks for it and not before.
    pub async fn create(&self, name: &str, template: &str) -> Value {
        let body = serde_json::json!({
            "description": "A page about ducks", "name": name, "template": template, "auto_preview": false,
        });
        let answer = self.post("/api/v1/apps", body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
        answer.json()
    }

    /// Follows a job to its end; its events.
    pub async fn follow(&self, job: &Value) -> Vec<Sse> {
        let mut stream = Stream::of(self.open(get(&format!("/api/v1/jobs/{}/events", job["id"]))).await);
        stream.rest().await
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.builder.lifecycle.draining.cancel();
        self.builder.lifecycle.aborting.cancel();
    }
}

/// A request that is being put together.
pub struct Asked(pub Request<Body>);

/// `GET` of a path of the builder.
pub fn get(path: &str) -> Asked {
    asked(Method::GET, path)
}

/// `POST` to a path of the builder.
pub fn post(path: &str) -> Asked {
    asked(Method::POST, path)
}

/// Any request to the builder.
pub fn asked(method: Method, path: &str) -> Asked {
    let request = Request::builder().method(method).uri(path).header("host", HOST).body(Body::empty());
    Asked(request.expect("a request"))
}

impl Asked {
    /// With one more header.
    pub fn with(mut self, name: &'static str, value: impl AsRef<[u8]>) -> Self {
        let value = axum::http::HeaderValue::from_bytes(value.as_ref()).expect("a header");
        self.0.headers_mut().append(name, value);
        self
    }

    /// To another host; none at all when it is empty.
    pub fn at(mut self, host: &str) -> Self {
        self.0.headers_mut().remove("host");
        if host.is_empty() { self } else { self.with("host", host) }
    }

    /// With this body.
    pub fn body(mut self, bytes: impl Into<Body>) -> Self {
        *self.0.body_mut() = bytes.into();
        self
    }

    /// With a JSON body.
    pub fn json(self, body: &Value) -> Self {
        self.with("content-type", "application/json").body(body.to_string())
    }
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub bytes: bytes::Bytes,
}

impl Answer {
    /// Reads a response to its end.
    pub async fn read(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let body = tokio::time::timeout(PATIENCE, body.collect()).await.expect("the answer comes to its end");
        Self { status: parts.status, headers: parts.headers, bytes: body.expect("a whole body").to_bytes() }
    }

    /// Its body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// Its body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// A header as text; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// That it is a problem with this status and code; answers with its JSON.
    pub fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text());
        let json = self.json();
        assert_eq!(json["code"], code, "{json}");
        assert_eq!(json["status"], status);
        assert!(json["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{json}");
        json
    }
}

/// A server-sent event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sse {
    /// Its id.
    pub id: Option<i64>,
    /// Its name.
    pub name: String,
    /// Its data.
    pub data: String,
}

impl Sse {
    /// Its data as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).expect("JSON")
    }
}

/// A stream of server-sent events.
pub struct Stream {
    body: axum::body::BodyDataStream,
    text: String,
}

impl Stream {
    /// Of a response, which must be one.
    pub fn of(response: Response) -> Self {
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        Self { body: response.into_body().into_data_stream(), text: String::new() }
    }

    /// The next event; none at the end.
    pub async fn next(&mut self) -> Option<Sse> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    block
                        .lines()
                        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                        .map(|v| v.trim_start().to_owned())
                };
                let event = field("data").map(|data| Sse {
                    id: field("id").map(|id| id.parse().expect("a number")),
                    name: field("event").expect("every event has a name"),
                    data,
                });
                self.text = String::from(rest);
                if event.is_some() {
                    return event;
                }
            }
            let piece = tokio::time::timeout(PATIENCE, self.body.next()).await.expect("events keep coming")?;
            self.text.push_str(std::str::from_utf8(&piece.expect("readable")).expect("text"));
        }
    }

    /// All events to the end.
    pub async fn rest(&mut self) -> Vec<Sse> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }
}
