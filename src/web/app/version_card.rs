//! The card of a turn that changed the app: its version, where it runs, and what a user can do with it. Pure.

use askama::Template;

use crate::domain::{App, Environment, FileChange, Turn, TurnOrigin, VersionId, VersionsInUse};
use crate::web::format;
use crate::web::ui::Icon;

/// Files that the card names.
const FILES: usize = 6;

/// A version in the conversation.
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub struct VersionCard {
    pub(super) id: VersionId,
    pub(super) number: u32,
    pub(super) title: String,
    /// How long it took and what it cost.
    pub(super) facts: Vec<String>,
    /// What happened to a turn that did not end by itself.
    pub(super) mark: Option<Icon>,
    pub(super) files: Vec<FileChange>,
    /// Files that are not named.
    pub(super) more: u32,
    /// `3 files, +120 −14`, where no files were recorded.
    pub(super) total: String,
    /// `1 edit failed`
    pub(super) failed: Option<String>,
    pub(super) in_preview: bool,
    pub(super) in_production: bool,
    pub(super) undone: bool,
    pub(super) is_current: bool,
    /// A user wrote the message.
    pub(super) may_edit: bool,
    /// Its steps, rendered.
    pub(super) steps: Option<String>,
}

impl VersionCard {
    /// None if the turn changed nothing. `facts`: how long it took and what it cost.
    pub fn new(turn: &Turn, facts: Vec<String>, mark: Option<Icon>) -> Option<Self> {
        let (id, number) = turn.version.clone().zip(turn.version_number)?;
        let (size, files) = (turn.size, &turn.changes);
        let named: Vec<FileChange> = files.iter().take(FILES).cloned().collect();
        let count = |n: u32| u32::try_from(named.len()).map_or(0, |shown| n.saturating_sub(shown));
        let failed = u64::from(turn.failed_edits);
        Some(Self {
            id,
            number,
            title: turn.version_title.clone().unwrap_or_default(),
            facts,
            mark,
            more: if named.is_empty() { 0 } else { count(size.files) },
            files: named,
            total: format!(
                "{}, +{} −{}",
                format::count(u64::from(size.files), "file", "files"),
                size.additions,
                size.deletions
            ),
            failed: (failed > 0).then(|| format!("{} failed", format::count(failed, "edit", "edits"))),
            in_preview: false,
            in_production: false,
            undone: false,
            is_current: true,
            may_edit: turn.origin == TurnOrigin::Person && turn.answer.is_none(),
            steps: None,
        })
    }

    /// Adds where it runs, and whether it is in use.
    pub fn place(&mut self, app: &App, versions: &VersionsInUse) {
        let runs = |environment| runs_in(app, environment) == Some(self.number);
        self.in_preview = runs(Environment::Preview);
        self.in_production = runs(Environment::Prod);
        self.undone = versions.is_undone(self.number);
        self.is_current = versions.current == self.number;
    }
}

/// The number of the version that an environment runs.
fn runs_in(app: &App, environment: Environment) -> Option<u32> {
    let status = app.environment(environment);
    status.version_number.filter(|_| status.release.is_some())
}

/// Which versions are in use and where they run, from which the page's script keeps its cards current.
#[derive(Template)]
#[template(
    source = r#"<div id="versions-in-use" data-current="{{ current }}" data-undone="{{ undone }}" data-preview="{{ preview }}" data-prod="{{ prod }}" hidden></div>"#,
    ext = "html"
)]
pub struct VersionsState {
    current: u32,
    undone: String,
    preview: u32,
    prod: u32,
}

impl VersionsState {
    /// Of an app.
    pub fn new(app: &App, versions: &VersionsInUse) -> Self {
        Self {
            current: versions.current,
            undone: versions.undone_words(),
            preview: runs_in(app, Environment::Preview).unwrap_or(0),
            prod: runs_in(app, Environment::Prod).unwrap_or(0),
        }
    }
}
