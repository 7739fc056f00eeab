//! Releases that stay paused after they were replaced: each ends when its time is over, or when memory is short.

use std::sync::Arc;
use std::time::Duration;

use super::desired::Desired;
use crate::platform::Platform;
use crate::runtime::{DesiredState, RuntimeError, Standby};

/// Interval in which paused releases and the free memory are checked, unless the time that a release may stay is shorter.
/// Nothing reports that memory becomes short.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// Ends paused releases in time. Runs in the background, and does nothing while none is paused.
pub async fn end_paused(platform: Arc<Platform>, standby: Arc<dyn Standby>) {
    let keep = platform.config.keep_replaced;
    if keep.is_zero() {
        // Paused instances of an earlier builder are orphans, which the reconcile removes.
        return std::future::pending().await;
    }
    loop {
        match end_due(&platform, standby.as_ref()).await {
            Ok(0) => standby.next_pause().await,
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "failed to end paused releases; retrying"),
        }
        tokio::time::sleep(CHECK_INTERVAL.min(keep)).await;
    }
}

/// Ends the paused releases whose time is over, or all of them while memory is short. Returns how many were paused.
async fn end_due(platform: &Platform, standby: &dyn Standby) -> Result<usize, RuntimeError> {
    let desired = Desired(platform);
    let paused = standby.paused().await?;
    for instance in &paused {
        let (app, environment, release) = (instance.app_id, instance.environment, instance.release);
        // The reconcile resumes a live release that a user of the engine has paused.
        if desired.is_needed(app, environment, release).await? {
            continue;
        }
        let is_short = standby.is_memory_short();
        if !is_short && desired.is_kept(app, environment, release).await? {
            continue;
        }
        tracing::info!(app = %instance.app, release = release.0, is_short, "ending a paused release");
        standby.end(instance).await?;
    }
    Ok(paused.len())
}
