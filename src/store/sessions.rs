//! Sessions of browsers, and the verifier of the admin password. Only hashes of secrets are stored.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};

use super::{Store, StoreError, row};
use crate::domain::SessionId;

/// Data of a new session.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// The hash of its secret.
    pub hash: String,
    /// When it starts.
    pub at: Timestamp,
    /// Its expiry.
    pub until: Timestamp,
    /// The client's address.
    pub address: String,
    /// The user agent.
    pub browser: String,
}

/// A session in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id; never reused.
    pub id: SessionId,
    /// When it started.
    pub created_at: Timestamp,
    /// When it was last used, to the minute.
    pub last_used_at: Timestamp,
    /// Its expiry.
    pub expires_at: Timestamp,
    /// The address of its last use.
    pub address: String,
    /// The user agent.
    pub browser: String,
}

/// The session of a cookie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundSession {
    /// Its id; never reused.
    pub id: SessionId,
    /// The hash of its secret.
    pub hash: String,
    /// When it was last used, to the minute.
    pub last_used_at: Timestamp,
    /// The address of its last use.
    pub address: String,
}

impl Store {
    /// Inserts a session, and deletes expired ones.
    pub async fn insert_session(&self, new: NewSession) -> Result<SessionId, StoreError> {
        self.write(move |t| {
            let at = new.at.as_millisecond();
            t.execute("DELETE FROM sessions WHERE expires_at <= ?1", [at])?;
            let id: i64 = t.query_row(
                "INSERT INTO counters VALUES ('sessions', 1)
                 ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value",
                [],
                |r| r.get(0),
            )?;
            t.execute(
                "INSERT INTO sessions (id, hash, created_at, last_used_at, expires_at, address, browser)
                 VALUES (?1, ?2, ?3, ?3, ?4, ?5, ?6)",
                params![id, new.hash, at, new.until.as_millisecond(), new.address, new.browser],
            )?;
            Ok(SessionId(id))
        })
        .await
    }

    /// The session with one of these hashes that is valid at `at`; the newest if there are several.
    pub async fn find_session(&self, hashes: Vec<String>, at: Timestamp) -> Result<Option<FoundSession>, StoreError> {
        let hashes = row::to_json(&hashes);
        self.read(move |c| {
            Ok(c.prepare_cached(
                "SELECT id, hash, last_used_at, address FROM sessions
                 WHERE hash IN (SELECT value FROM json_each(?1)) AND expires_at > ?2 ORDER BY id DESC LIMIT 1",
            )?
            .query_row(params![hashes, at.as_millisecond()], |r| {
                Ok(FoundSession {
                    id: SessionId(r.get("id")?),
                    hash: r.get("hash")?,
                    last_used_at: row::time(r, "last_used_at")?,
                    address: r.get("address")?,
                })
            })
            .optional()?)
        })
        .await
    }

    /// Records the time and address of a session's use.
    pub async fn touch_session(&self, id: SessionId, at: Timestamp, address: String) -> Result<(), StoreError> {
        self.write(move |t| {
            t.execute(
                "UPDATE sessions SET last_used_at = ?2, address = ?3 WHERE id = ?1",
                params![id.0, at.as_millisecond(), address],
            )?;
            Ok(())
        })
        .await
    }

    /// The sessions that are valid at `at`, most recently used first.
    pub async fn sessions(&self, at: Timestamp) -> Result<Vec<Session>, StoreError> {
        self.read(move |c| {
            let rows = c
                .prepare_cached(
                    "SELECT id, created_at, last_used_at, expires_at, address, browser FROM sessions
                     WHERE expires_at > ?1 ORDER BY last_used_at DESC, id DESC",
                )?
                .query_map([at.as_millisecond()], |r| {
                    Ok(Session {
                        id: SessionId(r.get("id")?),
                        created_at: row::time(r, "created_at")?,
                        last_used_at: row::time(r, "last_used_at")?,
                        expires_at: row::time(r, "expires_at")?,
                        address: r.get("address")?,
                        browser: r.get("browser")?,
                    })
                })?
                .collect::<Result<Vec<_>, _>>()?;
            Ok(rows)
        })
        .await
    }

