//! The *Preview* tab: the app in a frame, or the panel for its kind of app.

use std::fmt::Write as _;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::page::show;
use super::preview_views::{
    ApiPanel, EndpointList, EndpointView, ErrorsView, Frame, NextRun, PagesView, Panel, PreviewTab, RunView, RunsPanel,
    ScheduleView, ViewLink,
};
use super::query::AppQuery;
use super::webhook;
use crate::browser_errors::{BrowserError, Place};
use crate::domain::{
    App, AppName, Cursor, Environment, EnvironmentState, EnvironmentStatus, PageRequest, RunState, TemplateKind,
    Timezone,
};
use crate::error::{AppResult, ErrorKind};
use crate::guard::local_path;
use crate::services::Services;
use crate::services::webhook_samples::Sample;
use crate::web::Web;
use crate::web::chrome::Chrome;
use crate::web::extract::{Form, Path, Query};
use crate::web::format;
use crate::web::preview_access::preview_access_address;
use crate::web::reply::{self, Caller};

/// How long a running app may take to describe its endpoints.
const ENDPOINTS_WAIT: Duration = Duration::from_secs(5);
/// How many next runs, and durations of runs, are shown.
const NEXT_RUNS: usize = 3;
const DURATIONS: usize = 5;
/// Runs on one page.
const RUNS: u32 = 25;

/// The query parameters.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct TabQuery {
    view: Option<View>,
    page: bool,
    /// The page in the frame.
    path: String,
    /// Load the app's endpoints with the page, for a browser without scripts.
    endpoints: bool,
    /// The sample call of a webhook.
    sample: Option<Sample>,
    cursor: Option<String>,
    turns: Option<String>,
    prompt: String,
    edit: Option<i64>,
    steps: Option<i64>,
}

/// The environment in the tab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum View {
    Draft,
    Preview,
    Prod,
}

impl View {
    fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Preview => "preview",
            Self::Prod => "prod",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Draft => "Draft",
            Self::Preview => "Preview",
            Self::Prod => "Production",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Draft => "The current files, without a build",
            Self::Preview => "The app in preview",
            Self::Prod => "The app in production",
        }
    }

    /// The place of its browser errors; none are collected in production.
    fn place(self) -> Option<Place> {
        match self {
            Self::Draft => Some(Place::Draft),
            Self::Preview => Some(Place::Preview),
            Self::Prod => None,
        }
    }

    fn environment(self) -> Environment {
        match self {
            Self::Prod => Environment::Prod,
            Self::Draft | Self::Preview => Environment::Preview,
        }
    }
}

/// `GET /apps/{app}`
pub async fn tab(
    State(web): State<Web>,
    chrome: Chrome,
    caller: Caller,
    Path(name): Path<AppName>,
    Query(query): Query<TabQuery>,
) -> AppResult<Response> {
    let services = &web.services;
    let app = services.app(&name).await?;
    let kind = services.template_of(&app).map(|template| template.manifest.kind);
    // An app whose template was removed still opens: its conversation, code and releases exist.
    let stage = match kind {
        Ok(kind) => reply::render(&stage(services, &app, kind, &query).await?)?,
        Err(error) => {
            let words = format!("{} {}", error.detail, error.hint.unwrap_or_default());
            reply::render(&PreviewTab {
                app: &app.name,
                views: Vec::new(),
                modes: Vec::new(),
                share: None,
                frame: None,
                note: None,
                errors: String::new(),
                panel: Panel::Empty { words, deploy: false },
            })?
        }
    };
    let rest = AppQuery {
        turns: query.turns,
        prompt: query.prompt,
        edit: query.edit,
        steps: query.steps,
        looks: query.view.is_some(),
    };
    show(services, chrome, caller, &app, "preview", stage, &rest).await
}

fn errors_view<'a>(services: &Services, app: &'a App, place: Place) -> ErrorsView<'a> {
    let errors: Vec<String> = services.browser_errors(app, place).iter().map(BrowserError::text).collect();
    let summary = format::count(errors.len() as u64, "browser error", "browser errors");
    ErrorsView { app: &app.name, place: place.as_str(), summary, errors }
}

