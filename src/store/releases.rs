//! Releases: numbered, and immutable except for their state.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::{Store, StoreError, apps, row};
use crate::domain::{
    AppId, AppName, Cursor, DeploymentSpec, Environment, EnvironmentState, ImageRef, JobId, Page, PageRequest, Release,
    ReleaseNumber, ReleaseState, SmokeCheck, SmokeCount, VersionId,
};

/// Data of a new release.
#[derive(Debug, Clone)]
pub struct NewRelease {
    /// The environment.
    pub environment: Environment,
    /// The version of the image.
    pub version: VersionId,
    /// The image, by digest.
    pub image: ImageRef,
    /// Its settings.
    pub spec: DeploymentSpec,
    /// The job that creates it.
    pub job: JobId,
    /// The release that its image and settings come from: the published preview release, or the
    /// earlier release of a roll back.
    pub from_release: Option<ReleaseNumber>,
    /// It is created by a roll back.
    pub rolled_back: bool,
}

const SELECT: &str = "SELECT r.*, v.number AS version_number, v.title AS version_title,
        (SELECT j.author FROM jobs j WHERE j.id = r.job_id) AS author,
        (SELECT j.checks FROM jobs j WHERE j.id = r.job_id) AS checks FROM releases r
    LEFT JOIN versions v ON v.app_id = r.app_id AND v.id = r.version";

fn release(row: &Row<'_>) -> rusqlite::Result<Release> {
    Ok(Release {
        number: ReleaseNumber(row.get("number")?),
        environment: row::text(row, "environment")?,
        version: row::text(row, "version")?,
        version_number: row.get::<_, Option<u32>>("version_number")?.unwrap_or(0),
        version_title: row.get::<_, Option<String>>("version_title")?.unwrap_or_default(),
        author: row::text_opt(row, "author")?,
        image: row::text(row, "image")?,
        spec: row::json(row, "spec")?,
        state: row::text(row, "state")?,
        job: JobId(row.get("job_id")?),
        checks: row::json_opt::<Vec<SmokeCheck>>(row, "checks")?
            .map(|checks| SmokeCount::of(&checks))
            .unwrap_or_default(),
        created_at: row::time(row, "created_at")?,
        settled_at: row::time_opt(row, "settled_at")?,
        from_release: row.get::<_, Option<u32>>("from_release")?.map(ReleaseNumber),
        rolled_back: row.get("rolled_back")?,
    })
}

/// In one step: the release becomes live, the previous one is retired, the environment is ready.
pub fn took_over(
    t: &Transaction<'_>,
    app: AppId,
    environment: Environment,
    number: ReleaseNumber,
    at: Timestamp,
) -> Result<(), StoreError> {
    t.execute(
        "UPDATE releases SET state = 'retired'
         WHERE app_id = ?1 AND environment = ?2 AND state = 'ready' AND number <> ?3",
        params![app.0, environment.as_str(), number.0],
    )?;
    t.execute(
        "UPDATE releases SET state = 'ready', settled_at = coalesce(settled_at, ?4)
         WHERE app_id = ?1 AND environment = ?2 AND number = ?3",
        params![app.0, environment.as_str(), number.0, at.as_millisecond()],
    )?;
    t.execute(
        "UPDATE environments SET state = ?3, release = ?4 WHERE app_id = ?1 AND environment = ?2",
        params![app.0, environment.as_str(), EnvironmentState::Ready.as_str(), number.0],
    )?;
    apps::touch(t, app, at)
}

/// Marks a release as failed. A release that was live cannot fail any more.
pub fn failed(
    t: &Transaction<'_>,
    app: AppId,
    environment: Environment,
    number: ReleaseNumber,
    at: Timestamp,
) -> Result<(), StoreError> {
    t.execute(
        "UPDATE releases SET state = ?4, settled_at = ?5
         WHERE app_id = ?1 AND environment = ?2 AND number = ?3 AND state = 'deploying'",
        params![app.0, environment.as_str(), number.0, ReleaseState::Failed.as_str(), at.as_millisecond()],
    )?;
    Ok(())
}

