//! What comes of a call of a tool: an answer for the model, a line for the user, or the turn's end.

use super::limits::Cap;
use crate::domain::{FileState, Question, RepairFailure, WorkspacePath};

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolOutcome {
    /// For the model.
    pub answer: String,
    /// For the user, one line.
    pub summary: String,
    /// Whether it was done.
    pub ok: bool,
    /// What it did to a file.
    pub change: Option<(WorkspacePath, FileState)>,
    /// What a check found wrong. None for a call that was refused: it says nothing about the files.
    pub failed_check: Option<RepairFailure>,
}

impl ToolOutcome {
    /// A call that was done.
    pub fn done(summary: String, answer: String) -> Self {
        Self { answer, summary, ok: true, change: None, failed_check: None }
    }

    /// A call that changed a file.
    pub fn changed(summary: String, path: WorkspacePath, state: FileState) -> Self {
        let answer = format!("{summary}.");
        Self { change: Some((path, state)), ..Self::done(summary, answer) }
    }

    /// A call that was not done, and why.
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
    /// The turn's limit.
    Cap(Cap),
    /// The machine failed: a sentence for the user.
    Failed(String),
    /// The person is to be asked first; nothing was done.
    Ask(Question),
}

/// Text on one line, of bounded length.
pub fn one_line(text: &str) -> String {
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((at, _)) = line.char_indices().nth(200) {
        line.truncate(at);
        line.push('…');
    }
    line
}
