//! Apps: create, list, read, change, delete, export.

use axum::Extension;
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, LOCATION};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::{Json, OptionalJson, Path, Query};
use super::jobs::{JobJson, accepted};
use super::list::{Limit, page_request};
use crate::domain::{
    App, AppFilter, AppName, AppTitle, Environment, EnvironmentState, Principal, ReleaseNumber, TemplateName, VersionId,
};
use crate::error::AppResult;
use crate::services::Services;
use crate::services::apps::CreateApp;

/// An app.
#[derive(Serialize, ToSchema)]
#[schema(as = App)]
pub struct AppJson {
    /// Its name, which is also the first label of its host.
    #[schema(value_type = String, example = "brisk-otter")]
    name: AppName,
    /// The title that pages show instead of the name.
    #[schema(value_type = Option<String>, example = "The corner bakery")]
    title: Option<AppTitle>,
    /// The template that it was created from.
    #[schema(value_type = String, example = "static-site")]
    template: TemplateName,
    /// The user's description.
    description: String,
    /// Time of creation.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Its newest version.
    #[schema(value_type = Option<String>)]
    head: Option<VersionId>,
    /// URL of the draft, which serves the current files; static sites only.
    draft_url: Option<String>,
    /// The state of both environments.
    environments: EnvironmentsJson,
    /// Whether each turn automatically deploys the preview, and failures are sent to the model for repair.
    auto_preview: bool,
}

/// The two environments of an app.
#[derive(Serialize, ToSchema)]
#[schema(as = Environments)]
pub struct EnvironmentsJson {
    /// The environment for testing a version.
    preview: EnvironmentJson,
    /// The environment for visitors.
    prod: EnvironmentJson,
}

/// An environment.
#[derive(Serialize, ToSchema)]
#[schema(as = EnvironmentStatus)]
pub struct EnvironmentJson {
    /// Its current state.
    state: EnvironmentState,
    /// Its URL once a release runs; null for a scheduled job, which has no URL.
    url: Option<String>,
    /// The live release.
    #[schema(value_type = Option<u32>)]
    release: Option<ReleaseNumber>,
    /// That release's version.
    #[schema(value_type = Option<String>)]
    version: Option<VersionId>,
}

impl AppJson {
    /// From the service's data.
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
            title: app.title,
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
    /// Most recently changed first.
    apps: Vec<AppJson>,
    /// Cursor of the next page; null on the last page.
    next: Option<String>,
}

/// Request to create an app.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewApp {
    /// Description of the app in plain language; at most 20,000 characters.
    #[schema(example = "A one-page site for a neighbourhood bakery")]
    description: String,
    /// The template; default: the one that fits the description best.
    #[schema(value_type = Option<String>, example = "static-site")]
    template: Option<TemplateName>,
    /// The name: a DNS label of 2–40 characters that starts with a letter; default: a generated name.
    #[schema(value_type = Option<String>, example = "brisk-otter")]
    name: Option<AppName>,
    /// Build and deploy the preview after each turn; default `true`.
    #[schema(default = true)]
    auto_preview: Option<bool>,
}

/// Request to change an app; fields that are left out stay unchanged.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AppChange {
    /// Build and deploy the preview after each turn, and send failures to the model for repair.
    auto_preview: Option<bool>,
    /// The title that pages show instead of the name: one line of at most 60 characters; an empty one removes it. Name
    /// and addresses stay as they are.
    #[schema(max_length = 60)]
    title: Option<String>,
}

/// Request to duplicate an app.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NewDuplicate {
    /// The name of the new app; default: the name of the duplicated app with a number, such as `brisk-otter-2`.
    #[schema(value_type = Option<String>, example = "brisk-otter-2")]
    name: Option<AppName>,
}

/// Filter and paging of the list of apps.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AppsQuery {
    /// Maximum number of rows; default 100.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<Limit>,
    /// Cursor: the `next` value of the previous page.
    cursor: Option<String>,
    /// Only apps whose name, title or description contains this text.
    search: Option<String>,
    /// Only apps of this template.
    #[param(value_type = Option<String>)]
    template: Option<TemplateName>,
}

/// Create an app.
///
/// The template's files are committed as the first version. No turn is started.
#[utoipa::path(
    post, path = "/api/v1/apps", tag = "Apps", request_body = NewApp,
    responses((status = 201, description = "The app.", body = AppJson, headers(("Location" = String, description = "The app's URL in this API.")))),
)]
pub async fn create(State(services): State<Services>, Json(new): Json<NewApp>) -> AppResult<Response> {
    let new = CreateApp {
        description: new.description,
        template: new.template,
        name: new.name,
        auto_preview: new.auto_preview.unwrap_or(true),
    };
    let app = services.create_app(new).await?;
    Ok(created(&services, app))
}

/// List apps.
#[utoipa::path(
    get, path = "/api/v1/apps", tag = "Apps", params(AppsQuery),
    responses((status = 200, description = "Apps, most recently changed first.", body = AppList)),
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

/// Get an app.
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
    // First, because it can be refused.
    if let Some(title) = &change.title {
        services.set_title(&name, title).await?;
    }
    let app = match change.auto_preview {
        Some(on) => services.set_auto_preview(&name, on).await?,
        None => services.app(&name).await?,
    };
    Ok(axum::Json(AppJson::new(&services, app)))
}

/// Duplicate an app.
///
/// The new app starts with the newest version's files as its first version, and with the same template, description,
/// model, locked files and `auto_preview`. History, conversation, attachments and secrets are not copied. If
/// `auto_preview` is on, a job that deploys its preview is queued.
#[utoipa::path(
    post, path = "/api/v1/apps/{app}/duplicate", tag = "Apps", params(("app" = String, Path, description = "The app's name.")),
    request_body(content = Option<NewDuplicate>),
    responses((status = 201, description = "The new app.", body = AppJson, headers(("Location" = String, description = "The app's URL in this API.")))),
)]
pub async fn duplicate(
    State(services): State<Services>,
    Extension(principal): Extension<Principal>,
    Path(name): Path<AppName>,
    OptionalJson(new): OptionalJson<NewDuplicate>,
) -> AppResult<Response> {
    let app = services.by(&principal).duplicate_app(&name, new.name).await?;
    Ok(created(&services, app))
}

fn created(services: &Services, app: App) -> Response {
    let location = HeaderValue::try_from(format!("/api/v1/apps/{}", app.name)).unwrap_or(HeaderValue::from_static("/"));
    (StatusCode::CREATED, [(LOCATION, location)], axum::Json(AppJson::new(services, app))).into_response()
}

/// Delete an app.
///
/// Deletes its containers, images, repository and history. Other apps are not affected. The request is
/// idempotent.
#[utoipa::path(
    delete, path = "/api/v1/apps/{app}", tag = "Apps", params(("app" = String, Path, description = "The app's name.")),
    responses((status = 202, description = "The queued job.", body = JobJson)),
)]
pub async fn delete(
    State(services): State<Services>,
    Extension(principal): Extension<Principal>,
    Path(name): Path<AppName>,
) -> AppResult<Response> {
    services.by(&principal).delete_app(&name).await.map(accepted)
}

/// Export an app.
///
/// An archive with the git repository and its whole history, the files with the Dockerfile, and
/// Kubernetes manifests for `kubectl apply`; `README-EXPORT.md` in it explains how to use them. It contains no secrets.
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
