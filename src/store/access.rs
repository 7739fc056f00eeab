//! API tokens. Only hashes are kept: who reads the database cannot come in with it.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};

use super::{Store, StoreError, row};
use crate::domain::{AppId, AppName, Scope, TokenGrant, TokenId};

/// Milliseconds within which a second use is not written down.
pub const USE_KEPT_EVERY_MS: i64 = 60_000;

/// An API token as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiToken {
    /// Identifies the token; never reused.
    pub id: TokenId,
    /// What its maker called it.
    pub name: String,
    /// What it may do.
    pub scope: Scope,
    /// The one app that it may do it to; none: all.
    pub app: Option<AppName>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends; none: it has no end.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
}

/// A token that is being made.
#[derive(Debug, Clone)]
pub struct NewApiToken {
    /// What its maker calls it.
    pub name: String,
    /// Of its text.
    pub hash: String,
    /// What it may do.
    pub scope: Scope,
    /// The one app that it may do it to. The token goes with the app, so that an app of the same name is not its own.
    pub app: Option<AppId>,
    /// When it is made.
    pub at: Timestamp,
    /// When it ends; none: it has no end.
    pub expires_at: Option<Timestamp>,
}

const SELECT: &str = "SELECT t.id, t.name, t.scope, t.created_at, t.expires_at, t.last_used_at, a.name AS app
     FROM api_tokens t LEFT JOIN apps a ON a.id = t.app_id";

fn token(r: &rusqlite::Row<'_>) -> rusqlite::Result<ApiToken> {
    Ok(ApiToken {
        id: TokenId(r.get("id")?),
        name: r.get("name")?,
        scope: row::text(r, "scope")?,
        app: row::text_opt(r, "app")?,
        created_at: row::time(r, "created_at")?,
        expires_at: row::time_opt(r, "expires_at")?,
        last_used_at: row::time_opt(r, "last_used_at")?,
    })
}

impl ApiToken {
    /// What it may do.
    pub fn grant(&self) -> TokenGrant {
        TokenGrant { id: self.id, scope: self.scope, app: self.app.clone() }
    }

    /// Whether its end has come.
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }
}

impl Store {
    /// A new API token.
    pub async fn insert_token(&self, new: NewApiToken) -> Result<ApiToken, StoreError> {
        self.write(move |t| {
            t.execute(
                "INSERT INTO api_tokens (name, hash, scope, app_id, created_at, expires_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    new.name,
                    new.hash,
                    new.scope.as_str(),
                    new.app.map(|app| app.0),
                    new.at.as_millisecond(),
                    new.expires_at.map(Timestamp::as_millisecond),
                ],
            )?;
            Ok(t.query_row(&format!("{SELECT} WHERE t.id = ?1"), [t.last_insert_rowid()], token)?)
        })
        .await
    }

    /// The token with this hash, which may have ended; the use of one that has not is kept, to the minute.
    pub async fn use_token(&self, hash: String, at: Timestamp) -> Result<Option<ApiToken>, StoreError> {
        let found = self
            .read(move |c| {
                Ok(c.prepare_cached(&format!("{SELECT} WHERE t.hash = ?1"))?.query_row([hash], token).optional()?)
            })
            .await?;
        let Some(found) = found else { return Ok(None) };
        let is_new = |last: Timestamp| last.as_millisecond() < at.as_millisecond() - USE_KEPT_EVERY_MS;
        if !found.has_ended(at) && found.last_used_at.is_none_or(is_new) {
            let id = found.id.0;
            self.write(move |t| {
                t.execute("UPDATE api_tokens SET last_used_at = ?2 WHERE id = ?1", params![id, at.as_millisecond()])?;
                Ok(())
            })
            .await?;
        }
        Ok(Some(found))
    }

    /// All tokens, newest first.
    pub async fn tokens(&self) -> Result<Vec<ApiToken>, StoreError> {
        self.read(|c| {
            let rows = c
                .prepare_cached(&format!("{SELECT} ORDER BY t.id DESC"))?
                .query_map([], token)?
                .collect::<Result<Vec<_>, _>>()?;
            Ok(rows)
        })
        .await
    }

    /// Takes a token back; one that is gone already is fine.
    pub async fn remove_token(&self, id: TokenId) -> Result<(), StoreError> {
        self.write(move |t| {
            t.execute("DELETE FROM api_tokens WHERE id = ?1", [id.0])?;
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::super::{MIGRATION_FILES, MIGRATIONS};
    use super::*;

    #[tokio::test]
    async fn tokens_end_and_can_be_taken_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).await.expect("opens");
        let at = |millis| Timestamp::from_millisecond(millis).expect("in range");
        let new = NewApiToken {
            name: "CI".into(),
            hash: "h".into(),
            scope: Scope::Write,
            app: None,
            at: at(0),
            expires_at: Some(at(100_000)),
        };
        let token = store.insert_token(new).await.expect("made");
        let used = async |hash: &str, time| store.use_token(hash.to_owned(), at(time)).await.expect("read");
        assert_eq!(used("h", 70_000).await.expect("there").grant(), token.grant());
        assert!(used("x", 70_000).await.is_none());
        assert!(used("h", 100_000).await.expect("there").has_ended(at(100_000)));
        assert_eq!(store.tokens().await.expect("read")[0].last_used_at, Some(at(70_000)));
        store.remove_token(token.id).await.expect("removed");
        assert!(used("h", 70_000).await.is_none());
    }

    #[tokio::test]
    async fn tokens_from_before_keep_working_and_get_an_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut old = Connection::open(folder.path().join("slipway.db")).expect("opens");
        let before = MIGRATION_FILES.iter().position(|(name, _)| *name == "0011_logins").expect("a migration");
        MIGRATIONS.to_version(&mut old, before).expect("migrated");
        old.execute_batch("INSERT INTO api_tokens (name, hash, created_at) VALUES ('CI', 'h', 5)").expect("inserted");
        drop(old);
        let store = Store::open(folder.path()).await.expect("opens");
        let now = crate::domain::Clock::System.now();
        let token = store.use_token("h".into(), now).await.expect("read").expect("there");
        assert_eq!((token.scope, &token.app), (Scope::Admin, &None));
        let days = (token.expires_at.expect("an end").as_second() - now.as_second()) / 86_400;
        assert!((89..=90).contains(&days), "{days}");
    }
}
