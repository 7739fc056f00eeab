//! Which runs of jobs this process waits for.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::RunId;

/// Runs of jobs whose end this process waits for and records.
#[derive(Clone, Default)]
pub struct FollowedRuns(Arc<Mutex<HashSet<RunId>>>);

/// A run is followed for as long as this lives.
pub struct FollowGuard(FollowedRuns, RunId);

impl FollowedRuns {
    /// Notes a run; none if it is followed already.
    pub fn follow(&self, run: RunId) -> Option<FollowGuard> {
        let is_new = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(run);
        is_new.then(|| FollowGuard(self.clone(), run))
    }

    /// Whether this process waits for the run's end.
    pub fn contains(&self, run: RunId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&run)
    }
}

impl Drop for FollowGuard {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}
