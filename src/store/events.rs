//! Stored events: appended in batches, read from any id.
//!
//! What a turn emits token by token is first stored in `fresh_events`, which has no index, so that a token costs little. When
//! there are [`FRESH_MAX`] of them, or when a job ends, they move to `events`, and the pieces of one text become one row.
//! Readers read both tables.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::{Store, StoreError, row};
use crate::domain::{AppId, Event, EventBody, EventId, JobId, LogStream};

/// A selection of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventScope {
    /// All events of an app.
    App(AppId),
    /// The events of one job.
    Job(JobId),
}

impl EventScope {
    /// The column that selects its events, and the value there.
    fn key(self) -> (&'static str, i64) {
        match self {
            Self::App(app) => ("app_id", app.0),
            Self::Job(job) => ("job_id", job.0),
        }
    }
}

/// The counter of event ids. Ids are never reused, not even those of
/// deleted events.
const COUNTER: &str = "event";

/// Number of fresh events that are moved together. Reading an app's events looks at all fresh events, and the event writer waits
/// for a move: both take a few milliseconds.
const FRESH_MAX: usize = 1000;

struct KeptRow {
    event: Event,
    /// The id of its first piece.
    first: EventId,
    /// The end of each joined piece: its id, and the bytes of text up to and including it.
    pieces: Option<Vec<(i64, usize)>>,
}

fn kept(row: &Row<'_>) -> rusqlite::Result<KeptRow> {
    let name: String = row.get("name")?;
    let data = row.get_ref("data")?.as_str()?.to_owned();
    let body = EventBody::from_kept(&name, &data)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error)))?;
    Ok(KeptRow {
        event: Event {
            id: EventId(row.get("id")?),
            app: AppId(row.get("app_id")?),
            job: row.get::<_, Option<i64>>("job_id")?.map(JobId),
            body,
        },
        first: EventId(row.get("first_id")?),
        pieces: row::json_opt(row, "pieces")?,
    })
}

impl KeptRow {
    /// The part of the event after one id, up to and including another. None if no piece is between them.
    fn between(mut self, after: EventId, upto: EventId) -> Option<Event> {
        if let Some(pieces) = &self.pieces
            && let Some(text) = delta_mut(&mut self.event.body)
        {
            let seen = seen_bytes(pieces, after);
            let end = seen_bytes(pieces, upto);
            if seen == end {
                return None;
            }
            text.truncate(end.unwrap_or(0));
            text.replace_range(..seen.unwrap_or(0).min(text.len()), "");
        }
        self.event.id = self.event.id.min(upto);
        Some(self.event)
    }

    /// Appends `next` if both are parts of one text. Gives it back if they are not.
    fn join(&mut self, next: Self) -> Option<Self> {
        let (Some(before), Some(added)) =
            (delta(&self.event.body).map(str::len), delta(&next.event.body).map(str::len))
        else {
            return Some(next);
        };
        if !join(&mut self.event.body, &next.event.body) {
            return Some(next);
        }
        let more = next.pieces.unwrap_or_else(|| vec![(next.event.id.0, added)]);
        let pieces = self.pieces.get_or_insert_with(|| vec![(self.event.id.0, before)]);
        pieces.extend(more.into_iter().map(|(id, bytes)| (id, before + bytes)));
        self.event.id = next.event.id;
        None
    }

    fn insert(&self, t: &Transaction<'_>) -> Result<(), StoreError> {
        let Event { id, app, job, body } = &self.event;
        t.prepare_cached(
            "INSERT INTO events (id, first_id, app_id, job_id, name, data, pieces) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            id.0,
            self.first.0,
            app.0,
            job.map(|job| job.0),
            body.name(),
            body.to_json(),
            self.pieces.as_ref().map(row::to_json)
        ])?;
        Ok(())
    }
}

fn seen_bytes(pieces: &[(i64, usize)], after: EventId) -> Option<usize> {
    pieces.iter().rev().find(|(id, _)| *id <= after.0).map(|(_, bytes)| *bytes)
}

