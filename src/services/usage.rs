//! How what is live runs at this moment, and what it takes: of memory, of cores, of the engine's disk.

use std::time::Duration;

use super::Services;
use crate::build::ImageDisk;
use crate::domain::{App, Environment, ReleaseNumber};
use crate::error::{AppError, AppResult};
use crate::jobs::runtime_unavailable;
use crate::runtime::{RuntimeError, Stats};
use crate::store::clean_ups::CleanUp;

/// How long the engine may take to say what images take of its disk: nobody waits for that.
const DISK_LIMIT: Duration = Duration::from_secs(2);

/// How an environment runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnvironmentUsage {
    /// Which of the two.
    pub environment: Environment,
    /// The release that takes its traffic; none before the first one.
    pub release: Option<ReleaseNumber>,
    /// All zeros where nothing is to run all the time: before the first release, and for a scheduled job.
    pub stats: Stats,
}

impl Services {
    /// How an environment runs at this moment. May take seconds: what is used of a core is measured over a while.
    ///
    /// # Errors
    /// 503 when the runtime does not answer.
    pub async fn usage(&self, app: &App, environment: Environment) -> AppResult<EnvironmentUsage> {
        let nothing = EnvironmentUsage { environment, release: None, stats: Stats::default() };
        let Some(release) = app.environment(environment).release else { return Ok(nothing) };
        let nothing = EnvironmentUsage { release: Some(release), ..nothing };
        if !self.answers_http(app)? {
            return Ok(nothing);
        }
        match self.platform.runtime.observation.stats(&app.name, app.id, environment, release).await {
            Ok(Some(stats)) => Ok(EnvironmentUsage { stats, ..nothing }),
            // It should be there.
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

    /// What all apps' images take of the engine's disk; none where the engine does not say so at once.
    pub async fn image_disk(&self) -> Option<ImageDisk> {
        tokio::time::timeout(DISK_LIMIT, self.platform.images.disk()).await.ok()?.ok()
    }

    /// What clearing away the app's old images has freed, if it ever did.
    pub async fn clean_up(&self, app: &App) -> AppResult<Option<CleanUp>> {
        Ok(self.platform.store.clean_up(app.id).await?)
    }
}
