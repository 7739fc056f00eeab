//! How long the conversation of a turn is, in the provider's own tokens, and how far it is told
//! shorter for that.

use crate::generation::compact::{self, Compaction};
use crate::generation::limits::Threshold;
use crate::generation::wire::{Message, WireUsage};

/// Tokens of a byte of conversation, until the provider has counted some.
const TOKENS_PER_BYTE: f64 = 0.3;

/// The length of a conversation.
#[derive(Debug)]
pub struct Length {
    /// How far it has been compacted.
    pub compaction: Compaction,
    /// As the provider counted last.
    tokens_per_byte: f64,
    /// It was made as short as it can be, and nothing was answered since.
    squeezed: bool,
}

impl Length {
    /// Of a conversation that has been compacted so far.
    pub fn new(compaction: Compaction) -> Self {
        Self { compaction, tokens_per_byte: TOKENS_PER_BYTE, squeezed: false }
    }

    /// The conversation as it is told; and a sentence for the user where it has just become shorter.
    pub fn told(&mut self, all: &[Message], threshold: Threshold) -> (Vec<Message>, Option<&'static str>) {
        let told = compact::apply(all, self.compaction);
        if self.tokens_per_byte * as_f64(compact::total(&told)) <= tokens(threshold.at) {
            return (told, None);
        }
        let shorter = self.shorten(all, as_usize(tokens(threshold.to) / self.tokens_per_byte));
        if shorter.is_some() { (compact::apply(all, self.compaction), shorter) } else { (told, None) }
    }

    /// After the provider found it too long: once as short as it can be. None where that is no shorter.
    pub fn squeeze(&mut self, all: &[Message]) -> Option<&'static str> {
        if std::mem::replace(&mut self.squeezed, true) { None } else { self.shorten(all, 0) }
    }

    /// After an answer that did not end for the conversation's length.
    pub fn fitted(&mut self) {
        self.squeezed = false;
    }

    /// What the provider counted for so many bytes.
    pub fn counted(&mut self, bytes: usize, used: WireUsage) {
        let read = used.input_tokens + used.cache_read_tokens + used.cache_write_tokens;
        if read > 0 && bytes > 0 && !used.is_estimated {
            // Within what any text comes to, should a provider count otherwise.
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
            "The conversation is long: its older part goes on as a summary."
        } else {
            "The conversation is long: older results of tools are left out."
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
    fn the_providers_count_decides() {
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
        assert_eq!(length.told(&talk, threshold).1, None, "6,000 tokens by our own measure");
        length.counted(1_000, WireUsage { input_tokens: 300, cache_read_tokens: 200, ..WireUsage::default() });
        let (told, words) = length.told(&talk, threshold);
        assert!(
            words.is_some() && compact::total(&told) <= 6_000,
            "10,000 by the provider's: {}",
            compact::total(&told)
        );
        assert_eq!(length.told(&talk, threshold), (told, None), "and then it stays");
        assert!(length.squeeze(&talk).is_some());
        assert_eq!(length.squeeze(&talk), None);
    }
}
