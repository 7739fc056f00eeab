//! Deployments: preview, publish, roll back, and the releases they leave.

use axum::extract::State;
use axum::response::Response;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::{OptionalJson, Path, Query};
use super::jobs::{JobJson, accepted};
use super::list::{Limit, page_request};
use crate::domain::{
    AppName, Environment, ImageRef, JobId, Release, ReleaseNumber, ReleaseState, SmokeCount, VersionId,
};
use crate::error::AppResult;
use crate::services::Services;

/// What is to be put in preview.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPreview {
    /// The version, as its 40 hexadecimal digits; the newest when left out.
    #[schema(value_type = Option<String>)]
    version: Option<VersionId>,
}

/// What is to be put back.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRollback {
    /// Where; `prod` when left out.
    #[schema(default = "prod")]
    environment: Option<Environment>,
    /// The release; the one before when left out.
    #[schema(value_type = Option<u32>, example = 3)]
    release: Option<ReleaseNumber>,
}

/// A numbered deployment of a build to an environment.
#[derive(Serialize, ToSchema)]
#[schema(as = Release)]
pub struct ReleaseJson {
    /// Within its app and environment, from 1.
    #[schema(value_type = u32)]
    number: ReleaseNumber,
    /// Where.
    environment: Environment,
    /// What was built.
    #[schema(value_type = String)]
    version: VersionId,
    /// The very bytes that run: `name@sha256:…`.
    #[schema(value_type = String)]
    image: ImageRef,
    /// Where it stands.
    state: ReleaseState,
    /// When its deployment began.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// The earlier release of the same environment that this one puts back.
    #[schema(value_type = Option<u32>)]
    from_release: Option<ReleaseNumber>,
    /// Made by a roll back.
    rolled_back: bool,
    /// The job that made it; it has the evidence of the checks.
    #[schema(value_type = i64)]
    job: JobId,
    /// How many checks it passed before it took traffic. Publishing and rolling back put an image in place
    /// that has passed its own, and ask for its health alone.
    checks: SmokeCount,
}

impl From<Release> for ReleaseJson {
    fn from(release: Release) -> Self {
        Self {
            number: release.number,
            environment: release.environment,
            version: release.version,
            image: release.image,
            state: release.state,
            created_at: release.created_at,
            from_release: release.from_release,
            rolled_back: release.rolled_back,
            job: release.job,
            checks: release.checks,
        }
    }
}

/// A page of releases.
#[derive(Serialize, ToSchema)]
pub struct ReleaseList {
    /// The newest first.
    releases: Vec<ReleaseJson>,
    /// Where the next page begins; null at the end.
    next: Option<String>,
}

/// Which releases.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ReleasesQuery {
    /// Of this environment alone.
    environment: Option<Environment>,
    /// Rows at most; 100 when left out.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<Limit>,
    /// Where to go on: `next` of the page before, as it was given.
    cursor: Option<String>,
}

/// Deploy a preview.
///
/// Builds the version if it was not built before, starts it, and says that it is ready only when it
/// has answered. Until then, and if it fails, what ran before goes on.
#[utoipa::path(
    post, path = "/api/v1/apps/{app}/previews", tag = "Deployments",
    params(("app" = String, Path, description = "The app's name.")), request_body(content = Option<NewPreview>),
    responses((status = 202, description = "The job that does it.", body = JobJson)),
)]
pub async fn preview(
    State(services): State<Services>,
    Path(name): Path<AppName>,
    OptionalJson(new): OptionalJson<NewPreview>,
) -> AppResult<Response> {
    services.deploy_preview(&name, new.version).await.map(accepted)
}

/// Publish.
///
/// Puts the very image that is ready in preview into production. 409 `nothing_to_publish` when there is none.
#[utoipa::path(
    post, path = "/api/v1/apps/{app}/publish", tag = "Deployments",
    params(("app" = String, Path, description = "The app's name.")),
    responses((status = 202, description = "The job that does it.", body = JobJson)),
)]
pub async fn publish(State(services): State<Services>, Path(name): Path<AppName>) -> AppResult<Response> {
    services.publish(&name).await.map(accepted)
}

/// Roll back.
///
/// Puts an earlier release back, without a build. 409 `nothing_to_roll_back` when there is none before.
#[utoipa::path(
    post, path = "/api/v1/apps/{app}/rollback", tag = "Deployments",
    params(("app" = String, Path, description = "The app's name.")), request_body(content = Option<NewRollback>),
    responses((status = 202, description = "The job that does it.", body = JobJson)),
)]
pub async fn rollback(
    State(services): State<Services>,
    Path(name): Path<AppName>,
    OptionalJson(new): OptionalJson<NewRollback>,
) -> AppResult<Response> {
    let environment = new.environment.unwrap_or(Environment::Prod);
    services.rollback(&name, environment, new.release).await.map(accepted)
}

/// List releases.
#[utoipa::path(
    get, path = "/api/v1/apps/{app}/releases", tag = "Deployments",
    params(("app" = String, Path, description = "The app's name."), ReleasesQuery),
    responses((status = 200, description = "Releases, newest first.", body = ReleaseList)),
)]
pub async fn releases(
    State(services): State<Services>,
    Path(name): Path<AppName>,
    Query(query): Query<ReleasesQuery>,
) -> AppResult<axum::Json<ReleaseList>> {
    let page = page_request(query.limit, query.cursor, 2)?;
    let app = services.app(&name).await?;
    let page = services.releases(&app, query.environment, page).await?;
    Ok(axum::Json(ReleaseList {
        releases: page.items.into_iter().map(ReleaseJson::from).collect(),
        next: page.next.map(String::from),
    }))
}
