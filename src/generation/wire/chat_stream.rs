//! Assembles the chunks of an OpenAI-compatible server into one answer: a state machine without I/O.
//!
//! It supports the dialects: calls that arrive whole or in pieces, without an id or an index, several
//! under one index; content in parts; usage with every chunk, at the end, or never (then it is
//! estimated from the text, and marked as an estimate); an end without `[DONE]`; errors in mid-stream. Memory
//! is bounded as in [`stream`](super::stream).

use serde::Deserialize;
use serde_json::{Map, Value};

use super::message::{BYTES_PER_TOKEN, ContentBlock};
use super::partial_json::FieldExtractor;
use super::sse::SseEvent;
use super::stream::{ANSWER_MAX, AnswerBlock, BLOCKS_MAX, RawCall, StopReason, StreamError, StreamItem, WireUsage};

/// The end of the stream.
const DONE: &str = "[DONE]";

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Option<Vec<Choice>>,
    #[serde(default)]
    usage: Option<RawUsage>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u64,
    /// Some servers send the whole answer as one message.
    #[serde(default, alias = "message")]
    delta: Option<Delta>,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct Delta {
    #[serde(default)]
    content: Value,
    #[serde(default)]
    reasoning_content: Value,
    #[serde(default)]
    reasoning: Value,
    #[serde(default)]
    refusal: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<CallDelta>>,
}

#[derive(Deserialize)]
struct CallDelta {
    #[serde(default)]
    index: Option<u64>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    function: Option<FunctionDelta>,
}

#[derive(Default, Deserialize)]
struct FunctionDelta {
    #[serde(default)]
    name: Option<String>,
    /// Text according to the specification; some servers send an object.
    #[serde(default)]
    arguments: Value,
}

#[derive(Deserialize)]
struct RawUsage {
    #[serde(default)]
    prompt_tokens: Option<u64>,
    #[serde(default)]
    completion_tokens: Option<u64>,
    #[serde(default)]
    prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Deserialize)]
struct PromptDetails {
    #[serde(default)]
    cached_tokens: Option<u64>,
}

enum Part {
    Text(String),
    Thought(String),
    Call(Box<Call>),
}

struct Call {
    raw: RawCall,
    /// The server's index of the call.
    index: Option<u64>,
    /// The server's id of the call, if any.
    given_id: Option<String>,
    /// Finds the end of its input while it arrives.
    scan: FieldExtractor,
    ended: bool,
}

impl Call {
    /// Appends to its input; returns whether it is now a complete object, after which nothing can follow.
    fn push(&mut self, json: &str) -> bool {
        self.raw.json.push_str(json);
        // Invalid JSON is reported at the end of the answer.
        let _ = self.scan.push(json, &mut Vec::new());
        self.ended = self.scan.is_complete() && serde_json::from_str::<Map<String, Value>>(&self.raw.json).is_ok();
        self.ended
    }
}

/// Assembles the events of one answer.
pub struct ChatAssembler {
    parts: Vec<Part>,
    size: usize,
    usage: Option<WireUsage>,
    /// The estimated tokens of the request, for a server that reports no usage.
    request_tokens: u64,
    /// Prefix of generated ids.
    id_prefix: String,
    stop: Option<StopReason>,
    refusal: Option<String>,
    ended: bool,
}

impl ChatAssembler {
    /// Before the first event. `id_prefix`: six letters and digits, new for each answer.
    pub fn new(request_tokens: u64, id_prefix: impl Into<String>) -> Self {
        Self {
            parts: Vec::new(),
            size: 0,
            usage: None,
            request_tokens,
            id_prefix: id_prefix.into(),
            stop: None,
            refusal: None,
            ended: false,
        }
    }

    /// Reads an event and appends its items.
    pub fn push(&mut self, event: &SseEvent, items: &mut Vec<StreamItem>) -> Result<(), StreamError> {
        if self.ended {
            return Ok(());
        }
        self.size += event.data.len();
        if self.size > ANSWER_MAX {
            return Err(StreamError::TooLarge);
        }
        if event.data.trim() == DONE {
            self.end(items);
            return Ok(());
        }
        let malformed = || StreamError::Malformed(event.name.chars().take(40).collect());
        let value: Value = serde_json::from_str(&event.data).map_err(|_| malformed())?;
        if let Some((kind, message)) = reported(&value, event.name == "error") {
            return Err(StreamError::Reported { kind, message });
        }
        let chunk: Chunk = serde_json::from_value(value).map_err(|_| malformed())?;
        for choice in chunk.choices.into_iter().flatten().filter(|choice| choice.index == 0) {
            if let Some(delta) = choice.delta {
                self.delta(delta, items)?;
            }
            if let Some(reason) = choice.finish_reason.filter(|reason| !reason.is_empty()) {
                self.finish(&reason, items)?;
            }
        }
        if let Some(usage) = chunk.usage.and_then(RawUsage::read)
            && self.usage != Some(usage)
        {
            self.usage = Some(usage);
            items.push(StreamItem::Usage(usage));
        }
        Ok(())
    }

