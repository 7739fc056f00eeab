//! A job: a durable unit of work on an app, and the states it may pass through.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{AppId, AppName, Environment, Invalid, JobId, ReleaseNumber, SmokeCheck, TurnId, VersionId};

/// What a job does, with what it needs to know. Serialised into the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum JobKind {
    /// Runs a turn of the model.
    Generate {
        /// The turn.
        turn: TurnId,
    },
    /// Builds a version if needed and puts it in preview.
    Preview {
        /// The version; the newest at the time it was asked for.
        version: VersionId,
        /// The turn that made it, if what fails goes back to the model: it is deployed because that turn ended,
        /// or was asked for while nothing newer was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        turn: Option<TurnId>,
    },
    /// Puts a preview release's image into prod.
    Publish {
        /// The preview release.
        release: ReleaseNumber,
    },
    /// Puts an earlier release back.
    Rollback {
        /// Where.
        environment: Environment,
        /// The release whose image and settings are put back.
        release: ReleaseNumber,
    },
    /// Removes the app with all that is its own.
    Delete,
}

/// Jobs of one class share a limit on how many run at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobClass {
    /// Waits for a model most of its time.
    Model,
    /// Uses the machine: builds and deployments.
    Machine,
}

impl JobKind {
    /// The word used in the API and in the database.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Generate { .. } => "generate",
            Self::Preview { .. } => "preview",
            Self::Publish { .. } => "publish",
            Self::Rollback { .. } => "rollback",
            Self::Delete => "delete",
        }
    }

    /// Which limit it counts against.
    pub fn class(&self) -> JobClass {
        match self {
            Self::Generate { .. } => JobClass::Model,
            _ => JobClass::Machine,
        }
    }

    /// Which environment it changes, if any.
    pub fn environment(&self) -> Option<Environment> {
        match self {
            Self::Preview { .. } => Some(Environment::Preview),
            Self::Publish { .. } => Some(Environment::Prod),
            Self::Rollback { environment, .. } => Some(*environment),
            Self::Generate { .. } | Self::Delete => None,
        }
    }

    /// Whether it is begun again after the process that ran it died. A turn is not: what it
    /// said to the model cannot be said twice without paying twice.
    pub fn is_resumable(&self) -> bool {
        !matches!(self, Self::Generate { .. })
    }
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Waits for its turn.
    Queued,
    /// At work.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended with an error.
    Failed,
    /// Ended because somebody asked.
    Cancelled,
}

impl JobState {
    /// The word used in the API and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Nothing follows.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// Whether `next` may follow.
    pub fn may_become(self, next: Self) -> bool {
        match self {
            Self::Queued => matches!(next, Self::Running | Self::Cancelled | Self::Failed),
            // Back to the queue: the process that ran it died.
            Self::Running => !matches!(next, Self::Running),
            Self::Succeeded | Self::Failed | Self::Cancelled => false,
        }
    }
}

impl std::str::FromStr for JobState {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        [Self::Queued, Self::Running, Self::Succeeded, Self::Failed, Self::Cancelled]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| Invalid::new(format!("“{text}” is no state of a job.")))
    }
}

/// Why a job failed, for its user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct JobError {
    /// A stable word: `build_failed`, `start_failed`, `health_check_failed`, `docker_unavailable`, …
    pub code: String,
    /// What happened, in a sentence or two.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The last lines that matter, of a build's or an app's log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
}

/// What a job made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct JobResult {
    /// The environment it changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// The release it made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>)]
    pub release: Option<ReleaseNumber>,
    /// The version it made or deployed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub version: Option<VersionId>,
    /// Where it can be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// The parts of a deployment that are shown with their times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StepName {
    /// The image is built.
    Build,
    /// The image goes to the registry.
    Push,
    /// The container starts.
    Start,
    /// The new version answers.
    Check,
    /// Traffic goes to the new version.
    Switch,
}

impl StepName {
    /// As it stands on pages.
    pub fn title(self) -> &'static str {
        match self {
            Self::Build => "Build",
            Self::Push => "Push",
            Self::Start => "Start",
            Self::Check => "Check",
            Self::Switch => "Switch",
        }
    }
}

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StepState {
    /// At work.
    Running,
    /// Ended well.
    Done,
    /// There was nothing to do, e.g. the version had been built before.
    Skipped,
    /// Ended with the job's error.
    Failed,
}

/// One part of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Step {
    /// Which.
    pub name: StepName,
    /// Where it stands.
    pub state: StepState,
    /// How long it took, or has taken so far, in milliseconds.
    pub millis: u64,
}

/// An app's newest jobs that pages look at, at most.
pub const JOBS_ON_PAGES: u32 = 50;

/// A durable unit of work on an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Identifies the job; never reused.
    pub id: JobId,
    /// The app, which may be gone by now.
    pub app_id: AppId,
    /// The app's name.
    pub app: AppName,
    /// What it does.
    pub kind: JobKind,
    /// Where it stands.
    pub state: JobState,
    /// How often it was begun.
    pub attempts: u32,
    /// Somebody asked for its end.
    pub cancel_requested: bool,
    /// The parts of a deployment so far.
    pub steps: Vec<Step>,
    /// What a new version was asked before it took traffic, and what it answered.
    pub checks: Vec<SmokeCheck>,
    /// Why it failed.
    pub error: Option<JobError>,
    /// What it made.
    pub result: Option<JobResult>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it was begun, the last time.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ended_job_stays_ended() {
        for end in [JobState::Succeeded, JobState::Failed, JobState::Cancelled] {
            for next in [JobState::Queued, JobState::Running, JobState::Succeeded] {
                assert!(!end.may_become(next));
            }
        }
        assert!(JobState::Queued.may_become(JobState::Running));
        assert!(!JobState::Queued.may_become(JobState::Succeeded));
    }
}