/// The query parameters or the form's fields.
#[derive(Deserialize)]
pub struct PlaceForm {
    place: Place,
}

/// `GET /apps/{app}/browser-errors`: the reported errors, for an open page.
pub async fn browser_errors(
    State(web): State<Web>,
    caller: Caller,
    Path(name): Path<AppName>,
    Query(query): Query<PlaceForm>,
) -> AppResult<Response> {
    if !caller.is_htmx() {
        return Ok(Redirect::to(&format!("/apps/{name}?view={}", query.place.as_str())).into_response());
    }
    let app = web.services.app(&name).await?;
    Ok(reply::html(reply::render(&errors_view(&web.services, &app, query.place))?))
}

/// `POST /apps/{app}/browser-errors`: *Fix*.
pub async fn fix_browser_errors(
    State(web): State<Web>,
    caller: Caller,
    Path(name): Path<AppName>,
    Form(form): Form<PlaceForm>,
) -> AppResult<Response> {
    let (turn, job) = web.services.fix_browser_errors(&name, form.place).await?;
    Ok(reply::started(caller, &format!("/apps/{name}#turn-{}", turn.id), job.id))
}

async fn stage<'a>(
    services: &Services,
    app: &'a App,
    kind: TemplateKind,
    query: &TabQuery,
) -> AppResult<PreviewTab<'a>> {
    let draft = services.draft_url(app);
    let view = chosen(app, draft.is_some(), kind, query.view);
    let all: &[View] =
        if draft.is_some() { &[View::Draft, View::Preview, View::Prod] } else { &[View::Preview, View::Prod] };
    let status = app.environment(view.environment());
    let href = format!("/apps/{}", app.name);
    let views = all
        .iter()
        .map(|one| ViewLink {
            title: one.title(),
            about: one.about(),
            href: format!("{href}?view={}", one.as_str()),
            current: *one == view,
        })
        .collect();
    let mut tab = PreviewTab {
        app: &app.name,
        views,
        modes: Vec::new(),
        share: None,
        frame: None,
        note: None,
        errors: String::new(),
        panel: Panel::Frame,
    };
    if kind == TemplateKind::Job {
        tab.panel = Panel::Job(runs(services, app, view, query.cursor.clone()).await?);
        return Ok(tab);
    }
    let url = match (view, draft) {
        (View::Draft, Some(draft)) => Some(draft),
        _ => services.environment_url(app, view.environment()),
    };
    let runs = view == View::Draft || status.release.is_some();
    let url = match url {
        Some(url) if runs || kind == TemplateKind::Webhook => url,
        _ => {
            tab.panel = nothing_runs(app, status);
            return Ok(tab);
        }
    };
    tab.note = note(app, view, status);
    let behind_login = view.place().filter(|_| services.config().protects_previews());
    tab.share = behind_login.map(|place| format!("{href}/share?place={}", place.as_str()));
    let as_page = kind == TemplateKind::Static || query.page;
    if kind != TemplateKind::Static && runs {
        let word = if kind == TemplateKind::Webhook { "Calls" } else { "Endpoints" };
        let mode = |title, about, page: bool| ViewLink {
            title,
            about,
            href: format!("{href}?view={}{}", view.as_str(), if page { "&page=true" } else { "" }),
            current: page == query.page,
        };
        tab.modes = vec![mode(word, "Its endpoints", false), mode("Page", "The page at /", true)];
    }
    if as_page && runs {
        let path = frame_path(&query.path).unwrap_or_else(|| "/".to_owned());
        tab.frame = Some(Frame {
            kind: view.as_str(),
            shown: url.split_once("://").map_or(url.as_str(), |(_, rest)| rest).to_owned(),
            title: format!("{} of {}", view.title(), app.name),
            // The frame opens through the access redirect, which sets its cookie, because browsers restrict cookies of embedded pages.
            src: behind_login.map_or_else(
                || format!("{url}{path}"),
                |place| {
                    format!("{}&next={}", preview_access_address(&app.name, place), format::encode_path(&path, true))
                },
            ),
            path,
            url,
        });
        if let Some(place) = view.place()
            && services.collects_browser_errors(place)
        {
            tab.errors = reply::render(&errors_view(services, app, place))?;
        }
        return Ok(tab);
    }
    let environment = view.environment();
    tab.panel = match kind {
        TemplateKind::Webhook => Panel::Webhook(webhook::panel(services, app, environment, &url, query.sample).await?),
        _ => Panel::Api(reply::render(&ApiPanel {
            app: &app.name,
            environment: environment.as_str(),
            url,
            endpoints: if query.endpoints { Some(endpoints(services, app, environment).await?) } else { None },
        })?),
    };
    Ok(tab)
}

