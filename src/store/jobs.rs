//! The queue of jobs. State changes are functions on a transaction, so that the event that
//! tells of one is kept together with it or not at all.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::{Store, StoreError, row, turns};
use crate::domain::{
    AppId, AppName, Author, Job, JobClass, JobError, JobId, JobKind, JobResult, JobState, SmokeCheck, Step,
};

/// The job that is next of a class. A partial index is used only where its own condition stands in the query, which is why
/// each state is named twice; without `INDEXED BY` all jobs there ever were would be read.
pub(super) const NEXT: &str = "SELECT j.id FROM jobs j INDEXED BY jobs_open
     WHERE j.state = 'queued' AND j.state IN ('queued', 'running') AND (j.kind = 'generate') = ?1
       AND NOT EXISTS (SELECT 1 FROM jobs r INDEXED BY jobs_open
                       WHERE r.state = 'running' AND r.state IN ('queued', 'running') AND r.app_id = j.app_id)
       AND NOT EXISTS (SELECT 1 FROM jobs q INDEXED BY jobs_open
                       WHERE q.state = 'queued' AND q.state IN ('queued', 'running') AND q.app_id = j.app_id AND q.id < j.id)
     ORDER BY (SELECT max(d.started_at) FROM jobs d WHERE d.app_id = j.app_id) NULLS FIRST, j.id
     LIMIT 1";
/// Jobs that are marked as running, oldest first.
pub(super) const RUNNING: &str = "SELECT * FROM jobs INDEXED BY jobs_open
     WHERE state = 'running' AND state IN ('queued', 'running') ORDER BY id";
/// Jobs that have not ended, oldest first; of one app or of all.
pub(super) const OPEN: &str = "SELECT * FROM jobs INDEXED BY jobs_open
     WHERE state IN ('queued', 'running') AND (?1 IS NULL OR app_id = ?1) ORDER BY id";
/// How many jobs there are of each kind and state: a row for each pair.
pub(super) const COUNTS: &str = "SELECT kind, state, jobs FROM job_counts WHERE jobs > 0";

fn job(row: &Row<'_>) -> rusqlite::Result<Job> {
    Ok(Job {
        id: JobId(row.get("id")?),
        app_id: AppId(row.get("app_id")?),
        app: row::text(row, "app_name")?,
        kind: row::json(row, "payload")?,
        state: row::text(row, "state")?,
        attempts: row.get("attempts")?,
        cancel_requested: row.get("cancel_requested")?,
        steps: row::json(row, "steps")?,
        checks: row::json(row, "checks")?,
        error: row::json_opt(row, "error")?,
        result: row::json_opt(row, "result")?,
        author: row::text_opt(row, "author")?,
        created_at: row::time(row, "created_at")?,
        started_at: row::time_opt(row, "started_at")?,
        finished_at: row::time_opt(row, "finished_at")?,
    })
}

fn load(connection: &Connection, id: JobId) -> Result<Job, StoreError> {
    Ok(connection.prepare_cached("SELECT * FROM jobs WHERE id = ?1")?.query_row([id.0], job)?)
}

/// Queues a job. Nothing but a delete is queued on an app that is being deleted.
pub fn insert(
    t: &Transaction<'_>,
    app: AppId,
    name: &AppName,
    kind: &JobKind,
    author: Author,
    at: Timestamp,
) -> Result<Job, StoreError> {
    let deleting: Option<bool> =
        t.query_row("SELECT deleting FROM apps WHERE id = ?1", [app.0], |r| r.get(0)).optional()?;
    match deleting {
        None => return Err(StoreError::NotFound),
        Some(true) if *kind != JobKind::Delete => {
            return Err(StoreError::Conflict(format!("“{name}” is being deleted.")));
        }
        Some(_) => {}
    }
    t.execute(
        "INSERT INTO jobs (app_id, app_name, kind, payload, state, author, created_at)
         VALUES (?1, ?2, ?3, ?4, 'queued', ?5, ?6)",
        params![app.0, name.as_str(), kind.as_str(), row::to_json(kind), author.to_string(), at.as_millisecond()],
    )?;
    let id = JobId(t.last_insert_rowid());
    if let JobKind::Generate { turn } = kind {
        t.execute("UPDATE turns SET job_id = ?2 WHERE id = ?1", params![turn.0, id.0])?;
    }
    load(t, id)
}

