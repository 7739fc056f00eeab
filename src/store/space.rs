//! Returns disk space that the database does not need any more to the file system.
//!
//! SQLite keeps the pages of deleted rows in its file unless the database was created with incremental vacuum. New
//! databases are; a database of an earlier version is rewritten once ([`Store::rewrite`]). From then on free pages are
//! released in small steps, between which other writes run ([`Store::release_space`]).

use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::{Store, StoreError};
use crate::domain::JobId;

/// Pages that are released in one step: about a millisecond of work.
const STEP_PAGES: u32 = 256;
/// Free pages that are reserved for new rows: 1 MiB.
const KEPT_PAGES: u64 = 256;
/// `PRAGMA auto_vacuum` of a database that releases pages on request.
const INCREMENTAL: i64 = 2;
/// Free disk space that a rewrite needs, as a multiple of the database's size: the copy, and the WAL.
const REWRITE_SIZES: u64 = 2;

/// Lines that are kept from the beginning of a log that exceeds the current limit.
const FIRST_LINES: u32 = 8_000;
/// Lines that are kept from its end.
const LAST_LINES: u32 = 13_000;
/// Rows that are deleted in one transaction, so that other writes can run in between.
const DELETED_AT_ONCE: u32 = 2_000;

/// The result of a rewrite.
#[derive(Debug, Clone, Copy)]
pub struct Rewritten {
    /// Its duration. Writes were blocked meanwhile.
    pub took: Duration,
    /// Size of the file before, in bytes.
    pub before: u64,
    /// Size of the file after it, in bytes.
    pub after: u64,
}

impl Store {
    /// Whether the database has to be rewritten before it can release space. Asks the writer, because a reader's connection
    /// has the setting from when it was opened.
    pub async fn needs_rewrite(&self) -> Result<bool, StoreError> {
        Ok(self.writer.call(|c| Ok::<_, StoreError>(number(c, "auto_vacuum")? != INCREMENTAL)).await?)
    }