/// Marks unfinished releases of an environment as failed, because no job deploys them any more.
pub fn fail_unfinished(
    t: &Transaction<'_>,
    app: AppId,
    environment: Environment,
    at: Timestamp,
) -> Result<(), StoreError> {
    t.execute(
        "UPDATE releases SET state = 'failed', settled_at = ?3 WHERE app_id = ?1 AND environment = ?2 AND state = 'deploying'",
        params![app.0, environment.as_str(), at.as_millisecond()],
    )?;
    Ok(())
}

impl Store {
    /// The release that `job` deploys: created by its first attempt, found by later attempts.
    pub async fn release_for_job(&self, app: AppId, new: NewRelease, at: Timestamp) -> Result<Release, StoreError> {
        self.write(move |t| {
            t.execute(
                "INSERT INTO releases
                 (app_id, environment, number, version, image, spec, state, job_id, created_at, from_release, rolled_back)
                 SELECT ?1, ?2, coalesce((SELECT max(number) FROM releases WHERE app_id = ?1 AND environment = ?2), 0) + 1,
                        ?3, ?4, ?5, 'deploying', ?6, ?7, ?8, ?9
                 WHERE NOT EXISTS (SELECT 1 FROM releases WHERE app_id = ?1 AND environment = ?2 AND job_id = ?6)",
                params![
                    app.0,
                    new.environment.as_str(),
                    new.version.as_str(),
                    new.image.as_str(),
                    row::to_json(&new.spec),
                    new.job.0,
                    at.as_millisecond(),
                    new.from_release.map(|number| number.0),
                    new.rolled_back,
                ],
            )?;
            Ok(t.query_row(
                &format!("{SELECT} WHERE r.app_id = ?1 AND r.environment = ?2 AND r.job_id = ?3"),
                params![app.0, new.environment.as_str(), new.job.0],
                release,
            )?)
        })
        .await
    }

    /// One release.
    pub async fn release(
        &self,
        app: AppId,
        environment: Environment,
        number: ReleaseNumber,
    ) -> Result<Release, StoreError> {
        self.read(move |c| {
            Ok(c.prepare_cached(&format!("{SELECT} WHERE r.app_id = ?1 AND r.environment = ?2 AND r.number = ?3"))?
                .query_row(params![app.0, environment.as_str(), number.0], release)?)
        })
        .await
    }

    /// The newest release before `number` that was live, is not a roll back itself, and is not of the version `but`.
    pub async fn release_before(
        &self,
        app: AppId,
        environment: Environment,
        number: ReleaseNumber,
        but: Option<VersionId>,
    ) -> Result<Option<Release>, StoreError> {
        self.read(move |c| {
            Ok(c.query_row(
                &format!(
                    "{SELECT} WHERE r.app_id = ?1 AND r.environment = ?2 AND r.number < ?3 AND r.state IN ('ready', 'retired')
                     AND NOT r.rolled_back AND (?4 IS NULL OR r.version <> ?4) ORDER BY r.number DESC LIMIT 1"
                ),
                params![app.0, environment.as_str(), number.0, but.as_ref().map(VersionId::as_str)],
                release,
            )
            .optional()?)
        })
        .await
    }

    /// The release that the live one of an environment took over from.
    pub async fn replaced_release(&self, app: AppId, environment: Environment) -> Result<Option<Release>, StoreError> {
        self.read(move |c| {
            Ok(c.query_row(
                &format!(
                    "{SELECT} JOIN environments e ON e.app_id = r.app_id AND e.environment = r.environment
                     WHERE r.app_id = ?1 AND r.environment = ?2 AND r.number < e.release AND r.state = 'retired'
                     ORDER BY r.number DESC LIMIT 1"
                ),
                params![app.0, environment.as_str()],
                release,
            )
            .optional()?)
        })
        .await
    }

