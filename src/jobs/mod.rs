//! Jobs: the queue, the workers, and one file for each kind.
//!
//! Owns the order of things: one job of an app at a time, apps in fair turns, each kind of
//! machine use within its limit. A job's state, and the event that tells of it, are kept
//! together. What a process that died held is taken up, or ended with the reason, at start-up.

pub mod briefing;
pub mod context;
mod delete;
mod deploy;
mod failure;
pub mod follow;
mod generate;
mod host_error;
mod outage;
mod proving;
pub mod recover;
mod release;
pub mod rollout;
pub mod runs;
pub mod schedule;
mod smoke;
pub mod space;
mod tool_host;

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use rusqlite::Transaction;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::deploy::DeployError;
use crate::domain::{
    App, AppId, Job, JobClass, JobError, JobId, JobKind, JobResult, JobState, NewTurn, Redaction, TurnId,
};
use crate::error::{AppError, AppResult, ErrorKind};
use crate::platform::{AppLocks, Platform, job_event};
use crate::store::{StoreError, apps, jobs as table, turns};
use context::{Failure, JobContext};
use follow::Follow;

/// Turns at once: each mostly waits for the model.
const TURNS_AT_ONCE: usize = 64;
/// How often a job is begun before it is given up.
const MAX_ATTEMPTS: u32 = 3;
/// Jobs of an app whose events are kept.
const KEPT_JOBS: u32 = 200;

/// The queue and its workers. Cheap to clone.
#[derive(Clone)]
pub struct Jobs(Arc<Inner>);

struct Inner {
    platform: Arc<Platform>,
    /// Changes whenever there may be something to take.
    wake: watch::Sender<u64>,
    running: Mutex<HashMap<JobId, CancellationToken>>,
}

impl Jobs {
    /// A queue that nobody works on yet.
    pub fn new(platform: Arc<Platform>) -> Self {
        Self(Arc::new(Inner { platform, wake: watch::Sender::new(0), running: Mutex::default() }))
    }

    /// Queues a job of an app.
    pub async fn enqueue(&self, app: &App, kind: JobKind) -> AppResult<Job> {
        Ok(self.enqueue_with(app, move |_| Ok(((), kind))).await?.1)
    }

