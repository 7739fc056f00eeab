//! An answer, whole or not, as the two messages that it leaves in the transcript: what the model
//! said, and what its tools answered.

use crate::generation::wire::{AnswerBlock, ContentBlock, Message, RawCall};

/// Results of calls that were run, by the call's id, in the order in which they ran.
#[derive(Debug, Default)]
pub struct Results(Vec<ContentBlock>);

impl Results {
    /// Adds the result of a call.
    pub fn add(&mut self, id: &str, content: String, is_error: bool) {
        self.0.push(ContentBlock::ToolResult { tool_use_id: id.to_owned(), content, is_error });
    }

    /// Whether no call was run.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The result of a call.
    pub fn of(&self, id: &str) -> Option<&ContentBlock> {
        self.0.iter().find(|block| matches!(block, ContentBlock::ToolResult { tool_use_id, .. } if tool_use_id == id))
    }
}

/// The calls of an answer that were not run.
pub fn unanswered<'a>(blocks: &'a [AnswerBlock], results: &Results) -> Vec<&'a RawCall> {
    blocks
        .iter()
        .filter_map(|block| match block {
            AnswerBlock::Call { call, .. } if results.of(&call.id).is_none() => Some(call),
            _ => None,
        })
        .collect()
}

/// What a block of an answer leaves. None for thinking that broke off and for blank text.
pub fn said(block: &AnswerBlock) -> Option<ContentBlock> {
    match block {
        AnswerBlock::Said(ContentBlock::Thinking { signature, .. }) if signature.is_empty() => None,
        AnswerBlock::Said(ContentBlock::Text { text }) if text.trim().is_empty() => None,
        AnswerBlock::Said(block) => Some(block.clone()),
        // What never became JSON cannot go back as it was: the result says what it was.
        AnswerBlock::Call { call, .. } => Some(ContentBlock::ToolUse {
            id: call.id.clone(),
            name: call.name.clone(),
            input: call.input().unwrap_or_default(),
        }),
    }
}

/// The messages that the answer leaves. Calls without a result get what `explain` says about them.
/// Unfinished text is kept, unfinished thinking is not.
pub fn to_messages(
    blocks: &[AnswerBlock],
    results: &Results,
    model: &str,
    explain: impl Fn(&RawCall) -> String,
) -> Vec<Message> {
    let (mut said, mut answered) = (Vec::new(), Vec::new());
    for block in blocks {
        match block {
            AnswerBlock::Said(_) => said.extend(self::said(block)),
            AnswerBlock::Call { call, .. } => {
                said.extend(self::said(block));
                answered.push(results.of(&call.id).cloned().unwrap_or_else(|| ContentBlock::ToolResult {
                    tool_use_id: call.id.clone(),
                    content: explain(call),
                    is_error: true,
                }));
            }
        }
    }
    let mut messages = Vec::new();
    // Thinking without an answer is no message.
    if said.iter().any(|block| !block.is_thinking()) {
        messages.push(Message::assistant(said, model));
    }
    if !answered.is_empty() {
        messages.push(Message::user(answered));
    }
    messages
}

/// What is wrong with a call's input, for the model.
pub fn what_is_wrong(call: &RawCall, max_tokens: Option<u32>) -> String {
    if let Some(max_tokens) = max_tokens {
        return format!(
            "Your answer reached its limit of {max_tokens} tokens in the middle of this call, so nothing was done. \
             Make the call again with less in it: split the content over several smaller files or calls."
        );
    }
    let problem = call.input().map_or_else(|error| error.to_string(), |_| "it did not end".into());
    let start = call.json.floor_char_boundary(call.json.len().saturating_sub(80));
    format!(
        "The input of this call is no JSON object ({problem}), so nothing was done. It has {} characters and ends \
         with: {}\nMake the call again with complete, correctly escaped JSON.",
        call.json.chars().count(),
        &call.json[start..]
    )
}
