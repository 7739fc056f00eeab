//! Live file content: `file` events from the incomplete input of `write_file`.

use crate::domain::{EventBody, FileState, WorkspacePath};
use crate::generation::wire::{FieldExtractor, Piece};

/// The fields that are extracted.
const FIELDS: &[&str] = &["path", "content"];

/// An incomplete `write_file` call.
pub struct TypedFile {
    fields: FieldExtractor,
    path_text: String,
    path: Option<WorkspacePath>,
    /// Content that arrived before the path was known.
    waiting: String,
    bytes: usize,
}

impl TypedFile {
    /// Starts before the first character.
    pub fn new() -> Self {
        Self {
            fields: FieldExtractor::new(FIELDS),
            path_text: String::new(),
            path: None,
            waiting: String::new(),
            bytes: 0,
        }
    }

    /// Bytes of content so far.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Reads the next piece of the input and returns the events to show. Invalid JSON shows nothing
    /// further: the call's result will contain the error.
    pub fn push(&mut self, json: &str) -> Vec<EventBody> {
        let mut pieces = Vec::new();
        // After an error the parser returns no more pieces.
        let _ = self.fields.push(json, &mut pieces);
        let mut events = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Text("path", text) => self.path_text.push_str(&text),
                Piece::Text(_, text) => {
                    self.bytes += text.len();
                    match &self.path {
                        Some(path) => events.push(writing(path, Some(text))),
                        None => self.waiting.push_str(&text),
                    }
                }
                Piece::End("path") => {
                    // An invalid path is rejected when the call is executed.
                    self.path = self.path_text.parse().ok();
                    if let Some(path) = &self.path {
                        events.push(writing(path, None));
                        if !self.waiting.is_empty() {
                            events.push(writing(path, Some(std::mem::take(&mut self.waiting))));
                        }
                    }
                }
                Piece::End(_) => {}
            }
        }
        events
    }
}

fn writing(path: &WorkspacePath, delta: Option<String>) -> EventBody {
    EventBody::File { path: path.clone(), state: FileState::Writing, delta }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(pieces: &[&str]) -> Vec<Option<String>> {
        let mut file = TypedFile::new();
        let events = pieces.iter().flat_map(|piece| file.push(piece));
        events
            .map(|event| match event {
                EventBody::File { path, state: FileState::Writing, delta } if path.as_str() == "a.txt" => delta,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn the_path_comes_first_then_the_content() {
        assert_eq!(
            shown(&[r#"{"path":"a"#, r#".txt","con"#, r#"tent":"x\"#, "ny", r#""}"#]),
            [None, Some("x".into()), Some("\ny".into())]
        );
        assert_eq!(shown(&[r#"{"content":"xy","#, r#""path":"a.txt"}"#]), [None, Some("xy".into())]);
        assert_eq!(shown(&[r#"{"path":"../a.txt","content":"x"}"#]), []);
        assert_eq!(shown(&[r#"{"path":"a.txt","content":"x\q"#, r#"y"}"#]), [None, Some("x".into())]);
    }
}
