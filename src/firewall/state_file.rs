//! A note that a process with the right to set the rules leaves for builders without it.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::Clock;

/// Where the note is. Only root may write there.
pub const STATE_FILE: &str = "/run/slipway/network-rules";
/// A note that is older says nothing: the timer that renews it runs each minute.
const VALID: Duration = Duration::from_mins(3);

/// Notes that the rules with this fingerprint hold now.
pub(super) async fn write(fingerprint: &str) -> std::io::Result<()> {
    let file = std::path::Path::new(STATE_FILE);
    if let Some(folder) = file.parent() {
        tokio::fs::create_dir_all(folder).await?;
    }
    let fresh = file.with_extension("new");
    tokio::fs::write(&fresh, fingerprint).await?;
    tokio::fs::rename(&fresh, file).await
}

/// How long ago the rules with this fingerprint were seen; none where that says nothing about now.
pub(super) async fn age(fingerprint: &str) -> Option<Duration> {
    let kept = tokio::fs::read_to_string(STATE_FILE).await.ok()?;
    let written = tokio::fs::metadata(STATE_FILE).await.ok()?.modified().ok()?;
    // Written by a clock that was ahead: as good as now.
    let age = Clock::System.now().duration_since(Timestamp::try_from(written).ok()?);
    let age = Duration::try_from(age).unwrap_or_default();
    (kept == fingerprint && age <= VALID).then_some(age)
}
