//! The pool: running, queued and rejected work.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinError;

use super::budget::Budget;
use crate::domain::AppName;

/// How long work waits for a slot before its caller gets an error.
const WAIT_MAX: Duration = Duration::from_secs(20);
/// How long a caller waits after the deadline for work to notice it.
const GRACE: Duration = Duration::from_secs(2);

/// The owner of the text. Slots and the queue are limited for each owner.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Owner {
    /// An app's.
    App(AppName),
    /// The user's own, without an app.
    Person,
}

/// Limits of a pool. All are at least 1.
#[derive(Debug, Clone, Copy)]
pub struct PoolBounds {
    /// Concurrent work.
    pub places: usize,
    /// Concurrent work of one owner.
    pub places_each: usize,
    /// Running or queued work.
    pub admitted: usize,
    /// Running or queued work of one owner.
    pub admitted_each: usize,
}

impl PoolBounds {
    /// For CPU-bound work. There are at least two slots, and no single owner can use all of them.
    pub fn of_processors() -> Self {
        let places = std::thread::available_parallelism().map_or(2, |processors| processors.get().max(2));
        Self { places, places_each: (places - 1).min(4), admitted: 256, admitted_each: 64 }
    }

    /// For work that also waits for the disk.
    pub fn of_disk() -> Self {
        let processors = std::thread::available_parallelism().map_or(2, |processors| processors.get().max(2));
        Self { places: processors * 4, places_each: processors * 2, admitted: 1024, admitted_each: 256 }
    }

    /// For work that waits for a slow reader, possibly for long.
    pub fn of_downloads() -> Self {
        Self { places: 8, places_each: 3, admitted: 64, admitted_each: 12 }
    }
}

/// Why there is no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkError {
    /// The pool and its queue are full.
    #[error("Slipway is busy with other work of this kind. Try again in a few seconds.")]
    Busy,
    /// It reached its deadline.
    #[error("This took longer than {} seconds, so it was stopped.", .0.as_secs().max(1))]
    TooSlow(Duration),
    /// It panicked, or the process is ending.
    #[error("{0}")]
    Failed(String),
}

/// Metrics of a pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Running work.
    pub running: u64,
    /// Work that waits for a slot.
    pub waiting: u64,
    /// Work that was rejected since the start.
    pub refused: u64,
    /// Work that reached its deadline since the start.
    pub stopped: u64,
}

/// A pool of slots for work. Cheap to clone.
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

/// Admitted work; its count is released when this is dropped.
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
    /// A pool; its name appears in the log and the metrics.
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

    /// Its metrics.
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

    /// Runs work without side effects. Its budget ends after `time`, counted from when it
    /// has a slot, and when this future is dropped.
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
            // Held until the thread is free again, even if the caller does not wait any more.
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

    /// Runs work that changes something: once it has a slot, it is not cancelled, even if
    /// this future is dropped. Its budget ends after `time`; a change that has started by then is completed.
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

    /// Waits for a slot of the owner, then for a slot of the pool, so that work that waits for its owner's other work
    /// does not block other owners.
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

    /// Work that runs until its budget ends, and reports its start and the reason of its end.
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
    async fn one_owner_cannot_use_all_slots_nor_the_whole_queue() {
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
        assert!(pool.0.owners().each.is_empty(), "owners without work use no memory");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_queue_is_bounded() {
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
    async fn work_ends_at_its_deadline_and_when_its_caller_has_gone() {
        let pool = pool(2, 2, 8, 8);
        let (begun, begins) = mpsc::channel();
        let cancelled = pool.run("late", Owner::Person, Duration::from_millis(20), until_spent(begun.clone())).await;
        assert_eq!(cancelled, Ok(false), "the deadline was reached");
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
        assert!(cancelled, "the caller has gone");
        until(|| pool.numbers().running == 0).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_change_is_not_cancelled() {
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
    async fn a_panic_releases_its_slot() {
        let pool = pool(1, 1, 1, 1);
        let failed = pool.run("panics", Owner::Person, LONG, |_| panic!("no")).await;
        assert!(matches!(failed, Err(WorkError::Failed(why)) if why.contains("panic")));
        assert_eq!(pool.run("works", Owner::Person, LONG, |_| 1).await, Ok(1));
    }
}
