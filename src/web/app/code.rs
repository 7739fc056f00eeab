//! The *Code* tab: the tree, a file, and the editor.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::files_view::{CodeTab, FilePanel, FileView, FolderFile, Hold, Picture, TreeFile, source, tree};
use super::find_view::FindPanel;
use super::history::{LINES_SHOWN, diff_view};
use super::page::{at_address, current_state, saved, show, show_changed};
use super::query::AppQuery;
use crate::bounded_work::{Budget, Owner};
use crate::domain::attachment::recognise;
use crate::domain::{App, AppName, Version, VersionId, WorkspacePath};
use crate::error::{AppError, AppResult, ErrorKind};
use crate::services::Services;
use crate::services::file_sets::{UPLOAD_BYTES_MAX, UPLOAD_FILES_MAX};
use crate::services::files::{CHANGES_SEARCHED, ListedFile};
use crate::web::Web;
use crate::web::chrome::Chrome;
use crate::web::extract::{Form, Path, Query};
use crate::web::format::{self, Html, encode_path};
use crate::web::highlight::COLOUR_TIME;
use crate::web::home::field;
use crate::web::plain_pages::ConfirmPage;
use crate::web::reply::{self, Caller};
use crate::workspace::Wanted;

/// Files of a folder on its page.
const FOLDER_SHOWN: usize = 500;
/// Files to open by default; the first that exists is shown.
const FIRST: [&str; 3] = ["public/index.html", "main.py", "job.py"];

/// The query parameters.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct CodeQuery {
    new: Option<String>,
    find: Option<String>,
    case: Option<String>,
    regex: Option<String>,
}

/// The query parameters.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct FileQuery {
    edit: Option<String>,
    changes: Option<String>,
    rename: Option<String>,
}

/// `GET /apps/{app}/code`
pub async fn tab(
    State(web): State<Web>,
    chrome: Chrome,
    caller: Caller,
    Path(name): Path<AppName>,
    Query(query): Query<CodeQuery>,
) -> AppResult<Response> {
    let services = &web.services;
    let app = services.app(&name).await?;
    let files = services.files(&app).await?;
    let stage = if let Some(typed) = query.new {
        let path = match field::<WorkspacePath>(&typed) {
            Ok(path) => path,
            // The form shows what is wrong, beside what was typed.
            Err(error) => {
                let mut tab = Tab::new(&app, &files, None, no_file(&app)?);
                tab.new_problem = Some((typed.as_str(), error.detail.as_str()));
                let mut response =
                    show(services, chrome, caller, &app, "code", tab.render()?, &AppQuery::default()).await?;
                *response.status_mut() = error.kind.status();
                return Ok(response);
            }
        };
        let there = files.iter().any(|file| file.path == path);
        if there {
            editor(services, &app, &files, &path, None).await?
        } else {
            let view = FileView::Edit { text: String::new(), head: head(&app), new: true };
            with_tree(&app, &files, Some(&path), panel(&app, &path, Hold::None, String::new(), view, None)?)?
        }
    } else if let Some(text) = query.find {
        let wanted = Wanted { text, match_case: query.case.is_some(), pattern: query.regex.is_some() };
        let (panel, status) = found(services, &app, &wanted).await?;
        let stage = with_tree(&app, &files, None, panel)?;
        let mut response = show(services, chrome, caller, &app, "code", stage, &AppQuery::default()).await?;
        *response.status_mut() = status;
        return Ok(response);
    } else {
        let first = FIRST.iter().find_map(|wanted| files.iter().find(|file| file.path.as_str() == *wanted));
        let first = first.or_else(|| files.iter().find(|file| !file.platform)).map(|file| file.path.clone());
        shown(services, &app, &files, first.as_ref()).await?
    };
    show(services, chrome, caller, &app, "code", stage, &AppQuery::default()).await
}

/// The panel with what was found, and its status.
async fn found(services: &Services, app: &App, wanted: &Wanted) -> AppResult<(String, StatusCode)> {
    if wanted.text.is_empty() {
        return Ok((reply::render(&FindPanel::empty(&app.name, wanted, None))?, StatusCode::OK));
    }
    match services.find_in_files(app, wanted.clone()).await {
        Ok(found) => Ok((reply::render(&FindPanel::of(&app.name, wanted, found))?, StatusCode::OK)),
        Err(error) if error.kind == ErrorKind::Invalid => {
            let panel = FindPanel::empty(&app.name, wanted, Some(&error.detail));
            Ok((reply::render(&panel)?, error.kind.status()))
        }
        Err(error) => Err(error),
    }
}

