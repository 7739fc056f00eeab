//! Converts an answer, complete or not, into two messages of the transcript: the model's blocks
//! and the results of its tools.

use crate::generation::wire::{AnswerBlock, ContentBlock, Message, RawCall};

/// Results of executed calls, by the call's id, in the order of execution.
#[derive(Debug, Default)]
pub struct Results(Vec<ContentBlock>);

impl Results {
    /// Adds the result of a call.
    pub fn add(&mut self, id: &str, content: String, is_error: bool) {
        self.0.push(ContentBlock::ToolResult { tool_use_id: id.to_owned(), content, is_error });
    }

    /// Whether no call was executed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The result of a call.
    pub fn of(&self, id: &str) -> Option<&ContentBlock> {
        self.0.iter().find(|block| matches!(block, ContentBlock::ToolResult { tool_use_id, .. } if tool_use_id == id))
    }
}

/// The calls of an answer that were not executed.
pub fn unanswered<'a>(blocks: &'a [AnswerBlock], results: &Results) -> Vec<&'a RawCall> {
    blocks
        .iter()
        .filter_map(|block| match block {
            AnswerBlock::Call { call, .. } if results.of(&call.id).is_none() => Some(call),
            _ => None,
        })
        .collect()
}

/// The block of the transcript for a block of an answer. `None` for incomplete thinking and for blank text.
pub fn to_content(block: &AnswerBlock) -> Option<ContentBlock> {
    match block {
        AnswerBlock::Content(ContentBlock::Thinking { signature, .. }) if signature.is_empty() => None,
        AnswerBlock::Content(ContentBlock::Text { text }) if text.trim().is_empty() => None,
        AnswerBlock::Content(block) => Some(block.clone()),
        // Input that is not valid JSON cannot be sent back; the result quotes it.
        AnswerBlock::Call { call, .. } => Some(ContentBlock::ToolUse {
            id: call.id.clone(),
            name: call.name.clone(),
            input: call.input().unwrap_or_default(),
        }),
    }
}

/// The messages for the answer. Calls without a result get the text of `explain`.
/// Incomplete text is kept, incomplete thinking is not.
pub fn to_messages(
    blocks: &[AnswerBlock],
    results: &Results,
    model: &str,
    explain: impl Fn(&RawCall) -> String,
) -> Vec<Message> {
    let (mut content, mut results_message) = (Vec::new(), Vec::new());
    for block in blocks {
        match block {
            AnswerBlock::Content(_) => content.extend(to_content(block)),
            AnswerBlock::Call { call, .. } => {
                content.extend(to_content(block));
                results_message.push(results.of(&call.id).cloned().unwrap_or_else(|| ContentBlock::ToolResult {
                    tool_use_id: call.id.clone(),
                    content: explain(call),
                    is_error: true,
                }));
            }
        }
    }
    let mut messages = Vec::new();
    // Thinking alone is not a message.
    if content.iter().any(|block| !block.is_thinking()) {
        messages.push(Message::assistant(content, model));
    }
    if !results_message.is_empty() {
        messages.push(Message::user(results_message));
    }
    messages
}

/// The error in a call's input, for the model.
pub fn explain_invalid_input(call: &RawCall, max_tokens: Option<u32>) -> String {
    if let Some(max_tokens) = max_tokens {
        return format!(
            "Your answer reached its limit of {max_tokens} tokens in the middle of this call, so nothing was done. \
             Make the call again with less in it: split the content over several smaller files or calls."
        );
    }
    let problem = call.input().map_or_else(|error| error.to_string(), |_| "it did not end".into());
    let start = call.json.floor_char_boundary(call.json.len().saturating_sub(80));
    format!(
        "The input of this call is not a JSON object ({problem}), so nothing was done. It has {} characters and ends \
         with: {}\nMake the call again with complete, correctly escaped JSON.",
        call.json.chars().count(),
        &call.json[start..]
    )
}
