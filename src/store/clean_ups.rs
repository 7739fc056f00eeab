//! Disk space that was freed by removing old images.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};

use super::{Store, StoreError, row};
use crate::domain::{AppId, Bytes};

/// Disk space that was freed for an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanUp {
    /// Bytes freed by the last clean-up.
    pub freed: Bytes,
    /// Bytes freed by all clean-ups.
    pub total: Bytes,
    /// Time of the last clean-up.
    pub at: Timestamp,
}

impl Store {
    /// Records freed space. Ignored if the app was deleted meanwhile.
    pub async fn note_clean_up(&self, app: AppId, freed: Bytes, at: Timestamp) -> Result<(), StoreError> {
        self.write(move |t| {
            t.execute(
                "INSERT INTO clean_ups (app_id, freed_bytes, total_bytes, cleaned_at)
                 SELECT id, ?2, ?2, ?3 FROM apps WHERE id = ?1
                 ON CONFLICT (app_id) DO UPDATE SET freed_bytes = excluded.freed_bytes,
                     total_bytes = total_bytes + excluded.freed_bytes, cleaned_at = excluded.cleaned_at",
                params![app.0, row::integer(freed.0), at.as_millisecond()],
            )?;
            Ok(())
        })
        .await
    }

    /// Space that was freed for an app, if any.
    pub async fn clean_up(&self, app: AppId) -> Result<Option<CleanUp>, StoreError> {
        self.read(move |c| {
            let found = c.prepare_cached("SELECT * FROM clean_ups WHERE app_id = ?1")?.query_row([app.0], |r| {
                Ok(CleanUp {
                    freed: Bytes(row::count(r, "freed_bytes")?),
                    total: Bytes(row::count(r, "total_bytes")?),
                    at: row::time(r, "cleaned_at")?,
                })
            });
            Ok(found.optional()?)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_clean_up_and_the_sum_are_stored_with_the_app() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).await.expect("opens");
        let at = |millis| Timestamp::from_millisecond(millis).expect("in range");
        let (name, template) = ("tides".parse().expect("a name"), "static-site".parse().expect("a name"));
        let app = store.insert_app(name, template, "x".into(), at(0)).await.expect("inserted").id;
        assert_eq!(store.clean_up(app).await.expect("read"), None);
        for (freed, when) in [(700, 1), (300, 2)] {
            store.note_clean_up(app, Bytes(freed), at(when)).await.expect("noted");
        }
        let noted = CleanUp { freed: Bytes(300), total: Bytes(1000), at: at(2) };
        assert_eq!(store.clean_up(app).await.expect("read"), Some(noted));
        store.remove_app(app, None).await.expect("removed");
        store.note_clean_up(app, Bytes(5), at(3)).await.expect("nobody's");
        assert_eq!(store.clean_up(app).await.expect("read"), None);
    }
}
