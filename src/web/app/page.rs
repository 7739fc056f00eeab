//! An app's page: the bar, the conversation, the stage with its tabs.

use askama::Template;
use axum::response::Response;

use super::bar::{Ask, Chips, Next, NextView, chips_of};
use super::conversation;
use super::deployment::{DeployView, Strip, is_shown};
use super::query::AppQuery;
use super::trouble::{Card, TroubleView};
use super::version_card::VersionsState;
use crate::domain::{App, AppName, Environment, Job, JobKind, JobState, ReleaseNumber, TurnId, Version};
use crate::error::{AppResult, ErrorKind};
use crate::services::Services;
use crate::services::deployments::NextStep;
use crate::services::trouble::Trouble;
use crate::web::chrome::Chrome;
use crate::web::reply::{self, Caller, Pieces};
use crate::web::ui;

/// The page.
#[derive(Template)]
#[template(path = "app/page.html")]
pub struct AppPage {
    /// The page's frame: navigation, theme.
    pub chrome: Chrome,
    /// The app.
    pub name: AppName,
    /// What the page calls it.
    pub title: String,
    /// Rendered chips.
    pub chips: String,
    /// The rendered next step.
    pub next: String,
    /// The rendered deployment strip.
    pub strip: String,
    /// The rendered conversation.
    pub turns: String,
    /// The rendered failure at its end.
    pub trouble: String,
    /// The rendered composer.
    pub composer: String,
    /// The tabs.
    pub tabs: Vec<Tab>,
    /// The rendered tab.
    pub stage: String,
    /// On a narrow screen the stage is visible first.
    pub stage_first: bool,
    /// The last event that this page contains.
    pub after: i64,
}

/// A part of the stage.
pub struct Tab {
    /// Its key in the address.
    pub key: &'static str,
    /// Its title.
    pub title: &'static str,
    /// Its address.
    pub href: String,
    /// It is the current tab.
    pub current: bool,
}

/// All tabs; `current`: the key of the current tab.
pub fn tabs(app: &AppName, current: &str) -> Vec<Tab> {
    [
        ("preview", "Preview"),
        ("code", "Code"),
        ("versions", "Versions"),
        ("releases", "Releases"),
        ("logs", "Logs"),
        ("settings", "Settings"),
    ]
    .map(|(key, title)| Tab {
        key,
        title,
        href: if key == "preview" { format!("/apps/{app}") } else { format!("/apps/{app}/{key}") },
        current: key == current,
    })
    .into()
}

/// Number of newest jobs that are searched for the last deployment and the running turn.
const JOBS_SEARCHED: u32 = 20;
/// How long *Undo* is offered after a publish, in seconds.
const UNDO_OFFERED: i64 = 600;

/// The rendered parts of the page that show the current state: the stream sends them when it changes.
pub struct Parts {
    chips: String,
    next: String,
    strip: String,
    send: String,
    trouble: String,
    versions: String,
}

/// Renders the parts that show the current state.
pub async fn parts(services: &Services, app: &App) -> AppResult<Parts> {
    let jobs = services.recent_jobs(app.id, JOBS_SEARCHED).await?;
    let trouble = services.trouble(app, &jobs).await?;
    let shown = jobs.iter().find(|job| is_shown(&job.kind));
    let strip = match shown {
        Some(job) => {
            let version = version_of(services, app, job).await?;
            let url = job.kind.environment().and_then(|environment| services.environment_url(app, environment));
            let words = services.last_words(job).await?;
            Some(
                DeployView::new(job, version, url, words)
                    .undo(undo(services, app, job).await?)
                    .ignoring(ignored_checks(services, app, job).await?)
                    .why(trouble.is_some()),
            )
        }
        None => None,
    };
    let at_work = turn_to_stop(&jobs);
    Ok(Parts {
        chips: reply::render(&Chips {
            chips: chips_of(
                app,
                |environment| services.environment_url(app, environment),
                &services.failed_runs(std::slice::from_ref(app)).await?,
            ),
        })?,
        next: reply::render(&next(services, app, at_work.is_some(), trouble.as_ref()).await?)?,
        strip: reply::render(&Strip { app: &app.name, job: strip })?,
        send: reply::render(&super::turn_view::Send { app: &app.name, running: at_work })?,
        versions: reply::render(&VersionsState::new(app, &services.versions_in_use(app).await?))?,
        trouble: reply::render(&TroubleView {
            app: &app.name,
            card: trouble.map(|trouble| Card::new(&trouble, app, fix_label(services, app))),
        })?,
    })
}

