//! Turns: the prompt, the state and the result of each.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::{Store, StoreError, apps, row};
use crate::domain::{
    AnswerId, AppId, Attachment, ChangeSize, Cursor, FileChange, INTERRUPTED, JobError, JobId, JobState, ModelId,
    NewTurn, Page, PageRequest, Question, Repair, RepairBudget, Turn, TurnId, TurnOrigin, TurnState, Usage, VersionId,
    WITHDRAWN,
};

/// How a turn ended.
#[derive(Debug, Clone)]
pub struct TurnEnding {
    /// A final state.
    pub state: TurnState,
    /// The version that it created.
    pub version: Option<VersionId>,
    /// The size of its changes.
    pub size: ChangeSize,
    /// Number of its calls that change files and were refused.
    pub failed_edits: u32,
    /// The files that its version changed, the first ones.
    pub changes: Vec<FileChange>,
    /// Why it ended early, in a sentence.
    pub note: Option<String>,
    /// Why it ended early, as a code.
    pub reason: Option<String>,
    /// The model's question.
    pub question: Option<Question>,
}

const SELECT: &str = "SELECT t.*, v.number AS version_number, v.title AS version_title FROM turns t
    LEFT JOIN versions v ON v.app_id = t.app_id AND v.id = t.version";
/// The newest turn of an app that was not cancelled in the queue.
const NEWEST: &str = "SELECT t.*, v.number AS version_number, v.title AS version_title FROM turns t
    LEFT JOIN versions v ON v.app_id = t.app_id AND v.id = t.version
    WHERE t.app_id = ?1 AND NOT (t.state = 'stopped' AND t.started_at IS NULL) ORDER BY t.number DESC LIMIT 1";

fn turn(row: &Row<'_>) -> rusqlite::Result<Turn> {
    Ok(Turn {
        id: TurnId(row.get("id")?),
        number: row.get("number")?,
        prompt: row.get("prompt")?,
        origin: origin(row)?,
        evidence: row::json_opt(row, "evidence")?,
        answer: row::text_opt(row, "answer")?,
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
        failed_edits: row.get("failed_edits")?,
        version_title: row.get("version_title")?,
        changes: row::json(row, "changes")?,
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
        reason: row.get("reason")?,
        question: row::json_opt(row, "question")?,
        created_at: row::time(row, "created_at")?,
        started_at: row::time_opt(row, "started_at")?,
        finished_at: row::time_opt(row, "finished_at")?,
    })
}

pub(super) fn origin(row: &Row<'_>) -> rusqlite::Result<TurnOrigin> {
    let earlier = |column| Ok::<_, rusqlite::Error>(TurnId(row.get(column)?));
    Ok(match row.get_ref("origin")?.as_str()? {
        "continue" => TurnOrigin::Continue { of: earlier("continues")? },
        "repair" => TurnOrigin::Repair(Repair { of: earlier("repair_of")?, number: row.get("repair")? }),
        "fix" => TurnOrigin::Fix,
        "person" => TurnOrigin::Person,
        other => return Err(row::unreadable("origin", format!("“{other}” is unknown"))),
    })
}

/// Inserts a queued turn. A turn that answers a question is rejected if the question is not open any more, so that two clicks
/// do not start two turns.
pub fn insert(t: &Transaction<'_>, app: AppId, new: &NewTurn, at: Timestamp) -> Result<Turn, StoreError> {
    if let Some(answer) = new.answer {
        check_answer(t, app, answer)?;
    }
    let (mut continues, mut repair) = (None, None);
    match new.origin {
        TurnOrigin::Continue { of } => continues = Some(of.0),
        TurnOrigin::Repair(of) => repair = Some(of),
        TurnOrigin::Person | TurnOrigin::Fix => {}
    }
    t.execute(
        "INSERT INTO turns (app_id, number, prompt, mode, state, created_at, origin, continues, repair_of, repair, evidence,
                            answer, attachments)
         SELECT ?1, coalesce(max(number), 0) + 1, ?2, ?3, 'queued', ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11
         FROM turns WHERE app_id = ?1",
        params![
            app.0,
            new.prompt,
            new.mode.as_str(),
            at.as_millisecond(),
            new.origin.as_str(),
            continues,
            repair.map(|repair| repair.of.0),
            repair.map(|repair| repair.number),
            new.evidence.as_ref().map(row::to_json),
            new.answer.map(|answer| answer.to_string()),
            row::to_json(&new.attachments),
        ],
    )?;
    let id = t.last_insert_rowid();
    apps::touch(t, app, at)?;
    Ok(t.query_row(&format!("{SELECT} WHERE t.id = ?1"), [id], turn)?)
}

