//! Runs of scheduled jobs: start, list, read the log.

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

/// Request to start a run.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRun {
    /// The environment whose release runs; default `prod`.
    #[schema(default = "prod")]
    environment: Option<Environment>,
}

/// One run of a scheduled job, with its result.
#[derive(Serialize, ToSchema)]
#[schema(as = Run)]
pub struct RunJson {
    /// Unique id; never reused.
    #[schema(value_type = i64)]
    id: RunId,
    /// The environment.
    environment: Environment,
    /// The release whose image it runs.
    #[schema(value_type = u32)]
    release: ReleaseNumber,
    /// The reason for the start.
    trigger: RunTrigger,
    /// Its state.
    state: RunState,
    /// The exit code, if the process exited on its own.
    exit_code: Option<i64>,
    /// The error of a failed run, if the exit code does not show it.
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
    /// Newest first.
    runs: Vec<RunJson>,
    /// Cursor of the next page; null on the last page.
    next: Option<String>,
}

/// Start a run of a scheduled job.
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

/// Read the log of a run.
#[utoipa::path(
    get, path = "/api/v1/apps/{app}/runs/{id}/log", tag = "Scheduled jobs",
    params(
        ("app" = String, Path, description = "The app's name."),
        ("id" = i64, Path, description = "The run's id."),
    ),
    responses((status = 200, description = "Lines of text.", body = String, content_type = "text/plain")),
)]
pub async fn log(State(services): State<Services>, Path((name, id)): Path<(AppName, String)>) -> AppResult<Response> {
    let id: RunId = id.parse().map_err(|_| AppError::not_found("run with this id: a run's id is a whole number"))?;
    let app = services.app(&name).await?;
    let text = services.run_log(&app, id).await?;
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}
