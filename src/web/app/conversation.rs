//! The conversation: its newest turns, new messages, and earlier turns.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::live_turn;
use super::query::AppQuery;
use super::turn_view::{Offers, RENDER_TIME, TurnArticle, Turns, answers, shown, steps as rendered_steps, whole_text};
use crate::bounded_work::{Budget, Owner};
use crate::domain::{
    AnswerId, App, AppName, AttachmentId, Cursor, EventId, NewTurn, PageRequest, QuestionKind, Turn, TurnBlock,
    TurnFold, TurnId, TurnMode, TurnState,
};
use crate::error::AppResult;
use crate::services::Services;
use crate::web::Web;
use crate::web::extract::{Path, Query};
use crate::web::home::field;
use crate::web::reply::{self, Caller};
use crate::web::upload::FormWithFiles;

/// Turns shown at once.
const PAGE: u32 = 12;
/// All stored events.
const ALL: EventId = EventId(i64::MAX);

/// A rendered conversation.
pub struct Talk {
    /// There are no messages yet.
    pub is_empty: bool,
    /// Its HTML.
    pub html: String,
}

/// The newest turns, or those that `query` requests; a running turn up to the event `until`.
pub async fn load(services: &Services, app: &App, until: EventId, query: &AppQuery) -> AppResult<Talk> {
    let cursor = query.turns.clone().map(Cursor::try_from).transpose()?;
    turns(services, app, until, cursor, query.steps.map(TurnId), true).await
}

async fn turns(
    services: &Services,
    app: &App,
    until: EventId,
    cursor: Option<Cursor>,
    open: Option<TurnId>,
    whole: bool,
) -> AppResult<Talk> {
    let page = services.turns(app, PageRequest { cursor, ..PageRequest::first(PAGE) }).await?;
    let mut rendered = Vec::with_capacity(page.items.len());
    for (at, turn) in page.items.iter().enumerate().rev() {
        // Newest first: the next message, which answers a question, stands before it.
        let next = page.items[..at].iter().rev().find(|next| !next.was_withdrawn());
        let answer = next.map(|next| next.prompt.as_str());
        rendered.push(answered_article(services, app, turn, until, open == Some(turn.id), answer).await?);
    }
    let html = reply::render(&Turns {
        app: &app.name,
        turns: rendered,
        earlier: page.next.map(|cursor| cursor.to_string()),
        whole,
    })?;
    Ok(Talk { is_empty: page.items.is_empty(), html })
}

/// One turn, rendered: its progress while it runs, its result afterwards.
pub async fn article(
    services: &Services,
    app: &App,
    turn: &Turn,
    until: EventId,
    with_steps: bool,
) -> AppResult<String> {
    answered_article(services, app, turn, until, with_steps, None).await
}

/// The same, with the message after it.
async fn answered_article(
    services: &Services,
    app: &App,
    turn: &Turn,
    until: EventId,
    with_steps: bool,
    answer: Option<&str>,
) -> AppResult<String> {
    if is_live(turn) {
        let fold = services.turn_fold(turn, until).await?;
        return live_article(services, app, turn.clone(), fold).await;
    }
    let blocks = if with_steps { services.turn_blocks(turn, ALL).await? } else { services.turn_answers(turn).await? };
    let offers = offers(services, app, turn).await?;
    let now = services.now();
    let in_use = match turn.version {
        // Head may be newer than the loaded app.
        Some(_) => Some((services.app(&app.name).await?, services.versions_in_use(app).await?)),
        None => None,
    };
    let (name, turn) = (app.name.clone(), turn.clone());
    let answer = answer.filter(|_| turn.question.is_some()).map(ToOwned::to_owned);
    let render = move |budget: &Budget| {
        let shown = shown(&blocks);
        let answers = answers(&shown, &whole_text(&name, turn.id), budget);
        let mut article = TurnArticle::new(&name, &turn, answers, now).offering(offers).answered(answer.as_deref());
        if let Some((app, versions)) = &in_use {
            article = article.in_use(app, versions);
        }
        reply::render(&if with_steps { article.with_steps(rendered_steps(&shown)) } else { article })
    };
    services.cpu_work().run("turn", Owner::App(app.name.clone()), RENDER_TIME, render).await?
}

