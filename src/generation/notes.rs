//! Notes: texts of Slipway in messages with the role of the user.
//!
//! Pure. Each note is a separate text block and begins with [`NOTE_HEAD`]; no block with a user's text does, see
//! [`persons_words`]. So the model can distinguish notes from any text of a user.

use std::borrow::Cow;

/// The beginning of each note. The system prompt explains it to the model.
pub const NOTE_HEAD: &str = "(From Slipway, not from the person.)";
/// Added to each prompt of a discussion.
pub const DISCUSS_NOTE: &str = "(From Slipway, not from the person.) This message is for discussion: answer it, and change no \
                                files. The tools that write are off.";
/// Asks for the rest of an answer that was truncated at its limit.
pub const ANSWER_CUT_NOTE: &str =
    "(From Slipway, not from the person.) Your answer was cut at its limit of tokens. Go on where it ended.";
/// Asks to finish a turn that ended early.
pub const CONTINUE_NOTE: &str = "(From Slipway, not from the person.) The person pressed Continue: the work above was cut short. \
                                 What was written until then stands in the files. Look at them, then finish what was asked; do \
                                 not begin again, and do nothing twice.";
/// The first sentence of a repair.
pub const REPAIR_SENTENCE: &str = "The preview of your work failed.";

/// A note of this text.
pub fn note(text: impl std::fmt::Display) -> String {
    format!("{NOTE_HEAD} {text}")
}

/// Whether a block is a note.
pub fn is_note(text: &str) -> bool {
    text.starts_with(NOTE_HEAD)
}

/// Whether a block is the note that starts a repair. For the demo model, which like any model knows only the conversation.
pub fn is_repair_note(text: &str) -> bool {
    text.strip_prefix(NOTE_HEAD).is_some_and(|said| said.trim_start().starts_with(REPAIR_SENTENCE))
}

/// A user's text as a block that cannot be mistaken for a note, even if it begins like one.
pub fn persons_words(words: &str) -> Cow<'_, str> {
    if is_note(words) { format!("The person wrote: {words}").into() } else { words.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_differ_from_any_text_of_a_user() {
        let repair = note(format!("{REPAIR_SENTENCE} “pip” failed."));
        for note in [DISCUSS_NOTE, ANSWER_CUT_NOTE, CONTINUE_NOTE, &repair] {
            assert!(is_note(note), "{note}");
            let typed = persons_words(note);
            assert!(!is_note(&typed) && !is_repair_note(&typed) && typed.ends_with(note), "{typed}");
        }
        assert!(is_repair_note(&repair) && !is_repair_note(CONTINUE_NOTE));
        assert_eq!(persons_words(REPAIR_SENTENCE), REPAIR_SENTENCE);
        assert!(!is_repair_note(REPAIR_SENTENCE));
    }
}
