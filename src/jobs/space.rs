//! Frees disk space of the database and of repositories while the builder is idle.

use std::sync::Arc;
use std::time::Duration;

use super::Jobs;
use crate::domain::{AppId, AppName, Bytes};
use crate::platform::Platform;
use crate::store::StoreError;
use crate::workspace::Packed;

/// Pause between two checks for space that can be freed.
const LOOK_AGAIN: Duration = Duration::from_mins(1);
/// Number of checks between two deletions of old jobs.
const LOOKS_PER_DELETION: u32 = 60;

/// Limits the database's size as long as the builder runs. A database of an earlier version is rewritten once, while no
/// job runs, because the rewrite blocks all writes.
pub async fn keep_small(platform: Arc<Platform>, jobs: Jobs) {
    let mut may_rewrite = true;
    for look_number in 0_u32.. {
        tokio::time::sleep(LOOK_AGAIN).await;
        if look_number.is_multiple_of(LOOKS_PER_DELETION) {
            match platform.store.forget_jobs(platform.config.retention.job_records).await {
                Ok(0) => {}
                Ok(jobs) => tracing::info!(jobs, "deleted the records of old jobs"),
                Err(error) => tracing::warn!(%error, "failed to delete the records of old jobs; retrying in an hour"),
            }
        }
        if let Err(error) = look(&platform, &jobs, &mut may_rewrite).await {
            tracing::warn!(%error, "failed to return disk space of the database");
        }
    }
}

/// Packs an app's repository in the background, if it has many loose objects.
pub(super) fn pack_later(platform: &Arc<Platform>, app: AppId, name: AppName) {
    let (platform, draining) = (platform.clone(), platform.lifecycle.draining.clone());
    platform.clone().lifecycle.tasks.spawn(async move {
        match draining.run_until_cancelled(platform.pack_workspace(app, &name)).await {
            Some(Ok(Some(Packed { objects, bytes, packs }))) => {
                tracing::info!(app = %name, objects, bytes, packs, "packed the repository");
            }
            Some(Err(error)) => {
                tracing::warn!(app = %name, %error, "failed to pack the repository; the next turn retries");
            }
            Some(Ok(None)) | None => {}
        }
    });
}

async fn look(platform: &Platform, jobs: &Jobs, may_rewrite: &mut bool) -> Result<(), StoreError> {
    let store = &platform.store;
    if *may_rewrite && store.needs_rewrite().await? {
        if !jobs.is_idle() {
            return Ok(());
        }
        // Only one attempt in a process: the cause of a failure would not be different a minute later.
        *may_rewrite = false;
        let shortened = store.shorten_logs().await?;
        tracing::info!(lines = shortened, "truncated the logs of earlier jobs");
        tracing::info!("rewriting the database, so that it gives back disk space from now on; changes wait meanwhile");
        let done = store.rewrite().await?;
        let (millis, before, after) = (done.took.as_millis(), Bytes(done.before), Bytes(done.after));
        tracing::info!(millis, %before, %after, "the database was rewritten");
    }
    let given = store.release_space().await?;
    if given > 0 {
        tracing::info!(bytes = given, "returned disk space of the database");
    }
    Ok(())
}
