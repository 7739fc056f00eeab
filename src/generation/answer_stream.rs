//! An answer of the model, as it comes.

use std::collections::VecDeque;
use std::time::Duration;

use reqwest::Response;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;

use super::error::ModelError;
use super::wire::{AnswerBlock, Reader, SseEvent, SseParser, StopReason, StreamError, StreamItem, WireUsage};

/// What is waited for after the reason to stop: a word on usage, the end.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// An answer on its way.
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
    /// Reads the answer of `model` from a response. Silence is borne for `idle`; `key` is taken out of what a fault says.
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

    /// The next thing that the model says; none when the answer is complete. Can be dropped and
    /// called again without losing anything.
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
            // The reason to stop is the last thing that matters.
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
            // What came whole before the fault is still said, then the stream is found broken again.
            if let (Err(error), true) = (read, self.events.is_empty()) {
                return Err(ModelError::Malformed(error.to_string()));
            }
        }
    }

    /// Why the model stopped, once it has.
    pub fn stop_reason(&self) -> Option<&StopReason> {
        self.reader.stop_reason()
    }

    /// The text received so far.
    pub fn blocks(&self) -> Vec<AnswerBlock> {
        self.reader.blocks()
    }

    /// What it has used so far.
    pub fn usage(&self) -> WireUsage {
        self.reader.usage()
    }
}

/// The provider's words without the key, should it ever repeat it.
pub(super) fn scrub(message: &str, key: &SecretString) -> String {
    match key.expose_secret().trim() {
        "" => message.to_owned(),
        key => message.replace(key, "…"),
    }
}
