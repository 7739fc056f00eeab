//! The view of one release. Pure.

use askama::Template;

use super::deployment::ChecksView;
use super::history_views::{LogRow, ReleaseView};
use crate::domain::{App, AppName, Environment, Release, VersionId};
use crate::web::format;
use crate::web::ui;

/// One release with its log.
#[derive(Template)]
#[template(path = "app/release.html")]
pub struct ReleasePage<'a> {
    /// The app.
    pub app: &'a AppName,
    /// `preview` or `prod`.
    pub key: &'static str,
    /// The environment's title.
    pub place: &'static str,
    /// As in the list.
    pub release: ReleaseView,
    /// The version.
    pub version: VersionId,
    /// What can be done with it.
    pub action: Option<ReleaseAction>,
    /// It can be published.
    pub may_publish: bool,
    /// The checks that the version passed or failed.
    pub checks: Option<ChecksView>,
    /// The log of its deployment; none if it was removed.
    pub log: Option<Vec<LogRow>>,
}

/// What can be done with a release in its own environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseAction {
    /// It is live: the same image and settings can be started anew.
    Redeploy,
    /// It was live, and can be again.
    RollBack,
}

impl ReleaseAction {
    /// None while the app is being deleted, and for a release that never became ready.
    pub fn of(release: &Release, app: &App) -> Option<Self> {
        let live = app.environment(release.environment).release == Some(release.number);
        (release.state.has_run() && !app.deleting).then_some(if live { Self::Redeploy } else { Self::RollBack })
    }
}

/// Whether a release of preview can be published: it ran, and production runs another version.
pub fn may_publish(release: &Release, app: &App) -> bool {
    release.environment == Environment::Preview
        && release.state.has_run()
        && app.environment(Environment::Prod).version.as_ref() != Some(&release.version)
        && !app.deleting
}