/// The job that already does what `kind` asks for: the app's newest deployment, if it is the same, and is queued, runs,
/// or has succeeded since then. After another deployment, the same request is a new one.
pub fn same_request(
    t: &Transaction<'_>,
    app: AppId,
    kind: &JobKind,
    since: Timestamp,
) -> Result<Option<Job>, StoreError> {
    let newest = t
        .prepare_cached("SELECT * FROM jobs WHERE app_id = ?1 AND kind <> 'generate' ORDER BY id DESC LIMIT 1")?
        .query_row([app.0], job)
        .optional()?;
    Ok(newest.filter(|job| {
        let is_at_work = match job.state {
            JobState::Queued | JobState::Running => !job.cancel_requested,
            JobState::Succeeded => job.finished_at.is_some_and(|at| at >= since),
            JobState::Failed | JobState::Cancelled => false,
        };
        is_at_work && job.kind.is_same_request(kind)
    }))
}

/// Takes the job that is next of a class: the oldest of each app that has none running, of
/// these the one whose app has waited longest. `None` when there is none.
pub fn take_next(t: &Transaction<'_>, class: JobClass, at: Timestamp) -> Result<Option<Job>, StoreError> {
    let model = class == JobClass::Model;
    let next: Option<i64> = t.prepare_cached(NEXT)?.query_row([model], |r| r.get(0)).optional()?;
    let Some(id) = next.map(JobId) else { return Ok(None) };
    t.execute(
        "UPDATE jobs SET state = 'running', attempts = attempts + 1, started_at = ?2, steps = '[]', checks = '[]' WHERE id = ?1",
        params![id.0, at.as_millisecond()],
    )?;
    load(t, id).map(Some)
}

/// Ends a job, or puts it back into the queue. Refuses a state that may not follow. A turn that has
/// not ended by itself ends with its job.
pub fn change_state(
    t: &Transaction<'_>,
    id: JobId,
    next: JobState,
    error: Option<&JobError>,
    result: Option<&JobResult>,
    at: Timestamp,
) -> Result<Job, StoreError> {
    let now = load(t, id)?;
    if !now.state.may_become(next) {
        return Err(StoreError::Conflict(format!(
            "Job {id} is {}, so it cannot become {}.",
            now.state.as_str(),
            next.as_str()
        )));
    }
    t.execute(
        "UPDATE jobs SET state = ?2, error = ?3, result = ?4, finished_at = ?5 WHERE id = ?1",
        params![
            id.0,
            next.as_str(),
            error.map(row::to_json),
            result.map(row::to_json),
            next.is_final().then(|| at.as_millisecond()),
        ],
    )?;
    if let JobKind::Generate { turn } = now.kind
        && next.is_final()
    {
        turns::end_with_job(t, turn, (now.state, next), error, at)?;
    }
    load(t, id)
}

/// Says how far a deployment is.
pub fn set_steps(t: &Transaction<'_>, id: JobId, steps: &[Step]) -> Result<Job, StoreError> {
    t.prepare_cached("UPDATE jobs SET steps = ?2 WHERE id = ?1")?.execute(params![id.0, row::to_json(&steps)])?;
    load(t, id)
}

/// Keeps what a new version was asked, and what it answered.
pub fn set_checks(t: &Transaction<'_>, id: JobId, checks: &[SmokeCheck]) -> Result<(), StoreError> {
    t.execute("UPDATE jobs SET checks = ?2 WHERE id = ?1", params![id.0, row::to_json(&checks)])?;
    Ok(())
}

/// Remembers that somebody asked for the job's end.
pub fn request_cancel(t: &Transaction<'_>, id: JobId) -> Result<Job, StoreError> {
    t.execute("UPDATE jobs SET cancel_requested = 1 WHERE id = ?1", [id.0])?;
    load(t, id)
}

impl Store {
    /// One job.
    pub async fn job(&self, id: JobId) -> Result<Job, StoreError> {
        self.read(move |c| load(c, id)).await
    }

