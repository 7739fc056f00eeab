//! An app and the state of its two environments.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    AppId, AppName, AppTitle, Environment, Invalid, ModelChoice, ReleaseNumber, Schedule, TemplateName, Timezone,
    VersionId,
};

/// An app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Its id; never reused.
    pub id: AppId,
    /// Its name; can be reused after the app is deleted.
    pub name: AppName,
    /// The title that pages show instead of its name.
    pub title: Option<AppTitle>,
    /// The template that it was created from.
    pub template: TemplateName,
    /// The user's description.
    pub description: String,
    /// Time of creation.
    pub created_at: Timestamp,
    /// Last time a version, release or turn was added.
    pub updated_at: Timestamp,
    /// Its newest version; `None` only while it is being scaffolded.
    pub head: Option<VersionId>,
    /// It is being deleted: no new job may start.
    pub deleting: bool,
    /// The model that answers in it.
    pub model: ModelChoice,
    /// Each turn automatically deploys the preview, and failures are sent to the model for repair.
    pub auto_preview: bool,
    /// Preview, then prod.
    pub environments: [EnvironmentStatus; 2],
}

impl App {
    /// What pages call it: its title, else its name.
    pub fn shown(&self) -> &str {
        self.title.as_ref().map_or(self.name.as_str(), AppTitle::as_str)
    }

    /// One of its environments.
    pub fn environment(&self, environment: Environment) -> &EnvironmentStatus {
        match environment {
            Environment::Preview => &self.environments[0],
            Environment::Prod => &self.environments[1],
        }
    }
}

/// The settings in `app.toml`, which the user and the model edit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AppSettings {
    /// The schedule of a job.
    pub schedule: Option<Schedule>,
    /// The time zone of the schedule; UTC without one.
    pub timezone: Option<Timezone>,
    /// The signature of calls to a webhook: `timestamped`, `github` or `stripe`.
    pub signature: Option<String>,
}

impl AppSettings {
    /// Parses `app.toml`. Unknown keys are ignored; they belong to the app.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
            Invalid::new(format!("app.toml cannot be read: line {line}: {}.", error.message().trim_end_matches('.')))
        })
    }
}

/// The state of an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum EnvironmentState {
    /// Nothing was deployed yet.
    None,
    /// A deployment is running; the previous release keeps serving.
    Deploying,
    /// The release is ready.
    Ready,
    /// The deployment failed and nothing runs.
    Failed,
    /// It was ready, but its container has stopped.
    Stopped,
}

impl EnvironmentState {
    /// The value in the API and in the database.
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
            .ok_or_else(|| Invalid::new(format!("“{text}” is not a state of an environment.")))
    }
}

/// The status of an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentStatus {
    /// The environment.
    pub environment: Environment,
    /// Its state.
    pub state: EnvironmentState,
    /// The live release, if any.
    pub release: Option<ReleaseNumber>,
    /// That release's version.
    pub version: Option<VersionId>,
    /// That version's number within the app.
    pub version_number: Option<u32>,
}

impl EnvironmentStatus {
    /// Before the first deployment.
    pub fn none(environment: Environment) -> Self {
        Self { environment, state: EnvironmentState::None, release: None, version: None, version_number: None }
    }
}
