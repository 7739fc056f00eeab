//! Retention: deletes old events, and the rows of old jobs.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Store, StoreError, events, turn_blocks};
use crate::domain::{AppId, JobId};

/// Jobs that one query looks at, and that one transaction deletes at most: a few milliseconds of work.
const JOBS_AT_ONCE: u32 = 500;

/// The app after this one that has jobs.
const NEXT_APP: &str = "SELECT min(app_id) FROM jobs WHERE app_id > ?1";
/// The oldest of the newest ended jobs that are kept of an app.
const FIRST_KEPT: &str = "SELECT id FROM jobs WHERE app_id = ?1 AND state NOT IN ('queued', 'running')
     ORDER BY id DESC LIMIT 1 OFFSET ?2";
/// The same of all deleted apps together, each of which has left the job that deleted it.
const FIRST_KEPT_OF_DELETED: &str = "SELECT id FROM jobs j WHERE kind = 'delete' AND state = 'succeeded'
       AND NOT EXISTS (SELECT 1 FROM apps a WHERE a.id = j.app_id)
     ORDER BY id DESC LIMIT 1 OFFSET ?1";
/// An app's jobs between two ids, and whether nothing refers to them any more.
const OLD: &str = "SELECT id, state NOT IN ('queued', 'running')
         AND NOT EXISTS (SELECT 1 FROM turns t WHERE t.job_id = j.id)
         AND NOT EXISTS (SELECT 1 FROM releases r WHERE r.job_id = j.id) AS unused
     FROM jobs j WHERE app_id = ?1 AND id > ?2 AND id < ?3 ORDER BY id LIMIT ?4";

/// Jobs of an app that are older than those that are kept.
struct OldJobs {
    /// The last one that was looked at; none when there are no more.
    last: Option<i64>,
    /// Those of them that can be deleted.
    unused: Vec<i64>,
}

fn old_jobs(c: &Connection, app: i64, after: i64, before: i64) -> Result<OldJobs, StoreError> {
    let mut old = OldJobs { last: None, unused: Vec::new() };
    let mut query = c.prepare_cached(OLD)?;
    let mut rows = query.query(params![app, after, before, JOBS_AT_ONCE])?;
    while let Some(row) = rows.next()? {
        let id = row.get("id")?;
        old.last = Some(id);
        if row.get("unused")? {
            old.unused.push(id);
        }
    }
    Ok(old)
}

/// The first job that is kept of an app, or of all deleted apps if this one is deleted; none if all are kept.
fn first_kept(c: &Connection, app: i64, keep: u32) -> Result<Option<i64>, StoreError> {
    let skip = keep.saturating_sub(1);
    let exists: bool =
        c.prepare_cached("SELECT EXISTS (SELECT 1 FROM apps WHERE id = ?1)")?.query_row([app], |r| r.get(0))?;
    let first = if exists {
        c.prepare_cached(FIRST_KEPT)?.query_row(params![app, skip], |r| r.get(0)).optional()
    } else {
        c.prepare_cached(FIRST_KEPT_OF_DELETED)?.query_row([skip], |r| r.get(0)).optional()
    };
    Ok(first?)
}

impl Store {
    /// Deletes the events of all except the app's last `keep` jobs. The blocks of their turns are kept.
    pub async fn forget_events(&self, app: AppId, keep: u32) -> Result<(), StoreError> {
        self.write(move |t| {
            let first: Option<i64> = t
                .prepare_cached("SELECT id FROM jobs WHERE app_id = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2")?
                .query_row(params![app.0, keep.saturating_sub(1)], |r| r.get(0))
                .optional()?;
            let Some(first) = first else { return Ok(()) };
            events::move_fresh(t)?;
            turn_blocks::keep_before(t, app, JobId(first))?;
            t.prepare_cached("DELETE FROM events WHERE app_id = ?1 AND job_id < ?2")?.execute(params![app.0, first])?;
            Ok(())
        })
        .await
    }

    /// Deletes the rows of ended jobs, with their events, beyond the newest `keep` of each app and of all deleted apps
    /// together. A job that a turn or a release refers to is kept. Others read and write in between: each step takes a few
    /// milliseconds. Answers with the number of deleted jobs.
    pub async fn forget_jobs(&self, keep: u32) -> Result<usize, StoreError> {
        let (mut deleted, mut app) = (0, i64::MIN);
        loop {
            let next = self.read(move |c| {
                let next: Option<i64> = c.prepare_cached(NEXT_APP)?.query_row([app], |r| r.get(0))?;
                next.map(|app| Ok((app, first_kept(c, app, keep)?))).transpose()
            });
            let Some((next, first_kept)) = next.await? else { return Ok(deleted) };
            app = next;
            let Some(before) = first_kept else { continue };
            let mut after = i64::MIN;
            loop {
                let OldJobs { last, unused } = self.read(move |c| old_jobs(c, app, after, before)).await?;
                let Some(last) = last else { break };
                after = last;
                deleted += unused.len();
                if !unused.is_empty() {
                    self.delete_jobs(unused).await?;
                }
            }
        }
    }

