//! How a turn ends, and what comes of it.

use std::collections::BTreeMap;

use crate::domain::{FileState, Question, RepairBudget, RepairEnd, Usage, WorkspacePath};
use crate::generation::compact::Compaction;
use crate::generation::error::ModelError;
use crate::generation::limits::Cap;
use crate::generation::wire::{Message, WireFormat};

/// How a turn ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TurnEnd {
    /// By itself.
    Done,
    /// By its user.
    Stopped,
    /// At a limit.
    Cap(Cap),
    /// With a question, to which the next message is the answer.
    Asked(Question),
    /// In a circle: an error that came again and again, or repairs that led nowhere.
    Loop {
        /// Which of the two.
        end: RepairEnd,
        /// What happened and what was tried, for the user.
        sentence: String,
    },
    /// By an error.
    Failed(TurnError),
}

impl TurnEnd {
    /// Why calls that were under way were not done: for the model, and for the user.
    pub fn undone(&self) -> (&'static str, &'static str) {
        match self {
            Self::Stopped => ("The user stopped you before this was done.", "stopped"),
            Self::Cap(_) => ("The turn reached a limit before this was done.", "the turn's limit is reached"),
            Self::Asked(_) => (
                "This was not done yet: the person is asked first whether most of what is there may be deleted or \
                 rewritten. Their next message is the answer.",
                "you are asked first",
            ),
            Self::Loop { .. } => ("The turn ended at an error that came again.", "the turn ended"),
            Self::Done | Self::Failed(_) => ("The workspace failed before this was done.", "the workspace failed"),
        }
    }

    /// Why it ended early, as a stable word for programs.
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

/// Why a turn failed. What was written before is kept all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TurnError {
    /// The model gave no answer.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The workspace failed, e.g. its disk is full.
    #[error("{0}")]
    Workspace(String),
    /// The conversation could not be kept.
    #[error("{0}")]
    Transcript(String),
}

impl TurnError {
    /// A stable word for programs.
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

    /// What to do about it, in a sentence; `format` says whose settings are meant.
    pub fn hint(&self, format: WireFormat) -> String {
        match self {
            Self::Model(error) => error.hint(format),
            Self::Workspace(_) | Self::Transcript(_) => {
                "Check that the disk of the data directory has room and can be written, then send the message again."
                    .into()
            }
        }
    }
}

/// What came of a turn.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnOutcome {
    /// How it ended.
    pub end: TurnEnd,
    /// Why it ended early, in a sentence for the user.
    pub note: Option<String>,
    /// What it adds to the history, the prompt first. Empty when the model refused the prompt,
    /// which it would refuse again with every later message.
    pub messages: Vec<Message>,
    /// What it used, attempts that broke off included.
    pub usage: Usage,
    /// The files it changed, with what became of each.
    pub files_touched: BTreeMap<WorkspacePath, FileState>,
    /// How far history and messages have been compacted.
    pub compaction: Compaction,
    /// The repairs so far, those of this turn included.
    pub repairs: RepairBudget,
}
