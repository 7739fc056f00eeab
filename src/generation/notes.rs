//! Notes: what Slipway itself says to the model within the messages of the user's side.
//!
//! Pure. Each note is a text block of its own and begins with [`NOTE_HEAD`]; no block with a person's words does, see
//! [`persons_words`]. So a note can be told from a person's words, whatever a person types.

use std::borrow::Cow;

/// Begins each note. The system text tells the model about it.
pub const NOTE_HEAD: &str = "(From Slipway, not from the person.)";
/// Goes with each prompt of a discussion.
pub const DISCUSS_NOTE: &str = "(From Slipway, not from the person.) This message is for discussion: answer it, and change no \
                                files. The tools that write are off.";
/// Asks for the rest of an answer that was cut at its limit.
pub const ANSWER_CUT_NOTE: &str =
    "(From Slipway, not from the person.) Your answer was cut at its limit of tokens. Go on where it ended.";
/// Asks to finish a turn that was cut short.
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

/// Whether a block is the note that begins a repair. For the demo model, which knows the conversation alone, as any model does.
pub fn is_repair_note(text: &str) -> bool {
    text.strip_prefix(NOTE_HEAD).is_some_and(|said| said.trim_start().starts_with(REPAIR_SENTENCE))
}

/// A person's words as a block that is not taken for a note, also where they begin as one.
pub fn persons_words(words: &str) -> Cow<'_, str> {
    if is_note(words) { format!("The person wrote: {words}").into() } else { words.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_told_from_what_a_person_types() {
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
