//! Turns and the messages that went over the wire in them.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::{Cursor, Page, PageRequest, Store, StoreError, apps, row};
use crate::domain::{
    AppId, Attachment, ChangeSize, INTERRUPTED, JobError, JobId, JobState, ModelId, Question, Repair, RepairBudget,
    Turn, TurnId, TurnMode, TurnState, Usage, VersionId, WITHDRAWN,
};

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
    /// The same as a word for programs.
    pub reason: Option<String>,
    /// What the model asks.
    pub question: Option<Question>,
}

/// What a turn begins from: the one before it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TurnMemory {
    /// The version that the model knows, if there was a turn.
    pub known: Option<VersionId>,
    /// Versions that were made by hand while that turn was at work, so that it does not know them; oldest first.
    pub meanwhile: Vec<VersionId>,
    /// What it asked last.
    pub question: Option<Question>,
    /// JSON: how far the conversation is told shorter.
    pub compaction: Option<String>,
}

const SELECT: &str = "SELECT t.*, v.number AS version_number FROM turns t
    LEFT JOIN versions v ON v.app_id = t.app_id AND v.id = t.version";

fn turn(row: &Row<'_>) -> rusqlite::Result<Turn> {
    Ok(Turn {
        id: TurnId(row.get("id")?),
        number: row.get("number")?,
        prompt: row.get("prompt")?,
        attachments: row::json(row, "attachments")?,
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
        model: row::text_opt(row, "model")?,
        usage: Usage {
            input_tokens: row::count(row, "input_tokens")?,
            output_tokens: row::count(row, "output_tokens")?,
            cache_read_tokens: row::count(row, "cache_read_tokens")?,
            cache_write_tokens: row::count(row, "cache_write_tokens")?,
            cost_usd: row.get("cost_usd")?,
            estimated: row.get("estimated")?,
        },
        note: row.get("note")?,
        repair: row
            .get::<_, Option<i64>>("repair_of")?
            .map(|of| Ok::<_, rusqlite::Error>(Repair { of: TurnId(of), number: row.get("repair")? }))
            .transpose()?,
        reason: row.get("reason")?,
        question: row::json_opt(row, "question")?,
        created_at: row::time(row, "created_at")?,
        started_at: row::time_opt(row, "started_at")?,
        finished_at: row::time_opt(row, "finished_at")?,
    })
}

/// A new turn, queued.
pub fn insert(
    t: &Transaction<'_>,
    app: AppId,
    prompt: &str,
    mode: TurnMode,
    repair: Option<Repair>,
    at: Timestamp,
) -> Result<Turn, StoreError> {
    t.execute(
        "INSERT INTO turns (app_id, number, prompt, mode, state, created_at, repair_of, repair)
         SELECT ?1, coalesce(max(number), 0) + 1, ?2, ?3, 'queued', ?4, ?5, ?6 FROM turns WHERE app_id = ?1",
        params![
            app.0,
            prompt,
            mode.as_str(),
            at.as_millisecond(),
            repair.map(|repair| repair.of.0),
            repair.map(|repair| repair.number)
        ],
    )?;
    let id = t.last_insert_rowid();
    apps::touch(t, app, at)?;
    Ok(t.query_row(&format!("{SELECT} WHERE t.id = ?1"), [id], turn)?)
}

/// Notes the files that came with a turn that waits.
pub fn attach(t: &Transaction<'_>, id: TurnId, attachments: &[Attachment]) -> Result<(), StoreError> {
    t.execute("UPDATE turns SET attachments = ?2 WHERE id = ?1", params![id.0, row::to_json(&attachments)])?;
    Ok(())
}

/// Keeps the repairs of a turn of a person.
pub fn keep_repairs(t: &Transaction<'_>, id: TurnId, repairs: &RepairBudget) -> Result<(), StoreError> {
    t.execute("UPDATE turns SET repairs = ?2 WHERE id = ?1", params![id.0, row::to_json(repairs)])?;
    Ok(())
}

/// Ends a turn whose job goes from one state to another that nothing follows; an ended one stays as it is.
pub fn end_with_job(
    t: &Transaction<'_>,
    id: TurnId,
    (before, now): (JobState, JobState),
    error: Option<&JobError>,
    at: Timestamp,
) -> Result<(), StoreError> {
    let (state, note, reason) = match error {
        _ if now == JobState::Cancelled && before == JobState::Queued => {
            (TurnState::Stopped, Some("Withdrawn before it began."), Some(WITHDRAWN))
        }
        _ if now == JobState::Cancelled => {
            (TurnState::Stopped, Some("Stopped. What was written is kept."), Some("stopped"))
        }
        Some(error) => {
            let state = if error.code == INTERRUPTED { TurnState::Interrupted } else { TurnState::Failed };
            (state, Some(error.message.as_str()), Some(error.code.as_str()))
        }
        None => (TurnState::Done, None, None),
    };
    t.execute(
        "UPDATE turns SET state = ?2, note = ?3, reason = ?4, finished_at = ?5
         WHERE id = ?1 AND state IN ('queued', 'running')",
        params![id.0, state.as_str(), note, reason, at.as_millisecond()],
    )?;
    Ok(())
}

