//! Folds the events of a turn into blocks for the page.

use serde::{Deserialize, Serialize};

use super::{EventBody, FileState, TakenBack, TextKind, WorkspacePath};

/// The name of `tool` events that are notices about the model.
pub const NOTICE: &str = "model";

/// A part of a turn, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TurnBlock {
    /// Text for the user, as Markdown.
    Answer(String),
    /// A summary of the model's thinking, as Markdown.
    Thought(String),
    /// A file that was written or deleted.
    File {
        /// Its path.
        path: WorkspacePath,
        /// Its state.
        state: FileState,
        /// Its content, if it was streamed.
        content: Option<String>,
    },
    /// Another tool.
    Tool {
        /// Its name.
        name: String,
        /// A summary in one line.
        summary: String,
        /// Whether it succeeded.
        ok: bool,
    },
}

impl TurnBlock {
    /// The kind in one word: `answer`, `thought`, `file`, `tool`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Answer(_) => "answer",
            Self::Thought(_) => "thought",
            Self::File { .. } => "file",
            Self::Tool { .. } => "tool",
        }
    }

    /// The blocks of an ended turn.
    pub fn of_ended<'a>(events: impl IntoIterator<Item = &'a EventBody>) -> Vec<Self> {
        let mut fold = TurnFold::of(events);
        fold.drop_unwritten();
        fold.into_blocks()
    }
}

/// A block of a running turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberedBlock {
    /// Its number in the turn. Later blocks have larger numbers; a number is never reused, even if its block was retracted.
    pub number: u32,
    /// How often a part of it was retracted. While this does not change, the block only grows.
    pub revision: u32,
    /// The block.
    pub block: TurnBlock,
}

/// The state of a turn, folded from its events one by one. It does not include files whose writing failed,
/// nor the retracted text of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TurnFold {
    blocks: Vec<NumberedBlock>,
    next_number: u32,
}

