//! A turn: a user's message, and everything that the model did in response.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    AnswerId, Attachment, ChangeSize, Evidence, FileChange, JobId, ModelId, Repair, TurnId, TurnMode, TurnOrigin,
    VersionId, words,
};

/// The reason code of a turn whose builder stopped.
pub const INTERRUPTED: &str = "interrupted";
/// The reason code of a turn that was cancelled before it started.
pub const WITHDRAWN: &str = "withdrawn";

/// The state of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TurnState {
    /// Waits for its job.
    Queued,
    /// The model is running.
    Running,
    /// It finished, or reached a limit.
    Done,
    /// The user stopped it.
    Stopped,
    /// The model or the machine failed.
    Failed,
    /// The builder stopped while it was running.
    Interrupted,
}

words!(TurnState {
    Queued = "queued", Running = "running", Done = "done", Stopped = "stopped", Failed = "failed", Interrupted = "interrupted"
});

/// A question of the model to the user. The answer is the next message, or a click on a choice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Question {
    /// The question, in one or two sentences.
    pub text: String,
    /// Suggested answers; a message with another answer is possible too. Empty: only a message.
    pub choices: Vec<String>,
    /// The kind of question.
    #[serde(default)]
    pub about: QuestionKind,
}

/// The kind of a question.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum QuestionKind {
    /// A question of the model.
    #[default]
    Other,
    /// Whether most of the app may be deleted or rewritten. Only the first choice allows it.
    Rewrite,
}

impl Question {
    /// Asks whether most of the app may be deleted or rewritten.
    pub fn about_rewrite(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            choices: vec!["Yes, continue".to_owned(), "No, keep my code".to_owned()],
            about: QuestionKind::Rewrite,
        }
    }

    /// The text of the choice of this number, from 1.
    pub fn choice(&self, number: u32) -> Option<&str> {
        let at = usize::try_from(number).ok()?.checked_sub(1)?;
        self.choices.get(at).map(String::as_str)
    }

    /// Whether the choice of this number, from 1, allows deleting or rewriting most of the app.
    pub fn allows_rewrite(&self, choice: u32) -> bool {
        self.about == QuestionKind::Rewrite && choice == 1
    }
}

/// Tokens and money of one turn or one answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Usage {
    /// Input tokens at the full price.
    pub input_tokens: u64,
    /// Output tokens, including thinking.
    pub output_tokens: u64,
    /// Tokens read from the prompt cache.
    pub cache_read_tokens: u64,
    /// Tokens written to the prompt cache.
    #[serde(default)]
    pub cache_write_tokens: u64,
    /// US dollars; `None` if the model's price is not known.
    pub cost_usd: Option<f64>,
    /// Estimated from the length of the text, because the model's server reports no usage.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
}

impl Turn {
    /// The repaired turn and the number of the repair, if it is one.
    pub fn repair(&self) -> Option<Repair> {
        if let TurnOrigin::Repair(repair) = self.origin { Some(repair) } else { None }
    }

    /// The turn whose limits it shares: itself, or the turn that it repairs.
    pub fn shares_limits_with(&self) -> TurnId {
        self.repair().map_or(self.id, |repair| repair.of)
    }

    /// Whether it was cancelled before it started.
    pub fn was_withdrawn(&self) -> bool {
        self.state == TurnState::Stopped && self.started_at.is_none()
    }

    /// Whether *Continue* can resume it: it was interrupted, stopped, failed, or
    /// reached a limit.
    pub fn may_continue(&self) -> bool {
        match self.state {
            // Even if it was interrupted very early.
            TurnState::Interrupted | TurnState::Failed => true,
            // It was cancelled before it started.
            TurnState::Stopped => self.started_at.is_some(),
            TurnState::Done => self.reason.as_deref().is_some_and(|reason| reason.starts_with("cap_")),
            TurnState::Queued | TurnState::Running => false,
        }
    }
}

/// A user's message and its result.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// Its id; never reused.
    pub id: TurnId,
    /// Number within its app, from 1.
    pub number: u32,
    /// The user's message, or a fixed sentence of Slipway: see `origin`.
    pub prompt: String,
    /// Why it was started.
    pub origin: TurnOrigin,
    /// The evidence of the failure that it is about.
    pub evidence: Option<Evidence>,
    /// The answer to a question.
    pub answer: Option<AnswerId>,
    /// The attachments.
    pub attachments: Vec<Attachment>,
    /// Whether the model may change files.
    pub mode: TurnMode,
    /// Its state.
    pub state: TurnState,
    /// The job that runs it.
    pub job: Option<JobId>,
    /// The version that it created, if it changed files.
    pub version: Option<VersionId>,
    /// That version's number within the app.
    pub version_number: Option<u32>,
    /// The size of its changes.
    pub size: ChangeSize,
    /// Number of its calls that change files and were refused.
    pub failed_edits: u32,
    /// The title of its version.
    pub version_title: Option<String>,
    /// The files that its version changed, if they were recorded; the first ones.
    pub changes: Vec<FileChange>,
    /// The model that answered; `None` before it started.
    pub model: Option<ModelId>,
    /// Its usage.
    pub usage: Usage,
    /// Why it ended early, in a sentence: a limit, a stop, a failure.
    pub note: Option<String>,
    /// Why it ended early, as a code: `asked`, `cap_steps`, `same_error`, …
    pub reason: Option<String>,
    /// The model's question.
    pub question: Option<Question>,
    /// When it was sent.
    pub created_at: Timestamp,
    /// When the model started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}
