//! The messages of a page's stream: events become bytes that are the same for every open page.
//!
//! Progress of a turn is sent as operations on the page's elements ([`super::live_turn`]), and a turn that was queued, has
//! started or has ended as its whole element. Elements that show the current state (chips, strip, next step, *Stop*) are
//! sent as rendered fragments of HTML. Fragments have no id and precede the events that changed them: if a connection
//! breaks in between, they are sent again without effect, and no event is skipped.

use bytes::Bytes;
use serde_json::json;

use super::conversation::{article, is_live, live_article};
use super::deployment::title;
use super::live_turn::{Changes, LiveTurn, Operation};
use super::page::{parts, version_of};
use super::turn_view::RENDER_TIME;
use crate::bounded_work::{Budget, Owner};
use crate::domain::{
    App, EventBody, EventId, JobId, JobKind, JobState, LogStream, StepState, Turn, TurnFold, TurnState,
};
use crate::error::{AppError, AppResult, ErrorKind};
use crate::events::Kept;
use crate::services::Services;
use crate::web::reply::Pieces;
use crate::web::visible;

/// A message in the bytes that every reader gets.
#[derive(Debug, Clone)]
pub struct Message {
    /// The events that it reports; none for fragments of the current state.
    pub span: Option<Span>,
    /// The server-sent event.
    pub bytes: Bytes,
}

/// The events after one id, up to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The id before the first.
    pub after: EventId,
    /// The last.
    pub upto: EventId,
}

impl Span {
    /// A single event.
    pub fn of(event: EventId) -> Self {
        Self { after: EventId(event.0 - 1), upto: event }
    }
}

impl Message {
    fn of(event: &Kept, name: &str, data: &str) -> Self {
        Self::spanning(Span::of(event.id), name, data)
    }

    fn spanning(span: Span, name: &str, data: &str) -> Self {
        let bytes = format!("id: {}\nevent: {name}\ndata: {data}\n\n", span.upto).into();
        Self { span: Some(span), bytes }
    }

    /// HTML fragments that htmx inserts at their targets.
    fn pieces(html: &str) -> Self {
        let mut text = String::with_capacity(html.len() + 64);
        for line in html.lines() {
            text.push_str("data: ");
            text.extend(line.chars().filter(|c| *c != '\r'));
            text.push('\n');
        }
        text.push('\n');
        Self { span: None, bytes: text.into() }
    }

    /// The app does not exist any more.
    fn gone() -> Self {
        Self { span: None, bytes: Bytes::from_static(b"event: gone\ndata: {}\n\n") }
    }
}

/// Operations on the page's elements for the progress of a running turn.
pub fn operations(span: Span, operations: &[Operation]) -> Message {
    let data = serde_json::to_string(operations).expect("operations are strings");
    Message::spanning(span, "operations", &visible::in_json(&data))
}

/// Renders the changes of a running turn. Text that cannot be rendered in time is shown unrendered until the turn ends, so
/// the stream does not stop meanwhile.
pub async fn render(services: &Services, app: &App, changes: Changes) -> Vec<Operation> {
    let as_it_is = || {
        let budget = Budget::unlimited();
        budget.cancel();
        budget
    };
    if !changes.have_markdown() {
        return changes.into_operations(&as_it_is());
    }
    let (work, owner) = (changes.clone(), Owner::App(app.name.clone()));
    let rendering =
        services.cpu_work().run("live turn", owner, RENDER_TIME, move |budget| work.into_operations(budget));
    match tokio::time::timeout(RENDER_TIME, rendering).await {
        Ok(Ok(operations)) => operations,
        Ok(Err(error)) => {
            tracing::warn!(app = %app.name, %error, "failed to render a part of a turn; it is shown without formatting");
            changes.into_operations(&as_it_is())
        }
        Err(_) => changes.into_operations(&as_it_is()),
    }
}

/// The fragments of the current state, if one of the events changes it. The error: the app does not exist any more.
pub async fn state(
    services: &Services,
    app: &App,
    events: impl Iterator<Item = &Kept>,
) -> Result<Option<Message>, Message> {
    // The strip shows a deployment's progress notes.
    let of_state = |event: &&Kept| match event.body {
        EventBody::Job { .. } | EventBody::Environment { .. } => true,
        EventBody::Log { stream, .. } => stream == LogStream::Deploy && event.job.is_some(),
        _ => false,
    };
    let Some(last) = events.filter(of_state).last() else { return Ok(None) };
    match state_pieces(services, app, last).await {
        Ok(html) => Ok(Some(Message::pieces(&html))),
        Err(error) if error.kind == ErrorKind::NotFound => Err(Message::gone()),
        // The next event sends the fragments again.
        Err(error) => {
            tracing::warn!(app = %app.name, %error, "failed to update a page");
            Ok(None)
        }
    }
}

