//! `GET /apps/{app}/stream`: live updates of an app for an open page.
//!
//! A reader sends its page the events since the page was rendered, or since the connection broke, up to the position of
//! the app's feed; then it forwards the feed's messages. A page that is behind gets the running turn as a whole element
//! in its current state. Each message has the id of its last event, after which the browser resumes: no event is
//! lost or sent twice.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::broadcast::{self, error::RecvError};

use super::feed::{Feeds, Joined, changes_files};
use super::live_turn::files_changed;
use super::messages::{self, Message, Span};
use crate::domain::{App, AppName, EventBody, EventId, JobId, JobState, TurnFold};
use crate::error::{AppError, AppResult};
use crate::events::{Kept, OpenStream};
use crate::services::Services;
use crate::web::Web;
use crate::web::extract::{Path, Query};

/// A connection that is idle for this long gets a comment, so that proxies do not close it.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The query parameters.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct StreamQuery {
    after: i64,
}

/// `GET /apps/{app}/stream`
pub async fn stream(
    State(web): State<Web>,
    Path(name): Path<AppName>,
    Query(query): Query<StreamQuery>,
    headers: HeaderMap,
) -> AppResult<Response> {
    let app = web.services.app(&name).await?;
    // After a disconnect the browser sends the last id that it received, which is newer than the page's own.
    let after = match headers.get("last-event-id") {
        Some(value) => value
            .to_str()
            .ok()
            .and_then(|text| text.parse::<EventId>().ok())
            .ok_or_else(|| AppError::bad_request("Last-Event-ID is the id of an event that this stream sent."))?,
        None if query.after >= 0 => EventId(query.after),
        None => return Err(AppError::bad_request("`after` is the id of an event.")),
    };
    let reader = Reader {
        _counted: web.services.count_stream(),
        services: web.services,
        feeds: web.feeds,
        app,
        last: after,
        waiting: VecDeque::new(),
        stage: Stage::Apart,
    };
    let messages = futures_util::stream::unfold(reader, async |mut reader| {
        let bytes = reader.next().await?;
        Some((Ok::<_, Infallible>(bytes), reader))
    });
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    Ok((headers, Body::from_stream(messages)).into_response())
}

/// A page that is open.
struct Reader {
    services: Services,
    feeds: Feeds,
    app: App,
    /// The last event that was sent to the page.
    last: EventId,
    waiting: VecDeque<Bytes>,
    stage: Stage,
    _counted: OpenStream,
}

enum Stage {
    /// It has to join the feed.
    Apart,
    /// It sends earlier events.
    Behind(Box<Behind>),
    /// It forwards the feed's messages.
    With(broadcast::Receiver<Message>),
}

struct Behind {
    after: EventId,
    position: EventId,
    live: Option<(JobId, TurnFold)>,
    /// The page lacks a part of the running turn.
    lacks_turn: bool,
    messages: broadcast::Receiver<Message>,
}

impl Reader {
    /// The next bytes. None at the end: the browser reconnects.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.waiting.pop_front() {
                return Some(bytes);
            }
            match std::mem::replace(&mut self.stage, Stage::Apart) {
                Stage::Apart => self.join().await?,
                Stage::Behind(behind) => self.catch_up(*behind).await?,
                Stage::With(mut messages) => {
                    let received = tokio::time::timeout(KEEP_ALIVE, messages.recv()).await;
                    match received {
                        Err(_) => {
                            self.stage = Stage::With(messages);
                            return Some(Bytes::from_static(b":\n\n"));
                        }
                        Ok(Ok(message)) => {
                            if self.accepts(message) {
                                self.stage = Stage::With(messages);
                            }
                        }
                        // It joins again.
                        Ok(Err(RecvError::Lagged(_))) => {}
                        Ok(Err(RecvError::Closed)) => return None,
                    }
                }
            }
        }
    }

    async fn join(&mut self) -> Option<()> {
        let Joined { position, live, messages } = self.feeds.join(&self.app, self.last).await.ok()?;
        self.stage = if self.last < position {
            Stage::Behind(Box::new(Behind { after: self.last, position, live, lacks_turn: false, messages }))
        } else {
            Stage::With(messages)
        };
        Some(())
    }

    /// Accepts a message of the feed. `false`: the page already has a part of its events, so it has to catch up.
    fn accepts(&mut self, message: Message) -> bool {
        if let Some(span) = message.span {
            if span.upto <= self.last {
                return true;
            }
            if span.after < self.last {
                return false;
            }
            self.last = span.upto;
        }
        self.waiting.push_back(message.bytes);
        true
    }

    /// Sends the next stored events and, after the last of them, the running turn in the state when the reader joined.
    async fn catch_up(&mut self, mut behind: Behind) -> Option<()> {
        let events = self.services.kept_events(self.app.id, self.last, behind.position).await.ok()?;
        let Some(newest) = events.last().map(|event| event.id) else {
            if let Some((job, fold)) = behind.live.take().filter(|_| behind.lacks_turn) {
                let span = Span { after: behind.after, upto: behind.position };
                let turn = messages::caught_up_turn(&self.services, &self.app, job, fold, span).await.ok()?;
                self.waiting.extend(turn.map(|message| message.bytes));
            }
            self.last = behind.position;
            self.stage = Stage::With(behind.messages);
            return Some(());
        };
        match messages::state(&self.services, &self.app, events.iter().map(AsRef::as_ref)).await {
            Ok(pieces) => self.waiting.extend(pieces.map(|message| message.bytes)),
            Err(gone) => {
                self.waiting.push_back(gone.bytes);
                self.last = behind.position;
                self.stage = Stage::With(behind.messages);
                return Some(());
            }
        }
        let running = behind.live.as_ref().map(|(job, _)| *job);
        for event in &events {
            let message = self.missed(event, running, &mut behind.lacks_turn).await;
            self.waiting.extend(message.map(|message| message.bytes));
        }
        self.last = newest;
        self.stage = Stage::Behind(Box::new(behind));
        Some(())
    }

    /// The message for an event that a page missed. The progress of the turn `running` is sent as a whole afterwards; for a
    /// turn that has ended meanwhile, only its end is sent.
    async fn missed(&self, event: &Kept, running: Option<JobId>, lacks_turn: &mut bool) -> Option<Message> {
        match &event.body {
            body @ (EventBody::Text { .. } | EventBody::File { .. } | EventBody::Tool { .. }) => {
                *lacks_turn |= event.job.is_some() && event.job == running;
                changes_files(body).then(|| messages::operations(Span::of(event.id), &[files_changed()]))
            }
            EventBody::Job { id, kind, state: JobState::Running, .. } if kind == "generate" && Some(*id) == running => {
                *lacks_turn = true;
                None
            }
            EventBody::Job { id, kind, .. } if kind == "generate" => {
                messages::changed_turn(&self.services, &self.app, *id, event).await.message
            }
            EventBody::Environment { .. } => messages::environment(&self.services, &self.app, event).await,
            _ => messages::plain(event),
        }
    }
}
