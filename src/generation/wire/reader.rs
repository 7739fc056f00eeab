//! One way to read an answer, whichever of the two formats it comes in.

use super::chat_stream::ChatAssembler;
use super::sse::SseEvent;
use super::stream::{AnswerBlock, Assembler, StopReason, StreamError, StreamItem, WireUsage};

/// Takes the events of one answer.
pub enum Reader {
    /// Of the Messages API.
    Messages(Assembler),
    /// Of an OpenAI-compatible server.
    Chat(ChatAssembler),
}

impl Reader {
    /// Adds an event; appends what it brought.
    pub fn push(&mut self, event: &SseEvent, items: &mut Vec<StreamItem>) -> Result<(), StreamError> {
        match self {
            Self::Messages(assembler) => {
                items.extend(assembler.push(event)?);
                Ok(())
            }
            Self::Chat(assembler) => assembler.push(event, items),
        }
    }

    /// The connection has ended after the reason to stop; appends what is known now.
    pub fn end(&mut self, items: &mut Vec<StreamItem>) {
        match self {
            Self::Messages(_) => {}
            Self::Chat(assembler) => assembler.end(items),
        }
    }

    /// Whether nothing more will come.
    pub fn is_ended(&self) -> bool {
        match self {
            Self::Messages(assembler) => assembler.is_ended(),
            Self::Chat(assembler) => assembler.is_ended(),
        }
    }

    /// Why the model stopped; none while it has not said so.
    pub fn stop_reason(&self) -> Option<&StopReason> {
        match self {
            Self::Messages(assembler) => assembler.stop_reason(),
            Self::Chat(assembler) => assembler.stop_reason(),
        }
    }

    /// What it has used.
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
