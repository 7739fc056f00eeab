//! Changes of several files by a user, each saved as one version: uploads, and moving a file or a folder.

use std::collections::BTreeSet;

use super::Services;
use super::files::{file_locked, platform_file};
use crate::domain::{App, AppName, JobKind, JobState, Version, VersionKind, WorkspacePath};
use crate::error::{AppError, AppResult};
use crate::workspace::{CommitNote, FileChange};

/// Maximum number of files of one upload.
pub const UPLOAD_FILES_MAX: usize = 200;
/// Maximum bytes of all files of one upload.
pub const UPLOAD_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Names in a sentence; the others are counted.
const NAMED: usize = 5;

/// A file to be uploaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadedFile {
    /// Where it is saved.
    pub path: WorkspacePath,
    /// Its content.
    pub bytes: Vec<u8>,
}

impl Services {
    /// Saves uploaded files as one version. Files that exist are replaced only with `replace`.
    pub async fn upload_files(&self, name: &AppName, files: Vec<UploadedFile>, replace: bool) -> AppResult<Version> {
        let app = self.app(name).await?;
        if files.is_empty() {
            return Err(AppError::invalid("Choose at least one file."));
        }
        if files.len() > UPLOAD_FILES_MAX {
            let detail = format!("{} files are too many: at most {UPLOAD_FILES_MAX} at once.", files.len());
            return Err(AppError::invalid(detail));
        }
        let paths: BTreeSet<&WorkspacePath> = files.iter().map(|file| &file.path).collect();
        self.check_changeable(&app, paths.iter().copied()).await?;
        let there = self.files(&app).await?;
        let taken: Vec<&WorkspacePath> =
            there.iter().map(|file| &file.path).filter(|path| paths.contains(path)).collect();
        if !replace && !taken.is_empty() {
            let verb = if taken.len() == 1 { "exists" } else { "exist" };
            return Err(AppError::conflict("files_exist", format!("{} {verb} already.", named(&taken)))
                .hint("Choose to replace existing files, or another folder."));
        }
        let title = match &files[..] {
            [one] => format!("Upload {}", one.path),
            several => format!("Upload {} files", several.len()),
        };
        // A single path is in the title already.
        let body = match paths.len() {
            1 => String::new(),
            _ => paths.iter().map(|path| path.as_str()).collect::<Vec<_>>().join("\n"),
        };
        let changes = files.into_iter().map(|file| FileChange::Write(file.path, file.bytes)).collect();
        self.commit_changes(&app, title, body, changes).await
    }

    /// Moves a file or a folder with all its files, as one version. Nothing is replaced.
    pub async fn move_files(&self, name: &AppName, from: &WorkspacePath, to: &WorkspacePath) -> AppResult<Version> {
        let app = self.app(name).await?;
        if from == to {
            return Err(AppError::invalid(format!("“{from}” has this path already.")));
        }
        let open = self.platform.store.open_jobs(Some(app.id)).await?;
        if open.iter().any(|job| job.state == JobState::Running && matches!(job.kind, JobKind::Generate { .. })) {
            return Err(AppError::conflict("turn_running", "The model is changing files right now.")
                .hint("Stop it or wait until it ends, then rename."));
        }
        let there = self.files(&app).await?;
        let moves: Vec<(WorkspacePath, WorkspacePath)> = if there.iter().any(|file| file.path == *from) {
            vec![(from.clone(), to.clone())]
        } else {
            if inside(to, from).is_some() {
                return Err(AppError::invalid(format!("“{from}” cannot be moved into itself.")));
            }
            let rest = there.iter().filter_map(|file| Some((&file.path, inside(&file.path, from)?)));
            let moved = rest.map(|(path, rest)| Ok((path.clone(), format!("{to}/{rest}").parse()?)));
            moved.collect::<AppResult<_>>()?
        };
        if moves.is_empty() {
            return Err(AppError::not_found(&format!("file or folder “{from}” in this app")));
        }
        self.check_changeable(&app, moves.iter().flat_map(|(from, to)| [from, to])).await?;
        let taken: Vec<&WorkspacePath> =
            there.iter().map(|file| &file.path).filter(|path| moves.iter().any(|(_, to)| to == *path)).collect();
        if !taken.is_empty() {
            let verb = if taken.len() == 1 { "exists" } else { "exist" };
            return Err(AppError::conflict("files_exist", format!("{} {verb} already.", named(&taken)))
                .hint("Choose another name, or delete what is there first."));
        }
        let changes = moves.into_iter().map(|(from, to)| FileChange::Move { from, to }).collect();
        self.commit_changes(&app, format!("Rename {from} to {to}"), String::new(), changes).await
    }

    /// Refuses changes of an app that is being deleted, of files that belong to the platform, and of locked ones.
    pub(super) async fn check_changeable(
        &self,
        app: &App,
        paths: impl IntoIterator<Item = &WorkspacePath>,
    ) -> AppResult<()> {
        if app.deleting {
            return Err(AppError::conflict("app_deleting", format!("“{}” is being deleted.", app.name)));
        }
        let template = self.template_of(app)?;
        let locked = self.platform.store.locked_files(app.id).await?;
        for path in paths {
            if template.owns(path) {
                return Err(platform_file(path));
            }
            if locked.contains(path) {
                return Err(file_locked(path));
            }
        }
        Ok(())
    }

    async fn commit_changes(
        &self,
        app: &App,
        title: String,
        body: String,
        changes: Vec<FileChange>,
    ) -> AppResult<Version> {
        let note = CommitNote { title, body, kind: VersionKind::Edit, turn: None, at: self.platform.clock.now() };
        self.platform
            .change_workspace(app.id, &app.name, move |workspace| workspace.commit_files(changes, &note))
            .await?;
        // The same content again creates no version; the newest version is returned.
        self.newest(app).await
    }
}

/// The part of `path` after the folder, if it is inside it.
fn inside<'a>(path: &'a WorkspacePath, folder: &WorkspacePath) -> Option<&'a str> {
    path.as_str().strip_prefix(folder.as_str())?.strip_prefix('/')
}

fn named(paths: &[&WorkspacePath]) -> String {
    let first = paths.iter().take(NAMED).map(|path| format!("“{path}”")).collect::<Vec<_>>().join(", ");
    match paths.len().saturating_sub(NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}
