//! Start-up: what a process that died held is taken up, or ended with the reason.
//!
//! First the database is reconciled (jobs, turns, versions, environments); then, and again
//! whenever a Docker engine is reached after an outage, the engine: live releases are found and routed to, everything of
//! ours that is neither live nor on its way is removed.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::context::Failure;
use super::release::{START_LIMIT, deployment, keeps_running};
use super::{Jobs, MAX_ATTEMPTS, generate, runs};
use crate::domain::{
    App, AppId, Environment, EnvironmentState, INTERRUPTED, Job, JobError, JobKind, JobState, ProcessKind,
    ReleaseState, Run, RunId, RunTrigger, TurnId,
};
use crate::error::AppResult;
use crate::gateway::{RouteState, Upstream};
use crate::output::Discard;
use crate::platform::{Platform, job_event};
use crate::runtime::{FoundInstance, InstanceEventKind, InstanceState, LeftRun, ScheduledRun};
use crate::store::{StoreError, jobs as table};
use crate::workspace::Workspace;

/// How long a change of a run that was made before it got its number may be on its way.
const TOLD_AGAIN: Duration = Duration::from_mins(10);
/// Pause before a live release that somebody took down is put back.
const PUT_BACK_PAUSE: Duration = Duration::from_secs(2);
/// Live releases that are started again at once.
const STARTS_AT_ONCE: usize = 4;

impl Jobs {
    /// Reconciles the database. Run before the workers start; reads only what is unfinished,
    /// so that it takes no longer with a thousand apps than with one.
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

    /// Takes in commits that were made just before the process died, and clears what a broken write
    /// left. For all apps, so in the background.
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

    /// Takes over an abandoned job: the process that ran it has died, or its task has.
    pub(super) async fn take_up(&self, job: &Job) -> AppResult<()> {
        let platform = &self.0.platform;
        if let (JobKind::Generate { turn }, Ok(app)) = (&job.kind, platform.store.app_by_id(job.app_id).await) {
            // The turn's end was kept, and only its job's was not: it ends as it would have.
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

    /// A turn that no job will end any more, however that came.
    async fn end_stranded(&self, app: AppId, turn: TurnId) -> AppResult<()> {
        let platform = &self.0.platform;
        let app = platform.store.app_by_id(app).await?;
        tracing::info!(app = %app.name, turn = turn.0, "ended a turn that has no job");
        if let Err(error) = platform.change_workspace(app.id, &app.name, Workspace::recover).await {
            tracing::warn!(app = %app.name, %error, "failed to clean up a workspace");
        }
        generate::end_interrupted(platform, &app, turn).await
    }

    /// An environment cannot be deploying without a job that does it, nor a release.
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
        JobKind::Generate { .. } => (
            "Slipway went away in the middle of this turn. What was written is kept.",
            "Press Continue, and it goes on from here.",
        ),
        _ => ("Slipway went away in the middle of this, several times.", "Look at the server's log, then try again."),
    };
    JobError {
        code: INTERRUPTED.to_owned(),
        message: message.to_owned(),
        hint: Some(hint.to_owned()),
        lines: Vec::new(),
    }
}

/// Puts all that is live back to what it should be, where somebody changed it by hand.
pub async fn keep(platform: &Arc<Platform>) -> AppResult<()> {
    let apps = platform.store.app_names().await?;
    let work = apps.into_iter().flat_map(|(id, _)| Environment::ALL.map(|environment| (id, environment)));
    futures_util::stream::iter(work)
        .for_each_concurrent(STARTS_AT_ONCE, async |(id, environment)| {
            if let Err(failure) = keep_one(platform, id, environment).await {
                tracing::warn!(app = id.0, %environment, ?failure, "failed to reconcile a live release");
            }
        })
        .await;
    Ok(())
}

async fn keep_one(platform: &Platform, id: AppId, environment: Environment) -> Result<(), Failure> {
    // A deployment reconciles it as well, and so does the next pass.
    let Some(_alone) = platform.rollout_locks.try_lock(id) else { return Ok(()) };
    let app = match platform.store.app_by_id(id).await {
        Ok(app) if !app.deleting => app,
        _ => return Ok(()),
    };
    let status = app.environment(environment);
    let Some(number) = status.release.filter(|_| status.state != EnvironmentState::Deploying) else { return Ok(()) };
    let release = platform.store.release(id, environment, number).await?;
    if release.spec.process == ProcessKind::Job && environment != runs::SCHEDULED {
        return Ok(());
    }
    let deployment = deployment(platform, &app, &release).await?;
    Ok(Box::pin(platform.runtime.keep(&deployment)).await?)
}

/// Takes runs that the runtime started by a schedule into the history, and sees to their end.
pub async fn record_scheduled(platform: Arc<Platform>) {
    let mut scheduled = platform.runtime.scheduled_runs();
    let mut taken = Taken::default();
    while let Some(run) = scheduled.next().await {
        // Each comes as often as something of it changes.
        if !taken.insert((run.app_id, run.id.clone()), Instant::now()) {
            continue;
        }
        if let Err(error) = record_one(&platform, &run).await {
            tracing::warn!(app = %run.app, %error, "failed to record a scheduled run");
            taken.forget(&(run.app_id, run.id));
        }
    }
}

/// Scheduled runs that have their number: each is told of a few times more, and then never again.
#[derive(Default)]
struct Taken {
    runs: HashSet<(AppId, String)>,
    order: VecDeque<(Instant, (AppId, String))>,
}

impl Taken {
    /// True for one that is new.
    fn insert(&mut self, run: (AppId, String), now: Instant) -> bool {
        while let Some((at, old)) = self.order.front()
            && now.duration_since(*at) > TOLD_AGAIN
        {
            self.runs.remove(old);
            self.order.pop_front();
        }
        let is_new = self.runs.insert(run.clone());
        if is_new {
            self.order.push_back((now, run));
        }
        is_new
    }

