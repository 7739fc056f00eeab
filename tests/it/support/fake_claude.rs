//! A scripted server that speaks the Messages API as the real one does, faults included. Asked in the
//! manner of an OpenAI-compatible server, it plays the same script in that format.
//!
//! It answers each request with the next [`Reply`] of its script, cut into pieces as the script
//! says, and records what it was asked. It writes HTTP itself, so that it can break it anywhere.
//! Used by unit tests (included by path) and integration tests alike.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

#[path = "fake_chat.rs"]
mod chat;

/// The key that tests use.
pub const KEY: &str = "sk-fake-7f3a";

/// How the model is spoken to.
#[derive(Clone, Copy, PartialEq)]
pub enum Wire {
    Messages,
    Chat,
}

impl Wire {
    /// The builder's settings for a server at this address.
    pub fn settings(self, base_url: &str) -> Vec<(&'static str, &str)> {
        match self {
            Self::Messages => vec![("ANTHROPIC_API_KEY", KEY), ("ANTHROPIC_BASE_URL", base_url)],
            Self::Chat => vec![
                ("SLIPWAY_PROVIDER", "openai"),
                ("SLIPWAY_MODEL", "some-model"),
                ("OPENAI_API_KEY", KEY),
                ("OPENAI_BASE_URL", base_url),
            ],
        }
    }
}

/// The events of one streamed answer, each as the bytes that go over the wire.
#[derive(Debug, Clone)]
pub struct Answer {
    events: Vec<Vec<u8>>,
    index: usize,
    usage: Value,
    output_tokens: u64,
}

impl Answer {
    /// Begins with `message_start`.
    pub fn new() -> Self {
        Self::with_usage(
            json!({"input_tokens": 100, "output_tokens": 1, "cache_read_input_tokens": 40, "cache_creation_input_tokens": 20}),
        )
    }

    /// Begins with `message_start` and this usage.
    pub fn with_usage(usage: Value) -> Self {
        let mut answer = Self { events: Vec::new(), index: 0, usage, output_tokens: 50 };
        let usage = answer.usage.clone();
        answer = answer.event(
            "message_start",
            &json!({"type": "message_start", "message": {"id": "msg_fake", "type": "message", "role": "assistant", "content": [], "model": "fake", "stop_reason": null, "usage": usage}}),
        );
        answer.event("ping", &json!({"type": "ping"}))
    }

    /// Any event.
    pub fn event(self, name: &str, data: &Value) -> Self {
        self.raw(format!("event: {name}\ndata: {data}\n\n").into_bytes())
    }

    /// Any bytes in the place of an event.
    pub fn raw(mut self, bytes: Vec<u8>) -> Self {
        self.events.push(bytes);
        self
    }

    fn start(self, block: &Value) -> Self {
        let index = self.index;
        self.event(
            "content_block_start",
            &json!({"type": "content_block_start", "index": index, "content_block": block}),
        )
    }

    fn delta(self, delta: &Value) -> Self {
        let index = self.index;
        self.event("content_block_delta", &json!({"type": "content_block_delta", "index": index, "delta": delta}))
    }

    fn end_block(mut self) -> Self {
        let index = self.index;
        self.index += 1;
        self.event("content_block_stop", &json!({"type": "content_block_stop", "index": index}))
    }

    /// A text block in pieces of five characters.
    pub fn text(self, text: &str) -> Self {
        self.text_begun(text).end_block()
    }

    /// A text block that does not end.
    pub fn text_begun(mut self, text: &str) -> Self {
        self = self.start(&json!({"type": "text", "text": ""}));
        for piece in pieces(text, 5) {
            self = self.delta(&json!({"type": "text_delta", "text": piece}));
        }
        self
    }

    /// A thinking block; without a signature it does not end.
    pub fn thinking(mut self, thinking: &str, signature: Option<&str>) -> Self {
        self = self.start(&json!({"type": "thinking", "thinking": "", "signature": ""}));
        for piece in pieces(thinking, 7) {
            self = self.delta(&json!({"type": "thinking_delta", "thinking": piece}));
        }
        match signature {
            Some(signature) => self.delta(&json!({"type": "signature_delta", "signature": signature})).end_block(),
            None => self,
        }
    }

    /// A redacted thinking block.
    pub fn redacted(self, data: &str) -> Self {
        self.start(&json!({"type": "redacted_thinking", "data": data})).end_block()
    }

    /// A block of an unknown type.
    pub fn unknown_block(self) -> Self {
        self.start(&json!({"type": "hologram", "beams": 3}))
            .delta(&json!({"type": "beam_delta", "beam": "x"}))
            .end_block()
    }

    /// An unknown event.
    pub fn unknown_event(self) -> Self {
        self.event("weather", &json!({"type": "weather", "rain": true}))
    }

    /// A tool call, its JSON in pieces of `size` characters.
    pub fn tool(self, id: &str, name: &str, input: &Value, size: usize) -> Self {
        self.tool_text(id, name, &input.to_string(), size)
    }