/// A path that was typed into the address field, as browsers write it; none if it could lead to another host.
fn frame_path(typed: &str) -> Option<String> {
    let typed = typed.trim();
    if typed.is_empty() {
        return None;
    }
    let mut path = String::with_capacity(typed.len() + 1);
    if !typed.starts_with('/') {
        path.push('/');
    }
    for byte in typed.bytes() {
        if byte.is_ascii_graphic() {
            path.push(char::from(byte));
        } else {
            let _ = write!(path, "%{byte:02X}");
        }
    }
    local_path(&path).map(str::to_owned)
}

/// The query parameters.
#[derive(Deserialize)]
pub struct PagesQuery {
    #[serde(rename = "for")]
    view: View,
}

/// `GET /apps/{app}/pages`: the pages that the address field suggests.
pub async fn pages(
    State(web): State<Web>,
    Path(name): Path<AppName>,
    Query(query): Query<PagesQuery>,
) -> AppResult<Response> {
    let app = web.services.app(&name).await?;
    let environment = (query.view != View::Draft).then(|| query.view.environment());
    let asked = tokio::time::timeout(ENDPOINTS_WAIT, web.services.pages(&app, environment)).await;
    // An app that does not say which pages it has still has an address field.
    let paths = asked.ok().and_then(Result::ok).unwrap_or_default();
    Ok(reply::html(reply::render(&PagesView { paths })?))
}

/// The requested view; else the newest one that can be shown.
fn chosen(app: &App, has_draft: bool, kind: TemplateKind, asked: Option<View>) -> View {
    let preview = app.environment(Environment::Preview);
    match asked {
        Some(View::Draft) if !has_draft => View::Preview,
        Some(view) => view,
        None if has_draft && (preview.release.is_none() || preview.version != app.head) => View::Draft,
        None if kind == TemplateKind::Job && app.environment(Environment::Prod).release.is_some() => View::Prod,
        None => View::Preview,
    }
}

fn nothing_runs(app: &App, status: &EnvironmentStatus) -> Panel {
    let (words, deploy) = match (status.environment, status.state) {
        (_, EnvironmentState::Deploying) => {
            ("The first version is being deployed. It appears here when it has answered.".to_owned(), false)
        }
        (Environment::Preview, EnvironmentState::Failed) => {
            ("Nothing runs in preview: the last deployment failed. The conversation says why.".to_owned(), false)
        }
        (Environment::Preview, _) => (
            "There is no preview yet. Deploy it to build the newest version; it appears here when it has answered."
                .to_owned(),
            true,
        ),
        (Environment::Prod, EnvironmentState::Failed) => {
            ("Nothing runs in production: publishing failed.".to_owned(), false)
        }
        (Environment::Prod, _) => {
            ("The app is not published yet. Publishing deploys the preview to production, unchanged.".to_owned(), false)
        }
    };
    Panel::Empty { words, deploy: deploy && app.head.is_some() && !app.deleting }
}

/// A note about the shown environment.
fn note(app: &App, view: View, status: &EnvironmentStatus) -> Option<String> {
    if view == View::Draft {
        return None;
    }
    let place = status.environment.title();
    let number = status.version_number?;
    match status.state {
        EnvironmentState::Stopped => Some(format!("{place} has stopped. You can start it again in Releases.")),
        EnvironmentState::Deploying => Some(format!("Version {number} answers until the new one is ready.")),
        _ if view == View::Preview && status.version != app.head => {
            Some(format!("This is version {number}. A newer version can be deployed."))
        }
        _ => None,
    }
}

