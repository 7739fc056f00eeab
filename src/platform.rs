//! Everything that services and jobs work with, put together once at start-up: state, events,
//! the adapters, the clock. Owns the locks on workspaces, and how history becomes versions.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::watch;

use crate::bounded_work::{BoundedWork, Budget, Owner};
use crate::browser_errors::BrowserErrors;
use crate::build::ImageBuilder;
use crate::catalog::{Catalog, Template};
use crate::config::Config;
use crate::domain::{
    App, AppId, AppName, Clock, Effort, Environment, EnvironmentState, EventBody, HostName, Job, ModelId, Redaction,
    ReleaseNumber, RunId, TemplateKind, Version, VersionId,
};
use crate::error::{AppError, AppResult};
use crate::events::{EventLog, NewEvent};
use crate::firewall::Firewall;
use crate::gateway::{Gateway, Traffic};
use crate::generation::{ListedModel, Listing, ModelClient, ModelTable};
use crate::lifecycle::Lifecycle;
use crate::locks::AppLocks;
use crate::proof::Asker;
use crate::runtime::Runtime;
use crate::store::Store;
use crate::store::versions::NewVersion;
use crate::uploads::Uploads;
use crate::workspace::{Commit, Workspace, WorkspaceError, Workspaces};

/// How long a provider may take to list its models, for somebody who waits for a page; and for a turn, whose
/// stop has to be heard within a second.
const PAGE_PATIENCE: Duration = Duration::from_millis(2500);
const TURN_PATIENCE: Duration = Duration::from_millis(800);

/// How long reading or changing a workspace may take.
const WORKSPACE_TIME: Duration = Duration::from_secs(30);

/// Who answers turns.
pub struct Model {
    /// Speaks to it.
    pub client: ModelClient,
    /// The id of the one that answers where an app names none.
    pub id: ModelId,
    /// It is the demo model, and every page says so.
    pub is_demo: bool,
    /// What models cost and how much they take.
    pub table: ModelTable,
    /// What the provider says of its models.
    pub listing: Listing,
}

impl Model {
    /// The provider's own list of models, where it answers. There is but one demo model.
    pub async fn listed(&self) -> Option<Arc<Vec<ListedModel>>> {
        self.listed_within(PAGE_PATIENCE).await
    }

    async fn listed_within(&self, patience: Duration) -> Option<Arc<Vec<ListedModel>>> {
        if self.is_demo { None } else { self.listing.of(&self.client, patience).await }
    }

    /// What is known of models, with what the provider says of this one's limits.
    pub async fn table_for(&self, id: &ModelId) -> ModelTable {
        let listed = self.listed_within(TURN_PATIENCE).await;
        let listed = listed.as_ref().and_then(|models| models.iter().find(|model| model.id == *id));
        listed.map_or_else(|| self.table.clone(), |listed| self.table.told(listed))
    }

    /// Who answers in an app, and how deep it thinks. There is but one demo model.
    pub fn of(&self, app: &App) -> (ModelId, Option<Effort>) {
        if self.is_demo {
            return (self.id.clone(), None);
        }
        (app.model.model.clone().unwrap_or_else(|| self.id.clone()), app.model.effort)
    }
}

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
    pub model: Model,
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
}

/// Runs of jobs whose end this process waits for and records.
#[derive(Clone, Default)]
pub struct FollowedRuns(Arc<Mutex<HashSet<RunId>>>);

/// A run is followed for as long as this lives.
pub struct FollowGuard(FollowedRuns, RunId);

impl FollowedRuns {
    /// Notes a run; none if it is followed already.
    pub fn follow(&self, run: RunId) -> Option<FollowGuard> {
        let is_new = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(run);
        is_new.then(|| FollowGuard(self.clone(), run))
    }

    /// Whether this process waits for the run's end.
    pub fn contains(&self, run: RunId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&run)
    }
}

impl Drop for FollowGuard {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
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

    /// Reads from an app's workspace, off the async threads; ended when nobody waits for it.
    pub async fn read_workspace<R, F>(&self, app: &AppName, read: F) -> AppResult<R>
    where
        R: Send + 'static,
        F: FnOnce(&Workspace) -> Result<R, WorkspaceError> + Send + 'static,
    {
        self.read_workspace_within(app, WORKSPACE_TIME, move |workspace, _| read(workspace)).await
    }

    /// The same within a time of its own, with the budget that `read` has to check.
    pub async fn read_workspace_within<R, F>(&self, app: &AppName, time: Duration, read: F) -> AppResult<R>
    where
        R: Send + 'static,
        F: FnOnce(&Workspace, &Budget) -> Result<R, WorkspaceError> + Send + 'static,
    {
        let (workspaces, name) = (self.workspaces.clone(), app.clone());
        let work = move |budget: &Budget| read(&workspaces.open_within(&name, budget)?, budget);
        Ok(self.workspace_work.run("read workspace", Owner::App(app.clone()), time, work).await??)
    }

