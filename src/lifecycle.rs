//! Starting, draining and stopping: two tokens, a tracker that every task of ours is on, and the supervisor of those
//! tasks that live as long as the process.
//!
//! The first signal drains: no new work, streams end, what runs may finish. A second signal,
//! or the end of the grace period, aborts.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::supervision::Supervisor;

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
    /// Restarts what [`Self::supervise`] started.
    pub supervisor: Supervisor,
    /// Set when all other tasks have ended.
    ended: CancellationToken,
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

    /// Starts a task that lives as long as the process: it is restarted when it ends or panics, and dropped where it
    /// waits when the builder drains. The only way to start such a task.
    pub fn supervise<F, T>(&self, name: &'static str, start: F)
    where
        F: Fn() -> T + Send + Sync + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        self.tasks.spawn(self.supervisor.clone().run(name, start, self.draining.clone()));
    }

    /// The same for a task that all others need, draining ones too: it is dropped after them.
    pub fn supervise_to_the_end<F, T>(&self, name: &'static str, start: F)
    where
        F: Fn() -> T + Send + Sync + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        tokio::spawn(self.supervisor.clone().run(name, start, self.ended.clone()));
    }

    /// Drains, then aborts what is left after a second signal or the grace period.
    pub async fn stop(&self) {
        self.draining.cancel();
        self.tasks.close();
        self.drain().await;
        self.ended.cancel();
    }

    async fn drain(&self) {
        tokio::select! {
            () = self.tasks.wait() => return,
            _ = Self::stop_requested() => tracing::warn!("a second signal: stopping at once"),
            () = tokio::time::sleep(GRACE) => tracing::warn!(grace_s = GRACE.as_secs(), "still at work: stopping all the same"),
        }
        self.aborting.cancel();
        let _ = tokio::time::timeout(Duration::from_secs(5), self.tasks.wait()).await;
    }
}
