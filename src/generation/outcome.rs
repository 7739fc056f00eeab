//! The result of a tool call: a text for the model, a line for the user, or the end of the turn.

use super::limits::Cap;
use crate::domain::{FileState, Question, RepairFailure, WorkspacePath};

/// How the answer to an edit begins whose text does not occur exactly once.
pub const OLD_TEXT_OCCURS: &str = "old_text occurs ";

/// The result of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolOutcome {
    /// The text for the model.
    pub answer: String,
    /// The line for the user.
    pub summary: String,
    /// Whether it succeeded.
    pub ok: bool,
    /// The change to a file.
    pub change: Option<(WorkspacePath, FileState)>,
    /// The error that a check found. `None` for a rejected call, which says nothing about the files.
    pub failed_check: Option<RepairFailure>,
}

impl ToolOutcome {
    /// A successful call.
    pub fn done(summary: String, answer: String) -> Self {
        Self { answer, summary, ok: true, change: None, failed_check: None }
    }

    /// A call that changed a file.
    pub fn changed(summary: String, path: WorkspacePath, state: FileState) -> Self {
        let answer = format!("{summary}.");
        Self { change: Some((path, state)), ..Self::done(summary, answer) }
    }

    /// A call that was rejected, and why; `path`: the file that it would have changed.
    pub fn refused(name: &str, path: Option<&WorkspacePath>, why: impl Into<String>) -> Self {
        let answer = why.into();
        let path = path.map(|path| format!(" {path}")).unwrap_or_default();
        let summary = format!("Could not {}{path}: {}", verb(name), one_line(&reason(&answer)));
        Self { ok: false, ..Self::done(summary, answer) }
    }
}

/// What a tool does, for the user.
fn verb(tool: &str) -> &'static str {
    match tool {
        "list_files" => "list the files",
        "read_file" => "read",
        "search" => "search",
        "write_file" => "write",
        "edit_file" => "edit",
        "delete_file" => "delete",
        "ask_user" => "ask you",
        "name_version" => "name the version",
        "check" => "check",
        "preview_logs" => "read the log",
        "request" => "send a request",
        _ => "use a tool",
    }
}

/// A call that was not executed, and why, for the user.
pub fn not_done(tool: &str, why: &str) -> String {
    let what = match tool {
        "read_file" | "write_file" | "edit_file" | "delete_file" => format!("{} a file", verb(tool)),
        _ => verb(tool).to_owned(),
    };
    format!("Did not {what}: {why}")
}

/// The first sentence of an answer to the model, in words for the user.
fn reason(answer: &str) -> String {
    let first = answer.split_once(". ").map_or(answer, |(first, _)| first).trim_end_matches('.');
    if let Some(times) = first.strip_prefix(OLD_TEXT_OCCURS) {
        return if times.starts_with("0 ") {
            "the text to replace was not found".to_owned()
        } else {
            "the text to replace occurs more than once".to_owned()
        };
    }
    let first = first.replace("old_text and new_text are", "the old and the new text are");
    let first = first.replace("old_text", "the text to replace");
    // A name at the beginning, such as that of a file, keeps its capital.
    match first.split_once(' ') {
        Some((word @ ("A" | "An" | "It" | "No" | "Nothing" | "The" | "There" | "This"), rest)) => {
            format!("{} {rest}", word.to_lowercase())
        }
        _ => first,
    }
}

/// Why a call ends the turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolStop {
    /// The turn reached a limit.
    Cap(Cap),
    /// The host failed: a sentence for the user.
    Failed(String),
    /// The user must confirm first; nothing was changed.
    Ask(Question),
}

/// Text on one line, truncated.
pub fn one_line(text: &str) -> String {
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((at, _)) = line.char_indices().nth(200) {
        line.truncate(at);
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_calls_are_told_in_plain_words() {
        let path: WorkspacePath = "public/index.html".parse().expect("a path");
        let told = |name, why: &str| ToolOutcome::refused(name, Some(&path), why).summary;
        for (name, why, words) in [
            (
                "edit_file",
                "old_text occurs 0 times in public/index.html. The nearest is line 3.",
                "Could not edit public/index.html: the text to replace was not found",
            ),
            (
                "edit_file",
                "old_text occurs at least 100 times in public/index.html, beginning at lines 1, 2.",
                "Could not edit public/index.html: the text to replace occurs more than once",
            ),
            (
                "edit_file",
                "old_text and new_text are the same: there is nothing to change.",
                "Could not edit public/index.html: the old and the new text are the same: there is nothing to change",
            ),
            (
                "delete_file",
                "There is no file public/index.html.",
                "Could not delete public/index.html: there is no file public/index.html",
            ),
        ] {
            assert_eq!(told(name, why), words);
        }
        assert_eq!(ToolOutcome::refused("search", None, "HTTP is off.").summary, "Could not search: HTTP is off");
        assert_eq!(not_done("write_file", "stopped"), "Did not write a file: stopped");
        assert_eq!(not_done("check", "stopped"), "Did not check: stopped");
    }
}
