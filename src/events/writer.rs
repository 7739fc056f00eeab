//! The writer of the event log: all that waits goes into one transaction, then to the readers.
//!
//! A change that fails is undone alone, and its error is its caller's. When the transaction as a whole fails, each
//! change that was part of it is answered with the reason; plain events, for which nobody waits, are kept and written
//! with the next transaction.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Transaction;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::{Channels, Kept, NewEvent};
use crate::domain::{Event, EventId};
use crate::store::{Store, StoreError, events as table, unless_panicked};

/// Appends that are taken from the queue at once.
const BATCH: usize = 512;
/// Events that are not kept yet. Whoever has one more waits.
const EVENTS_MAX: usize = 512;
/// Changes that wait for their answer. They have room of their own, so that they are answered while no event can be
/// written.
const CHANGES_MAX: usize = 512;
/// Ids that are reserved at once, so that not each transaction writes the counter.
const IDS: i64 = 10_000;
/// Pause after events could not be written, before they are tried again; it doubles. A change that comes meanwhile
/// tries again at once.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

pub(super) type Change = Box<dyn FnOnce(&Transaction<'_>) -> Result<Vec<NewEvent>, StoreError> + Send>;
type Done = oneshot::Sender<Result<(), StoreError>>;

enum Append {
    /// An event without a waiting caller.
    Event(Box<NewEvent>, OwnedSemaphorePermit),
    /// A change of state, and the events that report it.
    Change(Change, Done, OwnedSemaphorePermit),
}

/// What the writer has not written yet. Clones are the same queue.
#[derive(Clone)]
pub(super) struct Queue {
    appends: mpsc::UnboundedSender<Append>,
    events: Arc<Semaphore>,
    changes: Arc<Semaphore>,
}

impl Queue {
    /// Adds an event once there is room.
    pub(super) async fn event(&self, event: NewEvent) {
        let room = self.events.clone().acquire_owned().await.expect("the semaphore is never closed");
        // The writer lives as long as the process.
        let _ = self.appends.send(Append::Event(Box::new(event), room));
    }

    /// Adds a change once there is room. `done` gets its outcome.
    pub(super) async fn change(&self, change: Change, done: Done) {
        let room = self.changes.clone().acquire_owned().await.expect("the semaphore is never closed");
        let _ = self.appends.send(Append::Change(change, done, room));
    }
}

/// Writes what is queued. It can be started again after a panic: what was not written yet is still there.
pub(super) struct Writer {
    store: Store,
    channels: Arc<Channels>,
    state: tokio::sync::Mutex<State>,
}

struct State {
    appends: mpsc::UnboundedReceiver<Append>,
    /// What comes next, in order.
    waiting: Vec<Append>,
    /// How many of these are written one by one, to find the one that cannot be written at all.
    singly: usize,
    /// Before the next attempt.
    pause: Duration,
    position: Position,
}

/// The state of the tables after the last committed batch.
#[derive(Debug, Clone, Copy, Default)]
struct Position {
    /// The last used id. 0: not read yet.
    last: i64,
    /// The last reserved id.
    reserved: i64,
    /// Events since the fresh ones were moved.
    fresh: usize,
}

impl Writer {
    pub(super) fn new(store: Store, channels: Arc<Channels>) -> (Queue, Self) {
        let (sender, appends) = mpsc::unbounded_channel();
        let queue = Queue {
            appends: sender,
            events: Arc::new(Semaphore::new(EVENTS_MAX)),
            changes: Arc::new(Semaphore::new(CHANGES_MAX)),
        };
        let state = State { appends, waiting: Vec::new(), singly: 0, pause: PAUSE_MIN, position: Position::default() };
        (queue, Self { store, channels, state: tokio::sync::Mutex::new(state) })
    }

    /// Writes until the process ends.
    pub(super) async fn run(self: Arc<Self>) {
        let mut state = self.state.lock().await;
        let state = &mut *state;
        loop {
            let is_new = state.singly > 0 || state.waiting.iter().any(|append| matches!(append, Append::Change(..)));
            if !is_new {
                let retry = (!state.waiting.is_empty()).then_some(state.pause);
                tokio::select! {
                    received = state.appends.recv_many(&mut state.waiting, BATCH) => if received == 0 {
                        // No handle of the log is left, so nothing more can come.
                        self.write(state).await;
                        return std::future::pending().await;
                    },
                    () = pause(retry) => {}
                }
            }
            self.write(state).await;
        }
    }

    /// Writes one batch. Items that failed temporarily return to the queue.
    async fn write(&self, state: &mut State) {
        // All of it: a change must not wait behind events that cannot be written.
        let count = if state.singly > 0 { 1 } else { state.waiting.len() };
        let items: VecDeque<Append> = state.waiting.drain(..count).collect();
        state.singly = state.singly.saturating_sub(1);
        let batch = Arc::new(Mutex::new(Batch { items, position: state.position, ..Batch::default() }));
        let written = {
            let batch = batch.clone();
            self.store.write(move |t| batch.lock().unwrap_or_else(PoisonError::into_inner).write(t)).await
        };
        let batch = std::mem::take(&mut *batch.lock().unwrap_or_else(PoisonError::into_inner));
        match written {
            Ok(()) => {
                state.position = batch.position;
                if std::mem::replace(&mut state.pause, PAUSE_MIN) != PAUSE_MIN {
                    tracing::info!("events can be written again");
                }
                for Fresh { event, .. } in batch.fresh {
                    self.channels.send(event);
                }
                for (done, result) in batch.answers {
                    let _ = done.send(result);
                }
            }
            Err(error) => {
                let left = batch.undone(&error);
                tracing::error!(%error, events = left.len(), "failed to write events; they stay queued in memory");
                if error.is_temporary() {
                    state.pause = (state.pause * 2).min(PAUSE_MAX);
                } else if count > 1 {
                    state.singly = left.len();
                } else if !left.is_empty() {
                    tracing::error!(%error, "failed to write an event; it is lost");
                    return;
                }
                state.waiting.splice(0..0, left);
            }
        }
    }
}

async fn pause(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

/// What one transaction holds.
#[derive(Default)]
struct Batch {
    /// Not looked at yet.
    items: VecDeque<Append>,
    /// In the transaction.
    fresh: Vec<Fresh>,
    /// Changes that were tried, and what came of each.
    answers: Vec<(Done, Result<(), StoreError>)>,
    /// Held until the answers are sent.
    rooms: Vec<OwnedSemaphorePermit>,
    position: Position,
}

/// An event in the transaction. It has its id only once that is known.
struct Fresh {
    event: Kept,
    /// That of a plain event; `None` for one that reports a change.
    room: Option<OwnedSemaphorePermit>,
}

impl Batch {
    /// Makes the changes and inserts the events. A change that fails is undone alone.
    fn write(&mut self, t: &Transaction<'_>) -> Result<(), StoreError> {
        let mut fresh: Vec<(NewEvent, Option<OwnedSemaphorePermit>)> = Vec::with_capacity(self.items.len());
        let made = self.make_changes(t, &mut fresh);
        self.fresh.extend(fresh.into_iter().map(|(NewEvent { app, job, body }, room)| Fresh {
            event: Kept::new(Event { id: EventId(0), app, job, body }),
            room,
        }));
        made?;
        if self.fresh.is_empty() {
            return Ok(());
        }
        let position = &mut self.position;
        if position.last == 0 {
            position.last = table::next_id(t)? - 1;
        }
        for Fresh { event, .. } in &mut self.fresh {
            position.last += 1;
            event.event.id = EventId(position.last);
            table::insert(t, event, event.json())?;
            position.fresh += usize::from(table::is_fresh(event));
        }
        if position.last > position.reserved {
            position.reserved = position.last + IDS;
            table::reserve_ids(t, position.reserved)?;
        }
        if table::move_many(t, position.fresh)? {
            position.fresh = 0;
        }
        Ok(())
    }

    fn make_changes(
        &mut self,
        t: &Transaction<'_>,
        fresh: &mut Vec<(NewEvent, Option<OwnedSemaphorePermit>)>,
    ) -> Result<(), StoreError> {
        while let Some(item) = self.items.pop_front() {
            match item {
                Append::Event(event, room) => {
                    // Pieces that wait for the same commit go out as one.
                    let last = fresh.last_mut().filter(|(last, _)| last.app == event.app && last.job == event.job);
                    if let Some((last, Some(held))) = last
                        && table::join(&mut last.body, &event.body)
                    {
                        held.merge(room);
                    } else {
                        fresh.push((*event, Some(room)));
                    }
                }
                Append::Change(change, done, room) => {
                    self.rooms.push(room);
                    let (result, whole) = make_change(t, change);
                    self.answers
                        .push((done, result.map(|events| fresh.extend(events.into_iter().map(|event| (event, None))))));
                    whole?;
                }
            }
        }
        Ok(())
    }

    /// Answers the changes after the transaction failed, and hands back what can be tried again: plain events, and
    /// changes that the transaction did not come to.
    fn undone(mut self, error: &StoreError) -> Vec<Append> {
        let came_to_none = self.answers.is_empty();
        for (done, result) in self.answers.drain(..) {
            let _ = done.send(result.and(Err(error.clone())));
        }
        let plain = self.fresh.drain(..).filter_map(|Fresh { event: Kept { event, .. }, room }| {
            let Event { app, job, body, .. } = event;
            Some(Append::Event(Box::new(NewEvent { app, job, body }), room?))
        });
        let mut left: Vec<Append> = plain.collect();
        for item in self.items.drain(..) {
            match item {
                // None of them was tried, and none would be next time either.
                Append::Change(_, done, _) if came_to_none => {
                    let _ = done.send(Err(error.clone()));
                }
                item => left.push(item),
            }
        }
        left
    }
}

/// Makes a change. Returns its result, and whether the transaction can continue.
fn make_change(t: &Transaction<'_>, change: Change) -> (Result<Vec<NewEvent>, StoreError>, Result<(), StoreError>) {
    if let Err(error) = t.execute_batch("SAVEPOINT change").map_err(StoreError::from) {
        return (Err(error.clone()), Err(error));
    }
    let result = unless_panicked(|| change(t));
    // A full or broken disk makes SQLite roll back the whole transaction, with the savepoint.
    if t.is_autocommit() {
        let error = result.err().unwrap_or_else(|| StoreError::Open("the transaction was rolled back".to_owned()));
        return (Err(error.clone()), Err(error));
    }
    let sql = if result.is_ok() { "RELEASE change" } else { "ROLLBACK TO change; RELEASE change" };
    match t.execute_batch(sql).map_err(StoreError::from) {
        Ok(()) => (result, Ok(())),
        Err(error) => (result.and(Err(error.clone())), Err(error)),
    }
}
