//! Wire formats as bytes and types: requests, messages, event streams, partial JSON;
//! in the format of the Messages API, which is also the internal one, and in that of OpenAI-compatible servers.
//!
//! Pure: independent of connections, tools, workspaces and users.

pub mod chat_request;
pub mod chat_stream;
pub mod format;
#[doc(hidden)]
pub mod fuzzing;
pub mod images;
pub mod message;
pub mod partial_json;
pub mod reader;
pub mod request;
pub mod sse;
pub mod stream;

pub use crate::domain::Effort;
pub use chat_request::Dialect;
pub use chat_stream::ChatAssembler;
pub use format::WireFormat;
pub use images::Images;
pub use message::{ContentBlock, Message, Role, TurnStart};
pub use partial_json::{FieldExtractor, PartialJsonError, Piece};
pub use reader::Reader;
pub use request::{Request, ToolSpec};
pub use sse::{SseError, SseEvent, SseParser};
pub use stream::{AnswerBlock, Assembler, RawCall, StopReason, StreamError, StreamItem, WireUsage};
