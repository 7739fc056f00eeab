//! The agent's tools: their specifications, and the parser of calls.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::verification::{self, VerificationCall};
use super::wire::ToolSpec;
use crate::domain::{Question, QuestionKind, TurnMode, VersionTitle, WorkspacePath};

/// Maximum number of choices of a question.
const CHOICES_MAX: usize = 6;
/// Maximum length of a question and of a choice, in characters.
const QUESTION_MAX: usize = 1_000;
const CHOICE_MAX: usize = 120;

/// A valid call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolCall {
    /// Lists all files.
    ListFiles,
    /// Reads a file, or some of its lines.
    ReadFile {
        /// Its path.
        path: WorkspacePath,
        /// First line, from 1.
        from_line: Option<usize>,
        /// Last line, inclusive.
        to_line: Option<usize>,
    },
    /// Finds matching lines.
    Search {
        /// A regular expression.
        pattern: String,
    },
    /// Creates or replaces a file.
    WriteFile {
        /// Its path.
        path: WorkspacePath,
        /// Its whole content.
        content: String,
    },
    /// Replaces text that occurs exactly once.
    EditFile {
        /// Its path.
        path: WorkspacePath,
        /// The text to replace.
        old_text: String,
        /// The new text.
        new_text: String,
    },
    /// Deletes a file.
    DeleteFile {
        /// Its path.
        path: WorkspacePath,
    },
    /// Names the version that the turn creates.
    NameVersion(VersionTitle),
    /// Verifies the app.
    Verification(VerificationCall),
    /// Asks the user, and ends the turn.
    AskUser(Question),
}

/// The tools that are available in a mode.
pub fn specs(mode: TurnMode) -> Vec<ToolSpec> {
    let path = json!({ "type": "string", "description": "Relative to the workspace, e.g. public/index.html" });
    let object = |properties: Value, required: &[&str]| json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false });
    let reading = |name, description, input_schema| ToolSpec { name, description, input_schema, streams_input: false };
    let mut tools = vec![
        reading("list_files", "Lists all files of the workspace with their sizes.", object(json!({}), &[])),
        reading(
            "read_file",
            "Gives a file's text, or the lines from from_line to to_line (from 1, both included).",
            object(
                json!({
                    "path": path,
                    "from_line": { "type": "integer", "minimum": 1 },
                    "to_line": { "type": "integer", "minimum": 1 },
                }),
                &["path"],
            ),
        ),
        reading(
            "search",
            "Finds the lines of all text files that match a regular expression (Rust syntax, case-sensitive; begin with (?i) to ignore case).",
            object(json!({ "pattern": { "type": "string" } }), &["pattern"]),
        ),
    ];
    tools.push(reading(
        "ask_user",
        "Asks the person a question and ends your turn; their answer is the next message. Use it when a wrong guess would \
         waste the work, not for what you can decide. Offer 2 to 4 short choices where there are some.",
        object(
            json!({
                "question": { "type": "string" },
                "choices": { "type": "array", "items": { "type": "string" }, "maxItems": CHOICES_MAX },
            }),
            &["question"],
        ),
    ));
    if mode == TurnMode::Build {
        let writing =
            |name, description, input_schema| ToolSpec { name, description, input_schema, streams_input: true };
        tools.extend([
            writing(
                "write_file",
                "Makes a file, or replaces it whole. Give path first, then the complete content.",
                object(json!({ "path": path, "content": { "type": "string" } }), &["path", "content"]),
            ),
            writing(
                "edit_file",
                "Replaces old_text by new_text in a file. old_text must occur in it exactly once, character for character.",
                object(
                    json!({ "path": path, "old_text": { "type": "string" }, "new_text": { "type": "string" } }),
                    &["path", "old_text", "new_text"],
                ),
            ),
            reading("delete_file", "Removes a file.", object(json!({ "path": path }), &["path"])),
            reading(
                "name_version",
                "Gives the version that this turn creates its title in the list of versions: what changes for the person, in two \
                 to six words of their language, such as “Opening hours added”. Call it once, together with other calls.",
                object(json!({ "title": { "type": "string" } }), &["title"]),
            ),
        ]);
    }
    tools.extend(verification::specs(mode));
    tools
}

#[derive(Deserialize)]
struct ReadInput {
    path: String,
    from_line: Option<usize>,
    to_line: Option<usize>,
}

#[derive(Deserialize)]
struct SearchInput {
    pattern: String,
}

#[derive(Deserialize)]
struct WriteInput {
    path: String,
    content: String,
}

#[derive(Deserialize)]
struct EditInput {
    path: String,
    old_text: String,
    new_text: String,
}

#[derive(Deserialize)]
struct AskInput {
    question: String,
    #[serde(default)]
    choices: Vec<String>,
}

impl AskInput {
    fn question(self) -> Result<Question, String> {
        let text = self.question.trim().to_owned();
        let mut choices: Vec<String> = Vec::new();
        for choice in self.choices {
            let choice = choice.split_whitespace().collect::<Vec<_>>().join(" ");
            if !choice.is_empty() && !choices.contains(&choice) {
                choices.push(choice);
            }
        }
        if text.is_empty() || text.chars().count() > QUESTION_MAX {
            return Err(format!("A question has 1 to {QUESTION_MAX} characters."));
        }
        if choices.len() > CHOICES_MAX || choices.iter().any(|choice| choice.chars().count() > CHOICE_MAX) {
            return Err(format!("There may be {CHOICES_MAX} choices of at most {CHOICE_MAX} characters each."));
        }
        Ok(Question { text, choices, about: QuestionKind::Other })
    }
}

