//! The input of a turn.

use crate::domain::{Effort, Evidence, RepairBudget, TurnMode, TurnOrigin};
use crate::generation::compact::Compaction;
use crate::generation::limits::{Spent, Threshold, TurnLimits};
use crate::generation::models::ModelTable;
use crate::generation::wire::{ContentBlock, Images, Message};

/// The input of a turn.
#[derive(Debug, Clone)]
pub struct TurnInput {
    /// The system prompt; the same throughout a conversation.
    pub system: String,
    /// The stored messages of earlier turns.
    pub history: Vec<Message>,
    /// Why the turn was started.
    pub origin: TurnOrigin,
    /// The user's message, or a fixed sentence of Slipway.
    pub prompt: String,
    /// The evidence of the failure that the turn is about.
    pub evidence: Option<Evidence>,
    /// The names of the attachments.
    pub attached: Vec<String>,
    /// The attachments, one block each.
    pub attachments: Vec<ContentBlock>,
    /// The images that the conversation refers to.
    pub images: Images,
    /// Notes of Slipway, for example about the user's edits since the last turn.
    pub notes: Vec<String>,
    /// How far the history is compacted.
    pub compaction: Compaction,
    /// The thresholds of further compaction.
    pub threshold: Threshold,
    /// Whether most of the app may be deleted or rewritten without a question.
    pub may_rewrite: bool,
    /// Whether files may be changed.
    pub mode: TurnMode,
    /// The model.
    pub model: String,
    /// Prices and limits of models.
    pub models: ModelTable,
    /// Maximum tokens of one answer, including thinking.
    pub max_tokens: u32,
    /// How much the model thinks; `None`: the model's default.
    pub effort: Option<Effort>,
    /// The limits of the turn, including the turns that share them.
    pub limits: TurnLimits,
    /// Usage of these turns so far; none for a turn that a user started.
    pub spent: Option<Spent>,
    /// The repairs so far of this turn, or of the turn that it repairs.
    pub repairs: RepairBudget,
}