    /// Changes an app's workspace, off the async threads, alone and to the end.
    pub async fn change_workspace<R, F>(&self, id: AppId, app: &AppName, change: F) -> AppResult<R>
    where
        R: Send + 'static,
        F: FnOnce(&Workspace) -> Result<R, WorkspaceError> + Send + 'static,
    {
        let alone = self.workspace_locks.lock(id).await;
        let (workspaces, name) = (self.workspaces.clone(), app.clone());
        let work = move |budget: &Budget| {
            // Held until the change has ended, even when nobody waits for it any more.
            let _alone = alone;
            change(&workspaces.open_within(&name, budget)?)
        };
        let owner = Owner::App(app.clone());
        Ok(self.workspace_work.run_to_end("change workspace", owner, WORKSPACE_TIME, work).await??)
    }

    /// Takes every commit that the store does not know yet in as a version. History is the truth:
    /// a commit made just before the builder died is found here.
    pub async fn record_versions(&self, id: AppId, app: &AppName) -> AppResult<Option<Version>> {
        let known = self.store.head(id).await?;
        let commits = self.read_workspace(app, move |workspace| workspace.log_since(known.as_ref())).await?;
        self.store.add_versions(id, commits.into_iter().map(new_version).collect()).await?;
        Ok(self.store.newest_version(id).await?)
    }

    /// Has the scheduler look again.
    pub fn schedule_changed(&self) {
        self.schedule.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Where an environment of an app answers; a job answers nowhere.
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

    /// The secrets that an app's containers get in an environment, made at first use.
    pub async fn secrets(
        &self,
        app: &App,
        environment: Environment,
    ) -> AppResult<std::collections::BTreeMap<String, SecretString>> {
        let mut secrets = std::collections::BTreeMap::new();
        if self.template(app)?.manifest.kind == TemplateKind::Webhook {
            let fresh = SecretString::from(format!("whsec_{}", hex::encode(rand::random::<[u8; 24]>())));
            let secret = self.store.secret_or_insert(app.id, environment, "WEBHOOK_SECRET", fresh).await?;
            secrets.insert("WEBHOOK_SECRET".to_owned(), secret);
        }
        Ok(secrets)
    }

    /// What is taken out of everything that an app wrote: its secrets in both environments, and the
    /// builder's own keys, in their usual forms.
    pub async fn redaction(&self, app: &App) -> AppResult<Redaction> {
        // A template that is gone makes none, and those that were made are still known.
        if self.template(app).is_ok() {
            for environment in Environment::ALL {
                self.secrets(app, environment).await?;
            }
        }
        let secrets = self.store.secrets_of(app.id).await?;
        let config = &self.config;
        let own = [
            ("ANTHROPIC_API_KEY", &config.anthropic_api_key),
            ("OPENAI_API_KEY", &config.openai_api_key),
            ("SLIPWAY_ADMIN_PASSWORD", &config.admin_password),
        ];
        let own = own.iter().filter_map(|(name, value)| Some((*name, value.as_ref()?)));
        Ok(Redaction::new(secrets.iter().map(|(name, value)| (name.as_str(), value)).chain(own)))
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

fn new_version(commit: Commit) -> NewVersion {
    NewVersion {
        version: Version {
            id: commit.id,
            number: 0,
            title: commit.title,
            kind: commit.kind,
            turn: commit.turn,
            size: commit.size,
            created_at: commit.at,
        },
    }
}

impl From<WorkspaceError> for AppError {
    fn from(error: WorkspaceError) -> Self {
        use crate::error::ErrorKind;
        match &error {
            WorkspaceError::NotFound(_) => Self::new(ErrorKind::NotFound, "not_found", error.to_string()),
            WorkspaceError::UnknownVersion(_) => Self::not_found("such version of this app"),
            WorkspaceError::Refused(sentence) => Self::new(ErrorKind::Invalid, "refused", sentence.clone()),
            WorkspaceError::TooLarge { .. } => Self::new(ErrorKind::TooLarge, "too_large", error.to_string()),
            WorkspaceError::DiskFull => Self::disk_full(),
            WorkspaceError::Stopped => Self::too_slow(error.to_string()),
            WorkspaceError::Busy => Self::conflict("workspace_busy", error.to_string()),
            WorkspaceError::NoWorkspace(_) => Self::new(ErrorKind::NotFound, "not_found", error.to_string())
                .hint("Its folder in the data directory is gone. Put it back from a copy, or delete the app."),
            _ => Self::internal(&error),
        }
    }
}
