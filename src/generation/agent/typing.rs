//! Files as they are typed: `file` events out of the half-finished input of `write_file`.

use crate::domain::{EventBody, FileState, WorkspacePath};
use crate::generation::wire::{FieldExtractor, Piece};

/// The fields that are shown while they come.
const FIELDS: &[&str] = &["path", "content"];

/// A `write_file` call on its way.
pub struct TypedFile {
    fields: FieldExtractor,
    path_text: String,
    path: Option<WorkspacePath>,
    /// Content that came before the path was known.
    waiting: String,
    bytes: usize,
}

impl TypedFile {
    /// Before its first character.
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

    /// Takes the next piece of the input; gives what to show. Input that is no JSON shows nothing
    /// further: the call will be answered with what is wrong.
    pub fn push(&mut self, json: &str) -> Vec<EventBody> {
        let mut pieces = Vec::new();
        // Broken input stays broken and gives no more pieces.
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
                    // A path that is none is refused when the call is run.
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
