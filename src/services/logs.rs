//! Logs of the last build and of running releases.

use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};

use super::Services;
use crate::domain::{App, Environment, JOBS_ON_PAGES, Job, JobKind, LogStream};
use crate::error::{AppError, AppResult, ErrorKind};
use crate::output::{BYTES_MAX, LINES_MAX, Tail};
use crate::runtime::{LogRate, RuntimeError};

/// Maximum lines of a job's log that are read: enough for a build and a run, each of which is limited, and for the
/// deployment's own lines.
const JOB_LINES_MAX: usize = 2 * LINES_MAX + 1000;
/// Maximum bytes of these lines.
const JOB_BYTES_MAX: usize = 2 * BYTES_MAX + 128 * 1024;

impl Services {
    /// The last preview job and its log: the build's output and the deployment's own lines.
    pub async fn build_log(&self, app: &App) -> AppResult<Option<(Job, Vec<(LogStream, String)>)>> {
        let jobs = self.platform.store.recent_jobs(app.id, JOBS_ON_PAGES).await?;
        let Some(job) = jobs.into_iter().find(|job| matches!(job.kind, JobKind::Preview { .. })) else {
            return Ok(None);
        };
        let lines = self.job_log(&job).await?;
        Ok(Some((job, lines)))
    }

    /// The log of a job; only its end if it exceeds the limits.
    pub async fn job_log(&self, job: &Job) -> AppResult<Vec<(LogStream, String)>> {
        Ok(self.platform.store.last_log_lines(job.id, JOB_LINES_MAX, JOB_BYTES_MAX).await?)
    }

    /// The log of the app in an environment, from `tail` lines before the end. With `follow` it continues with new lines.
    pub fn app_log(
        &self,
        app: &App,
        environment: Environment,
        tail: u32,
        follow: bool,
    ) -> BoxStream<'static, AppResult<String>> {
        let lines =
            self.platform.runtime.observation.logs(&app.name, app.id, environment, tail, follow).map_err(app_error);
        let (platform, app) = (self.platform.clone(), app.clone());
        let redacted = async move {
            let redaction = platform.redaction(&app).await?;
            Ok::<_, AppError>(lines.map_ok(move |line| redaction.string(line)))
        };
        let lines = futures_util::stream::once(redacted).try_flatten();
        lines.take_until(self.platform.lifecycle.draining.clone().cancelled_owned()).boxed()
    }

    /// How much the app prints in an environment; none if that is little or unknown.
    pub async fn app_log_rate(&self, app: &App, environment: Environment) -> Option<LogRate> {
        self.platform.runtime.observation.log_rate(&app.name, app.id, environment).await.ok().flatten()
    }

    /// The last lines of the app's log: at most `tail`, and no more than are kept of a run.
    pub async fn app_log_lines(&self, app: &App, environment: Environment, tail: u32) -> AppResult<Vec<String>> {
        let tail = tail.min(u32::try_from(LINES_MAX).unwrap_or(u32::MAX));
        let mut lines = self.app_log(app, environment, tail, false);
        let mut last = Tail::new(LINES_MAX, BYTES_MAX);
        while let Some(line) = lines.next().await {
            match line {
                Ok(line) => last.push(line),
                // Nothing was deployed, so there is no log.
                Err(AppError { kind: ErrorKind::NotFound, .. }) => return Ok(Vec::new()),
                Err(error) => return Err(error),
            }
        }
        Ok(last.into_lines())
    }
}

fn app_error(error: RuntimeError) -> AppError {
    match error {
        RuntimeError::Gone => AppError::not_found("running version in this environment"),
        error if error.is_outage() || matches!(error, RuntimeError::ClusterRefused(_)) => {
            crate::jobs::runtime_unavailable(&error)
        }
        other => AppError::internal(&other),
    }
}
