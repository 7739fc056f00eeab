//! Versions: list, compare, restore.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::{Path, Query};
use super::list::PageQuery;
use crate::domain::{AppName, ChangeSize, TurnId, Version, VersionId, VersionKind};
use crate::error::AppResult;
use crate::services::Services;

/// A commit in the app's workspace.
#[derive(Serialize, ToSchema)]
#[schema(as = Version)]
pub struct VersionJson {
    /// The commit: 40 hexadecimal digits.
    #[schema(value_type = String)]
    id: VersionId,
    /// Number within the app, from 1.
    number: u32,
    /// Its title, for example the first line of the user's message.
    title: String,
    /// Its origin.
    kind: VersionKind,
    /// The turn that created it, if any.
    #[schema(value_type = Option<i64>)]
    turn: Option<TurnId>,
    /// Changes from the previous version.
    size: ChangeSize,
    /// When it was committed.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<Version> for VersionJson {
    fn from(version: Version) -> Self {
        Self {
            id: version.id,
            number: version.number,
            title: version.title,
            kind: version.kind,
            turn: version.turn,
            size: version.size,
            created_at: version.created_at,
        }
    }
}

/// A page of versions.
#[derive(Serialize, ToSchema)]
pub struct VersionList {
    /// Newest first.
    versions: Vec<VersionJson>,
    /// Cursor of the next page; null on the last page.
    next: Option<String>,
}

/// List versions.
#[utoipa::path(
    get, path = "/api/v1/apps/{app}/versions", tag = "Versions",
    params(("app" = String, Path, description = "The app's name."), PageQuery),
    responses((status = 200, description = "Versions, newest first.", body = VersionList)),
)]
pub async fn list(
    State(services): State<Services>,
    Path(name): Path<AppName>,
    Query(page): Query<PageQuery>,
) -> AppResult<axum::Json<VersionList>> {
    let page = page.request(1)?;
    let app = services.app(&name).await?;
    let page = services.versions(&app, page).await?;
    Ok(axum::Json(VersionList {
        versions: page.items.into_iter().map(VersionJson::from).collect(),
        next: page.next.map(String::from),
    }))
}

/// Compare a version with the previous one.
#[utoipa::path(
    get, path = "/api/v1/apps/{app}/versions/{id}/diff", tag = "Versions",
    params(
        ("app" = String, Path, description = "The app's name."),
        ("id" = String, Path, description = "The version: 40 hexadecimal digits."),
    ),
    responses((status = 200, description = "A unified diff.", body = String, content_type = "text/plain")),
)]
pub async fn diff(
    State(services): State<Services>,
    Path((name, id)): Path<(AppName, VersionId)>,
) -> AppResult<Response> {
    let app = services.app(&name).await?;
    let diff = services.diff_text(&app, &id).await?;
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], diff).into_response())
}

/// Restore a version.
///
/// Its files become a new version; the history stays complete.
#[utoipa::path(
    post, path = "/api/v1/apps/{app}/versions/{id}/restore", tag = "Versions",
    params(
        ("app" = String, Path, description = "The app's name."),
        ("id" = String, Path, description = "The version: 40 hexadecimal digits."),
    ),
    responses((status = 201, description = "The new version.", body = VersionJson)),
)]
pub async fn restore(
    State(services): State<Services>,
    Path((name, id)): Path<(AppName, VersionId)>,
) -> AppResult<Response> {
    let version = services.restore(&name, &id).await?;
    Ok((StatusCode::CREATED, axum::Json(VersionJson::from(version))).into_response())
}
