//! Smoke checks of a new version before traffic switches to it, and their results.

use serde::{Deserialize, Serialize};

/// The kinds of checks in a template's manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SmokeKind {
    /// Every page answers, and every local link, image, script and stylesheet resolves.
    Links,
    /// Each `GET` without parameters of the app's own OpenAPI document answers without a 5xx.
    Openapi,
    /// A call with a valid signature is accepted; calls with an invalid, a missing or an old signature are refused.
    Signatures,
}

/// One check of a new version, with its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SmokeCheck {
    /// The subject: `page`, `stylesheet`, `endpoint`, `unsigned call`, …
    pub what: String,
    /// HTTP method.
    pub method: String,
    /// Path, with its query.
    pub path: String,
    /// It passed.
    pub ok: bool,
    /// HTTP status; `None` without a response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Duration of the response, in milliseconds.
    pub millis: u64,
    /// The error or a note, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The first lines of a wrong response.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
}

impl SmokeCheck {
    /// A note about checks that were left out: neither passed nor failed.
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

    /// Whether it is a check that was made or should have been made.
    fn is_verdict(&self) -> bool {
        !(self.ok && self.status.is_none())
    }

    /// The check as one line: `GET /style.css: 404. It is linked from /.`
    pub fn line(&self) -> String {
        if let (false, Some(note)) = (self.is_verdict(), &self.note) {
            return note.clone();
        }
        let status = self.status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
        let note = self.note.as_deref().map(|note| format!(". {note}")).unwrap_or_default();
        format!("{} {} ({}): {status}{note}", self.method, self.path, self.what)
    }
}

/// The number of passed and failed checks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SmokeCount {
    /// Passed.
    pub passed: u32,
    /// Failed.
    pub failed: u32,
}

impl SmokeCount {
    /// Counts checks.
    pub fn of(checks: &[SmokeCheck]) -> Self {
        checks.iter().filter(|check| check.is_verdict()).fold(Self::default(), |count, check| {
            if check.ok {
                Self { passed: count.passed + 1, ..count }
            } else {
                Self { failed: count.failed + 1, ..count }
            }
        })
    }

    /// All checks.
    pub fn total(self) -> u32 {
        self.passed + self.failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_that_were_left_out_are_listed_and_not_counted() {
        let left_out = SmokeCheck::not_asked(12, 200, "addresses");
        assert_eq!(left_out.line(), "12 more addresses were not asked: 200 are asked at most.");
        let failed = SmokeCheck { ok: false, note: Some("The app did not answer.".into()), ..left_out.clone() };
        assert_eq!(failed.line(), "GET … (not asked): no answer. The app did not answer.");
        assert_eq!(SmokeCount::of(&[left_out, failed]), SmokeCount { passed: 0, failed: 1 });
    }
}
