//! A run of a scheduled job.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Environment, ReleaseNumber, RunId, words};

/// The trigger of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RunTrigger {
    /// Its schedule was due.
    Schedule,
    /// A user started it with *Run now*.
    Manual,
    /// A deployment checks that the new version runs to its end.
    Check,
}

/// The state of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// Its container runs.
    Running,
    /// Exit code 0.
    Succeeded,
    /// Another exit code, a timeout, or it could not be started.
    Failed,
}

words!(RunTrigger { Schedule = "schedule", Manual = "manual", Check = "check" });
words!(RunState { Running = "running", Succeeded = "succeeded", Failed = "failed" });

/// One run with its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its id; never reused.
    pub id: RunId,
    /// The environment.
    pub environment: Environment,
    /// The release whose image it runs.
    pub release: ReleaseNumber,
    /// Its trigger.
    pub trigger: RunTrigger,
    /// Its state.
    pub state: RunState,
    /// The exit code, if the process exited on its own.
    pub exit_code: Option<i64>,
    /// The error of a failed run, if the exit code does not show it.
    pub error: Option<String>,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}
