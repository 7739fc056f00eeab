//! Actions on a whole app: deploy, publish, roll back, stop, delete; and its settings.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::history_views::{AutoPreview, SettingsTab};
use super::page::show;
use super::query::AppQuery;
use crate::browser_errors::Place;
use crate::domain::{App, AppName, AppTitle, Environment, JobId, ReleaseNumber, VersionId};
use crate::error::{AppError, AppResult};
use crate::services::Services;
use crate::web::Web;
use crate::web::chrome::Chrome;
use crate::web::cost::{self, CostView};
use crate::web::extract::{Form, Path, Query};
use crate::web::format::When;
use crate::web::home::field;
use crate::web::reply::{self, Caller};

/// Redirects to the app when a form's address is opened as a page, for example after a login.
pub async fn back(Path(name): Path<AppName>) -> Response {
    Redirect::to(&format!("/apps/{name}")).into_response()
}

/// The same for addresses of a turn.
pub async fn back_from_turn(Path((name, turn)): Path<(AppName, i64)>) -> Response {
    Redirect::to(&format!("/apps/{name}#turn-{turn}")).into_response()
}

/// The form's fields.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct DeployForm {
    version: String,
    /// *Deploy anyway*.
    ignore_checks: bool,
}

/// `POST /apps/{app}/previews`
pub async fn deploy(
    State(web): State<Web>,
    caller: Caller,
    Path(name): Path<AppName>,
    Form(form): Form<DeployForm>,
) -> AppResult<Response> {
    let version = match form.version.as_str() {
        "" => None,
        text => Some(field::<VersionId>(text)?),
    };
    let job = web.services.deploy_version(&name, version, form.ignore_checks).await?;
    Ok(reply::started(caller, &format!("/apps/{name}"), job.id))
}

/// The form's fields.
#[derive(Deserialize)]
pub struct FixForm {
    job: i64,
}

/// `POST /apps/{app}/fix`: *Ask for a fix* of a deployment that failed.
pub async fn fix(
    State(web): State<Web>,
    caller: Caller,
    Path(name): Path<AppName>,
    Form(form): Form<FixForm>,
) -> AppResult<Response> {
    let (turn, job) = web.services.fix_deployment(&name, JobId(form.job)).await?;
    Ok(reply::started(caller, &format!("/apps/{name}#turn-{}", turn.id), job.id))
}

/// `POST /apps/{app}/publish`
pub async fn publish(State(web): State<Web>, caller: Caller, Path(name): Path<AppName>) -> AppResult<Response> {
    let job = web.services.publish(&name).await?;
    Ok(reply::started(caller, &format!("/apps/{name}"), job.id))
}

/// `GET /apps/{app}/qr`: the address of production as a QR code, for a phone's camera.
pub async fn qr(State(web): State<Web>, Path(name): Path<AppName>) -> AppResult<Response> {
    let app = web.services.app(&name).await?;
    let url = web.services.environment_url(&app, Environment::Prod);
    let url = url.ok_or_else(|| AppError::not_found("address of this app"))?;
    let code = qrcode::QrCode::new(url.as_bytes()).map_err(|error| AppError::internal(&error))?;
    // Dark on light on every page: not every camera reads it the other way round.
    let svg = code
        .render::<qrcode::render::svg::Color<'_>>()
        .min_dimensions(176, 176)
        .dark_color(qrcode::render::svg::Color("#000"))
        .light_color(qrcode::render::svg::Color("#fff"))
        .build();
    let headers = [(header::CONTENT_TYPE, "image/svg+xml"), (header::CACHE_CONTROL, "private, max-age=3600")];
    Ok((headers, svg).into_response())
}

/// The form's fields.
#[derive(Deserialize)]
pub struct RollbackForm {
    environment: Environment,
    release: Option<u32>,
}

/// `POST /apps/{app}/rollback`
pub async fn rollback(
    State(web): State<Web>,
    caller: Caller,
    Path(name): Path<AppName>,
    Form(form): Form<RollbackForm>,
) -> AppResult<Response> {
    let job = web.services.rollback(&name, form.environment, form.release.map(ReleaseNumber)).await?;
    Ok(reply::started(caller, &format!("/apps/{name}/releases"), job.id))
}

