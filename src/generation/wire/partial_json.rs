//! Extracts string fields from an incomplete JSON object.
//!
//! A tool's input arrives as JSON text in pieces. This parser returns the decoded
//! text of the wanted top-level string fields while it arrives, so that code is visible while it is written. It does
//! not validate the whole text; a real parser does that at the end.
//!
//! Memory is bounded by the limits below, and the output is never longer than the input.

/// Maximum nesting of skipped values.
const DEPTH_MAX: usize = 128;
/// Maximum length of a remembered key in bytes; no wanted field has a longer one.
const KEY_MAX: usize = 64;

/// A piece of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// The next piece of a field's text, decoded.
    Text(&'static str, String),
    /// The field's text is complete.
    End(&'static str),
}

/// Why the text can no longer become a JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PartialJsonError {
    /// A character that JSON does not have here.
    #[error("unexpected character in JSON")]
    Unexpected,
    /// A `\` escape that JSON does not know, or half a surrogate pair.
    #[error("invalid escape in JSON")]
    Escape,
    /// Values nested too deep.
    #[error("JSON is nested too deep")]
    TooDeep,
    /// A wanted field that occurs twice.
    #[error("a field occurs twice")]
    Twice,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before `{`.
    Start,
    /// After `{`: a key or `}`.
    FirstKey,
    /// After `,`: a key.
    NextKey,
    Key,
    Colon,
    Value,
    /// In the string of the wanted field of this number, or of another.
    Text(Option<usize>),
    /// In a number, `true`, `false` or `null`.
    Scalar,
    /// In an array or object; `true` inside a string of it.
    Nested(bool),
    AfterValue,
    End,
}

/// The position in an escape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escape {
    None,
    /// After `\`.
    Begun,
    /// After `\u` and this many digits.
    Unicode(u8, u16),
    /// After a high surrogate: expects `\`, then `u`.
    Low(u16, bool),
    /// After a high surrogate: expects the digits of its other half.
    LowDigits(u16, u8, u16),
}

/// Reads JSON text and returns the text of the wanted fields.
#[derive(Debug)]
pub struct FieldExtractor {
    wanted: &'static [&'static str],
    seen: Vec<bool>,
    place: Place,
    escape: Escape,
    key: String,
    key_is_long: bool,
    /// For each open bracket of a nested value, whether it is `{`.
    brackets: Vec<bool>,
    broken: Option<PartialJsonError>,
}