    /// It has no number after all, and gets one when it is told of again.
    fn forget(&mut self, run: &(AppId, String)) {
        self.runs.remove(run);
        self.order.retain(|(_, known)| known != run);
    }
}

async fn record_one(platform: &Arc<Platform>, scheduled: &ScheduledRun) -> AppResult<()> {
    let (app, environment, release) = (scheduled.app_id, scheduled.environment, scheduled.release);
    let begins = platform.run_begins.read().await;
    let run = platform.store.insert_run(app, environment, release, RunTrigger::Schedule, scheduled.started_at).await?;
    let named = platform.followed_runs.follow(run.id);
    drop(begins);
    match platform.runtime.name_run(scheduled, run.id).await {
        Ok(left) => {
            tracing::info!(run = run.id.0, app = %scheduled.app, "scheduled run begins");
            drop(named);
            follow_run(platform, left);
            Ok(())
        }
        Err(error) => {
            runs::lost(platform, app, run.id).await?;
            Err(unavailable(&error))
        }
    }
}

/// Waits for a run's end in the background, unless this process does so already.
fn follow_run(platform: &Arc<Platform>, left: LeftRun) {
    let Some(followed) = platform.followed_runs.follow(left.run) else { return };
    let platform = platform.clone();
    platform.clone().lifecycle.tasks.spawn(async move {
        let _followed = followed;
        let draining = platform.lifecycle.draining.clone();
        tokio::select! {
            () = draining.cancelled() => {}
            ended = runs::take_up(&platform, &left) => {
                if let Err(error) = ended {
                    tracing::warn!(run = left.run.0, %error, "failed to take over a run");
                }
            }
        }
    });
}

/// Reconciles the engine: routes to live releases, starts missing ones, and removes orphaned containers. Safe beside running
/// jobs.
pub async fn reconcile(platform: &Arc<Platform>) -> AppResult<()> {
    let found = platform.runtime.instances().await.map_err(|error| unavailable(&error))?;
    let mut missing = Vec::new();
    for (id, _) in platform.store.app_names().await? {
        for environment in Environment::ALL {
            if !route_to_live(platform, id, environment, &found).await? {
                missing.push((id, environment));
            }
        }
    }
    platform.gateway.routes().are_known();
    for FoundInstance { instance, .. } in found {
        let release = platform.store.release(instance.app_id, instance.environment, instance.release).await;
        let wanted = match release {
            Ok(release) => matches!(release.state, ReleaseState::Ready | ReleaseState::Deploying),
            Err(StoreError::NotFound) => false,
            Err(error) => return Err(error.into()),
        };
        // It may still have requests in flight from before traffic switched to another release.
        let is_draining = platform.draining.contains(instance.app_id, instance.environment, instance.release);
        if !wanted && !is_draining && !keeps_running(platform, &instance).await {
            // In place, a job may have put its own release there since: what it works on is its own.
            let alone = platform.rollout_locks.try_lock(instance.app_id);
            if platform.runtime.replaces_in_place() && alone.is_none() {
                continue;
            }
            tracing::info!(app = %instance.app, release = instance.release.0, "removing an orphaned container");
            platform.runtime.stop(&instance).await.map_err(|error| unavailable(&error))?;
        }
    }
    futures_util::stream::iter(missing)
        .for_each_concurrent(STARTS_AT_ONCE, async |(id, environment)| {
            if let Err(failure) = start_again(platform, id, environment).await {
                tracing::warn!(app = id.0, %environment, ?failure, "failed to restart a live release");
                if let Err(error) = set_state(platform, id, environment, EnvironmentState::Stopped).await {
                    tracing::warn!(app = id.0, %error, "failed to store an environment's state");
                }
            }
        })
        .await;
    take_up_runs(platform).await
}

/// Leads traffic to the container of the live release. `false`: there should be one, and is not.
async fn route_to_live(
    platform: &Platform,
    id: AppId,
    environment: Environment,
    found: &[FoundInstance],
) -> AppResult<bool> {
    let _alone = platform.route_locks.lock(id).await;
    let Ok(app) = platform.store.app_by_id(id).await else { return Ok(true) };
    if app.deleting {
        return Ok(true);
    }
    let Some(number) = app.environment(environment).release else { return Ok(true) };
    let release = platform.store.release(id, environment, number).await?;
    if release.spec.process == ProcessKind::Job {
        return Ok(true);
    }
    let live = found.iter().find(|found| {
        let instance = &found.instance;
        (instance.app_id, instance.environment) == (id, environment)
            && (instance.release == number || platform.runtime.replaces_in_place())
            && matches!(found.state, InstanceState::Running | InstanceState::Restarting)
    });
    let Some(FoundInstance { instance, .. }) = live else {
        // A deployment that is on its way brings its own.
        let open = platform.store.open_jobs(Some(id)).await?;
        return Ok(open.iter().any(|job| job.kind.environment() == Some(environment)));
    };
    if let Some(address) = instance.address {
        platform.gateway.routes().set(&app.name, environment, Upstream { address, release: number });
    }
    set_state(platform, id, environment, EnvironmentState::Ready).await?;
    Ok(true)
}

/// Starts a live release whose container is gone or has stopped.
async fn start_again(platform: &Platform, id: AppId, environment: Environment) -> Result<(), Failure> {
    let app = platform.store.app_by_id(id).await?;
    let status = app.environment(environment);
    let Some(number) = status.release else { return Ok(()) };
    if platform.runtime.replaces_in_place() {
        // The job that is at it, if one is, goes on, and puts this one back if it comes to nothing.
        return keep_one(platform, id, environment).await;
    }
    let release = platform.store.release(id, environment, number).await?;
    let ProcessKind::Service(probe) = &release.spec.process else { return Ok(()) };
    tracing::info!(app = %app.name, %environment, release = number.0, "restarting a live release");
    let deployment = deployment(platform, &app, &release).await?;
    let never = CancellationToken::new();
    let instance = Box::pin(platform.runtime.start(&deployment, &Discard, &never)).await?;
    Box::pin(platform.runtime.wait_ready(&instance, probe, START_LIMIT, &Discard, &never)).await?;
    // A job may have begun meanwhile: then the app may be gone by now, or another release live.
    let still_live = platform
        .store
        .app_by_id(id)
        .await
        .is_ok_and(|app| !app.deleting && app.environment(environment).release == Some(number));
    if !still_live {
        return Ok(platform.runtime.stop(&instance).await?);
    }
    let instance = FoundInstance { instance, state: InstanceState::Running };
    route_to_live(platform, id, environment, std::slice::from_ref(&instance)).await?;
    Ok(())
}

/// Runs that went on without us are waited for; those of which nothing is left have failed. What nobody waits
/// for is ended: whoever knew of it would take it for going on.
async fn take_up_runs(platform: &Arc<Platform>) -> AppResult<()> {
    let left = platform.runtime.runs().await.map_err(|error| unavailable(&error))?;
    let (open, ours): (_, HashSet<RunId>) = {
        let _none_begins = platform.run_begins.write().await;
        let open = platform.store.open_runs().await?;
        let followed = |run: &RunId| platform.followed_runs.contains(*run);
        let ours =
            open.iter().map(|(_, run)| run.id).chain(left.iter().map(|left| left.run)).filter(followed).collect();
        (open, ours)
    };
    for (app, run) in open.iter().filter(|(_, run)| !ours.contains(&run.id)) {
        let found = left.iter().find(|left| left.run == run.id);
        if run.trigger == RunTrigger::Check {
            if !is_checking(platform, *app, run).await? {
                if let Some(left) = found {
                    end_run(platform, left).await?;
                }
                runs::stopped(platform, *app, run.id).await?;
            }
            continue;
        }
        match found {
            Some(left) => follow_run(platform, left.clone()),
            None => runs::lost(platform, *app, run.id).await?,
        }
    }
    // Looked for before the runs were read: what is not among them has its end.
    let is_open = |run: RunId| open.iter().any(|(_, open)| open.id == run);
    for left in left.iter().filter(|left| !is_open(left.run) && !ours.contains(&left.run)) {
        end_run(platform, left).await?;
    }
    Ok(())
}

/// Whether the job goes on that a check is part of: it goes on with the check as well.
async fn is_checking(platform: &Platform, app: AppId, run: &Run) -> AppResult<bool> {
    let release = match platform.store.release(app, run.environment, run.release).await {
        Ok(release) => release,
        Err(StoreError::NotFound) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let open = platform.store.open_jobs(Some(app)).await?;
    Ok(open.iter().any(|job| job.id == release.job))
}

async fn end_run(platform: &Platform, left: &LeftRun) -> AppResult<()> {
    tracing::info!(run = left.run.0, app = %left.app, "stopping an abandoned run");
    platform.runtime.end_run(&left.app, &left.id).await.map_err(|error| unavailable(&error))
}

/// Follows what happens to containers, for as long as the builder lives: one that dies is shown
/// as stopped, one that comes back as ready. What somebody took down by hand is put back, since Slipway itself
/// removes what is not to run.
pub async fn watch(platform: Arc<Platform>) {
    let mut events = platform.runtime.watch();
    while let Some(event) = events.next().await {
        let instance = event.instance;
        let _alone = platform.route_locks.lock(instance.app_id).await;
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
            InstanceEventKind::Died { .. } | InstanceEventKind::TakenDown => {
                if event.kind == InstanceEventKind::TakenDown {
                    platform.lifecycle.tasks.spawn(put_back(platform.clone(), app.id, instance.environment));
                }
                platform.gateway.routes().set_state(&app.name, instance.environment, RouteState::Stopped);
                EnvironmentState::Stopped
            }
        };
        if let Err(error) = set_state(&platform, app.id, instance.environment, state).await {
            tracing::warn!(app = %app.name, %error, "failed to store an environment's state");
        }
    }
}

/// Puts back a live release that somebody took down by hand. What cannot be done now, the next look does.
async fn put_back(platform: Arc<Platform>, id: AppId, environment: Environment) {
    let draining = platform.lifecycle.draining.clone();
    let work = async {
        // Who deletes one object may delete more; and two who do not agree do so slowly.
        tokio::time::sleep(PUT_BACK_PAUSE).await;
        tracing::info!(app = id.0, %environment, "restoring a live release that was removed by hand");
        keep_one(&platform, id, environment).await
    };
    tokio::select! {
        () = draining.cancelled() => {}
        done = work => {
            if let Err(failure) = done {
                tracing::warn!(app = id.0, %environment, ?failure, "failed to restore a live release");
            }
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

fn unavailable(error: &crate::runtime::RuntimeError) -> crate::error::AppError {
    super::runtime_unavailable(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheduled_runs_are_taken_once_and_forgotten_in_time() {
        let (mut taken, begun) = (Taken::default(), Instant::now());
        let run = |number: u32| (AppId(1), format!("tides-prod-{number}"));
        for minute in 0..1000 {
            let now = begun + Duration::from_secs(60 * u64::from(minute));
            assert!(taken.insert(run(minute), now));
            assert!(!taken.insert(run(minute), now + Duration::from_secs(5)), "it was told of before");
        }
        assert!(taken.runs.len() < 15 && taken.order.len() == taken.runs.len(), "{}", taken.runs.len());
        taken.forget(&run(999));
        assert!(taken.insert(run(999), begun + Duration::from_mins(1000)), "it got no number");
    }
}
