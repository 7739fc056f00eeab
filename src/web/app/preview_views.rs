//! Views of the *Preview* tab for each kind of app. Pure.

use askama::Template;

use crate::domain::{AppName, Run, RunState, RunTrigger};
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
    /// A rendered [`WebhookPanel`].
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
    /// The rendered [`Endpoints`], if they were already loaded.
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
    /// From its OpenAPI document.
    pub endpoints: Vec<EndpointView>,
    /// It answered in time.
    pub answered: bool,
}

/// One endpoint of an API.
pub struct EndpointView {
    /// `GET`, …
    pub method: String,
    /// The same in lowercase, for the style.
    pub class: String,
    /// With parameters in braces.
    pub path: String,
    /// One line.
    pub summary: String,
    /// What its documentation says beside the summary.
    pub description: String,
    /// What the path and the query take.
    pub parameters: Vec<ParameterView>,
    /// An example of its body; none if it takes none.
    pub body: Option<String>,
    /// The number of lines of the body's field.
    pub rows: usize,
}

/// A parameter of an endpoint.
pub struct ParameterView {
    /// Its name.
    pub name: String,
    /// The field of the form.
    pub field: String,
    /// `path` or `query`.
    pub place: &'static str,
    /// A value to begin with.
    pub value: String,
    /// The call needs it.
    pub required: bool,
    /// What it is, e.g. its type.
    pub about: String,
}

/// A call from the page that got no answer.
#[derive(Template)]
#[template(path = "app/no_answer.html")]
pub struct NoAnswer<'a> {
    /// What happened.
    pub detail: &'a str,
    /// What to do.
    pub hint: Option<&'a str>,
}

/// An app's response to a call from its page.
#[derive(Template)]
#[template(path = "app/answer.html")]
pub struct AnswerView {
    /// HTTP status.
    pub status: u16,
    /// The status in words.
    pub words: &'static str,
    /// `ok`, `warn` or `bad`.
    pub class: &'static str,
    /// Its duration.
    pub time: String,
    /// Its body; JSON is pretty-printed.
    pub body: String,
    /// Its headers.
    pub headers: Vec<(String, String)>,
}

impl AnswerView {
    /// `truncated`: the body was longer.
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

/// Maximum bytes of pretty-printed JSON: indentation makes deeply nested JSON many times longer.
const PRETTY_MAX: usize = 256 * 1024;

/// JSON with line breaks and indentation, in the order and the notation of its sender; other text unchanged.
fn pretty(body: &str) -> String {
    let is_compound = body.trim_start().starts_with(['{', '[']);
    if !is_compound || serde_json::from_str::<serde::de::IgnoredAny>(body).is_err() {
        return body.to_owned();
    }
    let mut out = String::with_capacity(body.len() * 2);
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    let mut chars = body.chars().filter(|c| !matches!(c, '\r')).peekable();
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    while let Some(c) = chars.next() {
        if out.len() > PRETTY_MAX {
            return body.to_owned();
        }
        if in_string {
            out.push(c);
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        match c {
            '"' => {
                in_string = true;
                out.push(c);
            }
            '{' | '[' => {
                out.push(c);
                while chars.next_if(char::is_ascii_whitespace).is_some() {}
                if let Some(close) = chars.next_if(|c| matches!(c, '}' | ']')) {
                    out.push(close);
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c if c.is_ascii_whitespace() => {}
            c => out.push(c),
        }
    }
    out
}

/// A webhook's address, secret and test call.
#[derive(Template)]
#[template(path = "app/webhook.html")]
pub struct WebhookPanel<'a> {
    /// The app.
    pub app: &'a AppName,
    /// `preview` or `prod`.
    pub environment: &'static str,
    /// The URL for calls.
    pub url: String,
    /// A sentence about the signature of calls.
    pub signature: &'static str,
    /// It is running.
    pub running: bool,
}

impl WebhookPanel<'_> {
    /// A sentence about the signature of calls.
    pub fn signature(mode: Option<&str>) -> &'static str {
        match mode {
            Some("github") => {
                "Requests must be signed like GitHub's: the HMAC-SHA256 of the body in X-Hub-Signature-256."
            }
            Some("stripe") => {
                "Requests must be signed like Stripe's: a timestamp and the HMAC-SHA256 of timestamp and body in Stripe-Signature."
            }
            _ => {
                "Requests must be signed (HMAC-SHA256 of “timestamp.body” in X-Signature-256, the timestamp in X-Timestamp) and at most 5 minutes old."
            }
        }
    }
}

/// A webhook's secret, after the user requested it.
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
    /// Its schedule.
    pub schedule: Option<ScheduleView>,
    /// The time of the next run.
    pub next_run: Option<When>,
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
}

impl ScheduleView {
    /// Describes common expressions in words.
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

    #[test]
    fn json_is_pretty_printed_and_other_text_is_unchanged() {
        assert_eq!(pretty(r#"{"a":[1]}"#), "{\n  \"a\": [\n    1\n  ]\n}");
        let sent = r#"{"type":"missing","loc":["body"],"msg":"a \"b\": {c}, d","input":{}, "n": 1.0, "e": [ ] }"#;
        let lines: Vec<String> = pretty(sent).lines().map(|line| line.trim().to_owned()).collect();
        let wanted = [
            "{",
            r#""type": "missing","#,
            r#""loc": ["#,
            r#""body""#,
            "],",
            r#""msg": "a \"b\": {c}, d","#,
            r#""input": {},"#,
            r#""n": 1.0,"#,
            r#""e": []"#,
            "}",
        ];
        assert_eq!(lines, wanted, "as it was sent, keys in order");
        assert_eq!(pretty("<p>{"), "<p>{");
        assert_eq!(pretty("7"), "7");
        let deep = format!("{}{}{}", "[".repeat(120), vec!["0"; 20_000].join(","), "]".repeat(120));
        assert_eq!(pretty(&deep), deep, "pretty-printed, it would have megabytes of spaces");
    }
}
