//! Formats times, durations, money, sizes and counts for pages.
//!
//! Pure: the caller passes the current time.

use std::fmt;

use askama::filters::HtmlSafe;
use jiff::Timestamp;

/// Trusted or sanitized markup: templates do not escape it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Html(pub String);

impl fmt::Display for Html {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl HtmlSafe for Html {}

/// A time relative to now: *3 min ago*, with the exact time on hover. Formats as a `<time>` element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct When {
    at: Timestamp,
    now: Timestamp,
}

impl When {
    /// `at`, relative to `now`.
    pub fn new(at: Timestamp, now: Timestamp) -> Self {
        Self { at, now }
    }

    /// The text without the element.
    pub fn words(&self) -> String {
        relative(self.now.as_second() - self.at.as_second(), self.at)
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = self.at.strftime("%-d %B %Y, %H:%M:%S UTC");
        let machine = self.at.strftime("%Y-%m-%dT%H:%M:%SZ");
        write!(f, r#"<time datetime="{machine}" title="{exact}">{}</time>"#, self.words())
    }
}
impl HtmlSafe for When {}

fn relative(seconds: i64, at: Timestamp) -> String {
    let (ahead, seconds) = (seconds < 0, seconds.unsigned_abs());
    let words = match seconds {
        0..=9 if !ahead => return "just now".into(),
        0..=59 => format!("{seconds} s"),
        60..=3599 => format!("{} min", seconds / 60),
        3600..=86_399 => format!("{} h", seconds / 3600),
        86_400..=2_591_999 => count(seconds / 86_400, "day", "days"),
        _ => return at.strftime("%-d %b %Y").to_string(),
    };
    if ahead { format!("in {words}") } else { format!("{words} ago") }
}

/// A duration in milliseconds: `40 ms`, `0.1 s`, `12 s`, `2 min 4 s`, `1 h 3 min`.
pub fn duration(millis: u64) -> String {
    let seconds = millis / 1000;
    match millis {
        0..=99 => format!("{millis} ms"),
        100..=9_949 => {
            let tenths = (millis + 50) / 100;
            format!("{}.{} s", tenths / 10, tenths % 10)
        }
        9_950..=59_999 => format!("{} s", (millis + 500) / 1000),
        60_000..=3_599_999 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// The time between two moments, if both are known.
pub fn between(from: Option<Timestamp>, to: Option<Timestamp>) -> Option<String> {
    let millis = to?.as_millisecond() - from?.as_millisecond();
    Some(duration(u64::try_from(millis).unwrap_or(0)))
}

/// US dollars: `$0.04`, `$1.20`, `under $0.01`.
pub fn money(dollars: f64) -> String {
    if dollars > 0.0 && dollars < 0.01 { "under $0.01".into() } else { format!("${dollars:.2}") }
}

/// An amount of money; with *about* if it is estimated, except for *under …*, which is a bound anyway.
pub fn money_about(dollars: f64, estimated: bool) -> String {
    let exact = money(dollars);
    if estimated && !exact.starts_with("under") { format!("about {exact}") } else { exact }
}

/// `1 file`, `3 files`, `12,400 lines`.
pub fn count(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(n), if n == 1 { one } else { many })
}

/// A number with thousands separators.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A size in bytes: `812 B`, `3.4 kB`, `1.2 MB`.
pub fn bytes(n: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", n / unit, n % unit * 10 / unit);
    match n {
        0..=999 => format!("{n} B"),
        1_000..=999_999 => format!("{} kB", tenths(1_000)),
        _ => format!("{} MB", tenths(1_000_000)),
    }
}

/// The first line of a text, at most `limit` characters of it.
pub fn first_line(text: &str, limit: usize) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    if line.chars().count() <= limit {
        return line.to_owned();
    }
    let mut cut: String = line.chars().take(limit.saturating_sub(1)).collect();
    cut.truncate(cut.trim_end().len());
    cut.push('…');
    cut
}

/// One segment of a URL's path, percent-encoded; with `keep_slashes`, several segments.
pub fn encode_path(text: &str, keep_slashes: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b'/' if keep_slashes => out.push('/'),
            _ => {
                use fmt::Write as _;
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

/// An address as people read it: without `https://` and the slash at its end.
pub fn without_scheme(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, rest)| rest).trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn times_are_relative_and_carry_the_exact_time() {
        let now = at("2026-11-20T12:00:00Z");
        for (then, words) in [
            ("2026-11-20T11:59:57Z", "just now"),
            ("2026-11-20T11:59:20Z", "40 s ago"),
            ("2026-11-20T11:57:00Z", "3 min ago"),
            ("2026-11-20T07:00:00Z", "5 h ago"),
            ("2026-11-19T11:00:00Z", "1 day ago"),
            ("2026-11-11T11:00:00Z", "9 days ago"),
            ("2026-01-02T11:00:00Z", "2 Jan 2026"),
            ("2026-11-20T12:05:00Z", "in 5 min"),
            ("2026-11-20T12:00:05Z", "in 5 s"),
        ] {
            assert_eq!(When::new(at(then), now).words(), words);
        }
        let html = When::new(at("2026-11-20T11:57:00Z"), now).to_string();
        assert!(html.contains(r#"datetime="2026-11-20T11:57:00Z""#) && html.contains("20 November 2026, 11:57:00 UTC"));
    }

    #[test]
    fn amounts_are_formatted() {
        assert_eq!(duration(80), "80 ms");
        assert_eq!(duration(1_234), "1.2 s");
        assert_eq!(duration(9_990), "10 s");
        assert_eq!(duration(124_000), "2 min 4 s");
        assert_eq!(duration(3_780_000), "1 h 3 min");
        assert_eq!(money(0.004), "under $0.01");
        assert_eq!(money(0.0), "$0.00");
        assert_eq!(money(1.2), "$1.20");
        assert_eq!(count(1, "file", "files"), "1 file");
        assert_eq!(count(1_234_567, "line", "lines"), "1,234,567 lines");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(3_456), "3.4 kB");
        assert_eq!(bytes(1_234_567), "1.2 MB");
        assert_eq!(first_line("  a long sentence\nand more", 8), "a long…");
        assert_eq!(encode_path("a b/ü?.css", true), "a%20b/%C3%BC%3F.css");
    }
}
