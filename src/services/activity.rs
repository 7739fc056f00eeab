//! What happens to the apps of a list at the moment.

use std::collections::HashMap;

use super::Services;
use crate::domain::{App, AppId, Job, JobKind, JobState};
use crate::error::AppResult;

/// What an app's newest work is, beside its environments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// A turn runs.
    Writing,
    /// A turn waits to run.
    Queued,
    /// The newest work was a turn, and it failed.
    Failed,
}

impl Services {
    /// What happens to these apps; those to which nothing happens are missing.
    pub async fn activity(&self, apps: &[App]) -> AppResult<HashMap<AppId, Activity>> {
        let ids: Vec<AppId> = apps.iter().map(|app| app.id).collect();
        let newest = self.platform.store.newest_jobs(ids).await?;
        let open = self.platform.store.open_jobs(None).await?;
        Ok(apps
            .iter()
            .filter_map(|app| {
                let newest = newest.iter().find(|job| job.app_id == app.id);
                Some((app.id, of(newest, open.iter().filter(|job| job.app_id == app.id))?))
            })
            .collect())
    }
}

fn of<'a>(newest: Option<&Job>, open: impl Iterator<Item = &'a Job>) -> Option<Activity> {
    let is_turn = |job: &Job| matches!(job.kind, JobKind::Generate { .. });
    let mut activity = newest.filter(|job| is_turn(job) && job.state == JobState::Failed).map(|_| Activity::Failed);
    for job in open.filter(|job| is_turn(job)) {
        match job.state {
            JobState::Running => return Some(Activity::Writing),
            _ => activity = Some(Activity::Queued),
        }
    }
    activity
}
