//! A streamed answer of the model.

use std::collections::VecDeque;
use std::time::Duration;

use reqwest::Response;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;

use super::error::ModelError;
use super::wire::{AnswerBlock, Reader, SseEvent, SseParser, StopReason, StreamError, StreamItem, WireUsage};

/// Timeout for the events after the stop reason: the usage and the end of the stream.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// An answer that is being received.
pub struct AnswerStream {
    response: Response,
    sse: SseParser,
    events: VecDeque<SseEvent>,
    items: VecDeque<StreamItem>,
    reader: Reader,
    idle: Duration,
    model: String,
    key: SecretString,
}

impl AnswerStream {
    /// Reads the answer of `model` from a response. `idle` is the timeout between two pieces; `key` is removed from
    /// error messages.
    pub(super) fn new(response: Response, reader: Reader, idle: Duration, model: &str, key: SecretString) -> Self {
        Self {
            response,
            sse: SseParser::default(),
            events: VecDeque::new(),
            items: VecDeque::new(),
            reader,
            idle,
            model: model.to_owned(),
            key,
        }
    }

    /// The next item of the answer; none when it is complete. The future can be dropped and called again without a
    /// loss.
    pub async fn next(&mut self) -> Result<Option<StreamItem>, ModelError> {
        loop {
            if let Some(item) = self.items.pop_front() {
                return Ok(Some(item));
            }
            if let Some(event) = self.events.pop_front() {
                let mut items = Vec::new();
                let read = self.reader.push(&event, &mut items);
                self.items.extend(items);
                read.map_err(|error| match error {
                    StreamError::Reported { kind, message } => {
                        let message = scrub(&message, &self.key);
                        ModelError::reported(None, &kind, &message, &self.model, None)
                    }
                    other => ModelError::Malformed(other.to_string()),
                })?;
                continue;
            }
            if self.reader.is_ended() {
                return Ok(None);
            }
            // Nothing after the stop reason is essential.
            let is_said = self.reader.stop_reason().is_some();
            let patience = if is_said { self.idle.min(LAST_WORDS) } else { self.idle };
            let chunk = match timeout(patience, self.response.chunk()).await {
                Ok(Ok(Some(chunk))) => chunk,
                _ if is_said => {
                    let mut items = Vec::new();
                    self.reader.end(&mut items);
                    if items.is_empty() {
                        return Ok(None);
                    }
                    self.items.extend(items);
                    continue;
                }
                Err(_) => return Err(ModelError::Timeout { after: self.idle }),
                Ok(_) => return Err(ModelError::Disconnected),
            };
            let mut events = Vec::new();
            let read = self.sse.push(&chunk, &mut events);
            self.events.extend(events);
            // Events before the error are returned first; the next read reports the error again.
            if let (Err(error), true) = (read, self.events.is_empty()) {
                return Err(ModelError::Malformed(error.to_string()));
            }
        }
    }

    /// The stop reason, once it is known.
    pub fn stop_reason(&self) -> Option<&StopReason> {
        self.reader.stop_reason()
    }

    /// The blocks received so far.
    pub fn blocks(&self) -> Vec<AnswerBlock> {
        self.reader.blocks()
    }

    /// The usage so far.
    pub fn usage(&self) -> WireUsage {
        self.reader.usage()
    }
}

/// The provider's message without the key, in case it contains the key.
pub(super) fn scrub(message: &str, key: &SecretString) -> String {
    match key.expose_secret().trim() {
        "" => message.to_owned(),
        key => message.replace(key, "…"),
    }
}
