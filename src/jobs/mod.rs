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
mod record;
mod recover;
pub mod release;
pub mod rollout;
pub mod runs;
pub mod schedule;
mod smoke;
pub mod space;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod tool_host;
mod worker;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Transaction;
use tokio::sync::{RwLock, watch};
use tokio_util::sync::CancellationToken;

use crate::domain::{App, Author, Job, JobId, JobKind, JobState, NewTurn, TurnId};
use crate::error::{AppError, AppResult};
use crate::platform::{Platform, job_event};
use crate::store::{StoreError, apps, jobs as table, turns};

pub use failure::runtime_unavailable;

/// How often a job is begun before it is given up.
const MAX_ATTEMPTS: u32 = 3;
/// For so long after a deployment has succeeded, a request for the same one is answered with it.
const SAME_REQUEST: Duration = Duration::from_secs(2);

/// The queue and its workers. Cheap to clone.
#[derive(Clone)]
pub struct Jobs(Arc<Inner>);

struct Inner {
    platform: Arc<Platform>,
    /// Changes whenever there may be something to take.
    wake: watch::Sender<u64>,
    /// The jobs that this process runs, with the tokens that cancel them.
    running: Mutex<HashMap<JobId, CancellationToken>>,
    /// Held shared from marking a job's row as running until the job is in `running`. The reaper holds it exclusively, and so
    /// sees both in agreement.
    taking: RwLock<()>,
}

impl Jobs {
    /// A queue that nobody works on yet.
    pub fn new(platform: Arc<Platform>) -> Self {
        Self(Arc::new(Inner {
            platform,
            wake: watch::Sender::new(0),
            running: Mutex::default(),
            taking: RwLock::default(),
        }))
    }

    /// Queues a job of an app.
    pub async fn enqueue(&self, app: &App, kind: JobKind, author: Author) -> AppResult<Job> {
        Ok(self.enqueue_with(app, author, move |_| Ok(((), kind))).await?.1)
    }

    /// Queues a deployment, unless the app's newest one is the same, and is queued, runs or has just succeeded: that one is
    /// the answer then. A second click, or a request that is repeated over a slow line, deploys nothing twice.
    pub async fn enqueue_once(&self, app: &App, kind: JobKind, author: Author) -> AppResult<Job> {
        let platform = &self.0.platform;
        let (id, name, at) = (app.id, app.name.clone(), platform.clock.now());
        let job = platform
            .events
            .commit(move |t| {
                if let Some(job) = table::same_request(t, id, &kind, at - SAME_REQUEST)? {
                    return Ok((job, vec![]));
                }
                let job = table::insert(t, id, &name, &kind, author, at)?;
                let event = job_event(&job);
                Ok((job, vec![event]))
            })
            .await
            .map_err(not_queued)?;
        self.wake();
        Ok(job)
    }

    /// Queues a new turn of an app, with the files that came with it and the job that runs it: all or nothing.
    pub async fn enqueue_turn(&self, app: &App, new: NewTurn, author: Author) -> AppResult<(TurnId, Job)> {
        let (id, at) = (app.id, self.0.platform.clock.now());
        let turn_and_kind = move |t: &Transaction<'_>| {
            let turn = turns::insert(t, id, &new, at)?.id;
            Ok((turn, JobKind::Generate { turn }))
        };
        self.enqueue_with(app, author, turn_and_kind).await
    }

    /// Queues a job in the transaction that makes what it works on.
    async fn enqueue_with<R: Send + 'static>(
        &self,
        app: &App,
        author: Author,
        prepare: impl FnOnce(&Transaction<'_>) -> Result<(R, JobKind), StoreError> + Send + 'static,
    ) -> AppResult<(R, Job)> {
        let platform = &self.0.platform;
        let (id, name, at) = (app.id, app.name.clone(), platform.clock.now());
        let queued = platform
            .events
            .commit(move |t| {
                let (subject, kind) = prepare(t)?;
                let job = table::insert(t, id, &name, &kind, author, at)?;
                let event = job_event(&job);
                Ok(((subject, job), vec![event]))
            })
            .await
            .map_err(not_queued)?;
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
}

/// Why a job was not queued, as the caller of a service learns it.
fn not_queued(error: StoreError) -> AppError {
    match error {
        StoreError::Conflict(detail) => AppError::conflict("app_deleting", detail),
        StoreError::NotFound => AppError::not_found("app of this name"),
        other => other.into(),
    }
}
