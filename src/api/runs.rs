//! Runs of scheduled jobs: start one now, look back.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{OptionalJson, Path, Query};
use super::list::PageQuery;
use crate::domain::{AppName, Environment, ReleaseNumber, Run, RunId, RunState, RunTrigger};
use crate::error::{AppError, AppResult};
use crate::services::Services;

/// Where a run is to happen.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRun {
    /// The environment whose release runs; `prod` when left out.
    #[schema(default = "prod")]
    environment: Option<Environment>,
}

/// One run of a scheduled job, with what came of it.
#[derive(Serialize, ToSchema)]
#[schema(as = Run)]
pub struct RunJson {
    /// Identifier; does not change.
    #[schema(value_type = i64)]
    id: RunId,
    /// Where it ran.
    environment: Environment,
    /// The release whose image ran.
    #[schema(value_type = u32)]
    release: ReleaseNumber,
    /// Why it was started.
    trigger: RunTrigger,
    /// Where it stands.
    state: RunState,
    /// The process's exit code, once it ended by itself.
    exit_code: Option<i64>,
    /// Why it failed, where the exit code does not say it.
    error: Option<String>,
    /// When it was started.
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
}

impl From<Run> for RunJson {
    fn from(run: Run) -> Self {
        Self {
            id: run.id,
            environment: run.environment,
            release: run.release,
            trigger: run.trigger,
            state: run.state,
            exit_code: run.exit_code,
            error: run.error,
            started_at: run.started_at,
            finished_at: run.finished_at,
        }
    }
}

/// A page of runs.
#[derive(Serialize, ToSchema)]
pub struct RunList {
    /// The newest first.
    runs: Vec<RunJson>,
    /// Where the next page begins; null at the end.
    next: Option<String>,
}

/// Run a scheduled job now.
#[utoipa::path(
    post, path = "/api/v1/apps/{app}/runs", tag = "Scheduled jobs",
    params(("app" = String, Path, description = "The app's name.")), request_body(content = Option<NewRun>),
    responses((status = 202, description = "The run that was started.", body = RunJson)),
)]
pub async fn create(
    State(services): State<Services>,
    Path(name): Path<AppName>,
    OptionalJson(new): OptionalJson<NewRun>,
) -> AppResult<Response> {
    let run = services.run_now(&name, new.environment.unwrap_or(Environment::Prod)).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(RunJson::from(run))).into_response())
}

/// List runs.
#[utoipa::path(
    get, path = "/api/v1/apps/{app}/runs", tag = "Scheduled jobs",
    params(("app" = String, Path, description = "The app's name."), PageQuery),
    responses((status = 200, description = "Runs, newest first.", body = RunList)),
)]
pub async fn list(
    State(services): State<Services>,
    Path(name): Path<AppName>,
    Query(page): Query<PageQuery>,
) -> AppResult<axum::Json<RunList>> {
    let page = page.request(1)?;
    let app = services.app(&name).await?;
    let page = services.runs(&app, page).await?;
    let runs = page.items.into_iter().map(RunJson::from).collect();
    Ok(axum::Json(RunList { runs, next: page.next.map(String::from) }))
}

/// Read what a run printed.
#[utoipa::path(
    get, path = "/api/v1/apps/{app}/runs/{id}/log", tag = "Scheduled jobs",
    params(
        ("app" = String, Path, description = "The app's name."),
        ("id" = i64, Path, description = "The run's id."),
    ),
    responses((status = 200, description = "Lines of text.", body = String, content_type = "text/plain")),
)]
pub async fn log(State(services): State<Services>, Path((name, id)): Path<(AppName, String)>) -> AppResult<Response> {
    let id: RunId = id.parse().map_err(|_| AppError::not_found("run of this name: a run's id is a whole number"))?;
    let app = services.app(&name).await?;
    let text = services.run_log(&app, id).await?;
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}
