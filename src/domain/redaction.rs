//! Removes secret values from foreign text before it is stored, sent to the model, or committed.
//!
//! An app knows its own secrets and may print them, so all of its output passes through here. Pure. A value is recognised in its
//! usual forms: verbatim, in other cases, URL-encoded, JSON-escaped, in hexadecimal digits, in base64 once and twice. Other
//! forms are not recognised: reversed, spaced out, base32, encrypted. Redaction does not stop an app that leaks
//! its secrets on purpose, but keeps accidents out of logs and prompts.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};

use super::{JobError, SmokeCheck};

/// Values shorter than this, in bytes, are not redacted (“none”, “x”), because they would match everywhere.
const SHORTEST: usize = 8;
/// Lines of a multi-line value (for example a private key) with at least this length in bytes are redacted separately.
const SHORTEST_LINE: usize = 16;
/// Minimum length in bytes of a secret's beginning that is redacted at the end of a truncated text.
const CUT: usize = 10;
/// Values longer than this, in bytes, are searched in fewer forms, to limit the size of the search.
const MANY_FORMS_MAX: usize = 4 * 1024;

/// The secrets and their replacements. Never printed. Cheap to clone.
#[derive(Clone, Default)]
pub struct Redaction(Option<Arc<Forms>>);

/// One pass over a text finds all forms, independent of their number.
struct Forms {
    search: AhoCorasick,
    /// In lower case, in the order of the search's patterns.
    written: Vec<String>,
    marks: Vec<String>,
}

impl std::fmt::Debug for Redaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redaction({} forms)", self.0.as_ref().map_or(0, |forms| forms.written.len()))
    }
}

impl Redaction {
    /// Redacts these values in their usual forms; replacements contain their names.
    pub fn new<'a>(secrets: impl IntoIterator<Item = (&'a str, &'a SecretString)>) -> Self {
        let mut marks: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in secrets {
            let value = value.expose_secret().trim();
            let lines = value.lines().map(str::trim).filter(|line| line.len() >= SHORTEST_LINE && *line != value);
            for part in [value].into_iter().chain(lines).filter(|part| part.len() >= SHORTEST) {
                for form in written(part) {
                    marks.entry(form.to_ascii_lowercase()).or_insert_with(|| format!("[secret {name}]"));
                }
            }
        }
        if marks.is_empty() {
            return Self::default();
        }
        let (written, marks): (Vec<_>, Vec<_>) = marks.into_iter().unzip();
        let search = AhoCorasick::builder()
            // One form may be a part of another.
            .match_kind(MatchKind::LeftmostLongest)
            .ascii_case_insensitive(true)
            .build(&written)
            .expect("secrets are far fewer and shorter than the limits of the search");
        Self(Some(Arc::new(Forms { search, written, marks })))
    }

    /// The redacted text.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let Some(forms) = &self.0 else { return Cow::Borrowed(text) };
        let mut out = if forms.search.is_match(text) {
            Cow::Owned(forms.search.replace_all(text, &forms.marks))
        } else {
            Cow::Borrowed(text)
        };
        // A truncated text may end in the middle of a secret.
        if let Some((at, mark)) = forms.begun(&out) {
            let mut cut = out.into_owned();
            cut.replace_range(at.., mark);
            out = Cow::Owned(cut);
        }
        out
    }

    /// The redacted text.
    pub fn string(&self, text: String) -> String {
        match self.text(&text) {
            Cow::Borrowed(_) => text,
            Cow::Owned(redacted) => redacted,
        }
    }

    /// The redacted lines.
    pub fn lines(&self, lines: Vec<String>) -> Vec<String> {
        lines.into_iter().map(|line| self.string(line)).collect()
    }

    /// A redacted error of a job.
    pub fn error(&self, error: JobError) -> JobError {
        JobError {
            code: error.code,
            message: self.string(error.message),
            hint: error.hint.map(|hint| self.string(hint)),
            lines: self.lines(error.lines),
        }
    }

    /// A redacted check.
    pub fn check(&self, check: SmokeCheck) -> SmokeCheck {
        SmokeCheck {
            path: self.string(check.path),
            note: check.note.map(|note| self.string(note)),
            lines: self.lines(check.lines),
            ..check
        }
    }
}

