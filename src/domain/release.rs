//! A release: a numbered deployment of a build to an environment.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{DeploymentSpec, Environment, ImageRef, Invalid, JobId, ReleaseNumber, SmokeCount, VersionId};

/// Where a release stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReleaseState {
    /// On its way; takes no traffic yet.
    Deploying,
    /// Takes the environment's traffic.
    Ready,
    /// Was ready; a later release took over.
    Retired,
    /// Never answered.
    Failed,
}

impl ReleaseState {
    /// The word used in the API and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deploying => "deploying",
            Self::Ready => "ready",
            Self::Retired => "retired",
            Self::Failed => "failed",
        }
    }
}

impl std::str::FromStr for ReleaseState {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        [Self::Deploying, Self::Ready, Self::Retired, Self::Failed]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| Invalid::new(format!("“{text}” is no state of a release.")))
    }
}

/// A numbered deployment. Its number, image and settings never change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Within its app and environment, from 1.
    pub number: ReleaseNumber,
    /// Where.
    pub environment: Environment,
    /// What was built.
    pub version: VersionId,
    /// That version's number within the app.
    pub version_number: u32,
    /// The very bytes that run.
    pub image: ImageRef,
    /// How they run.
    pub spec: DeploymentSpec,
    /// Where it stands.
    pub state: ReleaseState,
    /// The job that made it.
    pub job: JobId,
    /// How many checks it passed before it took traffic; the job has their evidence.
    pub checks: SmokeCount,
    /// When its deployment began.
    pub created_at: Timestamp,
    /// When it took traffic, or failed.
    pub settled_at: Option<Timestamp>,
    /// Where image and settings come from: the preview release that was published, or, after a roll
    /// back, the earlier release of the same environment.
    pub from_release: Option<ReleaseNumber>,
    /// Made by a roll back.
    pub rolled_back: bool,
}
