//! State in SQLite: one file for each group of tables, with typed rows.
//!
//! Owns the database file and its migrations. Independent of running jobs, git and
//! engines. One connection writes, so that writers wait for each other instead of failing;
//! others read concurrently (WAL). Each has its own thread: no query runs on an async thread.

pub mod access;
pub mod apps;
pub mod clean_ups;
pub mod events;
pub mod jobs;
pub mod locks;
pub mod measurements;
pub mod messages;
pub mod preview_access;
pub mod releases;
mod retention;
mod row;
pub mod runs;
pub mod server_keys;
pub mod sessions;
pub mod space;
pub mod spending;
pub mod turn_blocks;
pub mod turns;
pub mod versions;

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use rusqlite_migration::{M, Migrations};

use crate::supervision::panic_message;

/// Migrations are only appended.
static MIGRATIONS: LazyLock<Migrations<'static>> =
    LazyLock::new(|| Migrations::new(MIGRATION_FILES.iter().map(|(_, sql)| M::up(sql)).collect()));
/// In this order; a database's `user_version` is the number of applied migrations.
const MIGRATION_FILES: &[(&str, &str)] = &[
    ("0001_start", include_str!("../../migrations/0001_start.sql")),
    ("0002_clean_ups", include_str!("../../migrations/0002_clean_ups.sql")),
    ("0003_agent", include_str!("../../migrations/0003_agent.sql")),
    ("0004_proof", include_str!("../../migrations/0004_proof.sql")),
    ("0005_wire", include_str!("../../migrations/0005_wire.sql")),
    ("0006_turns", include_str!("../../migrations/0006_turns.sql")),
    ("0009_server_keys", include_str!("../../migrations/0009_server_keys.sql")),
    ("0010_preview_access", include_str!("../../migrations/0010_preview_access.sql")),
    ("0011_logins", include_str!("../../migrations/0011_logins.sql")),
    ("0013_turn_origin", include_str!("../../migrations/0013_turn_origin.sql")),
    ("0014_turn_blocks", include_str!("../../migrations/0014_turn_blocks.sql")),
    ("0015_job_retention", include_str!("../../migrations/0015_job_retention.sql")),
    ("0016_fresh_events", include_str!("../../migrations/0016_fresh_events.sql")),
    ("0017_turn_cards", include_str!("../../migrations/0017_turn_cards.sql")),
    ("0018_measurements", include_str!("../../migrations/0018_measurements.sql")),
    ("0020_job_authors", include_str!("../../migrations/0020_job_authors.sql")),
    ("0021_app_titles", include_str!("../../migrations/0021_app_titles.sql")),
];

/// Number of read connections, each of which runs one query at a time.
const READERS: usize = 4;

/// An error of the database.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The row does not exist.
    #[error("not found")]
    NotFound,
    /// It would violate a rule of the table: a duplicate name, an invalid change of state.
    #[error("{0}")]
    Conflict(String),
    /// The question that a turn answers is not open any more.
    #[error("this question is not open any more: it was answered, or another message was sent since")]
    QuestionClosed,
    /// No space left on the data directory's disk.
    #[error("the disk that holds the database is full")]
    DiskFull,
    /// Anything else.
    #[error("database: {0}")]
    Sqlite(Arc<rusqlite::Error>),
    /// The query or change panicked, and was rolled back.
    #[error("a query or change of the database panicked: {0}")]
    Panicked(String),
    /// The file could not be prepared at start-up.
    #[error("database: {0}")]
    Open(String),
    /// The builder is stopping.
    #[error("the database is closed")]
    Closed,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match &error {
            rusqlite::Error::QueryReturnedNoRows => Self::NotFound,
            rusqlite::Error::SqliteFailure(failure, message) => match failure.code {
                rusqlite::ErrorCode::DiskFull => Self::DiskFull,
                rusqlite::ErrorCode::ConstraintViolation => {
                    Self::Conflict(message.clone().unwrap_or_else(|| "a rule of the database".to_owned()))
                }
                _ => Self::Sqlite(error.into()),
            },
            _ => Self::Sqlite(error.into()),
        }
    }
}

impl From<tokio_rusqlite::Error<StoreError>> for StoreError {
    fn from(error: tokio_rusqlite::Error<StoreError>) -> Self {
        match error {
            tokio_rusqlite::Error::Error(inner) => inner,
            _ => Self::Closed,
        }
    }
}

impl StoreError {
    /// Whether a retry may succeed later: the disk is full, cannot be read or written,
    /// or another process has locked the database.
    pub fn is_temporary(&self) -> bool {
        use rusqlite::ErrorCode::{
            CannotOpen, DatabaseBusy, DatabaseLocked, OutOfMemory, PermissionDenied, ReadOnly, SystemIoFailure,
        };
        match self {
            Self::DiskFull => true,
            Self::Sqlite(error) => matches!(
                error.sqlite_error_code(),
                Some(
                    CannotOpen
                        | DatabaseBusy
                        | DatabaseLocked
                        | OutOfMemory
                        | PermissionDenied
                        | ReadOnly
                        | SystemIoFailure
                )
            ),
            _ => false,
        }
    }
}

/// Runs code on a thread of the database and catches panics, which would end the thread.
pub(crate) fn unless_panicked<R>(work: impl FnOnce() -> Result<R, StoreError>) -> Result<R, StoreError> {
    std::panic::catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(StoreError::Panicked(panic_message(panic.as_ref()).to_owned())))
}

/// The database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    writer: tokio_rusqlite::Connection,
    readers: Arc<[Reader]>,
    path: PathBuf,
}

