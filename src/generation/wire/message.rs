//! Messages and their blocks, as they are sent, received and kept.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Bytes of text that count as one token where a server does not say what it used.
pub const BYTES_PER_TOKEN: u64 = 4;
/// What an image counts for in budgets of bytes: what it costs to look at does not depend on its file.
const IMAGE_SIZE: usize = 6_400;

/// Who says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The user, or the results of tools.
    User,
    /// The model.
    Assistant,
}

/// One message of a conversation. This is also the form in which conversations are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said, in order.
    pub content: Vec<ContentBlock>,
    /// The model that said it. Kept, never sent: thinking is dropped when the model changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Of a part of an answer: which answer of its turn it is a part of. Kept, never sent: parts are joined before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<u32>,
    /// What is known of the turn that begins with it. Known from the turn itself, so neither kept here nor sent.
    #[serde(skip)]
    pub start: Option<TurnStart>,
}

/// What is known of a turn where it begins in a conversation, beside the message that the model gets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TurnStart {
    /// A person asked, and not Slipway after something failed.
    pub by_person: bool,
    /// What was asked, without what was sent along with it.
    pub words: String,
    /// The names of the files that came with it. Each has a block at the message's beginning.
    pub attached: Vec<String>,
}

impl Message {
    /// Something from the user's side.
    pub fn user(content: Vec<ContentBlock>) -> Self {
        Self { role: Role::User, content, model: None, answer: None, start: None }
    }

    /// Something that `model` said.
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

/// A part of a message. Picked by its type, never by its position.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ContentBlock {
    /// Words.
    Text {
        /// The words.
        text: String,
    },
    /// An image from the user. Its bytes are elsewhere: see [`Images`](super::Images).
    Image {
        /// Names the bytes.
        id: String,
        /// What they are, e.g. `image/png`.
        media_type: String,
        /// What its sender calls it.
        name: String,
    },
    /// The model's thinking; goes back exactly as it came.
    Thinking {
        /// Its summary, or nothing.
        thinking: String,
        /// What makes it valid. Empty when the block broke off.
        #[serde(default)]
        signature: String,
        /// Fields unknown to us, which go back as well.
        #[serde(flatten)]
        extra: Map<String, Value>,
    },
    /// Thinking that only the provider can read; goes back exactly as it came.
    RedactedThinking {
        /// The encrypted bytes.
        data: String,
        /// Fields unknown to us, which go back as well.
        #[serde(flatten)]
        extra: Map<String, Value>,
    },
    /// The model asks for a tool.
    ToolUse {
        /// Links the result to it.
        id: String,
        /// Which tool.
        name: String,
        /// Its input; empty when it never became JSON.
        input: Map<String, Value>,
    },
    /// What a tool answered.
    ToolResult {
        /// The call's id.
        tool_use_id: String,
        /// The answer.
        content: String,
        /// Whether the tool refused or failed.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
    },
}

impl ContentBlock {
    /// A text block.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }

    /// Whether it is thinking, readable or not.
    pub fn is_thinking(&self) -> bool {
        matches!(self, Self::Thinking { .. } | Self::RedactedThinking { .. })
    }

    /// Bytes of text in it, roughly; for budgets.
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
    fn thinking_comes_back_as_it_came() {
        let came = json!({"type": "thinking", "thinking": "so…", "signature": "abc=", "later_field": {"a": [1, 2]}});
        let block: ContentBlock = serde_json::from_value(came.clone()).unwrap();
        assert!(block.is_thinking());
        assert_eq!(serde_json::to_value(&block).unwrap(), came);
        let came = json!({"type": "redacted_thinking", "data": "xyz"});
        let block: ContentBlock = serde_json::from_value(came.clone()).unwrap();
        assert_eq!(serde_json::to_value(&block).unwrap(), came);
    }

    #[test]
    fn a_kept_message_is_read_back() {
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
