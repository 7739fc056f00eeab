//! Deployments: preview, publish, roll back, and their releases.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::{OptionalJson, Path, Query};
use super::jobs::{JobJson, accepted};
use super::list::{Limit, page_request};
use crate::domain::{
    AppName, Environment, ImageRef, JobId, Principal, Release, ReleaseNumber, ReleaseState, SmokeCount, VersionId,
};
use crate::error::AppResult;
use crate::services::Services;

/// Request to deploy a preview.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPreview {
    /// The version's 40 hexadecimal digits; default: the newest version.
    #[schema(value_type = Option<String>)]
    version: Option<VersionId>,
}

/// Request to publish.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPublish {
    /// The number of the preview release; default: the one that preview runs.
    #[schema(value_type = Option<u32>, example = 3)]
    release: Option<ReleaseNumber>,
}

/// Request to roll back.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRollback {
    /// The environment; default `prod`.
    #[schema(default = "prod")]
    environment: Option<Environment>,
    /// The release number; default: the previous release.
    #[schema(value_type = Option<u32>, example = 3)]
    release: Option<ReleaseNumber>,
}

/// A numbered deployment of a build to an environment.
#[derive(Serialize, ToSchema)]
#[schema(as = Release)]
pub struct ReleaseJson {
    /// Number within its app and environment, from 1.
    #[schema(value_type = u32)]
    number: ReleaseNumber,
    /// The environment.
    environment: Environment,
    /// The version of the image.
    #[schema(value_type = String)]
    version: VersionId,
    /// The image that runs, by digest: `name@sha256:…`.
    #[schema(value_type = String)]
    image: ImageRef,
    /// Its state.
    state: ReleaseState,
    /// When its deployment started.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// The earlier release of the same environment that this one deploys again.
    #[schema(value_type = Option<u32>)]
    from_release: Option<ReleaseNumber>,
    /// It was created by a roll back.
    rolled_back: bool,
    /// The job that created it; the job has the results of the checks.
    #[schema(value_type = i64)]
    job: JobId,
    /// Number of checks that it passed before traffic switched. Publishing and rolling back deploy an image
    /// that has already passed its checks, and check only its health.
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
    /// Newest first.
    releases: Vec<ReleaseJson>,
    /// Cursor of the next page; null on the last page.
    next: Option<String>,
}

/// Filter and paging of the list of releases.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ReleasesQuery {
    /// Only releases of this environment.
    environment: Option<Environment>,
    /// Maximum number of rows; default 100.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<Limit>,
    /// Cursor: the `next` value of the previous page.
    cursor: Option<String>,
}

/// Deploy a preview.
///
/// Builds the version if there is no image of it, starts it, and reports it as ready only after it
/// has passed its checks. Until then, and if it fails, the previous version keeps running.
#[utoipa::path(
    post, path = "/api/v1/apps/{app}/previews", tag = "Deployments",
    params(("app" = String, Path, description = "The app's name.")), request_body(content = Option<NewPreview>),
    responses((status = 202, description = "The queued job.", body = JobJson)),
)]
pub async fn preview(
    State(services): State<Services>,
    Extension(principal): Extension<Principal>,
    Path(name): Path<AppName>,
    OptionalJson(new): OptionalJson<NewPreview>,
) -> AppResult<Response> {
    services.by(&principal).deploy_preview(&name, new.version).await.map(accepted)
}

/// Publish.
///
/// Deploys the preview's image to production, without a build. 409 `nothing_to_publish` if no preview is ready.
#[utoipa::path(
    post, path = "/api/v1/apps/{app}/publish", tag = "Deployments",
    params(("app" = String, Path, description = "The app's name.")), request_body(content = Option<NewPublish>),
    responses((status = 202, description = "The queued job.", body = JobJson)),
)]
pub async fn publish(
    State(services): State<Services>,
    Extension(principal): Extension<Principal>,
    Path(name): Path<AppName>,
    OptionalJson(new): OptionalJson<NewPublish>,
) -> AppResult<Response> {
    let services = services.by(&principal);
    match new.release {
        Some(release) => services.publish_release(&name, release).await.map(accepted),
        None => services.publish(&name).await.map(accepted),
    }
}

/// Roll back.
///
/// Deploys an earlier release again, without a build. 409 `nothing_to_roll_back` if there is no earlier release.
#[utoipa::path(
    post, path = "/api/v1/apps/{app}/rollback", tag = "Deployments",
    params(("app" = String, Path, description = "The app's name.")), request_body(content = Option<NewRollback>),
    responses((status = 202, description = "The queued job.", body = JobJson)),
)]
pub async fn rollback(
    State(services): State<Services>,
    Extension(principal): Extension<Principal>,
    Path(name): Path<AppName>,
    OptionalJson(new): OptionalJson<NewRollback>,
) -> AppResult<Response> {
    let environment = new.environment.unwrap_or(Environment::Prod);
    services.by(&principal).rollback(&name, environment, new.release).await.map(accepted)
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
