//! The event log: append, broadcast, resume.
//!
//! Everything that is told is kept first. Appends from all over the builder queue up here and
//! are written in one transaction each time the writer is free (group commit), then broadcast;
//! so nobody has seen an event that a restart would not find, and under load the cost of a
//! commit is shared. The queue is bounded: a writer that is slow, as on a busy disk, slows those down who have
//! something to tell, and nothing piles up. A change of state can ride in the same transaction as the event that
//! tells of it. Knows the store; knows nothing of who emits or who listens.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::Stream;
use rusqlite::Transaction;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::domain::{AppId, Event, EventBody, EventId, JobId, JobState};
pub use crate::store::events::EventScope;
use crate::store::{Store, StoreError, events as table};

/// Events a slow reader may fall behind before it is sent back to the kept ones.
const BACKLOG: usize = 1024;
/// Appends that one transaction takes at most.
const BATCH: usize = 512;
/// Appends that wait for the writer. Whoever has one more waits too.
const QUEUE: usize = 512;
/// Kept events read at once.
const PAGE: u32 = 500;

/// A kept event with its JSON, which is made once for the database and every reader.
#[derive(Debug)]
pub struct Kept {
    event: Event,
    json: String,
}

impl Kept {
    fn new(event: Event) -> Self {
        let json = event.body.to_json();
        Self { event, json }
    }

    /// The event's data as JSON.
    pub fn json(&self) -> &str {
        &self.json
    }
}

impl Deref for Kept {
    type Target = Event;
    fn deref(&self) -> &Event {
        &self.event
    }
}

/// An event that has no id yet.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// Whose it is.
    pub app: AppId,
    /// The job it belongs to.
    pub job: Option<JobId>,
    /// What it says.
    pub body: EventBody,
}

type Change = Box<dyn FnOnce(&Transaction<'_>) -> Result<Vec<NewEvent>, StoreError> + Send>;

enum Append {
    /// An event that nobody waits for.
    Event(Box<NewEvent>),
    /// A change of state, and the events that tell of it.
    Change(Change, oneshot::Sender<Result<(), StoreError>>),
}

/// The log. Cheap to clone.
#[derive(Clone)]
pub struct EventLog {
    store: Store,
    queue: mpsc::Sender<Append>,
    channels: Arc<Channels>,
    /// The last batch found no space left.
    disk_full: Arc<AtomicBool>,
    shutdown: CancellationToken,
}

#[derive(Default)]
struct Channels(Mutex<HashMap<AppId, broadcast::Sender<Arc<Kept>>>>);

impl Channels {
    fn subscribe(&self, app: AppId) -> broadcast::Receiver<Arc<Kept>> {
        let mut channels = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody listens to any more go when somebody new comes.
        channels.retain(|_, sender| sender.receiver_count() > 0);
        channels.entry(app).or_insert_with(|| broadcast::channel(BACKLOG).0).subscribe()
    }

    fn send(&self, event: Kept) {
        let channels = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = channels.get(&event.app) {
            // An error means that the last reader has just left.
            let _ = sender.send(Arc::new(event));
        }
    }

    fn listeners(&self) -> usize {
        let channels = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        channels.values().map(broadcast::Sender::receiver_count).sum()
    }
}

impl EventLog {
    /// Starts the writer, which ends when the last clone of the log is gone. Streams end at `shutdown`.
    pub fn start(store: Store, shutdown: CancellationToken) -> Self {
        let (queue, appends) = mpsc::channel(QUEUE);
        let channels = Arc::new(Channels::default());
        let disk_full = Arc::new(AtomicBool::new(false));
        tokio::spawn(write_loop(store.clone(), appends, channels.clone(), disk_full.clone()));
        Self { store, queue, channels, disk_full, shutdown }
    }

    /// Appends an event, in order with all others of this caller. Waits for room in the queue, not for the event to
    /// be kept.
    pub async fn emit(&self, app: AppId, job: Option<JobId>, body: EventBody) {
        // The queue is open as long as this handle is.
        let _ = self.queue.send(Append::Event(Box::new(NewEvent { app, job, body }))).await;
    }

    /// Makes a change of state and keeps the events that tell of it, all or nothing; then they are
    /// broadcast. Waits until it is kept. Events emitted before come before.
    pub async fn commit<R, F>(&self, change: F) -> Result<R, StoreError>
    where
        R: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<(R, Vec<NewEvent>), StoreError> + Send + 'static,
    {
        let (result, value) = oneshot::channel();
        let (done, ended) = oneshot::channel();
        let change: Change = Box::new(move |t| {
            let (value, events) = change(t)?;
            // The caller may have gone; the change is made all the same.
            let _ = result.send(value);
            Ok(events)
        });
        self.queue.send(Append::Change(change, done)).await.map_err(|_| StoreError::Closed)?;
        // A batch that could not be committed answers nobody.
        let lost = |_| if self.disk_full.load(Ordering::Relaxed) { StoreError::DiskFull } else { StoreError::Closed };
        ended.await.map_err(lost)??;
        value.await.map_err(|_| StoreError::Closed)
    }

    /// Waits until everything emitted so far is kept.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.commit(|_| Ok(((), Vec::new()))).await
    }

    /// How many streams are open.
    pub fn listeners(&self) -> usize {
        self.channels.listeners()
    }

    /// The events of `scope` of the app after an id: first the kept ones, then as they come.
    /// A job's stream ends after its last event; all end at shutdown.
    pub fn stream(
        &self,
        app: AppId,
        scope: EventScope,
        after: EventId,
    ) -> impl Stream<Item = Result<Arc<Kept>, StoreError>> + Send + use<> {
        let state = Reader {
            // Before the first read, so that nothing falls between the kept and the live ones.
            live: self.channels.subscribe(app),
            log: self.clone(),
            scope,
            last: after,
            kept: Vec::new().into_iter(),
            caught_up: false,
            ended: false,
        };
        futures_util::stream::unfold(state, async |mut reader| {
            let next = reader.next().await?;
            Some((next, reader))
        })
    }
}

