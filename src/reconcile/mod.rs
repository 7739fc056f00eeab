//! Reconcile: what runs is compared with what the database says should run, and the difference is removed.
//!
//! At the start, after each outage of an engine, and in intervals on a cluster. Between two comparisons the watch
//! follows what happens to instances. Owns no state: what should run stands in the database, what runs is the
//! runtime's. Jobs know nothing of it.

mod desired;
mod instances;
mod paused;
mod runs;
mod scheduled_runs;
#[cfg(test)]
mod tests;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;

use crate::error::AppResult;
use crate::platform::Platform;

pub use paused::end_paused;
pub use scheduled_runs::record_scheduled;
pub use watch::watch;

/// First pause before a failed comparison is repeated.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(30);

/// Compares what runs with what should as soon as the runtime can be reached, and again whenever the runtime says that
/// they may differ. Runs in the background.
pub async fn run(platform: Arc<Platform>) {
    // Asked before the first comparison, so that an outage right after it is noticed.
    let mut due = platform.runtime.reconcile.due();
    until_reconciled(&platform).await;
    if let Err(error) = platform.images.remove_leftovers().await {
        tracing::warn!(%error, "failed to remove leftovers of earlier builds");
    }
    while due.next().await.is_some() {
        tracing::debug!("reconciling what runs");
        until_reconciled(&platform).await;
    }
}

/// Compares until that succeeds.
async fn until_reconciled(platform: &Arc<Platform>) {
    let mut pause = RETRY_PAUSE;
    while let Err(error) = reconcile(platform).await {
        // The runtime may stay away for long: waiting requests are answered now.
        platform.traffic.routes().are_known();
        tracing::warn!(%error, "failed to reconcile what runs; retrying");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_PAUSE_MAX);
    }
}

/// Reconciles once: routes to live releases, removes orphans, resumes runs, and starts live releases that do not run. Safe
/// beside running jobs.
///
/// # Errors
/// The database or the runtime does not answer. What came before stays done.
async fn reconcile(platform: &Arc<Platform>) -> AppResult<()> {
    let found = instances::find(platform).await?;
    let live = instances::route(platform, &found).await?;
    platform.traffic.routes().are_known();
    instances::remove_orphans(platform, &found).await?;
    runs::take_up(platform).await?;
    instances::restore(platform, live).await;
    Ok(())
}
