//! The demo model: a server on loopback with a streaming Messages API,
//! so the same client, parser and tools run without an API key.
//!
//! It is a script, and says so to the user. For a description that is similar to that of a recorded app, it plays the
//! recording; for any other it fills one of six layouts with the user's words. It stores nothing between requests: the
//! next answer depends only on the request. Its random key keeps other users of the machine out. It knows the tools
//! only by their results.

mod acts;
mod colours;
mod conversation;
mod layouts;
mod parts;
pub mod recordings;
mod schedule;
mod script;
mod stream;
mod wishes;
mod words;

use std::net::Ipv4Addr;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use futures_util::StreamExt;
use rand::RngExt as _;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;

/// The demo model's id.
pub const DEMO_MODEL: &str = "slipway-demo";
/// Maximum size of a request in bytes.
const REQUEST_MAX: usize = 64 * 1024 * 1024;

/// The speed of its output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DemoPace {
    /// Characters of code in each piece.
    pub piece: usize,
    /// Delay before each piece.
    pub delay: Duration,
}

impl DemoPace {
    /// 1: a turn takes some seconds, so that users can watch it. 2 takes twice as long, 0 does not wait.
    pub fn new(slowness: f64) -> Self {
        let slowness = if slowness.is_finite() { slowness.clamp(0.0, 1000.0) } else { 1.0 };
        Self { piece: 28, delay: Duration::from_millis(11).mul_f64(slowness) }
    }
}

/// The address and key of the demo model.
#[derive(Debug)]
pub struct DemoModel {
    /// Its base URL.
    pub base_url: String,
    /// Its key; new with each start.
    pub key: SecretString,
}

#[derive(Clone)]
struct Server {
    key: SecretString,
    pace: DemoPace,
}

/// The HTTP server of the demo model.
#[derive(Debug)]
pub struct DemoServer {
    listener: std::net::TcpListener,
    routes: Router,
}

impl DemoModel {
    /// Binds a free port of the loopback address. It answers while [`DemoServer::serve`] is polled.
    pub fn bind(pace: DemoPace) -> std::io::Result<(Self, DemoServer)> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let base_url = format!("http://{}", listener.local_addr()?);
        let key = SecretString::from(hex::encode(rand::rng().random::<[u8; 32]>()));
        let routes = Router::new()
            .route("/v1/messages", post(messages))
            .layer(DefaultBodyLimit::max(REQUEST_MAX))
            .with_state(Server { key: key.clone(), pace });
        Ok((Self { base_url, key }, DemoServer { listener, routes }))
    }
}

impl DemoServer {
    /// Serves until it fails. It can be called again, on the same port.
    pub async fn serve(&self) {
        let listener = self.listener.try_clone().and_then(TcpListener::from_std);
        let served = match listener {
            Ok(listener) => axum::serve(listener, self.routes.clone()).await,
            Err(error) => Err(error),
        };
        if let Err(error) = served {
            tracing::error!(%error, "failed to serve the demo model");
        }
    }
}

async fn messages(State(server): State<Server>, headers: HeaderMap, body: Bytes) -> Response {
    let key = headers.get("x-api-key").map_or(&[][..], |key| key.as_bytes());
    if !bool::from(key.ct_eq(server.key.expose_secret().as_bytes())) {
        return refused(StatusCode::UNAUTHORIZED, "authentication_error", "invalid x-api-key");
    }
    let invalid = |message: &str| refused(StatusCode::BAD_REQUEST, "invalid_request_error", message);
    let Ok(request) = serde_json::from_slice::<Value>(&body) else {
        return invalid("the body is not JSON");
    };
    if request["model"] != DEMO_MODEL {
        return refused(StatusCode::NOT_FOUND, "not_found_error", "there is only the demo model here");
    }
    if request["stream"] != true {
        return invalid("the demo model only streams");
    }
    let conversation = match conversation::Conversation::read(&request) {
        Ok(conversation) => conversation,
        Err(message) => return invalid(&message),
    };
    let answer = script::next_answer(&conversation);
    let events = stream::events(&answer, server.pace.piece);
    let delay = server.pace.delay;
    let events = futures_util::stream::iter(events).then(move |event| async move {
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        Ok::<_, std::convert::Infallible>(Bytes::from(event))
    });
    let headers = [(header::CONTENT_TYPE, "text/event-stream; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
    (headers, Body::from_stream(events)).into_response()
}

fn refused(status: StatusCode, kind: &str, message: &str) -> Response {
    (status, Json(json!({ "type": "error", "error": { "type": kind, "message": message } }))).into_response()
}

#[cfg(test)]
mod tests;