    /// Ends a session. Idempotent.
    pub async fn end_session(&self, id: SessionId) -> Result<(), StoreError> {
        self.write(move |t| {
            t.execute("DELETE FROM sessions WHERE id = ?1", [id.0])?;
            Ok(())
        })
        .await
    }

    /// Ends the sessions of these hashes.
    pub async fn end_sessions_of(&self, hashes: Vec<String>) -> Result<(), StoreError> {
        let hashes = row::to_json(&hashes);
        self.write(move |t| {
            t.execute("DELETE FROM sessions WHERE hash IN (SELECT value FROM json_each(?1))", [hashes])?;
            Ok(())
        })
        .await
    }

    /// Ends all sessions and returns their number.
    pub async fn end_all_sessions(&self) -> Result<usize, StoreError> {
        self.write(|t| Ok(t.execute("DELETE FROM sessions", [])?)).await
    }

    /// Stores the verifier of the password. If the password has changed since the last start, all sessions end in the same
    /// transaction; returns their number then.
    pub async fn keep_password_verifier(
        &self,
        verifier: Option<String>,
        at: Timestamp,
    ) -> Result<Option<usize>, StoreError> {
        self.write(move |t| {
            let before: Option<String> =
                t.query_row("SELECT verifier FROM admin_password", [], |r| r.get(0)).optional()?;
            if before == verifier {
                return Ok(None);
            }
            t.execute("DELETE FROM admin_password", [])?;
            if let Some(verifier) = verifier {
                t.execute(
                    "INSERT INTO admin_password (only_row, verifier, changed_at) VALUES (1, ?1, ?2)",
                    params![verifier, at.as_millisecond()],
                )?;
            }
            Ok(Some(t.execute("DELETE FROM sessions", [])?))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sessions_are_found_listed_and_ended() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).await.expect("opens");
        let at = |millis| Timestamp::from_millisecond(millis).expect("in range");
        let new = |hash: &str| NewSession {
            hash: hash.into(),
            at: at(0),
            until: at(100),
            address: "192.0.2.1".into(),
            browser: "Firefox".into(),
        };
        let first = store.insert_session(new("s")).await.expect("begun");
        let found = async |hashes: &[&str], time| {
            let hashes = hashes.iter().map(ToString::to_string).collect();
            store.find_session(hashes, at(time)).await.expect("read").map(|found| found.id)
        };
        let mut many: Vec<String> = (0..2000).map(|n| format!("tossed {n}")).collect();
        many.push("s".into());
        assert_eq!(store.find_session(many, at(1)).await.expect("read").map(|found| found.id), Some(first));
        assert_eq!(found(&["t", "s"], 99).await, Some(first));
        assert_eq!((found(&["s"], 100).await, found(&["t"], 1).await), (None, None));

        store.touch_session(first, at(50), "192.0.2.2".into()).await.expect("kept");
        let second = store.insert_session(new("t")).await.expect("begun");
        let listed = store.sessions(at(60)).await.expect("read");
        assert_eq!(listed.iter().map(|session| session.id).collect::<Vec<_>>(), [first, second]);
        assert_eq!((listed[0].address.as_str(), listed[0].last_used_at), ("192.0.2.2", at(50)));
        store.end_session(second).await.expect("ended");
        assert_eq!(found(&["t"], 1).await, None);
        let third = store.insert_session(new("u")).await.expect("begun");
        assert!(third > second, "ids are not reused");
        assert_eq!(store.end_all_sessions().await.expect("ended"), 2);

        store.insert_session(new("v")).await.expect("begun");
        let keep = async |verifier: Option<&str>| {
            store.keep_password_verifier(verifier.map(str::to_owned), at(1)).await.expect("kept")
        };
        assert_eq!(keep(Some("one")).await, Some(1), "there was no verifier before");
        store.insert_session(new("w")).await.expect("begun");
        assert_eq!(keep(Some("one")).await, None);
        assert!(found(&["w"], 1).await.is_some());
        assert_eq!((keep(Some("two")).await, keep(None).await), (Some(1), Some(0)));
        assert_eq!(keep(None).await, None);
    }
}