/// `GET /apps/{app}/code/{*path}`
pub async fn file(
    State(web): State<Web>,
    chrome: Chrome,
    caller: Caller,
    Path((name, typed)): Path<(AppName, String)>,
    Query(query): Query<FileQuery>,
) -> AppResult<Response> {
    let services = &web.services;
    let app = services.app(&name).await?;
    let files = services.files(&app).await?;
    let stage = match field::<WorkspacePath>(&typed) {
        Ok(path) if !exists(&files, &path) => Err(AppError::not_found(&format!("file “{path}” in this app"))),
        Ok(path) if query.rename.is_some() => renaming(services, &app, &files, &path, path.as_str(), None).await,
        Ok(path) if query.edit.is_some() => editor(services, &app, &files, &path, None).await,
        Ok(path) if query.changes.is_some() => changes(services, &app, &files, &path).await,
        Ok(path) => shown(services, &app, &files, Some(&path)).await,
        Err(error) => Err(error),
    };
    match stage {
        Ok(stage) => show(services, chrome, caller, &app, "code", stage, &AppQuery::default()).await,
        // A path that cannot be shown is answered beside the tree, where the reader can choose another.
        Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Invalid) => {
            let create = (error.kind == ErrorKind::NotFound)
                .then(|| format!("/apps/{name}/code?new={}", encode_path(&typed, false)));
            let view = FileView::Missing { why: error.detail.clone(), create };
            let panel = FilePanel::new(&app.name, "", Hold::None, String::new(), view);
            let stage = with_tree(&app, &files, None, reply::render(&panel)?)?;
            let mut response = show(services, chrome, caller, &app, "code", stage, &AppQuery::default()).await?;
            *response.status_mut() = error.kind.status();
            Ok(response)
        }
        Err(error) => Err(error),
    }
}

/// Whether there is a file or a folder at a path.
fn exists(files: &[ListedFile], path: &WorkspacePath) -> bool {
    files.iter().any(|file| file.path == *path || inside(&file.path, path).is_some())
}

/// The part of a path after the folder, if it is inside it.
fn inside<'a>(path: &'a WorkspacePath, folder: &WorkspacePath) -> Option<&'a str> {
    path.as_str().strip_prefix(folder.as_str())?.strip_prefix('/')
}

