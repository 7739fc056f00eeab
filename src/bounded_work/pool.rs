//! The pool: who runs, who waits, who is turned away.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinError;

use super::budget::Budget;
use crate::domain::AppName;

/// How long work waits for a place before its caller is told that the pool is busy.
const WAIT_MAX: Duration = Duration::from_secs(20);
/// How long after its deadline a caller waits for work to notice that its time is up.
const GRACE: Duration = Duration::from_secs(2);

/// Whose text is worked on. Places and waiting are bounded for each.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Owner {
    /// An app's.
    App(AppName),
    /// The person's own, of no app.
    Person,
}

/// How much a pool does at once. All are at least 1.
#[derive(Debug, Clone, Copy)]
pub struct PoolBounds {
    /// Work that runs at the same time.
    pub places: usize,
    /// Of that, one owner's.
    pub places_each: usize,
    /// Work that runs or waits.
    pub admitted: usize,
    /// Of that, one owner's.
    pub admitted_each: usize,
}

impl PoolBounds {
    /// For work that takes processor time alone. There are at least two places, and nobody gets the last one.
    pub fn of_processors() -> Self {
        let places = std::thread::available_parallelism().map_or(2, |processors| processors.get().max(2));
        Self { places, places_each: (places - 1).min(4), admitted: 256, admitted_each: 64 }
    }

    /// For work that waits for the disk as well.
    pub fn of_disk() -> Self {
        let processors = std::thread::available_parallelism().map_or(2, |processors| processors.get().max(2));
        Self { places: processors * 4, places_each: processors * 2, admitted: 1024, admitted_each: 256 }
    }

    /// For work that waits for somebody to take its result, and may wait long.
    pub fn of_downloads() -> Self {
        Self { places: 8, places_each: 3, admitted: 64, admitted_each: 12 }
    }
}

/// Why there is no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkError {
    /// As much as is allowed runs and waits already.
    #[error("Slipway is busy with other work of this kind. Try again in a few seconds.")]
    Busy,
    /// It was stopped.
    #[error("This took longer than {} seconds, so it was stopped.", .0.as_secs().max(1))]
    TooSlow(Duration),
    /// It panicked, or the process is ending.
    #[error("{0}")]
    Failed(String),
}

/// What a pool is doing and has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Work that runs.
    pub running: u64,
    /// Work that waits for a place.
    pub waiting: u64,
    /// Work that was turned away since the start.
    pub refused: u64,
    /// Work that was stopped at its deadline since the start.
    pub stopped: u64,
}

/// A pool of places for work. Cheap to clone.
#[derive(Debug, Clone)]
pub struct BoundedWork(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    name: &'static str,
    bounds: PoolBounds,
    places: Arc<Semaphore>,
    owners: Mutex<Owners>,
    refused: AtomicU64,
    stopped: AtomicU64,
}

#[derive(Debug, Default)]
struct Owners {
    admitted: usize,
    each: HashMap<Owner, OwnersShare>,
}

#[derive(Debug)]
struct OwnersShare {
    admitted: usize,
    places: Arc<Semaphore>,
}

/// Admitted work; what it counted for is given back when this is dropped.
#[derive(Debug)]
struct Ticket {
    pool: Arc<Pool>,
    owner: Owner,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut owners = self.pool.owners();
        owners.admitted -= 1;
        if let Some(share) = owners.each.get_mut(&self.owner) {
            share.admitted -= 1;
            if share.admitted == 0 {
                owners.each.remove(&self.owner);
            }
        }
    }
}

