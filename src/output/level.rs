//! The levels of log lines, as far as a line says its level in one of the usual ways.
//!
//! Pure. Lines are foreign text: at most the first [`LOOKED_AT`] bytes of one are examined, except for a line of JSON,
//! whose length the reader of logs limits.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Bytes at the start of a line in which its level is searched.
const LOOKED_AT: usize = 160;

/// How serious a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// For the developer.
    Debug,
    /// Usual operation; lines without a level count as this.
    Info,
    /// Something is unusual.
    Warn,
    /// Something failed.
    Error,
}

impl LogLevel {
    /// All levels, from the least serious.
    pub const ALL: [Self; 4] = [Self::Debug, Self::Info, Self::Warn, Self::Error];

    /// Its name in addresses, in the API and in style sheets.
    pub fn key(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }

    /// The level that a word names, in any case.
    fn named(word: &str) -> Option<Self> {
        const WORDS: [(&str, LogLevel); 17] = [
            ("trace", LogLevel::Debug),
            ("debug", LogLevel::Debug),
            ("verbose", LogLevel::Debug),
            ("info", LogLevel::Info),
            ("information", LogLevel::Info),
            ("notice", LogLevel::Info),
            ("log", LogLevel::Info),
            ("warn", LogLevel::Warn),
            ("warning", LogLevel::Warn),
            ("err", LogLevel::Error),
            ("error", LogLevel::Error),
            ("critical", LogLevel::Error),
            ("crit", LogLevel::Error),
            ("fatal", LogLevel::Error),
            ("panic", LogLevel::Error),
            ("alert", LogLevel::Error),
            ("emerg", LogLevel::Error),
        ];
        WORDS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name)).map(|(_, level)| *level)
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

/// Finds the levels of consecutive lines: the lines of a stack trace have the level of its first line.
#[derive(Debug, Default)]
pub struct Levels {
    trace: Trace,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Trace {
    #[default]
    None,
    /// A Python traceback, which ends with the first line that is not indented: the exception.
    Python,
    /// The indented lines after an error.
    Indented,
}

impl Levels {
    /// The level of the next line; none if it does not say one.
    pub fn next(&mut self, line: &str) -> Option<LogLevel> {
        let is_indented = line.starts_with([' ', '\t']);
        match self.trace {
            Trace::Python => {
                if !is_indented && !line.is_empty() {
                    self.trace = Trace::Indented;
                }
                return Some(LogLevel::Error);
            }
            Trace::Indented if is_indented => return Some(LogLevel::Error),
            Trace::Indented | Trace::None => self.trace = Trace::None,
        }
        let start = start_of(line);
        if start.starts_with("Traceback (most recent call last):") {
            self.trace = Trace::Python;
            return Some(LogLevel::Error);
        }
        let level = level_of(line, start);
        if level == Some(LogLevel::Error) {
            self.trace = Trace::Indented;
        }
        level
    }
}

fn start_of(line: &str) -> &str {
    let mut end = line.len().min(LOOKED_AT);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    &line[..end]
}

fn level_of(line: &str, start: &str) -> Option<LogLevel> {
    if start.trim_start().starts_with('{') {
        return json(line);
    }
    field(start)
        .or_else(|| klog(start))
        .or_else(|| opening(start))
        .or_else(|| capitals(start))
        .or_else(|| bracketed(start))
}

/// The level of a line of JSON: a name, or a number as pino and bunyan write it.
fn json(line: &str) -> Option<LogLevel> {
    const KEYS: [&str; 6] = ["level", "severity", "levelname", "lvl", "log.level", "@level"];
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line.trim()).ok()?;
    KEYS.iter().find_map(|key| match object.get(*key)? {
        serde_json::Value::String(word) => LogLevel::named(word),
        serde_json::Value::Number(number) => match number.as_u64()? {
            0..=20 => Some(LogLevel::Debug),
            21..=39 => Some(LogLevel::Info),
            40..=49 => Some(LogLevel::Warn),
            50..=99 => Some(LogLevel::Error),
            _ => None,
        },
        _ => None,
    })
}

/// `level=warn msg=…`, as logfmt and Go's `slog` write it.
fn field(start: &str) -> Option<LogLevel> {
    ["level=", "severity=", "lvl="].iter().find_map(|key| {
        let at = start.find(key)?;
        let is_word = start[..at].chars().next_back().is_none_or(char::is_whitespace);
        let value = start[at + key.len()..].trim_start_matches('"');
        let end = value.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(value.len());
        LogLevel::named(&value[..end]).filter(|_| is_word)
    })
}

/// `E1127 18:15:46.000000`, as programs of Kubernetes write it.
fn klog(start: &str) -> Option<LogLevel> {
    let bytes = start.as_bytes();
    if !(bytes.len() > 6 && bytes[1..5].iter().all(u8::is_ascii_digit) && bytes[5] == b' ') {
        return None;
    }
    match bytes[0] {
        b'I' => Some(LogLevel::Info),
        b'W' => Some(LogLevel::Warn),
        b'E' | b'F' => Some(LogLevel::Error),
        _ => None,
    }
}

