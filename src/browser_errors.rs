//! What browsers report of drafts and previews: errors of scripts, loads that failed, lines of the
//! console. Kept in memory, for the newest draft and the live preview alone, bounded for each app.
//!
//! Anybody who can open a draft or a preview can report anything: what is kept is data, cut to size,
//! shown as text, and marked as material for the model.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::domain::{AppId, words};

/// Different errors that are kept of one place.
const KEPT: usize = 50;
/// Reports that an app may send in a minute.
const REPORTS_A_MINUTE: u32 = 60;
const MINUTE: Duration = Duration::from_mins(1);
/// Errors that one report may hold.
const IN_A_REPORT: usize = 20;
/// Longest message and longest address, in characters.
const MESSAGE_MAX: usize = 600;
const ADDRESS_MAX: usize = 300;
/// Apps whose errors are kept.
const APPS: usize = 2_000;

/// Where an error happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// The workspace as it is.
    Draft,
    /// What runs in preview.
    Preview,
}

words!(Place { Draft = "draft", Preview = "preview" });

/// What kind of error it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ErrorKind {
    /// Nobody caught it.
    Error,
    /// An unhandled rejected promise.
    Rejection,
    /// A script, a style, a picture could not be loaded.
    Load,
    /// `console.error`.
    Console,
}

/// An error that a browser reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BrowserError {
    /// What kind.
    pub kind: ErrorKind,
    /// What it says.
    pub message: String,
    /// The page that was open: its path.
    #[serde(default)]
    pub page: String,
    /// The file that it came from: its path.
    #[serde(default)]
    pub source: String,
    /// The line in it, from 1; 0 when it is not known.
    #[serde(default)]
    pub line: u32,
    /// How often it came.
    #[serde(default)]
    pub count: u32,
}

impl BrowserError {
    /// As one line: `/app.js:3: x is not defined (on /, 2 times)`.
    pub fn text(&self) -> String {
        let place = match (self.source.as_str(), self.line) {
            ("", _) => String::new(),
            (source, 0) => format!("{source}: "),
            (source, line) => format!("{source}:{line}: "),
        };
        let times = if self.count > 1 { format!(", {} times", self.count) } else { String::new() };
        format!("{place}{} (on {}{times})", self.message, self.page)
    }

    /// Cut to size, on one line.
    fn bounded(self) -> Self {
        let cut = |text: &str, max: usize| {
            text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(max).collect::<String>().trim().to_owned()
        };
        Self {
            message: cut(&self.message, MESSAGE_MAX),
            page: cut(&self.page, ADDRESS_MAX),
            source: cut(&self.source, ADDRESS_MAX),
            count: 1,
            ..self
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        (self.kind, &self.message, &self.source, self.line) == (other.kind, &other.message, &other.source, other.line)
    }
}

/// The errors of all apps. What is kept belongs to one state of a place (a version of the draft, a
/// release of the preview): with the next state it is gone.
#[derive(Debug, Default)]
pub struct BrowserErrors(Mutex<HashMap<(AppId, Place), Kept>>);

#[derive(Debug)]
struct Kept {
    state: String,
    errors: Vec<BrowserError>,
    /// The minute that is counted, and its reports.
    minute: Instant,
    reports: u32,
}

impl BrowserErrors {
    /// Takes a report in; `false` when the app has reported too much lately.
    pub fn report(&self, app: AppId, place: Place, state: &str, errors: Vec<BrowserError>) -> bool {
        self.report_at(Instant::now(), app, place, state, errors)
    }

