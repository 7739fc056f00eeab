//! Secret values taken out of what others wrote, before it is kept, told to the model, or committed.
//!
//! An app knows its own secrets and may print them; whatever it prints goes through here. Pure.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};

use super::{JobError, SmokeCheck};

/// Values shorter than this are no secrets (“none”, “x”), and would be found everywhere.
const SHORTEST: usize = 8;
/// So much of a secret's beginning is taken out where a text was cut in the middle of it.
const CUT: usize = 10;

/// What is taken out, and what stands in its place. Its values are never printed.
#[derive(Clone, Default)]
pub struct Redaction(Vec<Form>);

#[derive(Clone)]
struct Form {
    written: String,
    mark: String,
}

impl std::fmt::Debug for Redaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redaction({} forms)", self.0.len())
    }
}

impl Redaction {
    /// Takes out these values, by their names.
    pub fn new<'a>(secrets: impl IntoIterator<Item = (&'a str, &'a SecretString)>) -> Self {
        let mut forms: Vec<Form> = Vec::new();
        for (name, value) in secrets {
            let value = value.expose_secret().trim();
            if value.len() < SHORTEST {
                continue;
            }
            let mark = format!("[secret {name}]");
            forms.extend(written(value).into_iter().map(|written| Form { written, mark: mark.clone() }));
        }
        // The longest first: one may be a part of another.
        forms.sort_by_key(|form| std::cmp::Reverse(form.written.len()));
        Self(forms)
    }

    /// The text without them.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut out = Cow::Borrowed(text);
        for form in &self.0 {
            if out.contains(&form.written) {
                out = Cow::Owned(out.replace(&form.written, &form.mark));
            }
        }
        for form in &self.0 {
            // A text that was cut to its length may end in the middle of one.
            let begun = form.written.get(..CUT).and_then(|begin| out.rfind(begin));
            if let Some(at) = begun.filter(|at| form.written.starts_with(&out[*at..])) {
                let mut cut = out.into_owned();
                cut.replace_range(at.., &form.mark);
                out = Cow::Owned(cut);
            }
        }
        out
    }

    /// The text without them.
    pub fn string(&self, text: String) -> String {
        match self.text(&text) {
            Cow::Borrowed(_) => text,
            Cow::Owned(redacted) => redacted,
        }
    }

    /// The lines without them.
    pub fn lines(&self, lines: Vec<String>) -> Vec<String> {
        lines.into_iter().map(|line| self.string(line)).collect()
    }

    /// A job's error without them.
    pub fn error(&self, error: JobError) -> JobError {
        JobError {
            code: error.code,
            message: self.string(error.message),
            hint: error.hint.map(|hint| self.string(hint)),
            lines: self.lines(error.lines),
        }
    }

    /// Evidence without them.
    pub fn check(&self, check: SmokeCheck) -> SmokeCheck {
        SmokeCheck {
            path: self.string(check.path),
            note: check.note.map(|note| self.string(note)),
            lines: self.lines(check.lines),
            ..check
        }
    }
}

/// The ways in which a value is commonly written: as it is, for addresses, in JSON, as base64 wherever in
/// a longer text it stands, as hexadecimal digits.
fn written(value: &str) -> BTreeSet<String> {
    let mut forms = BTreeSet::from([value.to_owned()]);
    let hex = hex::encode(value);
    forms.extend([hex.to_uppercase(), hex]);
    let (mut upper, mut lower) = (String::new(), String::new());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            upper.push(char::from(byte));
            lower.push(char::from(byte));
        } else {
            let _ = write!(upper, "%{byte:02X}");
            let _ = write!(lower, "%{byte:02x}");
        }
    }
    forms.extend([upper.replace("%20", "+"), lower.replace("%20", "+"), upper, lower]);
    let json = serde_json::Value::from(value).to_string();
    forms.insert(json.trim_matches('"').to_owned());
    for before in 0..3 {
        let bytes = [&[0][..0], &vec![0; before], value.as_bytes()].concat();
        // The digits at both ends hold bits of what stands beside it.
        let (from, to) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            forms.extend(engine.encode(&bytes).get(from..to).map(str::to_owned));
        }
    }
    forms.retain(|form| form.len() >= SHORTEST);
    forms
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD;

    fn redaction(value: &str) -> Redaction {
        Redaction::new([("WEBHOOK_SECRET", &SecretString::from(value.to_owned()))])
    }

    #[test]
    fn every_form_of_a_value_is_taken_out() {
        let value = "whsec_a+b/c d\"e";
        let redaction = redaction(value);
        for text in [
            format!("environ({{'WEBHOOK_SECRET': '{value}', 'A': 'b'}})"),
            format!("{value}{value}\n{value}"),
            "/path?secret=whsec_a%2Bb%2Fc%20d%22e".to_owned(),
            "secret=whsec_a%2bb%2fc+d%22e&a=b".to_owned(),
            serde_json::json!({ "secret": value }).to_string(),
            hex::encode(value),
        ] {
            let redacted = redaction.text(&text);
            assert!(redacted.contains("[secret WEBHOOK_SECRET]") && !redacted.contains("whsec"), "{redacted}");
        }
        for before in ["", "u", "us", "user:"] {
            let text = STANDARD.encode(format!("{before}{value} and more"));
            let redacted = redaction.text(&text).into_owned();
            assert!(redacted.contains("[secret WEBHOOK_SECRET]"), "{before}: {text}");
            let left = redacted.replace("[secret WEBHOOK_SECRET]", "");
            assert!(left.len() <= text.len() - value.len(), "{redacted}");
        }
    }

    #[test]
    fn the_beginning_of_one_at_a_cut_goes_too() {
        let redaction = redaction("whsec_0123456789abcdef");
        assert_eq!(redaction.text("… whsec_0123456"), "… [secret WEBHOOK_SECRET]");
        assert_eq!(redaction.text("a whsec_ is a secret"), "a whsec_ is a secret");
        assert_eq!(redaction.text("whsec_01234 and on"), "whsec_01234 and on");
    }

    #[test]
    fn what_holds_none_stays_as_it_is() {
        let short = redaction("none");
        assert!(matches!(short.text("there is none"), Cow::Borrowed("there is none")));
        assert!(matches!(Redaction::default().text("x"), Cow::Borrowed("x")));
        assert!(!format!("{:?}", redaction("whsec_0123456789")).contains("whsec"));
    }

    #[test]
    fn errors_and_evidence_are_told_without_them() {
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
