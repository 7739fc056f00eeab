//! Browser errors of an app's draft and preview: collect, list, fix.

use super::Services;
use crate::browser_errors::{BrowserError, Place};
use crate::domain::{App, AppName, Environment, Evidence, Job, JobKind, NewTurn, Turn, TurnMode, TurnOrigin};
use crate::error::{AppError, AppResult};
use crate::runtime::Reach;

impl Services {
    /// Whether pages of this place pass through the gateway, which adds the reporting script. On a cluster
    /// previews do so only if they need a login.
    pub fn collects_browser_errors(&self, place: Place) -> bool {
        match place {
            Place::Draft => true,
            Place::Preview => self.platform.runtime.previews == Reach::Gateway,
        }
    }

    /// Stores a report; `false` if there were too many recently. While a turn is running, a draft is
    /// incomplete, and its errors are dropped.
    pub async fn report_browser_errors(
        &self,
        name: &AppName,
        place: Place,
        errors: Vec<BrowserError>,
    ) -> AppResult<bool> {
        let app = self.app(name).await?;
        let Some(state) = state(&app, place) else { return Ok(true) };
        if place == Place::Draft {
            let open = self.platform.store.open_jobs(Some(app.id)).await?;
            if open.iter().any(|job| matches!(job.kind, JobKind::Generate { .. })) {
                return Ok(true);
            }
        }
        Ok(self.platform.browser_errors.report(app.id, place, &state, errors))
    }

    /// The reported errors of the current state of the place.
    pub fn browser_errors(&self, app: &App, place: Place) -> Vec<BrowserError> {
        state(app, place).map(|state| self.platform.browser_errors.of(app.id, place, &state)).unwrap_or_default()
    }

    /// Starts a turn of the user that fixes the errors of a place.
    pub async fn fix_browser_errors(&self, name: &AppName, place: Place) -> AppResult<(Turn, Job)> {
        let app = self.app(name).await?;
        let errors = self.browser_errors(&app, place);
        if errors.is_empty() {
            return Err(AppError::conflict("no_browser_errors", "No browser errors were reported.")
                .hint("Open the page and use it: errors then appear here."));
        }
        let mut new = fix(place, &errors);
        let redaction = self.platform.redaction(&app).await?;
        new.evidence = new.evidence.map(|evidence| Evidence { text: redaction.string(evidence.text), ..evidence });
        let started = self.start(name, new, Vec::new()).await?;
        self.platform.browser_errors.clear(app.id, place);
        Ok(started)
    }
}

/// The state that reports belong to: the version of a draft or the release of
/// a preview. Reports of other states are dropped.
fn state(app: &App, place: Place) -> Option<String> {
    match place {
        Place::Draft => app.head.as_ref().map(ToString::to_string),
        Place::Preview => app.environment(Environment::Preview).release.map(|release| release.to_string()),
    }
}

fn fix(place: Place, errors: &[BrowserError]) -> NewTurn {
    let lines: Vec<String> = errors.iter().map(BrowserError::text).collect();
    let times = if errors.len() == 1 { "this error".to_owned() } else { format!("these {} errors", errors.len()) };
    let prompt = format!("A browser that had the {} open reported {times}. Find the cause and fix it.", place.as_str());
    NewTurn {
        origin: TurnOrigin::Fix,
        evidence: Some(Evidence { source: "a browser's console".to_owned(), text: lines.join("\n") }),
        ..NewTurn::of_person(prompt, TurnMode::Build)
    }
}