fn delta(body: &EventBody) -> Option<&str> {
    match body {
        EventBody::Text { delta, .. } => Some(delta),
        EventBody::File { delta, .. } => delta.as_deref(),
        _ => None,
    }
}

fn delta_mut(body: &mut EventBody) -> Option<&mut String> {
    match body {
        EventBody::Text { delta, .. } => Some(delta),
        EventBody::File { delta, .. } => delta.as_mut(),
        _ => None,
    }
}

/// Appends `next`'s text to `body` if both are pieces of one text. `false`: they are not.
pub fn join(body: &mut EventBody, next: &EventBody) -> bool {
    match (body, next) {
        (EventBody::Text { delta, kind }, EventBody::Text { delta: more, kind: same }) if kind == same => {
            delta.push_str(more);
            true
        }
        (
            EventBody::File { path, state, delta: Some(delta) },
            EventBody::File { path: same, state: same_state, delta: Some(more) },
        ) if path == same && state == same_state => {
            delta.push_str(more);
            true
        }
        _ => false,
    }
}

/// The id after the last used or reserved one.
pub fn next_id(t: &Transaction<'_>) -> Result<i64, StoreError> {
    let value: Option<i64> =
        t.prepare_cached("SELECT max(value) FROM counters WHERE name = ?1")?.query_row([COUNTER], |r| r.get(0))?;
    Ok(value.unwrap_or(0) + 1)
}

/// Reserves all ids up to this one. Those that are not used until the next start are skipped.
pub fn reserve_ids(t: &Transaction<'_>, last: i64) -> Result<(), StoreError> {
    t.prepare_cached(
        "INSERT INTO counters (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )?
    .execute(params![COUNTER, last])?;
    Ok(())
}

/// Whether an event belongs to the fresh ones: a piece of a text, or what separates two texts.
pub fn is_fresh(event: &Event) -> bool {
    event.job.is_some()
        && matches!(event.body, EventBody::Text { .. } | EventBody::File { .. } | EventBody::Tool { .. })
}

/// Stores one event.
pub fn insert(t: &Transaction<'_>, event: &Event, json: &str) -> Result<(), StoreError> {
    let query = if is_fresh(event) {
        "INSERT INTO fresh_events (id, app_id, job_id, name, data) VALUES (?1, ?2, ?3, ?4, ?5)"
    } else {
        "INSERT INTO events (id, first_id, app_id, job_id, name, data) VALUES (?1, ?1, ?2, ?3, ?4, ?5)"
    };
    t.prepare_cached(query)?.execute(params![
        event.id.0,
        event.app.0,
        event.job.map(|job| job.0),
        event.body.name(),
        json
    ])?;
    Ok(())
}

/// Moves the fresh events to `events` if there are many. `inserted` counts those since the last move.
pub fn move_many(t: &Transaction<'_>, inserted: usize) -> Result<bool, StoreError> {
    if inserted < FRESH_MAX {
        return Ok(false);
    }
    move_fresh(t)?;
    Ok(true)
}

/// Moves all fresh events to `events`. The pieces of one text become one row.
pub(super) fn move_fresh(t: &Transaction<'_>) -> Result<(), StoreError> {
    let mut open: HashMap<Option<JobId>, KeptRow> = HashMap::new();
    let mut query = t.prepare_cached("SELECT *, id AS first_id, NULL AS pieces FROM fresh_events ORDER BY id")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let next = kept(row)?;
        match open.entry(next.event.job) {
            Entry::Vacant(place) => {
                place.insert(next);
            }
            Entry::Occupied(mut place) => {
                if let Some(next) = place.get_mut().join(next) {
                    place.insert(next).insert(t)?;
                }
            }
        }
    }
    for row in open.values() {
        row.insert(t)?;
    }
    t.prepare_cached("DELETE FROM fresh_events")?.execute([])?;
    Ok(())
}

