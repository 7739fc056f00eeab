//! Views of the *Preview* tab for each kind of app. Pure.

use askama::Template;

use crate::domain::{AppName, Run, RunState, RunTrigger};
use crate::services::described::Endpoint;
use crate::web::format::{self, When};
use crate::web::ui;

/// The tab: draft, preview or production, and the panel for that kind of app.
#[derive(Template)]
#[template(path = "app/preview.html")]
pub struct PreviewTab<'a> {
    /// The app.
    pub app: &'a AppName,
    /// The available environments.
    pub views: Vec<ViewLink>,
    /// The available modes.
    pub modes: Vec<ViewLink>,
    /// The address of the share page, if visitors need a login.
    pub share: Option<String>,
    /// The running app in a frame.
    pub frame: Option<Frame>,
    /// A sentence above it.
    pub note: Option<String>,
    /// The rendered [`ErrorsView`]; empty where none are collected.
    pub errors: String,
    /// The content below the bar.
    pub panel: Panel,
}

/// A link to a view of the app.
pub struct ViewLink {
    /// `Draft`, `Preview`, `Production`.
    pub title: &'static str,
    /// A description, as a tooltip.
    pub about: &'static str,
    /// Its address.
    pub href: String,
    /// It is the current view.
    pub current: bool,
}

/// A running app in a frame.
pub struct Frame {
    /// `draft`, `preview` or `prod`.
    pub kind: &'static str,
    /// Its URL.
    pub url: String,
    /// The address that the frame opens: the URL, or an address of the builder that redirects to it.
    pub src: String,
    /// The address without its scheme.
    pub shown: String,
    /// The path that it shows first.
    pub path: String,
    /// For screen readers.
    pub title: String,
}

/// The browser errors of a draft or a preview.
#[derive(Template)]
#[template(path = "app/browser_errors.html")]
pub struct ErrorsView<'a> {
    /// The app.
    pub app: &'a AppName,
    /// `draft` or `preview`.
    pub place: &'static str,
    /// `2 browser errors`.
    pub summary: String,
    /// As lines.
    pub errors: Vec<String>,
}

/// The content of the tab.
pub enum Panel {
    /// The frame.
    Frame,
    /// Nothing runs in this environment.
    Empty {
        /// The text that says so.
        words: String,
        /// A preview can be deployed from here.
        deploy: bool,
    },
    /// A rendered [`ApiPanel`].
    Api(String),
    /// A rendered [`WebhookPanel`](super::webhook_views::WebhookPanel).
    Webhook(String),
    /// A rendered [`RunsPanel`].
    Job(String),
}

/// An API's address, its endpoints, and a form for any call. The endpoints come from the running app, which may answer
/// slowly, so a separate request loads them and the page does not wait.
#[derive(Template)]
#[template(path = "app/api.html")]
pub struct ApiPanel<'a> {
    /// The app.
    pub app: &'a AppName,
    /// `preview` or `prod`.
    pub environment: &'static str,
    /// Its URL.
    pub url: String,
    /// The rendered [`EndpointList`], if they were already loaded.
    pub endpoints: Option<String>,
}

/// An API's endpoints, each with a form to try it.
#[derive(Template)]
#[template(path = "app/endpoints.html")]
pub struct EndpointList<'a> {
    /// The app.
    pub app: &'a AppName,
    /// `preview` or `prod`.
    pub environment: &'static str,
    /// From its OpenAPI document.
    pub endpoints: Vec<EndpointView>,
    /// The number of further ones.
    pub left_out: usize,
    /// It answered in time.
    pub answered: bool,
}

/// One endpoint of an API.
pub struct EndpointView {
    /// What the app says of it.
    pub described: Endpoint,
    /// The method in lowercase, for the style.
    pub class: String,
    /// The number of lines of the body's field.
    pub rows: usize,
    /// What its body is, for the label of its field.
    pub body_kind: String,
}

impl EndpointView {
    /// An endpoint with the form for it.
    pub fn new(described: Endpoint) -> Self {
        let body = described.body.as_ref();
        let kind = body.map_or("", |body| body.content_type.split(';').next().unwrap_or_default().trim());
        Self {
            class: described.method.to_lowercase(),
            rows: body.map_or(0, |body| body.example.lines().count().clamp(3, 16)),
            body_kind: match kind {
                "application/json" => "JSON".to_owned(),
                "application/x-www-form-urlencoded" => "form".to_owned(),
                "text/plain" => "text".to_owned(),
                other => other.to_owned(),
            },
            described,
        }
    }
}

/// A scheduled job: when it runs, and its runs so far.
#[derive(Template)]
#[template(path = "app/runs.html")]
pub struct RunsPanel<'a> {
    /// The app.
    pub app: &'a AppName,
    /// `preview` or `prod`.
    pub environment: &'static str,
    /// It is deployed here.
    pub may_run: bool,
    /// Its schedule.
    pub schedule: Option<ScheduleView>,
    /// The time of the next run.
    pub next: Vec<NextRun>,
    /// How long the last ended runs took, newest first.
    pub took: Vec<String>,
    /// The reason why there is no next run.
    pub no_next: &'static str,
    /// Newest first.
    pub runs: Vec<RunView>,
    /// One of them is running, so the list refreshes itself.
    pub any_running: bool,
    /// The address of earlier runs.
    pub more: Option<String>,
}

