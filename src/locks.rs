//! A lock for each app.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

use crate::domain::AppId;

/// A lock for each app, made when it is first needed.
#[derive(Debug, Default)]
pub struct AppLocks(Mutex<HashMap<AppId, Weak<tokio::sync::Mutex<()>>>>);

impl AppLocks {
    /// The app's lock, if it is free.
    pub fn try_lock(&self, app: AppId) -> Option<OwnedMutexGuard<()>> {
        self.of(app).try_lock_owned().ok()
    }

    /// Waits for the app's lock.
    pub async fn lock(&self, app: AppId) -> OwnedMutexGuard<()> {
        self.of(app).lock_owned().await
    }

    fn of(&self, app: AppId) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| lock.strong_count() > 0);
        locks.get(&app).and_then(Weak::upgrade).unwrap_or_else(|| {
            let lock = Arc::new(tokio::sync::Mutex::new(()));
            locks.insert(app, Arc::downgrade(&lock));
            lock
        })
    }
}
