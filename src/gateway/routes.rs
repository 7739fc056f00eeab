//! The table of routes, and who is still on the way to an instance that was replaced.
//!
//! Reading takes no lock. A request enters an instance by counting itself in and looking once more
//! whether the instance still serves; whoever replaces it first says so and then reads the count.
//! In whatever order the two happen, either the request sees that it must look again, or the other
//! sees that it must wait for it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, Semaphore, SemaphorePermit, watch};
use tokio_util::sync::CancellationToken;

use super::pool::Pool;
use crate::domain::{AppName, Environment, ReleaseNumber};

/// Requests that may wait for one instance to begin its answer. Each holds some tens of kilobytes, and an app that does
/// not keep up is not helped by more of them.
pub(super) const UNANSWERED_MAX: usize = 192;

/// How long connections that were told to close may take to do so.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// An instance that answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    /// Which release it is.
    pub release: ReleaseNumber,
}

/// What stands behind a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteState {
    /// An instance answers.
    Up(Upstream),
    /// The first instance is on its way.
    Starting,
    /// Nothing runs, but something did.
    Stopped,
}

/// A route as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteView {
    /// Whose.
    pub app: AppName,
    /// Which of its environments.
    pub environment: Environment,
    /// What stands there.
    pub state: RouteState,
    /// Requests and tunnels on their way at this moment.
    pub in_flight: usize,
}

/// The table: what stands behind each app's hosts. Clones are the same table.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    table: ArcSwap<HashMap<AppName, Pair>>,
    /// Writers take turns; readers do not wait for them.
    writer: Mutex<()>,
    /// Ends what would never end by itself.
    closing: CancellationToken,
    /// Right after the builder's start it is not known yet what runs. Said again at each change until it is.
    unknown: watch::Sender<bool>,
}

/// Preview, then prod.
type Pair = [Option<Route>; 2];

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
    /// Places for requests that wait for their answer to begin.
    unanswered: Semaphore,
    retired: AtomicBool,
    emptied: Notify,
    /// Ends tunnels and streams that have outstayed the drain.
    pub(super) closing: CancellationToken,
}

impl Live {
    pub(super) fn address(&self) -> SocketAddr {
        self.upstream.address
    }

    /// A place for one more request that waits for its answer to begin; none when too many do.
    pub(super) fn wait_for_answer(&self) -> Option<SemaphorePermit<'_>> {
        self.unanswered.try_acquire().ok()
    }

    fn retire(&self) {
        self.retired.store(true, Ordering::SeqCst);
        self.pool.close();
    }
}

/// What a request finds behind a host.
pub(super) enum Door {
    Open(InFlight),
    Starting,
    Stopped,
    Unknown,
}

/// A request's place at an instance; given up when this is dropped.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Live>);

impl InFlight {
    /// None when the instance does not take requests any more.
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

/// An instance that takes no new requests, and may still answer old ones.
#[derive(Debug)]
#[must_use = "stop the instance only after it has drained"]
pub struct Replaced(Arc<Live>);

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Everything ended by itself; else tunnels and streams were closed at the time limit.
    pub clean: bool,
}

impl Replaced {
    /// What was replaced.
    pub fn upstream(&self) -> Upstream {
        self.0.upstream
    }

    /// Waits until no request is on its way at the instance any more. What is after `timeout`
    /// (tunnels and endless streams, mostly) is closed then.
    pub async fn drained(self, timeout: Duration) -> Drained {
        if tokio::time::timeout(timeout, self.emptied()).await.is_ok() {
            return Drained { clean: true };
        }
        self.0.closing.cancel();
        // What does not even close goes with the instance.
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
    /// Closes kept connections that nobody uses any more.
    pub(super) fn sweep_pools(&self) {
        for route in self.inner.table.load().values().flatten().flatten() {
            if let Some(live) = route.live() {
                live.pool.sweep();
            }
        }
    }

    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// The table of a builder that has just started and has not looked yet at what runs: what is not there may be
    /// found at any moment, until [`Self::are_known`] is called.
    pub fn unknown() -> Self {
        let routes = Self::default();
        routes.inner.unknown.send_replace(true);
        routes
    }

    /// From now on the table says what runs.
    pub fn are_known(&self) {
        self.inner.unknown.send_replace(false);
    }

    /// How many wait for what runs to be known.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.inner.unknown.receiver_count()
    }

