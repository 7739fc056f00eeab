//! Jobs: get, cancel, follow.

use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::{Path, Query};
use super::sse::{self, AfterQuery};
use crate::domain::{AppName, EventId, Job, JobError, JobId, JobResult, JobState, SmokeCheck, Step};
use crate::error::{AppError, AppResult};
use crate::services::Services;

/// A durable unit of work on an app. At most one of an app runs at a time.
#[derive(Serialize, ToSchema)]
#[schema(as = Job)]
pub struct JobJson {
    /// Unique id; never reused.
    #[schema(value_type = i64, example = 17)]
    id: JobId,
    /// The name of its app, which may have been deleted.
    #[schema(value_type = String, example = "brisk-otter")]
    app: AppName,
    /// `generate`, `preview`, `publish`, `rollback`, `start` or `delete`.
    #[schema(example = "preview")]
    kind: &'static str,
    /// Its state.
    state: JobState,
    /// When it was queued.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last started.
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
    /// The error of a failed job.
    error: Option<JobError>,
    /// Its result.
    result: Option<JobResult>,
    /// The steps of a deployment so far.
    steps: Vec<Step>,
    /// The checks of a new version before traffic switched to it, with their results.
    checks: Vec<SmokeCheck>,
}

impl From<Job> for JobJson {
    fn from(job: Job) -> Self {
        Self {
            id: job.id,
            app: job.app,
            kind: job.kind.as_str(),
            state: job.state,
            created_at: job.created_at,
            started_at: job.started_at,
            finished_at: job.finished_at,
            error: job.error,
            result: job.result,
            steps: job.steps,
            checks: job.checks,
        }
    }
}

/// 202 with the job, and its address.
pub fn accepted(job: Job) -> Response {
    let location = HeaderValue::try_from(format!("/api/v1/jobs/{}", job.id)).unwrap_or(HeaderValue::from_static("/"));
    (StatusCode::ACCEPTED, [(LOCATION, location)], axum::Json(JobJson::from(job))).into_response()
}

/// The job with the id in the path. An id that is not a number is answered with 404.
async fn find(services: &Services, id: &str) -> AppResult<Job> {
    let id: JobId = id.parse().map_err(|_| AppError::not_found("job with this id: a job's id is a whole number"))?;
    services.job(id).await
}

/// Get a job.
#[utoipa::path(
    get, path = "/api/v1/jobs/{id}", tag = "Jobs", params(("id" = i64, Path, description = "The job's id.")),
    responses((status = 200, description = "The job.", body = JobJson)),
)]
pub async fn read(State(services): State<Services>, Path(id): Path<String>) -> AppResult<axum::Json<JobJson>> {
    Ok(axum::Json(find(&services, &id).await?.into()))
}

/// Cancel a job.
///
/// A queued job ends at once; a running job ends as soon as possible, and the files of a turn are
/// saved. A job that has ended stays unchanged.
#[utoipa::path(
    post, path = "/api/v1/jobs/{id}/cancel", tag = "Jobs", params(("id" = i64, Path, description = "The job's id.")),
    responses((status = 200, description = "The job in its current state.", body = JobJson)),
)]
pub async fn cancel(State(services): State<Services>, Path(id): Path<String>) -> AppResult<axum::Json<JobJson>> {
    let job = find(&services, &id).await?;
    Ok(axum::Json(services.cancel(job.id).await?.into()))
}

/// Follow a job.
///
/// Server-sent events from the job's beginning, or after the event in `Last-Event-ID`. The stream
/// ends after the job's last event; a client that has already received it gets 204, after which browsers do not
/// reconnect.
#[utoipa::path(
    get, path = "/api/v1/jobs/{id}/events", tag = "Jobs",
    params(
        ("id" = i64, Path, description = "The job's id."),
        AfterQuery,
        ("Last-Event-ID" = Option<i64>, Header, description = "The id of the last received event."),
    ),
    responses(
        (status = 200, description = "Events, each with `id`, a name and JSON data.", body = String, content_type = "text/event-stream"),
        (status = 204, description = "The job has ended, and there are no later events."),
    ),
)]
pub async fn events(
    State(services): State<Services>,
    Path(id): Path<String>,
    Query(after): Query<AfterQuery>,
    headers: HeaderMap,
) -> AppResult<Response> {
    let job = find(&services, &id).await?;
    let after = after.event(&headers, services.last_event_id(job.app_id).await?)?;
    let mut events = Box::pin(services.job_events(&job, after));
    if !job.state.is_final() {
        return Ok(sse::kept(events));
    }
    // All events are stored by now, so there is nothing to wait for.
    match events.next().await {
        None if after > EventId(0) => Ok(StatusCode::NO_CONTENT.into_response()),
        first => Ok(sse::kept(futures_util::stream::iter(first).chain(events))),
    }
}
