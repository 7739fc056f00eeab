//! Writes that must not be lost: repeated until the database keeps them.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::store::StoreError;

/// Pause after the first failure; it doubles.
const PAUSE_MIN: Duration = Duration::from_millis(200);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Repeats a write until it succeeds, as after a full disk has been freed, or until `draining` is set.
///
/// # Errors
/// That of the last attempt, when `draining` is set.
pub(super) async fn until_recorded<T, W, F>(
    draining: &CancellationToken,
    what: &'static str,
    mut write: W,
) -> Result<T, StoreError>
where
    W: FnMut() -> F,
    F: Future<Output = Result<T, StoreError>>,
{
    let mut pause = PAUSE_MIN;
    loop {
        let error = match write().await {
            Ok(recorded) => return Ok(recorded),
            Err(error) => error,
        };
        let millis = pause.as_millis();
        tracing::error!(%error, retry_in_ms = millis, "failed to record {what}; retrying");
        if draining.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return Err(error);
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
