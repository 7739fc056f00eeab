//! The *Preview* tab as it is shown, for each kind of app. Pure.

use askama::Template;

use crate::domain::{AppName, Run, RunState, RunTrigger};
use crate::web::format::{self, When};
use crate::web::ui;

/// The tab: which of draft, preview and production is shown, and what that kind of app shows.
#[derive(Template)]
#[template(path = "app/preview.html")]
pub struct PreviewTab<'a> {
    /// The app.
    pub app: &'a AppName,
    /// What can be looked at.
    pub views: Vec<ViewLink>,
    /// How it can be looked at.
    pub modes: Vec<ViewLink>,
    /// Where links to it are made, if it needs the log-in.
    pub share: Option<String>,
    /// The running app in a frame.
    pub frame: Option<Frame>,
    /// A sentence above it.
    pub note: Option<String>,
    /// The rendered [`ErrorsView`]; empty where none are collected.
    pub errors: String,
    /// What stands below the bar.
    pub panel: Panel,
}

/// A way of looking at the app.
pub struct ViewLink {
    /// `Draft`, `Preview`, `Production`.
    pub title: &'static str,
    /// What it is, in a sentence.
    pub about: &'static str,
    /// Where it leads.
    pub href: String,
    /// It is the one that is shown.
    pub current: bool,
}

/// A running app in a frame.
pub struct Frame {
    /// `draft`, `preview` or `prod`.
    pub kind: &'static str,
    /// Where it answers.
    pub url: String,
    /// What the frame opens: that, or an address of ours that hands it on to there.
    pub src: String,
    /// The address without its scheme.
    pub shown: String,
    /// For screen readers.
    pub title: String,
}

/// What browsers reported of a draft or a preview.
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

/// What the tab shows.
pub enum Panel {
    /// The frame.
    Frame,
    /// Nothing runs.
    Empty {
        /// Says so.
        words: String,
        /// A preview can be deployed from here.
        deploy: bool,
    },
    /// A rendered [`ApiPanel`].
    Api(String),
    /// A rendered [`WebhookPanel`].
    Webhook(String),
    /// A rendered [`RunsPanel`].
    Job(String),
}

/// An API's address, its endpoints, and a form for any call. The endpoints are asked of the running app, which may take
/// its time: they follow in a request of their own, and the page does not wait for them.
#[derive(Template)]
#[template(path = "app/api.html")]
pub struct ApiPanel<'a> {
    /// The app.
    pub app: &'a AppName,
    /// `preview` or `prod`.
    pub environment: &'static str,
    /// Where it answers.
    pub url: String,
    /// The rendered [`Endpoints`], where they have been asked for already.
    pub endpoints: Option<String>,
}

/// An API's endpoints, each with a form to try it.
#[derive(Template)]
#[template(path = "app/endpoints.html")]
pub struct Endpoints<'a> {
    /// The app.
    pub app: &'a AppName,
    /// `preview` or `prod`.
    pub environment: &'static str,
    /// From its own description.
    pub endpoints: Vec<EndpointView>,
    /// It answered in time.
    pub answered: bool,
}

/// One call an API takes.
pub struct EndpointView {
    /// `GET`, …
    pub method: String,
    /// The same in lowercase, for the style.
    pub class: String,
    /// With parameters in braces.
    pub path: String,
    /// One line.
    pub summary: String,
    /// It takes a body.
    pub has_body: bool,
}

/// What an app answered to a call from its page.
#[derive(Template)]
#[template(path = "app/answer.html")]
pub struct AnswerView {
    /// HTTP status.
    pub status: u16,
    /// The status in words.
    pub words: &'static str,
    /// `ok`, `warn` or `bad`.
    pub class: &'static str,
    /// How long it took.
    pub time: String,
    /// Its body, JSON set in lines.
    pub body: String,
    /// Its headers.
    pub headers: Vec<(String, String)>,
}

impl AnswerView {
    /// `truncated`: the body went on.
    pub fn new(status: u16, headers: Vec<(String, String)>, body: &str, truncated: bool, millis: u64) -> Self {
        let mut shown = pretty(body);
        if shown.is_empty() {
            shown.push_str("(no body)");
        }
        if truncated {
            shown.push_str("\n…");
        }
        Self {
            status,
            words: axum::http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or(""),
            class: match status {
                200..=299 => "ok",
                300..=399 => "accent",
                400..=499 => "warn",
                _ => "bad",
            },
            time: format::duration(millis),
            body: shown,
            headers,
        }
    }
}

