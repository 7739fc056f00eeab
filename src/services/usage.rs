//! Current resource usage of live environments: memory, CPU, the engine's disk.

use std::time::Duration;

use super::Services;
use crate::build::ImageDisk;
use crate::domain::{App, Environment, ReleaseNumber};
use crate::error::{AppError, AppResult};
use crate::jobs::runtime_unavailable;
use crate::runtime::{RuntimeError, Stats};
use crate::store::clean_ups::CleanUp;

/// Timeout for the engine's disk usage, so that it does not delay the health page.
const DISK_LIMIT: Duration = Duration::from_secs(2);

/// Resource usage of an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnvironmentUsage {
    /// The environment.
    pub environment: Environment,
    /// The live release; none before the first one.
    pub release: Option<ReleaseNumber>,
    /// All zeros if no instance should run: before the first release, and for a scheduled job.
    pub stats: Stats,
}

impl Services {
    /// The current usage of an environment. May take seconds, because CPU usage is measured over an interval.
    ///
    /// # Errors
    /// 503 if the runtime does not answer.
    pub async fn usage(&self, app: &App, environment: Environment) -> AppResult<EnvironmentUsage> {
        let nothing = EnvironmentUsage { environment, release: None, stats: Stats::default() };
        let Some(release) = app.environment(environment).release else { return Ok(nothing) };
        let nothing = EnvironmentUsage { release: Some(release), ..nothing };
        if !self.answers_http(app)? {
            return Ok(nothing);
        }
        match self.platform.runtime.observation.stats(&app.name, app.id, environment, release).await {
            Ok(Some(stats)) => Ok(EnvironmentUsage { stats, ..nothing }),
            // An instance should run, but there is none.
            Ok(None) | Err(RuntimeError::Gone) => {
                Ok(EnvironmentUsage { stats: Stats { wanted: 1, ..Stats::default() }, ..nothing })
            }
            Err(error @ (RuntimeError::ClusterRefused(_) | RuntimeError::ClusterDenied(_))) => {
                Err(runtime_unavailable(&error))
            }
            Err(error) if error.is_outage() => Err(runtime_unavailable(&error)),
            Err(error) => Err(AppError::internal(&error)),
        }
    }

    /// Disk usage of all apps' images in the engine; `None` if the engine does not answer in time.
    pub async fn image_disk(&self) -> Option<ImageDisk> {
        tokio::time::timeout(DISK_LIMIT, self.platform.images.disk()).await.ok()?.ok()
    }

    /// Disk space freed by removing the app's old images, if any.
    pub async fn clean_up(&self, app: &App) -> AppResult<Option<CleanUp>> {
        Ok(self.platform.store.clean_up(app.id).await?)
    }
}