#[derive(Deserialize)]
struct NameInput {
    title: String,
}

#[derive(Deserialize)]
struct DeleteInput {
    path: String,
}

impl ToolCall {
    /// Parses a call. The error is a sentence for the model.
    pub fn parse(name: &str, input: Map<String, Value>, mode: TurnMode) -> Result<Self, String> {
        fn read<T: serde::de::DeserializeOwned>(input: Map<String, Value>) -> Result<T, String> {
            serde_json::from_value(Value::Object(input)).map_err(|error| format!("The input does not fit: {error}."))
        }
        fn path(text: String) -> Result<WorkspacePath, String> {
            WorkspacePath::try_from(text).map_err(|invalid| invalid.to_string())
        }
        let offered = specs(mode);
        if !offered.iter().any(|tool| tool.name == name) {
            let names: Vec<&str> = offered.iter().map(|tool| tool.name).collect();
            return Err(format!("There is no tool of this name now. There are: {}.", names.join(", ")));
        }
        if let Some(call) = VerificationCall::parse(name, &input) {
            return call.map(Self::Verification);
        }
        Ok(match name {
            "list_files" => Self::ListFiles,
            "read_file" => {
                let ReadInput { path: at, from_line, to_line } = read(input)?;
                Self::ReadFile { path: path(at)?, from_line, to_line }
            }
            "search" => Self::Search { pattern: read::<SearchInput>(input)?.pattern },
            "write_file" => {
                let WriteInput { path: at, content } = read(input)?;
                Self::WriteFile { path: path(at)?, content }
            }
            "edit_file" => {
                let EditInput { path: at, old_text, new_text } = read(input)?;
                Self::EditFile { path: path(at)?, old_text, new_text }
            }
            "name_version" => {
                let title = VersionTitle::proposed(&read::<NameInput>(input)?.title);
                Self::NameVersion(title.ok_or("A title has at least one word.")?)
            }
            "ask_user" => Self::AskUser(read::<AskInput>(input)?.question()?),
            _ => Self::DeleteFile { path: path(read::<DeleteInput>(input)?.path)? },
        })
    }

    /// The file that it changes.
    pub fn changes(&self) -> Option<&WorkspacePath> {
        match self {
            Self::WriteFile { path, .. } | Self::EditFile { path, .. } | Self::DeleteFile { path } => Some(path),
            Self::ListFiles
            | Self::ReadFile { .. }
            | Self::Search { .. }
            | Self::NameVersion(_)
            | Self::Verification(_)
            | Self::AskUser(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str, input: Value, mode: TurnMode) -> Result<ToolCall, String> {
        let Value::Object(input) = input else { panic!("an object") };
        ToolCall::parse(name, input, mode)
    }

    #[test]
    fn calls_are_parsed_strictly_with_readable_errors() {
        let call = parse("read_file", json!({"path": "a.py", "from_line": 2}), TurnMode::Discuss).unwrap();
        let path = "a.py".parse().unwrap();
        assert_eq!(call, ToolCall::ReadFile { path, from_line: Some(2), to_line: None });
        for (name, input, words) in [
            ("write_file", json!({"path": "../x", "content": ""}), "stay inside"),
            ("write_file", json!({"path": ".git/config", "content": ""}), "platform"),
            ("write_file", json!({"path": "a"}), "content"),
            ("read_file", json!({"path": "a", "from_line": "x"}), "does not fit"),
            ("ask_user", json!({"question": "  "}), "1 to 1000 characters"),
            ("ask_user", json!({"question": "Which?", "choices": ["a", "b", "c", "d", "e", "f", "g"]}), "6 choices"),
            ("name_version", json!({"title": "**"}), "at least one word"),
            ("bash", json!({}), "list_files, read_file, search, ask_user, write_file"),
        ] {
            let refused = parse(name, input, TurnMode::Build).unwrap_err();
            assert!(refused.contains(words), "{refused}");
        }
    }

    #[test]
    fn a_question_is_allowed_in_both_modes() {
        for mode in [TurnMode::Build, TurnMode::Discuss] {
            let input = json!({"question": " Which colour? ", "choices": ["Red", " Red ", "Sea\n green", ""]});
            let call = parse("ask_user", input, mode).unwrap();
            assert_eq!(call.changes(), None);
            let ToolCall::AskUser(question) = call else { panic!("{call:?}") };
            assert_eq!(
                (question.text.as_str(), question.choices),
                ("Which colour?", vec!["Red".into(), "Sea green".into()])
            );
        }
    }

    #[test]
    fn a_discussion_has_no_writing_tools() {
        for name in ["write_file", "edit_file", "delete_file", "name_version"] {
            assert!(!specs(TurnMode::Discuss).iter().any(|tool| tool.name == name));
            assert!(parse(name, json!({"path": "a", "content": "b"}), TurnMode::Discuss).is_err());
        }
        let eager: Vec<&str> =
            specs(TurnMode::Build).iter().filter(|tool| tool.streams_input).map(|tool| tool.name).collect();
        assert_eq!(eager, ["write_file", "edit_file"]);
    }
}
