//! Locks of files.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rusqlite::params;

use super::{Store, StoreError, row};
use crate::domain::{AppId, WorkspacePath};

impl Store {
    /// Locks a file. Idempotent.
    pub async fn lock_file(&self, app: AppId, path: WorkspacePath, at: Timestamp) -> Result<(), StoreError> {
        self.write(move |t| {
            t.execute(
                "INSERT OR IGNORE INTO file_locks (app_id, path, created_at) VALUES (?1, ?2, ?3)",
                params![app.0, path.as_str(), at.as_millisecond()],
            )?;
            Ok(())
        })
        .await
    }

    /// Unlocks a file. Idempotent.
    pub async fn unlock_file(&self, app: AppId, path: WorkspacePath) -> Result<(), StoreError> {
        self.write(move |t| {
            t.execute("DELETE FROM file_locks WHERE app_id = ?1 AND path = ?2", params![app.0, path.as_str()])?;
            Ok(())
        })
        .await
    }

    /// The locked files of an app.
    pub async fn locked_files(&self, app: AppId) -> Result<BTreeSet<WorkspacePath>, StoreError> {
        self.read(move |c| {
            let rows = c
                .prepare_cached("SELECT path FROM file_locks WHERE app_id = ?1")?
                .query_map([app.0], |r| row::text(r, "path"))?
                .collect::<Result<BTreeSet<_>, _>>()?;
            Ok(rows)
        })
        .await
    }
}
