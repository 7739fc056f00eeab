//! A reader of server-sent events that keeps what it has read.

use std::time::Duration;

use futures_util::StreamExt;
use reqwest::RequestBuilder;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub id: u64,
    pub name: String,
    pub data: Value,
}

impl Event {
    /// A `job` event of this state.
    pub fn is_job(&self, state: &str) -> bool {
        self.name == "job" && self.data["state"] == state
    }

    /// A `job` event whose last step is this one, in this state.
    pub fn is_step(&self, name: &str, state: &str) -> bool {
        let steps = self.data["steps"].as_array();
        self.name == "job"
            && steps.and_then(|steps| steps.last()).is_some_and(|step| step["name"] == name && step["state"] == state)
    }
}

#[derive(Debug, Default)]
struct Read {
    events: Vec<Event>,
    ended: bool,
}

/// An open stream, read in the background until it ends or is dropped.
pub struct Stream {
    read: watch::Receiver<Read>,
    task: JoinHandle<()>,
}

impl Stream {
    /// Opens a stream after the event with this id; 0 is from the beginning.
    pub async fn open(request: RequestBuilder, after: u64) -> Self {
        let request = if after > 0 { request.header("Last-Event-ID", after.to_string()) } else { request };
        let answer = request.header("Accept", "text/event-stream").send().await.expect("the builder answers");
        assert_eq!(answer.status().as_u16(), 200, "a stream is opened");
        let kind = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        assert!(kind.starts_with("text/event-stream"), "{kind}");
        let (write, read) = watch::channel(Read::default());
        let task = tokio::spawn(async move {
            let mut body = answer.bytes_stream();
            let mut text = Vec::new();
            while let Some(Ok(bytes)) = body.next().await {
                text.extend_from_slice(&bytes);
                let mut fresh = Vec::new();
                while let Some(end) = text.windows(2).position(|two| two == b"\n\n") {
                    let block: Vec<u8> = text.drain(..end + 2).collect();
                    fresh.extend(parse(&String::from_utf8(block).expect("streams are UTF-8")));
                }
                if !fresh.is_empty() {
                    write.send_modify(|read| read.events.extend(fresh));
                }
            }
            write.send_modify(|read| read.ended = true);
        });
        Self { read, task }
    }

    /// Everything so far.
    pub fn so_far(&self) -> Vec<Event> {
        self.read.borrow().events.clone()
    }

    /// Waits for the first event that `wanted` takes, those read already included.
    pub async fn wait(&mut self, what: &str, limit: Duration, wanted: impl Fn(&Event) -> bool) -> Event {
        let found = self.read.wait_for(|read| read.ended || read.events.iter().any(&wanted));
        let read = tokio::time::timeout(limit, found).await.unwrap_or_else(|_| panic!("not within {limit:?}: {what}"));
        let read = read.expect("the reader lives as long as the stream");
        let event = read.events.iter().find(|event| wanted(event)).cloned();
        event.unwrap_or_else(|| panic!("the stream ended before: {what}; it had {:#?}", read.events))
    }

    /// Waits until the server ends the stream; everything that it held.
    pub async fn read_out(&mut self, limit: Duration) -> Vec<Event> {
        let read = tokio::time::timeout(limit, self.read.wait_for(|read| read.ended)).await;
        let read = read.unwrap_or_else(|_| panic!("the stream did not end within {limit:?}"));
        read.expect("the reader lives as long as the stream").events.clone()
    }

    /// Whether the server has ended it.
    pub fn has_ended(&self) -> bool {
        self.read.borrow().ended
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A block of lines as an event; comments and blocks without data are ignored.
fn parse(block: &str) -> Option<Event> {
    let (mut id, mut name, mut data) = (0, String::new(), String::new());
    for line in block.lines() {
        let Some((field, value)) = line.split_once(':') else { continue };
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => id = value.parse().expect("event ids are numbers"),
            "event" => value.clone_into(&mut name),
            "data" => data.push_str(value),
            _ => {}
        }
    }
    if data.is_empty() {
        return None;
    }
    let data = serde_json::from_str(&data).unwrap_or_else(|error| panic!("{error} in {data}"));
    Some(Event { id, name, data })
}

/// Events with the pieces of one text or file joined, as they are after their job has ended:
/// for comparing what was seen live with what was kept.
pub fn joined(events: &[Event]) -> Vec<(String, Value)> {
    let mut out: Vec<(String, Value)> = Vec::new();
    for event in events {
        if let Some((name, last)) = out.last_mut()
            && *name == event.name
            && is_piece(event)
            && is_piece_value(name, last)
            && without_delta(last) == without_delta(&event.data)
        {
            let text = format!("{}{}", delta(last), delta(&event.data));
            last["delta"] = Value::String(text);
            continue;
        }
        out.push((event.name.clone(), event.data.clone()));
    }
    out
}

fn is_piece(event: &Event) -> bool {
    is_piece_value(&event.name, &event.data)
}

fn is_piece_value(name: &str, data: &Value) -> bool {
    name == "text" || (name == "file" && data["state"] == "writing" && data["delta"].is_string())
}

fn delta(data: &Value) -> &str {
    data["delta"].as_str().unwrap_or_default()
}

fn without_delta(data: &Value) -> Value {
    let mut data = data.clone();
    if let Some(fields) = data.as_object_mut() {
        fields.remove("delta");
    }
    data
}