/// The query for stored events between two ids, and the value of its first parameter.
fn between(scope: EventScope) -> (String, i64) {
    let (column, key) = scope.key();
    let query = format!(
        "SELECT id, first_id, app_id, job_id, name, data, pieces FROM events
             WHERE {column} = ?1 AND id > ?2 AND first_id <= ?3
         UNION ALL
         SELECT id, id, app_id, job_id, name, data, NULL FROM fresh_events
             WHERE {column} = ?1 AND id > ?2 AND id <= ?3
         ORDER BY id LIMIT ?4"
    );
    (query, key)
}

/// The events of a job's turn, oldest first.
pub(super) fn of_turn(c: &Connection, job: JobId) -> Result<Vec<EventBody>, StoreError> {
    let (query, key) = between(EventScope::Job(job));
    let events = c
        .prepare_cached(&query)?
        .query_map(params![key, 0, i64::MAX, -1], |row| Ok(kept(row)?.event.body))?
        .collect::<Result<Vec<_>, _>>()?;
    Ok(events)
}

impl Store {
    /// At most `limit` stored events after an id, oldest first.
    pub async fn events_after(&self, scope: EventScope, after: EventId, limit: u32) -> Result<Vec<Event>, StoreError> {
        self.events_between(scope, after, EventId(i64::MAX), limit).await
    }

    /// At most `limit` stored events after one id, up to and including another, oldest first. Of a text that continues after
    /// `upto`, the last one has the part up to there, and `upto` as its id.
    pub async fn events_between(
        &self,
        scope: EventScope,
        after: EventId,
        upto: EventId,
        limit: u32,
    ) -> Result<Vec<Event>, StoreError> {
        self.read(move |c| {
            let (query, key) = between(scope);
            let rows = c
                .prepare_cached(&query)?
                .query_map(params![key, after.0, upto.0, if after < upto { limit } else { 0 }], kept)?
                .filter_map(|row| row.map(|row| row.between(after, upto)).transpose())
                .collect::<Result<Vec<_>, _>>()?;
            Ok(rows)
        })
        .await
    }

    /// The id of the newest stored event of a scope; 0 if there is none.
    pub async fn last_event_id(&self, scope: EventScope) -> Result<EventId, StoreError> {
        self.read(move |c| {
            let (column, key) = scope.key();
            let query = format!(
                "SELECT max(coalesce((SELECT max(id) FROM events WHERE {column} = ?1), 0),
                            coalesce((SELECT max(id) FROM fresh_events WHERE {column} = ?1), 0))"
            );
            Ok(EventId(c.prepare_cached(&query)?.query_row([key], |r| r.get(0))?))
        })
        .await
    }

    /// The last lines of a job's log, oldest first: at most this many lines, and at most this many bytes.
    pub async fn last_log_lines(
        &self,
        job: JobId,
        lines_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<(LogStream, String)>, StoreError> {
        self.read(move |c| {
            let mut query =
                c.prepare_cached("SELECT * FROM events WHERE job_id = ?1 AND name = 'log' ORDER BY id DESC LIMIT ?2")?;
            let mut rows = query.query(params![job.0, i64::try_from(lines_max).unwrap_or(i64::MAX)])?;
            let (mut lines, mut bytes) = (Vec::new(), 0);
            while let Some(row) = rows.next()? {
                let EventBody::Log { stream, line } = kept(row)?.event.body else { continue };
                bytes += line.len() + 1;
                if bytes > bytes_max {
                    break;
                }
                lines.push((stream, line));
            }
            lines.reverse();
            Ok(lines)
        })
        .await
    }

    /// The newest progress note of a job, unless a step started or
    /// ended since. Lines of a build or of the app are not progress notes.
    pub async fn last_words(&self, job: JobId) -> Result<Option<String>, StoreError> {
        self.read(move |c| {
            let newest = c
                .prepare_cached(
                    "SELECT * FROM events WHERE job_id = ?1
                     AND (name = 'job' OR (name = 'log' AND data ->> 'stream' = 'deploy')) ORDER BY id DESC LIMIT 1",
                )?
                .query_row([job.0], kept)
                .optional()?;
            Ok(newest.and_then(|row| match row.event.body {
                EventBody::Log { line, .. } => Some(line),
                _ => None,
            }))
        })
        .await
    }

    /// Joins the pieces of text of a job that has ended: one row for each text, not for each token.
    pub async fn join_events(&self, job: JobId) -> Result<(), StoreError> {
        self.write(move |t| {
            move_fresh(t)?;
            let rows = t
                .prepare_cached(
                    "SELECT * FROM events WHERE job_id = ?1 AND name IN ('text', 'file', 'tool') ORDER BY id",
                )?
                .query_map([job.0], kept)?
                .collect::<Result<Vec<_>, _>>()?;
            let mut rows = rows.into_iter();
            let Some(mut open) = rows.next() else { return Ok(()) };
            let mut joined = Vec::new();
            for next in rows {
                let id = open.event.id;
                match open.join(next) {
                    None => joined.push(id),
                    Some(next) => replace(t, &mut joined, &std::mem::replace(&mut open, next))?,
                }
            }
            replace(t, &mut joined, &open)
        })
        .await
    }
}

