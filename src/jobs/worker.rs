//! The workers: they take jobs, run them, and record their ends.
//!
//! If the end of a job cannot be recorded, for example on a full disk, recording is retried. Until then the job counts as
//! running and keeps its slot. The reaper ends abandoned jobs: rows that are marked as running although no worker has them.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::context::{Failure, JobContext};
use super::follow::{self, Follow};
use super::record::until_recorded;
use super::{Jobs, delete, deploy, generate, space};
use crate::domain::{AppId, Job, JobClass, JobError, JobId, JobKind, JobResult, JobState, Redaction};
use crate::error::{AppError, AppResult};
use crate::locks::AppLocks;
use crate::platform::job_event;
use crate::store::{StoreError, jobs as table};

/// Maximum number of concurrent turns. Each of them mostly waits for the model.
const TURNS_AT_ONCE: usize = 64;
/// Interval at which the queue is polled in addition to wake-ups, and at which abandoned jobs are detected.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// A job that this process runs, until this is dropped.
struct Running {
    jobs: Jobs,
    id: JobId,
    cancel: CancellationToken,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.jobs.running().remove(&self.id);
    }
}

impl Jobs {
    /// Starts the workers. They stop taking jobs when the builder drains.
    pub fn start(&self) {
        let platform = &self.0.platform;
        let machine = platform.config.build_workers;
        for (name, class, at_once) in [
            ("worker for turns", JobClass::Model, TURNS_AT_ONCE),
            ("worker for deployments", JobClass::Machine, machine),
        ] {
            let (jobs, slots) = (self.clone(), Arc::new(Semaphore::new(at_once)));
            platform.lifecycle.supervise(name, move || jobs.clone().dispatch(class, slots.clone()));
        }
        let jobs = self.clone();
        platform.lifecycle.supervise("reaper of abandoned jobs", move || jobs.clone().reap());
    }

