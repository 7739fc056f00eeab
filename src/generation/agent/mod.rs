//! One turn: asks the model, runs the tools it calls, until it has done what was asked.
//!
//! Owns what is said to the model and in which order things are shown and kept. Knows files only
//! through a [`ToolHost`], and the rest of the program only through a [`TurnSink`].
//!
//! Tools run as soon as their call is complete, while the rest of the answer is still coming, so
//! that each finished file is there at once. From then on the answer is not thrown away any more:
//! if it breaks off later, what was complete becomes part of the transcript and the conversation
//! goes on from there. An answer that breaks off before any tool ran is void, and the same request
//! is made again.

mod answer;
mod length;
mod patience;
mod rewrite;
mod turn;
mod typing;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::client::{ModelClient, WireFormat};
use super::compact::{Compaction, Threshold};
use super::error::ModelError;
use super::limits::{Cap, Spent, TurnLimits};
use super::models::ModelTable;
use super::ports::{ToolHost, TurnSink};
use super::wire::{ContentBlock, Images, Message};
use crate::domain::{
    Effort, Evidence, FileState, Question, RepairBudget, RepairEnd, TurnMode, TurnOrigin, Usage, WorkspacePath,
};

pub use rewrite::Rewrites;

/// The name of `tool` events that are notices about the model.
pub const NOTICE: &str = "model";

/// What a turn starts from.
#[derive(Debug, Clone)]
pub struct TurnInput {
    /// What the model is told about its work; the same over a conversation.
    pub system: String,
    /// The messages of earlier turns, as they were kept.
    pub history: Vec<Message>,
    /// Why the turn exists.
    pub origin: TurnOrigin,
    /// What the user asks, or a sentence of Slipway's.
    pub prompt: String,
    /// What shows the failure that the turn is about.
    pub evidence: Option<Evidence>,
    /// The names of the files that the user sends with it.
    pub attached: Vec<String>,
    /// These files, one block each.
    pub attachments: Vec<ContentBlock>,
    /// The images that the conversation names.
    pub images: Images,
    /// Notes of Slipway's that go with it, e.g. what was changed by hand since the last turn.
    pub notes: Vec<String>,
    /// How far the history is told shorter already.
    pub compaction: Compaction,
    /// When it is told shorter still.
    pub threshold: Threshold,
    /// Most of what is there may be deleted or rewritten without asking.
    pub may_rewrite: bool,
    /// Whether files may be changed.
    pub mode: TurnMode,
    /// Which model.
    pub model: String,
    /// What it costs and how much it takes.
    pub models: ModelTable,
    /// Most tokens of one answer, thinking included.
    pub max_tokens: u32,
    /// How deep the model thinks; its own measure when absent.
    pub effort: Option<Effort>,
    /// What the turn may use, together with those that it shares its limits with.
    pub limits: TurnLimits,
    /// What these have used before it; none for a turn that a person asked for.
    pub spent: Option<Spent>,
    /// The repairs so far of the turn that this is, or belongs to.
    pub repairs: RepairBudget,
}

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
    fn undone(&self) -> (&'static str, &'static str) {
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
    /// How far history and messages are told shorter by now.
    pub compaction: Compaction,
    /// The repairs so far, those of this turn included.
    pub repairs: RepairBudget,
}

/// Runs a turn to its end. Never panics on what a model sends; a cancelled turn returns as soon as
/// the tool at work, if any, is done.
pub async fn run_turn<H: ToolHost, S: TurnSink>(
    client: &ModelClient,
    input: &TurnInput,
    host: &mut H,
    sink: &mut S,
    cancel: &CancellationToken,
) -> TurnOutcome {
    // The far future stands for a limit that no clock reaches.
    let now = tokio::time::Instant::now();
    let left = input.limits.wall_time.saturating_sub(input.spent.unwrap_or_default().time);
    let deadline = now.checked_add(left).unwrap_or(now + Duration::from_hours(24 * 365));
    turn::Run::new(client, input, host, sink, cancel, deadline).run().await
}

/// Every script is played over both wire formats: the module is there twice.
#[cfg(test)]
#[path = ""]
mod over_messages {
    use super::*;
    const WIRE: WireFormat = WireFormat::Anthropic;
    #[path = "tests.rs"]
    #[expect(clippy::duplicate_mod, reason = "each time with another wire format around it")]
    mod tests;
}
#[cfg(test)]
#[path = ""]
mod over_chat {
    use super::*;
    const WIRE: WireFormat = WireFormat::OpenAi;
    #[path = "tests.rs"]
    #[expect(clippy::duplicate_mod, reason = "each time with another wire format around it")]
    mod tests;
}
#[cfg(test)]
mod dialects;
