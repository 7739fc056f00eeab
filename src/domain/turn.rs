//! A turn: one message of the user, and all that the model did in answer.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    AnswerId, Attachment, ChangeSize, Evidence, JobId, ModelId, Repair, TurnId, TurnMode, TurnOrigin, VersionId, words,
};

/// Why a turn ended, as a word for programs: its builder went away.
pub const INTERRUPTED: &str = "interrupted";
/// The same: it was taken back before it began.
pub const WITHDRAWN: &str = "withdrawn";

/// Where a turn stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TurnState {
    /// Waits for its job.
    Queued,
    /// The model is at work.
    Running,
    /// Ended by itself, or at a cap.
    Done,
    /// The user stopped it.
    Stopped,
    /// The model or the machine failed it.
    Failed,
    /// The builder went away in the middle of it.
    Interrupted,
}

words!(TurnState {
    Queued = "queued", Running = "running", Done = "done", Stopped = "stopped", Failed = "failed", Interrupted = "interrupted"
});

/// What the model asks a person. The answer is their next message, or a press on one of the choices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Question {
    /// The question, in a sentence or two.
    pub text: String,
    /// Answers to choose from; another may be written all the same. None: only a written one.
    pub choices: Vec<String>,
    /// What it is about.
    #[serde(default)]
    pub about: QuestionKind,
}

/// What a question is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum QuestionKind {
    /// Something that the model wants to know.
    #[default]
    Other,
    /// Whether most of what is there may be deleted or rewritten. The first choice allows it, and nothing else does.
    Rewrite,
}

impl Question {
    /// Asks whether most of what is there may go.
    pub fn about_rewrite(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            choices: vec!["Yes, go on".to_owned(), "No, keep what is there".to_owned()],
            about: QuestionKind::Rewrite,
        }
    }

    /// The text of the choice of this number, from 1.
    pub fn choice(&self, number: u32) -> Option<&str> {
        let at = usize::try_from(number).ok()?.checked_sub(1)?;
        self.choices.get(at).map(String::as_str)
    }

    /// Whether the choice of this number, from 1, allows to delete or rewrite most of what is there.
    pub fn allows_rewrite(&self, choice: u32) -> bool {
        self.about == QuestionKind::Rewrite && choice == 1
    }
}

/// Tokens and money of one turn or one answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Usage {
    /// Tokens read at the full price.
    pub input_tokens: u64,
    /// Tokens written, thinking included.
    pub output_tokens: u64,
    /// Tokens read from the prompt cache.
    pub cache_read_tokens: u64,
    /// Tokens written to the prompt cache.
    #[serde(default)]
    pub cache_write_tokens: u64,
    /// US dollars; none when the model's price is not known.
    pub cost_usd: Option<f64>,
    /// Estimated from the length of the text, since the model's server does not count.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
}

impl Turn {
    /// Which repair of which turn it is, if it is one.
    pub fn repair(&self) -> Option<Repair> {
        if let TurnOrigin::Repair(repair) = self.origin { Some(repair) } else { None }
    }

    /// The turn whose limits it shares: itself, or the turn that it repairs.
    pub fn shares_limits_with(&self) -> TurnId {
        self.repair().map_or(self.id, |repair| repair.of)
    }

    /// Whether it was cancelled before it began.
    pub fn was_withdrawn(&self) -> bool {
        self.state == TurnState::Stopped && self.started_at.is_none()
    }

    /// Whether work was left that *Continue* goes on with: it was interrupted, stopped, failed, or
    /// ended at a cap.
    pub fn may_continue(&self) -> bool {
        match self.state {
            // However early it was cut short.
            TurnState::Interrupted | TurnState::Failed => true,
            // One that never began was withdrawn.
            TurnState::Stopped => self.started_at.is_some(),
            TurnState::Done => self.reason.as_deref().is_some_and(|reason| reason.starts_with("cap_")),
            TurnState::Queued | TurnState::Running => false,
        }
    }
}

/// One message of the user, and what came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// Identifies the turn; never reused.
    pub id: TurnId,
    /// Within its app, from 1.
    pub number: u32,
    /// What the user wrote, or a sentence of Slipway's: see `origin`.
    pub prompt: String,
    /// Why it exists.
    pub origin: TurnOrigin,
    /// What shows the failure that it is about.
    pub evidence: Option<Evidence>,
    /// The choice that it answers a question with.
    pub answer: Option<AnswerId>,
    /// The files that came with it.
    pub attachments: Vec<Attachment>,
    /// Whether the model may write.
    pub mode: TurnMode,
    /// Where it stands.
    pub state: TurnState,
    /// The job that runs it.
    pub job: Option<JobId>,
    /// The version that it made, if it changed something.
    pub version: Option<VersionId>,
    /// That version's number within the app.
    pub version_number: Option<u32>,
    /// How much it changed.
    pub size: ChangeSize,
    /// The model that answered; none before it began.
    pub model: Option<ModelId>,
    /// What it used.
    pub usage: Usage,
    /// Why it ended early, in a sentence: a cap, a stop, a failure.
    pub note: Option<String>,
    /// Why it ended early, as a word for programs: `asked`, `cap_steps`, `same_error`, …
    pub reason: Option<String>,
    /// What the model asks.
    pub question: Option<Question>,
    /// When it was sent.
    pub created_at: Timestamp,
    /// When the model began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}
