//! Deployments: preview, publish, roll back, and the suggested next step.

use super::Services;
use crate::domain::{
    App, AppName, ChangeSize, Environment, EnvironmentState, Job, JobKind, Page, PageRequest, Release, ReleaseNumber,
    TemplateKind, TurnId, VersionId,
};
use crate::error::{AppError, AppResult};
use crate::store::StoreError;

/// The suggested next step for an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextStep {
    /// The newest version is not in preview.
    DeployPreview {
        /// Its number.
        version_number: u32,
    },
    /// The version in preview is not in production.
    Publish {
        /// Its number.
        version_number: u32,
    },
    /// Production was rolled back from the version that preview still runs: publishing it again is nothing to propose.
    RolledBack {
        /// The number of the version that production runs now.
        to: u32,
        /// The number of the version that it was rolled back from.
        from: u32,
    },
    /// Production runs the newest version.
    Nothing,
    /// A job is queued or running.
    Wait {
        /// The job.
        job: Box<Job>,
    },
}

/// Why a page asks before it publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishQuestion {
    /// Nothing was published before.
    First,
    /// The version in preview differs much from the one in production: so many lines were added or removed.
    ChangesMuch {
        /// Lines added and removed.
        lines: u32,
    },
}

/// Number of added and removed lines from which a change is large.
const LARGE_CHANGE: u32 = 200;

impl PublishQuestion {
    /// `changed`: what differs; `lines`: of the version in production. A change is large, too, if it removes at least half of
    /// them.
    fn of(changed: ChangeSize, lines: u32) -> Option<Self> {
        let both = changed.additions.saturating_add(changed.deletions);
        let is_large = both >= LARGE_CHANGE || (changed.deletions > 0 && changed.deletions >= lines.div_ceil(2));
        is_large.then_some(Self::ChangesMuch { lines: both })
    }
}

impl Services {
    /// Whether a page asks before it publishes what is in preview, and why. The API does not ask: its caller has decided.
    pub async fn publish_question(&self, app: &App) -> AppResult<Option<PublishQuestion>> {
        let running = app.environment(Environment::Prod).version.clone();
        let (Some(running), Some(new)) = (running, app.environment(Environment::Preview).version.clone()) else {
            return Ok(Some(PublishQuestion::First));
        };
        if running == new {
            return Ok(None);
        }
        let change = move |workspace: &crate::workspace::Workspace| workspace.change_between(&running, &new);
        match self.platform.read_workspace(&app.name, change).await {
            Ok((changed, lines)) => Ok(PublishQuestion::of(changed, lines)),
            // A version was removed, or the comparison takes too long: an unnecessary question is better than a missing one.
            Err(error) => {
                tracing::debug!(app = %app.name, %error, "failed to compare preview with production");
                Ok(Some(PublishQuestion::ChangesMuch { lines: 0 }))
            }
        }
    }

    /// The release that *Undo* brings back: the one that the live release of production took over from, if it is of another
    /// version.
    pub async fn undo_target(&self, app: &App) -> AppResult<Option<Release>> {
        let replaced = self.platform.store.replaced_release(app.id, Environment::Prod).await?;
        let live = &app.environment(Environment::Prod).version;
        Ok(replaced.filter(|release| Some(&release.version) != live.as_ref()))
    }

    /// Queues a job that builds a version (default: the newest) and deploys it to preview.
    pub async fn deploy_preview(&self, name: &AppName, version: Option<VersionId>) -> AppResult<Job> {
        let app = self.app(name).await?;
        let version = match version {
            Some(id) => self.version(&app, &id).await?.id,
            None => app.head.clone().ok_or_else(|| AppError::not_found("version of this app"))?,
        };
        let turn = self.repaired_turn(&app, &version).await?;
        self.jobs.enqueue_once(&app, JobKind::Preview { version, turn }, self.author).await
    }

    /// The turn that is repaired if a preview of this version fails: the newest one, if it created the
    /// version and automatic previews are on.
    async fn repaired_turn(&self, app: &App, version: &VersionId) -> AppResult<Option<TurnId>> {
        if !app.auto_preview {
            return Ok(None);
        }
        let newest = self.newest_turn(app).await?;
        Ok(newest.filter(|turn| turn.version.as_ref() == Some(version)).map(|turn| turn.id))
    }

