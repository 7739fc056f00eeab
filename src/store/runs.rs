//! Runs of scheduled jobs, with what they printed.

use std::collections::HashSet;

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, params};

use super::{Store, StoreError, row};
use crate::domain::{AppId, Cursor, Environment, Page, PageRequest, ReleaseNumber, Run, RunId, RunState, RunTrigger};

/// How a run ended.
#[derive(Debug, Clone)]
pub struct RunEnding {
    /// Succeeded or failed.
    pub state: RunState,
    /// If the process ended by itself.
    pub exit_code: Option<i64>,
    /// Why it failed, where the exit code does not say it.
    pub error: Option<String>,
    /// What it printed.
    pub log: String,
}

const SELECT: &str =
    "SELECT id, app_id, environment, release, trigger, state, exit_code, error, started_at, finished_at FROM runs";

fn run(row: &Row<'_>) -> rusqlite::Result<Run> {
    Ok(Run {
        id: RunId(row.get("id")?),
        environment: row::text(row, "environment")?,
        release: ReleaseNumber(row.get("release")?),
        trigger: row::text(row, "trigger")?,
        state: row::text(row, "state")?,
        exit_code: row.get("exit_code")?,
        error: row.get("error")?,
        started_at: row::time(row, "started_at")?,
        finished_at: row::time_opt(row, "finished_at")?,
    })
}

impl Store {
    /// A run begins.
    pub async fn insert_run(
        &self,
        app: AppId,
        environment: Environment,
        release: ReleaseNumber,
        trigger: RunTrigger,
        at: Timestamp,
    ) -> Result<Run, StoreError> {
        self.write(move |t| {
            t.execute(
                "INSERT INTO runs (app_id, environment, release, trigger, state, started_at)
                 VALUES (?1, ?2, ?3, ?4, 'running', ?5)",
                params![app.0, environment.as_str(), release.0, trigger.as_str(), at.as_millisecond()],
            )?;
            let id = t.last_insert_rowid();
            Ok(t.query_row(&format!("{SELECT} WHERE id = ?1"), [id], run)?)
        })
        .await
    }

    /// A run has ended; an ended one stays as it is.
    pub async fn end_run(&self, id: RunId, ending: RunEnding, at: Timestamp) -> Result<(), StoreError> {
        self.write(move |t| {
            t.execute(
                "UPDATE runs SET state = ?2, exit_code = ?3, error = ?4, log = ?5, finished_at = ?6
                 WHERE id = ?1 AND state = 'running'",
                params![id.0, ending.state.as_str(), ending.exit_code, ending.error, ending.log, at.as_millisecond()],
            )?;
            Ok(())
        })
        .await
    }

    /// One run.
    pub async fn run(&self, id: RunId) -> Result<(AppId, Run), StoreError> {
        self.read(move |c| {
            Ok(c.query_row(&format!("{SELECT} WHERE id = ?1"), [id.0], |r| Ok((AppId(r.get("app_id")?), run(r)?)))?)
        })
        .await
    }

    /// What a run printed.
    pub async fn run_log(&self, id: RunId) -> Result<String, StoreError> {
        self.read(move |c| Ok(c.query_row("SELECT log FROM runs WHERE id = ?1", [id.0], |r| r.get(0))?)).await
    }

    /// Runs, newest first.
    pub async fn runs(&self, app: AppId, page: PageRequest) -> Result<Page<Run>, StoreError> {
        self.read(move |c| {
            let rows = c
                .prepare_cached(&format!("{SELECT} WHERE app_id = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3"))?
                .query_map(params![app.0, page.before(), page.fetch()], run)?
                .collect::<Result<Vec<_>, _>>()?;
            Ok(Page::cut(rows, page.limit, |run| Cursor::from_key(run.id.0)))
        })
        .await
    }

    /// Runs that no end is known of.
    pub async fn open_runs(&self) -> Result<Vec<(AppId, Run)>, StoreError> {
        self.read(|c| {
            let rows = c
                .prepare_cached(&format!("{SELECT} WHERE state = 'running' ORDER BY id"))?
                .query_map([], |r| Ok((AppId(r.get("app_id")?), run(r)?)))?
                .collect::<Result<Vec<_>, _>>()?;
            Ok(rows)
        })
        .await
    }

    /// The environments of these apps whose last ended run failed. Checks of deployments do not count: their failure is
    /// that of a deployment.
    pub async fn failed_runs(&self, apps: Vec<AppId>) -> Result<HashSet<(AppId, Environment)>, StoreError> {
        self.read(move |c| {
            let mut last = c.prepare_cached(
                "SELECT state FROM runs WHERE app_id = ?1 AND environment = ?2 AND trigger <> 'check' AND state <> 'running'
                 ORDER BY id DESC LIMIT 1",
            )?;
            let mut failed = HashSet::new();
            for app in apps {
                for environment in Environment::ALL {
                    let state = last
                        .query_row(params![app.0, environment.as_str()], |r| row::text::<RunState>(r, "state"))
                        .optional()?;
                    if state == Some(RunState::Failed) {
                        failed.insert((app, environment));
                    }
                }
            }
            Ok(failed)
        })
        .await
    }

    /// Forgets all but the app's last `keep` runs.
    pub async fn forget_runs(&self, app: AppId, keep: u32) -> Result<(), StoreError> {
        self.write(move |t| {
            t.execute(
                "DELETE FROM runs WHERE app_id = ?1 AND state <> 'running' AND id NOT IN
                 (SELECT id FROM runs WHERE app_id = ?1 ORDER BY id DESC LIMIT ?2)",
                params![app.0, keep],
            )?;
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_ended_run_of_an_environment_says_whether_it_failed() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).await.expect("opens");
        let filled = store.write(|t| {
            t.execute_batch(
                "INSERT INTO apps (id, name, template, description, created_at, updated_at)
                     VALUES (1, 'one', 'scheduled-job', '', 0, 0), (2, 'two', 'scheduled-job', '', 0, 0);
                 INSERT INTO runs (app_id, environment, release, trigger, state, started_at) VALUES
                     (1, 'prod', 1, 'schedule', 'failed', 1), (1, 'prod', 1, 'schedule', 'succeeded', 2),
                     (1, 'preview', 1, 'manual', 'succeeded', 3), (1, 'preview', 1, 'manual', 'failed', 4),
                     (1, 'preview', 2, 'check', 'succeeded', 5), (1, 'preview', 2, 'manual', 'running', 6),
                     (2, 'prod', 1, 'schedule', 'failed', 7), (2, 'preview', 1, 'check', 'failed', 8);",
            )?;
            Ok(())
        });
        filled.await.expect("written");
        let failed = store.failed_runs(vec![AppId(1), AppId(2), AppId(3)]).await.expect("read");
        assert_eq!(failed, HashSet::from([(AppId(1), Environment::Preview), (AppId(2), Environment::Prod)]));
    }
}