/// Cancels a budget when the future that holds it is dropped.
struct CancelOnDrop(Budget);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Pool {
    fn owners(&self) -> std::sync::MutexGuard<'_, Owners> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BoundedWork {
    /// A pool; its name stands in the log and the metrics.
    pub fn new(name: &'static str, bounds: PoolBounds) -> Self {
        Self(Arc::new(Pool {
            name,
            bounds,
            places: Arc::new(Semaphore::new(bounds.places.max(1))),
            owners: Mutex::default(),
            refused: AtomicU64::new(0),
            stopped: AtomicU64::new(0),
        }))
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// What it is doing and has done.
    pub fn numbers(&self) -> Numbers {
        let admitted = self.0.owners().admitted as u64;
        let running = (self.0.bounds.places.max(1) - self.0.places.available_permits()) as u64;
        Numbers {
            running,
            waiting: admitted.saturating_sub(running),
            refused: self.0.refused.load(Ordering::Relaxed),
            stopped: self.0.stopped.load(Ordering::Relaxed),
        }
    }

    /// Runs work that only its result matters of. Its budget is spent after `time`, counted from when it
    /// has a place, and when this future is dropped.
    pub async fn run<R: Send + 'static>(
        &self,
        name: &'static str,
        owner: Owner,
        time: Duration,
        work: impl FnOnce(&Budget) -> R + Send + 'static,
    ) -> Result<R, WorkError> {
        let places = self.places(name, owner).await?;
        let budget = Budget::of(time);
        let _cancel = CancelOnDrop(budget.clone());
        let pool = self.0.clone();
        let running = tokio::task::spawn_blocking(move || {
            // Held until the thread is free again, whether or not anybody waits for it.
            let _places = places;
            let result = work(&budget);
            if budget.is_spent() && !budget.is_cancelled() {
                pool.stopped.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(pool = pool.name, work = name, "work on foreign text reached its time limit");
            }
            result
        });
        match tokio::time::timeout(time + GRACE, running).await {
            Ok(ended) => ended.map_err(|error| failed(&error)),
            Err(_) => Err(WorkError::TooSlow(time)),
        }
    }

    /// Runs work that changes something: once it has a place it is not abandoned in the middle, even if
    /// this future is dropped. Its budget is spent after `time`; what it has begun to change by then it ends.
    pub async fn run_to_end<R: Send + 'static>(
        &self,
        name: &'static str,
        owner: Owner,
        time: Duration,
        work: impl FnOnce(&Budget) -> R + Send + 'static,
    ) -> Result<R, WorkError> {
        let places = self.places(name, owner).await?;
        let running = tokio::task::spawn_blocking(move || {
            let _places = places;
            work(&Budget::of(time))
        });
        running.await.map_err(|error| failed(&error))
    }

    /// Waits for a place among the owner's own, then among all: what waits for its owner's other work
    /// stands in nobody else's way.
    async fn places(&self, name: &'static str, owner: Owner) -> Result<impl Send + use<>, WorkError> {
        let Some((ticket, own)) = self.admit(&owner) else { return Err(self.refuse(name, &owner)) };
        let all = self.0.places.clone();
        let wait = async {
            let own = own.acquire_owned().await.ok()?;
            Some((ticket, own, all.acquire_owned().await.ok()?))
        };
        match tokio::time::timeout(WAIT_MAX, wait).await {
            Ok(Some(places)) => Ok(places),
            Ok(None) | Err(_) => Err(self.refuse(name, &owner)),
        }
    }

    fn admit(&self, owner: &Owner) -> Option<(Ticket, Arc<Semaphore>)> {
        let bounds = self.0.bounds;
        let mut owners = self.0.owners();
        let own = owners.each.get(owner).map_or(0, |share| share.admitted);
        if owners.admitted >= bounds.admitted.max(1) || own >= bounds.admitted_each.max(1) {
            return None;
        }
        owners.admitted += 1;
        let share = owners.each.entry(owner.clone()).or_insert_with(|| OwnersShare {
            admitted: 0,
            places: Arc::new(Semaphore::new(bounds.places_each.max(1))),
        });
        share.admitted += 1;
        let places = share.places.clone();
        Some((Ticket { pool: self.0.clone(), owner: owner.clone() }, places))
    }

    fn refuse(&self, name: &'static str, owner: &Owner) -> WorkError {
        self.0.refused.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(pool = self.0.name, work = name, ?owner, "the pool for work on foreign text is full");
        WorkError::Busy
    }
}

