//! Share links of drafts and previews: make, list, take back.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{Json, Path, Query};
use super::list::PageQuery;
use crate::browser_errors::Place;
use crate::domain::AppName;
use crate::error::{AppError, AppResult};
use crate::services::Services;
use crate::services::preview_access::LinkLife;
use crate::store::preview_access::PreviewLink;

/// What a link opens, and for how long.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPreviewLink {
    /// The preview when left out; a draft where the app has one.
    #[serde(default = "preview")]
    #[schema(default = "preview")]
    place: Place,
    /// A day when left out.
    #[serde(default)]
    #[schema(default = "1d")]
    lasts: LinkLife,
}

fn preview() -> Place {
    Place::Preview
}

/// A link that opens a draft or a preview without a log-in. Its address is not kept.
#[derive(Serialize, ToSchema)]
#[schema(as = PreviewLink)]
pub struct PreviewLinkJson {
    /// Its id, never reused.
    id: i64,
    /// What it opens.
    place: Place,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it ends.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

impl From<PreviewLink> for PreviewLinkJson {
    fn from(link: PreviewLink) -> Self {
        Self { id: link.id, place: link.place, created_at: link.created_at, expires_at: link.expires_at }
    }
}

/// A share link that was just made.
#[derive(Serialize, ToSchema)]
pub struct MadePreviewLink {
    #[serde(flatten)]
    #[schema(inline)]
    about: PreviewLinkJson,
    /// The link, returned only in this answer. A browser that opens it is redirected to the app; a program has to follow
    /// redirects and keep cookies.
    url: String,
}

/// A page of share links.
#[derive(Serialize, ToSchema)]
pub struct PreviewLinkList {
    /// The newest first.
    preview_links: Vec<PreviewLinkJson>,
    /// Where the next page begins; null at the end.
    next: Option<String>,
}

/// Make a share link.
///
/// 409 `previews_are_open` where drafts and previews need no log-in, and `nothing_to_share` where the app has none.
#[utoipa::path(
    post, path = "/api/v1/apps/{app}/preview-links", tag = "Share links", request_body = NewPreviewLink,
    params(("app" = String, Path, description = "The app's name.")),
    responses((status = 201, description = "The link, with its address this one time.", body = MadePreviewLink)),
)]
pub async fn create(
    State(services): State<Services>,
    Path(name): Path<AppName>,
    Json(new): Json<NewPreviewLink>,
) -> AppResult<Response> {
    let app = services.app(&name).await?;
    let (about, url) = services.create_preview_link(&app, new.place, new.lasts).await?;
    let made = MadePreviewLink { about: about.into(), url: url.expose_secret().to_owned() };
    Ok((StatusCode::CREATED, [(CACHE_CONTROL, "no-store")], axum::Json(made)).into_response())
}

/// List share links that have not ended.
#[utoipa::path(
    get, path = "/api/v1/apps/{app}/preview-links", tag = "Share links",
    params(("app" = String, Path, description = "The app's name."), PageQuery),
    responses((status = 200, description = "Links, newest first.", body = PreviewLinkList)),
)]
pub async fn list(
    State(services): State<Services>,
    Path(name): Path<AppName>,
    Query(page): Query<PageQuery>,
) -> AppResult<axum::Json<PreviewLinkList>> {
    let links = services.preview_links(&services.app(&name).await?).await?;
    // Newest first means falling ids, and pages are cut by rising keys.
    let (links, next) = page.cut(links, |link| format!("{:020}", i64::MAX - link.id))?;
    Ok(axum::Json(PreviewLinkList { preview_links: links.into_iter().map(PreviewLinkJson::from).collect(), next }))
}

/// Revoke a share link.
///
/// Access through it ends at once. Revoking a link that does not exist succeeds.
#[utoipa::path(
    delete, path = "/api/v1/apps/{app}/preview-links/{id}", tag = "Share links",
    params(("app" = String, Path, description = "The app's name."), ("id" = i64, Path, description = "The link's id.")),
    responses((status = 204, description = "It is gone.")),
)]
pub async fn revoke(
    State(services): State<Services>,
    Path((name, id)): Path<(AppName, String)>,
) -> AppResult<StatusCode> {
    let app = services.app(&name).await?;
    let id = id.parse().map_err(|_| AppError::not_found("share link of this name: a link's id is a whole number"))?;
    services.revoke_preview_link(&app, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
