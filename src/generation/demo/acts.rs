//! The steps of a demo turn. Each act is one response that calls tools; the calls so far determine the next act. Pure.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::conversation::Conversation;

/// One block of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// Text for the user.
    Text(String),
    /// A call of a tool.
    Call {
        /// The tool.
        name: &'static str,
        /// Its input as JSON text, with the path first.
        input: String,
    },
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    name: &'static str,
    path: Option<String>,
    input: String,
}

impl Call {
    /// Lists all files.
    pub fn list() -> Self {
        Self::new("list_files", &[])
    }

    /// Reads a file.
    pub fn read(path: &str) -> Self {
        Self::new("read_file", &[("path", path)])
    }

    /// Writes a file.
    pub fn write(path: &str, content: &str) -> Self {
        Self::new("write_file", &[("path", path), ("content", content)])
    }

    /// Replaces text in a file.
    pub fn edit(path: &str, old: &str, new: &str) -> Self {
        Self::new("edit_file", &[("path", path), ("old_text", old), ("new_text", new)])
    }

    /// Checks the work.
    pub fn check() -> Self {
        Self::new("check", &[])
    }

    /// With the fields in this order, which a JSON map would not keep.
    fn new(name: &'static str, fields: &[(&str, &str)]) -> Self {
        let path = fields.iter().find(|(key, _)| *key == "path").map(|(_, path)| (*path).to_owned());
        let fields: Vec<String> =
            fields.iter().map(|(key, value)| format!("{}: {}", json!(key), Value::from(*value))).collect();
        Self { name, path, input: format!("{{{}}}", fields.join(", ")) }
    }
}

/// One answer: a sentence, and calls of tools.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Act {
    /// Text before the calls.
    pub says: Option<String>,
    /// The calls, in order.
    pub calls: Vec<Call>,
}

impl Act {
    /// Calls without text.
    pub fn of(calls: Vec<Call>) -> Self {
        Self { says: None, calls }
    }
}

/// The first act that is not complete, without the calls that were already executed.
pub fn next(acts: Vec<Act>, conversation: &Conversation) -> Option<Vec<Part>> {
    let mut made: HashMap<(String, Option<String>), usize> = HashMap::new();
    for done in &conversation.done {
        *made.entry((done.name.clone(), done.path.clone())).or_default() += 1;
    }
    for Act { says, calls } in acts {
        let all = calls.len();
        let left: Vec<Call> = calls
            .into_iter()
            .filter(|call| match made.get_mut(&(call.name.to_owned(), call.path.clone())) {
                Some(made) if *made > 0 => {
                    *made -= 1;
                    false
                }
                _ => true,
            })
            .collect();
        if left.is_empty() {
            continue;
        }
        let says = says.filter(|_| left.len() == all).map(Part::Text);
        return Some(says.into_iter().chain(left.into_iter().map(Part::from)).collect());
    }
    None
}

impl From<Call> for Part {
    fn from(call: Call) -> Self {
        Self::Call { name: call.name, input: call.input }
    }
}

#[cfg(test)]
mod tests {
    use super::super::conversation::Done;
    use super::*;

    #[test]
    fn an_act_goes_on_where_it_was_cut() {
        let acts = || {
            vec![
                Act { says: Some("Writing.".into()), calls: vec![Call::write("a", "1"), Call::write("b", "2")] },
                Act::of(vec![Call::edit("a", "1", "3"), Call::edit("a", "3", "4")]),
            ]
        };
        let done = |calls: &[(&str, &str)]| Conversation {
            done: calls
                .iter()
                .map(|(name, path)| Done {
                    name: (*name).to_owned(),
                    path: Some((*path).to_owned()),
                    result: String::new(),
                    is_error: false,
                })
                .collect(),
            ..Conversation::default()
        };
        let next = |calls: &[(&str, &str)]| next(acts(), &done(calls));
        assert_eq!(next(&[]).map(|parts| parts.len()), Some(3));
        assert_eq!(next(&[("write_file", "a")]), Some(vec![Call::write("b", "2").into()]));
        let both = [("write_file", "a"), ("write_file", "b")];
        assert_eq!(next(&both).map(|parts| parts.len()), Some(2));
        let one_edit = [both.as_slice(), &[("edit_file", "a")]].concat();
        assert_eq!(next(&one_edit), Some(vec![Call::edit("a", "3", "4").into()]));
        assert_eq!(next(&[one_edit.as_slice(), &[("edit_file", "a")]].concat()), None);
    }
}