/// The query parameters.
#[derive(Deserialize)]
pub struct EndpointsQuery {
    environment: Environment,
}

/// `GET /apps/{app}/endpoints`: the endpoints that the running app describes.
pub async fn endpoints_list(
    State(web): State<Web>,
    caller: Caller,
    Path(name): Path<AppName>,
    Query(query): Query<EndpointsQuery>,
) -> AppResult<Response> {
    if !caller.is_htmx() {
        return Ok(Redirect::to(&format!("/apps/{name}?view={}&endpoints=true", query.environment)).into_response());
    }
    let app = web.services.app(&name).await?;
    Ok(reply::html(endpoints(&web.services, &app, query.environment).await?))
}

async fn endpoints(services: &Services, app: &App, environment: Environment) -> AppResult<String> {
    let asked = tokio::time::timeout(ENDPOINTS_WAIT, services.endpoints(app, environment)).await;
    let found = asked.ok().and_then(Result::ok);
    let answered = found.is_some();
    let found = found.unwrap_or_default();
    reply::render(&EndpointList {
        app: &app.name,
        environment: environment.as_str(),
        endpoints: found.list.into_iter().map(EndpointView::new).collect(),
        left_out: found.left_out,
        answered,
    })
}

async fn runs(services: &Services, app: &App, view: View, cursor: Option<String>) -> AppResult<String> {
    let now = services.now();
    let environment = view.environment();
    let request = PageRequest { cursor: cursor.map(Cursor::try_from).transpose()?, ..PageRequest::first(RUNS) };
    let page = services.runs(app, request).await?;
    // If app.toml cannot be parsed at the moment, the page shows the rest.
    let settings = services.settings(app).await.unwrap_or_default();
    let (schedule, zone) = (settings.schedule, settings.timezone);
    let next = match services.next_runs(app, NEXT_RUNS).await {
        Ok(next) => next,
        Err(error) if error.kind == ErrorKind::Internal => return Err(error),
        Err(_) => Vec::new(),
    };
    let published = app.environment(Environment::Prod).release.is_some();
    reply::render(&RunsPanel {
        app: &app.name,
        environment: environment.as_str(),
        may_run: app.environment(environment).release.is_some() && !app.deleting,
        no_next: match (&schedule, published) {
            (_, false) => "Not scheduled yet. Publish to start the schedule.",
            (None, true) => "None: app.toml has no schedule.",
            (Some(_), true) => "None: the published version has no schedule that is ever due.",
        },
        schedule: schedule
            .map(|expression| ScheduleView::new(expression.as_str(), zone.as_ref().map(Timezone::as_str))),
        next: next.into_iter().map(|at| NextRun::new(at, now)).collect(),
        took: page
            .items
            .iter()
            .filter(|run| run.environment == environment)
            .filter_map(|run| format::between(Some(run.started_at), Some(run.finished_at?)))
            .take(DURATIONS)
            .collect(),
        any_running: page.items.iter().any(|run| run.state == RunState::Running),
        runs: page.items.iter().map(|run| RunView::new(run, now)).collect(),
        more: page.next.map(|cursor| format!("/apps/{}?view={}&cursor={cursor}", app.name, view.as_str())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_paths_stay_on_the_apps_host() {
        assert_eq!(frame_path("/about.html?a=b#c").as_deref(), Some("/about.html?a=b#c"));
        assert_eq!(frame_path(" about us.html ").as_deref(), Some("/about%20us.html"));
        assert_eq!(frame_path("/über").as_deref(), Some("/%C3%BCber"));
        let long = "a".repeat(3000);
        for bad in ["", "  ", "//evil.test", "/\\evil.test", &long] {
            assert_eq!(frame_path(bad), None, "{bad}");
        }
    }
}