    /// Queues a new turn of an app, with the files that came with it and the job that runs it: all or nothing.
    pub async fn enqueue_turn(&self, app: &App, new: NewTurn) -> AppResult<(TurnId, Job)> {
        let (id, at) = (app.id, self.0.platform.clock.now());
        let turn_and_kind = move |t: &Transaction<'_>| {
            let turn = turns::insert(t, id, &new, at)?.id;
            Ok((turn, JobKind::Generate { turn }))
        };
        self.enqueue_with(app, turn_and_kind).await
    }

    /// Queues a job in the transaction that makes what it works on.
    async fn enqueue_with<R: Send + 'static>(
        &self,
        app: &App,
        prepare: impl FnOnce(&Transaction<'_>) -> Result<(R, JobKind), StoreError> + Send + 'static,
    ) -> AppResult<(R, Job)> {
        let platform = &self.0.platform;
        let (id, name, at) = (app.id, app.name.clone(), platform.clock.now());
        let queued = platform
            .events
            .commit(move |t| {
                let (subject, kind) = prepare(t)?;
                let job = table::insert(t, id, &name, &kind, at)?;
                let event = job_event(&job);
                Ok(((subject, job), vec![event]))
            })
            .await
            .map_err(|error| match error {
                StoreError::Conflict(detail) => AppError::conflict("app_deleting", detail),
                StoreError::NotFound => AppError::not_found("app of this name"),
                other => other.into(),
            })?;
        self.wake();
        Ok(queued)
    }

    /// Ends a job: at once if it is queued, as soon as it can if it runs. An ended one stays as it is.
    pub async fn cancel(&self, id: JobId) -> AppResult<Job> {
        let platform = &self.0.platform;
        let at = platform.clock.now();
        let job = platform
            .events
            .commit(move |t| {
                let job = table::request_cancel(t, id)?;
                if job.state == JobState::Queued {
                    let job = table::change_state(t, id, JobState::Cancelled, None, None, at)?;
                    if job.kind == JobKind::Delete {
                        // As if it had not been asked for.
                        apps::mark_deleting(t, job.app_id, false)?;
                    }
                    let event = job_event(&job);
                    return Ok((job, vec![event]));
                }
                Ok((job, Vec::new()))
            })
            .await
            .map_err(|error| match error {
                StoreError::NotFound => AppError::not_found("job of this number"),
                other => other.into(),
            })?;
        if let Some(token) = self.running().get(&id) {
            token.cancel();
        }
        self.wake();
        Ok(job)
    }

    /// Starts the workers. They stop taking jobs when the builder drains.
    pub fn start(&self) {
        let platform = &self.0.platform;
        let machine = platform.config.build_workers;
        for (class, at_once) in [(JobClass::Model, TURNS_AT_ONCE), (JobClass::Machine, machine)] {
            platform.lifecycle.tasks.spawn(self.clone().dispatch(class, at_once));
        }
    }

    /// Whether no job runs at this moment.
    pub fn is_idle(&self) -> bool {
        self.running().is_empty()
    }

    /// Looks for work again.
    pub fn wake(&self) {
        self.0.wake.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<JobId, CancellationToken>> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn dispatch(self, class: JobClass, at_once: usize) {
        let platform = self.0.platform.clone();
        let draining = platform.lifecycle.draining.clone();
        let slots = Arc::new(Semaphore::new(at_once));
        // Before the first look, so that a job that is queued in between wakes us.
        let mut woken = self.0.wake.subscribe();
        loop {
            let slot = tokio::select! {
                () = draining.cancelled() => return,
                slot = slots.clone().acquire_owned() => slot.expect("the semaphore is never closed"),
            };
            woken.borrow_and_update();
            let at = platform.clock.now();
            let taken = platform
                .events
                .commit(move |t| {
                    let job = table::take_next(t, class, at)?;
                    let events = job.iter().map(job_event).collect();
                    Ok((job, events))
                })
                .await;
            match taken {
                Ok(Some(job)) => {
                    let jobs = self.clone();
                    platform.lifecycle.tasks.spawn(async move {
                        // On the heap: it holds all that a job does.
                        Box::pin(jobs.run(job)).await;
                        drop(slot);
                        jobs.wake();
                    });
                    continue;
                }
                Ok(None) => {}
                Err(error) => tracing::error!(%error, "no job could be taken"),
            }
            drop(slot);
            tokio::select! {
                () = draining.cancelled() => return,
                _ = woken.changed() => {}
            }
        }
    }

    /// Runs a job to its end and keeps what came of it.
    async fn run(&self, job: Job) {
        let platform = &self.0.platform;
        let cancel = CancellationToken::new();
        self.running().insert(job.id, cancel.clone());
        // Asked for between the taking and the line above.
        if job.cancel_requested {
            cancel.cancel();
        }
        let redaction = match platform.store.app_by_id(job.app_id).await {
            Ok(app) => platform.redaction(&app).await,
            Err(error) => Err(error.into()),
        };
        let (redaction, unreadable) = match redaction {
            Ok(redaction) => (redaction, None),
            Err(error) => (Redaction::default(), Some(error)),
        };
        let context = JobContext::new(platform.clone(), job.clone(), cancel, redaction);
        tracing::info!(job = job.id.0, app = %job.app, kind = job.kind.as_str(), attempt = job.attempts, "job begins");
        let outcome = tokio::select! {
            // What is dropped here is taken up again at the next start.
            () = platform.lifecycle.aborting.cancelled() => None,
            outcome = AssertUnwindSafe(async {
                match unreadable {
                    None => self.perform(&context).await,
                    Some(error) => unbegun(&context, &error).await,
                }
            }).catch_unwind() => Some(outcome),
        };
        self.running().remove(&job.id);
        let Some(outcome) = outcome else { return };
        let outcome = outcome.unwrap_or_else(|_| {
            tracing::error!(job = job.id.0, "job panicked");
            Err(Failure::failed("internal", "Something went wrong inside Slipway while it was at work on this."))
        });
        let outcome = outcome.map_err(|failure| failure.redacted(&context.redaction));
        if let Err(error) = self.finish(&job, outcome).await {
            tracing::error!(job = job.id.0, %error, "a job's end could not be kept");
        }
    }

    async fn perform(&self, context: &JobContext) -> Result<JobResult, Failure> {
        let _alone = match &context.job.kind {
            JobKind::Generate { .. } => None,
            kind => match alone(&context.platform.rollout_locks, context.job.app_id, &context.cancel).await {
                Ok(alone) => Some(alone),
                Err(failure) => {
                    if *kind == JobKind::Delete {
                        delete::withdraw(context).await?;
                    }
                    return Err(failure);
                }
            },
        };
        match &context.job.kind {
            JobKind::Generate { turn } => generate::run(context, *turn).await,
            JobKind::Preview { version, .. } => deploy::preview(context, version).await,
            JobKind::Publish { release } => deploy::publish(context, *release).await,
            JobKind::Rollback { environment, release } => deploy::rollback(context, *environment, *release).await,
            JobKind::Delete => delete::run(context).await,
        }
    }

    async fn finish(&self, job: &Job, outcome: Result<JobResult, Failure>) -> Result<(), StoreError> {
        let platform = &self.0.platform;
        let (id, at) = (job.id, platform.clock.now());
        let follow = follow::after(platform, job, &outcome).await.unwrap_or_else(|error| {
            tracing::warn!(job = id.0, app = %job.app, %error, "what follows a job could not be decided: nothing does");
            Follow::Nothing
        });
        let (state, mut error, result) = match outcome {
            Ok(result) => (JobState::Succeeded, None, Some(result)),
            Err(Failure::Cancelled) => (JobState::Cancelled, None, None),
            Err(Failure::Failed(error)) => (JobState::Failed, Some(error), None),
        };
        let code = error.as_ref().map(|error: &JobError| error.code.clone());
        if let (Follow::Stop(sentence), Some(error)) = (&follow, &mut error) {
            error.hint = Some(sentence.clone());
        }
        platform
            .events
            .commit(move |t| {
                let job = table::change_state(t, id, state, error.as_ref(), result.as_ref(), at)?;
                let mut events = vec![job_event(&job)];
                events.extend(follow.queue(t, job.app_id, &job.app, at)?);
                Ok(((), events))
            })
            .await?;
        tracing::info!(job = id.0, app = %job.app, state = state.as_str(), code, "job ended");
        platform.store.join_events(id).await?;
        platform.store.forget_events(job.app_id, KEPT_JOBS).await
    }
}

