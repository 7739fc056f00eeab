//! Views of the *Versions*, *Releases* and *Settings* tabs. Pure.

use std::collections::BTreeMap;

use askama::Template;

use super::deployment::ignored_words;
use crate::domain::{
    APP_TITLE_MAX, App, AppName, Author, Bytes, ChangeSize, Environment, EnvironmentState, ProcessKind, Release,
    ReleaseNumber, ReleaseState, TokenId, Version, VersionId, VersionKind,
};
use crate::web::format::{self, When};
use crate::web::ui;

/// The list of versions.
#[derive(Template)]
#[template(path = "app/versions.html")]
pub struct VersionsTab<'a> {
    /// The app.
    pub app: &'a AppName,
    /// Newest first.
    pub versions: Vec<VersionView>,
    /// The address of earlier ones.
    pub more: Option<String>,
}

/// One version with its differences.
#[derive(Template)]
#[template(path = "app/version.html")]
pub struct VersionPage<'a> {
    /// The app.
    pub app: &'a AppName,
    /// Which.
    pub version: VersionView,
    /// What it changed.
    pub files: Vec<DiffView>,
}

/// A version in a list.
pub struct VersionView {
    id: VersionId,
    number: u32,
    title: String,
    kind: &'static str,
    when: When,
    files: String,
    size: ChangeSize,
    places: Vec<&'static str>,
    /// It runs in preview.
    in_preview: bool,
    head: bool,
}

impl VersionView {
    /// `app`: the app that it belongs to.
    pub fn new(version: &Version, app: &App, now: jiff::Timestamp) -> Self {
        let runs = |environment: &Environment| app.environment(*environment).version.as_ref() == Some(&version.id);
        Self {
            id: version.id.clone(),
            number: version.number,
            title: version.title.clone(),
            kind: match version.kind {
                VersionKind::Scaffold => "starting point",
                VersionKind::Turn => "written",
                VersionKind::Edit => "edited by you",
                VersionKind::Restore => "restored",
            },
            when: When::new(version.created_at, now),
            files: format::count(u64::from(version.size.files), "file", "files"),
            size: version.size,
            places: Environment::ALL.iter().filter(|environment| runs(environment)).map(|e| e.title()).collect(),
            in_preview: runs(&Environment::Preview)
                && app.environment(Environment::Preview).state == EnvironmentState::Ready,
            head: app.head.as_ref() == Some(&version.id),
        }
    }
}

/// A file's differences.
pub struct DiffView {
    /// Its path.
    pub path: String,
    /// `added`, `changed`, `deleted`, `renamed`.
    pub status: &'static str,
    /// The CSS class of that word.
    pub class: &'static str,
    /// Lines added.
    pub additions: u32,
    /// Lines removed.
    pub deletions: u32,
    /// Open when the page loads.
    pub open: bool,
    /// Its lines.
    pub lines: Vec<DiffRow>,
    /// The reason why there are no lines.
    pub nothing: &'static str,
    /// The diff is truncated.
    pub truncated: bool,
}

/// A line of a diff.
pub struct DiffRow {
    /// `added`, `removed` or `hunk`.
    pub class: Option<&'static str>,
    /// Number in the version before.
    pub old: String,
    /// Number in this version.
    pub new: String,
    /// `+`, `−` or nothing.
    pub mark: &'static str,
    /// The line.
    pub text: String,
}

/// The releases of both environments.
#[derive(Template)]
#[template(path = "app/releases.html")]
pub struct ReleasesTab<'a> {
    /// The app.
    pub app: &'a AppName,
    /// Production, then preview.
    pub places: Vec<Place>,
    /// Disk space freed by removing old images.
    pub cleaned: Option<Cleaned>,
}

/// Disk space freed by removing old images.
pub struct Cleaned {
    /// Time of the last clean-up.
    pub when: When,
    /// Space freed by the last clean-up.
    pub freed: Bytes,
    /// Space freed by all clean-ups.
    pub total: Bytes,
}

/// The releases of one environment.
pub struct Place {
    /// `preview` or `prod`.
    pub key: &'static str,
    /// Its title.
    pub title: &'static str,
    /// Its URL.
    pub url: Option<String>,
    /// Newest first.
    pub releases: Vec<ReleaseView>,
    /// The text if there are none.
    pub nothing: &'static str,
    /// The address of earlier ones.
    pub more: Option<String>,
}

/// A release in a list.
pub struct ReleaseView {
    pub(super) number: ReleaseNumber,
    pub(super) version: u32,
    /// The version's title.
    pub(super) title: String,
    pub(super) word: &'static str,
    pub(super) class: &'static str,
    pub(super) icon: &'static str,
    pub(super) motion: &'static str,
    pub(super) when: When,
    /// `by you`
    pub(super) author: Option<String>,
    pub(super) took: Option<String>,
    /// `rolled back to release 3`
    pub(super) from: Option<String>,
    checks: Option<String>,
    /// `1 check ignored`
    pub(super) ignored: Option<String>,
    pub(super) image: String,
    pub(super) digest: String,
    /// It has a running instance, so its usage can be measured.
    serves: bool,
    may_return: bool,
    /// It is live and has stopped.
    may_start: bool,
}

