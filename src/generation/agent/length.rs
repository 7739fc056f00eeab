//! The length of a turn's conversation in the provider's tokens, and its
//! compaction.

use crate::generation::compact::{self, Compaction};
use crate::generation::limits::Threshold;
use crate::generation::wire::{Message, WireUsage};

/// Tokens of a byte of conversation, until the provider has counted some.
const TOKENS_PER_BYTE: f64 = 0.3;

/// The length of a conversation.
#[derive(Debug)]
pub struct Length {
    /// How far it is compacted.
    pub compaction: Compaction,
    /// The ratio in the provider's last count.
    tokens_per_byte: f64,
    /// It was compacted as far as possible, and no answer has succeeded since.
    squeezed: bool,
}

impl Length {
    /// For a conversation that is already compacted this far.
    pub fn new(compaction: Compaction) -> Self {
        Self { compaction, tokens_per_byte: TOKENS_PER_BYTE, squeezed: false }
    }

    /// The conversation in the form to send, and a sentence for the user if it was just compacted further.
    pub fn compacted(&mut self, all: &[Message], threshold: Threshold) -> (Vec<Message>, Option<&'static str>) {
        let sendable = compact::apply(all, self.compaction);
        if self.tokens_per_byte * as_f64(compact::total(&sendable)) <= tokens(threshold.at) {
            return (sendable, None);
        }
        let shorter = self.shorten(all, as_usize(tokens(threshold.to) / self.tokens_per_byte));
        if shorter.is_some() { (compact::apply(all, self.compaction), shorter) } else { (sendable, None) }
    }

    /// After the provider found it too long: compacts once as far as possible. `None` if that does not make it shorter.
    pub fn squeeze(&mut self, all: &[Message]) -> Option<&'static str> {
        if std::mem::replace(&mut self.squeezed, true) { None } else { self.shorten(all, 0) }
    }

    /// After an answer that did not fail because of the conversation's length.
    pub fn fitted(&mut self) {
        self.squeezed = false;
    }

    /// Records the provider's token count for this number of bytes.
    pub fn counted(&mut self, bytes: usize, used: WireUsage) {
        let read = used.input_tokens + used.cache_read_tokens + used.cache_write_tokens;
        if read > 0 && bytes > 0 && !used.is_estimated {
            // Clamped to plausible values, in case a provider counts differently.
            self.tokens_per_byte = (tokens(read) / as_f64(bytes)).clamp(0.1, 1.0);
        }
    }

    fn shorten(&mut self, all: &[Message], target: usize) -> Option<&'static str> {
        let next = compact::advance(all, self.compaction, target);
        if next == self.compaction {
            return None;
        }
        let is_summary = next.turns > self.compaction.turns;
        self.compaction = next;
        Some(if is_summary {
            "The conversation is long: its older part was replaced by a summary."
        } else {
            "The conversation is long: older results of tools were removed."
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of tokens are far below 2^52")]
fn tokens(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "lengths of conversations are far below 2^52")]
fn as_f64(count: usize) -> f64 {
    count as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a length, rounded down")]
fn as_usize(count: f64) -> usize {
    count as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::wire::ContentBlock;

    #[test]
    fn compaction_uses_the_providers_token_count() {
        let talk: Vec<Message> = (0..20)
            .flat_map(|n| {
                let result = ContentBlock::ToolResult {
                    tool_use_id: n.to_string(),
                    content: "x".repeat(1_000),
                    is_error: false,
                };
                [Message::user(vec![result]), Message::assistant(vec![ContentBlock::text("y")], "m")]
            })
            .collect();
        let threshold = Threshold { at: 8_000, to: 3_000 };
        let mut length = Length::new(Compaction::default());
        assert_eq!(length.compacted(&talk, threshold).1, None, "6,000 tokens by our estimate");
        length.counted(1_000, WireUsage { input_tokens: 300, cache_read_tokens: 200, ..WireUsage::default() });
        let (sendable, words) = length.compacted(&talk, threshold);
        assert!(
            words.is_some() && compact::total(&sendable) <= 6_000,
            "10,000 by the provider's count: {}",
            compact::total(&sendable)
        );
        assert_eq!(length.compacted(&talk, threshold), (sendable, None), "and then it stays");
        assert!(length.squeeze(&talk).is_some());
        assert_eq!(length.squeeze(&talk), None);
    }
}
