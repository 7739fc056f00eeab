//! Share links of drafts and previews: create, list, revoke.

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

/// Request to create a share link.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPreviewLink {
    /// The place that it opens; default: the preview. A draft only if the app has one.
    #[serde(default = "preview")]
    #[schema(default = "preview")]
    place: Place,
    /// Its lifetime; default: a day.
    #[serde(default)]
    #[schema(default = "1d")]
    lasts: LinkLife,
}

fn preview() -> Place {
    Place::Preview
}

/// A link that opens a draft or a preview without a login. Its address is not stored.
#[derive(Serialize, ToSchema)]
#[schema(as = PreviewLink)]
pub struct PreviewLinkJson {
    /// Unique id; never reused.
    id: i64,
    /// The place that it opens.
    place: Place,
    /// Time of creation.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Its expiry.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

impl From<PreviewLink> for PreviewLinkJson {
    fn from(link: PreviewLink) -> Self {
        Self { id: link.id, place: link.place, created_at: link.created_at, expires_at: link.expires_at }
    }
}

/// A share link that was just created.
#[derive(Serialize, ToSchema)]
pub struct MadePreviewLink {
    #[serde(flatten)]
    #[schema(inline)]
    about: PreviewLinkJson,
    /// The link, returned only in this response. A browser that opens it is redirected to the app; a program has to follow
    /// redirects and store cookies.
    url: String,
}

/// A page of share links.
#[derive(Serialize, ToSchema)]
pub struct PreviewLinkList {
    /// Newest first.
    preview_links: Vec<PreviewLinkJson>,
    /// Cursor of the next page; null on the last page.
    next: Option<String>,
}

/// Create a share link.
///
/// 409 `previews_are_open` if drafts and previews need no login, and `nothing_to_share` if the app has none.
#[utoipa::path(
    post, path = "/api/v1/apps/{app}/preview-links", tag = "Share links", request_body = NewPreviewLink,
    params(("app" = String, Path, description = "The app's name.")),
    responses((status = 201, description = "The link, with its address, which is not returned again.", body = MadePreviewLink)),
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

/// List active share links.
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
    // Newest first means descending ids, but paging needs ascending keys.
    let (links, next) = page.cut(links, |link| format!("{:020}", i64::MAX - link.id))?;
    Ok(axum::Json(PreviewLinkList { preview_links: links.into_iter().map(PreviewLinkJson::from).collect(), next }))
}

/// Revoke a share link.
///
/// Access through it ends at once. Revoking a link that does not exist succeeds.
#[utoipa::path(
    delete, path = "/api/v1/apps/{app}/preview-links/{id}", tag = "Share links",
    params(("app" = String, Path, description = "The app's name."), ("id" = i64, Path, description = "The link's id.")),
    responses((status = 204, description = "The link is revoked.")),
)]
pub async fn revoke(
    State(services): State<Services>,
    Path((name, id)): Path<(AppName, String)>,
) -> AppResult<StatusCode> {
    let app = services.app(&name).await?;
    let id = id.parse().map_err(|_| AppError::not_found("share link with this id: a link's id is a whole number"))?;
    services.revoke_preview_link(&app, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
