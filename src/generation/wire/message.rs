//! Messages and their blocks, which are sent, received and stored.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Bytes of text that count as one token if a server reports no usage.
pub const BYTES_PER_TOKEN: u64 = 4;
/// The size of an image in byte budgets: its cost in tokens does not depend on the size of its file.
const IMAGE_SIZE: usize = 6_400;

/// The role of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The user, or the results of tools.
    User,
    /// The model.
    Assistant,
}

/// One message of a conversation. Conversations are stored in this form too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Its role.
    pub role: Role,
    /// Its blocks, in order.
    pub content: Vec<ContentBlock>,
    /// The model that wrote it. Stored, never sent: thinking is dropped when the model changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// For a part of an answer: the number of the answer in its turn. Stored, never sent: parts are joined before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<u32>,
    /// Data of the turn that starts with it. It comes from the turn, so it is neither stored here nor sent.
    #[serde(skip)]
    pub start: Option<TurnStart>,
}

/// Data of a turn at its start in a conversation, in addition to the message for the model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TurnStart {
    /// A user started it, and not Slipway after a failure.
    pub by_person: bool,
    /// The message without attachments and evidence.
    pub words: String,
    /// The names of its attachments. Each has a block at the beginning of the message.
    pub attached: Vec<String>,
}

impl Message {
    /// A message with the role of the user.
    pub fn user(content: Vec<ContentBlock>) -> Self {
        Self { role: Role::User, content, model: None, answer: None, start: None }
    }

    /// A message of `model`.
    pub fn assistant(content: Vec<ContentBlock>, model: impl Into<String>) -> Self {
        Self { role: Role::Assistant, content, model: Some(model.into()), answer: None, start: None }
    }

    /// The text blocks, joined by blank lines.
    pub fn text(&self) -> String {
        let mut texts = Vec::new();
        for block in &self.content {
            if let ContentBlock::Text { text } = block {
                texts.push(text.as_str());
            }
        }
        texts.join("\n\n")
    }
}

/// A part of a message. Selected by its type, never by its position.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ContentBlock {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// An image from the user. [`Images`](super::Images) has its bytes.
    Image {
        /// The id of the bytes.
        id: String,
        /// Their media type, for example `image/png`.
        media_type: String,
        /// Its file name.
        name: String,
    },
    /// The model's thinking; sent back unchanged.
    Thinking {
        /// Its summary, or nothing.
        thinking: String,
        /// Its signature. Empty if the block is incomplete.
        #[serde(default)]
        signature: String,
        /// Unknown fields, which are sent back too.
        #[serde(flatten)]
        extra: Map<String, Value>,
    },
    /// Thinking that only the provider can read; sent back unchanged.
    RedactedThinking {
        /// The encrypted bytes.
        data: String,
        /// Unknown fields, which are sent back too.
        #[serde(flatten)]
        extra: Map<String, Value>,
    },
    /// A tool call of the model.
    ToolUse {
        /// Links the result to it.
        id: String,
        /// The tool's name.
        name: String,
        /// Its input; empty if it was not valid JSON.
        input: Map<String, Value>,
    },
    /// The result of a tool.
    ToolResult {
        /// The call's id.
        tool_use_id: String,
        /// The text.
        content: String,
        /// Whether the tool failed.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
    },
}

impl ContentBlock {
    /// A text block.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }

    /// Whether it is thinking, encrypted or not.
    pub fn is_thinking(&self) -> bool {
        matches!(self, Self::Thinking { .. } | Self::RedactedThinking { .. })
    }

    /// Approximate bytes of text, for budgets.
    pub fn size(&self) -> usize {
        match self {
            Self::Text { text } => text.len(),
            Self::Image { .. } => IMAGE_SIZE,
            Self::Thinking { thinking, signature, .. } => thinking.len() + signature.len(),
            Self::RedactedThinking { data, .. } => data.len(),
            Self::ToolUse { input, .. } => {
                input.iter().map(|(key, value)| key.len() + value.as_str().map_or(16, str::len)).sum()
            }
            Self::ToolResult { content, .. } => content.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn thinking_is_preserved_exactly() {
        let came = json!({"type": "thinking", "thinking": "so…", "signature": "abc=", "later_field": {"a": [1, 2]}});
        let block: ContentBlock = serde_json::from_value(came.clone()).unwrap();
        assert!(block.is_thinking());
        assert_eq!(serde_json::to_value(&block).unwrap(), came);
        let came = json!({"type": "redacted_thinking", "data": "xyz"});
        let block: ContentBlock = serde_json::from_value(came.clone()).unwrap();
        assert_eq!(serde_json::to_value(&block).unwrap(), came);
    }

    #[test]
    fn a_stored_message_can_be_read() {
        let message = Message::assistant(
            vec![
                ContentBlock::text("Hi"),
                ContentBlock::ToolUse { id: "t1".into(), name: "list_files".into(), input: Map::new() },
            ],
            "claude-opus-5-5",
        );
        let kept = serde_json::to_string(&message).unwrap();
        assert_eq!(serde_json::from_str::<Message>(&kept).unwrap(), message);
        let result = ContentBlock::ToolResult { tool_use_id: "t1".into(), content: "x".into(), is_error: false };
        assert_eq!(
            serde_json::to_value(result).unwrap(),
            json!({"type": "tool_result", "tool_use_id": "t1", "content": "x"})
        );
    }
}