    /// A tool call with any text as its input.
    pub fn tool_text(self, id: &str, name: &str, json: &str, size: usize) -> Self {
        self.tool_begun(id, name, json, size).end_block()
    }

    /// A tool call that does not end.
    pub fn tool_begun(mut self, id: &str, name: &str, json: &str, size: usize) -> Self {
        self = self.start(&json!({"type": "tool_use", "id": id, "name": name, "input": {}}));
        self = self.delta(&json!({"type": "input_json_delta", "partial_json": ""}));
        for piece in pieces(json, size) {
            self = self.delta(&json!({"type": "input_json_delta", "partial_json": piece}));
        }
        self
    }

    /// An `error` event, as in mid-stream.
    pub fn error(self, kind: &str, message: &str) -> Self {
        self.event("error", &json!({"type": "error", "error": {"type": kind, "message": message}}))
    }

    /// Ends with `message_delta` and `message_stop`.
    pub fn stop(self, reason: &str) -> Self {
        self.stop_with(reason, &Value::Null)
    }

    /// Ends with a reason and its details.
    pub fn stop_with(self, reason: &str, details: &Value) -> Self {
        let tokens = self.output_tokens;
        self.event(
            "message_delta",
            &json!({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": null, "stop_details": details}, "usage": {"output_tokens": tokens}}),
        )
        .event("message_stop", &json!({"type": "message_stop"}))
    }

    /// How many events there are so far.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// The answer as a reply that comes whole.
    pub fn reply(self) -> Reply {
        Reply::Stream { events: self.events, split: Split::Events, end: Ending::Whole, pause: Duration::ZERO }
    }

    /// The answer as a reply that is cut like this.
    pub fn split(self, split: Split) -> Reply {
        Reply::Stream { events: self.events, split, end: Ending::Whole, pause: Duration::ZERO }
    }

    /// The answer with a fault: it breaks off after so many events, and so many bytes of the next.
    pub fn disconnect_after(self, events: usize, bytes: usize) -> Reply {
        Reply::Stream {
            events: self.events,
            split: Split::Events,
            end: Ending::Disconnect { events, bytes },
            pause: Duration::ZERO,
        }
    }

    /// The answer without an end: after its events there is silence until the client hangs up.
    pub fn then_silence(self) -> Reply {
        Reply::Stream { events: self.events, split: Split::Events, end: Ending::Silence, pause: Duration::ZERO }
    }
}

fn pieces(text: &str, size: usize) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    characters.chunks(size.max(1)).map(|piece| piece.iter().collect()).collect()
}

/// How an answer's bytes are cut into packets.
#[derive(Debug, Clone, Copy)]
pub enum Split {
    /// One event each.
    Events,
    /// So many bytes each, through characters and events.
    Bytes(usize),
    /// All at once.
    Whole,
}

/// How an answer ends.
#[derive(Debug, Clone, Copy)]
pub enum Ending {
    /// As HTTP demands.
    Whole,
    /// The connection is closed after so many events and so many bytes of the next.
    Disconnect {
        /// Whole events.
        events: usize,
        /// Bytes after them.
        bytes: usize,
    },
    /// Nothing more comes.
    Silence,
}

/// The reply to a request.
#[derive(Debug, Clone)]
pub enum Reply {
    /// An error, or another response that is not a stream.
    Status {
        /// HTTP status.
        status: u16,
        /// Further headers.
        headers: Vec<(&'static str, String)>,
        /// The body.
        body: String,
    },
    /// A streamed answer.
    Stream {
        /// Its events.
        events: Vec<Vec<u8>>,
        /// How they are cut.
        split: Split,
        /// How they end.
        end: Ending,
        /// Waited between packets.
        pause: Duration,
    },
    /// The connection is closed without a word.
    HangUp,
}

impl Reply {
    /// An error as the API gives it.
    pub fn error(status: u16, kind: &str, message: &str) -> Self {
        let body = json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_fake"});
        Self::Status { status, headers: Vec::new(), body: body.to_string() }
    }

    /// 429 with `retry-after`.
    pub fn rate_limited(seconds: &str) -> Self {
        let Self::Status { status, body, .. } = Self::error(429, "rate_limit_error", "Slow down") else {
            unreachable!()
        };
        Self::Status { status, headers: vec![("retry-after", seconds.to_owned())], body }
    }

    /// 429 that no waiting helps.
    pub fn spend_limit() -> Self {
        let body = json!({"type": "error", "error": {"type": "rate_limit_error", "message": "Spend limit",
            "details": {"error_code": "enforced_spend_limit_reached"}}});
        Self::Status { status: 429, headers: vec![("retry-after", "1".into())], body: body.to_string() }
    }

    /// The same stream, dripping.
    pub fn slowly(mut self, each: Duration) -> Self {
        if let Self::Stream { pause, .. } = &mut self {
            *pause = each;
        }
        self
    }
}

/// One request, as it was received.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Method and path, e.g. `POST /v1/messages`.
    pub line: String,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The JSON body, in the form of the Messages API whichever was spoken.
    pub body: Value,
    /// The JSON body as it came.
    pub raw: Value,
}

impl Recorded {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Default)]
struct Shared {
    script: Mutex<VecDeque<Reply>>,
    requests: Mutex<Vec<Recorded>>,
    /// The response of `GET …/models`; `None`: 404.
    models: Mutex<Option<Value>>,
}