/// Most bytes of JSON with its lines set: indentation makes deeply nested JSON many times as long.
const PRETTY_MAX: usize = 256 * 1024;

/// JSON with its lines set; anything else as it is.
fn pretty(body: &str) -> String {
    let pretty = match serde_json::from_str::<serde_json::Value>(body) {
        Ok(value @ (serde_json::Value::Object(_) | serde_json::Value::Array(_))) => {
            let mut out = Vec::new();
            let bounded = Bounded { out: &mut out, left: PRETTY_MAX };
            serde_json::to_writer_pretty(bounded, &value).ok().and_then(|()| String::from_utf8(out).ok())
        }
        _ => None,
    };
    pretty.unwrap_or_else(|| body.to_owned())
}

/// Takes so many bytes and no more.
struct Bounded<'a> {
    out: &'a mut Vec<u8>,
    left: usize,
}

impl std::io::Write for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.left = self.left.checked_sub(bytes.len()).ok_or(std::io::ErrorKind::FileTooLarge)?;
        self.out.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A webhook's address, secret and test call.
#[derive(Template)]
#[template(path = "app/webhook.html")]
pub struct WebhookPanel<'a> {
    /// The app.
    pub app: &'a AppName,
    /// `preview` or `prod`.
    pub environment: &'static str,
    /// Where calls go.
    pub url: String,
    /// How calls are signed, in a sentence.
    pub signature: &'static str,
    /// It runs.
    pub running: bool,
}

impl WebhookPanel<'_> {
    /// How calls are signed, in a sentence.
    pub fn signature(mode: Option<&str>) -> &'static str {
        match mode {
            Some("github") => {
                "Calls carry X-Hub-Signature-256: sha256= and the HMAC of the body, as GitHub signs them."
            }
            Some("stripe") => {
                "Calls carry Stripe-Signature with a time and the HMAC of time and body, as Stripe signs them."
            }
            _ => {
                "Calls carry X-Timestamp and X-Signature-256: sha256= and the HMAC of “timestamp.body”. They are refused after 300 seconds."
            }
        }
    }
}

/// A webhook's secret, once it was asked for.
#[derive(Template)]
#[template(path = "app/secret.html")]
pub struct Secret<'a> {
    /// The secret.
    pub text: &'a str,
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
    /// When it runs.
    pub schedule: Option<ScheduleView>,
    /// When it runs next.
    pub next_run: Option<When>,
    /// Why there is no next run.
    pub no_next: &'static str,
    /// Newest first.
    pub runs: Vec<RunView>,
    /// One of them is at work, so the list asks again.
    pub any_running: bool,
    /// Where earlier runs are.
    pub more: Option<String>,
}

/// A schedule in words and as it is written.
pub struct ScheduleView {
    /// In words, where they are found.
    pub words: String,
    /// Five fields.
    pub expression: String,
}

impl ScheduleView {
    /// Says the common expressions in words.
    pub fn new(expression: &str) -> Self {
        Self { words: in_words(expression), expression: expression.to_owned() }
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
    /// A run as it stands in the list.
    pub fn new(run: &Run, now: jiff::Timestamp) -> Self {
        let (class, icon, motion, word) = match run.state {
            RunState::Running => ("accent", "spinner", "spin", "running"),
            RunState::Succeeded => ("ok", "check", "", "succeeded"),
            RunState::Failed => ("bad", "cross", "", "failed"),
        };
        let trigger = match run.trigger {
            RunTrigger::Schedule => "by schedule",
            RunTrigger::Manual => "by hand",
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

/// What a run printed.
#[derive(Template)]
#[template(path = "app/run_log.html")]
pub struct RunLog<'a> {
    /// Why it failed, where the exit code does not say it.
    pub error: Option<&'a str>,
    /// Its lines.
    pub lines: Vec<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_schedules_are_said_in_words() {
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

    #[test]
    fn json_is_set_in_lines_and_the_rest_left_alone() {
        assert_eq!(pretty(r#"{"a":[1]}"#), "{\n  \"a\": [\n    1\n  ]\n}");
        assert_eq!(pretty("<p>{"), "<p>{");
        assert_eq!(pretty("7"), "7");
        let deep = format!("{}{}{}", "[".repeat(120), vec!["0"; 20_000].join(","), "]".repeat(120));
        assert_eq!(pretty(&deep), deep, "set in lines it would have megabytes of spaces");
    }
}
