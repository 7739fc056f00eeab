//! Deployments: preview, publish, roll back, and what is to be done next.

use super::Services;
use crate::domain::{
    App, AppName, Environment, EnvironmentState, Job, JobKind, JobState, Page, PageRequest, Release, ReleaseNumber,
    TemplateKind, TurnId, VersionId,
};
use crate::error::{AppError, AppResult};
use crate::store::StoreError;

/// The next sensible thing to do with an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextStep {
    /// The newest version is not in preview.
    DeployPreview {
        /// Its number.
        version_number: u32,
    },
    /// What is in preview is not in production.
    Publish {
        /// Its number.
        version_number: u32,
    },
    /// Everything is where it belongs.
    Nothing,
    /// Something is being done.
    Wait {
        /// By this job.
        job: Box<Job>,
    },
}

impl Services {
    /// Builds a version (the newest, if none is said) and puts it in preview.
    pub async fn deploy_preview(&self, name: &AppName, version: Option<VersionId>) -> AppResult<Job> {
        let app = self.app(name).await?;
        let version = match version {
            Some(id) => self.version(&app, &id).await?.id,
            None => app.head.clone().ok_or_else(|| AppError::not_found("version of this app"))?,
        };
        // Pressed twice is pressed once, and what a turn has begun by itself need not be asked for.
        let open = self.platform.store.open_jobs(Some(app.id)).await?;
        let same = open.into_iter().find(|job| {
            let fits = job.state == JobState::Queued || matches!(job.kind, JobKind::Preview { turn: Some(_), .. });
            fits && matches!(&job.kind, JobKind::Preview { version: one, .. } if *one == version)
        });
        match same {
            Some(job) if !job.cancel_requested => Ok(job),
            _ => {
                let turn = self.repaired_turn(&app, &version).await?;
                self.jobs.enqueue(&app, JobKind::Preview { version, turn }).await
            }
        }
    }

    /// The turn to which a preview of this version goes back if it fails: the newest one, if it made the
    /// version and the app's user wants things to go on by themselves.
    async fn repaired_turn(&self, app: &App, version: &VersionId) -> AppResult<Option<TurnId>> {
        if !app.auto_preview {
            return Ok(None);
        }
        let newest = self.newest_turn(app).await?;
        Ok(newest.filter(|turn| turn.version.as_ref() == Some(version)).map(|turn| turn.id))
    }

    /// Puts preview's image into production.
    pub async fn publish(&self, name: &AppName) -> AppResult<Job> {
        let app = self.app(name).await?;
        let preview = app.environment(Environment::Preview);
        let release = match preview.state {
            EnvironmentState::Ready | EnvironmentState::Deploying | EnvironmentState::Stopped => preview.release,
            EnvironmentState::None | EnvironmentState::Failed => None,
        };
        let Some(release) = release else {
            return Err(AppError::conflict("nothing_to_publish", "Nothing is ready in preview.")
                .hint("Deploy the preview first; what you see there is what will be published."));
        };
        let kind = JobKind::Publish { release };
        match self.queued_like(&app, &kind).await? {
            Some(job) => Ok(job),
            None => self.jobs.enqueue(&app, kind).await,
        }
    }

    /// Puts an earlier release of an environment back; without a number, the one before.
    pub async fn rollback(
        &self,
        name: &AppName,
        environment: Environment,
        release: Option<ReleaseNumber>,
    ) -> AppResult<Job> {
        let app = self.app(name).await?;
        let release = match release {
            Some(number) => self.release(&app, environment, number).await?,
            None => self.rollback_target(&app, environment).await?.ok_or_else(|| {
                AppError::conflict("nothing_to_roll_back", "There is no earlier release to go back to.")
            })?,
        };
        if app.environment(environment).release == Some(release.number) {
            return Err(AppError::conflict(
                "already_live",
                format!("Release {} is the one that runs.", release.number),
            ));
        }
        if !matches!(release.state, crate::domain::ReleaseState::Ready | crate::domain::ReleaseState::Retired) {
            return Err(AppError::conflict(
                "release_never_ran",
                format!("Release {} never answered, so it cannot be put back.", release.number),
            ));
        }
        self.jobs.enqueue(&app, JobKind::Rollback { environment, release: release.number }).await
    }

    /// The release that a roll back without a number puts back. After a roll back, "before" counts
    /// from the release that was put back: going back twice goes two steps back.
    pub async fn rollback_target(&self, app: &App, environment: Environment) -> AppResult<Option<Release>> {
        let Some(live) = app.environment(environment).release else { return Ok(None) };
        let store = &self.platform.store;
        let mut counted = store.release(app.id, environment, live).await?;
        while counted.rolled_back
            && let Some(put_back) = counted.from_release
        {
            counted = store.release(app.id, environment, put_back).await?;
        }
        Ok(store.release_before(app.id, environment, counted.number).await?)
    }

    /// One release.
    pub async fn release(&self, app: &App, environment: Environment, number: ReleaseNumber) -> AppResult<Release> {
        self.platform.store.release(app.id, environment, number).await.map_err(|error| match error {
            StoreError::NotFound => AppError::not_found(&format!("release {number} in {environment}")),
            other => other.into(),
        })
    }

    /// Releases of one environment or of both, newest first.
    pub async fn releases(
        &self,
        app: &App,
        environment: Option<Environment>,
        page: PageRequest,
    ) -> AppResult<Page<Release>> {
        Ok(self.platform.store.releases(app.id, environment, page).await?)
    }

    /// What is to be done next.
    pub async fn next_step(&self, app: &App) -> AppResult<NextStep> {
        let open = self.platform.store.open_jobs(Some(app.id)).await?;
        let holds_up = |job: &Job| job.kind.environment().is_some() || job.kind == JobKind::Delete;
        if let Some(job) = open.into_iter().find(holds_up) {
            return Ok(NextStep::Wait { job: Box::new(job) });
        }
        let Some(head) = self.platform.store.newest_version(app.id).await? else { return Ok(NextStep::Nothing) };
        let preview = app.environment(Environment::Preview);
        let prod = app.environment(Environment::Prod);
        if preview.version.as_ref() != Some(&head.id) || preview.state != EnvironmentState::Ready {
            return Ok(NextStep::DeployPreview { version_number: head.number });
        }
        if prod.version != preview.version {
            return Ok(NextStep::Publish { version_number: head.number });
        }
        Ok(NextStep::Nothing)
    }

    /// Whether apps of this kind answer HTTP.
    pub fn answers_http(&self, app: &App) -> AppResult<bool> {
        Ok(self.template_of(app)?.manifest.kind != TemplateKind::Job)
    }

    async fn queued_like(&self, app: &App, kind: &JobKind) -> AppResult<Option<Job>> {
        let open = self.platform.store.open_jobs(Some(app.id)).await?;
        Ok(open.into_iter().find(|job| job.state == JobState::Queued && job.kind == *kind))
    }
}