/// The fragments of the current state.
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

/// The sentence that announces a deployment's step.
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

/// One event as one message; none for events that fragments or operations show.
pub fn plain(event: &Kept) -> Option<Message> {
    match &event.body {
        // It belongs to no job's log: old images were removed, which the Releases tab shows.
        EventBody::Log { .. } if event.job.is_none() => Some(Message::of(event, "releases", "{}")),
        EventBody::Log { .. } => Some(Message::of(event, event.body.name(), &visible::in_json(event.json()))),
        EventBody::Job { state, kind, .. } if state.is_final() && kind != "generate" => {
            Some(Message::of(event, "releases", "{}"))
        }
        EventBody::Job { .. }
        | EventBody::Environment { .. }
        | EventBody::Usage(_)
        | EventBody::Text { .. }
        | EventBody::File { .. }
        | EventBody::Tool { .. } => None,
    }
}

/// A changed environment, with the number of its version and the jobs that caused the change: the page where one of them was
/// started shows the environment by itself. None for other events.
pub async fn environment(services: &Services, app: &App, event: &Kept) -> Option<Message> {
    let EventBody::Environment { environment, state, version, .. } = &event.body else { return None };
    let number = match version {
        Some(version) => services.version(app, version).await.ok().map(|version| version.number),
        None => None,
    };
    let mut jobs = Vec::from_iter(event.job);
    if let Some(job) = event.job
        && let Ok(job) = services.job(job).await
        && let JobKind::Preview { turn: Some(turn), .. } = job.kind
        && let Ok(turn) = services.turn(app, turn).await
    {
        jobs.extend(turn.job);
    }
    let data = json!({ "environment": environment, "state": state, "version": number, "jobs": jobs }).to_string();
    Some(Message::of(event, "environment", &data))
}

/// A turn whose job has changed its state, as the message that inserts it into the page. While it runs, `live` is its
/// state on the pages from this event on.
pub struct ChangedTurn {
    /// The message; none if the job's turn does not exist any more.
    pub message: Option<Message>,
    /// The running turn.
    pub live: Option<LiveTurn>,
}

/// A turn that was queued, has started or has ended.
pub async fn changed_turn(services: &Services, app: &App, job: JobId, event: &Kept) -> ChangedTurn {
    match try_changed_turn(services, app, job, event).await {
        Ok(changed) => changed,
        Err(error) => {
            tracing::warn!(app = %app.name, %job, %error, "failed to render a turn");
            ChangedTurn { message: None, live: None }
        }
    }
}

async fn try_changed_turn(services: &Services, app: &App, id: JobId, event: &Kept) -> AppResult<ChangedTurn> {
    let job = services.job(id).await?;
    let Some(mut turn) = services.turn_of_job(&job).await? else {
        return Ok(ChangedTurn { message: None, live: None });
    };
    let mut live = None;
    let html = if is_live(&turn) {
        // A job starts a moment before its turn.
        if matches!(event.body, EventBody::Job { state: JobState::Running, .. }) {
            turn = running(services, turn);
        }
        let fold = services.turn_fold(&turn, event.id).await?;
        live = Some(LiveTurn::new(&app.name, turn.id, id, fold.clone()));
        live_article(services, app, turn.clone(), fold).await?
    } else {
        article(services, app, &turn, event.id, false).await?
    };
    Ok(ChangedTurn { message: Some(whole_turn(Span::of(event.id), &turn, html)), live })
}

/// A running turn up to the state of `fold`, for a page that missed a part of it.
pub async fn caught_up_turn(
    services: &Services,
    app: &App,
    job: JobId,
    fold: TurnFold,
    span: Span,
) -> AppResult<Option<Message>> {
    let job = services.job(job).await?;
    let Some(turn) = services.turn_of_job(&job).await? else { return Ok(None) };
    // If it has already ended, a separate event reports that.
    let turn = running(services, turn);
    let html = live_article(services, app, turn.clone(), fold).await?;
    Ok(Some(whole_turn(span, &turn, html)))
}

fn running(services: &Services, turn: Turn) -> Turn {
    Turn { state: TurnState::Running, started_at: turn.started_at.or_else(|| Some(services.now())), ..turn }
}

fn whole_turn(span: Span, turn: &Turn, html: String) -> Message {
    let html = visible::in_html(html);
    let running = turn.state == TurnState::Running;
    let data = json!({ "id": turn.id, "job": turn.job, "running": running, "ended": !is_live(turn), "html": html })
        .to_string();
    Message::spanning(span, "turn", &data)
}