impl Forms {
    /// The position at the end of the text where a form starts, and its replacement. Reads at most the length of a form
    /// from the end.
    fn begun(&self, text: &str) -> Option<(usize, &str)> {
        let longest = self.written.iter().map(String::len).max().unwrap_or_default();
        let from = (text.len().saturating_sub(longest)..=text.len()).find(|at| text.is_char_boundary(*at))?;
        let end = text[from..].to_ascii_lowercase();
        let begun = self.written.iter().zip(&self.marks).filter_map(|(form, mark)| {
            let begin = form.get(..CUT)?;
            let at = end.match_indices(begin).map(|(at, _)| at).find(|at| form.starts_with(&end[*at..]))?;
            Some((from + at, mark.as_str()))
        });
        begun.min_by_key(|(at, _)| *at)
    }
}

/// The usual forms of a value, without case of ASCII letters.
fn written(value: &str) -> Vec<String> {
    let mut forms = vec![value.to_owned(), value.to_uppercase(), value.to_lowercase(), hex::encode(value)];
    let mut encoded = String::new();
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02x}");
        }
    }
    forms.extend([encoded.replace("%20", "+"), encoded]);
    let json = serde_json::Value::from(value).to_string();
    forms.push(json.trim_matches('"').to_owned());
    let once = base64_within(value.as_bytes());
    if value.len() <= MANY_FORMS_MAX {
        for separator in [":", " ", "-"] {
            let pairs: Vec<_> = value.bytes().map(|byte| format!("{byte:02x}")).collect();
            forms.push(pairs.join(separator));
        }
        forms.extend(once.iter().flat_map(|inner| base64_within(inner.as_bytes())));
    }
    forms.extend(once);
    forms.retain(|form| form.len() >= SHORTEST);
    forms
}

