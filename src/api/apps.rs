//! Apps: make, list, look at, delete, take away.

use axum::Extension;
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, LOCATION};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::{Json, Path, Query};
use super::jobs::{JobJson, accepted};
use super::list::{Limit, page_request};
use crate::domain::{
    App, AppFilter, AppName, Environment, EnvironmentState, Principal, ReleaseNumber, TemplateName, VersionId,
};
use crate::error::AppResult;
use crate::services::Services;
use crate::services::apps::CreateApp;

/// An app.
#[derive(Serialize, ToSchema)]
#[schema(as = App)]
pub struct AppJson {
    /// Its name, which is also its host's.
    #[schema(value_type = String, example = "brisk-otter")]
    name: AppName,
    /// The template that it was made from.
    #[schema(value_type = String, example = "static-site")]
    template: TemplateName,
    /// What its user said it should be.
    description: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Its newest version.
    #[schema(value_type = Option<String>)]
    head: Option<VersionId>,
    /// Where the workspace is shown as it is right now; static sites only.
    draft_url: Option<String>,
    /// What runs.
    environments: EnvironmentsJson,
    /// After each turn the preview is built and deployed by itself, and what fails goes back to the model.
    auto_preview: bool,
}

/// The two environments of an app.
#[derive(Serialize, ToSchema)]
#[schema(as = Environments)]
pub struct EnvironmentsJson {
    /// Where a version is tried.
    preview: EnvironmentJson,
    /// Where users are.
    prod: EnvironmentJson,
}

/// An environment.
#[derive(Serialize, ToSchema)]
#[schema(as = EnvironmentStatus)]
pub struct EnvironmentJson {
    /// What it does at this moment.
    state: EnvironmentState,
    /// Where it answers once something runs; null for a scheduled job, which answers nowhere.
    url: Option<String>,
    /// The release that takes its traffic.
    #[schema(value_type = Option<u32>)]
    release: Option<ReleaseNumber>,
    /// That release's version.
    #[schema(value_type = Option<String>)]
    version: Option<VersionId>,
}

impl AppJson {
    /// As the services know it.
    pub fn new(services: &Services, app: App) -> Self {
        let environment = |environment| {
            let status = app.environment(environment);
            EnvironmentJson {
                state: status.state,
                url: services.environment_url(&app, environment),
                release: status.release,
                version: status.version.clone(),
            }
        };
        Self {
            environments: EnvironmentsJson {
                preview: environment(Environment::Preview),
                prod: environment(Environment::Prod),
            },
            draft_url: services.draft_url(&app),
            auto_preview: app.auto_preview,
            name: app.name,
            template: app.template,
            description: app.description,
            created_at: app.created_at,
            head: app.head,
        }
    }
}

/// A page of apps.
#[derive(Serialize, ToSchema)]
pub struct AppList {
    /// The one changed last first.
    apps: Vec<AppJson>,
    /// Where the next page begins; null at the end.
    next: Option<String>,
}

/// What a new app is to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewApp {
    /// What it should be, in plain language; at most 20,000 characters.
    #[schema(example = "A one-page site for a neighbourhood bakery")]
    description: String,
    /// The template; chosen from the description when left out.
    #[schema(value_type = Option<String>, example = "static-site")]
    template: Option<TemplateName>,
    /// A DNS label of 2–40 characters that starts with a letter; chosen when left out.
    #[schema(value_type = Option<String>, example = "brisk-otter")]
    name: Option<AppName>,
    /// Build and deploy the preview after each turn; `true` when left out.
    #[schema(default = true)]
    auto_preview: Option<bool>,
}

/// What is to be changed of an app; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AppChange {
    /// Build and deploy the preview after each turn; what fails goes back to the model.
    auto_preview: Option<bool>,
}

/// Which apps.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AppsQuery {
    /// Rows at most; 100 when left out.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<Limit>,
    /// Where to go on: `next` of the page before, as it was given.
    cursor: Option<String>,
    /// Only apps whose name or description holds this.
    search: Option<String>,
    /// Only apps of this template.
    #[param(value_type = Option<String>)]
    template: Option<TemplateName>,
}