/// A running turn, rendered up to the state of `fold`.
pub async fn live_article(services: &Services, app: &App, turn: Turn, fold: TurnFold) -> AppResult<String> {
    let now = services.now();
    let name = app.name.clone();
    let has_blocks = !fold.blocks().is_empty();
    let render = move |budget: &Budget| {
        let blocks = live_turn::rendered(&name, turn.id, &fold, budget);
        let article = TurnArticle::new(&name, &turn, blocks, now);
        reply::render(&if turn.state == TurnState::Running { article.doing(live_turn::doing(&fold)) } else { article })
    };
    // A turn without blocks needs no slot of the pool and does not wait for one.
    if !has_blocks {
        return render(&Budget::unlimited());
    }
    services.cpu_work().run("turn", Owner::App(app.name.clone()), RENDER_TIME, render).await?
}

/// The actions that an ended turn offers. Most turns need no database query.
async fn offers(services: &Services, app: &App, turn: &Turn) -> AppResult<Offers> {
    let broken = turn.state == TurnState::Failed;
    if !(broken || turn.question.is_some() || turn.may_continue()) {
        return Ok(Offers::default());
    }
    // The turn does not know about later messages, and head may be newer than the loaded app.
    if services.newest_turn(app).await?.is_none_or(|newest| newest.id != turn.id) {
        return Ok(Offers::default());
    }
    let asks_about_rewrite = turn.question.as_ref().is_some_and(|question| question.about == QuestionKind::Rewrite);
    let restore = if broken {
        let now = services.app(&app.name).await?;
        services.last_good_version(&now).await?
    } else if asks_about_rewrite {
        let now = services.app(&app.name).await?;
        services.version_before(&now, turn).await?
    } else {
        None
    };
    let restore = restore.map(|version| (version.id, version.number));
    let may_continue = turn.may_continue();
    let has_begun = may_continue && services.has_answers(turn).await?;
    Ok(Offers { answers: turn.question.is_some(), go_on: has_begun, again: may_continue && !has_begun, restore })
}

/// Whether the turn is queued or running.
pub fn is_live(turn: &Turn) -> bool {
    matches!(turn.state, TurnState::Queued | TurnState::Running)
}

/// The query parameters.
#[derive(Deserialize)]
pub struct EarlierQuery {
    cursor: String,
}

/// `GET /apps/{app}/turns`: the turns before those on the page.
pub async fn earlier(
    State(web): State<Web>,
    caller: Caller,
    Path(name): Path<AppName>,
    Query(query): Query<EarlierQuery>,
) -> AppResult<Response> {
    let cursor = Cursor::try_from(query.cursor)?;
    if !caller.is_htmx() {
        return Ok(Redirect::to(&format!("/apps/{name}?turns={cursor}")).into_response());
    }
    let app = web.services.app(&name).await?;
    Ok(reply::html(turns(&web.services, &app, ALL, Some(cursor), None, false).await?.html))
}

/// The form's fields.
#[derive(Deserialize)]
pub struct TurnForm {
    #[serde(default)]
    prompt: String,
    #[serde(default)]
    mode: TurnMode,
    /// The choice that the user clicked.
    #[serde(default)]
    answer: String,
    /// The turn to try again.
    #[serde(default)]
    again: String,
}

