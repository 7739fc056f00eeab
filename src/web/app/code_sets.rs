//! Forms of the *Code* tab that change several files at once: upload, and rename of a file or a folder.

use axum::RequestExt;
use axum::extract::{FromRequest, Multipart, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::code_stage::{Tab, address, no_file, renaming, rendered_tree, shown};
use super::page::{current_state, saved, show, show_changed};
use super::query::AppQuery;
use crate::domain::{AppName, WorkspacePath};
use crate::error::{AppError, AppResult, ErrorKind};
use crate::services::file_sets::{UPLOAD_BYTES_MAX, UPLOAD_FILES_MAX, UploadedFile};
use crate::web::Web;
use crate::web::chrome::Chrome;
use crate::web::extract::{Form, Path};
use crate::web::home::field;
use crate::web::reply::{self, Caller};
use crate::web::upload::refusal;

/// Maximum size of the upload form in bytes: the files, their paths and the form's own syntax.
pub const FORM_MAX: usize = UPLOAD_BYTES_MAX + 1024 * 1024;
/// Maximum size of a text field in bytes.
const FIELD_MAX: usize = 4096;

/// Redirects to the tab when the address of a form is opened as a page, for example after a login.
pub async fn back(Path(name): Path<AppName>) -> Response {
    Redirect::to(&format!("/apps/{name}/code")).into_response()
}

/// The form's fields.
#[derive(Deserialize)]
pub struct RenameForm {
    to: String,
}

/// `POST /apps/{app}/rename-file/{*path}`: moves a file or a folder.
pub async fn rename(
    State(web): State<Web>,
    chrome: Chrome,
    caller: Caller,
    Path((name, path)): Path<(AppName, String)>,
    Form(form): Form<RenameForm>,
) -> AppResult<Response> {
    let services = &web.services;
    let from: WorkspacePath = field(&path)?;
    // A folder is often written with a slash at its end.
    let moved = match field::<WorkspacePath>(form.to.trim().trim_end_matches('/')) {
        Ok(to) => services.move_files(&name, &from, &to).await.map(|_| to),
        Err(error) => Err(error),
    };
    match moved {
        Ok(to) if !caller.is_htmx() => Ok(Redirect::to(&address(&name, &to)).into_response()),
        Ok(to) => {
            let app = services.app(&name).await?;
            let files = services.files(&app).await?;
            let stage = shown(services, &app, &files, Some(&to)).await?;
            show_changed(services, &app, stage, &address(&name, &to)).await
        }
        // The form shows what is wrong, beside what was typed.
        Err(error) if is_for_the_form(&error) => {
            let app = services.app(&name).await?;
            let files = services.files(&app).await?;
            let stage = renaming(services, &app, &files, &from, &form.to, Some(&words(&error))).await?;
            let mut response = show(services, chrome, caller, &app, "code", stage, &AppQuery::default()).await?;
            *response.status_mut() = error.kind.status();
            Ok(response)
        }
        Err(error) => Err(error),
    }
}

/// What a user can change in the form.
fn is_for_the_form(error: &AppError) -> bool {
    matches!(error.kind, ErrorKind::Invalid | ErrorKind::Conflict | ErrorKind::Forbidden | ErrorKind::TooLarge)
}

fn words(error: &AppError) -> String {
    match &error.hint {
        Some(hint) => format!("{} {hint}", error.detail),
        None => error.detail.clone(),
    }
}

/// The files of the upload form, with the choices made there.
pub struct UploadForm {
    folder: String,
    replace: bool,
    /// A script sends this while a file is being edited: the editor stays as it is.
    stay: bool,
    /// The path of each file inside the folder. Browsers send only names, scripts send paths.
    paths: Vec<String>,
    files: Vec<(String, Vec<u8>)>,
}

impl<S: Send + Sync> FromRequest<S> for UploadForm {
    type Rejection = AppError;
    async fn from_request(request: Request, _: &S) -> Result<Self, AppError> {
        let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.to_ascii_lowercase().starts_with("multipart/form-data") {
            return Err(AppError::bad_request("Send the files as multipart/form-data."));
        }
        let mut form: Multipart =
            request.extract().await.map_err(|_| AppError::bad_request("The form cannot be read."))?;
        let mut read =
            Self { folder: String::new(), replace: false, stay: false, paths: Vec::new(), files: Vec::new() };
        while let Some(part) = form.next_field().await.map_err(|error| refusal(&error, too_large()))? {
            let name = part.name().unwrap_or_default().to_owned();
            let file = part.file_name().map(str::to_owned);
            let bytes = part.bytes().await.map_err(|error| refusal(&error, too_large()))?;
            if let Some(file) = file.filter(|_| name == "files") {
                // An empty file field.
                if file.is_empty() && bytes.is_empty() {
                    continue;
                }
                if read.files.len() >= UPLOAD_FILES_MAX {
                    return Err(too_many());
                }
                read.files.push((file, bytes.into()));
                continue;
            }
            if bytes.len() > FIELD_MAX {
                return Err(AppError::bad_request("The form cannot be read: a field is too long."));
            }
            let text = String::from_utf8(bytes.into())
                .map_err(|_| AppError::bad_request("The form cannot be read: it is not in UTF-8."))?;
            match name.as_str() {
                "folder" => read.folder = text,
                "replace" => read.replace = true,
                "stay" => read.stay = true,
                "path" if read.paths.len() >= UPLOAD_FILES_MAX => return Err(too_many()),
                "path" => read.paths.push(text),
                _ => {}
            }
        }
        Ok(read)
    }
}

fn too_many() -> AppError {
    AppError::invalid(format!("At most {UPLOAD_FILES_MAX} files can be uploaded at once."))
}

fn too_large() -> AppError {
    let detail = format!("The files of one upload can have at most {} MiB together.", UPLOAD_BYTES_MAX >> 20);
    AppError::new(ErrorKind::TooLarge, "too_large", detail)
}

impl UploadForm {
    /// The files with the paths where they are saved.
    fn into_files(self) -> AppResult<Vec<UploadedFile>> {
        let folder = self.folder.trim().trim_matches('/');
        let has_paths = !self.paths.is_empty();
        if has_paths && self.paths.len() != self.files.len() {
            return Err(AppError::bad_request("The form cannot be read: not every file has a path."));
        }
        let mut paths = self.paths.into_iter();
        let file = |(name, bytes): (String, Vec<u8>)| {
            let inside = match paths.next() {
                Some(path) => path,
                // Some browsers send the path on the user's disk.
                None => name.rsplit(['/', '\\']).next().unwrap_or_default().to_owned(),
            };
            let path = if folder.is_empty() { inside } else { format!("{folder}/{inside}") };
            Ok(UploadedFile { path: field(&path)?, bytes })
        };
        self.files.into_iter().map(file).collect()
    }
}

/// `POST /apps/{app}/upload`: saves files as one version.
pub async fn upload(
    State(web): State<Web>,
    chrome: Chrome,
    caller: Caller,
    Path(name): Path<AppName>,
    form: UploadForm,
) -> AppResult<Response> {
    let services = &web.services;
    let (folder, replace, stay) = (form.folder.clone(), form.replace, form.stay);
    let uploaded = match form.into_files() {
        Ok(files) => {
            let first = files.first().map(|file| file.path.clone());
            services.upload_files(&name, files, replace).await.map(|version| (version, first))
        }
        Err(error) => Err(error),
    };
    let (version, first) = match uploaded {
        Ok(uploaded) => uploaded,
        // The form shows what is wrong. A script shows the error itself.
        Err(error) if !caller.is_htmx() && is_for_the_form(&error) => {
            let app = services.app(&name).await?;
            let files = services.files(&app).await?;
            let problem = words(&error);
            let mut tab = Tab::new(&app, &files, None, no_file(&app)?);
            tab.folder = Some(&folder);
            tab.upload_problem = Some(&problem);
            let stage = tab.render()?;
            let mut response = show(services, chrome, caller, &app, "code", stage, &AppQuery::default()).await?;
            *response.status_mut() = error.kind.status();
            return Ok(response);
        }
        Err(error) => return Err(error),
    };
    let href = first.as_ref().map_or_else(|| format!("/apps/{name}/code"), |path| address(&name, path));
    if !caller.is_htmx() {
        return Ok(Redirect::to(&href).into_response());
    }
    let app = services.app(&name).await?;
    let files = services.files(&app).await?;
    if stay {
        let tree = rendered_tree(&name, &files, None).0;
        let pieces = current_state(services, &app).await?.fill("tree-files", &tree).announce(&saved(&version));
        return Ok(reply::html(pieces.into_html()));
    }
    let stage = shown(services, &app, &files, first.as_ref()).await?;
    show_changed(services, &app, stage, &href).await
}
