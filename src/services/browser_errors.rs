//! Errors that browsers reported of an app's draft and preview: taken in, shown, handed to the model.

use super::Services;
use crate::browser_errors::{BrowserError, Place};
use crate::domain::{App, AppName, Environment, Evidence, Job, JobKind, NewTurn, Turn, TurnMode, TurnOrigin};
use crate::error::{AppError, AppResult};
use crate::runtime::Reach;

impl Services {
    /// Whether pages of this place come through the builder, which asks them to report.
    pub fn collects_browser_errors(&self, place: Place) -> bool {
        match place {
            Place::Draft => true,
            Place::Preview => self.platform.runtime.previews == Reach::Gateway,
        }
    }

    /// Takes a report in; `false` when there were too many lately. While a turn is at work a draft is
    /// half-written, and its errors are nobody's fault.
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

    /// What browsers reported of the place as it is now.
    pub fn browser_errors(&self, app: &App, place: Place) -> Vec<BrowserError> {
        state(app, place).map(|state| self.platform.browser_errors.of(app.id, place, &state)).unwrap_or_default()
    }

    /// Hands the errors of a place to the model, as a turn of the user's.
    pub async fn fix_browser_errors(&self, name: &AppName, place: Place) -> AppResult<(Turn, Job)> {
        let app = self.app(name).await?;
        let errors = self.browser_errors(&app, place);
        if errors.is_empty() {
            return Err(AppError::conflict("no_browser_errors", "No browser has reported an error of it.")
                .hint("Open the page and use it: what fails then is shown here."));
        }
        let mut new = fix(place, &errors);
        let redaction = self.platform.redaction(&app).await?;
        new.evidence = new.evidence.map(|evidence| Evidence { text: redaction.string(evidence.text), ..evidence });
        let started = self.start(name, new, Vec::new()).await?;
        self.platform.browser_errors.clear(app.id, place);
        Ok(started)
    }
}

/// What the reports are about: they are gone with the next version of a draft, and the next release of
/// a preview.
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
