//! What a turn starts from.

use crate::domain::{Effort, Evidence, RepairBudget, TurnMode, TurnOrigin};
use crate::generation::compact::Compaction;
use crate::generation::limits::{Spent, Threshold, TurnLimits};
use crate::generation::models::ModelTable;
use crate::generation::wire::{ContentBlock, Images, Message};

/// What a turn starts from.
#[derive(Debug, Clone)]
pub struct TurnInput {
    /// The system prompt; the same throughout a conversation.
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
    /// How far the history has been compacted.
    pub compaction: Compaction,
    /// When it is compacted further.
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
