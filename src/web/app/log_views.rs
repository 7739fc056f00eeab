//! Views of the *Logs* tab. Pure.

use askama::Template;
use form_urlencoded::Serializer;
use jiff::Timestamp;

use crate::domain::AppName;
use crate::output::level::LogLevel;
use crate::output::needle::Needle;
use crate::output::window::{Selection, Shown, Window};
use crate::web::format;
use crate::web::ui;

/// One of the logs.
#[derive(Template)]
#[template(path = "app/logs.html")]
pub struct LogsTab<'a> {
    /// The app.
    pub app: &'a AppName,
    /// The parts of this tab.
    pub parts: Vec<LogTabPart>,
    /// The current log.
    pub source: LogSource,
    /// The lines.
    pub rows: LogRows<'a>,
    /// The searched words.
    pub words: &'a str,
    /// The levels that can be chosen.
    pub levels: Vec<LevelChoice>,
    /// How many lines were found; none if nothing was searched.
    pub found: Option<Found>,
    /// What is before the lines, and its address.
    pub earlier: Option<(String, String)>,
    /// What is after the lines, and its address.
    pub later: Option<(String, String)>,
    /// The address of the stream of new lines; none if there are none, or if an earlier part is shown.
    pub stream: Option<String>,
    /// The address of the log's end, if an earlier part is shown.
    pub end: Option<String>,
    /// Its usage is shown.
    pub has_usage: bool,
    /// A notice about the log.
    pub notice: Option<String>,
    /// The text if there are no lines.
    pub nothing: &'a str,
}

/// The lines of a log: of a page, or of a message to an open page.
#[derive(Template)]
#[template(path = "app/log_rows.html")]
pub struct LogRows<'a> {
    /// The address of the current log without a line.
    pub address: &'a Address<'a>,
    /// The lines.
    pub rows: Vec<LogRow>,
}

/// A line of a log.
pub struct LogRow {
    id: Option<i64>,
    time: Option<RowTime>,
    class: String,
    /// The text in pieces; the second value marks a searched word.
    pieces: Vec<(String, bool)>,
}

/// When a line was written.
struct RowTime {
    machine: String,
    words: String,
}

impl LogRow {
    /// `line`, with the searched words marked.
    pub fn new(line: &Shown, needle: Option<&Needle>, is_current: bool, now: Timestamp) -> Self {
        let classes = [
            line.level.map(LogLevel::key),
            line.is_deploy.then_some("deploy"),
            line.is_found.then_some("found"),
            is_current.then_some("at"),
        ];
        let class: Vec<&str> = classes.into_iter().flatten().collect();
        let mut pieces = Vec::new();
        let mut from = 0;
        for place in needle.filter(|_| line.is_found).map(|needle| needle.places(&line.text)).unwrap_or_default() {
            pieces.push((line.text[from..place.start].to_owned(), false));
            from = place.end;
            pieces.push((line.text[place].to_owned(), true));
        }
        pieces.push((line.text[from..].to_owned(), false));
        let time = line
            .at
            .map(|at| RowTime { machine: at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string(), words: clock(at, now) });
        Self { id: line.id, time, class: class.join(" "), pieces }
    }

    /// The rows of a window. If two lines were written in the same nanosecond, only the first has an address.
    pub fn of_window(window: &Window, needle: Option<&Needle>, now: Timestamp) -> Vec<Self> {
        let mut last = None;
        let rows = window.lines.iter().enumerate().map(|(at, line)| {
            let mut row = Self::new(line, needle, window.current == Some(at), now);
            if row.id == last {
                row.id = None;
            }
            last = line.id;
            row
        });
        rows.collect()
    }
}

/// `18:15:46` in UTC; with the day, if that is another one.
pub fn clock(at: Timestamp, now: Timestamp) -> String {
    let day = |time: Timestamp| time.strftime("%Y-%m-%d").to_string();
    let format = if day(at) == day(now) { "%H:%M:%S" } else { "%-d %b %H:%M:%S" };
    at.strftime(format).to_string()
}

/// How many lines were found in the whole log.
pub struct Found {
    /// `12 of 240 lines`, `Not found`.
    pub words: String,
    /// The found line before the current one, and the one after it.
    pub previous: Option<String>,
    /// The address of the next one.
    pub next: Option<String>,
    /// Number of found lines in the whole log, and before the lines shown.
    pub total: u64,
    /// Number of found lines before the lines shown.
    pub before: u64,
    /// The last found line before the lines shown.
    pub outside_before: Option<String>,
    /// The first found line after the lines shown.
    pub outside_after: Option<String>,
}