impl TurnFold {
    /// Folds existing events, in order.
    pub fn of<'a>(events: impl IntoIterator<Item = &'a EventBody>) -> Self {
        let mut fold = Self::default();
        events.into_iter().for_each(|event| fold.apply(event));
        fold
    }

    /// The blocks, in order.
    pub fn blocks(&self) -> &[NumberedBlock] {
        &self.blocks
    }

    /// The blocks without their numbers.
    pub fn into_blocks(self) -> Vec<TurnBlock> {
        self.blocks.into_iter().map(|numbered| numbered.block).collect()
    }

    /// Applies the next event.
    pub fn apply(&mut self, event: &EventBody) {
        let last = self.blocks.last_mut().map(|numbered| &mut numbered.block);
        match (event, last) {
            (EventBody::Text { delta, kind: TextKind::Answer }, Some(TurnBlock::Answer(text)))
            | (EventBody::Text { delta, kind: TextKind::Thought }, Some(TurnBlock::Thought(text))) => {
                text.push_str(delta);
            }
            (EventBody::Text { delta, kind }, _) => self.push(match kind {
                TextKind::Answer => TurnBlock::Answer(delta.clone()),
                TextKind::Thought => TurnBlock::Thought(delta.clone()),
            }),
            (EventBody::File { path, state, delta }, last) => {
                if let Some(TurnBlock::File { path: same, state: so_far, content }) = last
                    && same == path
                    && *so_far == FileState::Writing
                {
                    *so_far = *state;
                    if let Some(delta) = delta {
                        content.get_or_insert_default().push_str(delta);
                    }
                } else {
                    self.push(TurnBlock::File { path: path.clone(), state: *state, content: delta.clone() });
                }
            }
            (EventBody::Tool { name, summary, ok, taken_back }, _) => {
                if let Some(words) = taken_back {
                    self.take_back(*words);
                } else if !ok && name != NOTICE {
                    self.drop_unwritten();
                }
                // Retries of one request are one line, which counts them.
                if name == NOTICE
                    && !ok
                    && let Some(last) = self.blocks.last_mut()
                    && let TurnBlock::Tool { name: before, summary: words, ok: false } = &mut last.block
                    && before == NOTICE
                {
                    words.clone_from(summary);
                    last.revision += 1;
                    return;
                }
                self.push(TurnBlock::Tool { name: name.clone(), summary: summary.clone(), ok: *ok });
            }
            (
                EventBody::Job { .. } | EventBody::Log { .. } | EventBody::Environment { .. } | EventBody::Usage(_),
                _,
            ) => {}
        }
    }

    fn push(&mut self, block: TurnBlock) {
        self.blocks.push(NumberedBlock { number: self.next_number, revision: 0, block });
        self.next_number += 1;
    }

    /// Removes retracted text, and files that were being written.
    fn take_back(&mut self, mut words: TakenBack) {
        while let Some(last) = self.blocks.last_mut() {
            let (text, left) = match &mut last.block {
                TurnBlock::File { state: FileState::Writing, .. } => {
                    self.blocks.pop();
                    continue;
                }
                TurnBlock::Answer(text) => (text, &mut words.answer),
                TurnBlock::Thought(text) => (text, &mut words.thought),
                TurnBlock::File { .. } | TurnBlock::Tool { .. } => return,
            };
            let kept = text.len().saturating_sub(*left);
            *left -= text.len() - kept;
            if kept > 0 {
                if kept < text.len() {
                    text.truncate(text.floor_char_boundary(kept));
                    last.revision += 1;
                }
                return;
            }
            self.blocks.pop();
        }
    }

    /// Removes files that were not completely written.
    fn drop_unwritten(&mut self) {
        self.blocks.retain(|numbered| !matches!(numbered.block, TurnBlock::File { state: FileState::Writing, .. }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_become_blocks() {
        let path: WorkspacePath = "a.txt".parse().expect("a path");
        let file =
            |state, delta: Option<&str>| EventBody::File { path: path.clone(), state, delta: delta.map(str::to_owned) };
        let text = |delta: &str, kind| EventBody::Text { delta: delta.to_owned(), kind };
        let blocks = TurnFold::of(&[
            text("I ", TextKind::Answer),
            text("will.", TextKind::Answer),
            text("Hm.", TextKind::Thought),
            file(FileState::Writing, None),
            file(FileState::Writing, Some("x")),
            file(FileState::Writing, Some("y")),
            file(FileState::Written, None),
            file(FileState::Written, None),
            EventBody::tool("write_file", "Wrote a.txt", true),
        ])
        .into_blocks();
        assert_eq!(blocks.len(), 5);
        assert_eq!(blocks[0], TurnBlock::Answer("I will.".into()));
        assert_eq!(
            blocks[2],
            TurnBlock::File { path: path.clone(), state: FileState::Written, content: Some("xy".into()) }
        );
    }

    #[test]
    fn retries_of_one_request_are_one_line() {
        let retry = |summary: &str| EventBody::tool(NOTICE, summary, false);
        let text = EventBody::Text { delta: "So.".into(), kind: TextKind::Answer };
        let fold = TurnFold::of(&[retry("Again."), retry("Again (attempt 3)."), text, retry("Again.")]);
        let shown: Vec<(u32, u32, &str)> =
            fold.blocks().iter().map(|one| (one.number, one.revision, one.block.kind())).collect();
        assert_eq!(shown, [(0, 1, "tool"), (1, 0, "answer"), (2, 0, "tool")]);
        let TurnBlock::Tool { summary, .. } = &fold.blocks()[0].block else { panic!("a tool") };
        assert_eq!(summary, "Again (attempt 3).");
    }

    #[test]
    fn retracted_text_and_unwritten_files_are_removed() {
        let file = |path: &str, state, delta: Option<&str>| EventBody::File {
            path: path.parse().expect("a path"),
            state,
            delta: delta.map(str::to_owned),
        };
        let text = |delta: &str| EventBody::Text { delta: delta.to_owned(), kind: TextKind::Answer };
        let thought = |delta: &str| EventBody::Text { delta: delta.to_owned(), kind: TextKind::Thought };
        let again = |answer, thought| EventBody::Tool {
            name: NOTICE.into(),
            summary: "Asking again.".into(),
            ok: false,
            taken_back: Some(TakenBack { answer, thought }),
        };
        let told = |events: &[EventBody]| {
            let blocks = TurnFold::of(events).into_blocks();
            let told = blocks.iter().filter_map(|block| match block {
                TurnBlock::Answer(text) | TurnBlock::Thought(text) => Some(text.clone()),
                TurnBlock::File { path, state, .. } => Some(format!("{path} {state:?}")),
                TurnBlock::Tool { name, .. } => (name != NOTICE).then(|| name.clone()),
            });
            told.collect::<Vec<_>>()
        };
        // Earlier text in the same block stays; the text of the broken answer is removed, regardless of its pieces.
        let said = [
            text("First."),
            text("\n\nHäl"),
            thought("Hm"),
            text("f a "),
            file("b.txt", FileState::Writing, None),
            file("b.txt", FileState::Writing, Some("x")),
            again("\n\nHälf a ".len(), 2),
            text("\n\nWhole."),
        ];
        assert_eq!(told(&said), ["First.", "\n\nWhole."]);
        // Only a file that was started, after a tool of the previous answer.
        let begun = [
            text("One."),
            EventBody::tool("search", "Searched", true),
            file("b.txt", FileState::Writing, Some("x")),
            again(0, 0),
            file("b.txt", FileState::Writing, Some("y")),
            file("b.txt", FileState::Written, None),
        ];
        assert_eq!(told(&begun), ["One.", "search", "b.txt Written"]);
        // A call that was not executed leaves no unwritten file; a notice alone changes nothing.
        let cut = [
            file("a.txt", FileState::Written, None),
            file("b.txt", FileState::Writing, Some("x")),
            EventBody::tool(NOTICE, "The conversation is long.", false),
            text("And"),
            EventBody::tool("write_file", "Did not write a file: stopped", false),
        ];
        assert_eq!(told(&cut[..3]), ["a.txt Written", "b.txt Writing"]);
        assert_eq!(told(&cut), ["a.txt Written", "And", "write_file"]);
    }

    #[test]
    fn numbers_are_never_reused_and_revisions_show_retractions() {
        let text = |delta: &str| EventBody::Text { delta: delta.to_owned(), kind: TextKind::Answer };
        let again = |answer| EventBody::Tool {
            name: NOTICE.into(),
            summary: "Asking again.".into(),
            ok: false,
            taken_back: Some(TakenBack { answer, thought: 0 }),
        };
        let writing =
            EventBody::File { path: "b.txt".parse().expect("a path"), state: FileState::Writing, delta: None };
        let mut fold = TurnFold::of(&[text("One. "), text("Two"), writing]);
        let told = |fold: &TurnFold| fold.blocks().iter().map(|b| (b.number, b.revision)).collect::<Vec<_>>();
        assert_eq!(told(&fold), [(0, 0), (1, 0)]);
        fold.apply(&again("Two".len()));
        assert_eq!(told(&fold), [(0, 1), (2, 0)]);
        // No part of this answer was shown, so nothing is retracted, and the line of the first retry counts the second.
        fold.apply(&again(0));
        assert_eq!(told(&fold), [(0, 1), (2, 1)]);
    }
}
