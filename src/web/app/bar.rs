//! The bar above an app: its two environments as chips, and the next sensible step.

use askama::Template;

use crate::domain::{App, AppName, Environment, EnvironmentState, EnvironmentStatus, ReleaseNumber};
use crate::web::ui;

/// An environment in a word and a mark.
#[derive(Debug, Clone)]
pub struct EnvChip {
    /// `Preview` or `Production`.
    pub title: &'static str,
    state: EnvironmentState,
    /// Where it answers, if something runs there.
    pub url: Option<String>,
    /// The version that runs.
    pub version: Option<u32>,
}

impl EnvChip {
    /// `url` is where the environment answers when something runs in it.
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

/// Both chips of an app; `url` says where an environment answers.
pub fn chips_of(app: &App, url: impl Fn(Environment) -> Option<String>) -> Vec<EnvChip> {
    app.environments.iter().map(|status| EnvChip::new(status, url(status.environment))).collect()
}

/// The chips, as they stand in the bar.
#[derive(Template)]
#[template(path = "app/chips.html")]
pub struct Chips {
    /// Preview, then production.
    pub chips: Vec<EnvChip>,
}

/// The button that is always the next sensible step.
#[derive(Debug, Clone)]
pub enum NextView {
    /// Something newer than what is in preview.
    Deploy,
    /// Preview runs what production does not; the version's number.
    Publish(Option<u32>),
    /// A job is on its way; what it does.
    Wait(String),
    /// Production runs the newest version.
    Nothing,
}

/// The next step, and the rest in a menu behind it.
#[derive(Template)]
#[template(path = "app/next.html")]
pub struct Next<'a> {
    /// The app.
    pub app: &'a AppName,
    /// The button.
    pub step: NextView,
    /// There is a version to deploy.
    pub may_preview: bool,
    /// Preview has a release that can go to production.
    pub may_publish: bool,
    /// The release of production before this one, with its version's number.
    pub back: Option<(ReleaseNumber, u32)>,
}
