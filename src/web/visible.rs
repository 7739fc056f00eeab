//! Replaces control characters in pages with visible symbols, so that copied text is safe to paste into a terminal.
//!
//! Output of apps, model text and files contain ESC, BEL and the like. HTML does not need them, so they are
//! replaced once, in the finished response, instead of in every view.

/// Replaces control characters, except tabs and line ends, with their symbols (`␛` for ESC), and those above ASCII with
/// the replacement character.
pub fn in_html(html: String) -> String {
    if !html.chars().any(is_unwanted) {
        return html;
    }
    html.chars().map(|c| if is_unwanted(c) { picture(c) } else { c }).collect()
}

/// The same for JSON, which contains control characters as escapes.
pub fn in_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let (length, c) = match escape.as_bytes() {
            [_, b'b', ..] => (2, Some('\u{8}')),
            [_, b'f', ..] => (2, Some('\u{c}')),
            [_, b'u', b'0', b'0', high @ b'0'..=b'1', low, ..] => {
                let low = char::from(*low).to_digit(16).unwrap_or_default();
                (6, char::from_u32(u32::from(high - b'0') * 16 + low).filter(|c| is_unwanted(*c)))
            }
            // A backslash escapes exactly one character here, which may be another backslash.
            _ => (escape.chars().take(2).map(char::len_utf8).sum(), None),
        };
        match c {
            Some(c) => out.push(picture(c)),
            None => out.push_str(&escape[..length]),
        }
        rest = &escape[length..];
    }
    out.push_str(rest);
    in_html(out)
}

fn is_unwanted(c: char) -> bool {
    c.is_control() && !matches!(c, '\t' | '\n' | '\r')
}

/// Unicode's block “Control Pictures” is in the order of the characters that it shows.
fn picture(c: char) -> char {
    match u32::from(c) {
        code @ ..0x20 => char::from_u32(0x2400 + code).unwrap_or(char::REPLACEMENT_CHARACTER),
        0x7f => '\u{2421}',
        _ => char::REPLACEMENT_CHARACTER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_become_symbols() {
        assert_eq!(in_html("a\u{1b}[31m\u{7}\0\u{7f}\u{9b}\t\r\nü".into()), "a␛[31m␇␀␡\u{fffd}\t\r\nü");
        assert_eq!(in_html("plain ü".into()), "plain ü");
    }

    #[test]
    fn json_escapes_become_symbols_and_other_backslashes_stay() {
        for text in [
            "a\u{1b}[1m\u{7}",
            "\u{8}\u{c}\0\u{1f}\u{7f}",
            "back\\slash \\u001b \\\\\u{1b}",
            "line\n\ttab \"q\" ü\u{9d}",
        ] {
            let json = serde_json::to_string(text).expect("a string");
            let shown: String = serde_json::from_str(&in_json(&json)).expect("still JSON");
            assert_eq!(shown, in_html(text.to_owned()), "{text:?}");
        }
    }
}
