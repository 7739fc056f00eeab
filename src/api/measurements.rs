//! What was measured of apps.

use axum::extract::State;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::{Path, Query};
use crate::domain::{AppName, Environment};
use crate::error::AppResult;
use crate::gateway::Counted;
use crate::measuring::INTERVAL;
use crate::services::Services;
use crate::services::measurements::Measured;

/// Selects an environment.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct MeasurementsQuery {
    /// The environment; default `prod`.
    environment: Option<Environment>,
}

/// The requests of some time.
#[derive(Serialize, ToSchema)]
pub struct RequestNumbers {
    /// Number of requests.
    requests: u64,
    /// Number of responses with a status of 5xx.
    errors: u64,
    /// The time until the response began, which half of the requests did not exceed, in milliseconds. Null without
    /// requests.
    p50_ms: Option<f64>,
    /// The time that 99 % of the requests did not exceed, in milliseconds.
    p99_ms: Option<f64>,
}

impl RequestNumbers {
    fn new(counted: &Counted) -> Self {
        let millis = |thousandths| {
            let took = counted.percentile(thousandths)?;
            Some((took.as_secs_f64() * 10_000.0).round() / 10.0)
        };
        Self { requests: counted.requests(), errors: counted.errors, p50_ms: millis(500), p99_ms: millis(990) }
    }
}

/// What was measured in one interval.
#[derive(Serialize, ToSchema)]
pub struct MeasuredInterval {
    /// The start of the interval.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Number of requests.
    requests: u64,
    /// Number of responses with a status of 5xx.
    errors: u64,
    /// As in the total.
    p50_ms: Option<f64>,
    /// As in the total.
    p99_ms: Option<f64>,
    /// Memory in use at the end of the interval, in bytes. Null if it was not measured.
    memory_bytes: Option<u64>,
    /// CPU usage at the end of the interval, in thousandths of a core. Null if it was not measured.
    cpu_millis: Option<u64>,
}

/// What was measured in the last 24 hours.
#[derive(Serialize, ToSchema)]
pub struct Measurements {
    /// The environment.
    environment: Environment,
    /// Requests of this environment pass Slipway's gateway, which counts them. Where they do not, as in production on
    /// Kubernetes, the numbers of requests are zero.
    counts_requests: bool,
    /// Length of an interval in seconds.
    interval_seconds: u64,
    /// All intervals together.
    total: RequestNumbers,
    /// The intervals, oldest first. The last one has not ended.
    intervals: Vec<MeasuredInterval>,
}

impl Measurements {
    fn new(environment: Environment, counts_requests: bool, day: Vec<Measured>) -> Self {
        let mut total = Counted::default();
        for measured in &day {
            total.add(&measured.counted);
        }
        let interval = |Measured { at, counted, memory_bytes, cpu_millis }| {
            let RequestNumbers { requests, errors, p50_ms, p99_ms } = RequestNumbers::new(&counted);
            MeasuredInterval { at, requests, errors, p50_ms, p99_ms, memory_bytes, cpu_millis }
        };
        Self {
            environment,
            counts_requests,
            interval_seconds: INTERVAL.as_secs(),
            total: RequestNumbers::new(&total),
            intervals: day.into_iter().map(interval).collect(),
        }
    }
}

/// Get the measurements of an app.
///
/// Requests, failures, durations, memory and CPU of the last 24 hours, in intervals of five minutes.
#[utoipa::path(
    get, path = "/api/v1/apps/{app}/metrics", tag = "Deployments",
    params(("app" = String, Path, description = "The app's name."), MeasurementsQuery),
    responses((status = 200, description = "The measurements.", body = Measurements)),
)]
pub async fn metrics(
    State(services): State<Services>,
    Path(name): Path<AppName>,
    Query(query): Query<MeasurementsQuery>,
) -> AppResult<axum::Json<Measurements>> {
    let app = services.app(&name).await?;
    let environment = query.environment.unwrap_or(Environment::Prod);
    let day = services.measurements(&app, environment).await?;
    Ok(axum::Json(Measurements::new(environment, services.is_seen(environment), day)))
}