    /// The app's newest jobs, newest first.
    pub async fn recent_jobs(&self, app: AppId, limit: u32) -> Result<Vec<Job>, StoreError> {
        self.read(move |c| {
            let rows = c
                .prepare_cached("SELECT * FROM jobs WHERE app_id = ?1 ORDER BY id DESC LIMIT ?2")?
                .query_map(params![app.0, limit], job)?
                .collect::<Result<Vec<_>, _>>()?;
            Ok(rows)
        })
        .await
    }

    /// Jobs that are marked as running, oldest first.
    pub async fn running_jobs(&self) -> Result<Vec<Job>, StoreError> {
        self.read(|c| {
            let rows = c.prepare_cached(RUNNING)?.query_map([], job)?.collect::<Result<Vec<_>, _>>()?;
            Ok(rows)
        })
        .await
    }

    /// Jobs that are queued or running, oldest first; of one app or of all.
    pub async fn open_jobs(&self, app: Option<AppId>) -> Result<Vec<Job>, StoreError> {
        self.read(move |c| {
            let rows = c.prepare_cached(OPEN)?.query_map([app.map(|id| id.0)], job)?.collect::<Result<Vec<_>, _>>()?;
            Ok(rows)
        })
        .await
    }

    /// How many jobs there are of each kind and state, for the metrics.
    pub async fn count_jobs(&self) -> Result<Vec<(String, String, u64)>, StoreError> {
        self.read(|c| {
            let rows = c
                .prepare_cached(COUNTS)?
                .query_map([], |r| Ok((r.get("kind")?, r.get("state")?, row::count(r, "jobs")?)))?
                .collect::<Result<Vec<_>, _>>()?;
            Ok(rows)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ChangeSize, Environment, NewTurn, TurnId, TurnMode, TurnState};
    use crate::store::turns::TurnEnding;

    async fn store_with(names: &[&str]) -> (tempfile::TempDir, Store, Vec<(AppId, AppName)>) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).await.expect("opens");
        let mut apps = Vec::new();
        for name in names {
            let name: AppName = name.parse().expect("a name");
            let template = "static-site".parse().expect("a template");
            let app = store.insert_app(name.clone(), template, "x".into(), at(0)).await.expect("inserted");
            apps.push((app.id, name));
        }
        (folder, store, apps)
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(millis).expect("in range")
    }

    async fn queue(store: &Store, app: &(AppId, AppName), kind: JobKind) -> JobId {
        let app = app.clone();
        store.write(move |t| Ok(insert(t, app.0, &app.1, &kind, Author::Person, at(1))?.id)).await.expect("queued")
    }

    async fn take(store: &Store, class: JobClass, millis: i64) -> Option<JobId> {
        store.write(move |t| Ok(take_next(t, class, at(millis))?.map(|job| job.id))).await.expect("looked")
    }

    async fn end(store: &Store, id: JobId) {
        store.write(move |t| change_state(t, id, JobState::Succeeded, None, None, at(9))).await.expect("ended");
    }

    fn rollback() -> JobKind {
        JobKind::Rollback { environment: Environment::Prod, release: crate::domain::ReleaseNumber(1) }
    }

    #[tokio::test]
    async fn one_job_of_an_app_at_a_time_and_apps_in_turns() {
        let (_folder, store, apps) = store_with(&["busy", "calm"]).await;
        let busy: Vec<JobId> = [
            queue(&store, &apps[0], rollback()).await,
            queue(&store, &apps[0], rollback()).await,
            queue(&store, &apps[0], rollback()).await,
        ]
        .into();
        let calm = queue(&store, &apps[1], rollback()).await;
        assert_eq!(take(&store, JobClass::Machine, 10).await, Some(busy[0]));
        // Not the busy app's second job: its first one runs.
        assert_eq!(take(&store, JobClass::Machine, 11).await, Some(calm));
        assert_eq!(take(&store, JobClass::Machine, 12).await, None);
        end(&store, busy[0]).await;
        end(&store, calm).await;
        // The calm app was served last, so the busy one is next; then the calm one would be again.
        assert_eq!(take(&store, JobClass::Machine, 13).await, Some(busy[1]));
        end(&store, busy[1]).await;
        let calm = queue(&store, &apps[1], rollback()).await;
        assert_eq!(take(&store, JobClass::Machine, 14).await, Some(calm));
    }

