//! Records the runs that the runtime's scheduler starts, as long as the builder runs.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::Instant;

use super::runs::follow;
use crate::domain::{AppId, RunTrigger};
use crate::error::AppResult;
use crate::jobs::{runs, runtime_unavailable};
use crate::platform::Platform;
use crate::runtime::{ScheduledRun, Schedules};

/// How long a change of a run from before it got its number may still be reported.
const TOLD_AGAIN: Duration = Duration::from_mins(10);

/// Adds runs that the runtime's scheduler started to the history, and follows them to their end.
pub async fn record_scheduled(platform: Arc<Platform>, schedules: Arc<dyn Schedules>) {
    let mut started = schedules.started();
    let mut taken = Taken::default();
    while let Some(run) = started.next().await {
        // A run is reported with each of its changes.
        if !taken.insert((run.app_id, run.id.clone()), Instant::now()) {
            continue;
        }
        if let Err(error) = record_one(&platform, &*schedules, &run).await {
            tracing::warn!(app = %run.app, %error, "failed to record a scheduled run");
            taken.forget(&(run.app_id, run.id));
        }
    }
}

/// Scheduled runs that have their number. Each is still reported a few times.
#[derive(Default)]
struct Taken {
    runs: HashSet<(AppId, String)>,
    order: VecDeque<(Instant, (AppId, String))>,
}

impl Taken {
    /// Returns true for a new run.
    fn insert(&mut self, run: (AppId, String), now: Instant) -> bool {
        while let Some((at, old)) = self.order.front()
            && now.duration_since(*at) > TOLD_AGAIN
        {
            self.runs.remove(old);
            self.order.pop_front();
        }
        let is_new = self.runs.insert(run.clone());
        if is_new {
            self.order.push_back((now, run));
        }
        is_new
    }

    /// The run has no number after all, and gets one when it is reported again.
    fn forget(&mut self, run: &(AppId, String)) {
        self.runs.remove(run);
        self.order.retain(|(_, known)| known != run);
    }
}

async fn record_one(platform: &Arc<Platform>, schedules: &dyn Schedules, begun: &ScheduledRun) -> AppResult<()> {
    let (app, environment, release) = (begun.app_id, begun.environment, begun.release);
    let begins = platform.run_begins.read().await;
    let run = platform.store.insert_run(app, environment, release, RunTrigger::Schedule, begun.started_at).await?;
    let followed = platform.followed_runs.follow(run.id);
    drop(begins);
    match schedules.name(begun, run.id).await {
        Ok(left) => {
            tracing::info!(run = run.id.0, app = %begun.app, "scheduled run begins");
            // Marked as followed from the moment its row exists: otherwise a reconcile in between would follow the run
            // too.
            if let Some(followed) = followed {
                follow(platform, left, followed);
            }
            Ok(())
        }
        Err(error) => {
            runs::lost(platform, app, run.id).await?;
            Err(runtime_unavailable(&error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheduled_runs_are_taken_once_and_forgotten_in_time() {
        let (mut taken, begun) = (Taken::default(), Instant::now());
        let run = |number: u32| (AppId(1), format!("tides-prod-{number}"));
        for minute in 0..1000 {
            let now = begun + Duration::from_secs(60 * u64::from(minute));
            assert!(taken.insert(run(minute), now));
            assert!(!taken.insert(run(minute), now + Duration::from_secs(5)), "it was told of before");
        }
        assert!(taken.runs.len() < 15 && taken.order.len() == taken.runs.len(), "{}", taken.runs.len());
        taken.forget(&run(999));
        assert!(taken.insert(run(999), begun + Duration::from_mins(1000)), "it got no number");
    }
}