/// The base64 digits, in both alphabets, of these bytes at any position in a longer text.
fn base64_within(bytes: &[u8]) -> Vec<String> {
    let mut forms = Vec::new();
    for before in 0..3 {
        let bytes = [&[0; 3][..before], bytes].concat();
        // The digits at both ends also contain bits of adjacent bytes.
        let (from, to) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            forms.extend(engine.encode(&bytes).get(from..to).map(str::to_owned));
        }
    }
    forms
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    fn redaction(value: &str) -> Redaction {
        Redaction::new([("WEBHOOK_SECRET", &SecretString::from(value.to_owned()))])
    }

    #[test]
    fn every_form_of_a_value_is_redacted() {
        let value = "whsec_a+b/c d\"e";
        let redaction = redaction(value);
        for text in [
            format!("environ({{'WEBHOOK_SECRET': '{value}', 'A': 'b'}})"),
            format!("{value}{value}\n{value}"),
            "/path?secret=whsec_a%2Bb%2Fc%20d%22e".to_owned(),
            "secret=whsec_a%2bb%2fc+d%22e&a=b".to_owned(),
            serde_json::json!({ "secret": value }).to_string(),
            hex::encode(value),
            hex::encode_upper(value),
            value.to_uppercase(),
            "WHSEC_A%2BB%2Fc%20D%22E".to_owned(),
            separated(value, ":").to_uppercase(),
            separated(value, " "),
            separated(value, "-"),
        ] {
            let redacted = redaction.text(&text).to_lowercase();
            assert!(redacted.contains("[secret webhook_secret]") && !redacted.contains("whsec"), "{redacted}");
            assert!(
                !redacted.contains(&separated("c d", ":")[..5]) && !redacted.contains(&hex::encode("c d")),
                "{redacted}"
            );
        }
        for before in ["", "u", "us", "user:"] {
            let text = STANDARD.encode(format!("{before}{value} and more"));
            let redacted = redaction.text(&text).into_owned();
            assert!(redacted.contains("[secret WEBHOOK_SECRET]"), "{before}: {text}");
            let left = redacted.replace("[secret WEBHOOK_SECRET]", "");
            assert!(left.len() <= text.len() - value.len(), "{redacted}");
        }
    }

    fn separated(value: &str, separator: &str) -> String {
        value.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(separator)
    }

    #[test]
    fn base64_of_base64_is_redacted_at_any_position() {
        let redaction = redaction("whsec_a+b/c?~>0123456789");
        for outer in ["", "x", "xy"] {
            for inner in ["", "u", "us", "user:"] {
                let plain = format!("{inner}whsec_a+b/c?~>0123456789 and more");
                let once = [STANDARD.encode(&plain), URL_SAFE.encode(&plain), URL_SAFE_NO_PAD.encode(&plain)];
                for once in once.map(|once| format!("{outer}{once}")) {
                    for twice in [STANDARD.encode(&once), STANDARD_NO_PAD.encode(&once), URL_SAFE.encode(&once)] {
                        let redacted = redaction.text(&twice);
                        assert!(redacted.contains("[secret WEBHOOK_SECRET]"), "{outer} {inner}: {twice}");
                    }
                }
            }
        }
    }

    #[test]
    fn lines_of_a_long_value_are_redacted_separately() {
        let key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\nAQEFAASCBKcwggSjAgEAAoIB\n-----END KEY-----\n";
        let redaction = redaction(key);
        assert_eq!(redaction.text("it is AQEFAASCBKcwggSjAgEAAoIB."), "it is [secret WEBHOOK_SECRET].");
    }

    /// A hundred secrets, and a megabyte of their beginnings.
    #[test]
    fn the_cost_is_linear_in_the_text() {
        let values: Vec<_> = (0..100).map(|n| SecretString::from(format!("{}{n:04}", "a".repeat(60)))).collect();
        let redaction = Redaction::new(values.iter().map(|value| ("KEY", value)));
        let time = |length: usize| {
            let text = "a".repeat(length);
            let begun = std::time::Instant::now();
            assert!(matches!(redaction.text(&text), Cow::Owned(cut) if cut.ends_with("[secret KEY]")));
            begun.elapsed().as_secs_f64()
        };
        time(1 << 16);
        let (one, sixteen) = (time(1 << 16), time(1 << 20));
        assert!(sixteen < one * 64.0 + 0.1, "{one} s for 64 KiB, {sixteen} s for 1 MiB");
        let long = SecretString::from("b".repeat(1 << 20));
        let written: usize = written(long.expose_secret()).iter().map(String::len).sum();
        assert!(written < 20 << 20, "the search has {written} bytes");
    }

    #[test]
    fn the_beginning_of_a_secret_at_the_end_is_redacted() {
        let redaction = redaction("whsec_0123456789abcdef");
        assert_eq!(redaction.text("… whsec_0123456"), "… [secret WEBHOOK_SECRET]");
        assert_eq!(redaction.text("a whsec_ is a secret"), "a whsec_ is a secret");
        assert_eq!(redaction.text("whsec_01234 and on"), "whsec_01234 and on");
    }

    #[test]
    fn text_without_secrets_stays_unchanged() {
        let short = redaction("none");
        assert!(matches!(short.text("there is none"), Cow::Borrowed("there is none")));
        assert!(matches!(Redaction::default().text("x"), Cow::Borrowed("x")));
        assert!(!format!("{:?}", redaction("whsec_0123456789")).contains("whsec"));
    }

    #[test]
    fn errors_and_checks_are_redacted() {
        let value = "whsec_0123456789abcdef";
        let redaction = redaction(value);
        let error = redaction.error(JobError {
            code: "start_failed".into(),
            message: format!("It ended: {value}"),
            hint: Some(value.into()),
            lines: vec![value.into()],
        });
        let check = redaction.check(SmokeCheck {
            what: "page".into(),
            method: "GET".into(),
            path: format!("/?s={value}"),
            ok: false,
            status: None,
            millis: 1,
            note: Some(value.into()),
            lines: vec![value.into()],
        });
        let told = format!("{error:?}{check:?}");
        assert!(!told.contains(value) && told.matches("[secret WEBHOOK_SECRET]").count() == 6, "{told}");
    }
}
