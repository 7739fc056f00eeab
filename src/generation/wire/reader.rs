//! A common interface for answers in both formats.

use super::chat_stream::ChatAssembler;
use super::sse::SseEvent;
use super::stream::{AnswerBlock, Assembler, StopReason, StreamError, StreamItem, WireUsage};

/// Assembles the events of one answer.
pub enum Reader {
    /// Of the Messages API.
    Messages(Assembler),
    /// Of an OpenAI-compatible server.
    Chat(ChatAssembler),
}

impl Reader {
    /// Reads an event and appends its items.
    pub fn push(&mut self, event: &SseEvent, items: &mut Vec<StreamItem>) -> Result<(), StreamError> {
        match self {
            Self::Messages(assembler) => {
                items.extend(assembler.push(event)?);
                Ok(())
            }
            Self::Chat(assembler) => assembler.push(event, items),
        }
    }

    /// The connection has ended after the stop reason; appends the remaining items.
    pub fn end(&mut self, items: &mut Vec<StreamItem>) {
        match self {
            Self::Messages(_) => {}
            Self::Chat(assembler) => assembler.end(items),
        }
    }

    /// Whether the answer has ended.
    pub fn is_ended(&self) -> bool {
        match self {
            Self::Messages(assembler) => assembler.is_ended(),
            Self::Chat(assembler) => assembler.is_ended(),
        }
    }

    /// The stop reason, once it is known.
    pub fn stop_reason(&self) -> Option<&StopReason> {
        match self {
            Self::Messages(assembler) => assembler.stop_reason(),
            Self::Chat(assembler) => assembler.stop_reason(),
        }
    }

    /// Its usage.
    pub fn usage(&self) -> WireUsage {
        match self {
            Self::Messages(assembler) => assembler.usage(),
            Self::Chat(assembler) => assembler.usage(),
        }
    }

    /// The blocks so far, in order, whether or not the answer has ended.
    pub fn blocks(&self) -> Vec<AnswerBlock> {
        match self {
            Self::Messages(assembler) => assembler.blocks(),
            Self::Chat(assembler) => assembler.blocks(),
        }
    }
}
