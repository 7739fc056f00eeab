//! What the gateway has seen of each app: its last requests, and how many there were and how long they took.
//!
//! Recording takes no lock that readers hold for long, and allocates only the path. Memory is bounded: of each app at
//! most [`REQUESTS_MAX`] requests with at most [`PATH_MAX`] bytes of their paths, of all apps about [`BYTES_MAX`].
//! Contents of requests are never kept: no query, no header, no body.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::{Method, StatusCode, Uri};
use jiff::Timestamp;
use tokio::sync::Notify;

use super::latency::{Counted, Latencies};
use crate::domain::{Clock, Environment};

/// Maximum number of requests that are kept of an app.
pub const REQUESTS_MAX: usize = 250;
/// Maximum length of a kept path in bytes.
pub const PATH_MAX: usize = 160;
/// Bytes of all kept requests together at which an app keeps only [`REQUESTS_FEW`].
pub const BYTES_MAX: usize = 4 * 1024 * 1024;
/// Number of requests that an app keeps when there are many of all apps.
pub const REQUESTS_FEW: usize = 10;

/// A request that an app was asked, without its contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenRequest {
    /// Grows with each request of the app, from one.
    pub number: u64,
    /// When it arrived.
    pub at: Timestamp,
    /// The environment.
    pub environment: Environment,
    /// Its method.
    pub method: Method,
    /// Its path without the query; cut if it is long.
    pub path: Box<str>,
    /// The status of the response.
    pub status: StatusCode,
    /// Time until the response began.
    pub took: Duration,
}

impl SeenRequest {
    /// Bytes that it takes, about.
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.path.len() + 16
    }
}

/// A request before it is answered.
#[derive(Debug)]
pub(super) struct Arrived {
    at: std::time::Instant,
    method: Method,
    path: Box<str>,
}

impl Arrived {
    pub(super) fn new(method: &Method, uri: &Uri) -> Self {
        let path = uri.path();
        let mut end = path.len().min(PATH_MAX);
        while !path.is_char_boundary(end) {
            end -= 1;
        }
        // A method of a client's own may be long.
        let method = if method.as_str().len() > 16 { Method::OPTIONS } else { method.clone() };
        Self { at: std::time::Instant::now(), method, path: path[..end].into() }
    }
}

/// What was seen of one app. Belongs to the app's routes, so it ends with them.
#[derive(Debug)]
pub struct Seen {
    requests: Mutex<Requests>,
    latencies: [Latencies; 2],
    readers: AtomicUsize,
    arrived: Notify,
    /// Bytes of the kept requests of all apps.
    all_bytes: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Requests {
    last: VecDeque<SeenRequest>,
    number: u64,
    bytes: usize,
}

impl Seen {
    /// Nothing was seen yet. `all_bytes` is shared by all apps.
    pub(super) fn new(all_bytes: &Arc<AtomicU64>) -> Self {
        Self {
            requests: Mutex::default(),
            latencies: Default::default(),
            readers: AtomicUsize::new(0),
            arrived: Notify::new(),
            all_bytes: Arc::clone(all_bytes),
        }
    }

    /// Records a response.
    pub(super) fn answered(&self, environment: Environment, arrived: Arrived, status: StatusCode) {
        let took = arrived.at.elapsed();
        self.latencies[index(environment)].count(took, status.is_server_error());
        let at = Clock::System.now().checked_sub(jiff::SignedDuration::try_from(took).unwrap_or_default());
        let Arrived { method, path, .. } = arrived;
        let mut request =
            SeenRequest { number: 0, at: at.unwrap_or_default(), environment, method, path, status, took };
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.number += 1;
        request.number = requests.number;
        let before = requests.bytes;
        requests.bytes += request.bytes();
        requests.last.push_back(request);
        let all = usize::try_from(self.all_bytes.load(Relaxed)).unwrap_or(usize::MAX);
        let kept = if all > BYTES_MAX { REQUESTS_FEW } else { REQUESTS_MAX };
        while requests.last.len() > kept {
            let Some(first) = requests.last.pop_front() else { break };
            requests.bytes -= first.bytes();
        }
        let change = (requests.bytes as u64).wrapping_sub(before as u64);
        if change != 0 {
            self.all_bytes.fetch_add(change, Relaxed);
        }
        drop(requests);
        if self.readers.load(Relaxed) > 0 {
            self.arrived.notify_waiters();
        }
    }