    #[tokio::test]
    async fn a_request_for_the_newest_deployment_is_that_deployment() {
        let (_folder, store, apps) = store_with(&["one"]).await;
        let app = apps[0].0;
        let publish = |release| JobKind::Publish { release: crate::domain::ReleaseNumber(release) };
        let same = |kind: JobKind, since: i64| {
            let store = &store;
            async move {
                let found = store.write(move |t| same_request(t, app, &kind, at(since))).await.expect("read");
                found.map(|job| job.id)
            }
        };
        assert_eq!(same(publish(1), 0).await, None, "there is none yet");
        let first = queue(&store, &apps[0], publish(1)).await;
        assert_eq!(same(publish(1), 0).await, Some(first), "it is queued");
        assert_eq!(same(publish(2), 0).await, None, "another release");
        take(&store, JobClass::Machine, 5).await.expect("it begins");
        assert_eq!(same(publish(1), 0).await, Some(first), "it runs");
        end(&store, first).await;
        assert_eq!(same(publish(1), 9).await, Some(first), "it has just ended");
        assert_eq!(same(publish(1), 10).await, None, "it ended earlier");
        queue(&store, &apps[0], rollback()).await;
        assert_eq!(same(publish(1), 0).await, None, "after another deployment it is a new request");
    }

    #[tokio::test]
    async fn the_counts_follow_each_change() {
        let (_folder, store, apps) = store_with(&["one"]).await;
        let counted = || async {
            let mut counts = store.count_jobs().await.expect("read");
            counts.sort();
            let counted = store.read(|c| {
                let mut query = c.prepare("SELECT kind, state, count(*) AS n FROM jobs GROUP BY kind, state")?;
                let rows = query.query_map([], |r| Ok((r.get(0)?, r.get(1)?, row::count(r, "n")?)))?;
                Ok(rows.collect::<Result<Vec<(String, String, u64)>, _>>()?)
            });
            assert_eq!(counts, counted.await.expect("read"));
            counts
        };
        assert_eq!(counted().await, []);
        let id = queue(&store, &apps[0], rollback()).await;
        queue(&store, &apps[0], rollback()).await;
        assert_eq!(counted().await, [("rollback".to_owned(), "queued".to_owned(), 2)]);
        take(&store, JobClass::Machine, 10).await.expect("taken");
        assert_eq!(counted().await.len(), 2);
        end(&store, id).await;
        store.write(|t| Ok(t.execute("DELETE FROM jobs WHERE state = 'queued'", [])?)).await.expect("deleted");
        assert_eq!(counted().await, [("rollback".to_owned(), "succeeded".to_owned(), 1)]);
    }

    #[tokio::test]
    async fn jobs_of_an_app_keep_their_order_whatever_their_class() {
        let (_folder, store, apps) = store_with(&["one"]).await;
        let turn = queue(&store, &apps[0], JobKind::Generate { turn: TurnId(1) }).await;
        let deploy = queue(&store, &apps[0], rollback()).await;
        assert_eq!(take(&store, JobClass::Machine, 10).await, None);
        assert_eq!(take(&store, JobClass::Model, 10).await, Some(turn));
        assert_eq!(take(&store, JobClass::Machine, 10).await, None);
        end(&store, turn).await;
        assert_eq!(take(&store, JobClass::Machine, 10).await, Some(deploy));
    }

    #[tokio::test]
    async fn nothing_new_begins_on_an_app_that_is_being_deleted() {
        let (_folder, store, apps) = store_with(&["gone"]).await;
        store.mark_deleting(apps[0].0, true).await.expect("marked");
        let app = apps[0].clone();
        let refused = store.write(move |t| insert(t, app.0, &app.1, &rollback(), Author::Person, at(1))).await;
        assert!(matches!(refused, Err(StoreError::Conflict(_))));
        queue(&store, &apps[0], JobKind::Delete).await;
    }

