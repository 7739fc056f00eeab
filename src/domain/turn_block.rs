//! What a turn did, folded from its events into the parts that people see.

use serde::{Deserialize, Serialize};

use super::{EventBody, FileState, TakenBack, TextKind, WorkspacePath};

/// The name of `tool` events that are notices about the model.
pub const NOTICE: &str = "model";

/// A part of what the model did in a turn, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TurnBlock {
    /// Words for the user, as Markdown.
    Answer(String),
    /// A summary of its thinking, as Markdown.
    Thought(String),
    /// A file that was written or deleted.
    File {
        /// Which.
        path: WorkspacePath,
        /// Where it stands.
        state: FileState,
        /// What was typed, if it was typed before our eyes.
        content: Option<String>,
    },
    /// Another tool.
    Tool {
        /// Its name.
        name: String,
        /// What it did, in one line.
        summary: String,
        /// Whether it did it.
        ok: bool,
    },
}

impl TurnBlock {
    /// What kind it is, in one word: `answer`, `thought`, `file`, `tool`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Answer(_) => "answer",
            Self::Thought(_) => "thought",
            Self::File { .. } => "file",
            Self::Tool { .. } => "tool",
        }
    }

    /// What a turn that has ended did.
    pub fn of_ended<'a>(events: impl IntoIterator<Item = &'a EventBody>) -> Vec<Self> {
        let mut fold = TurnFold::of(events);
        fold.drop_unwritten();
        fold.into_blocks()
    }
}

/// A block of a turn that is at work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberedBlock {
    /// Its number in the turn. Later blocks have larger numbers; none is used again, also when its block was taken back.
    pub number: u32,
    /// How often a part of it was taken back. While this stays the same, the block only grows.
    pub revision: u32,
    /// What it is.
    pub block: TurnBlock,
}

/// What a turn did so far, folded from its events one by one. A file whose writing came to nothing is none of
/// it, nor are the words of an answer that was taken back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TurnFold {
    blocks: Vec<NumberedBlock>,
    next_number: u32,
}

impl TurnFold {
    /// Folds events that are there already, in order.
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

    /// Takes in the next event.
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

    /// Takes the last words away, and the files that were being written among them.
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

    /// Takes away what was never written to its end.
    fn drop_unwritten(&mut self) {
        self.blocks.retain(|numbered| !matches!(numbered.block, TurnBlock::File { state: FileState::Writing, .. }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_become_what_was_done() {
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
    fn what_was_taken_back_or_never_written_is_none_of_it() {
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
        // Words that were said before, in the same block, stay; the broken answer's go, however they came.
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
        // Nothing but a file that was begun, after a tool of the answer before.
        let begun = [
            text("One."),
            EventBody::tool("search", "Searched", true),
            file("b.txt", FileState::Writing, Some("x")),
            again(0, 0),
            file("b.txt", FileState::Writing, Some("y")),
            file("b.txt", FileState::Written, None),
        ];
        assert_eq!(told(&begun), ["One.", "search", "b.txt Written"]);
        // A call that was not done leaves no file that stays unwritten; a notice alone changes nothing.
        let cut = [
            file("a.txt", FileState::Written, None),
            file("b.txt", FileState::Writing, Some("x")),
            EventBody::tool(NOTICE, "The conversation is long.", false),
            text("And"),
            EventBody::tool("write_file", "write_file not done: stopped", false),
        ];
        assert_eq!(told(&cut[..3]), ["a.txt Written", "b.txt Writing"]);
        assert_eq!(told(&cut), ["a.txt Written", "And", "write_file"]);
    }

    #[test]
    fn a_number_is_never_used_again_and_a_revision_tells_what_shrank() {
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
        // Nothing of this answer was shown, so nothing shrinks.
        fold.apply(&again(0));
        assert_eq!(told(&fold), [(0, 1), (2, 0), (3, 0)]);
    }
}
