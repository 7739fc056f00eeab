//! Stored events: appended in batches, read from any id, joined once their job has ended.

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

/// The counter of event ids. Ids are never reused, not even those of
/// deleted events.
const COUNTER: &str = "event";

struct KeptRow {
    event: Event,
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
    /// The rest of the event for a reader that has already received everything up to `after`.
    fn after(mut self, after: EventId) -> Event {
        if after >= self.first
            && let Some(seen) = self.pieces.as_ref().and_then(|pieces| seen_bytes(pieces, after))
            && let Some(text) = delta_mut(&mut self.event.body)
        {
            text.replace_range(..seen.min(text.len()), "");
        }
        self.event
    }
}

fn seen_bytes(pieces: &[(i64, usize)], after: EventId) -> Option<usize> {
    pieces.iter().rev().find(|(id, _)| *id <= after.0).map(|(_, bytes)| *bytes)
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

/// The id of the next event.
pub fn next_id(t: &Transaction<'_>) -> Result<i64, StoreError> {
    let value: Option<i64> =
        t.prepare_cached("SELECT max(value) FROM counters WHERE name = ?1")?.query_row([COUNTER], |r| r.get(0))?;
    Ok(value.unwrap_or(0) + 1)
}

/// Records the last used id.
pub fn set_last_id(t: &Transaction<'_>, last: i64) -> Result<(), StoreError> {
    t.prepare_cached(
        "INSERT INTO counters (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )?
    .execute(params![COUNTER, last])?;
    Ok(())
}

/// Stores one event.
pub fn insert(t: &Transaction<'_>, event: &Event, json: &str) -> Result<(), StoreError> {
    t.prepare_cached("INSERT INTO events (id, first_id, app_id, job_id, name, data) VALUES (?1, ?1, ?2, ?3, ?4, ?5)")?
        .execute(params![event.id.0, event.app.0, event.job.map(|job| job.0), event.body.name(), json])?;
    Ok(())
}

/// The events of a job's turn, oldest first.
pub(super) fn of_turn(c: &Connection, job: JobId) -> Result<Vec<EventBody>, StoreError> {
    let rows = c
        .prepare_cached("SELECT * FROM events WHERE job_id = ?1 AND name IN ('text', 'file', 'tool') ORDER BY id")?
        .query_map([job.0], |row| Ok(kept(row)?.event.body))?
        .collect::<Result<Vec<_>, _>>()?;
    Ok(rows)
}

impl Store {
    /// At most `limit` stored events after an id, oldest first.
    pub async fn events_after(&self, scope: EventScope, after: EventId, limit: u32) -> Result<Vec<Event>, StoreError> {
        self.read(move |c| {
            let (column, key) = match scope {
                EventScope::App(app) => ("app_id", app.0),
                EventScope::Job(job) => ("job_id", job.0),
            };
            let rows = c
                .prepare_cached(&format!("SELECT * FROM events WHERE {column} = ?1 AND id > ?2 ORDER BY id LIMIT ?3"))?
                .query_map(params![key, after.0, limit], kept)?
                .map(|row| row.map(|row| row.after(after)))
                .collect::<Result<Vec<_>, _>>()?;
            Ok(rows)
        })
        .await
    }

    /// The id of the newest stored event of a scope; 0 if there is none.
    pub async fn last_event_id(&self, scope: EventScope) -> Result<EventId, StoreError> {
        self.read(move |c| {
            let (column, key) = match scope {
                EventScope::App(app) => ("app_id", app.0),
                EventScope::Job(job) => ("job_id", job.0),
            };
            Ok(EventId(
                c.prepare_cached(&format!("SELECT coalesce(max(id), 0) FROM events WHERE {column} = ?1"))?
                    .query_row([key], |r| r.get(0))?,
            ))
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
            let rows = t
                .prepare_cached(
                    "SELECT * FROM events WHERE job_id = ?1 AND name IN ('text', 'file', 'tool') ORDER BY id",
                )?
                .query_map([job.0], kept)?
                .collect::<Result<Vec<_>, _>>()?;
            let mut open: Option<KeptRow> = None;
            for mut next in rows {
                if let Some(row) = &mut open
                    && next.pieces.is_none()
                    && let Some(before) = delta_mut(&mut row.event.body).map(|text| text.len())
                    && let Some(added) = delta_mut(&mut next.event.body).map(|text| text.len())
                    && join(&mut row.event.body, &next.event.body)
                {
                    let pieces = row.pieces.get_or_insert_with(|| vec![(row.event.id.0, before)]);
                    pieces.push((next.event.id.0, before + added));
                    t.prepare_cached("DELETE FROM events WHERE id = ?1")?.execute([row.event.id.0])?;
                    row.event.id = next.event.id;
                    continue;
                }
                keep_joined(t, open.replace(next).as_ref())?;
            }
            keep_joined(t, open.as_ref())
        })
        .await
    }
}

fn keep_joined(t: &Transaction<'_>, row: Option<&KeptRow>) -> Result<(), StoreError> {
    let Some(KeptRow { event, first, pieces: Some(pieces) }) = row else { return Ok(()) };
    t.prepare_cached("UPDATE events SET first_id = ?2, data = ?3, pieces = ?4 WHERE id = ?1")?.execute(params![
        event.id.0,
        first.0,
        event.body.to_json(),
        row::to_json(pieces)
    ])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::TextKind;

    fn text(delta: &str) -> EventBody {
        EventBody::Text { delta: delta.to_owned(), kind: TextKind::Answer }
    }

    #[tokio::test]
    async fn a_joined_text_can_be_read_from_any_piece() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).await.expect("opens");
        let tool = EventBody::tool("search", "none", true);
        let bodies = [text("Hé"), text("llo"), text(" you"), tool, text("Bye")];
        store
            .write(move |t| {
                for (at, body) in (1..).zip(&bodies) {
                    let event = Event { id: EventId(at), app: AppId(1), job: Some(JobId(1)), body: body.clone() };
                    insert(t, &event, &body.to_json())?;
                }
                Ok(())
            })
            .await
            .expect("kept");
        let texts = async |after: i64| -> String {
            let events = store.events_after(EventScope::Job(JobId(1)), EventId(after), 100).await.expect("read");
            events
                .iter()
                .map(|event| match &event.body {
                    EventBody::Text { delta, .. } => delta.as_str(),
                    _ => "|",
                })
                .collect()
        };
        let mut before = Vec::new();
        for after in 0..6 {
            before.push(texts(after).await);
        }
        assert_eq!(before[1], "llo you|Bye");
        // Joining is idempotent.
        for _ in 0..2 {
            store.join_events(JobId(1)).await.expect("joined");
            for (after, expected) in (0..6).zip(&before) {
                assert_eq!(&texts(after).await, expected, "after {after}");
            }
            let rows = store.events_after(EventScope::Job(JobId(1)), EventId(0), 100).await.expect("read");
            assert_eq!(rows.iter().map(|event| event.id.0).collect::<Vec<_>>(), [3, 4, 5]);
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