/// Make an app.
///
/// The app is scaffolded from its template and committed as its first version. No turn is started.
#[utoipa::path(
    post, path = "/api/v1/apps", tag = "Apps", request_body = NewApp,
    responses((status = 201, description = "The app.", body = AppJson, headers(("Location" = String, description = "The app's address in this API.")))),
)]
pub async fn create(State(services): State<Services>, Json(new): Json<NewApp>) -> AppResult<Response> {
    let new = CreateApp {
        description: new.description,
        template: new.template,
        name: new.name,
        auto_preview: new.auto_preview.unwrap_or(true),
    };
    let app = services.create_app(new).await?;
    let location = HeaderValue::try_from(format!("/api/v1/apps/{}", app.name)).unwrap_or(HeaderValue::from_static("/"));
    Ok((StatusCode::CREATED, [(LOCATION, location)], axum::Json(AppJson::new(&services, app))).into_response())
}

/// List apps.
#[utoipa::path(
    get, path = "/api/v1/apps", tag = "Apps", params(AppsQuery),
    responses((status = 200, description = "Apps, the one changed last first.", body = AppList)),
)]
pub async fn list(
    State(services): State<Services>,
    Extension(principal): Extension<Principal>,
    Query(query): Query<AppsQuery>,
) -> AppResult<axum::Json<AppList>> {
    let page = page_request(query.limit, query.cursor, 2)?;
    let filter = AppFilter { search: query.search, template: query.template, only: principal.only_app().cloned() };
    let page = services.list_apps(filter, page).await?;
    Ok(axum::Json(AppList {
        apps: page.items.into_iter().map(|app| AppJson::new(&services, app)).collect(),
        next: page.next.map(String::from),
    }))
}

/// Look at an app.
#[utoipa::path(
    get, path = "/api/v1/apps/{app}", tag = "Apps", params(("app" = String, Path, description = "The app's name.")),
    responses((status = 200, description = "The app.", body = AppJson)),
)]
pub async fn read(State(services): State<Services>, Path(name): Path<AppName>) -> AppResult<axum::Json<AppJson>> {
    let app = services.app(&name).await?;
    Ok(axum::Json(AppJson::new(&services, app)))
}

/// Change an app's settings.
#[utoipa::path(
    patch, path = "/api/v1/apps/{app}", tag = "Apps", params(("app" = String, Path, description = "The app's name.")),
    request_body = AppChange,
    responses((status = 200, description = "The app.", body = AppJson)),
)]
pub async fn change(
    State(services): State<Services>,
    Path(name): Path<AppName>,
    Json(change): Json<AppChange>,
) -> AppResult<axum::Json<AppJson>> {
    let app = match change.auto_preview {
        Some(on) => services.set_auto_preview(&name, on).await?,
        None => services.app(&name).await?,
    };
    Ok(axum::Json(AppJson::new(&services, app)))
}

/// Delete an app.
///
/// Its containers, images, repository and history go; nothing of another app is touched. Asking
/// twice is asking once.
#[utoipa::path(
    delete, path = "/api/v1/apps/{app}", tag = "Apps", params(("app" = String, Path, description = "The app's name.")),
    responses((status = 202, description = "The job that does it.", body = JobJson)),
)]
pub async fn delete(State(services): State<Services>, Path(name): Path<AppName>) -> AppResult<Response> {
    services.delete_app(&name).await.map(accepted)
}

/// Take an app away.
///
/// An archive with the git repository and all its history, the files with the Dockerfile, and
/// Kubernetes manifests that `kubectl apply` takes; `README-EXPORT.md` in it says how. Secrets are not in it.
#[utoipa::path(
    get, path = "/api/v1/apps/{app}/export", tag = "Apps", params(("app" = String, Path, description = "The app's name.")),
    responses((status = 200, description = "A `.tar.gz`.", body = Vec<u8>, content_type = "application/gzip")),
)]
pub async fn export(State(services): State<Services>, Path(name): Path<AppName>) -> AppResult<Response> {
    let app = services.app(&name).await?;
    let archive = services.export(&app).await?;
    let file = HeaderValue::try_from(format!("attachment; filename=\"{name}.tar.gz\""))
        .unwrap_or(HeaderValue::from_static("attachment"));
    let headers = [(CONTENT_TYPE, HeaderValue::from_static("application/gzip")), (CONTENT_DISPOSITION, file)];
    Ok((headers, axum::body::Body::from_stream(archive)).into_response())
}
