//! The deployment that failed last, while nothing has superseded it: what is wrong, and what a user can do about it.

use super::Services;
use crate::domain::{
    App, Job, JobKind, JobState, Turn, TurnId, TurnOrigin, TurnState, Version, VersionId, WorkspacePath,
};
use crate::error::{AppResult, ErrorKind};
use crate::jobs::follow::is_mendable;
use crate::proof;

/// A failed deployment or deletion.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub struct Trouble {
    /// The job that failed.
    pub job: Job,
    /// The app's code caused it, so the model can fix it.
    pub is_code: bool,
    /// The version that failed is the newest one: deploying it again would fail again.
    pub is_newest: bool,
    /// How many versions of the turn and its repairs failed, this one included.
    pub attempts: u32,
    /// The app's file that the failure names.
    pub file: Option<WorkspacePath>,
    /// The version to restore.
    pub good: Option<Version>,
    /// The last attempt to fix it changed nothing.
    pub fix_changed_nothing: bool,
    /// The newest turn waits for an answer or can be continued, so it proposes the next step itself.
    pub turn_proposes: bool,
}

impl Services {
    /// The failure that the conversation shows at its end. `jobs`: the newest ones of the app, newest first.
    pub async fn trouble(&self, app: &App, jobs: &[Job]) -> AppResult<Option<Trouble>> {
        let deploys = |job: &&Job| job.kind.environment().is_some() || job.kind == JobKind::Delete;
        let Some(job) = jobs.iter().find(deploys).filter(|job| job.state == JobState::Failed) else {
            return Ok(None);
        };
        // A fix is on its way.
        if jobs.iter().any(|job| matches!(job.kind, JobKind::Generate { .. }) && !job.state.is_final()) {
            return Ok(None);
        }
        let newest = self.platform.store.newest_version(app.id).await?;
        let (version, turn) = match &job.kind {
            JobKind::Preview { version, turn, .. } => (Some(version.clone()), *turn),
            _ => (None, None),
        };
        // The times of versions are those of commits: whole seconds.
        let is_superseded = newest.as_ref().is_some_and(|newest| {
            version.as_ref() != Some(&newest.id) && newest.created_at.as_second() >= job.created_at.as_second()
        });
        if is_superseded {
            return Ok(None);
        }
        let error = job.error.as_ref();
        let is_code = error.is_some_and(|error| is_mendable(&error.code));
        let last = self.newest_turn(app).await?;
        Ok(Some(Trouble {
            is_newest: version.is_some() && version == newest.map(|version| version.id),
            attempts: match turn {
                Some(turn) => self.attempts(turn).await?,
                None => 1,
            },
            file: match error.filter(|_| is_code) {
                Some(error) => self.named_file(app, version, proof::named_files(error)).await?,
                None => None,
            },
            good: if is_code { self.last_good_version(app).await? } else { None },
            fix_changed_nothing: last.as_ref().is_some_and(|turn| changed_nothing(turn, job)),
            turn_proposes: last.is_some_and(|turn| turn.question.is_some() || turn.may_continue()),
            is_code,
            job: job.clone(),
        }))
    }

    /// The versions of a turn and of the repairs before it, all of which failed in preview.
    async fn attempts(&self, last: TurnId) -> AppResult<u32> {
        let root = self.platform.store.turn(last).await?.shares_limits_with();
        let turns = self.platform.store.turn_with_repairs(root).await?;
        let failed = turns.iter().filter(|turn| turn.id.0 <= last.0 && turn.version.is_some()).count();
        Ok(u32::try_from(failed).unwrap_or(u32::MAX).max(1))
    }

    /// The first of these files that the app has and a user can edit. A path may begin with folders of the container.
    async fn named_file(
        &self,
        app: &App,
        version: Option<VersionId>,
        names: Vec<String>,
    ) -> AppResult<Option<WorkspacePath>> {
        let (Some(version), false) = (version.or_else(|| app.head.clone()), names.is_empty()) else { return Ok(None) };
        let template = match self.template_of(app) {
            Ok(template) => template.clone(),
            Err(_) => return Ok(None),
        };
        let find = move |workspace: &crate::workspace::Workspace| {
            let files = workspace.tree_at(&version)?;
            let of_app = |name: &String| {
                let mut rest = name.trim_start_matches("./").trim_start_matches('/');
                loop {
                    if let Some(file) = files.iter().find(|file| file.path.as_str() == rest) {
                        return Some(file.path.clone()).filter(|path| !template.owns(path));
                    }
                    rest = rest.split_once('/')?.1;
                }
            };
            Ok(names.iter().find_map(of_app))
        };
        match self.platform.read_workspace(&app.name, find).await {
            Ok(file) => Ok(file),
            // The failure is shown without the file.
            Err(error) if error.kind != ErrorKind::Internal => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Whether this turn tried to fix the failure of `job` and ended without a change.
fn changed_nothing(turn: &Turn, job: &Job) -> bool {
    matches!(turn.origin, TurnOrigin::Repair(_) | TurnOrigin::Fix)
        && turn.state == TurnState::Done
        && turn.version.is_none()
        && turn.question.is_none()
        && job.finished_at.is_some_and(|failed| turn.created_at >= failed)
}
