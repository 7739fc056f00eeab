//! Gives disk space back while nothing else is to be done.

use std::sync::Arc;
use std::time::Duration;

use super::Jobs;
use crate::domain::Bytes;
use crate::platform::Platform;
use crate::store::StoreError;

/// Pause between two looks at what can be given back.
const LOOK_AGAIN: Duration = Duration::from_mins(1);

/// Looks after the database's size for as long as the builder lives. A database of an earlier version is rewritten
/// once, when no job runs, since nobody can write meanwhile.
pub async fn keep_small(platform: Arc<Platform>, jobs: Jobs) {
    let mut may_rewrite = true;
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        if let Err(error) = look(&platform, &jobs, &mut may_rewrite).await {
            tracing::warn!(%error, "failed to return disk space of the database");
        }
    }
}

async fn look(platform: &Platform, jobs: &Jobs, may_rewrite: &mut bool) -> Result<(), StoreError> {
    let store = &platform.store;
    if *may_rewrite && store.needs_rewrite().await? {
        if !jobs.is_idle() {
            return Ok(());
        }
        // Once in a process: what fails now fails in a minute too.
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
