//! The blocks of ended turns, one row each. A turn that ended before this table existed gets its rows when its events are
//! deleted.

use rusqlite::{Connection, Row, Transaction, params};

use super::{Store, StoreError, events, row};
use crate::domain::{AppId, JobId, TurnBlock, TurnId};

fn block(row: &Row<'_>) -> rusqlite::Result<TurnBlock> {
    row::json(row, "block")
}

fn has_any(c: &Connection, turn: TurnId) -> Result<bool, StoreError> {
    Ok(c.prepare_cached("SELECT EXISTS (SELECT 1 FROM turn_blocks WHERE turn_id = ?1)")?
        .query_row([turn.0], |r| r.get(0))?)
}

/// Folds the events of an ended turn's job into blocks and stores them, unless the turn has blocks already.
fn keep(t: &Transaction<'_>, turn: TurnId, job: JobId) -> Result<(), StoreError> {
    if has_any(t, turn)? {
        return Ok(());
    }
    let blocks = TurnBlock::of_ended(&events::of_turn(t, job)?);
    let mut insert =
        t.prepare_cached("INSERT INTO turn_blocks (turn_id, position, kind, block) VALUES (?1, ?2, ?3, ?4)")?;
    for (block, position) in blocks.iter().zip(0_i64..) {
        insert.execute(params![turn.0, position, block.kind(), row::to_json(block)])?;
    }
    Ok(())
}

/// Stores the blocks of an app's turns whose events are about to be deleted: those of jobs before this one.
pub(super) fn keep_before(t: &Transaction<'_>, app: AppId, job: JobId) -> Result<(), StoreError> {
    let turns = t
        .prepare_cached(
            "SELECT t.id, t.job_id FROM turns t
             WHERE t.app_id = ?1 AND t.job_id < ?2 AND t.state NOT IN ('queued', 'running')
               AND EXISTS (SELECT 1 FROM events e WHERE e.job_id = t.job_id)",
        )?
        .query_map(params![app.0, job.0], |r| Ok((TurnId(r.get(0)?), JobId(r.get(1)?))))?
        .collect::<Result<Vec<_>, _>>()?;
    for (turn, job) in turns {
        keep(t, turn, job)?;
    }
    Ok(())
}

impl Store {
    /// Stores the blocks of a job's turn, if it has one that has ended.
    pub async fn keep_turn_blocks(&self, job: JobId) -> Result<(), StoreError> {
        self.write(move |t| {
            let turns = t
                .prepare_cached("SELECT id FROM turns WHERE job_id = ?1 AND state NOT IN ('queued', 'running')")?
                .query_map([job.0], |r| Ok(TurnId(r.get(0)?)))?
                .collect::<Result<Vec<_>, _>>()?;
            turns.into_iter().try_for_each(|turn| keep(t, turn, job))
        })
        .await
    }

    /// The stored blocks of a turn; empty if none are stored.
    pub async fn turn_blocks(&self, turn: TurnId) -> Result<Vec<TurnBlock>, StoreError> {
        self.read(move |c| {
            let rows = c
                .prepare_cached("SELECT block FROM turn_blocks WHERE turn_id = ?1 ORDER BY position")?
                .query_map([turn.0], block)?
                .collect::<Result<Vec<_>, _>>()?;
            Ok(rows)
        })
        .await
    }

    /// The answers among them; `None` if no blocks are stored.
    pub async fn turn_answers(&self, turn: TurnId) -> Result<Option<Vec<TurnBlock>>, StoreError> {
        self.read(move |c| {
            if !has_any(c, turn)? {
                return Ok(None);
            }
            let rows = c
                .prepare_cached(
                    "SELECT block FROM turn_blocks WHERE turn_id = ?1 AND kind = 'answer' ORDER BY position",
                )?
                .query_map([turn.0], block)?
                .collect::<Result<Vec<_>, _>>()?;
            Ok(Some(rows))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::domain::{
        AppName, Event, EventBody, EventId, FileState, JobKind, JobState, NewTurn, TextKind, TurnMode,
    };
    use crate::events::EventScope;
    use crate::store::jobs;

    /// A turn whose job has run and ended, with three events.
    async fn ended_turn(store: &Store, app: AppId, first_event: i64) -> (TurnId, JobId) {
        let at = Timestamp::from_millisecond(1).expect("in range");
        let name: AppName = "tides".parse().expect("a name");
        let turn = store.insert_turn(app, NewTurn::of_person("Tides", TurnMode::Build), at).await.expect("inserted").id;
        let job = store.write(move |t| {
            let job = jobs::insert(t, app, &name, &JobKind::Generate { turn }, crate::domain::Author::Person, at)?.id;
            jobs::take_next(t, crate::domain::JobClass::Model, at)?;
            let path = "a.txt".parse().expect("a path");
            let bodies = [
                EventBody::Text { delta: "Here ".to_owned(), kind: TextKind::Answer },
                EventBody::Text { delta: "it is.".to_owned(), kind: TextKind::Answer },
                EventBody::File { path, state: FileState::Written, delta: Some("x".to_owned()) },
            ];
            for (body, id) in bodies.into_iter().zip(first_event..) {
                let event = Event { id: EventId(id), app, job: Some(job), body };
                events::insert(t, &event, &event.body.to_json())?;
            }
            jobs::change_state(t, job, JobState::Succeeded, None, None, at)?;
            Ok(job)
        });
        (turn, job.await.expect("run"))
    }

    #[tokio::test]
    async fn blocks_of_a_turn_outlive_its_events() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).await.expect("opens");
        let at = Timestamp::from_millisecond(1).expect("in range");
        let template = "static-site".parse().expect("a template");
        let app = store.insert_app("tides".parse().expect("a name"), template, "x".into(), at).await.expect("made").id;
        let expected = [
            TurnBlock::Answer("Here it is.".to_owned()),
            TurnBlock::File {
                path: "a.txt".parse().expect("a path"),
                state: FileState::Written,
                content: Some("x".to_owned()),
            },
        ];
        // The blocks of the first are stored when its job has ended, those of the second are not, as in an earlier version.
        let (kept, job) = ended_turn(&store, app, 1).await;
        store.keep_turn_blocks(job).await.expect("kept");
        store.keep_turn_blocks(job).await.expect("kept once");
        let (earlier, _) = ended_turn(&store, app, 11).await;
        assert_eq!(store.turn_answers(earlier).await.expect("read"), None);
        let (newest, last) = ended_turn(&store, app, 21).await;
        store.forget_events(app, 1).await.expect("forgotten");
        let left = store.events_after(EventScope::App(app), EventId(0), 100).await.expect("read");
        assert!(!left.is_empty() && left.iter().all(|event| event.job == Some(last)), "{left:?}");
        for turn in [kept, earlier] {
            assert_eq!(store.turn_blocks(turn).await.expect("read"), expected);
            assert_eq!(store.turn_answers(turn).await.expect("read").as_deref(), Some(&expected[..1]));
        }
        assert_eq!(store.turn_blocks(newest).await.expect("read"), [], "its events are still there");
    }
}
