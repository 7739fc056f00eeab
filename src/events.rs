//! The event log: append, broadcast, resume.
//!
//! Everything that is told is kept first. Appends from all over the builder queue up here and
//! are written in one transaction each time the writer is free (group commit), then broadcast;
//! so nobody has seen an event that a restart would not find, and under load the cost of a
//! commit is shared. The queue is bounded: a writer that is slow or cannot write, as on a busy or full disk, slows those
//! down who have something to tell, and nothing piles up. A change of state can ride in the same transaction as the
//! event that reports it. Depends on the store, not on publishers and subscribers.

mod changes;
mod writer;

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::Stream;
use rusqlite::Transaction;
use tokio::sync::{broadcast, oneshot};
use tokio_util::sync::CancellationToken;

use crate::domain::{AppId, Event, EventBody, EventId, JobId, JobState};
use crate::lifecycle::Lifecycle;
pub use crate::store::events::EventScope;
use crate::store::{Store, StoreError};
pub use changes::{Changes, Position};
use writer::{Queue, Writer};

/// Events a slow reader may fall behind before it is sent back to the kept ones.
const BACKLOG: usize = 1024;
/// Kept events read at once.
const PAGE: u32 = 500;

/// A kept event with its JSON, which is made once for the database and every reader.
#[derive(Debug)]
pub struct Kept {
    event: Event,
    json: String,
}

