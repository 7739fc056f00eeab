//! State of the builder: liveness, readiness, metrics. Without the API's prefix.

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::AppResult;
use crate::guard::Caller;
use crate::services::Services;
use crate::services::health::Check;

/// The readiness of the builder.
#[derive(Serialize, ToSchema)]
pub struct Readiness {
    /// All checks passed.
    ok: bool,
    /// The checks.
    checks: Vec<ReadinessCheck>,
}

/// One check. A caller without a login gets only its name and whether it passed.
#[derive(Serialize, ToSchema)]
pub struct ReadinessCheck {
    /// Its name: `database`, `docker`, `network`, `disk`, `model`, `background`.
    name: String,
    /// Whether it passed.
    ok: bool,
    /// It passed, but the operator should know about a problem.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    warning: bool,
    /// The result in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// What the operator should do.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl ReadinessCheck {
    fn new(check: Check, caller: Caller) -> Self {
        let Check { name, ok, warning, detail, hint, tested: _ } = check;
        let known = caller.is_known();
        Self { name, ok, warning: warning && known, detail: known.then_some(detail), hint: hint.filter(|_| known) }
    }
}

/// Check liveness.
#[utoipa::path(
    get, path = "/healthz", tag = "System", security(()),
    responses((status = 200, description = "`ok`.", body = String, content_type = "text/plain")),
)]
pub async fn healthz() -> impl IntoResponse {
    ([(CACHE_CONTROL, "no-store")], "ok")
}

/// Check readiness.
///
/// Public; without a login the response contains no sentences.
#[utoipa::path(
    get, path = "/readyz", tag = "System", security((), ("session" = []), ("token" = [])),
    responses(
        (status = 200, description = "All checks passed.", body = Readiness),
        (status = 503, description = "A check failed.", body = Readiness),
    ),
)]
pub async fn readyz(State(services): State<Services>, Extension(caller): Extension<Caller>) -> Response {
    let checks = services.health().await;
    let ok = checks.iter().all(|check| check.ok);
    let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let checks = checks.into_iter().map(|check| ReadinessCheck::new(check, caller)).collect();
    (status, [(CACHE_CONTROL, "no-store")], axum::Json(Readiness { ok, checks })).into_response()
}

/// Read metrics for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "System",
    responses((status = 200, description = "OpenMetrics text.", body = String, content_type = "text/plain")),
)]
pub async fn metrics(State(services): State<Services>) -> AppResult<Response> {
    let text = services.metrics().await?;
    Ok(([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response())
}
