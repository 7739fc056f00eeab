//! Which releases drain.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::{AppId, Environment, ReleaseNumber};

/// Releases that take no new requests and are still at work on some.
#[derive(Clone, Default)]
pub struct Draining(Arc<Mutex<HashSet<DrainKey>>>);

type DrainKey = (AppId, Environment, ReleaseNumber);

/// A release drains for as long as this lives.
pub struct DrainGuard(Draining, DrainKey);

impl Draining {
    /// Notes a release that begins to drain.
    pub fn begin(&self, app: AppId, environment: Environment, release: ReleaseNumber) -> DrainGuard {
        let key = (app, environment, release);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
        DrainGuard(self.clone(), key)
    }

    /// Whether a release drains.
    pub fn contains(&self, app: AppId, environment: Environment, release: ReleaseNumber) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&(app, environment, release))
    }
}

impl Drop for DrainGuard {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}