impl Parts {
    /// As fragments for an open page.
    pub fn into_pieces(self) -> Pieces {
        Pieces::new()
            .replace("chips", &self.chips)
            .replace("next", &self.next)
            .replace("strip", &self.strip)
            .replace("send", &self.send)
            .replace("trouble", &self.trouble)
            .replace("versions-in-use", &self.versions)
    }
}

/// The words on the button that asks the model for a fix.
fn fix_label(services: &Services, app: &App) -> &'static str {
    let (is_demo, _) = services.model();
    let is_claude = !is_demo && services.model_of(app).0.as_str().contains("claude");
    if is_claude { "Fix with Claude" } else { "Fix it" }
}

/// How many failed checks were ignored for the release that a job has deployed.
async fn ignored_checks(services: &Services, app: &App, job: &Job) -> AppResult<u32> {
    let Some((environment, number)) = job.result.as_ref().and_then(|result| result.environment.zip(result.release))
    else {
        return Ok(0);
    };
    match services.release(app, environment, number).await {
        Ok(release) => Ok(release.ignored_checks),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// The release that *Undo* of a publish or a roll back brings back.
async fn undo(services: &Services, app: &App, job: &Job) -> AppResult<Option<ReleaseNumber>> {
    let is_live = job.result.as_ref().is_some_and(|result| {
        result.environment == Some(Environment::Prod) && result.release == app.environment(Environment::Prod).release
    });
    let is_recent = job.finished_at.is_some_and(|at| services.now().as_second() - at.as_second() < UNDO_OFFERED);
    if !is_live || !is_recent {
        return Ok(None);
    }
    Ok(services.undo_target(app).await?.map(|release| release.number))
}

/// The turn that *Stop* stops: the running one, else the first in the queue.
fn turn_to_stop(jobs: &[Job]) -> Option<crate::domain::JobId> {
    let open = |job: &&Job| !job.state.is_final() && matches!(job.kind, JobKind::Generate { .. });
    jobs.iter().filter(open).min_by_key(|job| (job.state != JobState::Running, job.id)).map(|job| job.id)
}

/// The number of a deployment's version; none if the version does not exist any more.
pub async fn version_of(services: &Services, app: &App, job: &Job) -> AppResult<Option<u32>> {
    let found = match &job.kind {
        JobKind::Preview { version, .. } => services.version(app, version).await.map(|version| version.number),
        JobKind::Publish { release } => {
            services.release(app, Environment::Preview, *release).await.map(|release| release.version_number)
        }
        JobKind::Rollback { environment, release } => {
            services.release(app, *environment, *release).await.map(|release| release.version_number)
        }
        JobKind::Start { environment } => return Ok(app.environment(*environment).version_number),
        JobKind::Generate { .. } | JobKind::Delete => return Ok(None),
    };
    match found {
        Ok(number) => Ok(Some(number)),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

async fn next<'a>(
    services: &Services,
    app: &'a App,
    turn_runs: bool,
    trouble: Option<&Trouble>,
) -> AppResult<Next<'a>> {
    let fixable = trouble.filter(|trouble| trouble.is_code && trouble.is_newest);
    let step = match services.next_step(app).await? {
        NextStep::DeployPreview { .. } => fixable.map_or(NextView::Deploy, |trouble| NextView::Fix(trouble.job.id)),
        NextStep::Publish { version_number } => NextView::Publish(Some(version_number)),
        NextStep::RolledBack { to, from } => NextView::RolledBack(to, from),
        NextStep::Nothing => NextView::Nothing,
        NextStep::Wait { job } => NextView::Wait(
            match job.kind {
                JobKind::Publish { .. } => "Publishing",
                JobKind::Rollback { .. } => "Rolling back",
                JobKind::Start { .. } => "Starting",
                JobKind::Delete => "Deleting",
                JobKind::Preview { .. } | JobKind::Generate { .. } => "Deploying",
            }
            .to_owned(),
        ),
    };
    let waiting = matches!(step, NextView::Wait(_));
    // While a turn runs, its version is the one to wait for; the menu can deploy the current one.
    let step = if turn_runs && !waiting { NextView::Wait("Writing".to_owned()) } else { step };
    let back = services.rollback_target(app, Environment::Prod).await?;
    let may_publish = !waiting
        && app.environment(Environment::Preview).release.is_some()
        && !matches!(step, NextView::Publish(_) | NextView::Nothing);
    let question = match step {
        NextView::Publish(_) => services.publish_question(app).await?,
        _ if may_publish => services.publish_question(app).await?,
        _ => None,
    };
    let ask = question.map(|question| Ask::new(question, services.environment_url(app, Environment::Prod)));
    Ok(Next {
        app: &app.name,
        may_preview: !waiting && app.head.is_some() && !matches!(step, NextView::Deploy),
        may_publish,
        ask,
        failed: trouble.is_some(),
        back: back.filter(|_| !waiting).map(|release| (release.number, release.version_number)),
        step,
    })
}

/// A tab, as a whole page or as a fragment, depending on the caller.
pub async fn show(
    services: &Services,
    chrome: Chrome,
    caller: Caller,
    app: &App,
    tab: &'static str,
    stage: String,
    query: &AppQuery,
) -> AppResult<Response> {
    if caller == Caller::Fragment {
        return Ok(with_tab(reply::html(stage), tab));
    }
    // Read first: the stream then sends every later event, and none twice.
    let after = services.last_event_id(app.id).await?;
    let parts = parts(services, app).await?;
    let talk = conversation::load(services, app, after, query).await?;
    let prefill: String = match query.edit {
        Some(id) => services.turn(app, TurnId(id)).await?.prompt,
        None => query.prompt.chars().take(20_000).collect(),
    };
    reply::page(&AppPage {
        chrome,
        name: app.name.clone(),
        title: app.shown().to_owned(),
        chips: parts.chips,
        next: parts.next,
        strip: parts.strip,
        composer: reply::render(&super::turn_view::Composer {
            app: &app.name,
            first: talk.is_empty,
            prefill: &prefill,
            send: parts.send,
        })?,
        turns: talk.html,
        trouble: parts.trouble + &parts.versions,
        tabs: tabs(&app.name, tab),
        stage,
        stage_first: tab != "preview" || query.looks,
        after: after.0,
    })
}

/// The fragments of an open page that show the current state.
pub async fn current_state(services: &Services, app: &App) -> AppResult<Pieces> {
    Ok(parts(services, app).await?.into_pieces())
}

/// A tab after a user's change of the app: the fragment with the other changed fragments, at `href`.
pub async fn show_changed(services: &Services, app: &App, stage: String, href: &str) -> AppResult<Response> {
    let pieces = current_state(services, app).await?.into_html();
    let tab = href.split(['/', '?']).nth(3).unwrap_or("preview");
    Ok(at_address(with_tab(reply::html(format!("{stage}{pieces}")), tab), href))
}

/// The page's address after this response.
pub fn at_address(mut response: Response, href: &str) -> Response {
    if let Ok(value) = axum::http::HeaderValue::from_str(href) {
        response.headers_mut().insert("hx-push-url", value);
    }
    response
}

/// The parts that show the current state, after a user's change that leaves the stage as it is.
pub async fn changed_parts(services: &Services, app: &App, announced: &str) -> AppResult<Response> {
    let pieces = parts(services, app).await?.into_pieces().announce(announced);
    Ok(reply::html(pieces.into_html()))
}

/// Tells the open page which tab the fragment belongs to: the address of the request may be that of an action.
fn with_tab(mut response: Response, tab: &str) -> Response {
    let event = serde_json::json!({"slipway:tab": {"tab": tab, "target": "body"}}).to_string();
    if let Ok(event) = axum::http::HeaderValue::try_from(event) {
        response.headers_mut().insert("hx-trigger", event);
    }
    response
}

/// The sentence after a user's change.
pub fn saved(version: &Version) -> String {
    format!("Saved as version {}", version.number)
}
