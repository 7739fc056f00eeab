//! A state file of the process that sets the rules, for builders without this right.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::Clock;

/// The path of the file. Only root may write it.
pub const STATE_FILE: &str = "/run/slipway/network-rules";
/// Maximum age of a valid file: the timer that renews it runs each minute.
const VALID: Duration = Duration::from_mins(3);

/// Records that the rules with this fingerprint are set.
pub(super) async fn write(fingerprint: &str) -> std::io::Result<()> {
    let file = std::path::Path::new(STATE_FILE);
    if let Some(folder) = file.parent() {
        tokio::fs::create_dir_all(folder).await?;
    }
    let fresh = file.with_extension("new");
    tokio::fs::write(&fresh, fingerprint).await?;
    tokio::fs::rename(&fresh, file).await
}

/// Time since the rules with this fingerprint were verified; `None` if the file is too old or for other rules.
pub(super) async fn age(fingerprint: &str) -> Option<Duration> {
    let kept = tokio::fs::read_to_string(STATE_FILE).await.ok()?;
    let written = tokio::fs::metadata(STATE_FILE).await.ok()?.modified().ok()?;
    // The clock was ahead when it was written: treat it as new.
    let age = Clock::System.now().duration_since(Timestamp::try_from(written).ok()?);
    let age = Duration::try_from(age).unwrap_or_default();
    (kept == fingerprint && age <= VALID).then_some(age)
}
