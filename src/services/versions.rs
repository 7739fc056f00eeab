//! Versions: list, compare, restore.

use super::Services;
use super::files::file_locked;
use crate::domain::{
    App, AppName, JobKind, JobState, Page, PageRequest, Turn, Version, VersionId, VersionKind, VersionsInUse,
};
use crate::error::{AppError, AppResult};
use crate::store::StoreError;
use crate::workspace::{CommitNote, FileDiff};

impl Services {
    /// Versions, newest first.
    pub async fn versions(&self, app: &App, page: PageRequest) -> AppResult<Page<Version>> {
        Ok(self.platform.store.versions(app.id, page).await?)
    }

    /// One version.
    pub async fn version(&self, app: &App, id: &VersionId) -> AppResult<Version> {
        self.platform.store.version(app.id, id).await.map_err(|error| match error {
            StoreError::NotFound => AppError::not_found(&format!("version {} of “{}”", id.short(), app.name)),
            other => other.into(),
        })
    }

    /// The version to restore if the newest one does not work; none if that is the newest.
    pub async fn last_good_version(&self, app: &App) -> AppResult<Option<Version>> {
        let good = self.platform.store.last_good_version(app.id).await?;
        Ok(good.filter(|version| app.head.as_ref() != Some(&version.id)))
    }

    /// The version before a turn that has changed the app, as long as nothing has changed since.
    pub async fn version_before(&self, app: &App, turn: &Turn) -> AppResult<Option<Version>> {
        if turn.version.is_none() || turn.version != app.head {
            return Ok(None);
        }
        Ok(self.platform.store.version_before_turn(app.id, turn.id).await?)
    }

    /// The changes of a version, as a unified diff.
    pub async fn diff_text(&self, app: &App, id: &VersionId) -> AppResult<String> {
        let version = self.version(app, id).await?;
        self.platform.read_workspace(&app.name, move |workspace| workspace.diff(&version.id)).await
    }

    /// The changes of a version, for a page.
    pub async fn diff(&self, app: &App, id: &VersionId) -> AppResult<Vec<FileDiff>> {
        let version = self.version(app, id).await?;
        self.platform.read_workspace(&app.name, move |workspace| workspace.file_diffs(&version.id)).await
    }

    /// Restores an earlier version's files as a new version.
    pub async fn restore(&self, name: &AppName, id: &VersionId) -> AppResult<Version> {
        let app = self.app(name).await?;
        let version = self.version(&app, id).await?;
        let open = self.platform.store.open_jobs(Some(app.id)).await?;
        if open.iter().any(|job| job.state == JobState::Running && matches!(job.kind, JobKind::Generate { .. })) {
            return Err(AppError::conflict("turn_running", "The model is changing files right now.")
                .hint("Stop it or wait until it ends, then restore."));
        }
        self.check_locks(&app, &version).await?;
        let note = CommitNote {
            title: format!("Restore version {}", version.number),
            body: version.title.clone(),
            kind: VersionKind::Restore,
            turn: None,
            at: self.platform.clock.now(),
        };
        let of = version.id.clone();
        let restored = self
            .platform
            .change_workspace(app.id, name, move |workspace| workspace.restore(&version.id, &note))
            .await?;
        if restored.is_none() {
            return Err(AppError::conflict(
                "nothing_to_restore",
                "The current files are already those of this version.",
            ));
        }
        let newest = self.newest(&app).await?;
        self.platform.store.set_restored(app.id, newest.id.clone(), of).await?;
        Ok(newest)
    }

    /// Which versions are in use.
    pub async fn versions_in_use(&self, app: &App) -> AppResult<VersionsInUse> {
        Ok(self.platform.store.versions_in_use(app.id).await?)
    }

    /// Restores the version before a turn, so that its message can be sent in other words.
    pub async fn restore_before(&self, name: &AppName, turn: &Turn) -> AppResult<()> {
        let app = self.app(name).await?;
        let Some(before) = self.platform.store.version_before_turn(app.id, turn.id).await? else {
            return Err(AppError::conflict("nothing_to_restore", "There is no version before this message."));
        };
        match self.restore(name, &before.id).await {
            // The files are already those of that version.
            Err(error) if error.code == "nothing_to_restore" => Ok(()),
            other => other.map(drop),
        }
    }

    /// Rejects a restore that would change a locked file.
    async fn check_locks(&self, app: &App, version: &Version) -> AppResult<()> {
        let locked = self.platform.store.locked_files(app.id).await?;
        let (Some(head), false) = (app.head.clone(), locked.is_empty()) else { return Ok(()) };
        let wanted = version.id.clone();
        let differs = move |workspace: &crate::workspace::Workspace| {
            Ok(locked
                .into_iter()
                .find(|path| workspace.read_at(&head, path).ok() != workspace.read_at(&wanted, path).ok()))
        };
        match self.platform.read_workspace(&app.name, differs).await? {
            None => Ok(()),
            Some(path) => Err(file_locked(&path)),
        }
    }

    /// Records new commits and returns the newest version.
    pub(super) async fn newest(&self, app: &App) -> AppResult<Version> {
        let newest = self.platform.record_versions(app.id, &app.name).await?;
        newest.ok_or_else(|| AppError::not_found("version of this app"))
    }
}
