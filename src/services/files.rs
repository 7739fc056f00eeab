//! Files of the newest version, their content, and the user's edits.

use std::time::Duration;

use super::Services;
use crate::bounded_work::Budget;
use crate::domain::{App, AppName, PageRequest, Version, VersionId, VersionKind, WorkspacePath};
use crate::error::{AppError, AppResult, ErrorKind};
use crate::workspace::{CommitNote, FileDiff, FindLimits, Found, Wanted, Workspace, WorkspaceError};

/// Versions that are searched for the newest change of a file.
pub const CHANGES_SEARCHED: u32 = 100;
/// How long a search may take to end after its own time limit.
const FIND_GRACE: Duration = Duration::from_secs(1);

/// A file in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts about a file")]
pub struct ListedFile {
    /// Its path.
    pub path: WorkspacePath,
    /// Its size.
    pub bytes: u64,
    /// It is a binary file.
    pub binary: bool,
    /// It belongs to the platform and is read-only.
    pub platform: bool,
    /// It differs from the previous version.
    pub changed: bool,
    /// It is locked: neither the model nor a user can change it.
    pub locked: bool,
}

/// 409 for a locked file.
pub(super) fn file_locked(path: &WorkspacePath) -> AppError {
    AppError::conflict("file_locked", format!("“{path}” is locked.")).hint("Unlock it first, in the Code tab.")
}

/// 403 for a file of the platform.
pub(super) fn platform_file(path: &WorkspacePath) -> AppError {
    AppError::new(
        ErrorKind::Forbidden,
        "platform_file",
        format!("“{path}” belongs to the platform and cannot be changed."),
    )
}

impl Services {
    /// The files at head, by path.
    pub async fn files(&self, app: &App) -> AppResult<Vec<ListedFile>> {
        let template = self.template_of(app)?;
        let Some(head) = app.head.clone() else { return Ok(Vec::new()) };
        let locked = self.platform.store.locked_files(app.id).await?;
        let (entries, changed) = self
            .platform
            .read_workspace(&app.name, move |workspace| {
                let changed: Vec<WorkspacePath> =
                    workspace.changed_files(&head)?.into_iter().map(|(path, _)| path).collect();
                Ok((workspace.tree_at(&head)?, changed))
            })
            .await?;
        Ok(entries
            .into_iter()
            .map(|entry| ListedFile {
                platform: template.owns(&entry.path),
                changed: changed.contains(&entry.path),
                locked: locked.contains(&entry.path),
                path: entry.path,
                bytes: entry.bytes,
                binary: entry.binary,
            })
            .collect())
    }

    /// The content of a file in the newest version.
    pub async fn read_file(&self, app: &App, path: &WorkspacePath) -> AppResult<Vec<u8>> {
        let missing = || AppError::not_found(&format!("file “{path}” in this app"));
        let head = app.head.clone().ok_or_else(missing)?;
        let wanted = path.clone();
        self.platform.read_workspace(&app.name, move |workspace| workspace.read_at(&head, &wanted)).await
    }

    /// Saves a user's edit of a file as a version. With `expected`, only if that is still the newest version.
    pub async fn write_file(
        &self,
        name: &AppName,
        path: &WorkspacePath,
        bytes: Vec<u8>,
        expected: Option<VersionId>,
    ) -> AppResult<Version> {
        self.change_file(name, path, Some(bytes), expected).await
    }

    /// Saves a user's edit of a file that was opened at an earlier version. Changes of other files since then do not
    /// matter; if this one has changed, nothing is saved.
    pub async fn save_edit(
        &self,
        name: &AppName,
        path: &WorkspacePath,
        bytes: Vec<u8>,
        opened_at: Option<VersionId>,
    ) -> AppResult<Version> {
        let app = self.app(name).await?;
        let (Some(opened_at), Some(head)) = (opened_at, app.head.clone()) else {
            return self.change_file(name, path, Some(bytes), None).await;
        };
        if opened_at != head {
            // Not a version of this app: nothing says what the user has seen.
            self.version(&app, &opened_at).await?;
            let (newest, wanted) = (head.clone(), path.clone());
            let is_same = move |workspace: &Workspace| {
                let content = |version| match workspace.read_at(version, &wanted) {
                    Ok(bytes) => Ok(Some(bytes)),
                    Err(WorkspaceError::NotFound(_)) => Ok(None),
                    Err(error) => Err(error),
                };
                Ok(content(&opened_at)? == content(&newest)?)
            };
            if !self.platform.read_workspace(&app.name, is_same).await? {
                return Err(AppError::conflict("version_changed", "This file has changed since it was opened.")
                    .hint("Copy your text, then open the file again."));
            }
        }
        self.change_file(name, path, Some(bytes), Some(head)).await
    }

