//! The stage of the *Code* tab: the tree with its forms, beside a file, a folder or the editor.

use super::files_view::{CodeTab, FilePanel, FileView, FolderFile, Hold, Picture, TreeFile, source, tree};
use super::history::{LINES_SHOWN, diff_view};
use crate::bounded_work::{Budget, Owner};
use crate::domain::attachment::recognise;
use crate::domain::{App, AppName, WorkspacePath};
use crate::error::{AppError, AppResult, ErrorKind};
use crate::services::Services;
use crate::services::file_sets::{UPLOAD_BYTES_MAX, UPLOAD_FILES_MAX};
use crate::services::files::{CHANGES_SEARCHED, ListedFile};
use crate::web::format::{self, Html, encode_path};
use crate::web::highlight::COLOUR_TIME;
use crate::web::reply;
use crate::workspace::Limits;

/// Files of a folder on its page.
const FOLDER_SHOWN: usize = 500;
/// Whether there is a file or a folder at a path.
pub(super) fn exists(files: &[ListedFile], path: &WorkspacePath) -> bool {
    files.iter().any(|file| file.path == *path || inside(&file.path, path).is_some())
}

/// The part of a path after the folder, if it is inside it.
fn inside<'a>(path: &'a WorkspacePath, folder: &WorkspacePath) -> Option<&'a str> {
    path.as_str().strip_prefix(folder.as_str())?.strip_prefix('/')
}

pub(super) fn head(app: &App) -> String {
    app.head.as_ref().map(ToString::to_string).unwrap_or_default()
}

/// The page of a file or a folder.
pub(super) fn address(name: &AppName, path: &WorkspacePath) -> String {
    format!("/apps/{name}/code/{}", encode_path(path.as_str(), true))
}

pub(super) fn no_file(app: &App) -> AppResult<String> {
    reply::render(&FilePanel::new(&app.name, "", Hold::None, String::new(), FileView::None))
}

/// A file in the viewer, a folder, or none.
pub(super) async fn shown(
    services: &Services,
    app: &App,
    files: &[ListedFile],
    path: Option<&WorkspacePath>,
) -> AppResult<String> {
    let Some(path) = path else { return with_tree(app, files, None, no_file(app)?) };
    let (hold, facts, view) = view_of(services, app, files, path).await?;
    with_tree(app, files, Some(path), panel(app, path, hold, facts, view, None)?)
}

/// A file or a folder with the form that renames it, and the reason why it could not be renamed.
pub(super) async fn renaming(
    services: &Services,
    app: &App,
    files: &[ListedFile],
    path: &WorkspacePath,
    typed: &str,
    problem: Option<&str>,
) -> AppResult<String> {
    let (hold, facts, view) = view_of(services, app, files, path).await?;
    let mut panel = FilePanel::new(&app.name, path.as_str(), hold, facts, view);
    panel.rename = Some(typed.to_owned());
    panel.problem = problem;
    with_tree(app, files, Some(path), reply::render(&panel)?)
}

/// Whether a file may be changed, its size, and its content.
async fn view_of(
    services: &Services,
    app: &App,
    files: &[ListedFile],
    path: &WorkspacePath,
) -> AppResult<(Hold, String, FileView)> {
    let Some(listed) = files.iter().find(|file| file.path == *path) else {
        let (facts, view) = folder(app, files, path);
        return Ok((Hold::None, facts, view));
    };
    let bytes = services.read_file(app, path).await?;
    let size = format::bytes(bytes.len() as u64);
    let (facts, view) = match String::from_utf8(bytes) {
        Ok(text) if !listed.binary => {
            let facts = format!("{} · {size}", format::count(text.lines().count() as u64, "line", "lines"));
            let name = path.as_str().to_owned();
            let work = move |budget: &Budget| source(&name, &text, budget);
            let owner = Owner::App(app.name.clone());
            (facts, services.cpu_work().run("highlight", owner, COLOUR_TIME, work).await?)
        }
        text => {
            let bytes = text.map_or_else(std::string::FromUtf8Error::into_bytes, String::into_bytes);
            let picture = recognise(&bytes).ok().and_then(|(_, pixels)| pixels).map(|(width, height)| Picture {
                // With the version, so that a changed image is loaded again.
                src: format!("/apps/{}/pictures/{}?version={}", app.name, encode_path(path.as_str(), true), head(app)),
                width,
                height,
            });
            (size.clone(), FileView::Binary { bytes: size, picture })
        }
    };
    Ok((Hold::of(listed), facts, view))
}

/// A folder: its files, with their sizes.
fn folder(app: &App, files: &[ListedFile], path: &WorkspacePath) -> (String, FileView) {
    let within: Vec<(&ListedFile, &str)> =
        files.iter().filter_map(|file| Some((file, inside(&file.path, path)?))).collect();
    let total = within.iter().map(|(file, _)| file.bytes).sum();
    let facts = format!("{} · {}", format::count(within.len() as u64, "file", "files"), format::bytes(total));
    let listed = within.iter().take(FOLDER_SHOWN).map(|(file, name)| FolderFile {
        name: (*name).to_owned(),
        href: address(&app.name, &file.path),
        bytes: format::bytes(file.bytes),
    });
    (facts, FileView::Folder { files: listed.collect(), more: within.len().saturating_sub(FOLDER_SHOWN) })
}

