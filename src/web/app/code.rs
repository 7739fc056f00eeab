//! The *Code* tab: the tree, a file, and the editor.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::code_stage::{
    Tab, address, changes, editor, exists, head, no_file, panel, renaming, rendered_tree, shown, with_tree,
};
use super::files_view::{FilePanel, FileView, Hold};
use super::find_view::FindPanel;
use super::page::{at_address, current_state, saved, show, show_changed};
use super::query::AppQuery;
use crate::domain::attachment::recognise;
use crate::domain::{App, AppName, Version, VersionId, WorkspacePath};
use crate::error::{AppError, AppResult, ErrorKind};
use crate::services::Services;
use crate::web::Web;
use crate::web::chrome::Chrome;
use crate::web::extract::{Form, Path, Query};
use crate::web::format::encode_path;
use crate::web::home::field;
use crate::web::plain_pages::ConfirmPage;
use crate::web::reply::{self, Caller};
use crate::workspace::Wanted;

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