/// Waits until nobody else deploys an app or looks after it, or until somebody wants no more of that.
async fn alone(
    locks: &AppLocks,
    app: AppId,
    cancel: &CancellationToken,
) -> Result<tokio::sync::OwnedMutexGuard<()>, Failure> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Failure::Cancelled),
        alone = locks.lock(app) => Ok(alone),
    }
}

/// 503 for a runtime that does not answer, for those who ask it directly.
pub fn runtime_unavailable(error: &DeployError) -> AppError {
    match error {
        DeployError::ClusterUnavailable(_) | DeployError::ClusterRefused(_) | DeployError::ClusterDenied(_) => {
            AppError::new(ErrorKind::Unavailable, "cluster_unavailable", error.to_string())
                .hint("See that the cluster runs and that KUBECONFIG leads to it, then try again.")
        }
        _ => AppError::new(ErrorKind::Unavailable, "docker_unavailable", error.to_string())
            .hint("Start Docker (for example with `sudo systemctl start docker`), then try again."),
    }
}

/// Ends a job of whose app the secrets cannot be read. Without them they cannot be taken out of what the job tells, so it is
/// not begun.
async fn unbegun(context: &JobContext, error: &AppError) -> Result<JobResult, Failure> {
    tracing::error!(job = context.job.id.0, %error, "the app's secrets cannot be read: the job is not begun");
    if context.job.kind == JobKind::Delete {
        delete::withdraw(context).await?;
    }
    let message =
        "The app's secrets could not be read, so nothing was begun: they could have been shown in what it tells.";
    Err(Failure::failed("secrets_unreadable", message)
        .hint("Try again. If it happens again, see the builder's own log."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_job_that_waits_for_its_app_can_be_cancelled() {
        let (locks, cancel) = (AppLocks::default(), CancellationToken::new());
        let others = alone(&locks, AppId(1), &cancel).await.expect("nobody has it");
        assert!(alone(&locks, AppId(2), &cancel).await.is_ok(), "another app's is free");
        let waiting = alone(&locks, AppId(1), &cancel);
        cancel.cancel();
        assert_eq!(waiting.await.map(drop), Err(Failure::Cancelled));
        drop(others);
    }
}
