//! Releases that stay paused after they were replaced, and their end in time.

use std::sync::Arc;
use std::time::Duration;

use super::desired::Desired;
use crate::platform::Platform;
use crate::runtime::{DesiredState, RuntimeError, Standby};

/// Pause between two looks at what is paused, unless the time that it may stay is shorter.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Ends what has been paused for long enough, or is in the way because memory is short, for as long as the builder lives.
pub async fn end_paused(platform: Arc<Platform>, standby: Arc<dyn Standby>) {
    let keep = platform.config.keep_replaced;
    if keep.is_zero() {
        // What an earlier builder left is an orphan like any other.
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(LOOK_AGAIN.min(keep)).await;
        if let Err(error) = look(&platform, standby.as_ref()).await {
            tracing::debug!(%error, "failed to end paused releases; retrying");
        }
    }
}

async fn look(platform: &Platform, standby: &dyn Standby) -> Result<(), RuntimeError> {
    let desired = Desired(platform);
    for instance in standby.paused().await? {
        let (app, environment, release) = (instance.app_id, instance.environment, instance.release);
        // A live one that somebody paused by hand is the reconcile's.
        if desired.is_needed(app, environment, release).await? {
            continue;
        }
        let is_short = standby.is_memory_short();
        if !is_short && desired.is_kept(app, environment, release).await? {
            continue;
        }
        tracing::info!(app = %instance.app, release = release.0, is_short, "ending a paused release");
        standby.end(&instance).await?;
    }
    Ok(())
}
