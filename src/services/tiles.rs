//! What an app's card shows of its page: the first heading and a colour, read from the newest version's files. Pages are foreign
//! text: what is read of them is bounded, in the background, once for each version.

mod reading;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

pub use reading::{Colour, Tile};

use super::Services;
use crate::bounded_work::Owner;
use crate::domain::{App, AppId, VersionId, WorkspacePath};
use crate::error::AppResult;

/// Tiles that are kept. When there are more, all are forgotten.
const KEPT: usize = 2_000;
/// Bytes that are read of a page and of a style sheet.
const READ: usize = 32 * 1024;
/// How long reading one may take.
const TIME: Duration = Duration::from_millis(250);
/// Pages and style sheets of apps that are no static sites.
const PAGES: [&str; 3] = ["page.html", "index.html", "templates/index.html"];
const STYLES: [&str; 2] = ["page.css", "style.css"];

/// The tiles by app, each of one version.
#[derive(Debug, Default)]
pub struct Tiles {
    kept: Mutex<HashMap<AppId, (VersionId, Option<Tile>)>>,
    reading: tokio::sync::Mutex<()>,
}

impl Tiles {
    fn of(&self, app: AppId) -> Option<(VersionId, Option<Tile>)> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(&app).cloned()
    }

    fn keep(&self, app: AppId, version: VersionId, tile: Option<Tile>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT && !kept.contains_key(&app) {
            kept.clear();
        }
        kept.insert(app, (version, tile));
    }
}

impl Services {
    /// The tile of an app, as far as it was read: of an earlier version until the newest one was.
    pub fn tile(&self, app: &App) -> Option<Tile> {
        self.tiles.of(app.id).and_then(|(_, tile)| tile)
    }

    /// Reads the tiles of apps whose newest version was not read yet, in the background; those that have
    /// changed are noted as changes of the list.
    pub fn read_tiles(&self, apps: &[App]) {
        let is_read = |app: &App| self.tiles.of(app.id).map(|(version, _)| version) == app.head;
        let unread: Vec<App> = apps.iter().filter(|app| app.head.is_some() && !is_read(app)).cloned().collect();
        if unread.is_empty() {
            return;
        }
        let services = self.clone();
        tokio::spawn(async move {
            // One at a time: it is not urgent.
            let _reading = services.tiles.reading.lock().await;
            for app in unread {
                let Some(head) = app.head.clone() else { continue };
                if services.tiles.of(app.id).is_some_and(|(version, _)| version == head) {
                    continue;
                }
                let tile = match services.read_tile(&app, head.clone()).await {
                    Ok(tile) => tile,
                    Err(error) => {
                        tracing::debug!(app = %app.name, %error, "failed to read the page of an app for its card");
                        None
                    }
                };
                let changed = services.tile(&app) != tile;
                services.tiles.keep(app.id, head, tile);
                if changed {
                    services.platform.events.changes().note(app.id);
                }
            }
        });
    }

    async fn read_tile(&self, app: &App, head: VersionId) -> AppResult<Option<Tile>> {
        let root = self.template_of(app)?.manifest.draft_root.clone();
        let (pages, styles) = match root {
            Some(root) => (vec![format!("{root}/index.html")], vec![format!("{root}/style.css")]),
            None => (PAGES.map(str::to_owned).to_vec(), STYLES.map(str::to_owned).to_vec()),
        };
        let (page, style) = self
            .platform
            .read_workspace(&app.name, move |workspace| {
                let first = |paths: Vec<String>| {
                    paths.into_iter().find_map(|path| {
                        let mut bytes = workspace.read_at(&head, &path.parse::<WorkspacePath>().ok()?).ok()?;
                        bytes.truncate(READ);
                        Some(String::from_utf8_lossy(&bytes).into_owned())
                    })
                };
                Ok((first(pages), first(styles).unwrap_or_default()))
            })
            .await?;
        let Some(page) = page else { return Ok(None) };
        let work = move |budget: &crate::bounded_work::Budget| reading::read(&page, &style, budget);
        Ok(self.cpu_work().run("tile", Owner::App(app.name.clone()), TIME, work).await?)
    }
}
