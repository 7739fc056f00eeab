//! Detects repeated errors, and
//! repairs without progress.
//!
//! Pure. The caller (the agent for its tools, a job for a failed build) reports each failure to a
//! [`RepairBudget`], which decides whether to repair it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Repairs in one turn, at most.
pub const REPAIRS_MAX: u32 = 3;
/// What repairs call the place of an error: a build that fails is the same in a check and in a deployment.
const ANYWHERE: &str = "work";
/// Bytes of an error that are looked at.
const READ_MAX: usize = 32 * 1024;
/// Bytes of an error that are told.
const SHOWN_MAX: usize = 300;
/// Files that are named of one repair.
const FILES_NAMED: usize = 4;

/// What an error says, without what differs each time it happens: line numbers, ids, times,
/// addresses, names of temporary folders. Two errors with the same fingerprint are the same error.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// The fingerprint of an error at a stage, e.g. a tool's name.
    pub fn new(stage: &str, text: &str) -> Self {
        let text = essence(&text[..text.floor_char_boundary(READ_MAX)]);
        let digest = Sha256::new().chain_update(stage).chain_update([0]).chain_update(text).finalize();
        Self(hex::encode(&digest[..8]))
    }

    /// Sixteen hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

struct Rule {
    found: Regex,
    becomes: &'static str,
}

/// Applied in this order: later rules would match parts of earlier ones.
static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let rule = |pattern, becomes| Rule { found: Regex::new(pattern).expect("a valid pattern"), becomes };
    vec![
        rule(r"\x1b\[[0-9;?]*[ -/]*[@-~]", ""),
        rule(r#"(?:/private)?(?:/tmp|/var/tmp|/var/folders/\w+/\w+|/dev/shm)/[^\s/"'`:;,()<>]+"#, "‹tmp›"),
        // The tags of material, which are derived from their content.
        rule(r"\bmaterial-[0-9a-f]{8}\b", "material"),
        rule(r"\b\d{4}[-/]\d\d[-/]\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z| ?[+-]\d\d:?\d\d)?)?", "‹time›"),
        rule(r"\b\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d(?: [+-]\d{4})?", "‹time›"),
        rule(r"\b\d\d?:\d\d:\d\d(?:[.,]\d+)?\b", "‹time›"),
        rule(r"\b\d+(?:\.\d+)? ?(?:ns|us|µs|ms|s|secs?|seconds?|mins?|minutes?|hours?)\b", "‹time›"),
        rule(r"(?i)\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b", "‹id›"),
        rule(r"-[0-9a-f]{8,10}-[a-z0-9]{5}\b", "-‹id›"),
        rule(r"(?i)\b0x[0-9a-f]+\b", "‹address›"),
        rule(r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b", "‹address›"),
        rule(r"(?i)\[[0-9a-f:]*:[0-9a-f:.]*\](?::\d+)?", "‹address›"),
        rule(r"(?i)\b(?:[0-9a-f]{1,4}:){4,7}[0-9a-f]{1,4}\b", "‹address›"),
    ]
});
/// Long hexadecimal numbers: commits, digests, containers.
static HEX: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?i)\b(?:sha256:)?([0-9a-f]{7,64})\b").expect("a pattern of ours"));
/// A word, which may contain digits, or a number.
static WORD: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"[\p{L}_‹][\w›]*|[0-9]+(?:[.,_][0-9]+)*").expect("a pattern of ours"));
/// Numbers after these words identify the error.
const NUMBER_WORDS: &[&str] =
    &["http", "status", "code", "exit", "errno", "error", "signal", "returned", "answered", "with"];

/// An error's text without parts that differ each time. Idempotent.
pub fn essence(text: &str) -> String {
    let mut out = text.to_owned();
    // A removal can produce a new match; this ends after few rounds.
    for _ in 0..8 {
        let next = reduced(&out);
        if next == out {
            break;
        }
        out = next;
    }
    out
}

fn reduced(text: &str) -> String {
    let mut out: String = text
        .chars()
        .map(|c| match c {
            '\r' => '\n',
            c if c.is_whitespace() && c != '\n' => ' ',
            c => c,
        })
        .collect();
    for rule in RULES.iter() {
        out = rule.found.replace_all(&out, rule.becomes).into_owned();
    }
    out = HEX
        .replace_all(&out, |found: &Captures<'_>| {
            let digits = &found[1];
            let mixed = digits.bytes().any(|b| b.is_ascii_digit()) && digits.bytes().any(|b| b.is_ascii_alphabetic());
            // Like a number, because an id may consist of digits only.
            if mixed { "‹n›".to_owned() } else { found[0].to_owned() }
        })
        .into_owned();
    let mut lines: Vec<String> = Vec::new();
    for line in out.lines() {
        let line = without_numbers(line).split_whitespace().collect::<Vec<_>>().join(" ");
        // Markers under a position in a line move with it.
        let says_something = line.chars().any(char::is_alphanumeric);
        if says_something && lines.last() != Some(&line) {
            lines.push(line);
        }
    }
    lines.join("\n")
}