    #[tokio::test]
    async fn a_turn_ends_with_its_job_unless_it_ended_before() {
        let (_folder, store, apps) = store_with(&["one"]).await;
        let error =
            |code: &str| JobError { code: code.to_owned(), message: "Why.".to_owned(), hint: None, lines: Vec::new() };
        for (begun, state, code, ended, reason) in [
            (false, JobState::Cancelled, None, TurnState::Stopped, Some("withdrawn")),
            (true, JobState::Cancelled, None, TurnState::Stopped, Some("stopped")),
            (true, JobState::Failed, Some("internal"), TurnState::Failed, Some("internal")),
            (true, JobState::Failed, Some("interrupted"), TurnState::Interrupted, Some("interrupted")),
            (true, JobState::Succeeded, None, TurnState::Done, None),
        ] {
            let turn = store
                .insert_turn(apps[0].0, NewTurn::of_person("x", TurnMode::Build), at(1))
                .await
                .expect("inserted")
                .id;
            let id = queue(&store, &apps[0], JobKind::Generate { turn }).await;
            if begun {
                assert_eq!(take(&store, JobClass::Model, 10).await, Some(id));
            }
            let error = code.map(error);
            store.write(move |t| change_state(t, id, state, error.as_ref(), None, at(20))).await.expect("ended");
            let turn = store.turn(turn).await.expect("there");
            assert_eq!((turn.state, turn.reason.as_deref()), (ended, reason));
            assert_eq!((turn.finished_at, turn.note.is_some()), (Some(at(20)), reason.is_some()));
        }
        // What the turn itself said of its end stands.
        let turn =
            store.insert_turn(apps[0].0, NewTurn::of_person("x", TurnMode::Build), at(1)).await.expect("inserted").id;
        let id = queue(&store, &apps[0], JobKind::Generate { turn }).await;
        take(&store, JobClass::Model, 10).await.expect("taken");
        let ending = TurnEnding {
            state: TurnState::Done,
            version: None,
            size: ChangeSize::default(),
            note: None,
            reason: Some("cap_steps".into()),
            question: None,
        };
        store.end_turn(turn, ending, at(15)).await.expect("ended");
        end(&store, id).await;
        let turn = store.turn(turn).await.expect("there");
        assert_eq!((turn.reason.as_deref(), turn.finished_at), (Some("cap_steps"), Some(at(15))));
    }

    #[tokio::test]
    async fn turns_that_no_job_will_end_are_found() {
        let (_folder, store, apps) = store_with(&["one", "two"]).await;
        let mut turns = Vec::new();
        for app in &apps {
            for _ in 0..2 {
                turns.push(
                    store
                        .insert_turn(app.0, NewTurn::of_person("x", TurnMode::Build), at(1))
                        .await
                        .expect("inserted")
                        .id,
                );
            }
        }
        // One has no job at all; one has a job that waits; one has a job that ended without a word about it.
        queue(&store, &apps[0], JobKind::Generate { turn: turns[1] }).await;
        let ended = queue(&store, &apps[1], JobKind::Generate { turn: turns[2] }).await;
        let (third, fourth) = (turns[2], turns[3]);
        store
            .write(move |t| {
                t.execute("UPDATE jobs SET state = 'failed' WHERE id = ?1", [ended.0])?;
                t.execute("UPDATE turns SET state = 'running' WHERE id = ?1", [third.0])?;
                Ok(t.execute("UPDATE turns SET state = 'done' WHERE id = ?1", [fourth.0])?)
            })
            .await
            .expect("changed");
        let found = store.stranded_turns().await.expect("read");
        assert_eq!(found, [(apps[0].0, turns[0]), (apps[1].0, turns[2])]);
    }

    #[tokio::test]
    async fn an_ended_job_cannot_be_changed() {
        let (_folder, store, apps) = store_with(&["one"]).await;
        let id = queue(&store, &apps[0], rollback()).await;
        take(&store, JobClass::Machine, 10).await.expect("taken");
        end(&store, id).await;
        let again = store.write(move |t| change_state(t, id, JobState::Queued, None, None, at(9))).await;
        assert!(matches!(again, Err(StoreError::Conflict(_))));
    }
}
