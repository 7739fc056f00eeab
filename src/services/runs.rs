//! Runs of scheduled jobs: start, list, logs, the next run.

use std::collections::HashSet;

use jiff::Timestamp;

use super::Services;
use crate::domain::{App, AppId, AppName, Environment, Page, PageRequest, Run, RunId, RunTrigger};
use crate::error::{AppError, AppResult};
use crate::jobs::{runs, schedule};
use crate::store::StoreError;

impl Services {
    /// Starts a run of the live release of an environment.
    pub async fn run_now(&self, name: &AppName, environment: Environment) -> AppResult<Run> {
        let app = self.app(name).await?;
        if self.answers_http(&app)? {
            return Err(AppError::conflict("not_a_job", format!("“{name}” is not a scheduled job.")));
        }
        let number = app.environment(environment).release.ok_or_else(|| {
            AppError::conflict("nothing_to_run", format!("Nothing is deployed in {environment} yet."))
                .hint("Deploy the preview first, then publish it.")
        })?;
        let release = self.release(&app, environment, number).await?;
        runs::start(&self.platform, &app, &release, RunTrigger::Manual).await
    }

    /// Runs, newest first.
    pub async fn runs(&self, app: &App, page: PageRequest) -> AppResult<Page<Run>> {
        Ok(self.platform.store.runs(app.id, page).await?)
    }

    /// One run of an app.
    pub async fn run(&self, app: &App, id: RunId) -> AppResult<Run> {
        match self.platform.store.run(id).await {
            Ok((owner, run)) if owner == app.id => Ok(run),
            Ok(_) | Err(StoreError::NotFound) => Err(AppError::not_found("run of this number")),
            Err(error) => Err(error.into()),
        }
    }

    /// The log of a run.
    pub async fn run_log(&self, app: &App, id: RunId) -> AppResult<String> {
        let run = self.run(app, id).await?;
        Ok(self.platform.store.run_log(run.id).await?)
    }

    /// The times of production's next runs, at most `count`; none without a schedule.
    pub async fn next_runs(&self, app: &App, count: usize) -> AppResult<Vec<Timestamp>> {
        let Some(number) = app.environment(Environment::Prod).release else { return Ok(Vec::new()) };
        let release = self.release(app, Environment::Prod, number).await?;
        let Some(expression) = release.spec.schedule else { return Ok(Vec::new()) };
        let (mut times, mut after) = (Vec::new(), self.now());
        while times.len() < count
            && let Some(next) = schedule::next_after(&expression, release.spec.timezone.as_deref(), after)?
        {
            times.push(next);
            after = next;
        }
        Ok(times)
    }

    /// The environments of these apps whose last ended run failed. Checks of deployments do not count.
    pub async fn failed_runs(&self, apps: &[App]) -> AppResult<HashSet<(AppId, Environment)>> {
        let is_job = |app: &&App| self.answers_http(app).is_ok_and(|answers| !answers);
        let jobs: Vec<AppId> = apps.iter().filter(is_job).map(|app| app.id).collect();
        if jobs.is_empty() {
            return Ok(HashSet::new());
        }
        Ok(self.platform.store.failed_runs(jobs).await?)
    }
}
