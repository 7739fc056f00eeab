//! The route table, and the requests that still run on replaced instances.
//!
//! Reading takes no lock. A request enters an instance by incrementing its counter and then checking again
//! whether the instance still serves. A writer first retires the instance and then reads the counter.
//! In either order, the request sees that it must look again, or the writer
//! sees that it must wait for the request.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::http::StatusCode;
use tokio::sync::{Notify, Semaphore, SemaphorePermit, watch};
use tokio_util::sync::CancellationToken;

use super::pool::Pool;
use super::seen::{Arrived, Seen};
use crate::domain::{AppName, Environment, ReleaseNumber};

/// Maximum number of requests that wait for one instance's response head. Each uses some tens of kilobytes, and more of
/// them do not help an overloaded app.
pub(super) const UNANSWERED_MAX: usize = 192;

/// Grace period for connections to close after the drain.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// A running instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upstream {
    /// Its address.
    pub address: SocketAddr,
    /// Its release.
    pub release: ReleaseNumber,
}

/// The state of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteState {
    /// An instance answers.
    Up(Upstream),
    /// The first instance is starting.
    Starting,
    /// No instance runs, but one did before.
    Stopped,
}

/// A route for display.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteView {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: Environment,
    /// Its state.
    pub state: RouteState,
    /// Current number of requests and tunnels.
    pub in_flight: usize,
}

/// The table of routes of all apps' hosts. Clones share the table.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    table: ArcSwap<HashMap<AppName, AppRoutes>>,
    /// Bytes of the requests that are kept of all apps.
    seen_bytes: Arc<AtomicU64>,
    /// Serialises writers; readers do not wait for them.
    writer: Mutex<()>,
    /// Cancels tunnels and endless streams.
    closing: CancellationToken,
    /// Whether running instances are known, which is false right after the builder's start. Notifies waiters at each change.
    unknown: watch::Sender<bool>,
}

/// The routes of an app, and what was seen of it.
#[derive(Debug, Clone)]
struct AppRoutes {
    /// Preview, then prod.
    routes: [Option<Route>; 2],
    seen: Arc<Seen>,
}

#[derive(Debug, Clone)]
enum Route {
    Up(Arc<Live>),
    Starting,
    Stopped,
}

impl Route {
    fn live(&self) -> Option<&Arc<Live>> {
        match self {
            Self::Up(live) => Some(live),
            Self::Starting | Self::Stopped => None,
        }
    }

    fn state(&self) -> RouteState {
        match self {
            Self::Up(live) => RouteState::Up(live.upstream),
            Self::Starting => RouteState::Starting,
            Self::Stopped => RouteState::Stopped,
        }
    }
}

fn index(environment: Environment) -> usize {
    match environment {
        Environment::Preview => 0,
        Environment::Prod => 1,
    }
}

/// An instance in the table, or being removed from it.
#[derive(Debug)]
pub(super) struct Live {
    upstream: Upstream,
    pub(super) pool: Arc<Pool>,
    in_flight: AtomicUsize,
    /// Slots for requests that wait for the response head.
    unanswered: Semaphore,
    retired: AtomicBool,
    emptied: Notify,
    /// Closes tunnels and streams after the drain's timeout.
    pub(super) closing: CancellationToken,
}

impl Live {
    pub(super) fn address(&self) -> SocketAddr {
        self.upstream.address
    }

    /// A slot for a request that waits for the response head; `None` if all are in use.
    pub(super) fn wait_for_answer(&self) -> Option<SemaphorePermit<'_>> {
        self.unanswered.try_acquire().ok()
    }

    fn retire(&self) {
        self.retired.store(true, Ordering::SeqCst);
        self.pool.close();
    }
}

/// The result of a lookup.
pub(super) enum Entry {
    Open(InFlight),
    Starting,
    Stopped,
    Unknown,
}

/// A running request on an instance, counted until this is dropped.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Live>);

