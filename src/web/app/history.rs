//! The *Versions* and *Releases* tabs.

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::history_views::{
    Cleaned, DiffRow, DiffView, Place, ReleaseView, ReleasesTab, VersionPage, VersionView, VersionsTab,
};
use super::page::{show, show_changed};
use super::query::AppQuery;
use super::release::token_names;
use crate::domain::{App, AppName, Cursor, Environment, PageRequest, VersionId};
use crate::error::AppResult;
use crate::services::Services;
use crate::web::Web;
use crate::web::chrome::Chrome;
use crate::web::extract::{Path, Query};
use crate::web::format::When;
use crate::web::reply::{self, Caller};
use crate::workspace::{FileDiff, FileStatus, LineKind};

/// Versions or releases on one page.
const PAGE: u32 = 30;
/// A file's diff is open if it has at most this many lines.
const OPEN_LINES: usize = 400;
/// Maximum lines on one diff page, over all files.
pub(super) const LINES_SHOWN: usize = 3_000;

/// The query parameters.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct ListQuery {
    cursor: Option<String>,
    environment: Option<Environment>,
}

/// `GET /apps/{app}/versions`
pub async fn versions(
    State(web): State<Web>,
    chrome: Chrome,
    caller: Caller,
    Path(name): Path<AppName>,
    Query(query): Query<ListQuery>,
) -> AppResult<Response> {
    let app = web.services.app(&name).await?;
    let stage = versions_tab(&web.services, &app, query.cursor.map(Cursor::try_from).transpose()?).await?;
    show(&web.services, chrome, caller, &app, "versions", stage, &AppQuery::default()).await
}

async fn versions_tab(services: &Services, app: &App, cursor: Option<Cursor>) -> AppResult<String> {
    let page = services.versions(app, PageRequest { cursor, ..PageRequest::first(PAGE) }).await?;
    let now = services.now();
    reply::render(&VersionsTab {
        app: &app.name,
        versions: page.items.iter().map(|version| VersionView::new(version, app, now)).collect(),
        more: page.next.map(|cursor| format!("/apps/{}/versions?cursor={cursor}", app.name)),
    })
}

/// `GET /apps/{app}/versions/{version}`
pub async fn version(
    State(web): State<Web>,
    chrome: Chrome,
    caller: Caller,
    Path((name, id)): Path<(AppName, VersionId)>,
) -> AppResult<Response> {
    let services = &web.services;
    let app = services.app(&name).await?;
    let (version, diffs) = tokio::join!(services.version(&app, &id), services.diff(&app, &id));
    let mut left = LINES_SHOWN;
    let stage = reply::render(&VersionPage {
        app: &app.name,
        version: VersionView::new(&version?, &app, services.now()),
        files: diffs?.into_iter().map(|diff| diff_view(diff, &mut left)).collect(),
    })?;
    show(services, chrome, caller, &app, "versions", stage, &AppQuery::default()).await
}

/// A file's changes, with at most `left` lines.
pub(super) fn diff_view(diff: FileDiff, left: &mut usize) -> DiffView {
    let (status, class) = match diff.status {
        FileStatus::Added => ("added", "ok"),
        FileStatus::Modified => ("changed", "accent"),
        FileStatus::Deleted => ("deleted", "bad"),
        FileStatus::Renamed => ("renamed", "accent"),
    };
    let path = match &diff.old_path {
        Some(old) => format!("{old} → {}", diff.path),
        None => diff.path.to_string(),
    };
    let all = diff.lines.len();
    let lines: Vec<DiffRow> = diff.lines.into_iter().take(*left).map(row).collect();
    *left -= lines.len();
    DiffView {
        path,
        status,
        class,
        additions: diff.additions,
        deletions: diff.deletions,
        open: !lines.is_empty() && lines.len() <= OPEN_LINES,
        nothing: if diff.binary { "This is a binary file." } else { "The content is the same." },
        truncated: diff.truncated || lines.len() < all,
        lines,
    }
}

fn row(line: crate::workspace::DiffLine) -> DiffRow {
    let (class, mark) = match line.kind {
        LineKind::Context => (None, ""),
        LineKind::Added => (Some("added"), "+"),
        LineKind::Removed => (Some("removed"), "−"),
        LineKind::Hunk => (Some("hunk"), ""),
    };
    let number = |number: Option<u32>| number.map(|n| n.to_string()).unwrap_or_default();
    DiffRow { class, old: number(line.old_no), new: number(line.new_no), mark, text: line.text }
}

/// `POST /apps/{app}/versions/{version}/restore`
pub async fn restore(
    State(web): State<Web>,
    caller: Caller,
    Path((name, id)): Path<(AppName, VersionId)>,
) -> AppResult<Response> {
    let services = &web.services;
    services.restore(&name, &id).await?;
    let href = format!("/apps/{name}/versions");
    if !caller.is_htmx() {
        return Ok(Redirect::to(&href).into_response());
    }
    let app = services.app(&name).await?;
    let stage = versions_tab(services, &app, None).await?;
    show_changed(services, &app, stage, &href).await
}

/// `GET /apps/{app}/releases`
pub async fn releases(
    State(web): State<Web>,
    chrome: Chrome,
    caller: Caller,
    Path(name): Path<AppName>,
    Query(query): Query<ListQuery>,
) -> AppResult<Response> {
    let services = &web.services;
    let app = services.app(&name).await?;
    let cursor = query.cursor.map(Cursor::try_from).transpose()?;
    let mut places = Vec::new();
    for environment in [Environment::Prod, Environment::Preview] {
        if query.environment.is_none_or(|wanted| wanted == environment) {
            places.push(place(services, &app, environment, cursor.clone()).await?);
        }
    }
    let now = services.now();
    let cleaned = services.clean_up(&app).await?.map(|cleaned| Cleaned {
        when: When::new(cleaned.at, now),
        freed: cleaned.freed,
        total: cleaned.total,
    });
    let stage = reply::render(&ReleasesTab { app: &app.name, places, cleaned })?;
    show(services, chrome, caller, &app, "releases", stage, &AppQuery::default()).await
}

async fn place(services: &Services, app: &App, environment: Environment, cursor: Option<Cursor>) -> AppResult<Place> {
    let page = services.releases(app, Some(environment), PageRequest { cursor, ..PageRequest::first(PAGE) }).await?;
    let now = services.now();
    let tokens = token_names(services).await?;
    let runs = app.environment(environment).release.is_some();
    Ok(Place {
        key: environment.as_str(),
        title: environment.title(),
        url: services.environment_url(app, environment).filter(|_| runs),
        releases: page.items.iter().map(|release| ReleaseView::new(release, app, &tokens, now)).collect(),
        nothing: match environment {
            Environment::Preview => "There are no preview releases yet.",
            Environment::Prod => "There are no production releases yet.",
        },
        more: page.next.map(|cursor| format!("/apps/{}/releases?environment={environment}&cursor={cursor}", app.name)),
    })
}
