//! Limits the nesting of quotes and lists before a parser reads the text: parsers check
//! each open container for each line, so their time grows with the square of the depth.
//!
//! Works line by line. It limits the markers that open quotes and lists at the beginning of one
//! line, and the indentation that continues containers of earlier lines.

use std::borrow::Cow;

/// Maximum number of markers of quotes and lists at the beginning of one line.
const MARKERS_MAX: usize = 20;
/// Maximum indentation, in characters.
const INDENT_MAX: usize = 160;

/// The text with a backslash before the first marker beyond the limit in its line, so that it and the rest of the
/// line are plain text, and with very long indentation truncated.
pub(super) fn shallow(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut copied = 0;
    let mut at = 0;
    // A carriage return alone ends a line too.
    for line in text.split_inclusive(['\n', '\r']) {
        let mut edit = |edit: Edit| {
            let (from, to) = (at + edit.from, at + edit.to);
            out.push_str(&text[copied..from]);
            out.push_str(edit.with);
            copied = to;
        };
        edits(line, &mut edit);
        at += line.len();
    }
    if copied == 0 && out.is_empty() {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

/// A replacement of bytes of a line.
struct Edit {
    from: usize,
    to: usize,
    with: &'static str,
}

fn edits(line: &str, edit: &mut impl FnMut(Edit)) {
    let bytes = line.as_bytes();
    let (mut at, mut markers) = (0, 0);
    loop {
        let indent = bytes[at..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        if indent > INDENT_MAX {
            edit(Edit { from: at + INDENT_MAX, to: at + indent, with: "" });
        }
        at += indent;
        let Some(marker) = marker(&bytes[at..]) else { return };
        if markers == MARKERS_MAX {
            // The backslash goes before the last character of the marker: `1\.`.
            let last = at + marker - 1;
            return edit(Edit { from: last, to: last, with: "\\" });
        }
        markers += 1;
        at += marker;
    }
}

/// The length of the marker of a quote or of a list item at the beginning of a line.
fn marker(line: &[u8]) -> Option<usize> {
    let ends = |at: usize| line.get(at).is_none_or(u8::is_ascii_whitespace);
    match line.first()? {
        b'>' => Some(1),
        b'-' | b'+' | b'*' if ends(1) => (!is_rule(line)).then_some(1),
        b'0'..=b'9' => {
            let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
            (digits <= 9 && matches!(line.get(digits), Some(b'.' | b')')) && ends(digits + 1)).then_some(digits + 1)
        }
        _ => None,
    }
}

/// A thematic break, like `- - -`.
fn is_rule(line: &[u8]) -> bool {
    let first = line[0];
    let is_part = |byte: &u8| *byte == first || byte.is_ascii_whitespace();
    first != b'+' && line.iter().all(is_part) && line.iter().filter(|byte| **byte == first).count() >= 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_markers_beyond_the_limit_change() {
        for same in [
            "",
            "a\n> b\n\n- c\n  - d\n",
            "- - - - - - - - - - - - - - - - - - - - - - - - - - -\n",
            "> * * * * * * * * * * * * * * * * * * * * * * * * * *",
            "1234567890. a",
            "-a - b\n",
        ] {
            assert!(matches!(shallow(same), Cow::Borrowed(text) if text == same), "{same}");
        }
        let quotes = |times: usize| "> ".repeat(times);
        assert_eq!(shallow(&format!("{}a", quotes(20))), format!("{}a", quotes(20)));
        assert_eq!(shallow(&format!("a\n{}b\nc", quotes(22))), format!("a\n{}\\> > b\nc", quotes(20)));
        assert_eq!(shallow(&format!("a\r{}b", quotes(21))), format!("a\r{}\\> b", quotes(20)));
        let ordered = "1. ".repeat(21);
        assert_eq!(shallow(&format!("{ordered}a")), format!("{}1\\. a", "1. ".repeat(20)));
        let mixed = format!("{}- a", ">\t".repeat(20));
        assert_eq!(shallow(&mixed), format!("{}\\- a", ">\t".repeat(20)));
    }

    #[test]
    fn long_indentation_is_truncated() {
        let wide = format!("a\n{}b {} c\n", " ".repeat(500), " ".repeat(500));
        let cut = format!("a\n{}b {} c\n", " ".repeat(INDENT_MAX), " ".repeat(500));
        assert_eq!(shallow(&wide), cut);
        let after_marker = format!("> {}b", " ".repeat(500));
        assert_eq!(shallow(&after_marker), format!(">{}b", " ".repeat(INDENT_MAX)));
    }
}