/// The form's fields.
#[derive(Deserialize)]
pub struct StartForm {
    environment: Environment,
}

/// `POST /apps/{app}/start`: starts a release that has stopped.
pub async fn start(
    State(web): State<Web>,
    caller: Caller,
    Path(name): Path<AppName>,
    Form(form): Form<StartForm>,
) -> AppResult<Response> {
    let job = web.services.start_again(&name, form.environment).await?;
    Ok(reply::started(caller, &format!("/apps/{name}/releases"), job.id))
}

/// `POST /jobs/{id}/cancel`
pub async fn cancel(State(web): State<Web>, caller: Caller, Path(id): Path<i64>) -> AppResult<Response> {
    let job = web.services.cancel(JobId(id)).await?;
    Ok(reply::done(caller, &format!("/apps/{}", job.app)))
}

/// `GET /apps/{app}/settings`
pub async fn settings(
    State(web): State<Web>,
    chrome: Chrome,
    caller: Caller,
    Path(name): Path<AppName>,
    Query(query): Query<AppQuery>,
) -> AppResult<Response> {
    let app = web.services.app(&name).await?;
    let stage = settings_tab(&web.services, &app, None).await?;
    show(&web.services, chrome, caller, &app, "settings", stage, &query).await
}

async fn settings_tab(services: &Services, app: &App, problem: Option<&str>) -> AppResult<String> {
    let mut addresses = Vec::new();
    addresses.extend(services.draft_url(app).map(|url| ("Draft", url)));
    for environment in Environment::ALL {
        addresses.extend(services.environment_url(app, environment).map(|url| (environment.title(), url)));
    }
    reply::render(&SettingsTab {
        app: &app.name,
        title: app.title.as_ref().map_or("", AppTitle::as_str),
        description: &app.description,
        template: services.template_of(app).map_or_else(|_| app.template.to_string(), |t| t.manifest.title.clone()),
        created: When::new(app.created_at, services.now()),
        addresses,
        model: super::model::form(services, app, false).await?,
        cost: reply::render(&CostView::new(&services.spending(Some(app), cost::DAYS).await?, false))?,
        auto_preview: reply::render(&auto_preview_form(services, app, false))?,
        problem,
    })
}

fn auto_preview_form<'a>(services: &Services, app: &'a App, saved: bool) -> AutoPreview<'a> {
    let drafts_only = !services.collects_browser_errors(Place::Preview);
    AutoPreview { app: &app.name, on: app.auto_preview, drafts_only, saved }
}

/// The form's fields. An unchecked box is not sent.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct AutoPreviewForm {
    auto_preview: Option<String>,
}

/// `POST /apps/{app}/auto-preview`
pub async fn auto_preview(
    State(web): State<Web>,
    caller: Caller,
    Path(name): Path<AppName>,
    Form(form): Form<AutoPreviewForm>,
) -> AppResult<Response> {
    let app = web.services.set_auto_preview(&name, form.auto_preview.is_some()).await?;
    if caller.is_htmx() {
        return Ok(reply::html(reply::render(&auto_preview_form(&web.services, &app, true))?));
    }
    Ok(reply::done(caller, &format!("/apps/{name}/settings")))
}

/// The form's fields.
#[derive(Deserialize)]
pub struct DeleteForm {
    confirmation: String,
}

/// `POST /apps/{app}/delete`: requires the app's name, typed by the user.
pub async fn delete(
    State(web): State<Web>,
    chrome: Chrome,
    caller: Caller,
    Path(name): Path<AppName>,
    Form(form): Form<DeleteForm>,
) -> AppResult<Response> {
    if form.confirmation.trim() == name.as_str() {
        web.services.delete_app(&name).await?;
        return Ok(reply::go(caller, "/"));
    }
    let app = web.services.app(&name).await?;
    let problem = format!("Nothing was deleted: type “{name}” to confirm.");
    let stage = settings_tab(&web.services, &app, Some(&problem)).await?;
    let query = AppQuery::default();
    let mut response = show(&web.services, chrome, caller, &app, "settings", stage, &query).await?;
    *response.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
    Ok(response)
}