impl ReleaseView {
    /// `tokens`: the names of the API tokens.
    pub fn new(release: &Release, app: &App, tokens: &BTreeMap<TokenId, String>, now: jiff::Timestamp) -> Self {
        let status = app.environment(release.environment);
        let live = status.release == Some(release.number);
        let stopped = status.state == EnvironmentState::Stopped;
        let (word, class, icon, motion) = match release.state {
            ReleaseState::Deploying => ("deploying", "accent", "spinner", "spin"),
            ReleaseState::Ready | ReleaseState::Retired if live && stopped => ("stopped", "bad", "pause", ""),
            ReleaseState::Ready | ReleaseState::Retired if live => ("running", "ok", "check", ""),
            ReleaseState::Ready | ReleaseState::Retired => ("earlier", "", "clock", ""),
            ReleaseState::Failed => ("failed", "bad", "cross", ""),
        };
        let digest = release.image.digest();
        Self {
            number: release.number,
            version: release.version_number,
            title: release.version_title.clone(),
            author: release.author.map(|author| author_words(author, tokens)),
            word,
            class,
            icon,
            motion,
            when: When::new(release.created_at, now),
            took: format::between(Some(release.created_at), release.settled_at),
            from: release.from_release.filter(|_| release.rolled_back).map(|from| {
                // A roll back skips at least the release that it replaces.
                if from.0 + 1 == release.number.0 {
                    "redeployed".to_owned()
                } else {
                    format!("rolled back to release {from}")
                }
            }),
            ignored: (release.ignored_checks > 0).then(|| ignored_words(release.ignored_checks)),
            checks: match (release.checks.passed, release.checks.failed) {
                _ if release.ignored_checks > 0 => None,
                (0, 0) => None,
                (passed, 0) => Some(format!("{} passed", format::count(u64::from(passed), "check", "checks"))),
                (_, failed) => Some(format!("{} failed", format::count(u64::from(failed), "check", "checks"))),
            },
            image: release.image.to_string(),
            digest: digest.get(..19).unwrap_or(digest).to_owned(),
            may_start: live && stopped && !app.deleting,
            serves: live && !stopped && matches!(release.spec.process, ProcessKind::Service(_)),
            may_return: release.state.has_run() && !live && !app.deleting,
        }
    }
}

/// Who requested a release. `tokens`: the names of the API tokens that were not revoked.
pub fn author_words(author: Author, tokens: &BTreeMap<TokenId, String>) -> String {
    match author {
        Author::Person => "by you".to_owned(),
        Author::Slipway => "automatically".to_owned(),
        Author::Token(id) => match tokens.get(&id) {
            Some(name) => format!("by API token “{name}”"),
            None => "by a revoked API token".to_owned(),
        },
    }
}

/// The setting that deploys the preview after each turn.
#[derive(Template)]
#[template(path = "app/auto_preview.html")]
pub struct AutoPreview<'a> {
    /// The app.
    pub app: &'a AppName,
    /// It is on.
    pub on: bool,
    /// Browser errors are collected only from drafts.
    pub drafts_only: bool,
    /// It was just saved.
    pub saved: bool,
}

/// Settings and actions of the whole app.
#[derive(Template)]
#[template(path = "app/settings.html")]
pub struct SettingsTab<'a> {
    /// The app.
    pub app: &'a AppName,
    /// The title that is shown instead of its name; empty without one.
    pub title: &'a str,
    /// The user's description of it.
    pub description: &'a str,
    /// The template's title.
    pub template: String,
    /// Time of creation.
    pub created: When,
    /// Titles and URLs.
    pub addresses: Vec<(&'static str, String)>,
    /// The rendered form that chooses the model.
    pub model: String,
    /// The rendered cost of the model.
    pub cost: String,
    /// The rendered [`AutoPreview`].
    pub auto_preview: String,
    /// The reason why it was not deleted.
    pub problem: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::samples;

    #[test]
    fn a_release_that_has_stopped_can_be_started() {
        let mut app = samples::app();
        let page = samples::select(&samples::releases_tab(&app));
        assert_eq!((page.count("form[action$='/start']"), page.count("[data-usage]")), (0, 2));
        assert_eq!(page.text("section:last-of-type li:nth-of-type(2) .tag.warn"), "1 check ignored");
        app.environments[1].state = EnvironmentState::Stopped;
        let page = samples::select(&samples::releases_tab(&app));
        assert_eq!(page.text("section:first-of-type li:first-of-type .tag"), "stopped");
        assert_eq!(page.attribute("form[action$='/start'] input", "value"), "prod");
        assert_eq!((page.count("form[action$='/start']"), page.count("[data-usage]")), (1, 1), "it is not measured");
    }
}
