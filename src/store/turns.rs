//! Turns and the messages that went over the wire in them.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, params};

use super::{Cursor, Page, PageRequest, Store, StoreError, apps, row};
use crate::domain::{AppId, ChangeSize, JobId, Turn, TurnId, TurnMode, TurnState, Usage, VersionId};

/// How a turn ended.
#[derive(Debug, Clone)]
pub struct TurnEnding {
    /// A state that nothing follows.
    pub state: TurnState,
    /// The version it made.
    pub version: Option<VersionId>,
    /// How much that changed.
    pub size: ChangeSize,
    /// Why it ended early.
    pub note: Option<String>,
}

const SELECT: &str = "SELECT t.*, v.number AS version_number FROM turns t
    LEFT JOIN versions v ON v.app_id = t.app_id AND v.id = t.version";

fn turn(row: &Row<'_>) -> rusqlite::Result<Turn> {
    Ok(Turn {
        id: TurnId(row.get("id")?),
        number: row.get("number")?,
        prompt: row.get("prompt")?,
        mode: row::text(row, "mode")?,
        state: row::text(row, "state")?,
        job: row.get::<_, Option<i64>>("job_id")?.map(JobId),
        version: row::text_opt(row, "version")?,
        version_number: row.get("version_number")?,
        size: ChangeSize {
            files: row.get("files")?,
            additions: row.get("additions")?,
            deletions: row.get("deletions")?,
        },
        usage: Usage {
            input_tokens: row::count(row, "input_tokens")?,
            output_tokens: row::count(row, "output_tokens")?,
            cache_read_tokens: row::count(row, "cache_read_tokens")?,
            cache_write_tokens: row::count(row, "cache_write_tokens")?,
            cost_usd: row.get("cost_usd")?,
        },
        note: row.get("note")?,
        created_at: row::time(row, "created_at")?,
        started_at: row::time_opt(row, "started_at")?,
        finished_at: row::time_opt(row, "finished_at")?,
    })
}

impl Store {
    /// A new turn, queued.
    pub async fn insert_turn(
        &self,
        app: AppId,
        prompt: String,
        mode: TurnMode,
        at: Timestamp,
    ) -> Result<Turn, StoreError> {
        self.write(move |t| {
            t.execute(
                "INSERT INTO turns (app_id, number, prompt, mode, state, created_at)
                 SELECT ?1, coalesce(max(number), 0) + 1, ?2, ?3, 'queued', ?4 FROM turns WHERE app_id = ?1",
                params![app.0, prompt, mode.as_str(), at.as_millisecond()],
            )?;
            let id = t.last_insert_rowid();
            apps::touch(t, app, at)?;
            Ok(t.query_row(&format!("{SELECT} WHERE t.id = ?1"), [id], turn)?)
        })
        .await
    }

    /// One turn.
    pub async fn turn(&self, id: TurnId) -> Result<Turn, StoreError> {
        self.read(move |c| Ok(c.query_row(&format!("{SELECT} WHERE t.id = ?1"), [id.0], turn)?)).await
    }

    /// The turn that a job runs.
    pub async fn turn_of_job(&self, job: JobId) -> Result<Option<Turn>, StoreError> {
        self.read(move |c| Ok(c.query_row(&format!("{SELECT} WHERE t.job_id = ?1"), [job.0], turn).optional()?)).await
    }

    /// Turns, newest first.
    pub async fn turns(&self, app: AppId, page: PageRequest) -> Result<Page<Turn>, StoreError> {
        self.read(move |c| {
            let rows = c
                .prepare_cached(&format!(
                    "{SELECT} WHERE t.app_id = ?1 AND t.number < ?2 ORDER BY t.number DESC LIMIT ?3"
                ))?
                .query_map(params![app.0, page.before(), page.fetch()], turn)?
                .collect::<Result<Vec<_>, _>>()?;
            Ok(Page::cut(rows, page.limit, |turn| Cursor::from_key(turn.number.into())))
        })
        .await
    }

    /// The turn's job has begun.
    pub async fn begin_turn(&self, id: TurnId, at: Timestamp) -> Result<(), StoreError> {
        self.write(move |t| {
            t.execute(
                "UPDATE turns SET state = 'running', started_at = ?2 WHERE id = ?1 AND state = 'queued'",
                params![id.0, at.as_millisecond()],
            )?;
            Ok(())
        })
        .await
    }

    /// The turn has ended; an ended one stays as it is.
    pub async fn end_turn(&self, id: TurnId, ending: TurnEnding, at: Timestamp) -> Result<(), StoreError> {
        self.write(move |t| {
            t.execute(
                "UPDATE turns SET state = ?2, version = ?3, files = ?4, additions = ?5, deletions = ?6, note = ?7,
                        finished_at = ?8
                 WHERE id = ?1 AND state IN ('queued', 'running')",
                params![
                    id.0,
                    ending.state.as_str(),
                    ending.version.as_ref().map(VersionId::as_str),
                    ending.size.files,
                    ending.size.additions,
                    ending.size.deletions,
                    ending.note,
                    at.as_millisecond()
                ],
            )?;
            Ok(())
        })
        .await
    }

    /// What the turn has used so far.
    pub async fn set_turn_usage(&self, id: TurnId, usage: Usage) -> Result<(), StoreError> {
        self.write(move |t| {
            t.prepare_cached(
                "UPDATE turns SET input_tokens = ?2, output_tokens = ?3, cache_read_tokens = ?4, cache_write_tokens = ?5,
                        cost_usd = ?6
                 WHERE id = ?1",
            )?
            .execute(params![
                id.0,
                row::integer(usage.input_tokens),
                row::integer(usage.output_tokens),
                row::integer(usage.cache_read_tokens),
                row::integer(usage.cache_write_tokens),
                usage.cost_usd
            ])?;
            Ok(())
        })
        .await
    }

    /// Keeps the turn's messages (JSON each), in place of those kept before.
    pub async fn keep_messages(&self, id: TurnId, messages: Vec<String>) -> Result<(), StoreError> {
        self.write(move |t| {
            t.execute("DELETE FROM messages WHERE turn_id = ?1", [id.0])?;
            for (position, message) in messages.iter().enumerate() {
                t.prepare_cached("INSERT INTO messages (turn_id, position, message) VALUES (?1, ?2, ?3)")?
                    .execute(params![id.0, row::integer(position as u64), message])?;
            }
            Ok(())
        })
        .await
    }

    /// The app's messages (JSON each) of all turns before `turn`, oldest first.
    pub async fn messages_before(&self, app: AppId, turn: TurnId) -> Result<Vec<String>, StoreError> {
        self.read(move |c| {
            let rows = c
                .prepare_cached(
                    "SELECT m.message FROM messages m JOIN turns t ON t.id = m.turn_id
                     WHERE t.app_id = ?1 AND t.id < ?2 ORDER BY t.id, m.position",
                )?
                .query_map(params![app.0, turn.0], |r| r.get(0))?
                .collect::<Result<Vec<_>, _>>()?;
            Ok(rows)
        })
        .await
    }
}
