//! A release: a numbered deployment of a build to an environment.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Author, DeploymentSpec, Environment, ImageRef, Invalid, JobId, ReleaseNumber, SmokeCount, VersionId};

/// The state of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReleaseState {
    /// It is being deployed and gets no traffic yet.
    Deploying,
    /// It is live.
    Ready,
    /// It was live; a later release replaced it.
    Retired,
    /// It never became ready.
    Failed,
}

impl ReleaseState {
    /// It is live, or was.
    pub fn has_run(self) -> bool {
        matches!(self, Self::Ready | Self::Retired)
    }

    /// The value in the API and in the database.
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
            .ok_or_else(|| Invalid::new(format!("“{text}” is not a state of a release.")))
    }
}

/// A numbered deployment. Its number, image and settings never change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Number within its app and environment, from 1.
    pub number: ReleaseNumber,
    /// The environment.
    pub environment: Environment,
    /// The version of the image.
    pub version: VersionId,
    /// That version's number within the app.
    pub version_number: u32,
    /// That version's title.
    pub version_title: String,
    /// Who requested it; unknown for old releases.
    pub author: Option<Author>,
    /// The image, by digest.
    pub image: ImageRef,
    /// Its settings.
    pub spec: DeploymentSpec,
    /// Its state.
    pub state: ReleaseState,
    /// The job that created it.
    pub job: JobId,
    /// Number of checks that it passed before traffic switched; the job has their results.
    pub checks: SmokeCount,
    /// When its deployment started.
    pub created_at: Timestamp,
    /// When it became live, or failed.
    pub settled_at: Option<Timestamp>,
    /// The release that image and settings come from: the published preview release, or, after a roll
    /// back, the earlier release of the same environment.
    pub from_release: Option<ReleaseNumber>,
    /// It was created by a roll back.
    pub rolled_back: bool,
}
