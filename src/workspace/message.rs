//! The message of a commit: the request, and two trailers with the origin of the version.

use crate::domain::{TurnId, VersionKind};

/// Maximum length of a title, in characters.
pub const TITLE_MAX: usize = 100;
/// Maximum length of a body, in bytes. The rest is cut off.
pub const BODY_MAX: usize = 64 * 1024;

const KIND: &str = "Slipway-Kind";
const TURN: &str = "Slipway-Turn";

/// The description of a new version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitNote {
    /// Its title, converted to one line and cut at [`TITLE_MAX`] characters. If something was cut off, the body
    /// contains the whole text.
    pub title: String,
    /// The rest: usually the whole message.
    pub body: String,
    /// The origin of the version.
    pub kind: VersionKind,
    /// The turn that created it, if any.
    pub turn: Option<TurnId>,
    /// Its time; stored in full seconds.
    pub at: jiff::Timestamp,
}

/// The parts of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) title: String,
    pub(super) body: String,
    pub(super) kind: VersionKind,
    pub(super) turn: Option<TurnId>,
}

impl CommitNote {
    /// The commit message.
    pub(super) fn message(&self) -> String {
        let Parts { title, body, kind, turn } = self.parts();
        let mut message = title;
        if !body.is_empty() {
            message.push_str("\n\n");
            message.push_str(&body);
        }
        message.push_str("\n\n");
        message.extend([KIND, ": ", kind.as_str(), "\n"]);
        if let Some(turn) = turn {
            message.extend([TURN, ": ", &turn.to_string(), "\n"]);
        }
        message
    }

    /// The message's parts in the form in which they are stored.
    fn parts(&self) -> Parts {
        let asked = harmless(&self.title);
        let one_line = asked.split_whitespace().collect::<Vec<_>>().join(" ");
        let too_long = one_line.chars().nth(TITLE_MAX).is_some();
        let title = if too_long {
            let cut: String = one_line.chars().take(TITLE_MAX - 1).collect();
            format!("{}…", cut.trim_end())
        } else if one_line.is_empty() {
            format!("Untitled {}", self.kind.as_str())
        } else {
            one_line
        };
        let mut body = harmless(&self.body);
        // If the title was shortened, the body contains the whole text.
        if (too_long || asked.contains('\n')) && !body.contains(asked.as_str()) {
            body = if body.is_empty() { asked } else { format!("{asked}\n\n{body}") };
        }
        if body.len() > BODY_MAX {
            let end = body.floor_char_boundary(BODY_MAX);
            body.truncate(end);
            body.truncate(body.trim_end().len());
            body.push_str(" …");
        }
        Parts { title, body, kind: self.kind, turn: self.turn }
    }
}

/// Parses a message. One without Slipway's trailers is a manual edit.
pub(super) fn parse(message: &str) -> Parts {
    let (title, rest) = message.split_once('\n').unwrap_or((message, ""));
    let title = harmless(title);
    let rest = rest.trim_matches('\n');
    let (body, last) = rest.rsplit_once("\n\n").unwrap_or(("", rest));
    let mut kind = None;
    let mut turn = None;
    for line in last.lines() {
        match line.split_once(": ") {
            Some((KIND, value)) => kind = value.parse().ok(),
            Some((TURN, value)) => turn = value.parse().ok(),
            _ => {}
        }
    }
    match kind {
        Some(kind) => Parts { title, body: body.trim_end().to_owned(), kind, turn },
        None => Parts { title, body: harmless(rest), kind: VersionKind::Edit, turn: None },
    }
}

/// Removes control characters, and characters that change the direction of text, because they could mislead a user on a
/// terminal or a page. Line endings become `\n`.
fn harmless(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace(['\r', '\u{2028}', '\u{2029}', '\u{85}'], "\n");
    let kept: String =
        text.chars().filter(|c| matches!(c, '\n' | '\t') || !(c.is_control() || turns_writing_around(*c))).collect();
    kept.trim().to_owned()
}

fn turns_writing_around(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(title: &str, body: &str) -> CommitNote {
        let (title, body) = (title.to_owned(), body.to_owned());
        CommitNote { title, body, kind: VersionKind::Turn, turn: Some(TurnId(7)), at: jiff::Timestamp::UNIX_EPOCH }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let long = "word ".repeat(60);
        for (title, body) in [
            ("Add a page", ""),
            ("Add a page", "Please add a page.\n\nWith two paragraphs."),
            ("Slipway-Kind: restore", "Slipway-Turn: 99"),
            ("Add", "Slipway-Kind: scaffold\nSlipway-Turn: 1"),
            ("Add", "\n\n\nSlipway-Kind: scaffold\n\n\n"),
            ("two\nlines\r\nand \u{1b}[31mred\u{202e}", ""),
            ("", ""),
            ("\0\n\t", "x"),
            (long.as_str(), ""),
            (long.as_str(), "else"),
        ] {
            let note = note(title, body);
            let parts = parse(&note.message());
            assert_eq!(parts, note.parts(), "{title:?}");
            assert_eq!((parts.kind, parts.turn), (VersionKind::Turn, Some(TurnId(7))));
            assert!(!parts.title.is_empty() && parts.title.chars().count() <= TITLE_MAX);
            assert!(!parts.title.chars().any(char::is_control), "{:?}", parts.title);
            assert!(!note.message().contains(['\0', '\u{1b}', '\u{202e}', '\r']));
        }
    }

    #[test]
    fn a_cut_title_stays_whole_in_the_body() {
        let long = "x".repeat(300);
        assert!(note(&long, "").parts().body.contains(&long));
        assert_eq!(note(&long, &long).parts().body, long);
        assert_eq!(note("short", "").parts().body, "");
        assert_eq!(note("a\nb", "").parts().title, "a b");
        assert_eq!(note("a\nb", "").parts().body, "a\nb");
        let huge = note("t", &"é".repeat(BODY_MAX)).parts().body;
        assert!(huge.len() < BODY_MAX + 8 && huge.ends_with(" …"));
    }

    #[test]
    fn a_foreign_message_is_an_edit() {
        let parts = parse("Fix it by hand\n\nSigned-off-by: somebody\n");
        assert_eq!(parts.kind, VersionKind::Edit);
        assert_eq!(parts.title, "Fix it by hand");
        assert_eq!(parts.body, "Signed-off-by: somebody");
        assert_eq!(parse("").title, "");
        assert_eq!(parse("t\n\nSlipway-Kind: nonsense").kind, VersionKind::Edit);
    }
}
