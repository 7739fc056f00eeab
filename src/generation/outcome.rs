//! The result of a tool call: a text for the model, a line for the user, or the end of the turn.

use super::limits::Cap;
use crate::domain::{FileState, Question, RepairFailure, WorkspacePath};

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

    /// A call that was rejected, and why.
    pub fn refused(name: &str, why: impl Into<String>) -> Self {
        let answer = why.into();
        let reason = answer.split_once(". ").map_or(answer.as_str(), |(first, _)| first).trim_end_matches('.');
        let summary = format!("{name} refused: {}", one_line(reason));
        Self { ok: false, ..Self::done(summary, answer) }
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
