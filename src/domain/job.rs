//! A job: a durable unit of work on an app, and its states.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{AppId, AppName, Author, Environment, Invalid, JobId, ReleaseNumber, SmokeCheck, TurnId, VersionId};

/// The kind of a job with its parameters. Serialised into the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum JobKind {
    /// Runs a turn of the model.
    Generate {
        /// The turn.
        turn: TurnId,
    },
    /// Builds a version if necessary and deploys it to preview.
    Preview {
        /// The version.
        version: VersionId,
        /// The turn to repair if the job fails: the turn that created the version,
        /// if the version was still the newest when the job was queued.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        turn: Option<TurnId>,
    },
    /// Deploys a preview release's image to production.
    Publish {
        /// The preview release.
        release: ReleaseNumber,
    },
    /// Deploys an earlier release again.
    Rollback {
        /// The environment.
        environment: Environment,
        /// The release whose image and settings are deployed.
        release: ReleaseNumber,
    },
    /// Deletes the app and all of its data.
    Delete,
}

/// Jobs of one class share a limit on concurrent jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobClass {
    /// Waits for a model most of the time.
    Model,
    /// Uses the machine: builds and deployments.
    Machine,
}

impl JobKind {
    /// Whether both deploy the same thing to the same place. Which turn a failed preview would repair makes no difference.
    pub fn is_same_request(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Preview { version, .. }, Self::Preview { version: wanted, .. }) => version == wanted,
            _ => self == other,
        }
    }

    /// The value in the API and in the database.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Generate { .. } => "generate",
            Self::Preview { .. } => "preview",
            Self::Publish { .. } => "publish",
            Self::Rollback { .. } => "rollback",
            Self::Delete => "delete",
        }
    }

    /// The limit that it counts against.
    pub fn class(&self) -> JobClass {
        match self {
            Self::Generate { .. } => JobClass::Model,
            _ => JobClass::Machine,
        }
    }

    /// The environment that it changes, if any.
    pub fn environment(&self) -> Option<Environment> {
        match self {
            Self::Preview { .. } => Some(Environment::Preview),
            Self::Publish { .. } => Some(Environment::Prod),
            Self::Rollback { environment, .. } => Some(*environment),
            Self::Generate { .. } | Self::Delete => None,
        }
    }

    /// Whether it is restarted after its process has died. A turn is not, because its requests
    /// to the model would be paid for twice.
    pub fn is_resumable(&self) -> bool {
        !matches!(self, Self::Generate { .. })
    }
}

/// The state of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Waits in the queue.
    Queued,
    /// Running.
    Running,
    /// Succeeded.
    Succeeded,
    /// Ended with an error.
    Failed,
    /// Cancelled on request.
    Cancelled,
}

impl JobState {
    /// The value in the API and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether no other state follows.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// Whether `next` may follow.
    pub fn may_become(self, next: Self) -> bool {
        match self {
            Self::Queued => matches!(next, Self::Running | Self::Cancelled | Self::Failed),
            // Requeued, because its process died.
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
            .ok_or_else(|| Invalid::new(format!("“{text}” is not a state of a job.")))
    }
}

/// The error of a job, for the user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct JobError {
    /// A stable code: `build_failed`, `start_failed`, `health_check_failed`, `docker_unavailable`, …
    pub code: String,
    /// What happened, in one or two sentences.
    pub message: String,
    /// What the user can do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The relevant last lines of a build's or an app's log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
}

/// The result of a job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct JobResult {
    /// The environment that it changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// The release that it created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>)]
    pub release: Option<ReleaseNumber>,
    /// The version that it created or deployed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub version: Option<VersionId>,
    /// The URL of the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// The steps of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StepName {
    /// The image is built.
    Build,
    /// The image is pushed to the registry.
    Push,
    /// The container starts.
    Start,
    /// The new version is checked.
    Check,
    /// Traffic is switched to the new version.
    Switch,
}

impl StepName {
    /// The title on pages.
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

/// The state of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StepState {
    /// Running.
    Running,
    /// Succeeded.
    Done,
    /// There was nothing to do, for example because the version had been built before.
    Skipped,
    /// Ended with the job's error.
    Failed,
}

/// One step of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Step {
    /// Its name.
    pub name: StepName,
    /// Its state.
    pub state: StepState,
    /// Its duration so far, in milliseconds.
    pub millis: u64,
}

/// An app's newest jobs that pages look at, at most.
pub const JOBS_ON_PAGES: u32 = 50;

/// A durable unit of work on an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its id; never reused.
    pub id: JobId,
    /// The app, which may have been deleted.
    pub app_id: AppId,
    /// The app's name.
    pub app: AppName,
    /// Its kind.
    pub kind: JobKind,
    /// Its state.
    pub state: JobState,
    /// Number of attempts.
    pub attempts: u32,
    /// Cancellation was requested.
    pub cancel_requested: bool,
    /// The steps of a deployment so far.
    pub steps: Vec<Step>,
    /// The checks of a new version before traffic switched to it, with their results.
    pub checks: Vec<SmokeCheck>,
    /// The error of a failed job.
    pub error: Option<JobError>,
    /// Its result.
    pub result: Option<JobResult>,
    /// Who requested it; unknown for old jobs.
    pub author: Option<Author>,
    /// When it was queued.
    pub created_at: Timestamp,
    /// When it was last started.
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