/// Removes numbers of positions, counts and durations; only some numbers identify the error.
fn without_numbers(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let (mut at, mut telling) = (0, false);
    for word in WORD.find_iter(line) {
        let between = &line[at..word.start()];
        out.push_str(between);
        at = word.end();
        let near = between.len() <= 3 && !between.contains(['(', ',', ';']);
        if word.as_str().starts_with(|first: char| first.is_ascii_digit()) {
            let is_version = ["=", "~", "^", "@", "<", ">"].iter().any(|mark| between.ends_with(mark));
            telling = (telling && near) || is_version;
            out.push_str(if telling { word.as_str() } else { "‹n›" });
        } else {
            telling = NUMBER_WORDS.contains(&word.as_str().to_lowercase().as_str());
            out.push_str(word.as_str());
        }
    }
    out.push_str(&line[at..]);
    out
}

/// One failure that may be repaired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepairFailure {
    /// What happened, in a sentence for the user.
    pub sentence: String,
    /// The fingerprint of the error.
    pub fingerprint: Fingerprint,
}

impl RepairFailure {
    /// A failure with its sentence and the lines that show it. If there are lines, they identify the
    /// error, because sentences differ between checks and deployments.
    pub fn new(sentence: &str, lines: &[String]) -> Self {
        let lines = lines.join("\n");
        let text = if lines.trim().is_empty() { sentence } else { &lines };
        Self { sentence: short(sentence), fingerprint: Fingerprint::new(ANYWHERE, text) }
    }
}

/// Whether to repair a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RepairVerdict {
    /// Repair it: the nth repair of the turn, from 1.
    Repair(u32),
    /// Do not repair it: why, and what was tried, in sentences for the user.
    Stop(RepairStop),
}

/// Why there is no further repair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepairStop {
    /// The reason: [`RepairEnd::code`] is its code.
    pub end: RepairEnd,
    /// What happened and what was tried, in sentences for the user.
    pub sentence: String,
}

/// The reason that ended the repairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepairEnd {
    /// An error came back after it was repaired.
    SameError,
    /// All repairs of the turn are used up.
    Spent,
}

impl RepairEnd {
    /// A stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::SameError => "same_error",
            Self::Spent => "repairs_spent",
        }
    }
}

/// The repairs of a user's turn, in the turn itself and in its repair turns: at most [`REPAIRS_MAX`],
/// and none for an error that came back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepairBudget {
    max: u32,
    seen: Vec<RepairFailure>,
    tried: Vec<String>,
}

impl Default for RepairBudget {
    fn default() -> Self {
        Self::new(REPAIRS_MAX)
    }
}

impl RepairBudget {
    /// A budget of at most `max` repairs.
    pub fn new(max: u32) -> Self {
        Self { max, seen: Vec::new(), tried: Vec::new() }
    }

    /// Counts a failure and decides whether to repair it.
    pub fn failed(&mut self, failure: RepairFailure) -> RepairVerdict {
        let came_back = self.seen.iter().any(|seen| seen.fingerprint == failure.fingerprint);
        let used = u32::try_from(self.seen.len()).unwrap_or(u32::MAX);
        self.seen.push(failure);
        if came_back {
            return RepairVerdict::Stop(self.stop(RepairEnd::SameError));
        }
        if used >= self.max {
            return RepairVerdict::Stop(self.stop(RepairEnd::Spent));
        }
        RepairVerdict::Repair(used + 1)
    }

    /// Records the files that the repair since the last failure changed.
    pub fn tried<'a>(&mut self, files: impl IntoIterator<Item = &'a str>) {
        let files: BTreeSet<&str> = files.into_iter().collect();
        let named: Vec<&str> = files.iter().copied().take(FILES_NAMED).collect();
        let more = files.len() - named.len();
        let and_more = if more == 0 { String::new() } else { format!(" and {more} more") };
        self.tried.push(if named.is_empty() {
            "changed nothing".to_owned()
        } else {
            format!("changed {}{and_more}", named.join(", "))
        });
    }

    /// Whether a repair of the last failure is running.
    pub fn is_under_way(&self) -> bool {
        self.seen.len() > self.tried.len()
    }

    /// Number of repairs so far.
    pub fn used(&self) -> u32 {
        u32::try_from(self.seen.len()).unwrap_or(u32::MAX).min(self.max)
    }

    fn stop(&self, end: RepairEnd) -> RepairStop {
        let last = self.seen.last().map_or("", |failure| failure.sentence.as_str());
        let why = match end {
            RepairEnd::SameError => "The same error came back after it was repaired, so there is no further repair.",
            RepairEnd::Spent => "The repairs of this turn are used up.",
        };
        let mut sentence = format!("{why} The error: {last}");
        let tried: Vec<String> = self
            .seen
            .iter()
            .zip(&self.tried)
            .enumerate()
            .map(|(nth, (failure, tried))| format!("{}. after “{}” it {tried}", nth + 1, failure.sentence))
            .collect();
        if !tried.is_empty() {
            sentence.push_str(" What was tried: ");
            sentence.push_str(&tried.join("; "));
            sentence.push('.');
        }
        RepairStop { end, sentence }
    }
}

fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.len() <= SHOWN_MAX { line } else { format!("{}…", &line[..line.floor_char_boundary(SHOWN_MAX)]) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng};

    fn print(text: &str) -> Fingerprint {
        Fingerprint::new("build", text)
    }

    #[test]
    fn errors_that_differ_only_in_place_and_time_are_the_same() {
        for (one, other) in [
            ("main.py:12:5: SyntaxError: invalid syntax", "main.py:140:17: SyntaxError: invalid syntax"),
            ("File \"/tmp/tmpab12/main.py\", line 3, in handle", "File \"/tmp/build-99/main.py\", line 44, in handle"),
            ("2026-11-20T17:02:11.123Z ERROR no such table", "2026-11-21 09:00:00,5 ERROR no such table"),
            (
                "2026/11/20 17:02:11 [emerg] 1#1: unknown directive",
                "2026/11/20 18:44:59 [emerg] 7#7: unknown directive",
            ),
            ("container 8f3a9c1d22e7 exited with code 1", "container 012877339011 exited with code 1"),
            ("<material-1a2b3c4d from=\"x\">", "<material-12345678 from=\"x\">"),
            ("<Thing object at 0x7f1c2d> is not callable", "<Thing object at 0x55aa01> is not callable"),
            ("connect to 172.17.0.4:5432 refused", "connect to 10.1.2.3:6000 refused"),
            ("connect to [::1]:80 refused", "connect to [fe80::1]:8080 refused"),
            (
                "request 550e8400-e29b-41d4-a716-446655440000 failed",
                "request 00000000-e29b-41d4-a716-446655440fff failed",
            ),
            ("pod brisk-otter-prod-7d9f8b6c55-x2x4z crashed", "pod brisk-otter-prod-5566778899-abcde crashed"),
            ("no answer in 30.0 s (pid 17)", "no answer in 31 s (pid 2044)"),
            ("a = (\n    ^\nSyntaxError: '(' was never closed", "a = (\n        ^^\nSyntaxError: '(' was never closed"),
            ("\u{1b}[31mfailed\u{1b}[0m to parse", "failed to parse"),
        ] {
            assert_eq!(print(one), print(other), "{:?} / {:?}", essence(one), essence(other));
        }
    }

    #[test]
    fn different_errors_are_distinguished() {
        for (one, other) in [
            ("NameError: name 'app' is not defined", "NameError: name 'api' is not defined"),
            ("GET / answered 404", "GET / answered 500"),
            ("exited with code 1", "exited with code 137"),
            ("HTTP status 502", "HTTP status 504"),
            ("No matching distribution found for flask==9.1", "No matching distribution found for flask==3.0"),
            ("main.py:3: SyntaxError", "util.py:3: SyntaxError"),
            ("unexpected <h1>", "unexpected <h2>"),
        ] {
            assert_ne!(print(one), print(other), "{:?}", essence(one));
        }
        assert_ne!(Fingerprint::new("build", "x"), Fingerprint::new("start", "x"));
    }

    /// An error with fixed words and variable positions.
    fn error(words: &[&str], random: &mut StdRng) -> String {
        let mut text = String::new();
        for word in words {
            text.push_str(word);
            text.push_str(&match random.random_range(0..7) {
                0 => " ".to_owned(),
                1 => " \t ".to_owned(),
                2 => "\u{1b}[1m ".to_owned(),
                _ => " ".repeat(random.random_range(1..4)),
            });
        }
        let hex = |random: &mut StdRng| format!("a{:07x}f1", random.random_range(0..0x0fff_ffff));
        format!(
            "{text}at /tmp/{}/main.py:{}:{} {:02}:{:02}:{:02}.{} id {} ptr 0x{:x} from 10.{}.0.{}:{} took {} ms\n{}^",
            hex(random),
            random.random_range(1..9_999),
            random.random_range(1..200),
            random.random_range(0..24),
            random.random_range(0..60),
            random.random_range(0..60),
            random.random_range(0..1_000_000),
            hex(random),
            random.random_range(1..u64::MAX),
            random.random_range(0..256),
            random.random_range(0..256),
            random.random_range(1..65_536),
            random.random_range(1..99_999),
            " ".repeat(random.random_range(0..40)),
        )
    }

    #[test]
    fn only_the_words_count() {
        let mut random = StdRng::seed_from_u64(11);
        let vocabulary =
            ["cannot", "find", "module", "fastapi", "handle", "TypeError:", "str", "int", "größe", "h2", "E0308"];
        for _ in 0..500 {
            let words: Vec<&str> =
                (0..random.random_range(1..8)).map(|_| vocabulary[random.random_range(0..vocabulary.len())]).collect();
            let (one, other) = (error(&words, &mut random), error(&words, &mut random));
            assert_eq!(essence(&one), essence(&other), "\n{one}\n{other}");
            let mut different = words.clone();
            different.push("else");
            assert_ne!(print(&one), print(&error(&different, &mut random)));
        }
    }

    #[test]
    fn normalising_any_text_is_idempotent() {
        let mut random = StdRng::seed_from_u64(12);
        let alphabet: Vec<char> = "ab f09:./-_[]()‹›\n\r\t\u{1b}[m#\"'ä😀x=".chars().collect();
        for _ in 0..3_000 {
            let text: String =
                (0..random.random_range(0..60)).map(|_| alphabet[random.random_range(0..alphabet.len())]).collect();
            let once = essence(&text);
            assert!(!once.contains(['\u{1b}', '\r', '\t']) || text.contains('\u{1b}'), "{once:?}");
            assert_eq!(essence(&once), once, "of {text:?}");
        }
        // Longer than the limit, which is in the middle of a character.
        assert_eq!(print(&"ä".repeat(READ_MAX)), print(&"ä".repeat(READ_MAX + 7)));
    }

    #[test]
    fn a_repair_without_progress_is_stopped() {
        let failure =
            |line: u32| RepairFailure::new("The image could not be built.", &[format!("main.py:{line}: SyntaxError")]);
        let mut budget = RepairBudget::default();
        assert_eq!(budget.failed(failure(3)), RepairVerdict::Repair(1));
        budget.tried(["main.py"]);
        let RepairVerdict::Stop(stop) = budget.failed(failure(9)) else { panic!("the same error") };
        assert_eq!((stop.end, stop.end.code()), (RepairEnd::SameError, "same_error"));
        assert!(stop.sentence.contains("same error") && stop.sentence.contains("changed main.py"), "{}", stop.sentence);
    }

    #[test]
    fn an_error_that_comes_back_later_stops_the_repairs() {
        let failure = |what: &str| RepairFailure::new(what, &[]);
        let mut budget = RepairBudget::default();
        assert_eq!(budget.failed(failure("A is missing")), RepairVerdict::Repair(1));
        assert_eq!(budget.failed(failure("B is missing")), RepairVerdict::Repair(2));
        let RepairVerdict::Stop(stop) = budget.failed(failure("A is missing")) else { panic!("a repeated error") };
        assert_eq!(stop.end, RepairEnd::SameError);
    }

    #[test]
    fn checks_and_deployments_find_the_same_error() {
        let lines = ["ERROR: No matching distribution found for nosuch==1".to_owned()];
        let mut budget = RepairBudget::default();
        let verdict = budget.failed(RepairFailure::new("It does not build: ERROR: No matching", &lines));
        assert_eq!((verdict, budget.is_under_way()), (RepairVerdict::Repair(1), true));
        budget.tried(["requirements.txt"]);
        assert!(!budget.is_under_way());
        // Stored and read again, as between turns.
        let kept = serde_json::to_string(&budget).expect("JSON");
        let mut budget: RepairBudget = serde_json::from_str(&kept).expect("readable");
        let RepairVerdict::Stop(stop) = budget.failed(RepairFailure::new("“pip install” failed.", &lines)) else {
            panic!("the same error")
        };
        assert_eq!(stop.end, RepairEnd::SameError);
        assert!(stop.sentence.contains("“pip install” failed. What was tried: 1. after “It does"), "{}", stop.sentence);
    }

    #[test]
    fn repairs_are_counted() {
        let failure = |what: &str| RepairFailure::new(what, &[]);
        let mut budget = RepairBudget::default();
        for (nth, word) in ["one", "two", "three"].into_iter().enumerate() {
            assert_eq!(budget.failed(failure(word)), RepairVerdict::Repair(u32::try_from(nth).expect("small") + 1));
            budget.tried(["e", "d", "c", "b", "a", "a"]);
        }
        let RepairVerdict::Stop(stop) = budget.failed(failure("four")) else { panic!("spent") };
        assert_eq!((stop.end, budget.used()), (RepairEnd::Spent, 3));
        assert!(stop.sentence.contains("The error: four"), "{}", stop.sentence);
        assert!(stop.sentence.contains("1. after “one” it changed a, b, c, d and 1 more"), "{}", stop.sentence);
    }
}