fn failed(error: &JoinError) -> WorkError {
    WorkError::Failed(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    fn pool(places: usize, places_each: usize, admitted: usize, admitted_each: usize) -> BoundedWork {
        BoundedWork::new("test", PoolBounds { places, places_each, admitted, admitted_each })
    }

    fn app(name: &str) -> Owner {
        Owner::App(name.parse().unwrap())
    }

    /// Work that runs until its budget is spent, and says when it begins and why it ends.
    fn until_spent(begun: mpsc::Sender<()>) -> impl FnOnce(&Budget) -> bool + Send {
        move |budget| {
            begun.send(()).unwrap();
            while !budget.is_spent() {
                std::thread::yield_now();
            }
            budget.is_cancelled()
        }
    }

    async fn until(condition: impl Fn() -> bool) {
        while !condition() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_owner_cannot_take_the_last_place_nor_all_of_the_queue() {
        let pool = pool(2, 1, 8, 3);
        let (begun, begins) = mpsc::channel();
        let start = |owner: Owner| {
            let (pool, begun) = (pool.clone(), begun.clone());
            tokio::spawn(async move { pool.run("spin", owner, LONG, until_spent(begun)).await })
        };
        let first: Vec<_> = (0..3).map(|_| start(app("greedy"))).collect();
        until(|| pool.numbers() == Numbers { running: 1, waiting: 2, refused: 0, stopped: 0 }).await;
        begins.recv().unwrap();
        assert_eq!(pool.run("more", app("greedy"), LONG, |_| ()).await, Err(WorkError::Busy));
        assert_eq!(pool.run("other", app("other"), LONG, |_| 7).await, Ok(7), "the other's work runs beside it");
        for task in &first {
            task.abort();
        }
        until(|| pool.numbers().running + pool.numbers().waiting == 0).await;
        assert_eq!(pool.numbers().refused, 1);
        assert_eq!(pool.run("again", app("greedy"), LONG, |_| 8).await, Ok(8));
        assert!(pool.0.owners().each.is_empty(), "nothing is remembered of owners without work");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_queue_is_bounded_in_all() {
        let pool = pool(1, 1, 2, 2);
        let (begun, begins) = mpsc::channel();
        let work: Vec<_> = ["app-a", "app-b"]
            .map(|name| {
                let (pool, begun) = (pool.clone(), begun.clone());
                tokio::spawn(async move { pool.run("spin", app(name), LONG, until_spent(begun)).await })
            })
            .into();
        until(|| pool.numbers().waiting == 1).await;
        begins.recv().unwrap();
        assert_eq!(pool.run("more", app("app-c"), LONG, |_| ()).await, Err(WorkError::Busy));
        work.iter().for_each(tokio::task::JoinHandle::abort);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn work_ends_at_its_deadline_and_when_nobody_waits() {
        let pool = pool(2, 2, 8, 8);
        let (begun, begins) = mpsc::channel();
        let cancelled = pool.run("late", Owner::Person, Duration::from_millis(20), until_spent(begun.clone())).await;
        assert_eq!(cancelled, Ok(false), "its time was up");
        assert_eq!(pool.numbers().stopped, 1);
        begins.recv().unwrap();
        let (told, was_cancelled) = mpsc::channel();
        let waiting = tokio::spawn({
            let (pool, work) = (pool.clone(), until_spent(begun));
            async move { pool.run("left", Owner::Person, LONG, move |budget| told.send(work(budget))).await }
        });
        tokio::task::spawn_blocking(move || begins.recv().unwrap()).await.unwrap();
        waiting.abort();
        let cancelled = tokio::task::spawn_blocking(move || was_cancelled.recv().unwrap()).await.unwrap();
        assert!(cancelled, "whoever waited is gone");
        until(|| pool.numbers().running == 0).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_change_is_not_abandoned_in_the_middle() {
        let pool = pool(1, 1, 8, 8);
        let (begun, begins) = mpsc::channel();
        let (go, goes) = mpsc::channel::<()>();
        let (told, ended) = mpsc::channel();
        let waiting = tokio::spawn({
            let pool = pool.clone();
            async move {
                let work = move |budget: &Budget| {
                    begun.send(()).unwrap();
                    goes.recv().unwrap();
                    told.send(budget.is_spent()).unwrap();
                };
                pool.run_to_end("change", Owner::Person, LONG, work).await
            }
        });
        tokio::task::spawn_blocking(move || begins.recv().unwrap()).await.unwrap();
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
        go.send(()).unwrap();
        assert!(!tokio::task::spawn_blocking(move || ended.recv().unwrap()).await.unwrap());
    }

    #[tokio::test]
    async fn a_panic_gives_its_place_back() {
        let pool = pool(1, 1, 1, 1);
        let failed = pool.run("panics", Owner::Person, LONG, |_| panic!("no")).await;
        assert!(matches!(failed, Err(WorkError::Failed(why)) if why.contains("panic")));
        assert_eq!(pool.run("works", Owner::Person, LONG, |_| 1).await, Ok(1));
    }
}