/// A schedule in words and as a cron expression.
pub struct ScheduleView {
    /// In words, if the expression is a common one.
    pub words: String,
    /// Five fields.
    pub expression: String,
    /// Its time zone.
    pub zone: String,
}

/// The time of a next run, for browsers with and without scripts.
pub struct NextRun {
    at: When,
    machine: String,
    utc: String,
}

impl NextRun {
    /// A run that is due at `at`.
    pub fn new(at: jiff::Timestamp, now: jiff::Timestamp) -> Self {
        Self {
            at: When::new(at, now),
            machine: at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            utc: at.strftime("%-d %b, %H:%M UTC").to_string(),
        }
    }
}

impl ScheduleView {
    /// Describes common expressions in words.
    pub fn new(expression: &str, zone: Option<&str>) -> Self {
        let zone = zone.unwrap_or("UTC").to_owned();
        Self { words: in_words(expression), expression: expression.to_owned(), zone }
    }
}

fn in_words(expression: &str) -> String {
    let fields: Vec<&str> = expression.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = fields[..] else { return String::new() };
    let number = |field: &str| field.parse::<u32>().ok();
    let every = |field: &str| field.strip_prefix("*/").and_then(|n| n.parse::<u32>().ok());
    let any_day = day == "*" && month == "*" && weekday == "*";
    let time = || Some(format!("{:02}:{:02}", number(hour)?, number(minute)?));
    if any_day && minute == "*" && hour == "*" {
        return "Every minute".into();
    }
    if any_day && hour == "*" {
        if let Some(n) = every(minute) {
            return format!("Every {n} minutes");
        }
        return match number(minute) {
            Some(0) => "Every hour".into(),
            Some(n) => format!("Every hour, at minute {n}"),
            None => String::new(),
        };
    }
    if any_day && let (Some(0), Some(n)) = (number(minute), every(hour)) {
        return format!("Every {n} hours");
    }
    let Some(time) = time() else { return String::new() };
    if any_day {
        return format!("Every day at {time}");
    }
    let days = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
    if day == "*" && month == "*" {
        return match (weekday, number(weekday).and_then(|n| days.get(n as usize))) {
            ("1-5", _) => format!("Monday to Friday at {time}"),
            (_, Some(name)) => format!("Every {name} at {time}"),
            _ => String::new(),
        };
    }
    if let (Some(day), "*", "*") = (number(day), month, weekday) {
        return format!("On day {day} of every month at {time}");
    }
    String::new()
}

/// One run.
pub struct RunView {
    id: String,
    class: &'static str,
    icon: &'static str,
    motion: &'static str,
    word: &'static str,
    started: When,
    about: String,
    took: String,
}

impl RunView {
    /// A run in the list.
    pub fn new(run: &Run, now: jiff::Timestamp) -> Self {
        let (class, icon, motion, word) = match run.state {
            RunState::Running => ("accent", "spinner", "spin", "running"),
            RunState::Succeeded => ("ok", "check", "", "succeeded"),
            RunState::Failed => ("bad", "cross", "", "failed"),
        };
        let trigger = match run.trigger {
            RunTrigger::Schedule => "by schedule",
            RunTrigger::Manual => "started by you",
            RunTrigger::Check => "check of a deployment",
        };
        let mut about = format!("{}, {trigger}", run.environment.title());
        if let Some(code) = run.exit_code {
            about = format!("{about}, exit code {code}");
        }
        Self {
            id: run.id.to_string(),
            class,
            icon,
            motion,
            word,
            started: When::new(run.started_at, now),
            about,
            took: format::between(Some(run.started_at), run.finished_at).unwrap_or_default(),
        }
    }
}

/// The output of a run.
#[derive(Template)]
#[template(path = "app/run_log.html")]
pub struct RunLog<'a> {
    /// The reason of a failure, if the exit code does not show it.
    pub error: Option<&'a str>,
    /// Its lines.
    pub lines: Vec<&'a str>,
}

/// The pages that the address field of the frame suggests.
#[derive(Template)]
#[template(path = "app/pages.html")]
pub struct PagesView {
    /// Their paths.
    pub paths: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_schedules_are_described_in_words() {
        for (expression, words) in [
            ("* * * * *", "Every minute"),
            ("*/15 * * * *", "Every 15 minutes"),
            ("0 * * * *", "Every hour"),
            ("30 * * * *", "Every hour, at minute 30"),
            ("0 */6 * * *", "Every 6 hours"),
            ("0 7 * * *", "Every day at 07:00"),
            ("5 7 * * 1", "Every Monday at 07:05"),
            ("0 9 * * 1-5", "Monday to Friday at 09:00"),
            ("0 0 1 * *", "On day 1 of every month at 00:00"),
            ("0 0 1 1 *", ""),
            ("0 9,17 * * *", ""),
            ("nonsense", ""),
        ] {
            assert_eq!(in_words(expression), words, "{expression}");
        }
    }
}
