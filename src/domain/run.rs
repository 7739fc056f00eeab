//! A run of a scheduled job.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Environment, ReleaseNumber, RunId, words};

/// Why a run was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RunTrigger {
    /// Its cron expression came due.
    Schedule,
    /// Somebody pressed *Run now*.
    Manual,
    /// A deployment proves that the new version runs to its end.
    Check,
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// Its container runs.
    Running,
    /// Exit code 0.
    Succeeded,
    /// Another exit code, out of time, or it could not be started.
    Failed,
}

words!(RunTrigger { Schedule = "schedule", Manual = "manual", Check = "check" });
words!(RunState { Running = "running", Succeeded = "succeeded", Failed = "failed" });

/// One run, with what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Identifies the run; never reused.
    pub id: RunId,
    /// Where it ran.
    pub environment: Environment,
    /// The release whose image ran.
    pub release: ReleaseNumber,
    /// Why.
    pub trigger: RunTrigger,
    /// Where it stands.
    pub state: RunState,
    /// The process's exit code, once it ended by itself.
    pub exit_code: Option<i64>,
    /// Why it failed, where the exit code does not say it.
    pub error: Option<String>,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}
