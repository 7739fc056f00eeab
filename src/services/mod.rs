//! The actions of users, shared by pages and API.
//!
//! A service checks the request, changes state or queues a job, and returns. It never waits
//! for a job. Independent of HTML, JSON and HTTP.

pub mod access;
pub mod activity;
pub mod apps;
pub mod attachments;
pub mod browser_errors;
pub mod copies;
pub mod deployments;
pub mod described;
pub mod draft;
pub mod export;
pub mod file_sets;
pub mod files;
pub mod fixes;
pub mod health;
pub mod login_limit;
pub mod logs;
pub mod measurements;
pub mod metrics;
pub mod model_key;
pub mod models;
mod names;
mod pages;
pub mod preview_access;
pub mod probing;
pub mod recordings;
pub mod requests;
pub mod runs;
mod secret;
pub mod sessions;
pub mod spending;
pub mod test_call;
pub mod tiles;
pub mod tokens;
pub mod trouble;
pub mod turns;
pub mod usage;
pub mod versions;
pub mod webhook_samples;
pub mod webhooks;

use std::ops::Deref;
use std::sync::Arc;

use futures_util::Stream;

use crate::bounded_work::BoundedWork;
use crate::config::Config;
use crate::domain::{App, AppId, Author, EventId, HostName, Job, JobId, JobKind, JobState, Principal};
use crate::error::{AppError, AppResult};
use crate::events::{Changes, EventScope, Kept, OpenStream};
use crate::jobs::Jobs;
use crate::platform::Platform;
use crate::store::StoreError;

/// Number of stored events that are read at once.
const KEPT_PAGE: u32 = 500;

/// The actions of users. Cheap to clone.
#[derive(Clone)]
pub struct Services {
    inner: Arc<Inner>,
    /// The author of the jobs that are queued.
    author: Author,
}

/// Behind [`Services`].
pub struct Inner {
    platform: Arc<Platform>,
    jobs: Jobs,
    access: access::Access,
    tickets: preview_access::Tickets,
    metrics: metrics::Metrics,
    tiles: tiles::Tiles,
}

impl Deref for Services {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.inner
    }
}

impl Services {
    /// Services of a platform and its queue.
    pub fn new(platform: Arc<Platform>, jobs: Jobs) -> Self {
        let access = access::Access::new(platform.config.admin_password.clone());
        let inner = Inner {
            access,
            tickets: preview_access::Tickets::default(),
            jobs,
            metrics: metrics::Metrics::new(),
            tiles: tiles::Tiles::default(),
            platform,
        };
        Self { inner: Arc::new(inner), author: Author::Person }
    }

    /// The same services on behalf of this principal, which is recorded as the author of jobs.
    #[must_use]
    pub fn by(&self, principal: &Principal) -> Self {
        Self { author: principal.into(), ..self.clone() }
    }

    /// A URL of one of our hosts.
    pub fn url(&self, host: &HostName) -> String {
        self.platform.config.url(host)
    }

    /// The settings of this process.
    pub fn config(&self) -> &Config {
        &self.platform.config
    }

    /// The pool for CPU-bound work on foreign text.
    pub fn cpu_work(&self) -> &BoundedWork {
        &self.platform.cpu_work
    }

    /// The domain of apps.
    pub fn apps_domain(&self) -> &str {
        &self.platform.config.apps_domain
    }

    /// The gateway, which forwards requests to apps.
    pub fn gateway(&self) -> &crate::gateway::Gateway {
        &self.platform.gateway
    }

    /// The current time.
    pub fn now(&self) -> jiff::Timestamp {
        self.platform.clock.now()
    }

    /// One job.
    pub async fn job(&self, id: JobId) -> AppResult<Job> {
        self.platform.store.job(id).await.map_err(|error| match error {
            StoreError::NotFound => AppError::not_found("job of this number"),
            other => other.into(),
        })
    }

    /// Cancels a job: a queued job ends at once, a running one as soon as possible.
    pub async fn cancel(&self, id: JobId) -> AppResult<Job> {
        self.jobs.cancel(id).await
    }

    /// The newest progress note of a running job.
    pub async fn last_words(&self, job: &Job) -> AppResult<Option<String>> {
        match job.state {
            JobState::Running => Ok(self.platform.store.last_words(job.id).await?),
            _ => Ok(None),
        }
    }

    /// The newest progress note of an app's deletion.
    pub async fn deletion_words(&self, app: &App) -> AppResult<Option<String>> {
        if !app.deleting {
            return Ok(None);
        }
        let open = self.platform.store.open_jobs(Some(app.id)).await?;
        match open.iter().find(|job| job.kind == JobKind::Delete) {
            Some(job) => self.last_words(job).await,
            None => Ok(None),
        }
    }

    /// Which apps have changed lately.
    pub fn list_changes(&self) -> &Changes {
        self.platform.events.changes()
    }

    /// Ends when the builder is about to stop, as streams to browsers should then.
    pub fn draining(&self) -> impl Future<Output = ()> + Send + use<> {
        self.platform.lifecycle.draining.clone().cancelled_owned()
    }

    /// The app's newest jobs, newest first.
    pub async fn recent_jobs(&self, app: AppId, limit: u32) -> AppResult<Vec<Job>> {
        Ok(self.platform.store.recent_jobs(app, limit).await?)
    }

    /// The app's events after an id: first stored ones, then live ones.
    pub fn app_events(
        &self,
        app: AppId,
        after: EventId,
    ) -> impl Stream<Item = Result<Arc<Kept>, StoreError>> + Send + use<> {
        self.platform.events.stream(app, EventScope::App(app), after)
    }

    /// The same, as shared events for a feed with many readers.
    pub fn shared_app_events(
        &self,
        app: AppId,
        after: EventId,
    ) -> impl Stream<Item = Result<Arc<Kept>, StoreError>> + Send + use<> {
        self.platform.events.shared_stream(app, after)
    }

    /// The first stored events of the app after one id, up to another; empty at the end.
    pub async fn kept_events(&self, app: AppId, after: EventId, upto: EventId) -> AppResult<Vec<Arc<Kept>>> {
        let page = self.platform.store.events_between(EventScope::App(app), after, upto, KEPT_PAGE).await?;
        Ok(page.into_iter().map(|event| Arc::new(Kept::new(event))).collect())
    }

    /// Counts an open page that reads a feed, until the returned guard is dropped.
    pub fn count_stream(&self) -> OpenStream {
        self.platform.events.count_stream()
    }

    /// A job's events after an id; ends after its last one.
    pub fn job_events(
        &self,
        job: &Job,
        after: EventId,
    ) -> impl Stream<Item = Result<Arc<Kept>, StoreError>> + Send + use<> {
        self.platform.events.stream(job.app_id, EventScope::Job(job.id), after)
    }

    /// The newest event of an app; 0 when there is none.
    pub async fn last_event_id(&self, app: AppId) -> AppResult<EventId> {
        Ok(self.platform.store.last_event_id(EventScope::App(app)).await?)
    }
}
