//! Versions, read from each app's git history.

use rusqlite::{OptionalExtension, Row, params};

use super::{Store, StoreError, apps, row};
use crate::domain::{
    AppId, ChangeSize, Cursor, Page, PageRequest, RestoredVersion, TurnId, Version, VersionId, VersionsInUse,
};

/// A commit that becomes a version; the store assigns its number.
#[derive(Debug, Clone)]
pub struct NewVersion {
    /// The version; its number is ignored.
    pub version: Version,
}

fn version(row: &Row<'_>) -> rusqlite::Result<Version> {
    Ok(Version {
        id: row::text(row, "id")?,
        number: row.get("number")?,
        title: row.get("title")?,
        kind: row::text(row, "kind")?,
        turn: row.get::<_, Option<i64>>("turn_id")?.map(TurnId),
        size: ChangeSize {
            files: row.get("files")?,
            additions: row.get("additions")?,
            deletions: row.get("deletions")?,
        },
        created_at: row::time(row, "created_at")?,
    })
}

impl Store {
    /// Adds commits, oldest first, as the app's next versions; known ones are skipped.
    pub async fn add_versions(&self, app: AppId, commits: Vec<NewVersion>) -> Result<(), StoreError> {
        if commits.is_empty() {
            return Ok(());
        }
        self.write(move |t| {
            for NewVersion { version } in &commits {
                t.prepare_cached(
                    "INSERT OR IGNORE INTO versions
                     (app_id, number, id, title, kind, turn_id, files, additions, deletions, created_at)
                     SELECT ?1, coalesce(max(number), 0) + 1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9 FROM versions WHERE app_id = ?1",
                )?
                .execute(params![
                    app.0,
                    version.id.as_str(),
                    version.title,
                    version.kind.as_str(),
                    version.turn.map(|turn| turn.0),
                    version.size.files,
                    version.size.additions,
                    version.size.deletions,
                    version.created_at.as_millisecond(),
                ])?;
                t.execute("UPDATE apps SET head = ?2 WHERE id = ?1", params![app.0, version.id.as_str()])?;
                apps::touch(t, app, version.created_at)?;
            }
            Ok(())
        })
        .await
    }

    /// One version.
    pub async fn version(&self, app: AppId, id: &VersionId) -> Result<Version, StoreError> {
        let id = id.clone();
        self.read(move |c| {
            Ok(c.prepare_cached("SELECT * FROM versions WHERE app_id = ?1 AND id = ?2")?
                .query_row(params![app.0, id.as_str()], version)?)
        })
        .await
    }

    /// The newest version, if there is one.
    pub async fn newest_version(&self, app: AppId) -> Result<Option<Version>, StoreError> {
        self.read(move |c| {
            Ok(c.prepare_cached("SELECT * FROM versions WHERE app_id = ?1 ORDER BY number DESC LIMIT 1")?
                .query_row([app.0], version)
                .optional()?)
        })
        .await
    }

    /// The version at the start of a turn, if it had started.
    pub async fn version_before_turn(&self, app: AppId, turn: TurnId) -> Result<Option<Version>, StoreError> {
        self.read(move |c| {
            Ok(c.prepare_cached(
                "SELECT v.* FROM versions v
                 WHERE v.app_id = ?1 AND v.id = (SELECT base FROM turns WHERE app_id = ?1 AND id = ?2)",
            )?
            .query_row([app.0, turn.0], version)
            .optional()?)
        })
        .await
    }

    /// The last version that was ready in preview; else the version at the start of the newest turn.
    pub async fn last_good_version(&self, app: AppId) -> Result<Option<Version>, StoreError> {
        self.read(move |c| {
            let deployed = c
                .prepare_cached(
                    "SELECT v.* FROM releases r JOIN versions v ON v.app_id = r.app_id AND v.id = r.version
                     WHERE r.app_id = ?1 AND r.environment = 'preview' AND r.state IN ('ready', 'retired')
                     ORDER BY r.number DESC LIMIT 1",
                )?
                .query_row([app.0], version)
                .optional()?;
            if deployed.is_some() {
                return Ok(deployed);
            }
            Ok(c.prepare_cached(
                "SELECT v.* FROM versions v WHERE v.app_id = ?1 AND v.id =
                     (SELECT base FROM turns WHERE app_id = ?1 AND started_at IS NOT NULL ORDER BY number DESC LIMIT 1)",
            )?
            .query_row([app.0], version)
            .optional()?)
        })
        .await
    }

    /// The newest versions of users' edits, at most this many.
    pub async fn edits(&self, app: AppId, limit: u32) -> Result<Vec<VersionId>, StoreError> {
        self.read(move |c| {
            let rows = c
                .prepare_cached(
                    "SELECT id FROM versions WHERE app_id = ?1 AND kind = 'edit' ORDER BY number DESC LIMIT ?2",
                )?
                .query_map(params![app.0, limit], |r| row::text(r, "id"))?
                .collect::<Result<Vec<_>, _>>()?;
            Ok(rows)
        })
        .await
    }

    /// Records which version's files a restored version has.
    pub async fn set_restored(&self, app: AppId, version: VersionId, of: VersionId) -> Result<(), StoreError> {
        self.write(move |t| {
            t.execute(
                "UPDATE versions SET restores = ?3 WHERE app_id = ?1 AND id = ?2",
                params![app.0, version.as_str(), of.as_str()],
            )?;
            Ok(())
        })
        .await
    }

    /// Which versions of an app are in use.
    pub async fn versions_in_use(&self, app: AppId) -> Result<VersionsInUse, StoreError> {
        self.read(move |c| {
            let head = c
                .prepare_cached("SELECT coalesce(max(number), 0) FROM versions WHERE app_id = ?1")?
                .query_row([app.0], |r| r.get(0))?;
            let restored = c
                .prepare_cached(
                    "SELECT v.number, earlier.number FROM versions v
                     JOIN versions earlier ON earlier.app_id = v.app_id AND earlier.id = v.restores
                     WHERE v.app_id = ?1 AND v.restores IS NOT NULL",
                )?
                .query_map([app.0], |r| Ok(RestoredVersion { number: r.get(0)?, of: r.get(1)? }))?
                .collect::<Result<Vec<_>, _>>()?;
            Ok(VersionsInUse::new(head, &restored))
        })
        .await
    }

    /// Versions, newest first.
    pub async fn versions(&self, app: AppId, page: PageRequest) -> Result<Page<Version>, StoreError> {
        self.read(move |c| {
            let rows = c
                .prepare_cached(
                    "SELECT * FROM versions WHERE app_id = ?1 AND number < ?2 ORDER BY number DESC LIMIT ?3",
                )?
                .query_map(params![app.0, page.before(), page.fetch()], version)?
                .collect::<Result<Vec<_>, _>>()?;
            Ok(Page::cut(rows, page.limit, |version| Cursor::from_key(version.number.into())))
        })
        .await
    }
}