    /// Deletes the middle of unbounded logs of an earlier version; returns the number of deleted lines.
    pub async fn shorten_logs(&self) -> Result<usize, StoreError> {
        let long = self.read(|c| {
            let mut query = c.prepare(
                "SELECT job_id FROM events WHERE name = 'log' AND job_id IS NOT NULL GROUP BY job_id HAVING count(*) > ?1",
            )?;
            let jobs = query.query_map([FIRST_LINES + LAST_LINES], |row| Ok(JobId(row.get(0)?)))?;
            Ok(jobs.collect::<Result<Vec<_>, _>>()?)
        });
        let mut deleted = 0;
        for JobId(job) in long.await? {
            let ends = self.read(move |c| {
                let nth = |order: &str, skip: u32| -> Result<i64, StoreError> {
                    let query = format!(
                        "SELECT id FROM events WHERE job_id = ?1 AND name = 'log' ORDER BY id {order} LIMIT 1 OFFSET ?2"
                    );
                    Ok(c.query_row(&query, (job, skip), |row| row.get(0))?)
                };
                Ok((nth("ASC", FIRST_LINES)?, nth("DESC", LAST_LINES)?))
            });
            let (first, last) = ends.await?;
            loop {
                let some = self.write(move |t| {
                    Ok(t.execute(
                        "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE job_id = ?1 AND name = 'log'
                         AND id BETWEEN ?2 AND ?3 ORDER BY id LIMIT ?4)",
                        (job, first, last, DELETED_AT_ONCE),
                    )?)
                });
                let some = some.await?;
                deleted += some;
                if some == 0 {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        Ok(deleted)
    }

    /// Rewrites the database so that it can release space from now on. Readers continue; writers wait for the end,
    /// which takes about a second for each 15 MiB on a busy server with two processors. If the process dies meanwhile, the database stays unchanged.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`] if there is no space for a second copy; nothing was changed then.
    pub async fn rewrite(&self) -> Result<Rewritten, StoreError> {
        let folder = self.path.parent().unwrap_or(&self.path).to_path_buf();
        let rewritten = self.writer.call(move |c| {
            let before = size(c)?;
            let disk = rustix::fs::statvfs(&folder).map_err(|error| StoreError::Open(error.to_string()))?;
            if disk.f_bavail.saturating_mul(disk.f_frsize) < before.saturating_mul(REWRITE_SIZES) {
                return Err(StoreError::DiskFull);
            }
            let begun = Instant::now();
            // The copy is as large as the database, so it is written to the same disk, not to memory or to the folder of temporary files.
            c.pragma_update(None, "temp_store", "FILE")?;
            c.pragma_update(None, "temp_store_directory", folder.to_string_lossy().as_ref())?;
            c.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
            let done = c.execute_batch("VACUUM");
            c.pragma_update(None, "temp_store_directory", "")?;
            c.pragma_update(None, "temp_store", "MEMORY")?;
            done?;
            checkpoint(c)?;
            Ok::<_, StoreError>(Rewritten { took: begun.elapsed(), before, after: size(c)? })
        });
        Ok(rewritten.await?)
    }

    /// Releases free pages in steps; returns the bytes by which the file became smaller. Does nothing if few pages are
    /// free, or if the database was not rewritten yet.
    pub async fn release_space(&self) -> Result<u64, StoreError> {
        let look = self.writer.call(|c| {
            let can = number(c, "auto_vacuum")? == INCREMENTAL;
            Ok::<_, StoreError>((size(c)?, if can { free_pages(c)? } else { 0 }))
        });
        let (before, free) = look.await?;
        if free <= KEPT_PAGES {
            return Ok(0);
        }
        loop {
            let step = self.writer.call(|c| {
                // The statement returns a row for each page, and releases only as many pages as rows are read.
                let mut step = c.prepare(&format!("PRAGMA incremental_vacuum({STEP_PAGES})"))?;
                let mut rows = step.query([])?;
                while rows.next()?.is_some() {}
                free_pages(c)
            });
            if step.await? == 0 {
                break;
            }
            // Waiting writes run first.
            tokio::task::yield_now().await;
        }
        let after = self.writer.call(|c| {
            checkpoint(c)?;
            size(c)
        });
        Ok(before.saturating_sub(after.await?))
    }
}

fn number(c: &Connection, pragma: &str) -> Result<i64, StoreError> {
    Ok(c.pragma_query_value(None, pragma, |row| row.get(0))?)
}

fn free_pages(c: &Connection) -> Result<u64, StoreError> {
    Ok(u64::try_from(number(c, "freelist_count")?).unwrap_or(0))
}

/// Bytes of the database's pages.
fn size(c: &Connection) -> Result<u64, StoreError> {
    let (pages, bytes) = (number(c, "page_count")?, number(c, "page_size")?);
    Ok(u64::try_from(pages.saturating_mul(bytes)).unwrap_or(0))
}

/// Moves the WAL into the file, as far as readers allow.
fn checkpoint(c: &Connection) -> Result<(), StoreError> {
    Ok(c.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn on_disk(folder: &Path) -> u64 {
        let size = |name: &str| folder.join(name).metadata().map_or(0, |file| file.len());
        size("slipway.db") + size("slipway.db-wal")
    }

    async fn fill(store: &Store) {
        store
            .write(|t| {
                for number in 0..8_000 {
                    let text = "x".repeat(1024);
                    t.execute("INSERT INTO counters VALUES (?1, ?2)", (format!("{number}{text}"), number))?;
                }
                Ok(())
            })
            .await
            .expect("written");
    }

    async fn empty(store: &Store) {
        let left = store.write(|t| Ok(t.execute("DELETE FROM counters WHERE value > 9", [])?)).await;
        assert_eq!(left.expect("deleted"), 7_990);
    }

    async fn rows(store: &Store) -> i64 {
        let count = store.read(|c| Ok(c.query_row("SELECT count(*) FROM counters", [], |row| row.get(0))?));
        count.await.expect("read")
    }

    #[tokio::test]
    async fn deleted_rows_make_the_file_smaller() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).await.expect("opens");
        assert!(!store.needs_rewrite().await.expect("read"), "a new database does not need it");
        fill(&store).await;
        empty(&store).await;
        assert!(on_disk(folder.path()) > 8 * MIB, "{}", on_disk(folder.path()));
        let given = store.release_space().await.expect("given back");
        assert!(given > 8 * MIB, "{given}");
        assert!(on_disk(folder.path()) < MIB, "{}", on_disk(folder.path()));
        assert_eq!(store.release_space().await.expect("nothing to do"), 0);
        assert_eq!(rows(&store).await, 10);
    }

    #[tokio::test]
    async fn the_middle_of_an_unbounded_log_is_deleted() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).await.expect("opens");
        let kept = i64::from(FIRST_LINES + LAST_LINES);
        let insert = |job: i64, from: i64, count: i64| {
            store.write(move |t| {
                for id in from..from + count {
                    t.execute(
                        "INSERT INTO events (id, first_id, app_id, job_id, name, data) VALUES (?1, ?1, 1, ?2, 'log', '{}')",
                        (id, job),
                    )?;
                }
                Ok(())
            })
        };
        insert(1, 1, kept + 5_000).await.expect("kept");
        insert(2, 100_000, 100).await.expect("kept");
        assert_eq!(store.shorten_logs().await.expect("shortened"), 5_000);
        assert_eq!(store.shorten_logs().await.expect("nothing to do"), 0);
        let ends = store.read(move |c| {
            let one = |query: &str| Ok::<i64, StoreError>(c.query_row(query, [], |row| row.get(0))?);
            Ok((
                one("SELECT max(id) FROM events WHERE job_id = 1 AND id < 10000")?,
                one("SELECT min(id) FROM events WHERE job_id = 1 AND id > 10000")?,
                one("SELECT count(*) FROM events")?,
            ))
        });
        let last = kept + 5_000;
        let expected = (i64::from(FIRST_LINES), last - i64::from(LAST_LINES) + 1, kept + 100);
        assert_eq!(ends.await.expect("read"), expected);
    }

    #[tokio::test]
    async fn a_database_of_an_earlier_version_is_rewritten_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let old = Connection::open(folder.path().join("slipway.db")).expect("opens");
        old.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE earlier (text TEXT);").expect("made");
        drop(old);
        let store = Store::open(folder.path()).await.expect("opens");
        assert!(store.needs_rewrite().await.expect("read"));
        fill(&store).await;
        empty(&store).await;
        assert_eq!(store.release_space().await.expect("nothing can be done yet"), 0);
        let rewritten = store.rewrite().await.expect("rewritten");
        assert!(rewritten.before > 8 * MIB && rewritten.after < MIB, "{rewritten:?}");
        assert!(!store.needs_rewrite().await.expect("read"), "it is done");
        assert!(on_disk(folder.path()) < MIB, "{}", on_disk(folder.path()));
        let left: Vec<_> =
            std::fs::read_dir(folder.path()).expect("a folder").map(|file| file.expect("one").file_name()).collect();
        assert!(left.iter().all(|name| name.to_string_lossy().starts_with("slipway.db")), "{left:?}");
        assert_eq!(rows(&store).await, 10);
        // From now on it releases free pages.
        store.write(|t| Ok(t.execute("DELETE FROM counters", [])?)).await.expect("deleted");
        fill(&store).await;
        empty(&store).await;
        assert!(store.release_space().await.expect("given back") > 8 * MIB);
        drop(store);
        assert!(!Store::open(folder.path()).await.expect("opens").needs_rewrite().await.expect("read"));
    }
}