    /// Waits until an environment answers, or until it is known what runs. Done at once when that is known.
    pub(super) async fn found(&self, app: &AppName, environment: Environment) {
        let mut unknown = self.inner.unknown.subscribe();
        while *unknown.borrow_and_update() && !matches!(self.state(app, environment), Some(RouteState::Up(_))) {
            if unknown.changed().await.is_err() {
                return;
            }
        }
    }

    /// Sends an environment's requests to an instance from now on. Answers the one that had them
    /// until now, if that is another.
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

    /// Says why an environment does not answer. Answers the instance that served it until now, if one did.
    /// [`RouteState::Up`] is the same as [`Self::set`].
    pub fn set_state(&self, app: &AppName, environment: Environment, state: RouteState) -> Option<Replaced> {
        match state {
            RouteState::Up(upstream) => self.set(app, environment, upstream),
            RouteState::Starting => self.change(app, environment, |_| Some(Route::Starting)),
            RouteState::Stopped => self.change(app, environment, |_| Some(Route::Stopped)),
        }
    }

    /// Forgets an environment. Answers the instance that served it, if one did.
    pub fn remove(&self, app: &AppName, environment: Environment) -> Option<Replaced> {
        self.change(app, environment, |_| None)
    }

    /// What stands behind an environment's host; none when nothing ever did.
    pub fn state(&self, app: &AppName, environment: Environment) -> Option<RouteState> {
        self.inner.table.load().get(app)?[index(environment)].as_ref().map(Route::state)
    }

    /// All routes, in the order of their names.
    pub fn snapshot(&self) -> Vec<RouteView> {
        let table = self.inner.table.load();
        let mut views: Vec<_> = table
            .iter()
            .flat_map(|(app, pair)| Environment::ALL.into_iter().map(move |e| (app, e, &pair[index(e)])))
            .filter_map(|(app, environment, route)| {
                let route = route.as_ref()?;
                let in_flight = route.live().map_or(0, |live| live.in_flight.load(Ordering::Relaxed));
                Some(RouteView { app: app.clone(), environment, state: route.state(), in_flight })
            })
            .collect();
        views.sort_by(|a, b| (&a.app, a.environment).cmp(&(&b.app, b.environment)));
        views
    }

    /// Closes tunnels and endless streams, which would else hold up the builder's own end.
    pub fn close(&self) {
        self.inner.closing.cancel();
    }

    /// Lets a request in.
    pub(super) fn enter(&self, app: &AppName, environment: Environment) -> Door {
        loop {
            let table = self.inner.table.load();
            match table.get(app).and_then(|pair| pair[index(environment)].as_ref()) {
                // Replaced between the two looks: the table has the next one already.
                Some(Route::Up(live)) => {
                    if let Some(place) = InFlight::enter(live) {
                        return Door::Open(place);
                    }
                }
                Some(Route::Starting) => return Door::Starting,
                Some(Route::Stopped) => return Door::Stopped,
                None => return Door::Unknown,
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
        let mut pair = table.remove(app).unwrap_or_default();
        let before = pair[index(environment)].take();
        let after = next(before.as_ref());
        let replaced = before.as_ref().and_then(Route::live).cloned();
        let kept = after.as_ref().and_then(Route::live);
        let replaced = replaced.filter(|live| !kept.is_some_and(|kept| Arc::ptr_eq(kept, live)));
        pair[index(environment)] = after;
        if pair.iter().any(Option::is_some) {
            table.insert(app.clone(), pair);
        }
        // First the table, then the sign at the old door: who is turned away finds the new one.
        self.inner.table.store(Arc::new(table));
        self.inner.unknown.send_if_modified(|unknown| *unknown);
        replaced.map(|live| {
            live.retire();
            Replaced(live)
        })
    }
}