    /// Finds text in the newest version's files. Binary files are not searched.
    pub async fn find_in_files(&self, app: &App, wanted: Wanted) -> AppResult<Found> {
        let Some(head) = app.head.clone() else { return Ok(Found::default()) };
        let limits = FindLimits::default();
        // A search that is late gives what it has found, so the pool's own limit comes after its own.
        let time = limits.time + FIND_GRACE;
        let find = move |workspace: &Workspace, _: &Budget| workspace.find(&head, &wanted, &limits);
        self.platform.read_workspace_within(&app.name, time, find).await?.map_err(AppError::invalid)
    }

    /// The newest version that changed a file, and what it changed; none if that is not among the newest versions.
    pub async fn file_changes(&self, app: &App, path: &WorkspacePath) -> AppResult<Option<(Version, FileDiff)>> {
        let versions = self.versions(app, PageRequest::first(CHANGES_SEARCHED)).await?.items;
        let path = path.clone();
        let of_file = move |workspace: &Workspace| {
            for version in versions {
                if workspace.changed_files(&version.id)?.iter().any(|(changed, _)| *changed == path) {
                    let diffs = workspace.file_diffs(&version.id)?;
                    return Ok(diffs.into_iter().find(|diff| diff.path == path).map(|diff| (version, diff)));
                }
            }
            Ok(None)
        };
        self.platform.read_workspace(&app.name, of_file).await
    }

    /// Deletes a file for a user, as a version.
    pub async fn delete_file(&self, name: &AppName, path: &WorkspacePath) -> AppResult<Version> {
        let app = self.app(name).await?;
        self.read_file(&app, path).await?;
        self.change_file(name, path, None, None).await
    }

    /// Locks a file: neither the model nor a user can change it until it is unlocked.
    pub async fn lock_file(&self, name: &AppName, path: &WorkspacePath) -> AppResult<()> {
        let app = self.app(name).await?;
        if self.template_of(&app)?.owns(path) {
            return Err(AppError::conflict(
                "platform_file",
                format!("“{path}” belongs to the platform and cannot be changed, so it needs no lock."),
            ));
        }
        self.read_file(&app, path).await?;
        Ok(self.platform.store.lock_file(app.id, path.clone(), self.platform.clock.now()).await?)
    }

    /// Unlocks a file. Idempotent.
    pub async fn unlock_file(&self, name: &AppName, path: &WorkspacePath) -> AppResult<()> {
        let app = self.app(name).await?;
        Ok(self.platform.store.unlock_file(app.id, path.clone()).await?)
    }

    async fn change_file(
        &self,
        name: &AppName,
        path: &WorkspacePath,
        bytes: Option<Vec<u8>>,
        expected: Option<VersionId>,
    ) -> AppResult<Version> {
        let app = self.app(name).await?;
        self.check_changeable(&app, [path]).await?;
        if expected.is_some() && expected != app.head {
            return Err(AppError::conflict("version_changed", "The app has changed since this file was opened.")
                .hint("Copy your text, then open the file again."));
        }
        let note = CommitNote {
            title: format!("{} {path}", if bytes.is_some() { "Edit" } else { "Delete" }),
            body: String::new(),
            kind: VersionKind::Edit,
            turn: None,
            at: self.platform.clock.now(),
        };
        let path = path.clone();
        self.platform
            .change_workspace(app.id, name, move |workspace| workspace.commit_file(&path, bytes.as_deref(), &note))
            .await?;
        // Saving unchanged content creates no version; the newest version is returned.
        self.newest(&app).await
    }
}
