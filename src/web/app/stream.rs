//! `GET /apps/{app}/stream`: what happens to an app, for a page that is open.
//!
//! Text, code, tools and log lines go out as the data they are, one message for one event, each with
//! the event's id; a module of the page applies them. What depends on the state of things (chips,
//! strip, next step, *Stop*) goes out as rendered pieces of HTML. These carry no id and come before
//! the events that they tell of: a connection that breaks in between tells them again, which changes
//! nothing, and an event is never passed over.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt};
use serde::Deserialize;

use super::conversation::{article, is_live};
use super::deployment::title;
use super::page::{parts, version_of};
use crate::domain::{App, AppName, EventBody, EventId, JobId, LogStream, StepState};
use crate::error::{AppError, AppResult, ErrorKind};
use crate::events::Kept;
use crate::services::Services;
use crate::store::StoreError;
use crate::web::Web;
use crate::web::extract::{Path, Query};
use crate::web::reply::Pieces;
use crate::web::visible;

/// Events that are answered with one set of pieces, when that many wait.
const BATCH: usize = 256;

/// What the address says.
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
) -> AppResult<Sse<impl Stream<Item = Result<Event, Infallible>> + Send>> {
    let app = web.services.app(&name).await?;
    // After a break the browser says what it saw last; that is newer than the page's own beginning.
    let after = match headers.get("last-event-id") {
        Some(value) => value
            .to_str()
            .ok()
            .and_then(|text| text.parse::<EventId>().ok())
            .ok_or_else(|| AppError::bad_request("Last-Event-ID is the id of an event that this stream sent."))?,
        None if query.after >= 0 => EventId(query.after),
        None => return Err(AppError::bad_request("`after` is the id of an event.")),
    };
    let services = web.services.clone();
    let events = web.services.app_events(app.id, after);
    let messages = events.ready_chunks(BATCH).then(move |batch| {
        let (services, app) = (services.clone(), app.clone());
        async move { messages(&services, &app, batch).await }
    });
    let messages = messages.flat_map(|batch| futures_util::stream::iter(batch.into_iter().map(Ok)));
    Ok(Sse::new(messages).keep_alive(KeepAlive::default()))
}

async fn messages(services: &Services, app: &App, batch: Vec<Result<Arc<Kept>, StoreError>>) -> Vec<Event> {
    let mut out = Vec::with_capacity(batch.len() + 1);
    let events: Vec<Arc<Kept>> = batch.into_iter().filter_map(Result::ok).collect();
    // What a deployment says of itself stands in its strip.
    let of_state = |event: &&Arc<Kept>| match event.body {
        EventBody::Job { .. } | EventBody::Environment { .. } => true,
        EventBody::Log { stream, .. } => stream == LogStream::Deploy && event.job.is_some(),
        _ => false,
    };
    if let Some(last) = events.iter().rfind(of_state) {
        match state_pieces(services, app, last).await {
            Ok(html) => out.push(Event::default().data(html.replace('\r', ""))),
            Err(error) if error.kind == ErrorKind::NotFound => return vec![Event::default().event("gone").data("{}")],
            // The next event brings the pieces again.
            Err(error) => tracing::warn!(app = %app.name, %error, "failed to update a page"),
        }
    }
    for event in &events {
        out.extend(message(services, app, event).await);
    }
    out
}

/// The pieces that depend on the state of things, as it is now.
async fn state_pieces(services: &Services, app: &App, last: &Kept) -> AppResult<String> {
    let now = services.app(&app.name).await?;
    if now.id != app.id {
        return Err(AppError::not_found("app of this name any more"));
    }
    let pieces = parts(services, &now).await?.into_pieces();
    let pieces = match &last.body {
        EventBody::Job { id, .. } => announced(services, &now, *id, pieces).await?,
        EventBody::Log { line, .. } => pieces.announce(line),
        _ => pieces,
    };
    Ok(pieces.into_html())
}

/// Says where a deployment stands, by step.
async fn announced(services: &Services, app: &App, id: JobId, pieces: Pieces) -> AppResult<Pieces> {
    let job = services.job(id).await?;
    if job.kind.environment().is_none() {
        return Ok(pieces);
    }
    let mut words = title(&job, version_of(services, app, &job).await?);
    if let Some(step) = job.steps.iter().rfind(|step| step.state == StepState::Running) {
        words = format!("{words}: {}", step.name.title().to_lowercase());
    }
    Ok(pieces.announce(&words))
}

/// One event as one message with its id; none for what the pieces tell.
async fn message(services: &Services, app: &App, event: &Kept) -> Option<Event> {
    let with_id = |name: &str, data: &str| Event::default().id(event.id.to_string()).event(name).data(data);
    match &event.body {
        // No job's log has it: old images were removed, which stands on the Releases tab.
        EventBody::Log { .. } if event.job.is_none() => Some(with_id("releases", "{}")),
        // The page has words that do not count: it gets the turn as it stands now.
        EventBody::Tool { taken_back: Some(_), .. } if event.job.is_some() => {
            told_turn(services, app, event.job?, event.id, true).await
        }
        EventBody::Text { .. }
        | EventBody::File { .. }
        | EventBody::Tool { .. }
        | EventBody::Log { .. }
        | EventBody::Environment { .. } => Some(with_id(event.body.name(), &visible::in_json(event.json()))),
        EventBody::Job { id, kind, .. } if kind == "generate" => told_turn(services, app, *id, event.id, false).await,
        EventBody::Job { state, .. } if state.is_final() => Some(with_id("releases", "{}")),
        EventBody::Job { .. } | EventBody::Usage(_) => None,
    }
}

/// The message that tells of a turn.
async fn told_turn(services: &Services, app: &App, job: JobId, at: EventId, anew: bool) -> Option<Event> {
    match turn(services, app, job, at, anew).await {
        Ok(data) => Some(Event::default().id(at.to_string()).event("turn").data(data?)),
        Err(error) => {
            tracing::warn!(app = %app.name, %job, %error, "failed to render a turn");
            None
        }
    }
}

/// A turn that was queued, has begun or has ended. While it is at work its words come as events of
/// their own, so it goes out empty; the page keeps what it has of it already, unless it is told `anew`.
async fn turn(services: &Services, app: &App, job: JobId, at: EventId, anew: bool) -> AppResult<Option<String>> {
    let job = services.job(job).await?;
    let Some(turn) = services.turn_of_job(&job).await? else { return Ok(None) };
    let ended = !is_live(&turn);
    let html = article(services, app, &turn, if ended { EventId(i64::MAX) } else { at }, false).await?;
    let html = visible::in_html(html);
    Ok(Some(serde_json::json!({ "id": turn.id, "ended": ended, "anew": anew, "html": html }).to_string()))
}