/// The server; ends when dropped.
pub struct FakeClaude {
    address: SocketAddr,
    shared: Arc<Shared>,
    hung_up: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

impl Drop for FakeClaude {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakeClaude {
    /// Starts with this script.
    pub async fn start(script: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared { script: Mutex::new(script.into_iter().collect()), ..Shared::default() });
        let (counter, hung_up) = watch::channel(0);
        let task = tokio::spawn(accept(listener, shared.clone(), counter));
        Self { address, shared, hung_up, task }
    }

    /// For the client's configuration.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds to the script.
    pub fn push(&self, reply: Reply) {
        self.shared.script.lock().expect("no panic").push_back(reply);
    }

    /// Lists these models from now on. Requests for the list use up no reply.
    pub fn offer(&self, models: Value) {
        *self.shared.models.lock().expect("no panic") = Some(models);
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.requests.lock().expect("no panic").clone()
    }

    /// Replies that were not requested.
    pub fn left(&self) -> usize {
        self.shared.script.lock().expect("no panic").len()
    }

    /// Waits until a client has hung up on a silent answer.
    pub async fn until_hung_up(&mut self) {
        let waited = tokio::time::timeout(Duration::from_secs(10), self.hung_up.wait_for(|count| *count > 0)).await;
        waited.expect("the client hangs up within 10 s").expect("the server lives");
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, hang_up: watch::Sender<usize>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (shared, hang_up) = (shared.clone(), hang_up.clone());
        connections.spawn(async move {
            // Clients may disconnect.
            let _ = serve(stream, &shared, &hang_up).await;
        });
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared, hang_up: &watch::Sender<usize>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let Some(request) = read_request(&mut stream).await? else { return Ok(()) };
    if request.line.starts_with("GET ") {
        let models = shared.models.lock().expect("no panic").clone();
        let (status, body) = match models {
            Some(models) => (200, json!({ "data": models })),
            None => (404, json!({"error": {"type": "not_found_error", "message": "there is no such thing"}})),
        };
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 {status} Fake\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        return stream.shutdown().await;
    }
    let is_chat = chat::is_chat(&request.line);
    shared.requests.lock().expect("no panic").push(request);
    let reply = shared.script.lock().expect("no panic").pop_front();
    match reply.unwrap_or_else(|| Reply::error(400, "invalid_request_error", "the script has no reply left")) {
        Reply::HangUp => Ok(()),
        Reply::Status { status, headers, body } => {
            let headers = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
            let headers = headers.collect::<Vec<_>>().concat();
            let body = if is_chat { chat::error_body(&body) } else { body };
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status} Fake\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n"
            );
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(body.as_bytes()).await?;
            stream.shutdown().await
        }
        Reply::Stream { events, split, end, pause } => {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n")
                .await?;
            let events = if is_chat { chat::events(&events) } else { events };
            let events = match end {
                Ending::Disconnect { events: whole, bytes } => {
                    let mut kept: Vec<Vec<u8>> = events.iter().take(whole).cloned().collect();
                    kept.extend(events.get(whole).map(|next| next[..bytes.min(next.len())].to_vec()));
                    kept
                }
                _ => events,
            };
            for packet in packets(&events, split) {
                if packet.is_empty() {
                    continue;
                }
                let chunk = [format!("{:x}\r\n", packet.len()).as_bytes(), &packet, b"\r\n"].concat();
                stream.write_all(&chunk).await?;
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
            }
            match end {
                Ending::Whole => stream.write_all(b"0\r\n\r\n").await?,
                Ending::Disconnect { .. } => {}
                Ending::Silence => {
                    let mut rest = [0; 64];
                    while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
                    hang_up.send_modify(|count| *count += 1);
                }
            }
            stream.shutdown().await
        }
    }
}

fn packets(events: &[Vec<u8>], split: Split) -> Vec<Vec<u8>> {
    match split {
        Split::Events => events.to_vec(),
        Split::Whole => vec![events.concat()],
        Split::Bytes(size) => events.concat().chunks(size.max(1)).map(<[u8]>::to_vec).collect(),
    }
}

async fn read_request(stream: &mut TcpStream) -> std::io::Result<Option<Recorded>> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap_or_default().rsplit_once(' ').map_or("", |(line, _)| line).to_owned();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok());
    let length: usize = length.unwrap_or(0);
    let mut body = bytes.split_off(head_end + 4);
    while body.len() < length {
        if stream.read_buf(&mut body).await? == 0 {
            return Ok(None);
        }
    }
    let raw: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let body = if chat::is_chat(&line) { chat::request(&raw) } else { raw.clone() };
    Ok(Some(Recorded { line, headers, body, raw }))
}