    async fn dispatch(self, class: JobClass, slots: Arc<Semaphore>) {
        // Subscribed before the queue is read, so that a job that is queued in between wakes this worker.
        let mut woken = self.0.wake.subscribe();
        loop {
            let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
            woken.borrow_and_update();
            // In a task of its own, so that a job that was taken runs even if this task is dropped.
            let taken = self.0.platform.lifecycle.tasks.spawn(self.clone().take(class, slot)).await;
            if taken.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())) {
                continue;
            }
            // Reading the queue is retried after an error, even if no job is queued meanwhile.
            let _ = tokio::time::timeout(POLL_INTERVAL, woken.changed()).await;
        }
    }

    /// Takes the next job of a class and starts it; `false` if there is none or none can be taken.
    async fn take(self, class: JobClass, slot: OwnedSemaphorePermit) -> bool {
        let platform = self.0.platform.clone();
        let _taking = self.0.taking.read().await;
        if platform.lifecycle.draining.is_cancelled() {
            return false;
        }
        let (job, running) = match self.mark_next(class).await {
            Ok(Some(taken)) => taken,
            Ok(None) => return false,
            Err(error) => {
                tracing::error!(%error, "failed to take the next job; retrying");
                return false;
            }
        };
        let jobs = self.clone();
        platform.lifecycle.tasks.spawn(async move {
            // On the heap, because the future of a job is large.
            Box::pin(jobs.run(job, running)).await;
            drop(slot);
            jobs.wake();
        });
        true
    }

    /// Marks the next job of a class as running. None if no job is queued.
    async fn mark_next(&self, class: JobClass) -> Result<Option<(Job, Running)>, StoreError> {
        let at = self.0.platform.clock.now();
        let taken = self.0.platform.events.commit(move |t| {
            let job = table::take_next(t, class, at)?;
            let events = job.iter().map(job_event).collect();
            Ok((job, events))
        });
        let Some(job) = taken.await? else { return Ok(None) };
        let running = Running { jobs: self.clone(), id: job.id, cancel: CancellationToken::new() };
        self.running().insert(job.id, running.cancel.clone());
        Ok(Some((job, running)))
    }

    /// For tests: runs the next deployment to its end. None if no deployment is queued.
    #[cfg(test)]
    pub(crate) async fn run_next(&self) -> Option<Job> {
        let (job, running) = self.mark_next(JobClass::Machine).await.expect("the queue can be read")?;
        let id = job.id;
        Box::pin(self.run(job, running)).await;
        Some(self.0.platform.store.job(id).await.expect("a job"))
    }

    /// Runs a job to its end and records its result.
    async fn run(&self, job: Job, running: Running) {
        let platform = &self.0.platform;
        let cancel = running.cancel.clone();
        // The cancellation was requested before the job was registered as running.
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
            // The job is resumed at the next start.
            () = platform.lifecycle.aborting.cancelled() => None,
            outcome = AssertUnwindSafe(async {
                match unreadable {
                    None => self.perform(&context).await,
                    Some(error) => unbegun(&context, &error).await,
                }
            }).catch_unwind() => Some(outcome),
        };
        let Some(outcome) = outcome else { return };
        let outcome = outcome.unwrap_or_else(|_| {
            tracing::error!(job = job.id.0, "job panicked");
            Err(Failure::failed("internal", "Something went wrong inside Slipway during this job."))
        });
        let outcome = outcome.map_err(|failure| failure.redacted(&context.redaction));
        self.record_end(&job, &outcome).await;
        drop(running);
    }

    /// Records a job's end, and retries until it is stored or the builder drains. In that case the next start resumes the job.
    async fn record_end(&self, job: &Job, outcome: &Result<JobResult, Failure>) {
        let platform = &self.0.platform;
        let record = || async {
            match self.finish(job, outcome.clone()).await {
                // It was recorded before, or the job was deleted.
                Err(error @ (StoreError::Conflict(_) | StoreError::NotFound)) => {
                    match platform.store.job(job.id).await {
                        Ok(now) if !now.state.is_final() => Err(error),
                        _ => {
                            tracing::error!(job = job.id.0, %error, "the job has ended already; dropped a second result");
                            Ok(())
                        }
                    }
                }
                other => other,
            }
        };
        if let Err(error) = until_recorded(&platform.lifecycle.draining, "the end of a job", record).await {
            tracing::error!(job = job.id.0, %error, "failed to record the end of a job; the next start takes it over");
            return;
        }
        let tidied = async {
            platform.store.join_events(job.id).await?;
            platform.store.keep_turn_blocks(job.id).await?;
            platform.store.forget_events(job.app_id, platform.config.retention.jobs).await
        };
        if let Err(error) = tidied.await {
            tracing::warn!(job = job.id.0, %error, "failed to compact the events of a job");
        }
        if matches!(job.kind, JobKind::Generate { .. }) {
            space::pack_later(platform, job.app_id, job.app.clone());
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
            JobKind::Start { environment } => deploy::start(context, *environment).await,
            JobKind::Delete => delete::run(context).await,
        }
    }

    /// Records a job's end and queues what follows it, all or nothing.
    pub(super) async fn finish(&self, job: &Job, outcome: Result<JobResult, Failure>) -> Result<(), StoreError> {
        let platform = &self.0.platform;
        let (id, at) = (job.id, platform.clock.now());
        let follow = follow::after(platform, job, &outcome).await.unwrap_or_else(|error| {
            tracing::warn!(job = id.0, app = %job.app, %error, "failed to decide what follows a job; nothing does");
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
        Ok(())
    }

    /// Ends abandoned jobs, such as one whose task has panicked.
    async fn reap(self) {
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            if let Err(error) = self.end_abandoned().await {
                tracing::warn!(%error, "failed to end abandoned jobs; retrying");
            }
        }
    }

    async fn end_abandoned(&self) -> AppResult<()> {
        let platform = &self.0.platform;
        let abandoned: Vec<Job> = {
            let _nobody_takes = self.0.taking.write().await;
            let rows = platform.store.running_jobs().await?;
            let running = self.running();
            rows.into_iter().filter(|job| !running.contains_key(&job.id)).collect()
        };
        for job in &abandoned {
            tracing::error!(job = job.id.0, app = %job.app, "found an abandoned job: marked as running, but no worker has it");
            self.take_up(job).await?;
            match platform.store.app_by_id(job.app_id).await {
                Ok(app) => self.settle_environments(&app).await?,
                Err(StoreError::NotFound) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if !abandoned.is_empty() {
            self.wake();
        }
        Ok(())
    }
}

/// Waits for the app's rollout lock, or until the job is cancelled.
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

/// Fails a job whose app's secrets cannot be read. The job does not start: its output could not be redacted.
async fn unbegun(context: &JobContext, error: &AppError) -> Result<JobResult, Failure> {
    tracing::error!(job = context.job.id.0, %error, "failed to read the app's secrets; the job does not start");
    if context.job.kind == JobKind::Delete {
        delete::withdraw(context).await?;
    }
    let message = "The app's secrets could not be read, so the job was not started: its output could have shown them.";
    Err(Failure::failed("secrets_unreadable", message).hint("Try again. If it fails again, see the builder's log."))
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
