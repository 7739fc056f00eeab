//! Access to drafts and previews: share links, and passes of browsers. Only hashes of their secrets are
//! stored.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};

use super::{Store, StoreError, row};
use crate::browser_errors::Place;
use crate::domain::{AppId, AppName};

/// A share link in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreviewLink {
    /// Its id; never reused.
    pub id: i64,
    /// The place that it opens.
    pub place: Place,
    /// Time of creation.
    pub created_at: Timestamp,
    /// Its expiry.
    pub expires_at: Timestamp,
}

/// The reason for a pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PassSource {
    /// The session with this hash: the pass ends with it.
    Session(String),
    /// The share link with this id: the pass ends with it.
    Link(i64),
}

impl Store {
    /// Inserts a share link, unless the app already has `max`. Deletes expired links.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if there are `max`.
    pub async fn insert_preview_link(
        &self,
        app: AppId,
        place: Place,
        hash: String,
        (created_at, expires_at): (Timestamp, Timestamp),
        max: u32,
    ) -> Result<PreviewLink, StoreError> {
        self.write(move |t| {
            t.execute("DELETE FROM preview_links WHERE expires_at <= ?1", [created_at.as_millisecond()])?;
            let there: u32 =
                t.query_row("SELECT count(*) FROM preview_links WHERE app_id = ?1", [app.0], |r| r.get(0))?;
            if there >= max {
                return Err(StoreError::Conflict(format!("this app already has {there} links")));
            }
            t.execute(
                "INSERT INTO preview_links (app_id, place, hash, created_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![app.0, place.as_str(), hash, created_at.as_millisecond(), expires_at.as_millisecond()],
            )?;
            Ok(PreviewLink { id: t.last_insert_rowid(), place, created_at, expires_at })
        })
        .await
    }

    /// An app's share links that are valid at `at`, newest first.
    pub async fn preview_links(&self, app: AppId, at: Timestamp) -> Result<Vec<PreviewLink>, StoreError> {
        self.read(move |c| {
            let rows = c
                .prepare_cached(
                    "SELECT id, place, created_at, expires_at FROM preview_links
                     WHERE app_id = ?1 AND expires_at > ?2 ORDER BY id DESC",
                )?
                .query_map(params![app.0, at.as_millisecond()], link)?
                .collect::<Result<Vec<_>, _>>()?;
            Ok(rows)
        })
        .await
    }

    /// The share link with this hash, if it opens this place of this app at `at`.
    pub async fn preview_link(
        &self,
        hash: String,
        app: AppName,
        place: Place,
        at: Timestamp,
    ) -> Result<Option<PreviewLink>, StoreError> {
        self.read(move |c| {
            Ok(c.prepare_cached(
                "SELECT l.id, l.place, l.created_at, l.expires_at FROM preview_links l JOIN apps a ON a.id = l.app_id
                 WHERE l.hash = ?1 AND a.name = ?2 AND l.place = ?3 AND l.expires_at > ?4",
            )?
            .query_row(params![hash, app.as_str(), place.as_str(), at.as_millisecond()], link)
            .optional()?)
        })
        .await
    }

    /// Revokes a share link of an app, and the passes that were issued for it. Idempotent.
    pub async fn remove_preview_link(&self, app: AppId, id: i64) -> Result<(), StoreError> {
        self.write(move |t| {
            t.execute("DELETE FROM preview_links WHERE app_id = ?1 AND id = ?2", params![app.0, id])?;
            Ok(())
        })
        .await
    }

    /// Inserts a pass for a place of an app. Deletes expired passes; `false` if the app does not exist.
    pub async fn insert_preview_pass(
        &self,
        hash: String,
        app: AppName,
        place: Place,
        source: PassSource,
        (at, until): (Timestamp, Timestamp),
    ) -> Result<bool, StoreError> {
        let (session, link) = match source {
            PassSource::Session(hash) => (Some(hash), None),
            PassSource::Link(id) => (None, Some(id)),
        };
        self.write(move |t| {
            t.execute(
                "DELETE FROM preview_passes WHERE expires_at <= ?1
                 OR (session IS NOT NULL AND session NOT IN (SELECT hash FROM sessions))",
                [at.as_millisecond()],
            )?;
            let made = t.execute(
                "INSERT INTO preview_passes (hash, app_id, place, session, link, expires_at)
                 SELECT ?1, id, ?3, ?4, ?5, ?6 FROM apps WHERE name = ?2",
                params![hash, app.as_str(), place.as_str(), session, link, until.as_millisecond()],
            )?;
            Ok(made == 1)
        })
        .await
    }

    /// Whether one of these hashes is a valid pass for a place of an app at `at`, and its session or link still exists.
    pub async fn has_preview_pass(
        &self,
        hashes: &[String],
        app: AppName,
        place: Place,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let hashes = serde_json::to_string(hashes).unwrap_or_default();
        self.read(move |c| {
            Ok(c.prepare_cached(
                "SELECT EXISTS (
                   SELECT 1 FROM preview_passes p JOIN apps a ON a.id = p.app_id
                   WHERE p.hash IN (SELECT value FROM json_each(?1))
                     AND a.name = ?2 AND p.place = ?3 AND p.expires_at > ?4
                     AND (p.session IS NULL
                          OR EXISTS (SELECT 1 FROM sessions s WHERE s.hash = p.session AND s.expires_at > ?4))
                     AND (p.link IS NULL
                          OR EXISTS (SELECT 1 FROM preview_links l WHERE l.id = p.link AND l.expires_at > ?4)))",
            )?
            .query_row(params![hashes, app.as_str(), place.as_str(), at.as_millisecond()], |r| r.get(0))?)
        })
        .await
    }
}

fn link(r: &rusqlite::Row<'_>) -> rusqlite::Result<PreviewLink> {
    Ok(PreviewLink {
        id: r.get("id")?,
        place: row::text(r, "place")?,
        created_at: row::time(r, "created_at")?,
        expires_at: row::time(r, "expires_at")?,
    })
}
