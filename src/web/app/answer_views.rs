//! Views of an app's answer to a call from its page. Pure.

use askama::Template;

use crate::domain::Environment;
use crate::services::probing::TestAnswer;
use crate::services::test_call::TestCall;
use crate::web::{format, ui};

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
    /// Its size.
    pub size: String,
    /// The method and the path of the call.
    pub request: String,
    /// `Preview` or `Production`.
    pub environment: &'static str,
    /// Its body; JSON is pretty-printed.
    pub body: String,
    /// Its headers.
    pub headers: Vec<(String, String)>,
}

impl AnswerView {
    /// The answer to a call.
    pub fn new(call: &TestCall, environment: Environment, answer: TestAnswer) -> Self {
        let TestAnswer { status, headers, body, truncated, size, millis } = answer;
        let read = format::bytes(body.len() as u64);
        let mut shown = pretty(&body);
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
            size: match size {
                Some(size) if truncated => format!("{}, of which {read} are shown", format::bytes(size)),
                Some(size) => format::bytes(size),
                None => format!("more than {read}"),
            },
            request: format!("{} {}", call.method.to_ascii_uppercase(), call.path),
            environment: environment.title(),
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

/// A call as a command for curl.
#[derive(Template)]
#[template(path = "app/curl.html")]
pub struct CurlView<'a> {
    /// The command.
    pub command: &'a str,
    /// What to know about it.
    pub note: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

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