impl Found {
    /// The numbers of a window.
    pub fn new(window: &Window, address: &Address<'_>) -> Self {
        let total = format::count(window.found, "line", "lines");
        let words = match (window.found, window.current_found()) {
            (0, _) => "Not found in the whole log".to_owned(),
            (_, Some(current)) => format!("{} of {total}", format::grouped(current)),
            _ => format!("{total} in the whole log"),
        };
        let line = |id: Option<i64>| id.map(|id| address.line(id));
        Self {
            words,
            previous: line(window.before_current()),
            next: line(window.after_current()),
            total: window.found,
            before: window.found_before,
            outside_before: line(window.previous_found),
            outside_after: line(window.next_found),
        }
    }
}

/// The address of a log with what is selected of it.
pub struct Address<'a> {
    /// The app.
    pub app: &'a AppName,
    /// Which log.
    pub source: LogSource,
    /// What is selected.
    pub selection: &'a Selection,
}

impl Address<'_> {
    fn query(&self, at: Option<i64>, with_words: bool) -> String {
        let mut query = Serializer::new(String::new());
        query.append_pair("source", self.source.key);
        if let Some(needle) = self.selection.needle.as_ref().filter(|_| with_words) {
            query.append_pair("q", needle.words());
        }
        if let Some(level) = self.selection.level {
            query.append_pair("level", level.key());
        }
        if let Some(at) = at {
            query.append_pair("at", &at.to_string());
        }
        query.finish()
    }

    /// The line with its surroundings.
    pub fn line(&self, id: i64) -> String {
        format!("/apps/{}/logs?{}#L{id}", self.app, self.query(Some(id), true))
    }

    /// The line, without a search.
    pub fn only_line(&self, id: impl std::fmt::Display) -> String {
        format!("/apps/{}/logs?source={}&at={id}#L{id}", self.app, self.source.key)
    }

    /// The end of the log.
    pub fn end(&self) -> String {
        format!("/apps/{}/logs?{}", self.app, self.query(None, false))
    }

    /// The stream of the lines after `id`.
    pub fn stream(&self, after: Option<i64>) -> String {
        let after = after.map(|id| format!("&after={id}")).unwrap_or_default();
        format!("/apps/{}/logs/stream?{}{after}", self.app, self.query(None, false))
    }
}

/// A level in the filter.
pub struct LevelChoice {
    key: &'static str,
    title: &'static str,
    is_chosen: bool,
}

/// The choices of the filter.
pub fn level_choices(chosen: Option<LogLevel>) -> Vec<LevelChoice> {
    [
        (None, "All levels"),
        (Some(LogLevel::Info), "No debug lines"),
        (Some(LogLevel::Warn), "Warnings and errors"),
        (Some(LogLevel::Error), "Errors"),
    ]
    .map(|(level, title)| LevelChoice { key: level.map_or("", LogLevel::key), title, is_chosen: level == chosen })
    .into()
}

/// Which log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSource {
    /// Its key in the address.
    pub key: &'static str,
    /// Its title.
    pub title: &'static str,
}

/// Build, preview, production.
pub const LOG_SOURCES: [LogSource; 3] = [
    LogSource { key: "build", title: "Build" },
    LogSource { key: "preview", title: "Preview" },
    LogSource { key: "prod", title: "Production" },
];

/// A part of the *Logs* tab: one of the logs, the requests, or the metrics.
pub struct LogTabPart {
    /// Its address.
    pub href: String,
    /// Its title.
    pub title: &'static str,
    /// It is shown.
    pub is_current: bool,
}

/// The parts of the *Logs* tab; `current`: the title of the one that is shown.
pub fn log_tab_parts(app: &AppName, current: &str) -> Vec<LogTabPart> {
    let part =
        |title, path: String| LogTabPart { href: format!("/apps/{app}/{path}"), title, is_current: title == current };
    let logs = LOG_SOURCES.map(|source| part(source.title, format!("logs?source={}", source.key)));
    logs.into_iter().chain([part("Requests", "requests".to_owned()), part("Metrics", "metrics".to_owned())]).collect()
}
