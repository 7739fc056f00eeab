//! Assembles server-sent events into one answer: a state machine without I/O.
//!
//! Each event gives at most one [`StreamItem`] for the caller, and is added to the answer.
//! Unknown events, blocks and deltas are skipped. Memory is bounded by [`ANSWER_MAX`] and [`BLOCKS_MAX`].

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::message::{BYTES_PER_TOKEN, ContentBlock};
use super::sse::SseEvent;

/// Maximum size of an answer, in bytes of text and JSON.
pub const ANSWER_MAX: usize = 32 * 1024 * 1024;
/// Maximum number of blocks in an answer.
pub const BLOCKS_MAX: usize = 2048;

/// The content of an event.
#[derive(Debug, Clone, PartialEq)]
pub enum StreamItem {
    /// The next piece of a text block.
    Text {
        /// The block.
        index: usize,
        /// The piece.
        delta: String,
    },
    /// The next piece of a thinking block's summary.
    Thought {
        /// The block.
        index: usize,
        /// The piece.
        delta: String,
    },
    /// A tool call begins.
    ToolStarted {
        /// The block.
        index: usize,
        /// The tool.
        name: String,
    },
    /// The next piece of a tool call's JSON.
    ToolInput {
        /// The block.
        index: usize,
        /// The unparsed piece.
        json: String,
    },
    /// A tool call is complete.
    ToolEnded {
        /// The block.
        index: usize,
        /// The call.
        call: RawCall,
    },
    /// The usage of the answer so far.
    Usage(WireUsage),
}

/// An unparsed tool call, whose input may be invalid JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawCall {
    /// Links the result to it.
    pub id: String,
    /// The tool.
    pub name: String,
    /// The text of its input.
    pub json: String,
}

impl RawCall {
    /// The input, if it is a JSON object. Empty text counts as an empty object.
    pub fn input(&self) -> Result<Map<String, Value>, serde_json::Error> {
        if self.json.trim().is_empty() { Ok(Map::new()) } else { serde_json::from_str(&self.json) }
    }
}

/// Tokens of one answer, or of several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WireUsage {
    /// Input at the full price.
    pub input_tokens: u64,
    /// Output, including thinking.
    pub output_tokens: u64,
    /// Read from the cache.
    pub cache_read_tokens: u64,
    /// Written to the cache.
    pub cache_write_tokens: u64,
    /// Estimated from the length of the text, because the server reported no usage.
    pub is_estimated: bool,
}

impl std::ops::Add for WireUsage {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            cache_read_tokens: self.cache_read_tokens.saturating_add(other.cache_read_tokens),
            cache_write_tokens: self.cache_write_tokens.saturating_add(other.cache_write_tokens),
            is_estimated: self.is_estimated || other.is_estimated,
        }
    }
}

/// Why the model stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// It has finished, or the reason is unknown.
    EndTurn,
    /// It waits for tool results.
    ToolUse,
    /// It has used up `max_tokens`.
    MaxTokens,
    /// The provider paused a long answer: the same conversation continues.
    PauseTurn,
    /// It declines, possibly with an explanation.
    Refusal(Option<String>),
    /// The conversation exceeds its context window.
    ContextWindow,
}

/// One part of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum AnswerBlock {
    /// Text or thinking. Thinking without a signature is incomplete.
    Content(ContentBlock),
    /// A tool call.
    Call {
        /// The unparsed call.
        call: RawCall,
        /// Whether it is complete.
        ended: bool,
    },
}

