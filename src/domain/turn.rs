//! A turn: one message of the user, and all that the model did in answer.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ChangeSize, JobId, TurnId, VersionId, words};

/// Whether the model may write.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TurnMode {
    /// It may change files.
    #[default]
    Build,
    /// It reads and answers; it has no tools that write.
    Discuss,
}

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

words!(TurnMode { Build = "build", Discuss = "discuss" });
words!(TurnState {
    Queued = "queued", Running = "running", Done = "done", Stopped = "stopped", Failed = "failed", Interrupted = "interrupted"
});

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
}

/// One message of the user, and what came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// For ever.
    pub id: TurnId,
    /// Within its app, from 1.
    pub number: u32,
    /// What the user wrote.
    pub prompt: String,
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
    /// What it used.
    pub usage: Usage,
    /// Why it ended early, in a sentence: a cap, a stop, a failure.
    pub note: Option<String>,
    /// When it was sent.
    pub created_at: Timestamp,
    /// When the model began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}