impl InFlight {
    /// `None` if the instance does not accept requests any more.
    fn enter(live: &Arc<Live>) -> Option<Self> {
        live.in_flight.fetch_add(1, Ordering::SeqCst);
        let place = Self(Arc::clone(live));
        (!live.retired.load(Ordering::SeqCst)).then_some(place)
    }

    pub(super) fn live(&self) -> &Arc<Live> {
        &self.0
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 && self.0.retired.load(Ordering::SeqCst) {
            self.0.emptied.notify_waiters();
        }
    }
}

/// An instance that gets no new requests, but may still answer old ones.
#[derive(Debug)]
#[must_use = "stop the instance only after it has drained"]
pub struct Replaced(Arc<Live>);

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// All requests ended in time; otherwise tunnels and streams were closed at the timeout.
    pub clean: bool,
}

impl Replaced {
    /// The replaced instance.
    pub fn upstream(&self) -> Upstream {
        self.0.upstream
    }

    /// Waits until no request runs on the instance any more. Requests that still run after `timeout`
    /// (mostly tunnels and endless streams) are closed.
    pub async fn drained(self, timeout: Duration) -> Drained {
        if tokio::time::timeout(timeout, self.emptied()).await.is_ok() {
            return Drained { clean: true };
        }
        self.0.closing.cancel();
        // Connections that do not close are closed with the instance.
        let _ = tokio::time::timeout(CLOSE_GRACE, self.emptied()).await;
        Drained { clean: false }
    }

    async fn emptied(&self) {
        loop {
            let mut emptied = std::pin::pin!(self.0.emptied.notified());
            emptied.as_mut().enable();
            if self.0.in_flight.load(Ordering::SeqCst) == 0 {
                return;
            }
            emptied.await;
        }
    }
}

impl Routes {
    /// Closes idle pooled connections.
    pub(super) fn sweep_pools(&self) {
        for route in self.inner.table.load().values().flat_map(|app| &app.routes).flatten() {
            if let Some(live) = route.live() {
                live.pool.sweep();
            }
        }
    }

    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// The table right after the builder's start: missing instances may still be
    /// found, until [`Self::are_known`] is called.
    pub fn unknown() -> Self {
        let routes = Self::default();
        routes.inner.unknown.send_replace(true);
        routes
    }

    /// Marks the table as complete.
    pub fn are_known(&self) {
        self.inner.unknown.send_replace(false);
    }

