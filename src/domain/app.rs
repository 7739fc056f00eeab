//! An app and the state of its two environments.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{AppId, AppName, Environment, Invalid, ModelChoice, ReleaseNumber, Schedule, TemplateName, VersionId};

/// What a user builds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Identifies the app; never reused.
    pub id: AppId,
    /// Free again after a delete.
    pub name: AppName,
    /// What it was scaffolded from.
    pub template: TemplateName,
    /// What its user said it should be.
    pub description: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Last time a version, release or turn was added.
    pub updated_at: Timestamp,
    /// Its newest version; none only while it is being scaffolded.
    pub head: Option<VersionId>,
    /// Being deleted: nothing new may start.
    pub deleting: bool,
    /// Which model answers in it.
    pub model: ModelChoice,
    /// After a turn the preview is built and deployed by itself, and what fails goes back to the model.
    pub auto_preview: bool,
    /// Preview, then prod.
    pub environments: [EnvironmentStatus; 2],
}

impl App {
    /// One of its environments.
    pub fn environment(&self, environment: Environment) -> &EnvironmentStatus {
        match environment {
            Environment::Preview => &self.environments[0],
            Environment::Prod => &self.environments[1],
        }
    }
}

/// What stands in `app.toml`, which the user and the model write.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AppSettings {
    /// When a scheduled job runs.
    pub schedule: Option<Schedule>,
    /// How calls to a webhook are signed: `timestamped`, `github` or `stripe`.
    pub signature: Option<String>,
}

impl AppSettings {
    /// Reads `app.toml`. Keys that are not ours are left to the app.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
            Invalid::new(format!("app.toml cannot be read: line {line}: {}.", error.message().trim_end_matches('.')))
        })
    }
}

/// What an environment does at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum EnvironmentState {
    /// Nothing was ever deployed.
    None,
    /// A deployment is on its way; what ran before goes on serving.
    Deploying,
    /// The release has answered.
    Ready,
    /// The deployment failed and nothing runs.
    Failed,
    /// Was ready; its container has stopped.
    Stopped,
}

impl EnvironmentState {
    /// The word used in the API and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Deploying => "deploying",
            Self::Ready => "ready",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

impl std::str::FromStr for EnvironmentState {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        [Self::None, Self::Deploying, Self::Ready, Self::Failed, Self::Stopped]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| Invalid::new(format!("“{text}” is no state of an environment.")))
    }
}

/// An environment as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentStatus {
    /// Which of the two.
    pub environment: Environment,
    /// What it does.
    pub state: EnvironmentState,
    /// The release that takes traffic, if any.
    pub release: Option<ReleaseNumber>,
    /// That release's version.
    pub version: Option<VersionId>,
    /// That version's number within the app, for people.
    pub version_number: Option<u32>,
}

impl EnvironmentStatus {
    /// Before the first deployment.
    pub fn none(environment: Environment) -> Self {
        Self { environment, state: EnvironmentState::None, release: None, version: None, version_number: None }
    }
}
