//! Sessions and API tokens. Only hashes are kept: who reads the database cannot log in with it.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};

use super::{Store, StoreError, row};

/// An API token as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiToken {
    /// For ever.
    pub id: i64,
    /// What its maker called it.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
}

impl Store {
    /// Begins a session, and forgets those that have run out.
    pub async fn insert_session(&self, hash: String, at: Timestamp, until: Timestamp) -> Result<(), StoreError> {
        self.write(move |t| {
            t.execute("DELETE FROM sessions WHERE expires_at < ?1", [at.as_millisecond()])?;
            t.execute(
                "INSERT INTO sessions (hash, created_at, expires_at) VALUES (?1, ?2, ?3)",
                params![hash, at.as_millisecond(), until.as_millisecond()],
            )?;
            Ok(())
        })
        .await
    }

    /// Whether this session goes on at `at`.
    pub async fn session_is_valid(&self, hash: String, at: Timestamp) -> Result<bool, StoreError> {
        self.read(move |c| {
            Ok(c.prepare_cached("SELECT EXISTS (SELECT 1 FROM sessions WHERE hash = ?1 AND expires_at > ?2)")?
                .query_row(params![hash, at.as_millisecond()], |r| r.get(0))?)
        })
        .await
    }

    /// Ends a session; one that is gone already is fine.
    pub async fn remove_session(&self, hash: String) -> Result<(), StoreError> {
        self.write(move |t| {
            t.execute("DELETE FROM sessions WHERE hash = ?1", [hash])?;
            Ok(())
        })
        .await
    }

    /// A new API token.
    pub async fn insert_token(&self, name: String, hash: String, at: Timestamp) -> Result<ApiToken, StoreError> {
        self.write(move |t| {
            t.execute(
                "INSERT INTO api_tokens (name, hash, created_at) VALUES (?1, ?2, ?3)",
                params![name, hash, at.as_millisecond()],
            )?;
            Ok(ApiToken { id: t.last_insert_rowid(), name, created_at: at, last_used_at: None })
        })
        .await
    }

    /// Whether a token with this hash exists; its last use is kept to the minute.
    pub async fn use_token(&self, hash: String, at: Timestamp) -> Result<bool, StoreError> {
        let lookup = hash.clone();
        let found: Option<Option<i64>> = self
            .read(move |c| {
                Ok(c.prepare_cached("SELECT last_used_at FROM api_tokens WHERE hash = ?1")?
                    .query_row([lookup], |r| r.get(0))
                    .optional()?)
            })
            .await?;
        let Some(last) = found else { return Ok(false) };
        let minute = 60_000;
        if last.is_none_or(|last| last < at.as_millisecond() - minute) {
            self.write(move |t| {
                t.execute(
                    "UPDATE api_tokens SET last_used_at = ?2 WHERE hash = ?1",
                    params![hash, at.as_millisecond()],
                )?;
                Ok(())
            })
            .await?;
        }
        Ok(true)
    }

    /// All tokens, newest first.
    pub async fn tokens(&self) -> Result<Vec<ApiToken>, StoreError> {
        self.read(|c| {
            let rows = c
                .prepare_cached("SELECT id, name, created_at, last_used_at FROM api_tokens ORDER BY id DESC")?
                .query_map([], |r| {
                    Ok(ApiToken {
                        id: r.get("id")?,
                        name: r.get("name")?,
                        created_at: row::time(r, "created_at")?,
                        last_used_at: row::time_opt(r, "last_used_at")?,
                    })
                })?
                .collect::<Result<Vec<_>, _>>()?;
            Ok(rows)
        })
        .await
    }

    /// Takes a token back; one that is gone already is fine.
    pub async fn remove_token(&self, id: i64) -> Result<(), StoreError> {
        self.write(move |t| {
            t.execute("DELETE FROM api_tokens WHERE id = ?1", [id])?;
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sessions_run_out_and_tokens_can_be_taken_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).await.expect("opens");
        let at = |millis| Timestamp::from_millisecond(millis).expect("in range");
        store.insert_session("s".into(), at(0), at(100)).await.expect("begun");
        assert!(store.session_is_valid("s".into(), at(99)).await.expect("read"));
        assert!(!store.session_is_valid("s".into(), at(100)).await.expect("read"));
        assert!(!store.session_is_valid("t".into(), at(1)).await.expect("read"));

        let token = store.insert_token("CI".into(), "h".into(), at(0)).await.expect("made");
        assert!(store.use_token("h".into(), at(70_000)).await.expect("read"));
        assert!(!store.use_token("x".into(), at(70_000)).await.expect("read"));
        assert_eq!(store.tokens().await.expect("read")[0].last_used_at, Some(at(70_000)));
        store.remove_token(token.id).await.expect("removed");
        assert!(!store.use_token("h".into(), at(70_000)).await.expect("read"));
    }
}