impl Store {
    /// Turns that wait or run without a job that would end them, with their apps.
    pub async fn stranded_turns(&self) -> Result<Vec<(AppId, TurnId)>, StoreError> {
        self.read(|c| {
            let rows = c
                .prepare_cached(
                    "SELECT app_id, id FROM turns t WHERE state IN ('queued', 'running') AND NOT EXISTS
                         (SELECT 1 FROM jobs j WHERE j.id = t.job_id AND j.state IN ('queued', 'running'))
                     ORDER BY id",
                )?
                .query_map([], |r| Ok((AppId(r.get(0)?), TurnId(r.get(1)?))))?
                .collect::<Result<Vec<_>, _>>()?;
            Ok(rows)
        })
        .await
    }

    /// A new turn, queued.
    pub async fn insert_turn(
        &self,
        app: AppId,
        prompt: String,
        mode: TurnMode,
        at: Timestamp,
    ) -> Result<Turn, StoreError> {
        self.write(move |t| insert(t, app, &prompt, mode, None, at)).await
    }

    /// A turn of the user and the repairs after it, oldest first.
    pub async fn turn_with_repairs(&self, id: TurnId) -> Result<Vec<Turn>, StoreError> {
        self.read(move |c| {
            let rows = c
                .prepare_cached(&format!("{SELECT} WHERE t.id = ?1 OR t.repair_of = ?1 ORDER BY t.id"))?
                .query_map([id.0], turn)?
                .collect::<Result<Vec<_>, _>>()?;
            Ok(rows)
        })
        .await
    }

    /// The repairs so far of a turn of a person.
    pub async fn repairs(&self, id: TurnId) -> Result<RepairBudget, StoreError> {
        self.read(move |c| {
            let kept =
                c.query_row("SELECT repairs FROM turns WHERE id = ?1", [id.0], |r| row::json_opt(r, "repairs"))?;
            Ok(kept.unwrap_or_default())
        })
        .await
    }

    /// Keeps them.
    pub async fn set_repairs(&self, id: TurnId, repairs: RepairBudget) -> Result<(), StoreError> {
        self.write(move |t| keep_repairs(t, id, &repairs)).await
    }

    /// How many answers of the model a turn has kept.
    pub async fn count_answers(&self, id: TurnId) -> Result<u32, StoreError> {
        self.read(move |c| {
            let count = c
                .prepare_cached(
                    "SELECT count(*) FROM messages WHERE turn_id = ?1 AND message ->> 'role' = 'assistant'",
                )?
                .query_row([id.0], |r| r.get(0))?;
            Ok(count)
        })
        .await
    }

