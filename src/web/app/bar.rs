//! The bar above an app: its two environments as chips, and the suggested next step.

use askama::Template;

use crate::domain::{App, AppName, Environment, EnvironmentState, EnvironmentStatus, ReleaseNumber};
use crate::web::ui;

/// An environment as a word and an icon.
#[derive(Debug, Clone)]
pub struct EnvChip {
    /// `Preview` or `Production`.
    pub title: &'static str,
    state: EnvironmentState,
    /// Its URL, if a release runs in it.
    pub url: Option<String>,
    /// The version that runs.
    pub version: Option<u32>,
}

impl EnvChip {
    /// `url`: the environment's URL, shown if a release runs in it.
    pub fn new(status: &EnvironmentStatus, url: Option<String>) -> Self {
        let answers = status.release.is_some() && status.state != EnvironmentState::Stopped;
        Self {
            title: status.environment.title(),
            state: status.state,
            url: url.filter(|_| answers),
            version: status.version_number,
        }
    }

    pub(in crate::web) fn word(&self) -> &'static str {
        match self.state {
            EnvironmentState::None => "not deployed",
            EnvironmentState::Deploying => "deploying",
            EnvironmentState::Ready => "ready",
            EnvironmentState::Failed => "failed",
            EnvironmentState::Stopped => "stopped",
        }
    }

    pub(in crate::web) fn class(&self) -> &'static str {
        self.state.as_str()
    }

    pub(in crate::web) fn icon(&self) -> &'static str {
        match self.state {
            EnvironmentState::None => "circle",
            EnvironmentState::Deploying => "spinner",
            EnvironmentState::Ready => "check",
            EnvironmentState::Failed => "cross",
            EnvironmentState::Stopped => "pause",
        }
    }

    pub(in crate::web) fn motion(&self) -> &'static str {
        if self.state == EnvironmentState::Deploying { "spin" } else { "" }
    }
}

/// Both chips of an app; `url` returns the URL of an environment.
pub fn chips_of(app: &App, url: impl Fn(Environment) -> Option<String>) -> Vec<EnvChip> {
    app.environments.iter().map(|status| EnvChip::new(status, url(status.environment))).collect()
}

/// The chips in the bar.
#[derive(Template)]
#[template(path = "app/chips.html")]
pub struct Chips {
    /// Preview, then production.
    pub chips: Vec<EnvChip>,
}

/// The button for the suggested next step.
#[derive(Debug, Clone)]
pub enum NextView {
    /// There is a newer version than the one in preview.
    Deploy,
    /// Preview runs another version than production; its number.
    Publish(Option<u32>),
    /// Production was rolled back to the first version, from the second one, which preview still runs.
    RolledBack(u32, u32),
    /// A job runs or is queued; a description of it.
    Wait(String),
    /// Production runs the newest version.
    Nothing,
}

/// The next step, and a menu with the other actions.
#[derive(Template)]
#[template(path = "app/next.html")]
pub struct Next<'a> {
    /// The app.
    pub app: &'a AppName,
    /// The button.
    pub step: NextView,
    /// There is a version to deploy.
    pub may_preview: bool,
    /// Preview has a release that can be published.
    pub may_publish: bool,
    /// The previous release of production, with its version's number.
    pub back: Option<(ReleaseNumber, u32)>,
}