/// A fatal error of a stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The provider reported an error in the middle of the answer.
    #[error("{kind}: {message}")]
    Reported {
        /// Its type, e.g. `overloaded_error`.
        kind: String,
        /// Its message.
        message: String,
    },
    /// An event whose content does not match its name.
    #[error("the event `{0}` cannot be read")]
    Malformed(String),
    /// Beyond [`ANSWER_MAX`] or [`BLOCKS_MAX`].
    #[error("the answer is too large")]
    TooLarge,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event {
    MessageStart {
        message: Start,
    },
    ContentBlockStart {
        index: usize,
        content_block: Value,
    },
    ContentBlockDelta {
        index: usize,
        delta: Delta,
    },
    ContentBlockStop {
        index: usize,
    },
    MessageDelta {
        delta: Stop,
        #[serde(default)]
        usage: Option<RawUsage>,
    },
    MessageStop,
    Error {
        error: Reported,
    },
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
struct Start {
    #[serde(default)]
    usage: Option<RawUsage>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(clippy::enum_variant_names, reason = "these are the wire's names")]
enum Delta {
    TextDelta {
        text: String,
    },
    InputJsonDelta {
        partial_json: String,
    },
    ThinkingDelta {
        thinking: String,
    },
    SignatureDelta {
        signature: String,
    },
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
struct Stop {
    #[serde(default)]
    stop_reason: Option<String>,
    #[serde(default)]
    stop_details: Option<Value>,
}

#[derive(Deserialize)]
struct Reported {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
#[expect(clippy::struct_field_names, reason = "these are the wire's names")]
struct RawUsage {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
}

struct Slot {
    content: AnswerBlock,
    ended: bool,
}

/// Assembles the events of one answer.
#[derive(Default)]
pub struct Assembler {
    slots: BTreeMap<usize, Slot>,
    size: usize,
    usage: WireUsage,
    /// The provider has reported the output tokens, which it does at the end.
    counted: bool,
    stop: Option<StopReason>,
    ended: bool,
}

impl Assembler {
    /// Reads an event and returns its item.
    pub fn push(&mut self, event: &SseEvent) -> Result<Option<StreamItem>, StreamError> {
        self.size += event.data.len();
        if self.size > ANSWER_MAX {
            return Err(StreamError::TooLarge);
        }
        let event = serde_json::from_str::<Event>(&event.data).map_err(|_| {
            let name: String = event.name.chars().take(40).collect();
            StreamError::Malformed(name)
        })?;
        Ok(match event {
            Event::MessageStart { message } => message.usage.map(|usage| self.used(&usage)),
            Event::ContentBlockStart { index, content_block } => self.start(index, content_block)?,
            Event::ContentBlockDelta { index, delta } => self.delta(index, delta),
            Event::ContentBlockStop { index } => self.end_block(index),
            Event::MessageDelta { delta, usage } => {
                if let Some(reason) = delta.stop_reason {
                    self.stop = Some(stop_reason(&reason, delta.stop_details.as_ref()));
                }
                self.counted |= usage.as_ref().is_some_and(|usage| usage.output_tokens.is_some());
                usage.map(|usage| self.used(&usage))
            }
            Event::MessageStop => {
                self.ended = true;
                None
            }
            Event::Error { error } => {
                return Err(StreamError::Reported { kind: error.kind, message: error.message });
            }
            Event::Unknown => None,
        })
    }

    /// Whether the answer has ended.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// The stop reason, once it is known. The answer is complete then,
    /// even if the connection breaks before its last event.
    pub fn stop_reason(&self) -> Option<&StopReason> {
        self.stop.as_ref()
    }

    /// Its usage. The provider reports no output tokens for an answer that broke off or was stopped,
    /// but charges for them: then they are estimated from the received text.
    pub fn usage(&self) -> WireUsage {
        let bytes = self.slots.values().map(|slot| match &slot.content {
            AnswerBlock::Content(block) => block.size(),
            AnswerBlock::Call { call, .. } => call.name.len() + call.json.len(),
        });
        let written = (bytes.sum::<usize>() as u64).div_ceil(BYTES_PER_TOKEN);
        if self.counted || written <= self.usage.output_tokens {
            return self.usage;
        }
        WireUsage { output_tokens: written, is_estimated: true, ..self.usage }
    }

    /// The blocks so far, in order, whether or not the answer has ended.
    pub fn blocks(&self) -> Vec<AnswerBlock> {
        self.slots
            .values()
            .map(|slot| match &slot.content {
                AnswerBlock::Call { call, .. } => AnswerBlock::Call { call: call.clone(), ended: slot.ended },
                content @ AnswerBlock::Content(_) => content.clone(),
            })
            .collect()
    }

    fn used(&mut self, raw: &RawUsage) -> StreamItem {
        let usage = &mut self.usage;
        // Counts are cumulative, and an event may omit some.
        for (count, now) in [
            (&mut usage.input_tokens, raw.input_tokens),
            (&mut usage.output_tokens, raw.output_tokens),
            (&mut usage.cache_read_tokens, raw.cache_read_input_tokens),
            (&mut usage.cache_write_tokens, raw.cache_creation_input_tokens),
        ] {
            *count = now.unwrap_or(*count);
        }
        StreamItem::Usage(*usage)
    }

    fn start(&mut self, index: usize, block: Value) -> Result<Option<StreamItem>, StreamError> {
        if self.slots.len() >= BLOCKS_MAX {
            return Err(StreamError::TooLarge);
        }
        let malformed = |_| StreamError::Malformed("content_block_start".into());
        let (content, item) = match block.get("type").and_then(Value::as_str) {
            Some("text" | "thinking" | "redacted_thinking") => {
                let block: ContentBlock = serde_json::from_value(block).map_err(malformed)?;
                let item = match &block {
                    ContentBlock::Text { text } if !text.is_empty() => {
                        Some(StreamItem::Text { index, delta: text.clone() })
                    }
                    ContentBlock::Thinking { thinking, .. } if !thinking.is_empty() => {
                        Some(StreamItem::Thought { index, delta: thinking.clone() })
                    }
                    _ => None,
                };
                (AnswerBlock::Content(block), item)
            }
            Some("tool_use") => {
                let text = |key: &str| block.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
                // The input usually starts empty and follows in pieces, but may arrive whole.
                let json = match block.get("input") {
                    Some(Value::Object(input)) if !input.is_empty() => Value::Object(input.clone()).to_string(),
                    _ => String::new(),
                };
                let call = RawCall { id: text("id"), name: text("name"), json };
                if call.id.is_empty() || call.name.is_empty() {
                    return Err(StreamError::Malformed("content_block_start".into()));
                }
                let item = StreamItem::ToolStarted { index, name: call.name.clone() };
                (AnswerBlock::Call { call, ended: false }, Some(item))
            }
            _ => return Ok(None),
        };
        self.slots.insert(index, Slot { content, ended: false });
        Ok(item)
    }

    fn delta(&mut self, index: usize, delta: Delta) -> Option<StreamItem> {
        let slot = self.slots.get_mut(&index).filter(|slot| !slot.ended)?;
        match (&mut slot.content, delta) {
            (AnswerBlock::Content(ContentBlock::Text { text }), Delta::TextDelta { text: delta }) => {
                text.push_str(&delta);
                Some(StreamItem::Text { index, delta })
            }
            (
                AnswerBlock::Content(ContentBlock::Thinking { thinking, .. }),
                Delta::ThinkingDelta { thinking: delta },
            ) => {
                thinking.push_str(&delta);
                Some(StreamItem::Thought { index, delta })
            }
            (
                AnswerBlock::Content(ContentBlock::Thinking { signature, .. }),
                Delta::SignatureDelta { signature: delta },
            ) => {
                signature.push_str(&delta);
                None
            }
            (AnswerBlock::Call { call, .. }, Delta::InputJsonDelta { partial_json }) => {
                call.json.push_str(&partial_json);
                Some(StreamItem::ToolInput { index, json: partial_json })
            }
            _ => None,
        }
    }

    fn end_block(&mut self, index: usize) -> Option<StreamItem> {
        let slot = self.slots.get_mut(&index)?;
        if std::mem::replace(&mut slot.ended, true) {
            return None;
        }
        match &slot.content {
            AnswerBlock::Call { call, .. } => Some(StreamItem::ToolEnded { index, call: call.clone() }),
            AnswerBlock::Content(_) => None,
        }
    }
}

fn stop_reason(reason: &str, details: Option<&Value>) -> StopReason {
    match reason {
        "tool_use" => StopReason::ToolUse,
        "max_tokens" => StopReason::MaxTokens,
        "pause_turn" => StopReason::PauseTurn,
        "model_context_window_exceeded" => StopReason::ContextWindow,
        "refusal" => {
            let said = |key| details.and_then(|details| details.get(key)).and_then(Value::as_str);
            StopReason::Refusal(said("explanation").or_else(|| said("category")).map(str::to_owned))
        }
        _ => StopReason::EndTurn,
    }
}

#[cfg(test)]
mod tests {
    use super::super::sse::SseParser;
    use super::*;

    const RECORDED: &str = concat!(
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"role\":\"assistant\",\"content\":[],",
        "\"model\":\"m\",\"usage\":{\"input_tokens\":12,\"output_tokens\":1,\"cache_read_input_tokens\":900,\"cache_creation_input_tokens\":30}}}\n\n",
        "event: ping\ndata: {\"type\":\"ping\"}\n\n",
        "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}}\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"Let mé\"}}\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"signature_delta\",\"signature\":\"c2ln\"}}\n\n",
        "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
        "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"hologram\",\"x\":1}}\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"text_delta\",\"text\":\"lost\"}}\n\n",
        "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":1}\n\n",
        "event: weather\ndata: {\"type\":\"weather\",\"rain\":true}\n\n",
        "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":2,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":2,\"delta\":{\"type\":\"text_delta\",\"text\":\"日本 \"}}\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":2,\"delta\":{\"type\":\"citations_delta\",\"citation\":{}}}\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":2,\"delta\":{\"type\":\"text_delta\",\"text\":\"🎉\"}}\n\n",
        "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":2}\n\n",
        "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":3,\"content_block\":{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"write_file\",\"input\":{}}}\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":3,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"\"}}\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":3,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"path\\\": \\\"a\"}}\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":3,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\".txt\\\"}\"}}\n\n",
        "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":3}\n\n",
        "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":77}}\n\n",
        "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    );

    fn run(chunks: &[&[u8]]) -> (Vec<StreamItem>, Assembler) {
        let (mut parser, mut assembler) = (SseParser::default(), Assembler::default());
        let (mut events, mut items) = (Vec::new(), Vec::new());
        for chunk in chunks {
            parser.push(chunk, &mut events).unwrap();
            for event in events.drain(..) {
                items.extend(assembler.push(&event).unwrap());
            }
        }
        (items, assembler)
    }

    #[test]
    fn tokens_of_a_broken_answer_are_estimated() {
        let start = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":12,\"output_tokens\":1}}}\n\n\
            event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n";
        let (_, begun) = run(&[start.as_bytes()]);
        assert_eq!((begun.usage().output_tokens, begun.usage().is_estimated), (1, false));
        let delta = format!(
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\"{}\"}}}}\n\n",
            "word ".repeat(800)
        );
        let (_, broken) = run(&[start.as_bytes(), delta.as_bytes()]);
        let usage = broken.usage();
        assert_eq!((usage.input_tokens, usage.output_tokens, usage.is_estimated), (12, 1_000, true));
        // The provider's count takes precedence.
        let end = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":77}}\n\n";
        let (_, whole) = run(&[start.as_bytes(), delta.as_bytes(), end.as_bytes()]);
        assert_eq!((whole.usage().output_tokens, whole.usage().is_estimated), (77, false));
    }

    #[test]
    fn a_recorded_stream_reads_the_same_at_every_split() {
        let bytes = RECORDED.as_bytes();
        let (items, assembler) = run(&[bytes]);
        assert!(assembler.is_ended());
        assert_eq!(assembler.stop_reason(), Some(&StopReason::ToolUse));
        assert_eq!(
            assembler.usage(),
            WireUsage {
                input_tokens: 12,
                output_tokens: 77,
                cache_read_tokens: 900,
                cache_write_tokens: 30,
                is_estimated: false
            }
        );
        let call = RawCall { id: "toolu_1".into(), name: "write_file".into(), json: r#"{"path": "a.txt"}"#.into() };
        assert_eq!(
            assembler.blocks(),
            [
                AnswerBlock::Content(ContentBlock::Thinking {
                    thinking: "Let mé".into(),
                    signature: "c2ln".into(),
                    extra: Map::new()
                }),
                AnswerBlock::Content(ContentBlock::text("日本 🎉")),
                AnswerBlock::Call { call: call.clone(), ended: true },
            ]
        );
        assert_eq!(items.last(), Some(&StreamItem::Usage(assembler.usage())));
        assert!(items.contains(&StreamItem::ToolEnded { index: 3, call }));
        assert!(!items.iter().any(|item| matches!(item, StreamItem::Text { delta, .. } if delta == "lost")));
        for at in 0..=bytes.len() {
            let (split, again) = run(&[&bytes[..at], &bytes[at..]]);
            assert_eq!(split, items, "split at {at}");
            assert_eq!(again.blocks(), assembler.blocks());
        }
        assert_eq!(run(&bytes.chunks(1).collect::<Vec<_>>()).0, items);
    }

    fn push(assembler: &mut Assembler, data: &str) -> Result<Option<StreamItem>, StreamError> {
        assembler.push(&SseEvent { name: "x".into(), data: data.into() })
    }

    #[test]
    fn errors_are_distinguished() {
        let mut assembler = Assembler::default();
        assert_eq!(
            push(&mut assembler, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#),
            Err(StreamError::Reported { kind: "overloaded_error".into(), message: "Overloaded".into() })
        );
        assert_eq!(push(&mut assembler, "{"), Err(StreamError::Malformed("x".into())));
        assert_eq!(
            push(&mut assembler, r#"{"type":"content_block_delta","index":0}"#),
            Err(StreamError::Malformed("x".into()))
        );
        for index in 0..BLOCKS_MAX {
            let start = format!(
                r#"{{"type":"content_block_start","index":{index},"content_block":{{"type":"text","text":""}}}}"#
            );
            push(&mut assembler, &start).unwrap();
        }
        assert_eq!(
            push(
                &mut assembler,
                r#"{"type":"content_block_start","index":9999,"content_block":{"type":"text","text":""}}"#
            ),
            Err(StreamError::TooLarge)
        );
    }

    #[test]
    fn a_tool_input_may_arrive_whole_and_a_refusal_may_have_an_explanation() {
        let mut assembler = Assembler::default();
        push(
            &mut assembler,
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"a","name":"b","input":{"k":1}}}"#,
        )
        .unwrap();
        push(
            &mut assembler,
            r#"{"type":"message_delta","delta":{"stop_reason":"refusal","stop_details":{"explanation":"No."}}}"#,
        )
        .unwrap();
        let AnswerBlock::Call { call, ended } = &assembler.blocks()[0] else { panic!("a call") };
        assert_eq!((call.input().unwrap()["k"].as_u64(), *ended), (Some(1), false));
        assert_eq!(assembler.stop_reason(), Some(&StopReason::Refusal(Some("No.".into()))));
    }
}