/// A read connection on its own thread.
#[derive(Debug)]
struct Reader {
    connection: tokio_rusqlite::Connection,
    /// Number of queries that run or wait on it.
    queries: AtomicUsize,
}

/// Counts a query on a reader until it is dropped.
struct InHand<'a>(&'a Reader);

impl<'a> InHand<'a> {
    fn new(reader: &'a Reader) -> Self {
        reader.queries.fetch_add(1, Relaxed);
        Self(reader)
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.0.queries.fetch_sub(1, Relaxed);
    }
}

impl Store {
    /// Opens `slipway.db` in `folder`, and creates and migrates it if necessary.
    pub async fn open(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join("slipway.db");
        let writer = connect(&path).await?;
        writer
            .call(|connection| MIGRATIONS.to_latest(connection).map_err(|error| StoreError::Open(error.to_string())))
            .await?;
        let mut readers = Vec::with_capacity(READERS);
        for _ in 0..READERS {
            let connection = connect(&path).await?;
            connection
                .call(|connection| Ok::<_, StoreError>(connection.pragma_update(None, "query_only", true)?))
                .await?;
            readers.push(Reader { connection, queries: AtomicUsize::new(0) });
        }
        Ok(Self { writer, readers: readers.into(), path })
    }

    /// The path of the database.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs a query concurrently with the writer, on the least busy reader. Of equally busy ones the first is used, so that
    /// idle readers cache no pages.
    pub(crate) async fn read<R, F>(&self, query: F) -> Result<R, StoreError>
    where
        R: Send + 'static,
        F: FnOnce(&Connection) -> Result<R, StoreError> + Send + 'static,
    {
        let reader = self.readers.iter().min_by_key(|reader| reader.queries.load(Relaxed)).ok_or(StoreError::Closed)?;
        let _in_hand = InHand::new(reader);
        Ok(reader.connection.call(|connection| unless_panicked(|| query(connection))).await?)
    }

    /// Runs one transaction: all of it is committed, or nothing.
    pub(crate) async fn write<R, F>(&self, change: F) -> Result<R, StoreError>
    where
        R: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<R, StoreError> + Send + 'static,
    {
        let changed = self.writer.call(|connection| {
            unless_panicked(|| {
                let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                let result = change(&transaction)?;
                transaction.commit()?;
                Ok(result)
            })
        });
        Ok(changed.await?)
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.read(|connection| Ok(connection.query_row("SELECT 1", [], |_| Ok(()))?)).await
    }
}

async fn connect(path: &Path) -> Result<tokio_rusqlite::Connection, StoreError> {
    let connection = tokio_rusqlite::Connection::open(path).await?;
    connection
        .call(|connection| {
            // `auto_vacuum` only affects a new database; an old one is rewritten later. The WAL is truncated to
            // 4 MiB after a large change.
            // NORMAL with WAL loses nothing when the process dies; a power cut may lose the last commits, but never corrupts the file.
            connection.execute_batch(
                "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;
                 PRAGMA busy_timeout = 5000; PRAGMA cache_size = -1024; PRAGMA temp_store = MEMORY;
                 PRAGMA journal_size_limit = 4194304;",
            )?;
            connection.set_prepared_statement_cache_capacity(64);
            Ok::<_, StoreError>(())
        })
        .await?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_go_up_from_empty() {
        MIGRATIONS.validate().expect("every migration applies to the one before");
    }

    #[tokio::test]
    async fn a_panic_affects_only_its_own_query_or_transaction() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).await.expect("opens");
        let written = store.write(|t| {
            t.execute("INSERT INTO counters VALUES ('half', 1)", [])?;
            let rows: i64 = t.query_row("SELECT count(*) FROM counters", [], |r| r.get(0))?;
            assert_eq!(rows, 0, "in the middle");
            Ok(())
        });
        assert!(matches!(written.await, Err(StoreError::Panicked(why)) if why.contains("in the middle")));
        let read = store.read::<(), _>(|_| panic!("while reading"));
        assert!(matches!(read.await, Err(StoreError::Panicked(why)) if why == "while reading"));
        let rows: i64 =
            store.read(|c| Ok(c.query_row("SELECT count(*) FROM counters", [], |r| r.get(0))?)).await.expect("read");
        assert_eq!(rows, 0, "it was rolled back");
        store.write(|t| Ok(t.execute("INSERT INTO counters VALUES ('x', 1)", [])?)).await.expect("written");
    }

    #[tokio::test]
    async fn a_slow_query_does_not_delay_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).await.expect("opens");
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let slow = tokio::spawn({
            let store = store.clone();
            async move { store.read(move |_| wait.recv().map_err(|_| StoreError::Closed)).await }
        });
        let is_busy = || store.readers.iter().any(|reader| reader.queries.load(Relaxed) > 0);
        while !is_busy() {
            tokio::task::yield_now().await;
        }
        store.ping().await.expect("another reader answers");
        go.send(()).expect("it waits");
        slow.await.expect("no panic").expect("read");
        assert!(!is_busy());
    }

    #[tokio::test]
    async fn data_survives_reopening() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).await.expect("opens");
        store.write(|t| Ok(t.execute("INSERT INTO counters VALUES ('x', 7)", [])?)).await.expect("written");
        drop(store);
        let store = Store::open(folder.path()).await.expect("opens again");
        let seven: i64 = store
            .read(|c| Ok(c.query_row("SELECT value FROM counters WHERE name = 'x'", [], |r| r.get(0))?))
            .await
            .expect("read");
        assert_eq!(seven, 7);
    }
}