/// Rejects an answer to a question that is not open: one of another app, one that was answered, or after which another
/// message was sent.
fn check_answer(t: &Transaction<'_>, app: AppId, answer: AnswerId) -> Result<(), StoreError> {
    let Some(newest) = t.query_row(NEWEST, [app.0], turn).optional()? else { return Err(StoreError::QuestionClosed) };
    let is_open = newest.id == answer.turn
        && newest.question.as_ref().is_some_and(|question| question.choice(answer.choice).is_some());
    // The same answer again, after its turn was interrupted.
    let is_repeated = newest.answer == Some(answer) && newest.may_continue();
    if is_open || is_repeated { Ok(()) } else { Err(StoreError::QuestionClosed) }
}

/// Stores the repairs of a user's turn.
pub fn keep_repairs(t: &Transaction<'_>, id: TurnId, repairs: &RepairBudget) -> Result<(), StoreError> {
    t.execute("UPDATE turns SET repairs = ?2 WHERE id = ?1", params![id.0, row::to_json(repairs)])?;
    Ok(())
}

/// Ends the turn of a job that reaches a final state; an ended turn stays unchanged.
pub fn end_with_job(
    t: &Transaction<'_>,
    id: TurnId,
    (before, now): (JobState, JobState),
    error: Option<&JobError>,
    at: Timestamp,
) -> Result<(), StoreError> {
    let (state, note, reason) = match error {
        _ if now == JobState::Cancelled && before == JobState::Queued => {
            (TurnState::Stopped, Some("Cancelled before it started."), Some(WITHDRAWN))
        }
        _ if now == JobState::Cancelled => {
            (TurnState::Stopped, Some("Stopped. Changes so far are saved."), Some("stopped"))
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
    /// Queued or running turns without a job that would end them, with their apps.
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

    /// Inserts a queued turn.
    pub async fn insert_turn(&self, app: AppId, new: NewTurn, at: Timestamp) -> Result<Turn, StoreError> {
        self.write(move |t| insert(t, app, &new, at)).await
    }

    /// A user's turn and its repairs, oldest first.
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

    /// The repairs so far of a user's turn.
    pub async fn repairs(&self, id: TurnId) -> Result<RepairBudget, StoreError> {
        self.read(move |c| {
            let kept =
                c.query_row("SELECT repairs FROM turns WHERE id = ?1", [id.0], |r| row::json_opt(r, "repairs"))?;
            Ok(kept.unwrap_or_default())
        })
        .await
    }

    /// Stores the repairs of a user's turn.
    pub async fn set_repairs(&self, id: TurnId, repairs: RepairBudget) -> Result<(), StoreError> {
        self.write(move |t| keep_repairs(t, id, &repairs)).await
    }

    /// The attachments of an app's turns up to this one, newest first.
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

    /// A turn of an app.
    pub async fn turn_of(&self, app: AppId, id: TurnId) -> Result<Turn, StoreError> {
        self.read(move |c| {
            Ok(c.query_row(&format!("{SELECT} WHERE t.id = ?1 AND t.app_id = ?2"), params![id.0, app.0], turn)?)
        })
        .await
    }

    /// One turn of any app.
    pub async fn turn(&self, id: TurnId) -> Result<Turn, StoreError> {
        self.read(move |c| Ok(c.query_row(&format!("{SELECT} WHERE t.id = ?1"), [id.0], turn)?)).await
    }

    /// The turn of a job.
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

    /// The newest turn of an app that was not cancelled in the queue.
    pub async fn newest_turn(&self, app: AppId) -> Result<Option<Turn>, StoreError> {
        self.read(move |c| Ok(c.query_row(NEWEST, [app.0], turn).optional()?)).await
    }

    /// The version at the start of a turn.
    pub async fn turn_base(&self, id: TurnId) -> Result<Option<VersionId>, StoreError> {
        self.read(move |c| {
            Ok(c.query_row("SELECT base FROM turns WHERE id = ?1", [id.0], |r| row::text_opt(r, "base"))?)
        })
        .await
    }

    /// Cost in US dollars of the app's turns that started at `since` or later.
    pub async fn spent_since(&self, app: AppId, since: Timestamp) -> Result<f64, StoreError> {
        self.read(move |c| {
            Ok(c.prepare_cached("SELECT total(cost_usd) FROM turns WHERE app_id = ?1 AND started_at >= ?2")?
                .query_row(params![app.0, since.as_millisecond()], |r| r.get(0))?)
        })
        .await
    }

    /// Records that the turn has started, on this version and with this model.
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

    /// Ends the turn; an ended turn stays unchanged.
    pub async fn end_turn(&self, id: TurnId, ending: TurnEnding, at: Timestamp) -> Result<(), StoreError> {
        self.write(move |t| {
            t.execute(
                "UPDATE turns SET state = ?2, version = ?3, files = ?4, additions = ?5, deletions = ?6, note = ?7,
                        finished_at = ?8, reason = ?9, question = ?10, failed_edits = ?11, changes = ?12
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
                    ending.question.as_ref().map(row::to_json),
                    ending.failed_edits,
                    row::to_json(&ending.changes)
                ],
            )?;
            Ok(())
        })
        .await
    }

    /// Stores the usage of the turn so far.
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{AppName, Evidence, QuestionKind, TurnMode};
    use crate::generation::material;

    const AT: Timestamp = Timestamp::UNIX_EPOCH;

    async fn store() -> (tempfile::TempDir, Store, AppId) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).await.expect("opens");
        let app = app(&store, "one").await;
        (folder, store, app)
    }

    async fn app(store: &Store, name: &str) -> AppId {
        let name: AppName = name.parse().expect("a name");
        let insert = move |t: &Transaction<'_>| {
            t.execute(
                "INSERT INTO apps (name, template, description, created_at, updated_at) VALUES (?1, 'static-site', '', 0, 0)",
                [name.as_str()],
            )?;
            Ok(AppId(t.last_insert_rowid()))
        };
        store.write(insert).await.expect("inserted")
    }

    /// A turn that ended with this question.
    async fn asked(store: &Store, app: AppId, question: Question) -> TurnId {
        let turn =
            store.insert_turn(app, NewTurn::of_person("Tidy up", TurnMode::Build), AT).await.expect("inserted").id;
        store.begin_turn(turn, None, "m".parse().expect("a model"), AT).await.expect("begun");
        end(store, turn, TurnState::Done, Some(question)).await;
        turn
    }

    async fn end(store: &Store, turn: TurnId, state: TurnState, question: Option<Question>) {
        let size = ChangeSize::default();
        let ending = TurnEnding {
            state,
            version: None,
            size,
            failed_edits: 0,
            changes: Vec::new(),
            note: None,
            reason: None,
            question,
        };
        store.end_turn(turn, ending, AT).await.expect("ended");
    }

    #[tokio::test]
    async fn an_answer_is_accepted_once_and_only_while_its_question_is_open() {
        let (_folder, store, one) = store().await;
        let other = app(&store, "other").await;
        let turn = asked(&store, one, Question::about_rewrite("All of it?")).await;
        let answer = |turn, choice| NewTurn {
            answer: Some(AnswerId { turn, choice }),
            ..NewTurn::of_person("Yes, continue", TurnMode::Build)
        };
        let refused = |result| assert!(matches!(result, Err(StoreError::QuestionClosed)), "{result:?}");
        refused(store.insert_turn(other, answer(turn, 1), AT).await);
        refused(store.insert_turn(one, answer(turn, 3), AT).await);
        // A cancelled turn does not close the question.
        let withdrawn =
            store.insert_turn(one, NewTurn::of_person("x", TurnMode::Build), AT).await.expect("inserted").id;
        refused(store.insert_turn(one, answer(turn, 1), AT).await);
        end(&store, withdrawn, TurnState::Stopped, None).await;
        let yes = store.insert_turn(one, answer(turn, 1), AT).await.expect("it is open");
        assert_eq!(yes.answer, Some(AnswerId { turn, choice: 1 }));
        refused(store.insert_turn(one, answer(turn, 1), AT).await);
        // A turn that failed can be repeated with its answer.
        end(&store, yes.id, TurnState::Failed, None).await;
        store.insert_turn(one, answer(turn, 1), AT).await.expect("repeated");
    }

    #[tokio::test]
    async fn a_turn_of_another_app_is_not_found() {
        let (_folder, store, one) = store().await;
        let other = app(&store, "other").await;
        let turn = store.insert_turn(one, NewTurn::of_person("x", TurnMode::Build), AT).await.expect("inserted").id;
        assert!(store.turn_of(one, turn).await.is_ok());
        assert!(matches!(store.turn_of(other, turn).await, Err(StoreError::NotFound)));
    }

    #[tokio::test]
    async fn a_stored_turn_can_be_read() {
        let (_folder, store, app) = store().await;
        let evidence = Some(Evidence { source: "preview: start_failed".into(), text: "a\nb".into() });
        let first = store.insert_turn(app, NewTurn::of_person("x", TurnMode::Build), AT).await.expect("inserted").id;
        for origin in [
            TurnOrigin::Person,
            TurnOrigin::Fix,
            TurnOrigin::Continue { of: first },
            TurnOrigin::Repair(Repair { of: first, number: 2 }),
        ] {
            let new = NewTurn { origin, evidence: evidence.clone(), ..NewTurn::of_person("y", TurnMode::Build) };
            let turn = store.insert_turn(app, new, AT).await.expect("inserted");
            assert_eq!((turn.origin, &turn.evidence), (origin, &evidence));
        }
        assert_eq!(store.turn_with_repairs(first).await.expect("read").len(), 2);
    }

    /// The migration fills the new columns of existing turns from their prompts.
    #[test]
    fn earlier_turns_get_their_origin_evidence_and_answer() {
        let mut c = rusqlite::Connection::open_in_memory().expect("opens");
        let at = super::super::MIGRATION_FILES.iter().position(|(name, _)| *name == "0013_turn_origin").expect("there");
        super::super::MIGRATIONS.to_version(&mut c, at).expect("the version before");
        c.execute_batch(
            "INSERT INTO apps (id, name, template, description, created_at, updated_at)
             VALUES (1, 'one', 't', '', 0, 0), (2, 'two', 't', '', 0, 0)",
        )
        .expect("apps");
        let log = "ERROR: no\n\n<b>\">\n</b>";
        let evidence = |source: &str| material::wrap(source, log);
        let repair = format!(
            "The preview of your work failed. “pip” failed.\n\n{}\n\nFind the cause and fix it.",
            evidence("preview: build_failed")
        );
        let fix = format!(
            "Version 12 could not be deployed. Find the cause and fix it.\n\n{}",
            evidence("deployment: start_failed")
        );
        let browser = format!(
            "A browser that had the draft open reported these 2 errors. Find the cause and fix it.\n\n{}",
            evidence("a browser's console")
        );
        let typed = format!("Look at this.\n\n{}", evidence("log"));
        // With the answers that were offered at that time.
        let question = Question {
            choices: vec!["Yes, go on".to_owned(), "No, keep what is there".to_owned()],
            ..Question::about_rewrite("All of it?")
        };
        let question = row::to_json(&question);
        let turns: [(i64, &str, Option<&str>, Option<i64>); 11] = [
            (1, "Go on where you stopped.", None, None),
            (2, "Go on where you stopped.", None, None),
            (1, &repair, None, Some(1)),
            (1, "The preview of your work failed. It ended.\n\nFind the cause.", None, Some(1)),
            (1, &fix, None, None),
            (1, &browser, None, None),
            (1, &typed, Some(&question), None),
            (2, "Yes, go on", None, None),
            (1, "Yes, go on", Some(&question), None),
            (1, "yes, but keep the footer", None, None),
            (1, "Go on where you stopped.", None, None),
        ];
        for (nth, (app, prompt, question, repair_of)) in turns.into_iter().enumerate() {
            c.execute(
                "INSERT INTO turns (app_id, number, prompt, mode, state, created_at, started_at, question, repair_of, repair)
                 VALUES (?1, ?2, ?3, 'build', 'done', 0, 0, ?4, ?5, iif(?5 IS NULL, NULL, 1))",
                params![app, i64::try_from(nth).expect("small"), prompt, question, repair_of],
            )
            .expect("a turn");
        }
        super::super::MIGRATIONS.to_latest(&mut c).expect("migrated");
        let all: Vec<Turn> = c
            .prepare(&format!("{SELECT} ORDER BY t.id"))
            .and_then(|mut all| all.query_map([], turn)?.collect())
            .expect("all can be read");
        let of = |id| TurnOrigin::Continue { of: TurnId(id) };
        let repair = TurnOrigin::Repair(Repair { of: TurnId(1), number: 1 });
        let origins: Vec<TurnOrigin> = all.iter().map(|turn| turn.origin).collect();
        let (person, fixed) = (TurnOrigin::Person, TurnOrigin::Fix);
        assert_eq!(origins, [person, person, repair, repair, fixed, fixed, person, person, person, person, of(10)]);
        let prompts: Vec<&str> = all[2..7].iter().map(|turn| turn.prompt.as_str()).collect();
        assert_eq!(
            prompts,
            [
                "The preview of your work failed. “pip” failed.",
                "The preview of your work failed. It ended.",
                "Version 12 could not be deployed. Find the cause and fix it.",
                "A browser that had the draft open reported these 2 errors. Find the cause and fix it.",
                &typed,
            ]
        );
        let kept = |nth: usize| all[nth].evidence.as_ref().map(|one| (one.source.as_str(), one.text.as_str()));
        assert_eq!(kept(2), Some(("preview: build_failed", log)));
        assert_eq!(kept(4), Some(("deployment: start_failed", log)));
        assert_eq!(kept(5), Some(("a browser's console", log)));
        assert_eq!((kept(3), kept(6)), (None, None));
        let answers: Vec<Option<String>> = all.iter().map(|turn| turn.answer.map(|id| id.to_string())).collect();
        assert_eq!(answers.iter().flatten().collect::<Vec<_>>(), ["7-1"]);
        assert_eq!(answers[8].as_deref(), Some("7-1"));
        assert_eq!(all[6].question.as_ref().map(|question| question.about), Some(QuestionKind::Rewrite));
    }
}
