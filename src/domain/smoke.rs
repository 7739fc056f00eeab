//! Smoke checks: what a template has a new version prove before it takes traffic, and the evidence.

use serde::{Deserialize, Serialize};

/// What is looked at, in a template's manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SmokeKind {
    /// Every page answers, and every local link, image, script and stylesheet resolves.
    Links,
    /// Each `GET` without parameters of the app's own OpenAPI document answers without a 5xx.
    Openapi,
    /// A rightly signed call is accepted; a wrongly signed, an unsigned and a stale one are refused.
    Signatures,
}

/// One thing that was asked of a new version, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SmokeCheck {
    /// What was looked at: `page`, `stylesheet`, `endpoint`, `unsigned call`, …
    pub what: String,
    /// HTTP method.
    pub method: String,
    /// Path, with its query.
    pub path: String,
    /// It is as it should be.
    pub ok: bool,
    /// HTTP status; none when nothing answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// How long the answer took, in milliseconds.
    pub millis: u64,
    /// What is wrong or worth knowing, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The first lines of a wrong answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
}

impl SmokeCheck {
    /// Says that something was left out, and how much: neither right nor wrong.
    pub fn not_asked(count: usize, bound: usize, what: &str) -> Self {
        Self {
            what: "not asked".to_owned(),
            method: "GET".to_owned(),
            path: "…".to_owned(),
            ok: true,
            status: None,
            millis: 0,
            note: Some(format!("{count} more {what} were not asked: {bound} are asked at most.")),
            lines: Vec::new(),
        }
    }

    /// Whether it is about something that was asked, or was to be.
    fn is_verdict(&self) -> bool {
        !(self.ok && self.status.is_none())
    }

    /// As one line: `GET /style.css: 404. It is linked from /.`
    pub fn line(&self) -> String {
        if let (false, Some(note)) = (self.is_verdict(), &self.note) {
            return note.clone();
        }
        let status = self.status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
        let note = self.note.as_deref().map(|note| format!(". {note}")).unwrap_or_default();
        format!("{} {} ({}): {status}{note}", self.method, self.path, self.what)
    }
}

/// How many checks were made, and how many of them failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SmokeCount {
    /// As they should be.
    pub passed: u32,
    /// Not so.
    pub failed: u32,
}

impl SmokeCount {
    /// Counts.
    pub fn of(checks: &[SmokeCheck]) -> Self {
        checks.iter().filter(|check| check.is_verdict()).fold(Self::default(), |count, check| {
            if check.ok {
                Self { passed: count.passed + 1, ..count }
            } else {
                Self { failed: count.failed + 1, ..count }
            }
        })
    }

    /// All of them.
    pub fn total(self) -> u32 {
        self.passed + self.failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_asked_is_said_and_not_counted() {
        let left_out = SmokeCheck::not_asked(12, 200, "addresses");
        assert_eq!(left_out.line(), "12 more addresses were not asked: 200 are asked at most.");
        let failed = SmokeCheck { ok: false, note: Some("The app did not answer.".into()), ..left_out.clone() };
        assert_eq!(failed.line(), "GET … (not asked): no answer. The app did not answer.");
        assert_eq!(SmokeCount::of(&[left_out, failed]), SmokeCount { passed: 0, failed: 1 });
    }
}