/// `POST /apps/{app}/turns`
pub async fn start(
    State(web): State<Web>,
    caller: Caller,
    Path(name): Path<AppName>,
    FormWithFiles { fields: form, files }: FormWithFiles<TurnForm>,
) -> AppResult<Response> {
    let (turn, job) = if form.again.is_empty() {
        let answer =
            Some(form.answer.as_str()).filter(|answer| !answer.is_empty()).map(field::<AnswerId>).transpose()?;
        let new = NewTurn { answer, ..NewTurn::of_person(form.prompt, form.mode) };
        web.services.start(&name, new, files).await?
    } else {
        web.services.repeat_turn(&name, field::<TurnId>(&form.again)?).await?
    };
    Ok(reply::started(caller, &format!("/apps/{name}#turn-{}", turn.id), job.id))
}

/// `GET /apps/{app}/attachments/{id}`: an attachment of a message, in a sandbox without rights on this origin.
pub async fn attachment(
    State(web): State<Web>,
    Path((name, id)): Path<(AppName, AttachmentId)>,
) -> AppResult<Response> {
    let app = web.services.app(&name).await?;
    let (kind, bytes) = web.services.attachment(&app, &id).await?;
    let headers = [
        (header::CONTENT_TYPE, kind.media_type()),
        // The same address always has the same bytes.
        (header::CACHE_CONTROL, "private, max-age=31536000, immutable"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"),
        (header::CONTENT_DISPOSITION, "inline"),
    ];
    Ok((headers, bytes).into_response())
}

/// `POST /apps/{app}/turns/{turn}/continue`: resumes a turn that ended early.
pub async fn continue_turn(
    State(web): State<Web>,
    caller: Caller,
    Path((name, id)): Path<(AppName, i64)>,
) -> AppResult<Response> {
    let (turn, job) = web.services.continue_turn(&name, TurnId(id)).await?;
    Ok(reply::started(caller, &format!("/apps/{name}#turn-{}", turn.id), job.id))
}

/// `POST /apps/{app}/turns/{turn}/edit`: restores the version before a message and puts its text into the composer.
pub async fn edit(State(web): State<Web>, Path((name, id)): Path<(AppName, i64)>) -> AppResult<Response> {
    let app = web.services.app(&name).await?;
    let turn = web.services.turn(&app, TurnId(id)).await?;
    web.services.restore_before(&name, &turn).await?;
    Ok(Redirect::to(&format!("/apps/{name}?edit={id}#composer")).into_response())
}

/// `GET /apps/{app}/turns/{turn}/steps`: the steps inside a turn's summary.
pub async fn steps(
    State(web): State<Web>,
    caller: Caller,
    Path((name, id)): Path<(AppName, i64)>,
) -> AppResult<Response> {
    if !caller.is_htmx() {
        return Ok(Redirect::to(&format!("/apps/{name}?steps={id}#turn-{id}")).into_response());
    }
    let app = web.services.app(&name).await?;
    let turn = web.services.turn(&app, TurnId(id)).await?;
    let blocks = web.services.turn_blocks(&turn, ALL).await?;
    let render = move |_: &Budget| rendered_steps(&shown(&blocks));
    let steps = web.services.cpu_work().run("steps", Owner::App(app.name), RENDER_TIME, render).await?;
    let steps = if steps.is_empty() { r#"<p class="step">There were no steps.</p>"#.to_owned() } else { steps };
    Ok(reply::html(format!(r#"<div class="steps">{steps}</div>"#)))
}

/// `GET /apps/{app}/turns/{turn}/text`: the model's words, unrendered, in plain text.
pub async fn text(State(web): State<Web>, Path((name, id)): Path<(AppName, i64)>) -> AppResult<Response> {
    let app = web.services.app(&name).await?;
    let turn = web.services.turn(&app, TurnId(id)).await?;
    let blocks = web.services.turn_answers(&turn).await?;
    let answers = blocks.iter().filter_map(|block| match block {
        TurnBlock::Answer(text) => Some(text.trim_end()),
        _ => None,
    });
    Ok((answers.collect::<Vec<_>>().join("\n\n") + "\n").into_response())
}