    /// The end: after `[DONE]`, or when the connection ended after the stop reason.
    pub fn end(&mut self, items: &mut Vec<StreamItem>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        if self.stop.is_none() {
            // Some servers send no stop reason: complete calls count.
            self.stop = Some(if self.has_calls() { StopReason::ToolUse } else { StopReason::EndTurn });
        }
        if self.usage.is_none() {
            items.push(StreamItem::Usage(self.usage()));
        }
    }

    /// Whether the answer has ended.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// The stop reason, once it is known.
    pub fn stop_reason(&self) -> Option<&StopReason> {
        self.stop.as_ref()
    }

    /// Usage, reported by the server or estimated from the text.
    pub fn usage(&self) -> WireUsage {
        self.usage.unwrap_or_else(|| {
            let bytes: usize = self
                .parts
                .iter()
                .map(|part| match part {
                    Part::Text(text) | Part::Thought(text) => text.len(),
                    Part::Call(call) => call.raw.name.len() + call.raw.json.len(),
                })
                .sum();
            WireUsage {
                input_tokens: self.request_tokens,
                output_tokens: (bytes as u64).div_ceil(BYTES_PER_TOKEN),
                is_estimated: true,
                ..WireUsage::default()
            }
        })
    }

    /// The blocks so far, in order, whether or not the answer has ended.
    pub fn blocks(&self) -> Vec<AnswerBlock> {
        let block = |part: &Part| match part {
            Part::Text(text) => AnswerBlock::Content(ContentBlock::text(text)),
            Part::Thought(thinking) => AnswerBlock::Content(ContentBlock::Thinking {
                thinking: thinking.clone(),
                // Thinking without a signature is shown, but not sent back.
                signature: String::new(),
                extra: Map::new(),
            }),
            Part::Call(call) => AnswerBlock::Call { call: call.raw.clone(), ended: call.ended },
        };
        self.parts.iter().map(block).collect()
    }

    fn delta(&mut self, delta: Delta, items: &mut Vec<StreamItem>) -> Result<(), StreamError> {
        let thought = match text_of(&delta.reasoning_content) {
            thought if thought.is_empty() => text_of(&delta.reasoning),
            thought => thought,
        };
        if !thought.is_empty() {
            let index = match self.parts.last_mut() {
                Some(Part::Thought(so_far)) => {
                    so_far.push_str(&thought);
                    self.parts.len() - 1
                }
                _ => self.begin(Part::Thought(thought.clone()))?,
            };
            items.push(StreamItem::Thought { index, delta: thought });
        }
        let text = text_of(&delta.content);
        if !text.is_empty() {
            let index = match self.parts.last_mut() {
                Some(Part::Text(so_far)) => {
                    so_far.push_str(&text);
                    self.parts.len() - 1
                }
                _ => self.begin(Part::Text(text.clone()))?,
            };
            items.push(StreamItem::Text { index, delta: text });
        }
        if let Some(words) = delta.refusal.filter(|words| !words.is_empty()) {
            self.refusal.get_or_insert_default().push_str(&words);
        }
        for call in delta.tool_calls.into_iter().flatten() {
            self.call(call, items)?;
        }
        Ok(())
    }

    fn call(&mut self, delta: CallDelta, items: &mut Vec<StreamItem>) -> Result<(), StreamError> {
        let function = delta.function.unwrap_or_default();
        let name = function.name.unwrap_or_default();
        let id = delta.id.filter(|id| !id.is_empty());
        let json = match function.arguments {
            Value::String(text) => text,
            Value::Object(input) => Value::Object(input).to_string(),
            _ => String::new(),
        };
        let at = match self.find(delta.index, id.as_deref(), &name) {
            Some(at) => at,
            // A piece of an unknown call is ignored.
            None if name.is_empty() => return Ok(()),
            None => {
                let raw = RawCall { id: self.free_id(id.as_deref()), name: name.clone(), json: String::new() };
                let call = Call { raw, index: delta.index, given_id: id, scan: FieldExtractor::new(&[]), ended: false };
                let at = self.begin(Part::Call(Box::new(call)))?;
                items.push(StreamItem::ToolStarted { index: at, name });
                at
            }
        };
        if let Some(Part::Call(call)) = self.parts.get_mut(at)
            && !call.ended
            && !json.is_empty()
        {
            let is_whole = call.push(&json);
            items.push(StreamItem::ToolInput { index: at, json });
            if is_whole {
                items.push(StreamItem::ToolEnded { index: at, call: call.raw.clone() });
            }
        }
        Ok(())
    }