/// What the newest version that changed a file has changed in it.
pub(super) async fn changes(
    services: &Services,
    app: &App,
    files: &[ListedFile],
    path: &WorkspacePath,
) -> AppResult<String> {
    let Some(listed) = files.iter().find(|file| file.path == *path) else {
        return shown(services, app, files, Some(path)).await;
    };
    let view = match services.file_changes(app, path).await? {
        Some((version, diff)) => {
            let newest = if app.head.as_ref() == Some(&version.id) { ", the newest one" } else { "" };
            FileView::Changes {
                words: format!(
                    "Version {}{newest}, compared with the version before: {} +{} −{}",
                    version.number, version.title, diff.additions, diff.deletions
                ),
                version: Some(format!("/apps/{}/versions/{}", app.name, version.id)),
                diff: Some(diff_view(diff, &mut LINES_SHOWN.clone())),
            }
        }
        None => FileView::Changes {
            words: format!("None of the newest {CHANGES_SEARCHED} versions has changed this file."),
            version: None,
            diff: None,
        },
    };
    let facts = format::bytes(listed.bytes);
    let mut panel = FilePanel::new(&app.name, path.as_str(), Hold::of(listed), facts, view);
    panel.editable &= !listed.binary;
    with_tree(app, files, Some(path), reply::render(&panel)?)
}

/// A file in the editor.
pub(super) async fn editor(
    services: &Services,
    app: &App,
    files: &[ListedFile],
    path: &WorkspacePath,
    problem: Option<&str>,
) -> AppResult<String> {
    let bytes = services.read_file(app, path).await?;
    let hold = files.iter().find(|file| file.path == *path).map_or(Hold::None, Hold::of);
    let Ok(text) = String::from_utf8(bytes) else {
        return Err(AppError::invalid(format!("“{path}” is not a text file, so it cannot be edited here.")));
    };
    match hold {
        Hold::None => {}
        Hold::Platform => {
            return Err(AppError::new(
                ErrorKind::Forbidden,
                "platform_file",
                format!("“{path}” is managed by Slipway and cannot be changed."),
            ));
        }
        Hold::Locked => {
            return Err(AppError::conflict("file_locked", format!("“{path}” is locked."))
                .hint("Unlock it first, with the button beside its name."));
        }
    }
    let view = FileView::Edit { text, head: head(app), new: false };
    with_tree(app, files, Some(path), panel(app, path, hold, String::new(), view, problem)?)
}

pub(super) fn panel(
    app: &App,
    path: &WorkspacePath,
    hold: Hold,
    facts: String,
    view: FileView,
    problem: Option<&str>,
) -> AppResult<String> {
    let mut panel = FilePanel::new(&app.name, path.as_str(), hold, facts, view);
    panel.problem = problem;
    reply::render(&panel)
}

/// The tree, and a file.
pub(super) fn with_tree(
    app: &App,
    files: &[ListedFile],
    path: Option<&WorkspacePath>,
    file: String,
) -> AppResult<String> {
    Tab::new(app, files, path, file).render()
}

/// The tree with its forms, and a file.
pub(super) struct Tab<'a> {
    app: &'a App,
    files: &'a [ListedFile],
    current: Option<&'a str>,
    file: String,
    /// The path of a new file that cannot be used, and why.
    pub(super) new_problem: Option<(&'a str, &'a str)>,
    /// The folder of uploaded files; that of the current file unless it was chosen.
    pub(super) folder: Option<&'a str>,
    /// The reason why files could not be uploaded.
    pub(super) upload_problem: Option<&'a str>,
}

impl<'a> Tab<'a> {
    pub(super) fn new(app: &'a App, files: &'a [ListedFile], path: Option<&'a WorkspacePath>, file: String) -> Self {
        let current = path.map(WorkspacePath::as_str);
        Self { app, files, current, file, new_problem: None, folder: None, upload_problem: None }
    }

    pub(super) fn render(self) -> AppResult<String> {
        let is_folder = |path: &str| {
            let below =
                |file: &ListedFile| file.path.as_str().strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
            self.files.iter().any(below)
        };
        let folder = match self.current {
            Some(path) if is_folder(path) => path,
            Some(path) => path.rsplit_once('/').map_or("", |(folder, _)| folder),
            None => "",
        };
        reply::render(&CodeTab {
            app: &self.app.name,
            count: self.files.len(),
            current: self.current,
            new_problem: self.new_problem,
            folder: self.folder.unwrap_or(folder),
            upload_problem: self.upload_problem,
            file_bytes: Limits::default().file_bytes,
            files_max: UPLOAD_FILES_MAX,
            bytes_max: UPLOAD_BYTES_MAX,
            tree: rendered_tree(&self.app.name, self.files, self.current),
            file: self.file,
        })
    }
}

/// The tree alone.
pub(super) fn rendered_tree(name: &AppName, files: &[ListedFile], current: Option<&str>) -> Html {
    let listed: Vec<TreeFile<'_>> = files
        .iter()
        .map(|file| TreeFile { path: file.path.as_str(), hold: Hold::of(file), changed: file.changed })
        .collect();
    tree(name, &listed, current)
}
