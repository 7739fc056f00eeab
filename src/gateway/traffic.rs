//! Changes of routes together with changes of state in the database: both happen, or neither does.
//!
//! Code that changes an app's routes together with its state holds the app's lock. A route therefore never leads to a
//! release that is not live, and a replaced release finishes its running requests.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;

use super::routes::{Replaced, RouteState, Routes, Upstream};
use crate::domain::{AppId, AppName, Environment, ReleaseNumber};
use crate::locks::AppLocks;

/// How long an old release may continue to answer its running requests.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);

/// The routes with the locks for changing them, and the releases that drain. Clones share them.
#[derive(Debug, Clone)]
pub struct Traffic {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    routes: Routes,
    locks: AppLocks,
    draining: Mutex<HashSet<DrainKey>>,
}

type DrainKey = (AppId, Environment, ReleaseNumber);

impl Traffic {
    /// Starts with a table of routes.
    pub fn new(routes: Routes) -> Self {
        Self { inner: Arc::new(Inner { routes, locks: AppLocks::default(), draining: Mutex::default() }) }
    }

    /// The table itself.
    pub fn routes(&self) -> &Routes {
        &self.inner.routes
    }

    /// Acquires the lock on the app's routes.
    pub async fn lock(&self, app: AppId) -> OwnedMutexGuard<()> {
        self.inner.locks.lock(app).await
    }

    /// Routes an environment's requests to a release. The returned guard holds the lock on the app's routes; dropping it
    /// restores the previous route.
    pub async fn switch(&self, app: &AppName, app_id: AppId, environment: Environment, to: Upstream) -> RouteSwitch {
        let alone = self.lock(app_id).await;
        let before = self.routes().state(app, environment);
        let replaced = self.routes().set(app, environment, to);
        let draining = replaced
            .as_ref()
            .map(|replaced| DrainGuard::begin(&self.inner, (app_id, environment, replaced.upstream().release)));
        RouteSwitch {
            undo: Undo { routes: self.routes().clone(), app: app.clone(), environment, before, is_due: true },
            drain: Drain { replaced, _draining: draining },
            _alone: alone,
        }
    }

    /// Whether a release gets no new requests, but is still answering some.
    pub fn is_draining(&self, app: AppId, environment: Environment, release: ReleaseNumber) -> bool {
        self.inner.draining.lock().unwrap_or_else(PoisonError::into_inner).contains(&(app, environment, release))
    }
}

/// Marks a release as draining until this is dropped.
#[derive(Debug)]
struct DrainGuard(Arc<Inner>, DrainKey);

impl DrainGuard {
    fn begin(inner: &Arc<Inner>, key: DrainKey) -> Self {
        inner.draining.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
        Self(inner.clone(), key)
    }
}

impl Drop for DrainGuard {
    fn drop(&mut self) {
        self.0.draining.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

/// Restores a route when it is dropped, unless the switch was kept.
#[derive(Debug)]
struct Undo {
    routes: Routes,
    app: AppName,
    environment: Environment,
    before: Option<RouteState>,
    is_due: bool,
}

impl Drop for Undo {
    fn drop(&mut self) {
        if !self.is_due {
            return;
        }
        // The release that loses its requests here is not live, so there is nothing to drain.
        let _ = match self.before {
            Some(before) => self.routes.set_state(&self.app, self.environment, before),
            None => self.routes.remove(&self.app, self.environment),
        };
    }
}

/// A route to a new release. Dropping it restores the route to the old one, unless it is kept.
#[derive(Debug)]
#[must_use = "dropping it undoes the switch"]
pub struct RouteSwitch {
    // Fields are dropped in this order: the route is restored before the lock is released.
    undo: Undo,
    drain: Drain,
    _alone: OwnedMutexGuard<()>,
}

impl RouteSwitch {
    /// Keeps the route to the new release, which is live. The replaced instance drains.
    #[must_use = "stop what served before only after it has drained"]
    pub fn keep(mut self) -> Drain {
        self.undo.is_due = false;
        self.drain
    }
}

/// The running requests of a replaced release.
#[derive(Debug)]
pub struct Drain {
    replaced: Option<Replaced>,
    _draining: Option<DrainGuard>,
}

impl Drain {
    /// Waits until the replaced release has no requests any more, for 30 seconds at most.
    pub async fn ended(self) {
        if let Some(replaced) = self.replaced {
            replaced.drained(DRAIN_LIMIT).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROD: Environment = Environment::Prod;

    fn to(release: u32) -> Upstream {
        let port = u16::try_from(1000 + release).expect("small");
        Upstream { address: ([10, 0, 0, 1], port).into(), release: ReleaseNumber(release) }
    }

    #[tokio::test]
    async fn a_switch_that_is_not_kept_leads_back() {
        let (traffic, app, id) = (Traffic::new(Routes::new()), "tides".parse().expect("a name"), AppId(1));
        let state = || traffic.routes().state(&app, PROD);
        drop(traffic.switch(&app, id, PROD, to(1)).await);
        assert_eq!(state(), None, "nothing was there before");

        traffic.switch(&app, id, PROD, to(1)).await.keep().ended().await;
        let second = traffic.switch(&app, id, PROD, to(2)).await;
        assert_eq!(state(), Some(RouteState::Up(to(2))));
        assert!(traffic.is_draining(id, PROD, ReleaseNumber(1)));
        assert!(futures_util::poll!(std::pin::pin!(traffic.lock(id))).is_pending(), "the lock is held");
        drop(second);
        assert_eq!(state(), Some(RouteState::Up(to(1))));
        assert!(!traffic.is_draining(id, PROD, ReleaseNumber(1)));
        assert!(futures_util::poll!(std::pin::pin!(traffic.lock(id))).is_ready());
    }

    #[tokio::test]
    async fn what_a_kept_switch_replaced_drains_until_its_drain_has_ended() {
        let (traffic, app, id) = (Traffic::new(Routes::new()), "tides".parse().expect("a name"), AppId(1));
        traffic.switch(&app, id, PROD, to(1)).await.keep().ended().await;
        let drain = traffic.switch(&app, id, PROD, to(2)).await.keep();
        assert!(traffic.is_draining(id, PROD, ReleaseNumber(1)));
        assert!(futures_util::poll!(std::pin::pin!(traffic.lock(id))).is_ready(), "others may change it now");
        drain.ended().await;
        assert!(!traffic.is_draining(id, PROD, ReleaseNumber(1)));
        assert_eq!(traffic.routes().state(&app, PROD), Some(RouteState::Up(to(2))));
    }
}
