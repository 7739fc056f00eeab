//! API tokens. Only hashes are stored: a copy of the database gives no access.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};

use super::{Store, StoreError, row};
use crate::domain::{AppId, AppName, Scope, TokenGrant, TokenId};

/// Milliseconds within which a second use is not recorded.
pub const USE_KEPT_EVERY_MS: i64 = 60_000;

/// An API token in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiToken {
    /// Its id; never reused.
    pub id: TokenId,
    /// Its name.
    pub name: String,
    /// Its scope.
    pub scope: Scope,
    /// The only app that it can access; `None`: all apps.
    pub app: Option<AppName>,
    /// Time of creation.
    pub created_at: Timestamp,
    /// Its expiry; `None`: it does not expire.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
}

/// Data of a new token.
#[derive(Debug, Clone)]
pub struct NewApiToken {
    /// Its name.
    pub name: String,
    /// The hash of its text.
    pub hash: String,
    /// Its scope.
    pub scope: Scope,
    /// The only app that it can access. The token is removed with the app, so it never gives access to a later app of the same name.
    pub app: Option<AppId>,
    /// Time of creation.
    pub at: Timestamp,
    /// Its expiry; `None`: it does not expire.
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
    /// Its rights.
    pub fn grant(&self) -> TokenGrant {
        TokenGrant { id: self.id, scope: self.scope, app: self.app.clone() }
    }

    /// Whether it has expired.
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }
}

impl Store {
    /// Inserts an API token.
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

    /// The token with this hash, which may have expired; the use of a valid token is recorded, to the minute.
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

    /// Revokes a token. Idempotent.
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
    async fn tokens_expire_and_can_be_revoked() {
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
    async fn tokens_from_earlier_versions_keep_working_and_get_an_expiry() {
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
