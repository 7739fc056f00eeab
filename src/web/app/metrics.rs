//! What was measured of an app in the last 24 hours, in the *Logs* tab.

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

use super::log_views::log_tab_parts;
use super::metrics_view::{MetricsTab, Part, environment_choices};
use super::page::show;
use super::query::AppQuery;
use crate::domain::{AppName, Environment};
use crate::error::AppResult;
use crate::web::Web;
use crate::web::chrome::Chrome;
use crate::web::extract::{Path, Query};
use crate::web::reply::{self, Caller};

/// The query parameters.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct MetricsQuery {
    environment: Option<Environment>,
}

/// `GET /apps/{app}/metrics`
pub async fn tab(
    State(web): State<Web>,
    chrome: Chrome,
    caller: Caller,
    Path(name): Path<AppName>,
    Query(query): Query<MetricsQuery>,
) -> AppResult<Response> {
    let services = &web.services;
    let app = services.app(&name).await?;
    let runs = |environment: Environment| app.environment(environment).release.is_some();
    // What visitors see, unless there is only a preview.
    let only_preview = !runs(Environment::Prod) && runs(Environment::Preview);
    let default = if only_preview { Environment::Preview } else { Environment::Prod };
    let environment = query.environment.unwrap_or(default);
    let is_job = services.answers_http(&app).is_ok_and(|answers| !answers);
    let day = services.measurements(&app, environment).await?;
    let stage = reply::render(&MetricsTab {
        app: &app.name,
        parts: log_tab_parts(&app.name, "Metrics"),
        environments: environment_choices(&app.name, environment),
        environment,
        plots: Part::all(&day, services.is_seen(environment)),
        hours: Part::hours(&day),
        unseen: !services.is_seen(environment),
        nothing: match environment {
            _ if is_job => Some("A scheduled job is not measured: see its runs in the Preview tab."),
            Environment::Preview if !runs(environment) => Some("Nothing runs in preview."),
            Environment::Prod if !runs(environment) => Some("Nothing runs in production."),
            _ => None,
        },
    })?;
    show(services, chrome, caller, &app, "logs", stage, &AppQuery::default()).await
}
