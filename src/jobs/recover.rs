//! Start-up recovery of the queue: jobs of a process that died are resumed, or ended with the reason.
//!
//! Only the database is repaired here: jobs, turns, versions, environments. Reconciling covers the running instances.

use super::{Jobs, MAX_ATTEMPTS, generate};
use crate::domain::{App, AppId, EnvironmentState, INTERRUPTED, Job, JobError, JobKind, JobState, TurnId};
use crate::error::AppResult;
use crate::gateway::RouteState;
use crate::platform::job_event;
use crate::store::jobs as table;
use crate::workspace::Workspace;

impl Jobs {
    /// Repairs the database. Runs before the workers start, and reads only unfinished work, so that its duration does
    /// not depend on the number of apps.
    pub async fn recover(&self) -> AppResult<()> {
        let platform = &self.0.platform;
        for job in platform.store.open_jobs(None).await? {
            if job.state == JobState::Running {
                self.take_up(&job).await?;
            }
        }
        for (app, turn) in platform.store.stranded_turns().await? {
            self.end_stranded(app, turn).await?;
        }
        for id in platform.store.unsettled_apps().await? {
            let app = platform.store.app_by_id(id).await?;
            self.settle_environments(&app).await?;
        }
        for (app, environment) in platform.store.deployed_environments().await? {
            platform.gateway.routes().set_state(&app, environment, RouteState::Starting);
        }
        Ok(())
    }

    /// Records commits that were made just before the process died, and removes the rest of an interrupted write. Reads
    /// all apps, so it runs in the background.
    pub async fn read_histories(&self) {
        let platform = &self.0.platform;
        let Ok(names) = platform.store.app_names().await else { return };
        for (id, name) in names {
            let read = async {
                platform.change_workspace(id, &name, Workspace::recover).await?;
                platform.record_versions(id, &name).await
            };
            if let Err(error) = read.await {
                tracing::warn!(app = %name, %error, "failed to read the history of a workspace");
            }
        }
    }

    /// Takes over an abandoned job, whose process or task has died.
    pub(super) async fn take_up(&self, job: &Job) -> AppResult<()> {
        let platform = &self.0.platform;
        if let (JobKind::Generate { turn }, Ok(app)) = (&job.kind, platform.store.app_by_id(job.app_id).await) {
            // The turn's result was stored, but its job's was not: the job ends with that result.
            if let Some(outcome) = generate::outcome_of(&platform.store.turn(*turn).await?) {
                return Ok(self.finish(job, outcome).await?);
            }
            let ended = async {
                platform.change_workspace(app.id, &app.name, Workspace::recover).await?;
                generate::end_interrupted(platform, &app, *turn).await
            };
            if let Err(error) = ended.await {
                tracing::warn!(app = %app.name, %error, "failed to clean up after an interrupted turn");
            }
        }
        let (state, error) = if job.cancel_requested {
            (JobState::Cancelled, None)
        } else if job.kind.is_resumable() && job.attempts < MAX_ATTEMPTS {
            (JobState::Queued, None)
        } else {
            (JobState::Failed, Some(interrupted(job)))
        };
        tracing::info!(job = job.id.0, app = %job.app, state = state.as_str(), "took over an abandoned job");
        let (id, at) = (job.id, platform.clock.now());
        platform
            .events
            .commit(move |t| {
                let job = table::change_state(t, id, state, error.as_ref(), None, at)?;
                let event = job_event(&job);
                Ok(((), vec![event]))
            })
            .await?;
        Ok(())
    }

    /// Ends a turn that has no job which could end it.
    async fn end_stranded(&self, app: AppId, turn: TurnId) -> AppResult<()> {
        let platform = &self.0.platform;
        let app = platform.store.app_by_id(app).await?;
        tracing::info!(app = %app.name, turn = turn.0, "ended a turn that has no job");
        if let Err(error) = platform.change_workspace(app.id, &app.name, Workspace::recover).await {
            tracing::warn!(app = %app.name, %error, "failed to clean up a workspace");
        }
        generate::end_interrupted(platform, &app, turn).await
    }

    /// Ends the state `deploying` of environments and releases that have no job.
    pub(super) async fn settle_environments(&self, app: &App) -> AppResult<()> {
        let platform = &self.0.platform;
        let open = platform.store.open_jobs(Some(app.id)).await?;
        for status in &app.environments {
            if open.iter().any(|job| job.kind.environment() == Some(status.environment)) {
                continue;
            }
            let environment = status.environment;
            let state = match (status.state, status.release) {
                (EnvironmentState::Deploying, Some(_)) => EnvironmentState::Ready,
                (EnvironmentState::Deploying, None) => EnvironmentState::Failed,
                (state, _) => state,
            };
            let event =
                platform.environment_event(app, None, environment, state, status.release.zip(status.version.clone()));
            let changed = state != status.state;
            let (id, at) = (app.id, platform.clock.now());
            platform
                .events
                .commit(move |t| {
                    crate::store::releases::fail_unfinished(t, id, environment, at)?;
                    crate::store::apps::set_environment_state(t, id, environment, state)?;
                    Ok(((), if changed { vec![event] } else { Vec::new() }))
                })
                .await?;
        }
        Ok(())
    }
}

fn interrupted(job: &Job) -> JobError {
    let (message, hint) = match job.kind {
        JobKind::Generate { .. } => {
            ("Slipway restarted during this turn. Changes so far are saved.", "Press Continue to resume from here.")
        }
        _ => ("Slipway restarted during this job, several times.", "Look at the server's log, then try again."),
    };
    JobError {
        code: INTERRUPTED.to_owned(),
        message: message.to_owned(),
        hint: Some(hint.to_owned()),
        lines: Vec::new(),
    }
}
