//! Files: the tree at head, what stands in them, and changes by hand, each of which is a version.

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

/// Most bytes that are read of a file; a little more than a workspace takes, which then says so by name.
pub const FILE_BODY_MAX: usize = 1024 * 1024 + 64 * 1024;

/// A file as it is listed.
#[derive(Serialize, ToSchema)]
#[schema(as = File)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts about a file")]
pub struct FileJson {
    /// Where, relative to the workspace.
    #[schema(value_type = String, example = "public/index.html")]
    path: WorkspacePath,
    /// Its size.
    bytes: u64,
    /// No text.
    binary: bool,
    /// Belongs to the platform: read only.
    platform: bool,
    /// Differs from the version before head.
    changed: bool,
    /// Locked: neither the model nor an edit by hand changes it.
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
    /// Where the next page begins; null at the end.
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
/// Its bytes at the newest version, as text or as `application/octet-stream`, never as anything
/// that a browser would run. `ETag` is that version.
#[utoipa::path(
    get, path = "/api/v1/apps/{app}/files/{path}", tag = "Files",
    params(
        ("app" = String, Path, description = "The app's name."),
        ("path" = String, Path, description = "The file's path, slashes included."),
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
/// The body is the file's content, 1 MiB at most. With `If-Match`, only if the app is still at that
/// version. Saving what stands there already makes no version.
#[utoipa::path(
    put, path = "/api/v1/apps/{app}/files/{path}", tag = "Files",
    params(
        ("app" = String, Path, description = "The app's name."),
        ("path" = String, Path, description = "The file's path, slashes included."),
        ("If-Match" = Option<String>, Header, description = "The version that the app must be at."),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "The file's content."),
    responses(
        (status = 200, description = "The file was there; the newest version.", body = VersionJson),
        (status = 201, description = "The file is new; the version that holds it.", body = VersionJson),
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
        ("path" = String, Path, description = "The file's path, slashes included."),
        ("If-Match" = Option<String>, Header, description = "The version that the app must be at."),
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
/// From now on neither the model nor an edit by hand changes it: 409 `file_locked`.
#[utoipa::path(
    put, path = "/api/v1/apps/{app}/locks/{path}", tag = "Files",
    params(
        ("app" = String, Path, description = "The app's name."),
        ("path" = String, Path, description = "The file's path, slashes included."),
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
        ("path" = String, Path, description = "The file's path, slashes included."),
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

/// The version in `If-Match`, as `ETag` gave it out. `*` is any.
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
    let id = id.parse().map_err(|_| AppError::bad_request("If-Match is no version: send one ETag as it was given."))?;
    Ok(Some(id))
}