struct Reader {
    log: EventLog,
    live: broadcast::Receiver<Arc<Kept>>,
    scope: EventScope,
    last: EventId,
    kept: std::vec::IntoIter<Event>,
    caught_up: bool,
    ended: bool,
}

impl Reader {
    async fn next(&mut self) -> Option<Result<Arc<Kept>, StoreError>> {
        loop {
            if self.ended {
                return None;
            }
            if let Some(event) = self.kept.next() {
                return Some(Ok(self.tell(Arc::new(Kept::new(event)))));
            }
            if !self.caught_up {
                match self.read_page().await {
                    Ok(true) => continue,
                    Ok(false) => {}
                    Err(error) => {
                        self.ended = true;
                        return Some(Err(error));
                    }
                }
                if self.ended {
                    return None;
                }
            }
            let received = tokio::select! {
                () = self.log.shutdown.cancelled() => return None,
                received = self.live.recv() => received,
            };
            match received {
                Ok(event) if event.id <= self.last || !self.concerns(&event) => {}
                Ok(event) => return Some(Ok(self.tell(event))),
                Err(broadcast::error::RecvError::Lagged(_)) => self.caught_up = false,
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// Reads on in the kept events; `true` if there were more.
    async fn read_page(&mut self) -> Result<bool, StoreError> {
        // Asked before the events are read: a job that had ended then has no event that is not kept.
        let ended = match self.scope {
            EventScope::Job(job) => self.log.store.job(job).await?.state.is_final(),
            EventScope::App(_) => false,
        };
        let page = self.log.store.events_after(self.scope, self.last, PAGE).await?;
        let more = !page.is_empty();
        self.kept = page.into_iter();
        self.caught_up = !more;
        self.ended = ended && !more;
        Ok(more)
    }

    fn concerns(&self, event: &Event) -> bool {
        match self.scope {
            EventScope::App(app) => event.app == app,
            EventScope::Job(job) => event.job == Some(job),
        }
    }

    fn tell(&mut self, event: Arc<Kept>) -> Arc<Kept> {
        self.last = event.id;
        if let (EventScope::Job(job), EventBody::Job { id, state, .. }) = (self.scope, &event.body) {
            self.ended = *id == job && state.is_final();
        }
        event
    }
}

async fn write_loop(
    store: Store,
    mut appends: mpsc::Receiver<Append>,
    channels: Arc<Channels>,
    disk_full: Arc<AtomicBool>,
) {
    let mut batch = Vec::with_capacity(BATCH);
    while appends.recv_many(&mut batch, BATCH).await > 0 {
        let items = std::mem::take(&mut batch);
        match store.write(move |t| keep(t, items)).await {
            Ok((events, waiting)) => {
                disk_full.store(false, Ordering::Relaxed);
                for event in events {
                    channels.send(event);
                }
                for (done, result) in waiting {
                    let _ = done.send(result);
                }
            }
            // Those who wait see their channel closed; the others' events are lost to a full or broken disk.
            Err(error) => {
                disk_full.store(matches!(error, StoreError::DiskFull), Ordering::Relaxed);
                tracing::error!(%error, "events could not be kept");
            }
        }
    }
}

type Waiting = (oneshot::Sender<Result<(), StoreError>>, Result<(), StoreError>);

/// Keeps a batch in one transaction. A change that fails is undone alone and costs the others nothing.
fn keep(t: &Transaction<'_>, items: Vec<Append>) -> Result<(Vec<Kept>, Vec<Waiting>), StoreError> {
    let mut fresh: Vec<NewEvent> = Vec::with_capacity(items.len());
    let mut waiting = Vec::new();
    for item in items {
        match item {
            Append::Event(event) => {
                // Pieces that wait for the same commit go out as one.
                let joined = fresh
                    .last_mut()
                    .filter(|last| last.app == event.app && last.job == event.job)
                    .is_some_and(|last| table::join(&mut last.body, &event.body));
                if !joined {
                    fresh.push(*event);
                }
            }
            Append::Change(change, done) => {
                t.execute_batch("SAVEPOINT change")?;
                let result = change(t);
                t.execute_batch(if result.is_ok() { "RELEASE change" } else { "ROLLBACK TO change; RELEASE change" })?;
                waiting.push((done, result.map(|events| fresh.extend(events))));
            }
        }
    }
    let mut kept = Vec::with_capacity(fresh.len());
    if !fresh.is_empty() {
        let mut id = table::next_id(t)?;
        for NewEvent { app, job, body } in fresh {
            let event = Kept::new(Event { id: EventId(id), app, job, body });
            table::insert(t, &event, event.json())?;
            kept.push(event);
            id += 1;
        }
        table::set_last_id(t, id - 1)?;
    }
    Ok((kept, waiting))
}

/// Whether this is the last event of its job.
pub fn ends_job(body: &EventBody) -> bool {
    matches!(body, EventBody::Job { state: JobState::Succeeded | JobState::Failed | JobState::Cancelled, .. })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::StreamExt;

    use super::*;
    use crate::domain::TextKind;

    const APP: AppId = AppId(1);
    const JOB: JobId = JobId(1);

    async fn log() -> (tempfile::TempDir, EventLog) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).await.expect("opens");
        (folder, EventLog::start(store, CancellationToken::new()))
    }

    fn text(delta: impl Into<String>) -> EventBody {
        EventBody::Text { delta: delta.into(), kind: TextKind::Answer }
    }

    fn told(events: &[Arc<Kept>]) -> String {
        events
            .iter()
            .map(|event| match &event.body {
                EventBody::Text { delta, .. } => delta.as_str(),
                _ => "",
            })
            .collect()
    }

    #[tokio::test]
    async fn a_reader_that_comes_in_the_middle_misses_and_doubles_nothing() {
        let (_folder, log) = log().await;
        let writer = {
            let log = log.clone();
            tokio::spawn(async move {
                for n in 0..2000 {
                    log.emit(APP, Some(JOB), text(format!("{n},"))).await;
                    if n % 50 == 0 {
                        log.flush().await.expect("kept");
                    }
                }
                log.emit(APP, Some(JOB), text("end")).await;
            })
        };
        let expected: String = (0..2000).map(|n| format!("{n},")).chain(["end".to_owned()]).collect();
        let mut after = EventId(0);
        let mut all = String::new();
        // Leaves and comes back all the time, as a page does that is reloaded.
        while !all.ends_with("end") {
            let mut stream = std::pin::pin!(log.stream(APP, EventScope::App(APP), after));
            let mut some = Vec::new();
            while some.len() < 7 && !told(&some).ends_with("end") {
                let event =
                    tokio::time::timeout(Duration::from_secs(20), stream.next()).await.expect("events keep coming");
                some.push(event.expect("open").expect("readable"));
            }
            assert!(some.windows(2).all(|pair| pair[0].id < pair[1].id));
            after = some.last().map_or(after, |event| event.id);
            all.push_str(&told(&some));
        }
        writer.await.expect("written");
        assert_eq!(all, expected);
    }

    #[tokio::test]
    async fn a_change_that_fails_is_undone_alone() {
        let (_folder, log) = log().await;
        let bad = log.commit(|t| -> Result<((), Vec<NewEvent>), _> {
            t.execute("INSERT INTO counters VALUES ('half', 1)", [])?;
            Err(StoreError::NotFound)
        });
        let good = log.commit(|_| Ok((7, vec![NewEvent { app: APP, job: None, body: text("kept") }])));
        let (bad, good) = tokio::join!(bad, good);
        assert!(matches!(bad, Err(StoreError::NotFound)));
        assert_eq!(good.expect("kept"), 7);
        let half: bool = log
            .store
            .read(|c| Ok(c.query_row("SELECT EXISTS (SELECT 1 FROM counters WHERE name = 'half')", [], |r| r.get(0))?))
            .await
            .expect("read");
        assert!(!half);
    }

    #[tokio::test]
    async fn ids_are_not_used_again() {
        let (_folder, log) = log().await;
        log.emit(APP, None, text("a")).await;
        log.flush().await.expect("kept");
        let first = log.store.last_event_id(EventScope::App(APP)).await.expect("read");
        log.store.remove_app(APP, None).await.expect("removed");
        log.emit(APP, None, text("b")).await;
        log.flush().await.expect("kept");
        assert!(log.store.last_event_id(EventScope::App(APP)).await.expect("read") > first);
    }
}