    /// The kept requests after a number, oldest first.
    pub fn after(&self, number: u64) -> Vec<SeenRequest> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.last.iter().filter(|request| request.number > number).cloned().collect()
    }

    /// A reader that waits for requests.
    pub fn reader(self: &Arc<Self>) -> SeenReader {
        self.readers.fetch_add(1, Relaxed);
        SeenReader(Arc::clone(self))
    }

    /// The numbers of an environment since they were last taken.
    pub fn take_counted(&self, environment: Environment) -> Counted {
        self.latencies[index(environment)].take()
    }

    /// The numbers of an environment since they were last taken; they stay.
    pub fn counted(&self, environment: Environment) -> Counted {
        self.latencies[index(environment)].now()
    }
}

impl Drop for Seen {
    fn drop(&mut self) {
        let bytes = self.requests.get_mut().unwrap_or_else(PoisonError::into_inner).bytes;
        self.all_bytes.fetch_sub(bytes as u64, Relaxed);
    }
}

/// Waits for an app's requests. Without readers, a request notifies nobody.
#[derive(Debug)]
pub struct SeenReader(Arc<Seen>);

impl SeenReader {
    /// The requests after a number; waits until there are some.
    pub async fn next(&self, number: u64) -> Vec<SeenRequest> {
        loop {
            let mut arrived = std::pin::pin!(self.0.arrived.notified());
            arrived.as_mut().enable();
            let requests = self.0.after(number);
            if !requests.is_empty() {
                return requests;
            }
            arrived.await;
        }
    }
}

impl Drop for SeenReader {
    fn drop(&mut self) {
        self.0.readers.fetch_sub(1, Relaxed);
    }
}

fn index(environment: Environment) -> usize {
    match environment {
        Environment::Preview => 0,
        Environment::Prod => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(seen: &Seen, path: &str) {
        let arrived = Arrived::new(&Method::GET, &path.parse().expect("a path"));
        seen.answered(Environment::Prod, arrived, StatusCode::OK);
    }

    #[test]
    fn the_last_requests_are_kept_without_their_queries() {
        let all = Arc::default();
        let seen = Seen::new(&all);
        for number in 0..=REQUESTS_MAX {
            ask(&seen, &format!("/tides/{number}?token=secret"));
        }
        let kept = seen.after(0);
        assert_eq!((kept.len(), &*kept[0].path), (REQUESTS_MAX, "/tides/1"));
        assert_eq!(seen.after(250)[0].number, 251);
        assert!(!format!("{kept:?}").contains("secret"));
        assert_eq!(seen.counted(Environment::Prod).requests(), REQUESTS_MAX as u64 + 1);
        assert_eq!(seen.counted(Environment::Preview).requests(), 0);
        drop(seen);
        assert_eq!(all.load(Relaxed), 0);
    }

    #[test]
    fn the_memory_of_all_apps_is_bounded() {
        let all = Arc::default();
        let apps: Vec<_> = (0..200).map(|_| Seen::new(&all)).collect();
        let long = format!("/{}", "x".repeat(4_000));
        for _ in 0..REQUESTS_MAX {
            for seen in &apps {
                ask(seen, &long);
            }
        }
        let bytes = usize::try_from(all.load(Relaxed)).expect("fits");
        assert!(bytes > BYTES_MAX / 2 && bytes < BYTES_MAX + apps.len() * REQUESTS_FEW * 300, "{bytes}");
        assert!(apps.iter().all(|seen| seen.after(0).len() >= REQUESTS_FEW));
    }

    #[tokio::test]
    async fn readers_wait_for_requests() {
        let seen = Arc::new(Seen::new(&Arc::default()));
        let reader = seen.reader();
        let mut next = Box::pin(reader.next(0));
        assert!(futures_util::poll!(&mut next).is_pending());
        ask(&seen, "/one");
        assert_eq!(&*next.await[0].path, "/one");
    }
}
