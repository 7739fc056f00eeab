//! Starting, draining and stopping: two tokens and a tracker that every task of ours is on.
//!
//! The first signal drains: no new work, streams end, what runs may finish. A second signal,
//! or the end of the grace period, aborts.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long work in hand may take once a stop was asked for.
pub const GRACE: Duration = Duration::from_secs(20);

/// The builder's life. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    /// Set when no new work is to begin.
    pub draining: CancellationToken,
    /// Set when what still runs is to end at once.
    pub aborting: CancellationToken,
    /// Every task that outlives a request.
    pub tasks: TaskTracker,
}

impl Lifecycle {
    /// Waits for SIGINT or SIGTERM.
    pub async fn stop_requested() -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            result = tokio::signal::ctrl_c() => result,
            _ = terminate.recv() => Ok(()),
        }
    }

    /// Drains, then aborts what is left after a second signal or the grace period.
    pub async fn stop(&self) {
        self.draining.cancel();
        self.tasks.close();
        tokio::select! {
            () = self.tasks.wait() => return,
            _ = Self::stop_requested() => tracing::warn!("a second signal: stopping at once"),
            () = tokio::time::sleep(GRACE) => tracing::warn!(grace_s = GRACE.as_secs(), "still at work: stopping all the same"),
        }
        self.aborting.cancel();
        let _ = tokio::time::timeout(Duration::from_secs(5), self.tasks.wait()).await;
    }
}
