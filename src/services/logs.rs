//! Logs: of the last build, and of what runs.

use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};

use super::Services;
use crate::deploy::DeployError;
use crate::domain::{App, Environment, EventBody, EventId, Job, JobKind, LogStream};
use crate::error::{AppError, AppResult, ErrorKind};
use crate::events::EventScope;

/// Jobs among which the last build is looked for.
const JOBS_LOOKED_AT: u32 = 50;

impl Services {
    /// The last preview job, and what it logged: the build's output and the deployment's words.
    pub async fn build_log(&self, app: &App) -> AppResult<Option<(Job, Vec<(LogStream, String)>)>> {
        let jobs = self.platform.store.recent_jobs(app.id, JOBS_LOOKED_AT).await?;
        let Some(job) = jobs.into_iter().find(|job| matches!(job.kind, JobKind::Preview { .. })) else {
            return Ok(None);
        };
        let lines = self.job_log(&job).await?;
        Ok(Some((job, lines)))
    }

    /// What a job logged.
    pub async fn job_log(&self, job: &Job) -> AppResult<Vec<(LogStream, String)>> {
        let mut lines = Vec::new();
        let mut after = EventId(0);
        loop {
            let page = self.platform.store.events_after(EventScope::Job(job.id), after, 2000).await?;
            let Some(last) = page.last() else { return Ok(lines) };
            after = last.id;
            lines.extend(page.into_iter().filter_map(|event| match event.body {
                EventBody::Log { stream, line } => Some((stream, line)),
                _ => None,
            }));
        }
    }

    /// What the app wrote in an environment, from `tail` lines before the end. With `follow` it goes on.
    pub fn app_log(
        &self,
        app: &App,
        environment: Environment,
        tail: u32,
        follow: bool,
    ) -> BoxStream<'static, AppResult<String>> {
        let lines = self.platform.runtime.logs(&app.name, app.id, environment, tail, follow).map_err(app_error);
        let (platform, app) = (self.platform.clone(), app.clone());
        let redacted = async move {
            let redaction = platform.redaction(&app).await?;
            Ok::<_, AppError>(lines.map_ok(move |line| redaction.string(line)))
        };
        let lines = futures_util::stream::once(redacted).try_flatten();
        lines.take_until(self.platform.lifecycle.draining.clone().cancelled_owned()).boxed()
    }

    /// The last lines that the app wrote, all at once.
    pub async fn app_log_lines(&self, app: &App, environment: Environment, tail: u32) -> AppResult<Vec<String>> {
        match self.app_log(app, environment, tail, false).try_collect().await {
            // Nothing was deployed: nothing was logged.
            Err(AppError { kind: ErrorKind::NotFound, .. }) => Ok(Vec::new()),
            other => other,
        }
    }
}

fn app_error(error: DeployError) -> AppError {
    match error {
        DeployError::Gone => AppError::not_found("running version in this environment"),
        error if error.is_outage() || matches!(error, DeployError::ClusterRefused(_)) => {
            crate::jobs::runtime_unavailable(&error)
        }
        other => AppError::internal(&other),
    }
}
