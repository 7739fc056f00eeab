//! The *Code* tab: the tree, a file, and the editor.

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::files_view::{CodeTab, FilePanel, FileView, Hold, TreeFile, source, tree};
use super::page::{at_address, current_state, saved, show, show_changed};
use super::query::AppQuery;
use crate::bounded_work::{Budget, Owner};
use crate::domain::{App, AppName, Version, VersionId, WorkspacePath};
use crate::error::{AppError, AppResult, ErrorKind};
use crate::services::Services;
use crate::services::files::ListedFile;
use crate::web::Web;
use crate::web::chrome::Chrome;
use crate::web::extract::{Form, Path, Query};
use crate::web::format::{self, encode_path};
use crate::web::highlight::COLOUR_TIME;
use crate::web::home::field;
use crate::web::plain_pages::ConfirmPage;
use crate::web::reply::{self, Caller};

/// Files to open by default; the first that exists is shown.
const FIRST: [&str; 3] = ["public/index.html", "main.py", "job.py"];

/// The query parameters.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct CodeQuery {
    new: Option<String>,
}

/// The query parameters.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct FileQuery {
    edit: Option<String>,
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
                let none = FilePanel::new(&app.name, "", Hold::None, String::new(), FileView::None);
                let problem = Some((typed.as_str(), error.detail.as_str()));
                let stage = with_problem(&app, &files, None, problem, reply::render(&none)?)?;
                let mut response = show(services, chrome, caller, &app, "code", stage, &AppQuery::default()).await?;
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
    } else {
        let first = FIRST.iter().find_map(|wanted| files.iter().find(|file| file.path.as_str() == *wanted));
        let first = first.or_else(|| files.iter().find(|file| !file.platform)).map(|file| file.path.clone());
        shown(services, &app, &files, first.as_ref()).await?
    };
    show(services, chrome, caller, &app, "code", stage, &AppQuery::default()).await
}

/// `GET /apps/{app}/code/{*path}`
pub async fn file(
    State(web): State<Web>,
    chrome: Chrome,
    caller: Caller,
    Path((name, path)): Path<(AppName, String)>,
    Query(query): Query<FileQuery>,
) -> AppResult<Response> {
    let services = &web.services;
    let app = services.app(&name).await?;
    let path: WorkspacePath = field(&path)?;
    let files = services.files(&app).await?;
    let stage = if query.edit.is_some() {
        editor(services, &app, &files, &path, None).await?
    } else {
        shown(services, &app, &files, Some(&path)).await?
    };
    show(services, chrome, caller, &app, "code", stage, &AppQuery::default()).await
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
    let href = format!("/apps/{name}/code/{}", encode_path(path.as_str(), true));
    match services.write_file(&name, &path, content.clone().into_bytes(), expected).await {
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
    let href = format!("/apps/{name}/code/{}", encode_path(path.as_str(), true));
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
        .fill("tree-files", &tree(name, &listed(&files), Some(path.as_str())).0)
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
    let href = format!("/apps/{name}/code/{}", encode_path(path.as_str(), true));
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

/// A file in the viewer, or none.
async fn shown(
    services: &Services,
    app: &App,
    files: &[ListedFile],
    path: Option<&WorkspacePath>,
) -> AppResult<String> {
    let Some(path) = path else {
        let none = FilePanel::new(&app.name, "", Hold::None, String::new(), FileView::None);
        return with_tree(app, files, None, reply::render(&none)?);
    };
    let bytes = services.read_file(app, path).await?;
    let size = format::bytes(bytes.len() as u64);
    let listed = files.iter().find(|file| file.path == *path);
    let hold = listed.map_or(Hold::None, Hold::of);
    let binary = listed.is_some_and(|file| file.binary);
    let (facts, view) = match String::from_utf8(bytes) {
        Ok(text) if !binary => {
            let facts = format!("{} · {size}", format::count(text.lines().count() as u64, "line", "lines"));
            let name = path.as_str().to_owned();
            let work = move |budget: &Budget| source(&name, &text, budget);
            let owner = Owner::App(app.name.clone());
            (facts, services.cpu_work().run("highlight", owner, COLOUR_TIME, work).await?)
        }
        _ => (size.clone(), FileView::Binary { bytes: size }),
    };
    with_tree(app, files, Some(path), panel(app, path, hold, facts, view, None)?)
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

fn with_tree(app: &App, files: &[ListedFile], path: Option<&WorkspacePath>, file: String) -> AppResult<String> {
    with_problem(app, files, path, None, file)
}

/// The tree, the file, and what is wrong with the path of a new file.
fn with_problem(
    app: &App,
    files: &[ListedFile],
    path: Option<&WorkspacePath>,
    problem: Option<(&str, &str)>,
    file: String,
) -> AppResult<String> {
    let current = path.map(WorkspacePath::as_str);
    reply::render(&CodeTab {
        app: &app.name,
        count: files.len(),
        current,
        problem,
        tree: tree(&app.name, &listed(files), current),
        file,
    })
}

fn listed(files: &[ListedFile]) -> Vec<TreeFile<'_>> {
    files
        .iter()
        .map(|file| TreeFile { path: file.path.as_str(), hold: Hold::of(file), changed: file.changed })
        .collect()
}