impl FieldExtractor {
    /// For the top-level string fields with these names.
    pub fn new(wanted: &'static [&'static str]) -> Self {
        Self {
            wanted,
            seen: vec![false; wanted.len()],
            place: Place::Start,
            escape: Escape::None,
            key: String::new(),
            key_is_long: false,
            brackets: Vec::new(),
            broken: None,
        }
    }

    /// Whether the object has ended.
    pub fn is_complete(&self) -> bool {
        self.place == Place::End && self.broken.is_none()
    }

    /// Reads more text and appends the output up to the first error. Every later call returns the error too.
    pub fn push(&mut self, json: &str, pieces: &mut Vec<Piece>) -> Result<(), PartialJsonError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let mut text = String::new();
        for c in json.chars() {
            let field = match self.place {
                Place::Text(field) => field,
                _ => None,
            };
            match self.step(c) {
                Ok(Some(c)) => {
                    if field.is_some() {
                        text.push(c);
                    }
                }
                Ok(None) => {
                    if let (Some(field), Place::AfterValue) = (field, self.place) {
                        self.flush(field, &mut text, pieces);
                        pieces.push(Piece::End(self.wanted[field]));
                    }
                }
                Err(error) => {
                    if let Some(field) = field {
                        self.flush(field, &mut text, pieces);
                    }
                    self.broken = Some(error);
                    return Err(error);
                }
            }
        }
        if let Place::Text(Some(field)) = self.place {
            self.flush(field, &mut text, pieces);
        }
        Ok(())
    }

    fn flush(&self, field: usize, text: &mut String, pieces: &mut Vec<Piece>) {
        if !text.is_empty() {
            pieces.push(Piece::Text(self.wanted[field], std::mem::take(text)));
        }
    }

    /// Reads one character; returns a decoded character of a string when it is complete.
    fn step(&mut self, c: char) -> Result<Option<char>, PartialJsonError> {
        use PartialJsonError::{TooDeep, Unexpected};
        match self.place {
            Place::Key | Place::Text(_) | Place::Nested(true) => return self.in_string(c),
            _ if matches!(c, ' ' | '\t' | '\n' | '\r') => {
                if self.place == Place::Scalar {
                    self.place = Place::AfterValue;
                }
            }
            Place::Start if c == '{' => self.place = Place::FirstKey,
            Place::FirstKey | Place::NextKey if c == '"' => {
                self.key.clear();
                self.key_is_long = false;
                self.place = Place::Key;
            }
            Place::Colon if c == ':' => self.place = Place::Value,
            Place::Value => match c {
                '"' => self.place = Place::Text(self.begin_field()?),
                '{' | '[' => {
                    self.brackets.push(c == '{');
                    self.place = Place::Nested(false);
                }
                '-' | '0'..='9' | 't' | 'f' | 'n' => self.place = Place::Scalar,
                _ => return Err(Unexpected),
            },
            Place::Scalar | Place::AfterValue if c == ',' => self.place = Place::NextKey,
            Place::FirstKey | Place::Scalar | Place::AfterValue if c == '}' => self.place = Place::End,
            Place::Scalar if c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.') => {}
            Place::Nested(false) => match c {
                '"' => self.place = Place::Nested(true),
                '{' | '[' if self.brackets.len() >= DEPTH_MAX => return Err(TooDeep),
                '{' | '[' => self.brackets.push(c == '{'),
                '}' | ']' => {
                    if self.brackets.pop() != Some(c == '}') {
                        return Err(Unexpected);
                    }
                    if self.brackets.is_empty() {
                        self.place = Place::AfterValue;
                    }
                }
                ',' | ':' | '+' | '-' | '.' => {}
                _ if c.is_ascii_alphanumeric() => {}
                _ => return Err(Unexpected),
            },
            _ => return Err(Unexpected),
        }
        Ok(None)
    }

    /// The wanted field of this value, if its key is one.
    fn begin_field(&mut self) -> Result<Option<usize>, PartialJsonError> {
        if self.key_is_long {
            return Ok(None);
        }
        let Some(field) = self.wanted.iter().position(|name| *name == self.key) else { return Ok(None) };
        if std::mem::replace(&mut self.seen[field], true) {
            return Err(PartialJsonError::Twice);
        }
        Ok(Some(field))
    }

    fn in_string(&mut self, c: char) -> Result<Option<char>, PartialJsonError> {
        let Some(decoded) = self.decode(c)? else {
            return Ok(None);
        };
        if self.place == Place::Key {
            if self.key.len() + decoded.len_utf8() > KEY_MAX {
                self.key_is_long = true;
            } else {
                self.key.push(decoded);
            }
        }
        Ok(Some(decoded))
    }

    /// Reads one character of a string: returns the decoded character, or nothing while an escape is
    /// incomplete and when the string has ended.
    fn decode(&mut self, c: char) -> Result<Option<char>, PartialJsonError> {
        use PartialJsonError::Escape as Bad;
        let digit = || c.to_digit(16).and_then(|digit| u16::try_from(digit).ok()).ok_or(Bad);
        let decoded = match self.escape {
            Escape::None => match c {
                '"' => {
                    self.place = match self.place {
                        Place::Key => Place::Colon,
                        Place::Nested(_) => Place::Nested(false),
                        _ => Place::AfterValue,
                    };
                    return Ok(None);
                }
                '\\' => {
                    self.escape = Escape::Begun;
                    return Ok(None);
                }
                '\0'..='\u{1f}' => return Err(PartialJsonError::Unexpected),
                _ => return Ok(Some(c)),
            },
            Escape::Begun => match c {
                '"' | '\\' | '/' => c,
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'u' => {
                    self.escape = Escape::Unicode(0, 0);
                    return Ok(None);
                }
                _ => return Err(Bad),
            },
            Escape::Unicode(count, value) => {
                let value = value << 4 | digit()?;
                if count < 3 {
                    self.escape = Escape::Unicode(count + 1, value);
                    return Ok(None);
                }
                if (0xd800..0xdc00).contains(&value) {
                    self.escape = Escape::Low(value, false);
                    return Ok(None);
                }
                char::from_u32(u32::from(value)).ok_or(Bad)?
            }
            Escape::Low(high, after_backslash) => {
                self.escape = match (after_backslash, c) {
                    (false, '\\') => Escape::Low(high, true),
                    (true, 'u') => Escape::LowDigits(high, 0, 0),
                    _ => return Err(Bad),
                };
                return Ok(None);
            }
            Escape::LowDigits(high, count, value) => {
                let value = value << 4 | digit()?;
                if count < 3 {
                    self.escape = Escape::LowDigits(high, count + 1, value);
                    return Ok(None);
                }
                char::decode_utf16([high, value]).next().and_then(Result::ok).filter(|c| *c > '\u{ffff}').ok_or(Bad)?
            }
        };
        self.escape = Escape::None;
        Ok(Some(decoded))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng};

    const WANTED: &[&str] = &["path", "content"];

    fn read(chunks: &[&str]) -> (String, String, Vec<&'static str>, Result<bool, PartialJsonError>) {
        let (mut extractor, mut pieces) = (FieldExtractor::new(WANTED), Vec::new());
        let mut outcome = Ok(());
        for chunk in chunks {
            outcome = extractor.push(chunk, &mut pieces);
        }
        let (mut path, mut content, mut ended) = (String::new(), String::new(), Vec::new());
        for piece in pieces {
            match piece {
                Piece::Text("path", text) => path.push_str(&text),
                Piece::Text(_, text) => content.push_str(&text),
                Piece::End(field) => ended.push(field),
            }
        }
        (path, content, ended, outcome.map(|()| extractor.is_complete()))
    }

    const INPUTS: &[&str] = &[
        r#"{"path":"public/index.html","content":"<h1>\"Hé\"<\/h1>\n\t\\ 🎉 \ud83c\udf89 \u00e9\u0000 end"}"#,
        r#" { "content" : "first\r\nsecond" , "n" : -1.5e+7 , "path" : "a\u002fb" , "x" : null } "#,
        r#"{"skip":{"path":"no","deep":[1,{"content":"no \" ] }"},[true,false]]},"path":"yes","content":""}"#,
        r#"{"p\u0061th":"escaped key","content":"x","other":"y\\"}"#,
        r#"{"path":7,"content":["no"]}"#,
        "{}",
    ];

    #[test]
    fn every_split_gives_the_result_of_a_real_parser() {
        for input in INPUTS {
            let whole = read(&[input]);
            let value: serde_json::Value = serde_json::from_str(input).unwrap();
            assert_eq!(whole.0, value["path"].as_str().unwrap_or_default(), "{input}");
            assert_eq!(whole.1, value["content"].as_str().unwrap_or_default(), "{input}");
            assert_eq!(whole.3, Ok(true), "{input}");
            let cuts: Vec<usize> = input.char_indices().map(|(at, _)| at).collect();
            for (nth, &first) in cuts.iter().enumerate() {
                for &second in &cuts[nth..] {
                    assert_eq!(read(&[&input[..first], &input[first..second], &input[second..]]), whole, "{input}");
                }
            }
            let single: Vec<&str> =
                cuts.iter().map(|&at| &input[at..at + input[at..].chars().next().unwrap().len_utf8()]).collect();
            assert_eq!(read(&single), whole);
        }
    }

    #[test]
    fn available_text_is_returned_at_once() {
        assert_eq!(read(&[r#"{"path":"ab"#]).0, "ab");
        assert_eq!(read(&[r#"{"path":"ab\"#]).0, "ab");
        assert_eq!(read(&[r#"{"path":"ab\ud83c\u"#]).0, "ab");
        assert_eq!(read(&[r#"{"path":"ab","con"#]).2, ["path"]);
        assert_eq!(read(&[r#"{"path":"ab""#]).3, Ok(false));
    }

    #[test]
    fn invalid_json_is_a_permanent_error() {
        use PartialJsonError as E;
        let deep = format!(r#"{{"a":{}"#, "[".repeat(200));
        for (input, error) in [
            ("x", E::Unexpected),
            ("[1]", E::Unexpected),
            ("{,", E::Unexpected),
            (r#"{"a" "b""#, E::Unexpected),
            (r#"{"a":"b"}x"#, E::Unexpected),
            (r#"{"a":"b",}"#, E::Unexpected),
            (r#"{"a":[}"#, E::Unexpected),
            ("{\"content\":\"a\nb\"}", E::Unexpected),
            (r#"{"content":"\x"}"#, E::Escape),
            (r#"{"content":"\u12g4"}"#, E::Escape),
            (r#"{"content":"\udc00"}"#, E::Escape),
            (r#"{"content":"\ud800x"}"#, E::Escape),
            (r#"{"content":"\ud800\u0041"}"#, E::Escape),
            (r#"{"path":"a","path":"b"}"#, E::Twice),
            (&deep, E::TooDeep),
        ] {
            assert_eq!(read(&[input]).3, Err(error), "{input}");
            assert_eq!(read(&[input, r#"{"path":"a"}"#]).3, Err(error), "{input}");
            let real = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(input);
            assert!(real.is_err() || error == E::Twice, "{input}");
        }
        assert_eq!(read(&[r#"{"content":"kept\x"#]).1, "kept");
    }

    #[test]
    fn mutated_input_never_panics_and_never_contradicts_a_real_parser() {
        let mut random = StdRng::seed_from_u64(7);
        let alphabet: Vec<char> = r#"{}[]":,\u0dc8b e1-+.tn"#.chars().chain(['é', '🎉', '\u{1}']).collect();
        for _ in 0..20_000 {
            let mut input: Vec<char> = INPUTS[random.random_range(0..INPUTS.len())].chars().collect();
            for _ in 0..random.random_range(1..4) {
                let at = random.random_range(0..input.len());
                input[at] = alphabet[random.random_range(0..alphabet.len())];
            }
            let input: String = input.into_iter().collect();
            let (path, content, _, outcome) = read(&[&input]);
            if let Ok(value) = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&input) {
                if outcome == Err(PartialJsonError::Twice) {
                    continue;
                }
                assert_eq!(outcome, Ok(true), "{input}");
                let text = |key| value.get(key).and_then(|value| value.as_str()).unwrap_or_default();
                // The parsers may differ only in a repeated field of which one value is not a string.
                if input.matches("path").count() == 1 && input.matches("content").count() == 1 {
                    assert_eq!((path.as_str(), content.as_str()), (text("path"), text("content")), "{input}");
                }
            }
        }
    }
}
