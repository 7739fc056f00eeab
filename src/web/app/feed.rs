//! One feed for each app that has open pages: it follows the app's events once, and sends the same bytes to all readers.
//!
//! A feed is a task that owns its position in the event log and the state of the running turn. A reader asks it
//! to join, and gets all messages after the feed's position; the reader itself sends its page the messages before it.
//! The feed ends when it has no readers; a new reader starts a new feed at the end of the event log. A reader that falls
//! behind by more than the backlog joins again.

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

/// Maximum number of pending events that are handled together.
const BATCH: usize = 256;
/// Number of messages that a slow reader may fall behind.
pub const BACKLOG: usize = 256;
/// Maximum number of readers that wait to join.
const JOINING: usize = 64;
/// Attempts of a reader to join when the feed ends at the same time.
const TRIES: usize = 5;

/// The feeds of all apps. Cheap to clone.
#[derive(Clone)]
pub struct Feeds {
    services: Services,
    open: Arc<Mutex<HashMap<AppId, mpsc::Sender<Join>>>>,
}

/// A reader that wants to join.
struct Join {
    /// The last event that its page contains.
    after: EventId,
    reply: oneshot::Sender<Joined>,
}

/// The feed's reply to a reader that joins.
pub struct Joined {
    /// The feed's position: `messages` receives every message after it.
    pub position: EventId,
    /// The running turn at that position, for a reader whose page is behind.
    pub live: Option<(JobId, TurnFold)>,
    /// The messages after the position. Closed when the feed ends.
    pub messages: broadcast::Receiver<Message>,
}

impl Feeds {
    /// Starts without feeds.
    pub fn new(services: Services) -> Self {
        Self { services, open: Arc::default() }
    }

    /// Joins the app's feed, and starts one if necessary.
    pub async fn join(&self, app: &App, after: EventId) -> AppResult<Joined> {
        for _ in 0..TRIES {
            let (reply, joined) = oneshot::channel();
            let join = Join { after, reply };
            // A feed that has just ended drops the request.
            if let Some((feed, join)) = self.begin_or_find(app, join)
                && feed.send(join).await.is_err()
            {
                continue;
            }
            if let Ok(joined) = joined.await {
                return Ok(joined);
            }
        }
        Err(AppError::new(ErrorKind::Unavailable, "no_stream", "Live updates of this app are not available right now."))
    }

    /// Number of apps with a feed.
    #[cfg(test)]
    pub fn open(&self) -> usize {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.values().filter(|feed| !feed.is_closed()).count()
    }

    /// The existing feed, to which the caller sends its request; or a new feed, which already has the request.
    fn begin_or_find(&self, app: &App, join: Join) -> Option<(mpsc::Sender<Join>, Join)> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, feed| !feed.is_closed());
        match open.entry(app.id) {
            Entry::Occupied(feed) => Some((feed.get().clone(), join)),
            Entry::Vacant(place) => {
                let (feed, joins) = mpsc::channel(JOINING);
                // The channel is empty, so there is space for the request.
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
                // After a failed read the feed ends, and readers reconnect from their own position.
                let Ok(batch) = batch.into_iter().collect::<Result<Vec<_>, _>>() else { return };
                for message in feed.messages_for(&batch).await {
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
    /// The last event that was sent.
    position: EventId,
    live: Option<LiveTurn>,
}

impl Feed {
    /// Starts at the end of the event log.
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
        // The reader may have disconnected meanwhile.
        let _ = join.reply.send(Joined { position: self.position, live, messages: readers.subscribe() });
    }

    /// The messages for these events, which are the next ones after the position.
    async fn messages_for(&mut self, events: &[Arc<Kept>]) -> Vec<Message> {
        let mut out = Vec::new();
        match messages::state(&self.services, &self.app, events.iter().map(AsRef::as_ref)).await {
            Ok(pieces) => out.extend(pieces),
            Err(gone) => {
                out.push(gone);
                return out;
            }
        }
        // Consecutive events of the running turn become one message.
        let mut pending: Option<Span> = None;
        for event in events {
            self.position = event.id;
            match &event.body {
                body @ (EventBody::Text { .. } | EventBody::File { .. } | EventBody::Tool { .. }) => {
                    if let Some(live) = self.live.as_mut().filter(|live| event.job == Some(live.job())) {
                        live.apply(body);
                        let after = pending.map_or(EventId(event.id.0 - 1), |span| span.after);
                        pending = Some(Span { after, upto: event.id });
                    } else if changes_files(body) {
                        out.push(messages::operations(Span::of(event.id), &[files_changed()]));
                    }
                }
                EventBody::Job { id, kind, state, .. } if kind == "generate" => {
                    out.extend(self.flush(pending.take()).await);
                    let changed = messages::changed_turn(&self.services, &self.app, *id, event).await;
                    if self.live.as_ref().is_some_and(|live| live.job() == *id) || *state == JobState::Running {
                        self.live = changed.live;
                    }
                    out.extend(changed.message);
                }
                body => {
                    let message = match body {
                        EventBody::Environment { .. } => messages::environment(&self.services, &self.app, event).await,
                        _ => messages::plain(event),
                    };
                    if let Some(message) = message {
                        out.extend(self.flush(pending.take()).await);
                        out.push(message);
                    }
                }
            }
        }
        out.extend(self.flush(pending).await);
        out
    }

    async fn flush(&mut self, pending: Option<Span>) -> Option<Message> {
        let span = pending?;
        let changes = self.live.as_mut()?.changes();
        if changes.is_empty() {
            return None;
        }
        let operations = messages::render(&self.services, &self.app, changes).await;
        Some(messages::operations(span, &operations))
    }
}

/// Whether the event changes a file of the workspace.
pub fn changes_files(body: &EventBody) -> bool {
    matches!(body, EventBody::File { state: FileState::Written | FileState::Deleted, .. })
}
