//! One release: its version, author, checks and log, and what can be done with it.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};

use super::deployment::ChecksView;
use super::history_views::{LogRow, ReleaseView};
use super::page::show;
use super::query::AppQuery;
use super::release_view::{ReleaseAction, ReleasePage, may_publish};
use crate::domain::{App, AppName, Environment, LogStream, ReleaseNumber, TokenId};
use crate::error::{AppResult, ErrorKind};
use crate::services::Services;
use crate::web::Web;
use crate::web::chrome::Chrome;
use crate::web::extract::Path;
use crate::web::reply::{self, Caller};

/// The names of the API tokens, for authors of releases.
pub async fn token_names(services: &Services) -> AppResult<BTreeMap<TokenId, String>> {
    Ok(services.token_names().await?.into_iter().collect())
}

/// `GET /apps/{app}/releases/{environment}/{release}`
pub async fn release(
    State(web): State<Web>,
    chrome: Chrome,
    caller: Caller,
    Path((name, environment, number)): Path<(AppName, Environment, u32)>,
) -> AppResult<Response> {
    let services = &web.services;
    let app = services.app(&name).await?;
    let stage = page(services, &app, environment, ReleaseNumber(number)).await?;
    show(services, chrome, caller, &app, "releases", stage, &AppQuery::default()).await
}

async fn page(services: &Services, app: &App, environment: Environment, number: ReleaseNumber) -> AppResult<String> {
    let release = services.release(app, environment, number).await?;
    let job = match services.job(release.job).await {
        Ok(job) => Some(job),
        Err(error) if error.kind == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let log = match &job {
        Some(job) => Some(services.job_log(job).await?),
        None => None,
    };
    let row = |(stream, text)| LogRow { deploy: stream == LogStream::Deploy, text };
    reply::render(&ReleasePage {
        app: &app.name,
        key: environment.as_str(),
        place: environment.title(),
        action: ReleaseAction::of(&release, app),
        may_publish: may_publish(&release, app),
        version: release.version.clone(),
        checks: job.as_ref().and_then(|job| ChecksView::new(&job.checks)),
        log: log.map(|lines| lines.into_iter().map(row).collect()),
        release: ReleaseView::new(&release, app, &token_names(services).await?, services.now()),
    })
}

/// Redirects to the release when a form's address is opened as a page, for example after a login.
pub async fn back(Path((name, environment, number)): Path<(AppName, Environment, u32)>) -> Response {
    Redirect::to(&format!("/apps/{name}/releases/{environment}/{number}")).into_response()
}

/// The same for the form that publishes.
pub async fn back_to_preview(Path((name, number)): Path<(AppName, u32)>) -> Response {
    Redirect::to(&format!("/apps/{name}/releases/preview/{number}")).into_response()
}

/// `POST /apps/{app}/releases/{environment}/{release}/deploy`: deploys its image and settings again.
pub async fn deploy(
    State(web): State<Web>,
    caller: Caller,
    Path((name, environment, number)): Path<(AppName, Environment, u32)>,
) -> AppResult<Response> {
    web.services.redeploy(&name, environment, ReleaseNumber(number)).await?;
    Ok(reply::done(caller, &format!("/apps/{name}/releases")))
}

/// `POST /apps/{app}/releases/preview/{release}/publish`
pub async fn publish(
    State(web): State<Web>,
    caller: Caller,
    Path((name, number)): Path<(AppName, u32)>,
) -> AppResult<Response> {
    web.services.publish_release(&name, ReleaseNumber(number)).await?;
    Ok(reply::done(caller, &format!("/apps/{name}/releases")))
}