    /// Queues a job that deploys the preview's image to production.
    pub async fn publish(&self, name: &AppName) -> AppResult<Job> {
        let app = self.app(name).await?;
        let preview = app.environment(Environment::Preview);
        let release = match preview.state {
            EnvironmentState::Ready | EnvironmentState::Deploying | EnvironmentState::Stopped => preview.release,
            EnvironmentState::None | EnvironmentState::Failed => None,
        };
        let Some(release) = release else {
            return Err(AppError::conflict("nothing_to_publish", "No preview is ready.")
                .hint("Deploy the preview first. Publishing then uses exactly that build."));
        };
        self.jobs.enqueue_once(&app, JobKind::Publish { release }, self.author).await
    }

    /// Queues a job that deploys the image of this preview release to production.
    pub async fn publish_release(&self, name: &AppName, number: ReleaseNumber) -> AppResult<Job> {
        let app = self.app(name).await?;
        let release = self.release(&app, Environment::Preview, number).await?;
        if !release.state.has_run() {
            return Err(never_ran(number, "published"));
        }
        self.jobs.enqueue_once(&app, JobKind::Publish { release: number }, self.author).await
    }

    /// Queues a job that deploys a release of an environment again: the live one, or an earlier one.
    pub async fn redeploy(&self, name: &AppName, environment: Environment, number: ReleaseNumber) -> AppResult<Job> {
        let app = self.app(name).await?;
        let release = self.release(&app, environment, number).await?;
        if !release.state.has_run() {
            return Err(never_ran(number, "deployed again"));
        }
        self.jobs.enqueue_once(&app, JobKind::Rollback { environment, release: number }, self.author).await
    }

    /// Queues a job that deploys an earlier release of an environment again; without a number, the previous one.
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
                AppError::conflict("nothing_to_roll_back", "There is no earlier release to roll back to.")
            })?,
        };
        if app.environment(environment).release == Some(release.number) {
            return Err(AppError::conflict("already_live", format!("Release {} is already running.", release.number)));
        }
        if !release.state.has_run() {
            return Err(never_ran(release.number, "deployed again"));
        }
        self.jobs.enqueue_once(&app, JobKind::Rollback { environment, release: release.number }, self.author).await
    }

    /// The release that a roll back without a number deploys: the newest earlier one of another version. After a roll back,
    /// "earlier" is relative to the release that was deployed again: two roll backs go two steps back.
    pub async fn rollback_target(&self, app: &App, environment: Environment) -> AppResult<Option<Release>> {
        let Some(live) = app.environment(environment).release else { return Ok(None) };
        let store = &self.platform.store;
        let mut counted = store.release(app.id, environment, live).await?;
        while counted.rolled_back
            && let Some(put_back) = counted.from_release
        {
            counted = store.release(app.id, environment, put_back).await?;
        }
        Ok(store.release_before(app.id, environment, counted.number, Some(counted.version)).await?)
    }

    /// The version that production was rolled back from, if it runs a roll back.
    async fn rolled_back_from(&self, app: &App) -> AppResult<Option<VersionId>> {
        let Some(live) = app.environment(Environment::Prod).release else { return Ok(None) };
        let store = &self.platform.store;
        if !store.release(app.id, Environment::Prod, live).await?.rolled_back {
            return Ok(None);
        }
        let before = store.release_before(app.id, Environment::Prod, live, None).await?;
        Ok(before.map(|release| release.version))
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

    /// The suggested next step.
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
            if preview.version.is_some()
                && self.rolled_back_from(app).await? == preview.version
                && let Some(live) = prod.release
            {
                let to = self.release(app, Environment::Prod, live).await?.version_number;
                return Ok(NextStep::RolledBack { to, from: head.number });
            }
            return Ok(NextStep::Publish { version_number: head.number });
        }
        Ok(NextStep::Nothing)
    }

    /// Whether apps of this kind answer HTTP.
    pub fn answers_http(&self, app: &App) -> AppResult<bool> {
        Ok(self.template_of(app)?.manifest.kind != TemplateKind::Job)
    }
}

fn never_ran(number: ReleaseNumber, what: &str) -> AppError {
    let detail = format!("Release {number} never became ready, so it cannot be {what}.");
    AppError::conflict("release_never_ran", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_change_is_asked_about() {
        let asks = |additions, deletions, lines| {
            PublishQuestion::of(ChangeSize { files: 1, additions, deletions }, lines).is_some()
        };
        assert!(!asks(120, 79, 2_000));
        assert!(asks(120, 80, 2_000), "200 lines");
        assert!(!asks(30, 19, 40));
        assert!(asks(0, 20, 40), "half of what runs is removed");
        assert!(!asks(5, 0, 0), "nothing was there to be removed");
    }
}
