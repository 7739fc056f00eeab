//! One feed for each app that has open pages: it follows the app's events once, and hands the same bytes to all readers.
//!
//! A feed lives in a task of its own, which alone knows how far it is and what the turn at work has done. A reader asks it
//! to join, and gets all messages after the feed's position; what lies before, the reader tells its page by itself.
//! The feed ends when nobody reads, and begins where the log stands when somebody comes. A reader that falls behind by
//! more than the backlog joins again.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::live_turn::{LiveTurn, files_changed};
use super::messages::{self, Message, Span};
use crate::domain::{App, AppId, EventBody, EventId, FileState, JobId, JobState, TurnFold};
use crate::error::{AppError, AppResult, ErrorKind};
use crate::events::Kept;
use crate::services::Services;

/// Events that are told at once, when that many wait.
const BATCH: usize = 256;
/// Messages that a slow reader may fall behind.
pub const BACKLOG: usize = 256;
/// Readers that wait to join.
const JOINING: usize = 64;
/// How often a reader tries to join a feed that ends just then.
const TRIES: usize = 5;

/// The feeds of all apps. Cheap to clone.
#[derive(Clone)]
pub struct Feeds {
    services: Services,
    open: Arc<Mutex<HashMap<AppId, mpsc::Sender<Join>>>>,
}

/// A reader that wants to join.
struct Join {
    /// The last event that its page has.
    after: EventId,
    reply: oneshot::Sender<Joined>,
}

/// What a reader gets that has joined.
pub struct Joined {
    /// How far the feed was: every message after it comes by `messages`.
    pub position: EventId,
    /// The turn at work there, for a reader whose page is behind.
    pub live: Option<(JobId, TurnFold)>,
    /// What happens from then on. Closed when the feed ends.
    pub messages: broadcast::Receiver<Message>,
}

impl Feeds {
    /// None yet.
    pub fn new(services: Services) -> Self {
        Self { services, open: Arc::default() }
    }

    /// Joins the app's feed, which begins if it is not there.
    pub async fn join(&self, app: &App, after: EventId) -> AppResult<Joined> {
        for _ in 0..TRIES {
            let (reply, joined) = oneshot::channel();
            let join = Join { after, reply };
            // A feed that has just ended drops the question.
            if let Some((feed, join)) = self.begin_or_find(app, join)
                && feed.send(join).await.is_err()
            {
                continue;
            }
            if let Ok(joined) = joined.await {
                return Ok(joined);
            }
        }
        Err(AppError::new(
            ErrorKind::Unavailable,
            "no_stream",
            "What happens to this app cannot be followed right now.",
        ))
    }

    /// How many apps have one.
    #[cfg(test)]
    pub fn open(&self) -> usize {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.values().filter(|feed| !feed.is_closed()).count()
    }

    /// The feed that is there, for the reader to ask; or a new one, which has its question already.
    fn begin_or_find(&self, app: &App, join: Join) -> Option<(mpsc::Sender<Join>, Join)> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, feed| !feed.is_closed());
        match open.entry(app.id) {
            Entry::Occupied(feed) => Some((feed.get().clone(), join)),
            Entry::Vacant(place) => {
                let (feed, joins) = mpsc::channel(JOINING);
                // There is room for one.
                let _ = feed.try_send(join);
                place.insert(feed);
                tokio::spawn(run(self.services.clone(), app.clone(), joins));
                None
            }
        }
    }
}

async fn run(services: Services, app: App, mut joins: mpsc::Receiver<Join>) {
    let mut feed = match Feed::begin(services, app).await {
        Ok(feed) => feed,
        Err(error) => {
            tracing::warn!(%error, "failed to read the events of an app");
            return;
        }
    };
    let events = feed.services.shared_app_events(feed.app.id, feed.position).ready_chunks(BATCH);
    let mut events = std::pin::pin!(events);
    let readers = broadcast::Sender::new(BACKLOG);
    loop {
        tokio::select! {
            biased;
            Some(join) = joins.recv() => feed.join(join, &readers),
            batch = events.next() => {
                let Some(batch) = batch else { return };
                // Where events cannot be read, readers begin anew from where they are.
                let Ok(batch) = batch.into_iter().collect::<Result<Vec<_>, _>>() else { return };
                for message in feed.tell(&batch).await {
                    // The last reader may just have left.
                    let _ = readers.send(message);
                }
            }
            () = readers.closed() => return,
        }
    }
}

struct Feed {
    services: Services,
    app: App,
    /// The last event that was told.
    position: EventId,
    live: Option<LiveTurn>,
}

impl Feed {
    /// Begins where the log stands.
    async fn begin(services: Services, app: App) -> AppResult<Self> {
        let position = services.last_event_id(app.id).await?;
        let mut live = None;
        if let Some(turn) = services.running_turn(&app).await?
            && let Some(job) = turn.job
        {
            live = Some(LiveTurn::new(&app.name, turn.id, job, services.turn_fold(&turn, position).await?));
        }
        Ok(Self { services, app, position, live })
    }

    fn join(&self, join: Join, readers: &broadcast::Sender<Message>) {
        let is_behind = join.after < self.position;
        let live = self.live.as_ref().filter(|_| is_behind).map(|live| (live.job(), live.fold().clone()));
        // A reader that has gone meanwhile is none.
        let _ = join.reply.send(Joined { position: self.position, live, messages: readers.subscribe() });
    }

    /// The messages that tell of these events, which are the next ones.
    async fn tell(&mut self, events: &[Arc<Kept>]) -> Vec<Message> {
        let mut told = Vec::new();
        match messages::state(&self.services, &self.app, events.iter().map(AsRef::as_ref)).await {
            Ok(pieces) => told.extend(pieces),
            Err(gone) => {
                told.push(gone);
                return told;
            }
        }
        // The events of the turn at work that follow each other are told together.
        let mut waiting: Option<Span> = None;
        for event in events {
            self.position = event.id;
            match &event.body {
                body @ (EventBody::Text { .. } | EventBody::File { .. } | EventBody::Tool { .. }) => {
                    if let Some(live) = self.live.as_mut().filter(|live| event.job == Some(live.job())) {
                        live.apply(body);
                        let after = waiting.map_or(EventId(event.id.0 - 1), |span| span.after);
                        waiting = Some(Span { after, upto: event.id });
                    } else if changes_files(body) {
                        told.push(messages::operations(Span::of(event.id), &[files_changed()]));
                    }
                }
                EventBody::Job { id, kind, state, .. } if kind == "generate" => {
                    told.extend(self.tell_waiting(waiting.take()).await);
                    let changed = messages::changed_turn(&self.services, &self.app, *id, event).await;
                    if self.live.as_ref().is_some_and(|live| live.job() == *id) || *state == JobState::Running {
                        self.live = changed.live;
                    }
                    told.extend(changed.message);
                }
                _ => {
                    if let Some(message) = messages::plain(event) {
                        told.extend(self.tell_waiting(waiting.take()).await);
                        told.push(message);
                    }
                }
            }
        }
        told.extend(self.tell_waiting(waiting).await);
        told
    }

    async fn tell_waiting(&mut self, waiting: Option<Span>) -> Option<Message> {
        let span = waiting?;
        let changes = self.live.as_mut()?.changes();
        if changes.is_empty() {
            return None;
        }
        let operations = messages::render(&self.services, &self.app, changes).await;
        Some(messages::operations(span, &operations))
    }
}

/// A file of the workspace is another now.
pub fn changes_files(body: &EventBody) -> bool {
    matches!(body, EventBody::File { state: FileState::Written | FileState::Deleted, .. })
}