/// `GET /apps/{app}/pictures/{*path}`: an image of the newest version, in a sandbox without rights on this origin.
pub async fn picture(State(web): State<Web>, Path((name, path)): Path<(AppName, String)>) -> AppResult<Response> {
    let app = web.services.app(&name).await?;
    let bytes = web.services.read_file(&app, &field(&path)?).await?;
    let Ok((kind, Some(_))) = recognise(&bytes) else { return Err(AppError::not_found("image at this path")) };
    let headers = [
        (header::CONTENT_TYPE, kind.media_type()),
        (header::CACHE_CONTROL, "private, no-cache"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"),
        (header::CONTENT_DISPOSITION, "inline"),
    ];
    Ok((headers, bytes).into_response())
}

/// The form's fields.
#[derive(Deserialize)]
pub struct SaveForm {
    content: String,
    #[serde(default)]
    head: String,
    /// The button that keeps the editor open.
    stay: Option<String>,
}

/// `POST /apps/{app}/code/{*path}`: saves the file as a version.
pub async fn save(
    State(web): State<Web>,
    chrome: Chrome,
    caller: Caller,
    Path((name, path)): Path<(AppName, String)>,
    Form(form): Form<SaveForm>,
) -> AppResult<Response> {
    let services = &web.services;
    let path: WorkspacePath = field(&path)?;
    let expected = match form.head.as_str() {
        "" => None,
        text => Some(field::<VersionId>(text)?),
    };
    // Browsers send the lines of a form with CR LF.
    let content = form.content.replace("\r\n", "\n");
    let href = address(&name, &path);
    match services.save_edit(&name, &path, content.clone().into_bytes(), expected).await {
        Ok(_) if !caller.is_htmx() => {
            let edit = if form.stay.is_some() { "?edit=1" } else { "" };
            Ok(Redirect::to(&format!("{href}{edit}")).into_response())
        }
        Ok(version) if form.stay.is_some() => saved_in_place(services, &name, &path, &version).await,
        Ok(_) => {
            let app = services.app(&name).await?;
            let files = services.files(&app).await?;
            let stage = shown(services, &app, &files, Some(&path)).await?;
            show_changed(services, &app, stage, &href).await
        }
        // The typed text is not lost: the editor shows it again with the error.
        Err(error) if error.kind == ErrorKind::Conflict => {
            let app = services.app(&name).await?;
            let files = services.files(&app).await?;
            let problem = format!("{} If you save again, your text replaces the newer one.", error.detail);
            let view = FileView::Edit { text: content, head: head(&app), new: false };
            let stage = with_tree(
                &app,
                &files,
                Some(&path),
                panel(&app, &path, Hold::None, String::new(), view, Some(&problem))?,
            )?;
            let mut response = show(services, chrome, caller, &app, "code", stage, &AppQuery::default()).await?;
            *response.status_mut() = error.kind.status();
            Ok(response)
        }
        Err(error) => Err(error),
    }
}

/// After *Save*: the editor stays as it is, with its history and its cursor, and the page around it is updated.
async fn saved_in_place(
    services: &Services,
    name: &AppName,
    path: &WorkspacePath,
    version: &Version,
) -> AppResult<Response> {
    let app = services.app(name).await?;
    let files = services.files(&app).await?;
    let href = address(name, path);
    let words = saved(version);
    // Ids of versions and addresses of files need no escaping.
    let head = format!(r#"<input type="hidden" id="editor-head" name="head" value="{}">"#, version.id);
    let close = format!(
        r##"<a id="editor-cancel" class="button small quiet" href="{href}" hx-get="{href}" hx-target="#stage" hx-push-url="true">Close</a>"##
    );
    let pieces = current_state(services, &app)
        .await?
        .replace("editor-head", &head)
        .replace("editor-cancel", &close)
        .fill("editor-problem", "")
        .fill("editor-saved", &words)
        .fill("tree-files", &rendered_tree(name, &files, Some(path.as_str())).0)
        .into_html();
    Ok(at_address(reply::html(pieces), &format!("{href}?edit=1")))
}

/// The form's fields.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct DeleteForm {
    confirmed: String,
}

/// `POST /apps/{app}/delete-file/{*path}`: a browser without scripts gets a page that asks first.
pub async fn delete(
    State(web): State<Web>,
    chrome: Chrome,
    caller: Caller,
    Path((name, path)): Path<(AppName, String)>,
    Form(form): Form<DeleteForm>,
) -> AppResult<Response> {
    let services = &web.services;
    let path: WorkspacePath = field(&path)?;
    if !caller.is_htmx() && form.confirmed != "yes" {
        let encoded = encode_path(path.as_str(), true);
        return reply::page(&ConfirmPage {
            chrome,
            title: format!("Delete {path}?"),
            detail: "Earlier versions keep it.",
            action: format!("/apps/{name}/delete-file/{encoded}"),
            button: "Delete",
            back: format!("/apps/{name}/code/{encoded}"),
        });
    }
    services.delete_file(&name, &path).await?;
    let href = format!("/apps/{name}/code");
    if !caller.is_htmx() {
        return Ok(Redirect::to(&href).into_response());
    }
    let app = services.app(&name).await?;
    let files = services.files(&app).await?;
    let stage = shown(services, &app, &files, None).await?;
    show_changed(services, &app, stage, &href).await
}

/// `POST /apps/{app}/lock-file/{*path}`
pub async fn lock(
    State(web): State<Web>,
    caller: Caller,
    Path((name, path)): Path<(AppName, String)>,
) -> AppResult<Response> {
    let path: WorkspacePath = field(&path)?;
    web.services.lock_file(&name, &path).await?;
    looked_at(&web, caller, &name, &path).await
}

/// `POST /apps/{app}/unlock-file/{*path}`
pub async fn unlock(
    State(web): State<Web>,
    caller: Caller,
    Path((name, path)): Path<(AppName, String)>,
) -> AppResult<Response> {
    let path: WorkspacePath = field(&path)?;
    web.services.unlock_file(&name, &path).await?;
    looked_at(&web, caller, &name, &path).await
}

/// A file, after it was locked or unlocked.
async fn looked_at(web: &Web, caller: Caller, name: &AppName, path: &WorkspacePath) -> AppResult<Response> {
    let href = address(name, path);
    if !caller.is_htmx() {
        return Ok(Redirect::to(&href).into_response());
    }
    let app = web.services.app(name).await?;
    let files = web.services.files(&app).await?;
    let stage = shown(&web.services, &app, &files, Some(path)).await?;
    show_changed(&web.services, &app, stage, &href).await
}

fn head(app: &App) -> String {
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
async fn changes(services: &Services, app: &App, files: &[ListedFile], path: &WorkspacePath) -> AppResult<String> {
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
async fn editor(
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

fn panel(
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
            file_bytes: crate::workspace::Limits::default().file_bytes,
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
