//! The end of a turn and its result.

use std::collections::BTreeMap;

use crate::domain::{FileState, Question, RepairBudget, RepairEnd, Usage, VersionTitle, WorkspacePath};
use crate::generation::compact::Compaction;
use crate::generation::error::ModelError;
use crate::generation::limits::Cap;
use crate::generation::wire::{Message, WireFormat};

/// How a turn ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TurnEnd {
    /// The model finished.
    Done,
    /// The user stopped it.
    Stopped,
    /// It reached a limit.
    Cap(Cap),
    /// It asked a question, which the next message answers.
    Asked(Question),
    /// A repeated error, or repairs without success.
    Loop {
        /// Which of the two.
        end: RepairEnd,
        /// What happened and what was tried, for the user.
        sentence: String,
    },
    /// An error.
    Failed(TurnError),
}

impl TurnEnd {
    /// Why pending calls were not executed: for the model, and for the user.
    pub fn undone(&self) -> (&'static str, &'static str) {
        match self {
            Self::Stopped => ("The user stopped you before this was done.", "stopped"),
            Self::Cap(_) => ("The turn reached a limit before this was done.", "the turn's limit is reached"),
            Self::Asked(_) => (
                "This was not done yet: the person is asked first whether most of what is there may be deleted or \
                 rewritten. Their next message is the answer.",
                "waiting for your answer",
            ),
            Self::Loop { .. } => ("The turn ended because of a repeated error.", "the turn ended"),
            Self::Done | Self::Failed(_) => ("The workspace failed before this was done.", "the workspace failed"),
        }
    }

    /// Why it ended early, as a stable code.
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Done => None,
            Self::Stopped => Some("stopped".to_owned()),
            Self::Cap(cap) => Some(format!("cap_{}", cap.as_str())),
            Self::Asked(_) => Some("asked".to_owned()),
            Self::Loop { end, .. } => Some(end.code().to_owned()),
            Self::Failed(error) => Some(error.code().to_owned()),
        }
    }
}

/// Why a turn failed. Files that were written before are kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TurnError {
    /// The model gave no answer.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The workspace failed, for example because the disk is full.
    #[error("{0}")]
    Workspace(String),
    /// The transcript could not be stored.
    #[error("{0}")]
    Transcript(String),
}

impl TurnError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Model(error) => error.code(),
            Self::Workspace(_) => "workspace_failed",
            Self::Transcript(_) => "conversation_not_kept",
        }
    }

    /// What happened, in a sentence.
    pub fn message(&self) -> String {
        self.to_string()
    }

    /// What the user can do, in a sentence; `format` selects the names of settings.
    pub fn hint(&self, format: WireFormat) -> String {
        match self {
            Self::Model(error) => error.hint(format),
            Self::Workspace(_) | Self::Transcript(_) => {
                "Check that the disk of the data directory has free space and is writable, then send the message again."
                    .into()
            }
        }
    }
}

/// The result of a turn.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnOutcome {
    /// How it ended.
    pub end: TurnEnd,
    /// Why it ended early, in a sentence for the user.
    pub note: Option<String>,
    /// The messages that it adds to the history, the prompt first. Empty if the model refused the prompt,
    /// because it would refuse it again with every later message.
    pub messages: Vec<Message>,
    /// Its usage, including attempts that broke off.
    pub usage: Usage,
    /// The files that it changed, with their final state.
    pub files_touched: BTreeMap<WorkspacePath, FileState>,
    /// Number of calls that change files and were refused.
    pub failed_edits: u32,
    /// The model's title for the version.
    pub title: Option<VersionTitle>,
    /// How far history and messages are compacted.
    pub compaction: Compaction,
    /// The repairs so far, including those of this turn.
    pub repairs: RepairBudget,
}
