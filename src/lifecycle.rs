//! Starting, draining and stopping: two tokens, a tracker that every task of ours is on, and the supervisor of those
//! tasks that live as long as the process.
//!
//! The first signal drains: no new work, streams end, what runs may finish. A second signal,
//! or the end of the grace period, aborts.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
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

    /// Waits for a reason to stop, and stops. What failed is the process's error: a supervised task that failed too
    /// often, or the server, which ends only when the builder drains.
    pub async fn run_until_stopped(&self, server: JoinHandle<std::io::Result<()>>) -> anyhow::Result<()> {
        let why = tokio::select! {
            signal = Self::stop_requested() => signal.map_err(Into::into),
            ended = server => match ended {
                Ok(Ok(())) => Err(anyhow::anyhow!("the server ended by itself")),
                Ok(Err(error)) => Err(error.into()),
                Err(error) => Err(error.into()),
            },
            name = self.supervisor.given_up() => Err(anyhow::anyhow!("the background task “{name}” failed too often")),
        };
        tracing::info!("stopping");
        self.stop().await;
        why
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
            _ = Self::stop_requested() => tracing::warn!("received a second signal; stopping at once"),
            () = tokio::time::sleep(GRACE) => tracing::warn!(grace_s = GRACE.as_secs(), "grace period is over; stopping with work in hand"),
        }
        self.aborting.cancel();
        let _ = tokio::time::timeout(Duration::from_secs(5), self.tasks.wait()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervision::RestartPolicy;

    #[tokio::test]
    async fn a_task_that_keeps_panicking_ends_the_process_with_an_error() {
        let pause = Duration::from_millis(1);
        let policy = RestartPolicy { first_pause: pause, longest_pause: pause, ..RestartPolicy::default() };
        let lifecycle = Lifecycle { supervisor: Supervisor::new(policy), ..Lifecycle::default() };
        let draining = lifecycle.draining.clone();
        let server = lifecycle.tasks.spawn(async move {
            draining.cancelled().await;
            Ok(())
        });
        lifecycle.supervise("pump", || async { panic!("a wire came loose") });
        let ended = tokio::time::timeout(Duration::from_secs(20), lifecycle.run_until_stopped(server)).await;
        let error = ended.expect("it stops").expect_err("it is a failure");
        assert_eq!(error.to_string(), "the background task “pump” failed too often");
        assert!(lifecycle.draining.is_cancelled() && lifecycle.tasks.is_empty(), "it stopped in order");
    }
}
