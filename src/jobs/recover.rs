//! Start-up: what a process that died held is taken up, or ended with the reason.
//!
//! First the database is made true (jobs, turns, versions, environments); then, and again
//! whenever the engine comes back, the engine: live releases are found and led to, everything of
//! ours that is neither live nor on its way is removed.

use std::sync::Arc;

use futures_util::StreamExt;

use super::{Jobs, MAX_ATTEMPTS, generate, runs};
use crate::deploy::{FoundInstance, InstanceEventKind, InstanceState};
use crate::domain::{
    App, AppId, Environment, EnvironmentState, Job, JobError, JobKind, JobState, ReleaseState, RunTrigger,
};
use crate::error::AppResult;
use crate::gateway::Upstream;
use crate::platform::{Platform, job_event};
use crate::store::{StoreError, jobs as table};

impl Jobs {
    /// Makes the database true again. Run before the workers start; looks only at what is unfinished,
    /// so that it takes no longer with a thousand apps than with one.
    pub async fn recover(&self) -> AppResult<()> {
        let platform = &self.0.platform;
        for job in platform.store.open_jobs(None).await? {
            if job.state == JobState::Running {
                self.take_up(&job).await?;
            }
        }
        for id in platform.store.unsettled_apps().await? {
            let app = platform.store.app_by_id(id).await?;
            self.settle_environments(&app).await?;
        }
        for (app, environment) in platform.store.deployed_environments().await? {
            platform.gateway.routes().set_starting(&app, environment);
        }
        Ok(())
    }

    /// Takes in commits that were made just before the process died, and clears what a broken write
    /// left. For all apps, so behind everybody's back.
    pub async fn read_histories(&self) {
        let platform = &self.0.platform;
        let Ok(names) = platform.store.app_names().await else { return };
        for (id, name) in names {
            let read = async {
                platform.change_workspace(id, &name, |workspace| workspace.recover()).await?;
                platform.record_versions(id, &name).await
            };
            if let Err(error) = read.await {
                tracing::warn!(app = %name, %error, "history could not be read");
            }
        }
    }

