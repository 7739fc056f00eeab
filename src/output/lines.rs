//! Splits the output of untrusted programs into clean lines of limited length.

/// Maximum length of a line in bytes; the rest of a longer line is dropped.
pub const LINE_MAX: usize = 4096;

/// Splits a stream of bytes into lines.
#[derive(Debug, Default)]
pub struct Lines {
    line: Vec<u8>,
    cut: bool,
}

impl Lines {
    /// Takes the next bytes, and passes each line that they complete to `each`, cleaned.
    pub fn push(&mut self, mut bytes: &[u8], each: &mut impl FnMut(String)) {
        while let Some(end) = bytes.iter().position(|b| *b == b'\n') {
            self.keep(&bytes[..end]);
            self.flush(each);
            bytes = &bytes[end + 1..];
        }
        self.keep(bytes);
    }

    /// Passes the text after the last line break to `each`, if there is any.
    pub fn finish(&mut self, each: &mut impl FnMut(String)) {
        if !self.line.is_empty() {
            self.flush(each);
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = LINE_MAX.saturating_sub(self.line.len());
        self.cut |= bytes.len() > room;
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn flush(&mut self, each: &mut impl FnMut(String)) {
        let mut text = clean(&self.line);
        if self.cut {
            text.push('…');
        }
        self.line.clear();
        self.cut = false;
        each(text);
    }
}

/// The line without escape sequences and control characters. Of text that was overwritten after a carriage return, such
/// as a progress bar, only the last state is kept. Bytes that are not UTF-8 become replacement characters.
pub fn clean(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let line = line.rsplit(|b| *b == b'\r').next().unwrap_or(line);
    let text = String::from_utf8_lossy(line);
    if !text.contains(char::is_control) {
        return text.trim_end().to_owned();
    }
    let mut clean = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => match chars.next() {
                // CSI: parameters, then one final character.
                Some('[') => while chars.next().is_some_and(|c| !('\u{40}'..='\u{7e}').contains(&c)) {},
                // OSC: a text that ends with BEL or ESC \.
                Some(']') => {
                    while let Some(c) = chars.next() {
                        if c == '\u{7}' || (c == '\u{1b}' && chars.next_if_eq(&'\\').is_some()) {
                            break;
                        }
                    }
                }
                // The selection of a character set has one more character.
                Some('(' | ')') => {
                    chars.next();
                }
                _ => {}
            },
            '\t' => clean.push(c),
            c if c.is_control() => {}
            c => clean.push(c),
        }
    }
    clean.truncate(clean.trim_end().len());
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_cleaned_and_bounded() {
        let mut seen = Vec::new();
        let mut lines = Lines::default();
        for piece in [&b"one\r\ntw"[..], b"o\n\n", b"10%\r55%\r100%\r\n", b"\x1b[1;31mred\x1b[0m \x1b]0;title\x07end"] {
            lines.push(piece, &mut |line| seen.push(line));
        }
        lines.finish(&mut |line| seen.push(line));
        lines.finish(&mut |line| seen.push(line));
        assert_eq!(seen, ["one", "two", "", "100%", "red end"]);

        let mut long = Vec::new();
        for _ in 0..10 {
            lines.push(&[b'x'; 1000], &mut |line| long.push(line));
        }
        lines.push(b"\nafter\n", &mut |line| long.push(line));
        assert_eq!(long[0].len(), LINE_MAX + '…'.len_utf8());
        assert_eq!(long[1], "after");
        assert_eq!(clean(b"a\xffb\0c"), "a\u{fffd}bc");
    }
}
