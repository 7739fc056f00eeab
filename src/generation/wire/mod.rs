//! The Messages API as bytes and types: requests, messages, the event stream, half-typed JSON.
//!
//! Pure: nothing here opens a connection or knows a tool, a workspace or a user.

pub mod message;
pub mod partial_json;
pub mod request;
pub mod sse;
pub mod stream;

pub use message::{ContentBlock, Message, Role};
pub use partial_json::{FieldExtractor, PartialJsonError, Piece};
pub use request::{Effort, Request, ToolSpec};
pub use sse::{SseError, SseEvent, SseParser};
pub use stream::{AnswerBlock, Assembler, RawCall, StopReason, StreamError, StreamItem, WireUsage};
