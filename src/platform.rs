//! Everything that services and jobs work with, put together once at start-up: state, events, the adapters, the clock,
//! the locks.

use std::sync::Arc;

use tokio::sync::watch;

use crate::bounded_work::BoundedWork;
use crate::browser_errors::BrowserErrors;
use crate::build::ImageBuilder;
use crate::catalog::{Catalog, Template};
use crate::config::Config;
use crate::domain::{
    App, Clock, Environment, EnvironmentState, EventBody, HostName, Job, ReleaseNumber, TemplateKind, VersionId,
};
use crate::error::{AppError, AppResult};
use crate::events::{EventLog, NewEvent};
use crate::firewall::Firewall;
use crate::followed_runs::FollowedRuns;
use crate::gateway::{Gateway, Traffic};
use crate::lifecycle::Lifecycle;
use crate::locks::AppLocks;
use crate::model_choice::{Model, Models};
use crate::proof::Asker;
use crate::runtime::Runtime;
use crate::store::Store;
use crate::uploads::Uploads;
use crate::webhook_calls::WebhookCalls;
use crate::workspace::Workspaces;

/// The parts of a running builder.
pub struct Platform {
    /// As it was started with.
    pub config: Config,
    /// What time it is.
    pub clock: Clock,
    /// State.
    pub store: Store,
    /// What happens.
    pub events: EventLog,
    /// The apps' repositories.
    pub workspaces: Workspaces,
    /// Files that came with messages.
    pub uploads: Uploads,
    /// The templates.
    pub catalog: Catalog,
    /// Makes images.
    pub images: ImageBuilder,
    /// Runs them.
    pub runtime: Runtime,
    /// What keeps apps and builds on Docker away from private addresses.
    pub firewall: Firewall,
    /// Leads requests to them.
    pub gateway: Gateway,
    /// Its routes, as they change together with what is live.
    pub traffic: Traffic,
    /// What browsers report of drafts and previews.
    pub browser_errors: BrowserErrors,
    /// What webhooks received.
    pub webhook_calls: WebhookCalls,
    /// Asks running apps.
    pub asker: Asker,
    /// Runs what takes processor time: rendering, colouring, searching.
    pub cpu_work: BoundedWork,
    /// Runs what reads and changes workspaces.
    pub workspace_work: BoundedWork,
    /// Packs exports, for as long as whoever reads them takes.
    pub export_work: BoundedWork,
    /// How many workspaces may be checked at once.
    pub check_slots: tokio::sync::Semaphore,
    /// Who answers turns.
    pub models: Models,
    /// Starting and stopping.
    pub lifecycle: Lifecycle,
    /// One lock for each workspace that is being changed; held for single operations only.
    pub workspace_locks: AppLocks,
    /// One lock for each app whose images change: held from a build to the release that needs the
    /// image, and while images that no release needs are removed.
    pub image_locks: AppLocks,
    /// Runs whose end this process waits for.
    pub followed_runs: FollowedRuns,
    /// Held shared while a run gets its row and is added to `followed_runs`. The reconcile holds it exclusively, and so sees
    /// both in agreement.
    pub run_begins: tokio::sync::RwLock<()>,
    /// One lock for each app whose releases are being rolled out or removed: what is put back to what
    /// it should be meanwhile would be put back to the old.
    pub rollout_locks: AppLocks,
    /// Changes whenever what runs by a schedule may have.
    pub schedule: watch::Sender<u64>,
    /// Why the last reconcile could not reach the runtime; none once one reached it.
    pub runtime_outage: watch::Sender<Option<AppError>>,
}

impl Platform {
    /// The template of an app. One that was taken out of the data directory since is said by name.
    pub fn template(&self, app: &App) -> AppResult<&Arc<Template>> {
        self.catalog.get(&app.template).ok_or_else(|| {
            AppError::conflict(
                "template_missing",
                format!("The template “{}” of this app is not there any more.", app.template),
            )
            .hint("Put the template's folder back into the data directory and restart Slipway.")
        })
    }

    /// Who answers turns that begin now.
    pub fn model(&self) -> Arc<Model> {
        self.models.now()
    }

    /// Has the scheduler look again.
    pub fn schedule_changed(&self) {
        self.schedule.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// The URL of an app's environment; none for a scheduled job.
    pub fn environment_url(&self, app: &App, environment: Environment) -> Option<String> {
        let kind = self.catalog.get(&app.template).map(|template| template.manifest.kind);
        (kind != Some(TemplateKind::Job)).then(|| self.config.url(&HostName::App(app.name.clone(), environment)))
    }

    /// The event that tells of an environment.
    pub fn environment_event(
        &self,
        app: &App,
        job: Option<&Job>,
        environment: Environment,
        state: EnvironmentState,
        release: Option<(ReleaseNumber, VersionId)>,
    ) -> NewEvent {
        let (release, version) = release.unzip();
        NewEvent {
            app: app.id,
            job: job.map(|job| job.id),
            body: EventBody::Environment {
                environment,
                state,
                release,
                version,
                url: self.environment_url(app, environment),
            },
        }
    }
}

/// The event that tells of a job.
pub fn job_event(job: &Job) -> NewEvent {
    NewEvent {
        app: job.app_id,
        job: Some(job.id),
        body: EventBody::Job {
            id: job.id,
            kind: job.kind.as_str().to_owned(),
            state: job.state,
            steps: job.steps.clone(),
            error: job.error.clone(),
            result: job.result.clone(),
        },
    }
}
