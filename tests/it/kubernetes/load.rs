//! Visitors of an app, while it is deployed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::stage::http;

/// How often each visitor comes. A closed connection keeps its port for a minute, and a machine has 28,000 of them.
const EVERY: Duration = Duration::from_millis(10);

/// The responses that the visitors got.
pub struct Outcome {
    /// Requests.
    pub sent: u64,
    /// Why some of them failed.
    pub failures: Vec<String>,
}

/// Asks an address over and over, each time over a new connection, until it is dropped.
pub struct Load {
    ends: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    failed: Arc<std::sync::Mutex<Vec<String>>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    /// Begins with it.
    pub fn on(url: &str) -> Self {
        let (ends, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let failed = Arc::new(std::sync::Mutex::new(Vec::new()));
        let tasks = (0..4).map(|_| {
            let (ends, sent, failed, url) = (ends.clone(), sent.clone(), failed.clone(), url.to_owned());
            tokio::spawn(async move {
                let client = http();
                let mut pace = interval(EVERY);
                pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
                while !ends.load(Ordering::Relaxed) {
                    pace.tick().await;
                    let answer = client.get(&url).send().await.and_then(reqwest::Response::error_for_status);
                    let read = match answer {
                        Ok(answer) => answer.bytes().await.map(drop),
                        Err(error) => Err(error),
                    };
                    sent.fetch_add(1, Ordering::Relaxed);
                    if let Err(error) = read {
                        failed.lock().expect("no panic").push(format!("{error:?}"));
                    }
                }
            })
        });
        let tasks = tasks.collect();
        Self { ends, sent, failed, tasks }
    }

    /// Requests that were answered so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Stops the load and returns the result.
    pub async fn end(mut self) -> Outcome {
        self.ends.store(true, Ordering::Relaxed);
        for task in std::mem::take(&mut self.tasks) {
            task.await.expect("no panic");
        }
        let failures = std::mem::take(&mut *self.failed.lock().expect("no panic"));
        Outcome { sent: self.sent(), failures }
    }
}