    /// Deletes ended jobs and their events.
    async fn delete_jobs(&self, ids: Vec<i64>) -> Result<(), StoreError> {
        self.write(move |t| {
            events::move_fresh(t)?;
            let mut events = t.prepare_cached("DELETE FROM events WHERE job_id = ?1")?;
            let mut job = t.prepare_cached("DELETE FROM jobs WHERE id = ?1")?;
            for id in ids {
                events.execute([id])?;
                job.execute([id])?;
            }
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use jiff::Timestamp;

    use super::*;
    use crate::domain::{Event, EventId, JOBS_ON_PAGES, Job, JobClass, PageRequest, Release, Run, Turn, Version};
    use crate::store::events::EventScope;
    use crate::store::jobs;

    const APPS: i64 = 20;
    const JOBS: i64 = 100_000;

    /// A database with 20 apps and 100,000 jobs, which take turns. Of each hundred jobs of an app ten ran a turn, ten made a
    /// release, and eighty failed. The last app has been deleted, and nine hundred others with one job each.
    async fn large_store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).await.expect("opens");
        let filled = store.write(|t| {
            t.execute_batch(&format!(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {APPS})
                 INSERT INTO apps (id, name, template, description, created_at, updated_at)
                     SELECT i, 'app-' || i, 'static-site', '', 0, 0 FROM n;
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {JOBS})
                 INSERT INTO jobs (id, app_id, app_name, kind, payload, state, created_at, started_at, finished_at, checks)
                     SELECT i, i % {APPS} + 1, 'app-' || (i % {APPS} + 1),
                            iif(i / {APPS} % 100 < 10, 'generate', 'preview'),
                            iif(i / {APPS} % 100 < 10, '{{\"kind\":\"generate\",\"turn\":' || i || '}}',
                                '{{\"kind\":\"preview\",\"version\":\"{zeros}\"}}'),
                            iif(i / {APPS} % 100 < 20, 'succeeded', 'failed'), i, i, i,
                            iif(i / {APPS} % 100 < 20, '[{{\"what\":\"page\",\"method\":\"GET\",\"path\":\"/\",\"ok\":true,\"status\":200,\"millis\":1}}]', '[]')
                     FROM n;
                 INSERT INTO turns (id, app_id, number, prompt, mode, state, job_id, created_at)
                     SELECT id, app_id, id, 'Do it', 'build', 'done', id, 0 FROM jobs WHERE kind = 'generate';
                 INSERT INTO releases (app_id, environment, number, version, image, spec, state, job_id, created_at)
                     SELECT app_id, 'preview', id, '{zeros}', 'x@sha256:{zeros}{zeros24}',
                            '{{\"process\":\"job\",\"limits\":{{\"memory_bytes\":1,\"cpu_millis\":1,\"processes\":1}}}}', 'retired', id, id
                     FROM jobs WHERE kind = 'preview' AND state = 'succeeded';
                 INSERT INTO events (id, first_id, app_id, job_id, name, data)
                     SELECT id, id, app_id, id, 'log', '{{\"stream\":\"build\",\"line\":\"x\"}}' FROM jobs;
                 INSERT INTO runs (app_id, environment, release, trigger, state, started_at)
                     SELECT id, 'prod', 1, 'schedule', 'succeeded', 0 FROM apps;
                 DELETE FROM jobs WHERE app_id = {APPS} AND id <> {JOBS} - 1;
                 UPDATE jobs SET kind = 'delete', payload = '{{\"kind\":\"delete\"}}', state = 'succeeded' WHERE app_id = {APPS};
                 DELETE FROM apps WHERE id = {APPS};
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900)
                 INSERT INTO jobs (id, app_id, app_name, kind, payload, state, created_at)
                     SELECT {JOBS} + i, 1000 + i, 'gone', 'delete', '{{\"kind\":\"delete\"}}', 'succeeded', 0 FROM n;",
                zeros = "0".repeat(40),
                zeros24 = "0".repeat(24),
            ))?;
            Ok(())
        });
        filled.await.expect("filled");
        (folder, store)
    }

    /// What pages and lists show of an app: all of it, jobs of turns and releases included.
    type Shown = (Vec<Job>, Vec<Turn>, Vec<Release>, Vec<Version>, Vec<Run>, Vec<Event>, Vec<Job>);

    async fn shown(store: &Store, app: AppId) -> Shown {
        let all = PageRequest::first(1_000_000);
        let recent = store.recent_jobs(app, JOBS_ON_PAGES).await.expect("read");
        let turns = store.turns(app, all.clone()).await.expect("read").items;
        let releases = store.releases(app, None, all.clone()).await.expect("read").items;
        let versions = store.versions(app, all.clone()).await.expect("read").items;
        let runs = store.runs(app, all).await.expect("read").items;
        let first = recent.last().expect("jobs").id;
        let events = store.events_after(EventScope::App(app), EventId(first.0 - 1), 1000).await.expect("read");
        let referred = turns.iter().filter_map(|turn| turn.job).chain(releases.iter().map(|release| release.job));
        let mut jobs = Vec::new();
        for id in referred {
            jobs.push(store.job(id).await.expect("a job that a page links to"));
        }
        (recent, turns, releases, versions, runs, events, jobs)
    }

    async fn count(store: &Store, query: &'static str) -> i64 {
        store.read(move |c| Ok(c.query_row(query, [], |r| r.get(0))?)).await.expect("counted")
    }

    #[tokio::test]
    async fn forgetting_old_jobs_loses_nothing_that_a_page_shows() {
        let (_folder, store) = large_store().await;
        let mut before = Vec::new();
        for app in [1, 2, 19] {
            before.push(shown(&store, AppId(app)).await);
        }
        assert!(before.iter().all(|shown| shown.1.len() == 500 && shown.2.len() == 500 && shown.6.len() == 1000));
        assert_eq!(before[0].2[0].checks.passed, 1, "the checks of a release are those of its job");
        let open = store.write(|t| Ok(t.execute("UPDATE jobs SET state = 'running' WHERE id = 1021", [])?));
        assert_eq!(open.await.expect("changed"), 1);

        // Of the 5,000 jobs of an app 1,000 are referred to; of the newest 100, which are kept, 80 are not. One job runs.
        let begun = Instant::now();
        let deleted = store.forget_jobs(100).await.expect("deleted");
        println!("{deleted} of {JOBS} jobs deleted in {:?}", begun.elapsed());
        assert_eq!(deleted, 19 * (4000 - 80) - 1 + (901 - 100));
        assert_eq!(store.forget_jobs(100).await.expect("nothing is left to delete"), 0);
        for (app, before) in [1, 2, 19].into_iter().zip(before) {
            assert_eq!(shown(&store, AppId(app)).await, before);
        }
        assert_eq!(count(&store, "SELECT count(*) FROM jobs WHERE state = 'running'").await, 1);
        assert_eq!(count(&store, "SELECT count(*) FROM jobs WHERE app_id = 20 OR app_id > 1000").await, 100);
        let orphans = "SELECT count(*) FROM events e WHERE job_id NOT IN (SELECT id FROM jobs) AND app_id <> 20";
        assert_eq!(count(&store, orphans).await, 0);
        let counted: u64 = store.count_jobs().await.expect("read").iter().map(|(_, _, jobs)| jobs).sum();
        assert_eq!(i64::try_from(counted).expect("fits"), count(&store, "SELECT count(*) FROM jobs").await);
    }

    #[tokio::test]
    async fn with_100_000_jobs_nothing_that_is_asked_often_reads_them_all() {
        let (_folder, store) = large_store().await;
        let queries: [(&str, usize); 11] = [
            (jobs::NEXT, 1),
            (jobs::COUNTS, 0),
            ("SELECT count(*) FROM apps", 0),
            (NEXT_APP, 1),
            (FIRST_KEPT, 2),
            (FIRST_KEPT_OF_DELETED, 1),
            (OLD, 4),
            ("SELECT id FROM turns WHERE job_id = ?1 AND state NOT IN ('queued', 'running')", 1),
            ("SELECT * FROM jobs WHERE app_id = ?1 ORDER BY id DESC LIMIT ?2", 2),
            (jobs::RUNNING, 0),
            (jobs::OPEN, 1),
        ];
        for (query, parameters) in queries {
            let plan = store.read(move |c| {
                let mut explain = c.prepare(&format!("EXPLAIN QUERY PLAN {query}"))?;
                let steps = explain
                    .query_map(rusqlite::params_from_iter(vec![1; parameters]), |r| r.get::<_, String>("detail"))?;
                Ok(steps.collect::<Result<Vec<_>, _>>()?)
            });
            let plan = plan.await.expect("explained");
            let steps = plan.iter().filter(|step| step.starts_with("SCAN") || step.starts_with("SEARCH"));
            for step in steps {
                // Apps are few, and so are pairs of a kind and a state, and jobs that have not ended.
                let is_small = ["SCAN apps", "SCAN job_counts"].iter().any(|few| step.starts_with(few))
                    || step.contains("INDEX jobs_open");
                assert!(is_small || step.starts_with("SEARCH") && step.contains("USING"), "{query}\n{plan:#?}");
            }
        }
        // What the plan cannot say: how long it takes. A full scan of the jobs takes a hundred times as long as these.
        let begun = Instant::now();
        let at = Timestamp::from_millisecond(1).expect("in range");
        let taken = store.write(move |t| Ok(jobs::take_next(t, JobClass::Machine, at)?.is_none())).await;
        assert!(taken.expect("looked"), "nothing is queued");
        let counts = store.count_jobs().await.expect("read");
        println!("take_next and the counts of {JOBS} jobs: {:?}", begun.elapsed());
        assert_eq!(counts.len(), 4, "{counts:?}");
    }
}