/// Replaces rows by one that contains them all. The last of them has its id.
fn replace(t: &Transaction<'_>, joined: &mut Vec<EventId>, row: &KeptRow) -> Result<(), StoreError> {
    if joined.is_empty() {
        return Ok(());
    }
    for id in joined.drain(..).chain([row.event.id]) {
        t.prepare_cached("DELETE FROM events WHERE id = ?1")?.execute([id.0])?;
    }
    row.insert(t)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::TextKind;

    fn text(delta: &str) -> EventBody {
        EventBody::Text { delta: delta.to_owned(), kind: TextKind::Answer }
    }

    /// The answers between two events; `|` stands for a tool.
    async fn answers(store: &Store, scope: EventScope, after: i64, upto: i64) -> String {
        let events = store.events_between(scope, EventId(after), EventId(upto), 100).await.expect("read");
        assert!(events.iter().all(|event| event.id.0 > after && event.id.0 <= upto), "{after} to {upto}: {events:?}");
        let words = events.iter().map(|event| match &event.body {
            EventBody::Text { delta, .. } => delta.as_str(),
            _ => "|",
        });
        words.collect()
    }

    #[tokio::test]
    async fn the_same_text_is_read_before_and_after_its_pieces_are_moved_and_joined() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).await.expect("opens");
        let tool = EventBody::tool("search", "none", true);
        let bodies = [text("Hé"), text("llo"), text(" you"), tool, text("Bye"), text(" bye"), text("!")];
        let put = async |range: std::ops::Range<usize>| {
            let events: Vec<Event> = range
                .map(|at| (at, i64::try_from(at).expect("small") + 1))
                .map(|(at, id)| Event { id: EventId(id), app: AppId(1), job: Some(JobId(1)), body: bodies[at].clone() })
                .collect();
            let put = store.write(move |t| events.iter().try_for_each(|event| insert(t, event, &event.body.to_json())));
            put.await.expect("stored");
        };
        let all = async || {
            let mut all = Vec::new();
            for scope in [EventScope::App(AppId(1)), EventScope::Job(JobId(1))] {
                for after in 0..8 {
                    for upto in 0..9 {
                        all.push((after, upto, answers(&store, scope, after, upto).await));
                    }
                }
            }
            all
        };
        put(0..6).await;
        assert_eq!(answers(&store, EventScope::Job(JobId(1)), 1, 5).await, "llo you|Bye");
        put(6..7).await;
        let expected = all().await;
        let rows = async || store.events_after(EventScope::Job(JobId(1)), EventId(0), 100).await.expect("read").len();
        assert_eq!(rows().await, 7);
        // The same events, moved in the middle of both texts.
        store.write(|t| Ok(t.execute("DELETE FROM fresh_events", [])?)).await.expect("deleted");
        put(0..2).await;
        store.write(move_fresh).await.expect("moved");
        put(2..6).await;
        store.write(move_fresh).await.expect("moved");
        put(6..7).await;
        assert_eq!(all().await, expected);
        assert_eq!(rows().await, 5);
        assert_eq!(store.last_event_id(EventScope::App(AppId(1))).await.expect("read"), EventId(7));
        // Joining is idempotent.
        for _ in 0..2 {
            store.join_events(JobId(1)).await.expect("joined");
            assert_eq!(all().await, expected);
            let rows = store.events_after(EventScope::Job(JobId(1)), EventId(0), 100).await.expect("read");
            assert_eq!(rows.iter().map(|event| event.id.0).collect::<Vec<_>>(), [3, 4, 7]);
        }
        assert_eq!(store.last_event_id(EventScope::App(AppId(1))).await.expect("read"), EventId(7));
    }

    #[tokio::test]
    async fn reading_events_scans_no_index_and_sorts_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).await.expect("opens");
        for scope in [EventScope::App(AppId(1)), EventScope::Job(JobId(1))] {
            let (column, _) = scope.key();
            let plan = store.read(move |c| {
                let (query, key) = between(scope);
                let mut query = c.prepare(&format!("EXPLAIN QUERY PLAN {query}"))?;
                let steps = query.query_map(params![key, 2, 3, 4], |row| row.get::<_, String>("detail"))?;
                Ok(steps.collect::<Result<Vec<_>, _>>()?.join("; "))
            });
            let plan = plan.await.expect("a plan");
            assert!(plan.contains(&format!("({column}=? AND id>?)")), "{plan}");
            assert!(plan.contains("SEARCH fresh_events USING INTEGER PRIMARY KEY (rowid>?"), "{plan}");
            assert!(!plan.contains("B-TREE") && !plan.contains("SCAN events"), "{plan}");
        }
    }

    #[tokio::test]
    async fn the_last_lines_of_a_jobs_log_are_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).await.expect("opens");
        store
            .write(|t| {
                for at in 1..=100 {
                    let body = EventBody::Log { stream: LogStream::Build, line: format!("{at:04}") };
                    let event = Event { id: EventId(at), app: AppId(1), job: Some(JobId(1)), body };
                    insert(t, &event, &event.body.to_json())?;
                }
                Ok(())
            })
            .await
            .expect("kept");
        let read = async |lines, bytes| {
            let lines = store.last_log_lines(JobId(1), lines, bytes).await.expect("read");
            (lines.first().map(|(_, line)| line.clone()), lines.len())
        };
        assert_eq!(read(1000, 100_000).await, (Some("0001".to_owned()), 100));
        assert_eq!(read(10, 100_000).await, (Some("0091".to_owned()), 10));
        assert_eq!(read(1000, 52).await, (Some("0091".to_owned()), 10));
    }

    #[tokio::test]
    async fn a_progress_note_is_current_until_the_next_step() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).await.expect("opens");
        let log = |stream, line: &str| EventBody::Log { stream, line: line.to_owned() };
        let step = EventBody::Job {
            id: JobId(1),
            kind: "preview".into(),
            state: crate::domain::JobState::Running,
            steps: Vec::new(),
            error: None,
            result: None,
        };
        let says = [
            (1, step.clone(), None),
            (1, log(LogStream::Deploy, "The cluster does not answer."), Some("The cluster does not answer.")),
            // Events of another job, and events that are not progress notes.
            (2, log(LogStream::Deploy, "Removing images."), Some("The cluster does not answer.")),
            (1, text("x"), Some("The cluster does not answer.")),
            (1, log(LogStream::Deploy, "It is back."), Some("It is back.")),
            (1, log(LogStream::Build, "Step 1/4"), Some("It is back.")),
            (1, log(LogStream::App, "serving"), Some("It is back.")),
            (1, step, None),
        ];
        for (id, (job, body, expected)) in (1..).zip(says) {
            let event = Event { id: EventId(id), app: AppId(1), job: Some(JobId(job)), body };
            store.write(move |t| insert(t, &event, &event.body.to_json())).await.expect("kept");
            assert_eq!(store.last_words(JobId(1)).await.expect("read").as_deref(), expected, "after {id}");
        }
    }
}
