//! `GET /stream`: the cards of the first page, live. One task renders each change once and sends the same bytes to all open
//! pages; it ends with its last reader. A page that has missed more changes than are kept reads the list again.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::broadcast::{self, error::RecvError};

use super::Web;
use super::extract::Query;
use super::home::cards;
use super::reply;
use crate::domain::AppId;
use crate::error::{AppResult, ErrorKind};
use crate::events::Position;
use crate::services::Services;
use crate::web::visible;

/// Messages that a slow page may fall behind.
const BACKLOG: usize = 64;
/// Changes that are handled together.
const BATCH: usize = 64;
/// An idle connection gets a comment after this time, so that proxies do not close it.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The page has to read the list again.
fn stale(position: Position) -> Bytes {
    format!("id: {position}\nevent: stale\ndata: {{}}\n\n").into()
}

/// The feed of the list of apps. Cheap to clone.
#[derive(Clone)]
pub struct HomeFeed {
    services: Services,
    readers: broadcast::Sender<Bytes>,
    /// The task runs.
    runs: Arc<Mutex<bool>>,
}

impl HomeFeed {
    /// Starts without readers.
    pub fn new(services: Services) -> Self {
        Self { services, readers: broadcast::Sender::new(BACKLOG), runs: Arc::default() }
    }

    fn join(&self) -> broadcast::Receiver<Bytes> {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        let messages = self.readers.subscribe();
        if !std::mem::replace(&mut *runs, true) {
            let changes = self.services.list_changes().subscribe();
            tokio::spawn(self.clone().run(changes));
        }
        messages
    }

    async fn run(self, mut changes: broadcast::Receiver<AppId>) {
        loop {
            let mut apps = BTreeSet::new();
            tokio::select! {
                next = changes.recv() => match next {
                    Ok(app) => _ = apps.insert(app),
                    Err(RecvError::Lagged(_)) => _ = self.readers.send(stale(self.services.list_changes().position())),
                    Err(RecvError::Closed) => return,
                },
                () = self.readers.closed() => {
                    let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
                    // A reader may have joined at this moment.
                    if self.readers.receiver_count() == 0 {
                        *runs = false;
                        return;
                    }
                }
            }
            while apps.len() < BATCH
                && let Ok(app) = changes.try_recv()
            {
                apps.insert(app);
            }
            let position = self.services.list_changes().position();
            for message in messages(&self.services, apps.into_iter(), position).await {
                let _ = self.readers.send(message);
            }
        }
    }
}

/// The cards of these apps, as messages; `position`: where the browser resumes.
async fn messages(services: &Services, apps: impl Iterator<Item = AppId>, position: Position) -> Vec<Bytes> {
    let mut out = Vec::new();
    for app in apps {
        match message(services, app, position).await {
            Ok(message) => out.push(message),
            Err(error) => tracing::warn!(%error, "failed to update the list of apps"),
        }
    }
    out
}

async fn message(services: &Services, id: AppId, position: Position) -> AppResult<Bytes> {
    let html = match services.app_by_id(id).await {
        Ok(app) => {
            let mut rendered = cards(services, std::slice::from_ref(&app)).await?;
            Some(visible::in_html(reply::render(&rendered.remove(0))?))
        }
        Err(error) if error.kind == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let data = json!({ "id": id, "html": html, "total": services.count_apps().await? });
    Ok(format!("id: {position}\nevent: card\ndata: {data}\n\n").into())
}

/// The query parameters.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct StreamQuery {
    after: String,
}

/// `GET /stream`
pub async fn stream(
    State(web): State<Web>,
    Query(query): Query<StreamQuery>,
    headers: HeaderMap,
) -> AppResult<Response> {
    // After a disconnect the browser sends the last position that it received.
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let counted = web.services.count_stream();
    // Joined first: no change is missed in between.
    let receiver = web.home_feed.join();
    let changes = web.services.list_changes();
    let position = changes.position();
    let missed = last.unwrap_or(&query.after).parse::<Position>().ok().and_then(|after| changes.since(after));
    let first = match missed {
        Some(apps) => messages(&web.services, apps.into_iter(), position).await,
        None => vec![stale(position)],
    };
    let live = futures_util::stream::unfold((receiver, counted, web), async |(mut receiver, counted, web)| {
        let bytes = tokio::select! {
            next = tokio::time::timeout(KEEP_ALIVE, receiver.recv()) => match next {
                Err(_) => Bytes::from_static(b":\n\n"),
                Ok(Ok(bytes)) => bytes,
                Ok(Err(RecvError::Lagged(_))) => stale(web.services.list_changes().position()),
                Ok(Err(RecvError::Closed)) => return None,
            },
            () = web.services.draining() => return None,
        };
        Some((bytes, (receiver, counted, web)))
    });
    // A first comment opens the stream in the browser.
    let begin = futures_util::stream::iter([Bytes::from_static(b":\n\n")].into_iter().chain(first));
    let body = Body::from_stream(begin.chain(live).map(Ok::<_, Infallible>));
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    Ok((headers, body).into_response())
}