    /// Number of requests that wait until running instances are known.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.inner.unknown.receiver_count()
    }

    /// Waits until an environment has an instance, or until the table is complete.
    pub(super) async fn found(&self, app: &AppName, environment: Environment) {
        let mut unknown = self.inner.unknown.subscribe();
        while *unknown.borrow_and_update() && !matches!(self.state(app, environment), Some(RouteState::Up(_))) {
            if unknown.changed().await.is_err() {
                return;
            }
        }
    }

    /// Routes an environment's requests to an instance. Returns the replaced
    /// instance, if it is another one.
    pub fn set(&self, app: &AppName, environment: Environment, upstream: Upstream) -> Option<Replaced> {
        self.change(app, environment, |before| {
            if before.and_then(Route::live).is_some_and(|live| live.upstream == upstream) {
                return before.cloned();
            }
            Some(Route::Up(Arc::new(Live {
                upstream,
                pool: Arc::default(),
                in_flight: AtomicUsize::new(0),
                unanswered: Semaphore::new(UNANSWERED_MAX),
                retired: AtomicBool::new(false),
                emptied: Notify::new(),
                closing: self.inner.closing.child_token(),
            })))
        })
    }

    /// Sets the reason why an environment has no instance. Returns the previous instance, if any.
    /// [`RouteState::Up`] is the same as [`Self::set`].
    pub fn set_state(&self, app: &AppName, environment: Environment, state: RouteState) -> Option<Replaced> {
        match state {
            RouteState::Up(upstream) => self.set(app, environment, upstream),
            RouteState::Starting => self.change(app, environment, |_| Some(Route::Starting)),
            RouteState::Stopped => self.change(app, environment, |_| Some(Route::Stopped)),
        }
    }

    /// Removes an environment. Returns its instance, if any.
    pub fn remove(&self, app: &AppName, environment: Environment) -> Option<Replaced> {
        self.change(app, environment, |_| None)
    }

    /// The state of an environment's route; `None` if it was never deployed.
    pub fn state(&self, app: &AppName, environment: Environment) -> Option<RouteState> {
        self.inner.table.load().get(app)?.routes[index(environment)].as_ref().map(Route::state)
    }

    /// What was seen of an app; `None` if it has no route.
    pub fn seen(&self, app: &AppName) -> Option<Arc<Seen>> {
        self.inner.table.load().get(app).map(|of| Arc::clone(&of.seen))
    }

    /// Records a response, if the app has a route.
    pub(super) fn answered(&self, app: &AppName, environment: Environment, arrived: Arrived, status: StatusCode) {
        if let Some(of) = self.inner.table.load().get(app) {
            of.seen.answered(environment, arrived, status);
        }
    }

    /// All routes, sorted by name.
    pub fn snapshot(&self) -> Vec<RouteView> {
        let table = self.inner.table.load();
        let mut views: Vec<_> = table
            .iter()
            .flat_map(|(app, of)| Environment::ALL.into_iter().map(move |e| (app, e, &of.routes[index(e)])))
            .filter_map(|(app, environment, route)| {
                let route = route.as_ref()?;
                let in_flight = route.live().map_or(0, |live| live.in_flight.load(Ordering::Relaxed));
                Some(RouteView { app: app.clone(), environment, state: route.state(), in_flight })
            })
            .collect();
        views.sort_by(|a, b| (&a.app, a.environment).cmp(&(&b.app, b.environment)));
        views
    }

    /// Closes tunnels and endless streams, which would delay the builder's shutdown.
    pub fn close(&self) {
        self.inner.closing.cancel();
    }

    /// Admits a request.
    pub(super) fn enter(&self, app: &AppName, environment: Environment) -> Entry {
        loop {
            let table = self.inner.table.load();
            match table.get(app).and_then(|of| of.routes[index(environment)].as_ref()) {
                // Replaced between the two reads: the table already has the next instance.
                Some(Route::Up(live)) => {
                    if let Some(place) = InFlight::enter(live) {
                        return Entry::Open(place);
                    }
                }
                Some(Route::Starting) => return Entry::Starting,
                Some(Route::Stopped) => return Entry::Stopped,
                None => return Entry::Unknown,
            }
        }
    }

    fn change(
        &self,
        app: &AppName,
        environment: Environment,
        next: impl FnOnce(Option<&Route>) -> Option<Route>,
    ) -> Option<Replaced> {
        let _one_at_a_time = self.inner.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = HashMap::clone(&self.inner.table.load());
        let mut of = table
            .remove(app)
            .unwrap_or_else(|| AppRoutes { routes: [None, None], seen: Arc::new(Seen::new(&self.inner.seen_bytes)) });
        let before = of.routes[index(environment)].take();
        let after = next(before.as_ref());
        let replaced = before.as_ref().and_then(Route::live).cloned();
        let kept = after.as_ref().and_then(Route::live);
        let replaced = replaced.filter(|live| !kept.is_some_and(|kept| Arc::ptr_eq(kept, live)));
        of.routes[index(environment)] = after;
        if of.routes.iter().any(Option::is_some) {
            table.insert(app.clone(), of);
        }
        // First change the table, then retire the old instance: a rejected request finds the new one.
        self.inner.table.store(Arc::new(table));
        self.inner.unknown.send_if_modified(|unknown| *unknown);
        replaced.map(|live| {
            live.retire();
            Replaced(live)
        })
    }
}