    /// The call that a piece belongs to; `None` if it starts another one.
    fn find(&self, index: Option<u64>, id: Option<&str>, name: &str) -> Option<usize> {
        let calls = || {
            self.parts.iter().enumerate().rev().filter_map(|(at, part)| match part {
                Part::Call(call) => Some((at, call)),
                _ => None,
            })
        };
        let is_same = |call: &Call| match (id, &call.given_id) {
            (Some(id), Some(given)) => id == given,
            // Some servers give every call the same index: a name after a complete input starts another call.
            _ => name.is_empty() || !call.ended,
        };
        if let Some(index) = index {
            return calls().find(|(_, call)| call.index == Some(index) && is_same(call)).map(|(at, _)| at);
        }
        match id {
            Some(id) => calls().find(|(_, call)| call.given_id.as_deref() == Some(id)).map(|(at, _)| at),
            None if name.is_empty() => calls().next().map(|(at, _)| at),
            None => None,
        }
    }

    /// The server's id, or a generated one if it is missing or not unique. Generated ids have nine letters
    /// and digits, because some servers accept only this form.
    fn free_id(&self, given: Option<&str>) -> String {
        let is_taken = |id: &str| self.parts.iter().any(|part| matches!(part, Part::Call(call) if call.raw.id == id));
        match given {
            Some(id) if !is_taken(id) => id.to_owned(),
            _ => format!("{}{:03}", self.id_prefix, self.parts.len() % 1000),
        }
    }

    fn begin(&mut self, part: Part) -> Result<usize, StreamError> {
        if self.parts.len() >= BLOCKS_MAX {
            return Err(StreamError::TooLarge);
        }
        self.parts.push(part);
        Ok(self.parts.len() - 1)
    }

    /// Ends incomplete calls; the caller checks their input.
    fn close_calls(&mut self, items: &mut Vec<StreamItem>) {
        for (index, part) in self.parts.iter_mut().enumerate() {
            if let Part::Call(call) = part
                && !std::mem::replace(&mut call.ended, true)
            {
                items.push(StreamItem::ToolEnded { index, call: call.raw.clone() });
            }
        }
    }

    fn has_calls(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Call(_)))
    }

    fn finish(&mut self, reason: &str, items: &mut Vec<StreamItem>) -> Result<(), StreamError> {
        // At the limit the last call may be truncated.
        if !matches!(reason, "length" | "max_tokens") {
            self.close_calls(items);
        }
        self.stop = Some(match reason {
            "length" | "max_tokens" => StopReason::MaxTokens,
            "content_filter" => StopReason::Refusal(self.refusal.take()),
            "error" => {
                return Err(StreamError::Reported {
                    kind: "server_error".into(),
                    message: "the server ended its answer with an error".into(),
                });
            }
            _ if self.refusal.is_some() => StopReason::Refusal(self.refusal.take()),
            // Some servers send `stop` after calls too.
            _ if self.has_calls() => StopReason::ToolUse,
            _ => StopReason::EndTurn,
        });
        Ok(())
    }
}

impl RawUsage {
    /// `None` if a server sends the field without a count.
    fn read(self) -> Option<WireUsage> {
        let prompt = self.prompt_tokens.unwrap_or(0);
        let output_tokens = self.completion_tokens.unwrap_or(0);
        let cached = self.prompt_tokens_details.and_then(|details| details.cached_tokens).unwrap_or(0).min(prompt);
        (prompt > 0 || output_tokens > 0).then_some(WireUsage {
            input_tokens: prompt - cached,
            output_tokens,
            cache_read_tokens: cached,
            cache_write_tokens: 0,
            is_estimated: false,
        })
    }
}

/// Text, as a string or in parts.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect(),
        _ => String::new(),
    }
}

/// Type and message of an error in any of its formats: `{"error": {…}}`, `{"error": "…"}`,
/// or the bare object if `is_error` is known otherwise.
pub fn reported(value: &Value, is_error: bool) -> Option<(String, String)> {
    let error = match value.get("error") {
        Some(Value::Null) | None => (is_error || value.get("object") == Some(&"error".into())).then_some(value)?,
        Some(error) => error,
    };
    if let Value::String(message) = error {
        return Some((String::new(), message.clone()));
    }
    let word = |key: &str| error.get(key).and_then(Value::as_str).filter(|word| !word.is_empty());
    // The code is more specific if it is a word.
    let kind = word("code").or_else(|| word("type")).unwrap_or_default();
    let message = word("message").or_else(|| word("detail")).unwrap_or_default();
    Some((kind.to_owned(), message.to_owned()))
}

#[cfg(test)]
#[path = "chat_stream_tests.rs"]
mod tests;
