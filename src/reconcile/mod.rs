//! Reconcile: compares the running instances with the desired state in the database, and removes the difference.
//!
//! Runs at the start, after each outage of an engine, and periodically on a cluster. Between two passes, the watch
//! follows the events of instances. This module has no state of its own: the database has the desired state, and the
//! runtime has the running instances. Jobs do not depend on this module.

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

use crate::error::{AppResult, ErrorKind};
use crate::platform::Platform;

pub use paused::end_paused;
pub use scheduled_runs::record_scheduled;
pub use watch::watch;

/// First pause before a failed pass is retried.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause: an engine that is installed or started later is used after this time at most.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Reconciles as soon as the runtime can be reached, and again whenever the runtime reports that it is due. Runs in the
/// background.
pub async fn run(platform: Arc<Platform>) {
    // Subscribed before the first pass, so that an outage right after it is noticed.
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

/// Retries until a pass succeeds. Each reason of a failure is logged once.
async fn until_reconciled(platform: &Arc<Platform>) {
    let mut pause = RETRY_PAUSE;
    let mut logged = None;
    while let Err(error) = reconcile(platform).await {
        // The outage may be long, so requests that wait for a route are answered now.
        platform.traffic.routes().are_known();
        let reason = error.to_string();
        if logged.as_ref() != Some(&reason) {
            tracing::warn!(%error, "failed to reconcile what runs; retrying");
            logged = Some(reason);
        }
        if error.kind == ErrorKind::Unavailable {
            platform.runtime_outage.send_replace(Some(error));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_PAUSE_MAX);
    }
    platform.runtime_outage.send_replace(None);
    if logged.is_some() {
        tracing::info!("reconciled what runs");
    }
}

/// Reconciles once: routes to live releases, removes orphans, resumes runs, and starts live releases that do not run.
/// May run at the same time as jobs.
///
/// # Errors
/// If the database or the runtime does not answer. The steps before the failure stay done.
async fn reconcile(platform: &Arc<Platform>) -> AppResult<()> {
    let found = instances::find(platform).await?;
    let live = instances::route(platform, &found).await?;
    platform.traffic.routes().are_known();
    instances::remove_orphans(platform, &found).await?;
    runs::take_up(platform).await?;
    instances::restore(platform, live).await;
    Ok(())
}
