//! Files of the newest version, their content, and the user's edits, each of which creates a version.

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::{Path, Query, Raw};
use super::list::PageQuery;
use super::versions::VersionJson;
use crate::domain::{AppName, VersionId, WorkspacePath};
use crate::error::{AppError, AppResult, ErrorKind};
use crate::services::Services;
use crate::services::files::ListedFile;

/// Maximum bytes that are read of a body; slightly more than a workspace accepts, so that the workspace's error names the file.
pub const FILE_BODY_MAX: usize = 1024 * 1024 + 64 * 1024;

/// A file in the list.
#[derive(Serialize, ToSchema)]
#[schema(as = File)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts about a file")]
pub struct FileJson {
    /// Path, relative to the workspace.
    #[schema(value_type = String, example = "public/index.html")]
    path: WorkspacePath,
    /// Its size.
    bytes: u64,
    /// It is a binary file.
    binary: bool,
    /// It belongs to the platform and is read-only.
    platform: bool,
    /// It differs from the previous version.
    changed: bool,
    /// It is locked: neither the model nor a user can change it.
    locked: bool,
}

impl From<ListedFile> for FileJson {
    fn from(file: ListedFile) -> Self {
        let ListedFile { path, bytes, binary, platform, changed, locked } = file;
        Self { path, bytes, binary, platform, changed, locked }
    }
}

/// A page of files.
#[derive(Serialize, ToSchema)]
pub struct FileList {
    /// By path.
    files: Vec<FileJson>,
    /// Cursor of the next page; null on the last page.
    next: Option<String>,
}

/// List files.
#[utoipa::path(
    get, path = "/api/v1/apps/{app}/files", tag = "Files",
    params(("app" = String, Path, description = "The app's name."), PageQuery),
    responses((status = 200, description = "The files of the newest version, by path.", body = FileList)),
)]
pub async fn list(
    State(services): State<Services>,
    Path(name): Path<AppName>,
    Query(page): Query<PageQuery>,
) -> AppResult<axum::Json<FileList>> {
    let app = services.app(&name).await?;
    let mut files = services.files(&app).await?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let (files, next) = page.cut(files, |file| file.path.to_string())?;
    Ok(axum::Json(FileList { files: files.into_iter().map(FileJson::from).collect(), next }))
}

/// Read a file.
///
/// Its content in the newest version, as text or as `application/octet-stream`, never as a type
/// that a browser would execute. `ETag` is the id of that version.
#[utoipa::path(
    get, path = "/api/v1/apps/{app}/files/{path}", tag = "Files",
    params(
        ("app" = String, Path, description = "The app's name."),
        ("path" = String, Path, description = "The file's path, with slashes."),
    ),
    responses((status = 200, description = "The file's bytes.", body = Vec<u8>, content_type = "application/octet-stream", headers(("ETag" = String, description = "The newest version, for `If-Match`.")))),
)]
pub async fn read(
    State(services): State<Services>,
    Path((name, path)): Path<(AppName, String)>,
) -> AppResult<Response> {
    let path: WorkspacePath = path.parse()?;
    let app = services.app(&name).await?;
    let bytes = services.read_file(&app, &path).await?;
    let is_text = !bytes.contains(&0) && std::str::from_utf8(&bytes).is_ok();
    let kind = if is_text { "text/plain; charset=utf-8" } else { "application/octet-stream" };
    let headers = [(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-cache")];
    let mut response = (headers, bytes).into_response();
    if let Some(Ok(tag)) = app.head.map(|head| HeaderValue::try_from(format!("\"{head}\""))) {
        response.headers_mut().insert(ETAG, tag);
    }
    Ok(response)
}

/// Save a file.
///
/// The body is the file's content, at most 1 MiB. With `If-Match`, the request succeeds only if that is still the newest
/// version. Saving unchanged content creates no version.
#[utoipa::path(
    put, path = "/api/v1/apps/{app}/files/{path}", tag = "Files",
    params(
        ("app" = String, Path, description = "The app's name."),
        ("path" = String, Path, description = "The file's path, with slashes."),
        ("If-Match" = Option<String>, Header, description = "The version that must be the newest."),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "The file's content."),
    responses(
        (status = 200, description = "The file existed; the newest version.", body = VersionJson),
        (status = 201, description = "The file is new; the version that contains it.", body = VersionJson),
    ),
)]
pub async fn write(
    State(services): State<Services>,
    Path((name, path)): Path<(AppName, String)>,
    headers: HeaderMap,
    Raw(bytes): Raw,
) -> AppResult<Response> {
    let path: WorkspacePath = path.parse()?;
    let expected = expected_version(&headers)?;
    let app = services.app(&name).await?;
    let was_there = match services.read_file(&app, &path).await {
        Ok(_) => true,
        Err(AppError { kind: ErrorKind::NotFound, .. }) => false,
        Err(error) => return Err(error),
    };
    let version = services.write_file(&name, &path, bytes.into(), expected).await?;
    let status = if was_there { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, axum::Json(VersionJson::from(version))).into_response())
}

/// Delete a file.
#[utoipa::path(
    delete, path = "/api/v1/apps/{app}/files/{path}", tag = "Files",
    params(
        ("app" = String, Path, description = "The app's name."),
        ("path" = String, Path, description = "The file's path, with slashes."),
        ("If-Match" = Option<String>, Header, description = "The version that must be the newest."),
    ),
    responses((status = 200, description = "The version without it.", body = VersionJson)),
)]
pub async fn delete(
    State(services): State<Services>,
    Path((name, path)): Path<(AppName, String)>,
    headers: HeaderMap,
) -> AppResult<axum::Json<VersionJson>> {
    let path: WorkspacePath = path.parse()?;
    let expected = expected_version(&headers)?;
    if expected.is_some() && expected != services.app(&name).await?.head {
        return Err(AppError::conflict("version_changed", "The app has changed since this version."));
    }
    Ok(axum::Json(services.delete_file(&name, &path).await?.into()))
}

/// Lock a file.
///
/// Neither the model nor a user can change a locked file: 409 `file_locked`.
#[utoipa::path(
    put, path = "/api/v1/apps/{app}/locks/{path}", tag = "Files",
    params(
        ("app" = String, Path, description = "The app's name."),
        ("path" = String, Path, description = "The file's path, with slashes."),
    ),
    responses((status = 204, description = "The file is locked.")),
)]
pub async fn lock(
    State(services): State<Services>,
    Path((name, path)): Path<(AppName, String)>,
) -> AppResult<StatusCode> {
    services.lock_file(&name, &path.parse()?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Unlock a file.
#[utoipa::path(
    delete, path = "/api/v1/apps/{app}/locks/{path}", tag = "Files",
    params(
        ("app" = String, Path, description = "The app's name."),
        ("path" = String, Path, description = "The file's path, with slashes."),
    ),
    responses((status = 204, description = "The file is not locked.")),
)]
pub async fn unlock(
    State(services): State<Services>,
    Path((name, path)): Path<(AppName, String)>,
) -> AppResult<StatusCode> {
    services.unlock_file(&name, &path.parse()?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The version in `If-Match`, in the form of `ETag`. `*` matches any version.
fn expected_version(headers: &HeaderMap) -> AppResult<Option<VersionId>> {
    let mut values = headers.get_all(IF_MATCH).iter();
    let text = match (values.next(), values.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => value.to_str().unwrap_or_default().trim(),
        (Some(_), Some(_)) => "",
    };
    if text == "*" {
        return Ok(None);
    }
    let id = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let id = id.parse().map_err(|_| AppError::bad_request("If-Match is not a version: send one ETag, unchanged."))?;
    Ok(Some(id))
}