impl Kept {
    /// An event that is read back.
    pub fn new(event: Event) -> Self {
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

/// The log. Cheap to clone.
#[derive(Clone)]
pub struct EventLog {
    store: Store,
    queue: Queue,
    channels: Arc<Channels>,
    open: Arc<AtomicUsize>,
    shutdown: CancellationToken,
}

/// A stream that is open, counted until this is dropped.
pub struct OpenStream(Arc<AtomicUsize>);

impl OpenStream {
    fn count(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Relaxed);
        Self(open.clone())
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[derive(Default)]
struct Channels(Mutex<HashMap<AppId, broadcast::Sender<Arc<Kept>>>>, Changes);

impl Channels {
    fn subscribe(&self, app: AppId) -> broadcast::Receiver<Arc<Kept>> {
        let mut channels = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Channels without subscribers are removed when a new one subscribes.
        channels.retain(|_, sender| sender.receiver_count() > 0);
        channels.entry(app).or_insert_with(|| broadcast::channel(BACKLOG).0).subscribe()
    }

    fn send(&self, event: Kept) {
        if matches!(event.body, EventBody::Job { .. } | EventBody::Environment { .. }) {
            self.1.note(event.app);
        }
        let channels = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = channels.get(&event.app) {
            // An error means that the last reader has just left.
            let _ = sender.send(Arc::new(event));
        }
    }
}

impl EventLog {
    /// Starts the writer. It works until all else has ended; streams end when the builder drains.
    pub fn start(store: Store, lifecycle: &Lifecycle) -> Self {
        let channels = Arc::new(Channels::default());
        let (queue, writer) = Writer::new(store.clone(), channels.clone());
        let writer = Arc::new(writer);
        lifecycle.supervise_to_the_end("event writer", move || writer.clone().run());
        Self { store, queue, channels, open: Arc::default(), shutdown: lifecycle.draining.clone() }
    }

    /// Appends an event, in order with all others of this caller. Waits for room in the queue, not for the event to
    /// be kept. Events that cannot be written at this moment stay in the queue until they can.
    pub async fn emit(&self, app: AppId, job: Option<JobId>, body: EventBody) {
        self.queue.event(NewEvent { app, job, body }).await;
    }

    /// Makes a change of state and stores the events that report it, all or nothing; then they are
    /// broadcast. Waits until it is kept. Events emitted before come before.
    ///
    /// # Errors
    /// Why this change was not kept: its own error, or that of the transaction which it was part of.
    pub async fn commit<R, F>(&self, change: F) -> Result<R, StoreError>
    where
        R: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<(R, Vec<NewEvent>), StoreError> + Send + 'static,
    {
        let (result, value) = oneshot::channel();
        let (done, ended) = oneshot::channel();
        let change = Box::new(move |t: &Transaction<'_>| {
            let (value, events) = change(t)?;
            // The caller may have gone; the change is made all the same.
            let _ = result.send(value);
            Ok(events)
        });
        self.queue.change(change, done).await;
        // Closed without an answer only where the writer itself panicked.
        let panicked = || StoreError::Panicked("the event writer".to_owned());
        ended.await.map_err(|_| panicked())??;
        value.await.map_err(|_| panicked())
    }

    /// Waits until everything emitted so far is kept.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.commit(|_| Ok(((), Vec::new()))).await
    }

    /// Which apps have changed lately.
    pub fn changes(&self) -> &Changes {
        &self.channels.1
    }

    /// How many streams are open.
    pub fn open_streams(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// Counts a stream that is fed by [`Self::shared_stream`].
    pub fn count_stream(&self) -> OpenStream {
        OpenStream::count(&self.open)
    }

    /// The events of `scope` of the app after an id: first the kept ones, then as they come.
    /// A job's stream ends after its last event; all end at shutdown.
    pub fn stream(
        &self,
        app: AppId,
        scope: EventScope,
        after: EventId,
    ) -> impl Stream<Item = Result<Arc<Kept>, StoreError>> + Send + use<> {
        self.read(app, scope, after, Some(self.count_stream()))
    }

    /// The events of an app, as [`Self::stream`] gives them, for somebody who hands them on to others. It is not counted;
    /// the others are.
    pub fn shared_stream(
        &self,
        app: AppId,
        after: EventId,
    ) -> impl Stream<Item = Result<Arc<Kept>, StoreError>> + Send + use<> {
        self.read(app, EventScope::App(app), after, None)
    }

    fn read(
        &self,
        app: AppId,
        scope: EventScope,
        after: EventId,
        counted: Option<OpenStream>,
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
            _counted: counted,
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
    _counted: Option<OpenStream>,
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
        (folder, EventLog::start(store, &Lifecycle::default()))
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
    async fn pieces_are_moved_while_their_job_runs() {
        let (_folder, log) = log().await;
        let fresh = async || -> i64 {
            let count = log.store.read(|c| Ok(c.query_row("SELECT count(*) FROM fresh_events", [], |r| r.get(0))?));
            count.await.expect("read")
        };
        let mut most = 0;
        for n in 0..2500 {
            log.emit(APP, Some(JOB), text(format!("{n},"))).await;
            log.flush().await.expect("kept");
            if n % 100 == 0 {
                most = most.max(fresh().await);
            }
        }
        assert!((900..=1000).contains(&most), "{most}");
        assert_eq!(fresh().await, 500);
        let kept = log.store.events_after(EventScope::App(APP), EventId(0), 5000).await.expect("read");
        assert_eq!(kept.len(), 502, "one row for each thousand");
        let kept: Vec<Arc<Kept>> = kept.into_iter().map(|event| Arc::new(Kept::new(event))).collect();
        let expected: String = (0..2500).map(|n| format!("{n},")).collect();
        assert_eq!(told(&kept), expected);
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

    /// From now on the database finds no more room than this, as on a full disk. 0: as much as it wants.
    async fn pages_max(log: &EventLog, pages: u32) {
        // In a transaction that changes nothing, so that it succeeds on a full disk too.
        log.store
            .write(move |t| {
                let pages = if pages == 0 { 1 << 30 } else { pages };
                Ok(t.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?)
            })
            .await
            .expect("set");
    }

    /// A change that needs room.
    fn large(t: &Transaction<'_>) -> Result<((), Vec<NewEvent>), StoreError> {
        t.execute("INSERT INTO counters VALUES (?1, 1)", ["x".repeat(100_000)])?;
        Ok(((), Vec::new()))
    }

    #[tokio::test]
    async fn on_a_full_disk_each_waiter_gets_its_own_error_and_no_event_is_lost() {
        let (_folder, log) = log().await;
        pages_max(&log, 1).await;
        log.emit(APP, Some(JOB), text("x".repeat(100_000))).await;
        let refused = log.commit(|_| -> Result<((), Vec<NewEvent>), _> { Err(StoreError::NotFound) });
        let good = || log.commit(|t| Ok((t.execute("DELETE FROM counters WHERE name = 'nothing'", [])?, Vec::new())));
        let (before, refused, full, after) = tokio::join!(good(), refused, log.commit(large), good());
        assert!(matches!(before, Err(StoreError::DiskFull)), "it was undone with the others: {before:?}");
        assert!(matches!(refused, Err(StoreError::NotFound)), "{refused:?}");
        assert!(matches!(full, Err(StoreError::DiskFull)), "{full:?}");
        assert!(matches!(after, Err(StoreError::DiskFull)), "events come before it: {after:?}");
        // The queue of events fills up, and publishers wait. Changes are still answered.
        let flooding = tokio::spawn({
            let log = log.clone();
            async move {
                for n in 0..2000 {
                    // Of two kinds in turn, so that they are not joined.
                    let kind = if n % 2 == 0 { TextKind::Answer } else { TextKind::Thought };
                    log.emit(APP, Some(JOB), EventBody::Text { delta: format!("{n},"), kind }).await;
                }
            }
        });
        let told = tokio::time::timeout(Duration::from_secs(20), log.commit(large)).await.expect("it is answered");
        assert!(matches!(told, Err(StoreError::DiskFull)), "{told:?}");
        assert!(!flooding.is_finished(), "the queue is bounded");
        // There is space again: all of it is written automatically.
        pages_max(&log, 0).await;
        flooding.await.expect("it has emitted everything");
        log.flush().await.expect("kept");
        let kept = log.store.events_after(EventScope::App(APP), EventId(0), 5000).await.expect("read");
        let kept: Vec<Arc<Kept>> = kept.into_iter().map(|event| Arc::new(Kept::new(event))).collect();
        let expected: String = (0..2000).map(|n| format!("{n},")).collect();
        assert_eq!(told_after(&kept), expected);
    }

    fn told_after(events: &[Arc<Kept>]) -> String {
        told(events).trim_start_matches('x').to_owned()
    }

    #[tokio::test]
    async fn a_change_that_panics_costs_the_others_nothing() {
        let (_folder, log) = log().await;
        let bad = log.commit(|_| -> Result<((), Vec<NewEvent>), _> { panic!("in the middle") });
        let good = log.commit(|_| Ok((7, vec![NewEvent { app: APP, job: None, body: text("kept") }])));
        let (bad, good) = tokio::join!(bad, good);
        assert!(matches!(&bad, Err(StoreError::Panicked(why)) if why == "in the middle"), "{bad:?}");
        assert_eq!(good.expect("kept"), 7);
        log.flush().await.expect("the writer still works");
    }

    #[tokio::test]
    async fn an_event_that_can_never_be_written_holds_up_nothing() {
        let (_folder, log) = log().await;
        let trap = "CREATE TRIGGER trap BEFORE INSERT ON fresh_events WHEN NEW.data LIKE '%bad%'
                    BEGIN SELECT raise(ABORT, 'never'); END";
        log.store.write(move |t| Ok(t.execute_batch(trap)?)).await.expect("made");
        for (job, word) in [(1, "one"), (2, "bad"), (1, "two")] {
            log.emit(APP, Some(JobId(job)), text(word)).await;
        }
        let mut stream = std::pin::pin!(log.stream(APP, EventScope::App(APP), EventId(0)));
        let mut seen = Vec::new();
        while told(&seen) != "onetwo" {
            let next = tokio::time::timeout(Duration::from_secs(20), stream.next()).await.expect("events keep coming");
            seen.push(next.expect("open").expect("readable"));
        }
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
        let second = log.store.last_event_id(EventScope::App(APP)).await.expect("read");
        assert!(second > first);
        // Nor after a restart.
        log.store.remove_app(APP, None).await.expect("removed");
        let log = EventLog::start(log.store.clone(), &Lifecycle::default());
        log.emit(APP, None, text("c")).await;
        log.flush().await.expect("kept");
        assert!(log.store.last_event_id(EventScope::App(APP)).await.expect("read") > second);
    }
}
