//! Shared parts of tests of the whole product: a real builder process, the engine's view of it, its
//! event streams, and clients that count every failed request.

#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod builder;
pub mod engine;
pub mod load;
pub mod stream;

use std::time::Duration;

/// How long anything that builds or starts containers may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// Waits until `holds` gives something; panics with `what` after `limit`.
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    limit: Duration,
    mut holds: impl FnMut() -> F,
) -> T {
    let deadline = tokio::time::Instant::now() + limit;
    loop {
        if let Some(value) = holds().await {
            return value;
        }
        assert!(tokio::time::Instant::now() < deadline, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
