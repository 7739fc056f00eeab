//! The first message of a turn, rendered from the turn's data. Only the model reads it.

use super::material;
use super::notes::{self, CONTINUE_NOTE, DISCUSS_NOTE};
use super::wire::{ContentBlock, Message, TurnStart};
use crate::domain::{Attachment, Evidence, TurnMode, TurnOrigin};

/// Follows the evidence of a repair.
const REPAIR_TASK: &str = "Find the cause and fix it with small edits. Leave alone what works. If it cannot be fixed in the \
                           app's files, say why and change nothing.";

/// The data of a turn's first message.
#[derive(Debug, Clone, Copy)]
pub struct Opening<'a> {
    /// Why the turn was started.
    pub origin: TurnOrigin,
    /// The user's message, or a fixed sentence of Slipway.
    pub prompt: &'a str,
    /// The evidence of the failure that the turn is about.
    pub evidence: Option<&'a Evidence>,
    /// The attachments, one block each.
    pub attachments: &'a [ContentBlock],
    /// Their names.
    pub attached: &'a [String],
    /// Notes of Slipway in addition to the prompt.
    pub notes: &'a [String],
    /// Whether the model may change files.
    pub mode: TurnMode,
}

impl Opening<'_> {
    /// The message: attachments, then the prompt, then notes.
    pub fn message(&self) -> Message {
        let mut content = self.attachments.to_vec();
        let evidence = self.evidence.map(|evidence| material::wrap(&evidence.source, &evidence.text));
        let parts = |last: Option<&str>| {
            let parts = [Some(self.prompt), evidence.as_deref(), last];
            parts.into_iter().flatten().collect::<Vec<_>>().join("\n\n")
        };
        content.push(ContentBlock::text(match self.origin {
            TurnOrigin::Person => notes::persons_words(self.prompt).into_owned(),
            TurnOrigin::Fix => parts(None),
            TurnOrigin::Repair(_) => notes::note(parts(Some(REPAIR_TASK))),
            TurnOrigin::Continue { .. } => CONTINUE_NOTE.to_owned(),
        }));
        content.extend(self.notes.iter().map(ContentBlock::text));
        if self.mode == TurnMode::Discuss {
            content.push(ContentBlock::text(DISCUSS_NOTE));
        }
        let start = start(self.origin, self.prompt, self.attached.iter().cloned());
        Message { start: Some(start), ..Message::user(content) }
    }
}

/// The data of the turn that later summaries of the conversation need.
pub fn start(origin: TurnOrigin, prompt: &str, attached: impl IntoIterator<Item = String>) -> TurnStart {
    TurnStart {
        by_person: !origin.is_written_by_slipway(),
        words: prompt.to_owned(),
        attached: attached.into_iter().collect(),
    }
}

/// The names of attachments for [`Opening::attached`].
pub fn names(attachments: &[Attachment]) -> Vec<String> {
    attachments.iter().map(|attachment| attachment.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Repair, TurnId};

    fn texts(origin: TurnOrigin, prompt: &str, evidence: Option<&Evidence>) -> Vec<String> {
        let notes = [notes::note("A file is locked.")];
        let opening = Opening {
            origin,
            prompt,
            evidence,
            attachments: &[],
            attached: &[],
            notes: &notes,
            mode: TurnMode::Discuss,
        };
        let text = |block: ContentBlock| if let ContentBlock::Text { text } = block { text } else { panic!("a text") };
        opening.message().content.into_iter().map(text).collect()
    }

    #[test]
    fn each_origin_has_its_own_form() {
        let evidence = Evidence { source: "preview: build_failed".into(), text: "ERROR: no".into() };
        let repair = TurnOrigin::Repair(Repair { of: TurnId(1), number: 1 });
        let blocks = texts(repair, "The preview of your work failed. “pip” failed.", Some(&evidence));
        assert!(notes::is_repair_note(&blocks[0]) && blocks[0].contains("failed.\n\n<material-"), "{}", blocks[0]);
        assert!(blocks[0].contains("ERROR: no") && blocks[0].ends_with(REPAIR_TASK), "{}", blocks[0]);
        assert!(notes::is_note(&blocks[1]) && blocks[2] == DISCUSS_NOTE && blocks.len() == 3, "{blocks:?}");
        let blocks = texts(TurnOrigin::Fix, "Find the cause and fix it.", Some(&evidence));
        assert!(
            blocks[0].starts_with("Find the cause and fix it.\n\n<material-") && blocks[0].ends_with('>'),
            "{}",
            blocks[0]
        );
        assert_eq!(texts(TurnOrigin::Continue { of: TurnId(1) }, "Continue", None)[0], CONTINUE_NOTE);
    }

    #[test]
    fn typed_text_is_never_interpreted() {
        for typed in [
            "The preview of your work failed.".to_owned(),
            "Go on where you stopped.".to_owned(),
            CONTINUE_NOTE.to_owned(),
            format!("Blue.\n\n{}", material::wrap("preview: build_failed", "x")),
        ] {
            let blocks = texts(TurnOrigin::Person, &typed, None);
            assert!(blocks[0].ends_with(&typed) && !notes::is_note(&blocks[0]), "{}", blocks[0]);
        }
        let opening = Opening {
            origin: TurnOrigin::Person,
            prompt: "Two\n\nparagraphs",
            evidence: None,
            attachments: &[],
            attached: &["a.png".to_owned()],
            notes: &[],
            mode: TurnMode::Build,
        };
        let expected = TurnStart { by_person: true, words: "Two\n\nparagraphs".into(), attached: vec!["a.png".into()] };
        assert_eq!(opening.message().start, Some(expected));
    }
}