    /// A job that was running when the process died.
    async fn take_up(&self, job: &Job) -> AppResult<()> {
        let platform = &self.0.platform;
        if let (JobKind::Generate { turn }, Ok(app)) = (&job.kind, platform.store.app_by_id(job.app_id).await) {
            let ended = async {
                platform.change_workspace(app.id, &app.name, |workspace| workspace.recover()).await?;
                generate::end_interrupted(platform, &app, *turn).await
            };
            if let Err(error) = ended.await {
                tracing::warn!(app = %app.name, %error, "what an interrupted turn wrote could not be made a version");
            }
        }
        let (state, error) = if job.cancel_requested {
            (JobState::Cancelled, None)
        } else if job.kind.is_resumable() && job.attempts < MAX_ATTEMPTS {
            (JobState::Queued, None)
        } else {
            (JobState::Failed, Some(interrupted(job)))
        };
        tracing::info!(job = job.id.0, app = %job.app, state = state.as_str(), "job of an earlier process");
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

    /// An environment cannot be deploying without a job that does it, nor a release.
    async fn settle_environments(&self, app: &App) -> AppResult<()> {
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
        JobKind::Generate { .. } => (
            "Slipway went away in the middle of this turn. What was written is kept.",
            "Send another message to go on from here.",
        ),
        _ => ("Slipway went away in the middle of this, several times.", "Look at the server's log, then try again."),
    };
    JobError {
        code: "interrupted".to_owned(),
        message: message.to_owned(),
        hint: Some(hint.to_owned()),
        lines: Vec::new(),
    }
}

/// Makes the engine true: routes to what is live, and nothing of ours that is not needed.
pub async fn reconcile(platform: &Arc<Platform>) -> AppResult<()> {
    let found = platform.runtime.instances().await.map_err(unavailable)?;
    for (id, _) in platform.store.app_names().await? {
        let Ok(app) = platform.store.app_by_id(id).await else { continue };
        for status in app.environments.clone() {
            let Some(release) = status.release else { continue };
            let instance = found.iter().find(|found| {
                let instance = &found.instance;
                instance.app_id == id && instance.environment == status.environment && instance.release == release
            });
            take_up_instance(platform, &app, status.environment, instance).await?;
        }
    }
    for FoundInstance { instance, .. } in found {
        let release = platform.store.release(instance.app_id, instance.environment, instance.release).await;
        let wanted = match release {
            Ok(release) => matches!(release.state, ReleaseState::Ready | ReleaseState::Deploying),
            Err(StoreError::NotFound) => false,
            Err(error) => return Err(error.into()),
        };
        if !wanted {
            tracing::info!(app = %instance.app, release = instance.release.0, "removing a container that nobody needs");
            platform.runtime.stop(&instance).await.map_err(unavailable)?;
        }
    }
    take_up_runs(platform).await
}

/// A live release whose container is there gets its traffic; one without is started again.
async fn take_up_instance(
    platform: &Arc<Platform>,
    app: &App,
    environment: Environment,
    found: Option<&FoundInstance>,
) -> AppResult<()> {
    let Some(number) = app.environment(environment).release else { return Ok(()) };
    let release = platform.store.release(app.id, environment, number).await?;
    let crate::domain::ProcessKind::Service(_) = &release.spec.process else { return Ok(()) };
    let instance = match found {
        Some(FoundInstance { instance, state: InstanceState::Running | InstanceState::Restarting }) => instance.clone(),
        _ => {
            tracing::info!(app = %app.name, %environment, release = number.0, "starting a live release again");
            let deployment = match super::rollout::deployment(platform, app, &release).await {
                Ok(deployment) => deployment,
                Err(failure) => {
                    tracing::warn!(app = %app.name, ?failure, "a live release could not be started again");
                    return set_state(platform, app.id, environment, EnvironmentState::Stopped).await;
                }
            };
            let never = tokio_util::sync::CancellationToken::new();
            match platform.runtime.start(&deployment, &never).await {
                Ok(instance) => instance,
                Err(error) => {
                    tracing::warn!(app = %app.name, %error, "a live release could not be started again");
                    return set_state(platform, app.id, environment, EnvironmentState::Stopped).await;
                }
            }
        }
    };
    if let Some(address) = instance.address {
        platform.gateway.routes().set(&app.name, environment, Upstream { address, release: number });
    }
    set_state(platform, app.id, environment, EnvironmentState::Ready).await
}

/// Runs that went on without us are waited for; those of which nothing is left have failed.
async fn take_up_runs(platform: &Arc<Platform>) -> AppResult<()> {
    let left = platform.runtime.runs().await.map_err(unavailable)?;
    for (app, run) in platform.store.open_runs().await? {
        // The job that checks a new version runs it anew.
        if run.trigger == RunTrigger::Check {
            continue;
        }
        match left.iter().find(|left| left.run == run.id) {
            Some(left) => {
                let (platform, left) = (platform.clone(), left.clone());
                platform.clone().lifecycle.tasks.spawn(async move {
                    let draining = platform.lifecycle.draining.clone();
                    tokio::select! {
                        () = draining.cancelled() => {}
                        ended = runs::take_up(&platform, &left) => {
                            if let Err(error) = ended {
                                tracing::warn!(run = left.run.0, %error, "run could not be taken up");
                            }
                        }
                    }
                });
            }
            None => runs::lost(platform, app, run.id).await?,
        }
    }
    Ok(())
}

/// Follows what happens to containers, for as long as the builder lives: one that dies is shown
/// as stopped, one that comes back as ready.
pub async fn watch(platform: Arc<Platform>) {
    let draining = platform.lifecycle.draining.clone();
    let mut events = platform.runtime.watch();
    loop {
        let event = tokio::select! {
            () = draining.cancelled() => return,
            event = events.next() => event,
        };
        let Some(event) = event else { return };
        let instance = event.instance;
        let Ok(app) = platform.store.app_by_id(instance.app_id).await else { continue };
        let status = app.environment(instance.environment);
        if status.release != Some(instance.release) || status.state == EnvironmentState::Deploying {
            continue;
        }
        let state = match event.kind {
            InstanceEventKind::Started => {
                if let Some(address) = instance.address {
                    let upstream = Upstream { address, release: instance.release };
                    platform.gateway.routes().set(&app.name, instance.environment, upstream);
                }
                EnvironmentState::Ready
            }
            InstanceEventKind::Died { .. } => EnvironmentState::Stopped,
        };
        if let Err(error) = set_state(&platform, app.id, instance.environment, state).await {
            tracing::warn!(app = %app.name, %error, "an environment's state could not be kept");
        }
    }
}

async fn set_state(platform: &Platform, id: AppId, environment: Environment, state: EnvironmentState) -> AppResult<()> {
    let app = platform.store.app_by_id(id).await?;
    let status = app.environment(environment);
    if status.state == state || status.state == EnvironmentState::Deploying {
        return Ok(());
    }
    let event = platform.environment_event(&app, None, environment, state, status.release.zip(status.version.clone()));
    platform
        .events
        .commit(move |t| {
            crate::store::apps::set_environment_state(t, id, environment, state)?;
            Ok(((), vec![event]))
        })
        .await?;
    Ok(())
}

fn unavailable(error: crate::deploy::DeployError) -> crate::error::AppError {
    super::engine_unavailable(error.to_string())
}
