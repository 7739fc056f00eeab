//! Runs of jobs that continued while the builder was stopped.

use std::collections::HashSet;
use std::sync::Arc;

use crate::domain::{AppId, Run, RunId, RunTrigger};
use crate::error::AppResult;
use crate::followed_runs::FollowGuard;
use crate::jobs::{runs, runtime_unavailable};
use crate::platform::Platform;
use crate::runtime::LeftRun;
use crate::store::StoreError;

/// Resumes waiting for runs that continued without the builder. Runs without any objects left are recorded as failed. Runs
/// without a record are ended, because nothing would ever report their result.
pub(super) async fn take_up(platform: &Arc<Platform>) -> AppResult<()> {
    let left = platform.runtime.runs.list().await.map_err(|error| runtime_unavailable(&error))?;
    let (open, ours): (_, HashSet<RunId>) = {
        let _none_begins = platform.run_begins.write().await;
        let open = platform.store.open_runs().await?;
        let followed = |run: &RunId| platform.followed_runs.contains(*run);
        let ours =
            open.iter().map(|(_, run)| run.id).chain(left.iter().map(|left| left.run)).filter(followed).collect();
        (open, ours)
    };
    for (app, run) in open.iter().filter(|(_, run)| !ours.contains(&run.id)) {
        let found = left.iter().find(|left| left.run == run.id);
        if run.trigger == RunTrigger::Check {
            if !is_checking(platform, *app, run).await? {
                if let Some(left) = found {
                    end(platform, left).await?;
                }
                runs::stopped(platform, *app, run.id).await?;
            }
            continue;
        }
        match found {
            Some(left) => {
                if let Some(followed) = platform.followed_runs.follow(left.run) {
                    follow(platform, left.clone(), followed);
                }
            }
            None => runs::lost(platform, *app, run.id).await?,
        }
    }
    // The list was read before the database: a run that is not among the open ones has ended.
    let is_open = |run: RunId| open.iter().any(|(_, open)| open.id == run);
    for left in left.iter().filter(|left| !is_open(left.run) && !ours.contains(&left.run)) {
        end(platform, left).await?;
    }
    Ok(())
}

/// Whether the job that started this run as a check is still open: then that job follows the run.
async fn is_checking(platform: &Platform, app: AppId, run: &Run) -> AppResult<bool> {
    let release = match platform.store.release(app, run.environment, run.release).await {
        Ok(release) => release,
        Err(StoreError::NotFound) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let open = platform.store.open_jobs(Some(app)).await?;
    Ok(open.iter().any(|job| job.id == release.job))
}

async fn end(platform: &Platform, left: &LeftRun) -> AppResult<()> {
    tracing::info!(run = left.run.0, app = %left.app, "stopping an abandoned run");
    platform.runtime.runs.end(&left.app, &left.id).await.map_err(|error| runtime_unavailable(&error))
}

/// Waits for a run's end in the background. `followed` marks the run as followed meanwhile.
pub(super) fn follow(platform: &Arc<Platform>, left: LeftRun, followed: FollowGuard) {
    let platform = platform.clone();
    platform.clone().lifecycle.tasks.spawn(async move {
        let _followed = followed;
        let ended = platform.lifecycle.draining.run_until_cancelled(runs::take_up(&platform, &left)).await;
        if let Some(Err(error)) = ended {
            tracing::warn!(run = left.run.0, %error, "failed to take over a run");
        }
    });
}
