//! How what is live runs.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::{Path, Query};
use crate::domain::{AppName, Environment, ReleaseNumber};
use crate::error::AppResult;
use crate::services::Services;
use crate::services::usage::EnvironmentUsage;

/// Where.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ResourcesQuery {
    /// Where the app runs; `prod` when left out.
    environment: Option<Environment>,
}

/// How an environment runs at this moment, and what it uses.
#[derive(Serialize, ToSchema)]
#[schema(as = EnvironmentUsage)]
pub struct ResourcesJson {
    /// Where.
    environment: Environment,
    /// The release that takes its traffic; null before the first one.
    #[schema(value_type = Option<u32>)]
    release: Option<ReleaseNumber>,
    /// Copies of it that run and are ready.
    ready: u32,
    /// Copies that should; 0 before the first release, and for a scheduled job, which runs to its end.
    wanted: u32,
    /// How often those that are there were started again.
    restarts: u32,
    /// Memory in use; null where nobody measures it, as in a cluster without a metrics API.
    memory_bytes: Option<u64>,
    /// Memory that may be used; null where there is no limit.
    memory_limit_bytes: Option<u64>,
    /// Thousandths of a core in use; null where nobody measures it.
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

/// See how an app runs.
///
/// How many copies run, how often they were started again, and what they use of memory and cores. May take
/// seconds to answer: the use of a core is measured over a while.
#[utoipa::path(
    get, path = "/api/v1/apps/{app}/resources", tag = "Deployments",
    params(("app" = String, Path, description = "The app's name."), ResourcesQuery),
    responses((status = 200, description = "How it runs.", body = ResourcesJson)),
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