    fn report_at(&self, now: Instant, app: AppId, place: Place, state: &str, errors: Vec<BrowserError>) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= APPS && !all.contains_key(&(app, place)) {
            all.retain(|_, kept| now.duration_since(kept.minute) < MINUTE);
            if all.len() >= APPS {
                return false;
            }
        }
        let fresh = || Kept { state: state.to_owned(), errors: Vec::new(), minute: now, reports: 0 };
        let kept = all.entry((app, place)).or_insert_with(fresh);
        if now.duration_since(kept.minute) >= MINUTE {
            (kept.minute, kept.reports) = (now, 0);
        }
        kept.reports += 1;
        if kept.reports > REPORTS_A_MINUTE {
            return false;
        }
        if kept.state != state {
            state.clone_into(&mut kept.state);
            kept.errors.clear();
        }
        for error in errors.into_iter().take(IN_A_REPORT).map(BrowserError::bounded) {
            if error.message.is_empty() {
                continue;
            }
            if let Some(known) = kept.errors.iter_mut().find(|known| known.is_same(&error)) {
                known.count = known.count.saturating_add(1);
            } else if kept.errors.len() < KEPT {
                kept.errors.push(error);
            }
        }
        true
    }

    /// The errors of a place in this state.
    pub fn of(&self, app: AppId, place: Place, state: &str) -> Vec<BrowserError> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&(app, place)).filter(|kept| kept.state == state).map(|kept| kept.errors.clone()).unwrap_or_default()
    }

    /// Deletes the errors of a place after a fix was requested.
    pub fn clear(&self, app: AppId, place: Place) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = all.get_mut(&(app, place)) {
            kept.errors.clear();
        }
    }

    /// Forgets an app.
    pub fn forget(&self, app: AppId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|(one, _), _| *one != app);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: AppId = AppId(7);

    fn error(message: &str) -> BrowserError {
        BrowserError {
            kind: ErrorKind::Error,
            message: message.into(),
            page: "/".into(),
            source: "/app.js".into(),
            line: 3,
            count: 9,
        }
    }

    #[test]
    fn the_same_error_is_counted_and_another_state_begins_anew() {
        let errors = BrowserErrors::default();
        assert!(errors.report(APP, Place::Draft, "one", vec![error("x is not defined"), error("x is not defined")]));
        assert!(errors.report(APP, Place::Draft, "one", vec![error("y is not defined"), error("\u{7} ")]));
        let kept = errors.of(APP, Place::Draft, "one");
        let lines: Vec<String> = kept.iter().map(BrowserError::text).collect();
        assert_eq!(lines, ["/app.js:3: x is not defined (on /, 2 times)", "/app.js:3: y is not defined (on /)"]);
        assert!(errors.of(APP, Place::Preview, "one").is_empty());
        assert!(errors.of(APP, Place::Draft, "two").is_empty(), "the draft has changed since");
        assert!(errors.report(APP, Place::Draft, "two", vec![error("z")]));
        assert_eq!(errors.of(APP, Place::Draft, "two").len(), 1);
        errors.clear(APP, Place::Draft);
        assert!(errors.of(APP, Place::Draft, "two").is_empty());
    }

    #[test]
    fn what_is_kept_is_bounded_in_every_way() {
        let errors = BrowserErrors::default();
        let begun = Instant::now();
        for report in 0..REPORTS_A_MINUTE {
            let many = (0..100).map(|n| error(&format!("{report} {n} {}", "x".repeat(10_000)))).collect();
            assert!(errors.report_at(begun, APP, Place::Draft, "one", many));
        }
        assert!(!errors.report_at(begun, APP, Place::Draft, "one", vec![error("more")]), "too many in a minute");
        assert!(errors.report_at(begun, AppId(8), Place::Draft, "one", vec![error("another app")]));
        let kept = errors.of(APP, Place::Draft, "one");
        assert_eq!(kept.len(), KEPT);
        assert!(kept.iter().all(|error| error.message.chars().count() <= MESSAGE_MAX));
        assert!(errors.report_at(begun + MINUTE, APP, Place::Draft, "one", vec![error("more")]));
        for app in 100..100 + i64::try_from(APPS).expect("small") {
            errors.report_at(begun + MINUTE, AppId(app), Place::Draft, "one", vec![error("x")]);
        }
        assert_eq!(errors.0.lock().expect("no panic").len(), APPS);
    }
}