    /// The files that came with turns of an app up to this one, the newest first.
    pub async fn attachments_until(&self, app: AppId, turn: TurnId) -> Result<Vec<Attachment>, StoreError> {
        self.read(move |c| {
            let lists = c
                .prepare_cached(
                    "SELECT attachments FROM turns WHERE app_id = ?1 AND id <= ?2 AND attachments <> '[]' ORDER BY id DESC",
                )?
                .query_map(params![app.0, turn.0], |r| row::json::<Vec<Attachment>>(r, "attachments"))?
                .collect::<Result<Vec<_>, _>>()?;
            Ok(lists.into_iter().flat_map(|list| list.into_iter().rev()).collect())
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

    /// The turn that was begun last before another.
    pub async fn turn_before(&self, app: AppId, id: TurnId) -> Result<Option<Turn>, StoreError> {
        self.read(move |c| {
            Ok(c.query_row(
                &format!(
                    "{SELECT} WHERE t.app_id = ?1 AND t.id < ?2 AND t.started_at IS NOT NULL ORDER BY t.id DESC LIMIT 1"
                ),
                params![app.0, id.0],
                turn,
            )
            .optional()?)
        })
        .await
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

    /// The newest turn of an app.
    pub async fn newest_turn(&self, app: AppId) -> Result<Option<Turn>, StoreError> {
        self.read(move |c| {
            Ok(c.query_row(&format!("{SELECT} WHERE t.app_id = ?1 ORDER BY t.number DESC LIMIT 1"), [app.0], turn)
                .optional()?)
        })
        .await
    }

    /// What the turn before this one left, of those that the model was asked in.
    pub async fn turn_memory(&self, app: AppId, before: TurnId) -> Result<TurnMemory, StoreError> {
        self.read(move |c| {
            let memory = c
                .query_row(
                    "SELECT id, coalesce(version, base) AS known, question, compaction FROM turns
                     WHERE app_id = ?1 AND id < ?2 AND started_at IS NOT NULL ORDER BY id DESC LIMIT 1",
                    params![app.0, before.0],
                    |r| {
                        let memory = TurnMemory {
                            known: row::text_opt(r, "known")?,
                            meanwhile: Vec::new(),
                            question: row::json_opt(r, "question")?,
                            compaction: r.get("compaction")?,
                        };
                        Ok((r.get::<_, i64>("id")?, memory))
                    },
                )
                .optional()?;
            let Some((id, mut memory)) = memory else { return Ok(TurnMemory::default()) };
            memory.meanwhile = c
                .prepare_cached(
                    "SELECT v.id FROM versions v
                     JOIN turns t ON t.id = ?2
                     JOIN versions b ON b.app_id = ?1 AND b.id = t.base
                     JOIN versions e ON e.app_id = ?1 AND e.id = t.version
                     WHERE v.app_id = ?1 AND v.number > b.number AND v.number < e.number AND v.kind IN ('edit', 'restore')
                     ORDER BY v.number",
                )?
                .query_map(params![app.0, id], |r| row::text(r, "id"))?
                .collect::<Result<_, _>>()?;
            Ok(memory)
        })
        .await
    }

    /// The version that a turn found when it began.
    pub async fn turn_base(&self, id: TurnId) -> Result<Option<VersionId>, StoreError> {
        self.read(move |c| {
            Ok(c.query_row("SELECT base FROM turns WHERE id = ?1", [id.0], |r| row::text_opt(r, "base"))?)
        })
        .await
    }

    /// Keeps how far the conversation is told shorter (JSON) after a turn.
    pub async fn set_turn_compaction(&self, id: TurnId, compaction: String) -> Result<(), StoreError> {
        self.write(move |t| {
            t.execute("UPDATE turns SET compaction = ?2 WHERE id = ?1", params![id.0, compaction])?;
            Ok(())
        })
        .await
    }

    /// US dollars that the app's turns have cost that began at `since` or later.
    pub async fn spent_since(&self, app: AppId, since: Timestamp) -> Result<f64, StoreError> {
        self.read(move |c| {
            Ok(c.prepare_cached("SELECT total(cost_usd) FROM turns WHERE app_id = ?1 AND started_at >= ?2")?
                .query_row(params![app.0, since.as_millisecond()], |r| r.get(0))?)
        })
        .await
    }

    /// Whether anything was said to the model in a turn.
    pub async fn has_messages(&self, id: TurnId) -> Result<bool, StoreError> {
        self.read(move |c| {
            Ok(c.query_row("SELECT EXISTS (SELECT 1 FROM messages WHERE turn_id = ?1)", [id.0], |r| r.get(0))?)
        })
        .await
    }

    /// The turn's job has begun, on this version, and asks this model.
    pub async fn begin_turn(
        &self,
        id: TurnId,
        base: Option<VersionId>,
        model: ModelId,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(move |t| {
            t.execute(
                "UPDATE turns SET state = 'running', started_at = ?2, base = ?3, model = ?4
                 WHERE id = ?1 AND state = 'queued'",
                params![id.0, at.as_millisecond(), base.as_ref().map(VersionId::as_str), model.as_str()],
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
                        finished_at = ?8, reason = ?9, question = ?10
                 WHERE id = ?1 AND state IN ('queued', 'running')",
                params![
                    id.0,
                    ending.state.as_str(),
                    ending.version.as_ref().map(VersionId::as_str),
                    ending.size.files,
                    ending.size.additions,
                    ending.size.deletions,
                    ending.note,
                    at.as_millisecond(),
                    ending.reason,
                    ending.question.as_ref().map(row::to_json)
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
                        cost_usd = ?6, estimated = ?7
                 WHERE id = ?1",
            )?
            .execute(params![
                id.0,
                row::integer(usage.input_tokens),
                row::integer(usage.output_tokens),
                row::integer(usage.cache_read_tokens),
                row::integer(usage.cache_write_tokens),
                usage.cost_usd,
                usage.estimated
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