/// What errors that nothing catches look like, and how tools begin their messages.
fn opening(start: &str) -> Option<LogLevel> {
    const ERRORS: [&str; 7] = ["error:", "fatal:", "panic:", "npm ERR!", "npm error", "Uncaught ", "Unhandled "];
    const WARNINGS: [&str; 3] = ["warning:", "npm warn", "npm WARN"];
    if ERRORS.iter().any(|words| start.starts_with(words)) || start.contains("' panicked at ") {
        return Some(LogLevel::Error);
    }
    if WARNINGS.iter().any(|words| start.starts_with(words)) {
        return Some(LogLevel::Warn);
    }
    // `ValueError: …`, `java.io.IOException: …`, `Exception in thread …`
    let name = start.split([':', ' ']).next().unwrap_or_default();
    let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '$'));
    let class = name.rsplit('.').next().unwrap_or_default();
    let is_class = class.starts_with(|c: char| c.is_ascii_uppercase());
    let ends = &start[name.len()..];
    if !is_name || !is_class || !(ends.is_empty() || ends.starts_with(": ") || name == "Exception") {
        return None;
    }
    if class.ends_with("Warning") && class != "Warning" {
        return Some(LogLevel::Warn);
    }
    (class.ends_with("Error") || class.ends_with("Exception")).then_some(LogLevel::Error)
}

/// The first word in capitals that names a level: `ERROR`, `WARNING`.
fn capitals(start: &str) -> Option<LogLevel> {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '/' | '.' | '=');
    start
        .split(|c: char| !is_part(c))
        .filter(|word| word.len() > 2 && word.bytes().all(|byte| byte.is_ascii_uppercase()))
        // `LOG` is PostgreSQL's word; `ERR` alone is a common abbreviation.
        .find_map(LogLevel::named)
}

/// `[error]`, as nginx writes it, and `<warn>`.
fn bracketed(start: &str) -> Option<LogLevel> {
    start.match_indices(['[', '<']).find_map(|(at, _)| {
        let rest = &start[at + 1..];
        let end = rest.find([']', '>'])?;
        LogLevel::named(&rest[..end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(line: &str) -> Option<LogLevel> {
        Levels::default().next(line)
    }

    #[test]
    fn the_usual_ways_to_say_a_level_are_recognised() {
        use LogLevel::{Debug, Error, Info, Warn};
        for (line, expected) in [
            ("ERROR:root:the tide gauge is silent", Error),
            ("2026-11-27 18:15:46,123 - tides - WARNING - late", Warn),
            ("INFO:     127.0.0.1:41234 - \"GET /ERROR HTTP/1.1\" 200 OK", Info),
            ("[2026-11-27 18:15:46 +0000] [1] [INFO] Booting worker", Info),
            ("DEBUG asking ERROR", Debug),
            ("2026-11-27T18:15:46Z  WARN tides: late", Warn),
            ("2026/11/27 18:15:46 [error] 29#29: *1 open() failed", Error),
            ("2026/11/27 18:15:46 [notice] 1#1: start worker processes", Info),
            (r#"{"level":"warn","msg":"late"}"#, Warn),
            (r#"{"time":1,"level":50,"msg":"broken"}"#, Error),
            (r#"  {"severity":"DEBUG"}"#, Debug),
            (r#"{"message":"x","levelname":"CRITICAL"}"#, Error),
            ("time=2026-11-27T18:15:46Z level=ERROR msg=\"no boat\"", Error),
            ("level=\"debug\" msg=x", Debug),
            ("E1127 18:15:46.000000       1 main.go:1] no boat", Error),
            ("LOG:  database system is ready", Info),
            ("FATAL:  no such role", Error),
            ("ValueError: no tide", Error),
            ("sqlalchemy.exc.OperationalError: gone", Error),
            ("Exception in thread \"main\" java.lang.Error", Error),
            ("KeyboardError", Error),
            ("DeprecationWarning: old", Warn),
            ("npm ERR! code 1", Error),
            ("error: no such file", Error),
            ("warning: unused", Warn),
            ("thread 'main' panicked at src/main.rs:2:5:", Error),
            ("panic: runtime error", Error),
        ] {
            assert_eq!(level(line), Some(expected), "{line}");
        }
    }

    #[test]
    fn ordinary_text_has_no_level() {
        for line in [
            "",
            "listening on 8080",
            "0 errors, 3 warnings",
            "GET /error 200",
            "an error: no",
            "the Information desk",
            r#"{"level":"#,
            r#"{"level":{"deep":"error"}}"#,
            r#"{"level":1000}"#,
            "{not json ERROR}",
            "https://example.org/ERROR/x",
            "ERROR_COUNT=3",
            "Errors: 3",
            "tide level=high",
            "mylevel=error",
            "é\u{1F980}",
        ] {
            assert_eq!(level(line), None, "{line}");
        }
        let long = format!("{}ERROR", "é ".repeat(LOOKED_AT));
        assert_eq!(level(&long), None, "only the start is examined");
    }

    #[test]
    fn all_lines_of_a_stack_trace_have_its_level() {
        let mut levels = Levels::default();
        let mut read = |line: &str| levels.next(line);
        let error = Some(LogLevel::Error);
        assert_eq!(read("serving"), None);
        for line in [
            "Traceback (most recent call last):",
            "  File \"main.py\", line 3, in <module>",
            "    raise Tide(1)",
            "Tide: high",
            "  with a note",
        ] {
            assert_eq!(read(line), error, "{line}");
        }
        assert_eq!(read("serving again"), None);
        assert_eq!(read("  indented"), None);
        assert_eq!(read("TypeError: x is not a function"), error);
        assert_eq!(read("    at main (main.js:1:2)"), error);
        assert_eq!(read("INFO done"), Some(LogLevel::Info));
        assert_eq!(read("  more"), None);
    }
}
