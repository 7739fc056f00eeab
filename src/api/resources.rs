//! Resource usage of live environments.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::{Path, Query};
use crate::domain::{AppName, Environment, ReleaseNumber};
use crate::error::AppResult;
use crate::services::Services;
use crate::services::usage::EnvironmentUsage;

/// Selects an environment.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ResourcesQuery {
    /// The environment; default `prod`.
    environment: Option<Environment>,
}

/// Instances and resource usage of an environment.
#[derive(Serialize, ToSchema)]
#[schema(as = EnvironmentUsage)]
pub struct ResourcesJson {
    /// The environment.
    environment: Environment,
    /// The live release; null before the first one.
    #[schema(value_type = Option<u32>)]
    release: Option<ReleaseNumber>,
    /// Number of ready instances.
    ready: u32,
    /// Number of desired instances; 0 before the first release, and for a scheduled job, which runs to its end.
    wanted: u32,
    /// Number of restarts of the current instances.
    restarts: u32,
    /// Memory in use, in bytes; null if it is not measured, as in a cluster without a metrics API.
    memory_bytes: Option<u64>,
    /// Memory limit in bytes; null if there is none.
    memory_limit_bytes: Option<u64>,
    /// Thousandths of a core in use; null if it is not measured.
    cpu_millis: Option<u64>,
}

impl From<EnvironmentUsage> for ResourcesJson {
    fn from(usage: EnvironmentUsage) -> Self {
        let EnvironmentUsage { environment, release, stats } = usage;
        Self {
            environment,
            release,
            ready: stats.ready,
            wanted: stats.wanted,
            restarts: stats.restarts,
            memory_bytes: stats.memory_bytes,
            memory_limit_bytes: stats.memory_limit_bytes,
            cpu_millis: stats.cpu_millis,
        }
    }
}

/// Get the resource usage of an app.
///
/// Instances, restarts, memory and CPU. The response may take
/// seconds, because CPU usage is measured over an interval.
#[utoipa::path(
    get, path = "/api/v1/apps/{app}/resources", tag = "Deployments",
    params(("app" = String, Path, description = "The app's name."), ResourcesQuery),
    responses((status = 200, description = "The usage.", body = ResourcesJson)),
)]
pub async fn read(
    State(services): State<Services>,
    Path(name): Path<AppName>,
    Query(query): Query<ResourcesQuery>,
) -> AppResult<axum::Json<ResourcesJson>> {
    let app = services.app(&name).await?;
    let usage = services.usage(&app, query.environment.unwrap_or(Environment::Prod)).await?;
    Ok(axum::Json(usage.into()))
}