    /// When the live release of an environment took over from `number`; none when that was not live just before it.
    pub async fn replaced_at(
        &self,
        app: AppId,
        environment: Environment,
        number: ReleaseNumber,
    ) -> Result<Option<Timestamp>, StoreError> {
        self.read(move |c| {
            Ok(c.prepare_cached(
                "SELECT live.settled_at FROM environments e
                 JOIN releases live ON live.app_id = e.app_id AND live.environment = e.environment AND live.number = e.release
                 WHERE e.app_id = ?1 AND e.environment = ?2
                   AND ?3 = (SELECT max(r.number) FROM releases r WHERE r.app_id = ?1 AND r.environment = ?2
                             AND r.number < e.release AND r.state = 'retired')",
            )?
            .query_row(params![app.0, environment.as_str(), number.0], |r| row::time_opt(r, "settled_at"))
            .optional()?
            .flatten())
        })
        .await
    }

    /// Releases, newest first, of one environment or of both.
    pub async fn releases(
        &self,
        app: AppId,
        environment: Option<Environment>,
        page: PageRequest,
    ) -> Result<Page<Release>, StoreError> {
        self.read(move |c| {
            let (time, number) = page.cursor.as_ref().and_then(Cursor::keys).unwrap_or((i64::MAX, i64::MAX));
            let rows = c
                .prepare_cached(&format!(
                    "{SELECT} WHERE r.app_id = ?1 AND (?2 IS NULL OR r.environment = ?2) AND (r.created_at, r.number) < (?3, ?4)
                     ORDER BY r.created_at DESC, r.number DESC LIMIT ?5"
                ))?
                .query_map(
                    params![app.0, environment.map(Environment::as_str), time, number, page.fetch()],
                    release,
                )?
                .collect::<Result<Vec<_>, _>>()?;
            Ok(Page::cut(rows, page.limit, |release| {
                Cursor::from_keys(release.created_at.as_millisecond(), release.number.0.into())
            }))
        })
        .await
    }

    /// Apps with an unfinished deployment in the database.
    pub async fn unsettled_apps(&self) -> Result<Vec<AppId>, StoreError> {
        self.read(|c| {
            let rows = c
                .prepare_cached(
                    "SELECT app_id FROM environments WHERE state = 'deploying'
                     UNION SELECT app_id FROM releases WHERE state = 'deploying'",
                )?
                .query_map([], |r| r.get("app_id").map(AppId))?
                .collect::<Result<Vec<_>, _>>()?;
            Ok(rows)
        })
        .await
    }

    /// Every environment that has a live release.
    pub async fn deployed_environments(&self) -> Result<Vec<(AppName, Environment)>, StoreError> {
        self.read(|c| {
            let rows = c
                .prepare_cached(
                    "SELECT a.name, e.environment FROM environments e JOIN apps a ON a.id = e.app_id
                     WHERE e.release IS NOT NULL",
                )?
                .query_map([], |r| Ok((row::text(r, "name")?, row::text(r, "environment")?)))?
                .collect::<Result<Vec<_>, _>>()?;
            Ok(rows)
        })
        .await
    }

    /// The live releases of an environment with a schedule, with their apps.
    pub async fn scheduled_releases(&self, environment: Environment) -> Result<Vec<(AppId, Release)>, StoreError> {
        self.read(move |c| {
            let rows = c
                .prepare_cached(&format!(
                    "{SELECT} JOIN environments e ON e.app_id = r.app_id AND e.environment = r.environment AND e.release = r.number
                     WHERE r.environment = ?1 AND json_extract(r.spec, '$.schedule') IS NOT NULL"
                ))?
                .query_map([environment.as_str()], |r| Ok((AppId(r.get("app_id")?), release(r)?)))?
                .collect::<Result<Vec<_>, _>>()?;
            Ok(rows)
        })
        .await
    }

    /// Images that releases of the app still need: the live ones, and the last `keep` of each environment.
    pub async fn images_to_keep(&self, app: AppId, keep: u32) -> Result<Vec<ImageRef>, StoreError> {
        self.read(move |c| {
            let rows = c
                .prepare_cached(
                    "SELECT DISTINCT image FROM (
                        SELECT image, state, row_number() OVER (PARTITION BY environment ORDER BY number DESC) AS place
                        FROM releases WHERE app_id = ?1 AND state <> 'failed')
                     WHERE place <= ?2 OR state IN ('ready', 'deploying')",
                )?
                .query_map(params![app.0, keep], |r| row::text(r, "image"))?
                .collect::<Result<Vec<_>, _>>()?;
            Ok(rows)
        })
        .await
    }
}
