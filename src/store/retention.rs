//! Retention: deletes old events.

use rusqlite::{OptionalExtension, params};

use super::{Store, StoreError, turn_blocks};
use crate::domain::{AppId, JobId};

impl Store {
    /// Deletes the events of all except the app's last `keep` jobs. The blocks of their turns are kept.
    pub async fn forget_events(&self, app: AppId, keep: u32) -> Result<(), StoreError> {
        self.write(move |t| {
            let first: Option<i64> = t
                .prepare_cached("SELECT id FROM jobs WHERE app_id = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2")?
                .query_row(params![app.0, keep.saturating_sub(1)], |r| r.get(0))
                .optional()?;
            let Some(first) = first else { return Ok(()) };
            turn_blocks::keep_before(t, app, JobId(first))?;
            t.prepare_cached("DELETE FROM events WHERE app_id = ?1 AND job_id < ?2")?.execute(params![app.0, first])?;
            Ok(())
        })
        .await
    }
}
