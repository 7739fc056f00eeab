//! The nearest match of a text in a file: the error for the model when its `old_text` does
//! not occur exactly once, so that the next attempt matches.
//!
//! Pure. Lines are compared by their words; the work is bounded for any file.

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::outcome::OLD_TEXT_OCCURS;
use crate::bounded_work::Budget;

/// Maximum lines of a file that are searched.
const FILE_LINES: usize = 20_000;
/// Maximum lines of the wanted text that are compared.
const WANTED_LINES: usize = 60;
/// Minimum average similarity of lines.
const ALIKE: f32 = 0.5;
/// Maximum number of different lines that are shown.
const SHOWN: usize = 6;
/// Maximum characters of a line that are shown.
const WIDTH: usize = 200;
/// Maximum number of matches that are listed.
const PLACES: usize = 6;
/// Maximum number of matches that are counted.
const COUNTED: usize = 100;
/// Maximum words of a line that are compared.
const WORDS: usize = 200;

/// The lines, from 1, at which `wanted` begins: the first hundred. Overlapping matches count.
pub fn places(text: &str, wanted: &str) -> Vec<usize> {
    let mut places = Vec::new();
    let (mut at, mut line) = (0, 1);
    while let Some(found) = text[at..].find(wanted) {
        line += text[at..at + found].matches('\n').count();
        places.push(line);
        let start = at + found;
        at = start + wanted.chars().next().map_or(1, char::len_utf8);
        line += text[start..at].matches('\n').count();
        if at >= text.len() || places.len() == COUNTED {
            break;
        }
    }
    places
}

/// Why `wanted` cannot be replaced in the file: how often it occurs, and its nearest match.
/// `None` if it occurs exactly once. When the budget is used up, the rest of the file is not searched.
pub fn explain_no_match(path: &str, text: &str, wanted: &str, budget: &Budget) -> Option<String> {
    let places = places(text, wanted);
    match places.len() {
        1 => None,
        0 => Some(format!("{OLD_TEXT_OCCURS}0 times in {path}. {}", nearest(text, wanted, budget))),
        times => Some(format!(
            "{OLD_TEXT_OCCURS}{}{times} times in {path}, beginning at {}. Take in more of the lines around the one you mean.",
            if times == COUNTED { "at least " } else { "" },
            lines_named(&places)
        )),
    }
}

fn lines_named(lines: &[usize]) -> String {
    let mut named: Vec<String> = lines.iter().take(PLACES).map(ToString::to_string).collect();
    if lines.len() > PLACES {
        named.push("…".into());
    }
    format!("line{} {}", if lines.len() == 1 { "" } else { "s" }, named.join(", "))
}

struct Line<'a> {
    text: &'a str,
    bare: u64,
    words: Vec<u64>,
}

impl<'a> Line<'a> {
    fn new(text: &'a str) -> Self {
        let bare: String = text.split_whitespace().collect();
        let mut words: Vec<u64> = text
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .filter(|word| !word.is_empty())
            .take(WORDS)
            .map(hash)
            .collect();
        words.sort_unstable();
        words.dedup();
        Self { text, bare: hash(&bare), words }
    }

    fn alike(&self, other: &Self) -> f32 {
        if self.bare == other.bare {
            return 1.0;
        }
        let common = self.words.iter().filter(|word| other.words.binary_search(word).is_ok()).count();
        let all = self.words.len() + other.words.len() - common;
        #[expect(clippy::cast_precision_loss, reason = "words of one line")]
        let share = if all == 0 { 0.0 } else { common as f32 / all as f32 };
        share * 0.9
    }
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// The lines of the file that are most similar to the wanted ones.
fn nearest(text: &str, wanted: &str, budget: &Budget) -> String {
    let lines: Vec<Line<'_>> = text.split('\n').take(FILE_LINES).map(Line::new).collect();
    let sought: Vec<Line<'_>> = wanted.trim_matches('\n').split('\n').take(WANTED_LINES).map(Line::new).collect();
    #[expect(clippy::cast_precision_loss, reason = "a bounded number of lines")]
    let score = |at: usize| -> f32 {
        let pairs = sought.iter().zip(&lines[at..]);
        pairs.map(|(wanted, line)| wanted.alike(line)).sum::<f32>() / sought.len() as f32
    };
    let scores: Vec<f32> = (0..lines.len()).take_while(|_| !budget.is_spent()).map(score).collect();
    let best = scores.iter().copied().fold(0.0, f32::max);
    if best < ALIKE {
        let first = wanted.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        return format!("No line of it is like {}: read the file to see what is there.", visible(first));
    }
    let at = scores.iter().position(|score| *score >= best).unwrap_or(0);
    let others: Vec<usize> =
        (at + 1..scores.len()).filter(|&other| scores[other] > best - 0.05).map(|at| at + 1).collect();
    let there = &lines[at..(at + sought.len()).min(lines.len())];
    let (first, last) = (at + 1, at + there.len());
    let span = if first == last { format!("line {first}") } else { format!("lines {first}–{last}") };
    let only_space = there.len() == sought.len() && there.iter().zip(&sought).all(|(a, b)| a.bare == b.bare);
    let mut out = format!("It nearly matches {span}");
    if !others.is_empty() {
        let _ = write!(out, " (and as nearly {})", lines_named(&others));
    }
    out.push_str(if only_space { "; only white space differs" } else { "" });
    let hints = white_space(text, wanted, there, &sought);
    if !hints.is_empty() {
        let _ = write!(out, " ({})", hints.join("; "));
    }
    out.push_str(":\n");
    let mut shown = 0;
    for (nth, wanted) in sought.iter().enumerate() {
        let here = there.get(nth).map_or("", |line| line.text);
        if here == wanted.text {
            continue;
        }
        if shown == SHOWN {
            out.push_str("… and further lines differ.\n");
            break;
        }
        shown += 1;
        let (number, here, wanted) = (at + nth + 1, visible(here), visible(wanted.text));
        let _ = write!(out, "line {number}\n  in the file: {here}\n  in old_text: {wanted}\n");
    }
    if shown == 0 {
        out.push_str(
            "the lines are the same, but not what stands before or after them on their first and last line.\n",
        );
    }
    out.push_str("Give old_text as it stands in the file.");
    out
}

/// A line with visible white space.
fn visible(line: &str) -> String {
    let cut: String = line.chars().take(WIDTH).collect();
    let more = if cut.len() < line.len() { "…" } else { "" };
    format!("“{}{more}”", cut.replace('\t', "⇥").replace('\r', "␍"))
}

fn white_space(text: &str, wanted: &str, there: &[Line<'_>], sought: &[Line<'_>]) -> Vec<&'static str> {
    let mut hints = Vec::new();
    if text.contains("\r\n") && !wanted.contains("\r\n") && wanted.contains('\n') {
        hints.push("the file ends its lines with CR LF, old_text with LF");
    }
    let indent = |line: &Line<'_>| line.text.len() - line.text.trim_start_matches([' ', '\t']).len();
    let pairs = || there.iter().zip(sought).filter(|(a, b)| a.bare == b.bare && a.text != b.text);
    if pairs().any(|(a, b)| a.text[..indent(a)].contains('\t') != b.text[..indent(b)].contains('\t')) {
        hints.push("one is indented with tabs, the other with spaces");
    } else if pairs().any(|(a, b)| indent(a) != indent(b)) {
        hints.push("they are indented differently");
    }
    let trailing = |line: &Line<'_>| line.text.trim_end_matches('\r').ends_with([' ', '\t']);
    if pairs().any(|(a, b)| trailing(a) != trailing(b)) {
        hints.push("there is white space at the end of a line");
    }
    hints
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng};

    const FILE: &str = "import os\n\ndef add(a, b):\n    total = a + b\n    return total\n\ndef mul(a, b):\n\ttotal = a * b\n\treturn total\n";

    #[test]
    fn a_single_match_needs_no_explanation_and_several_are_listed() {
        assert_eq!(explain_no_match("m.py", FILE, "def add", &Budget::unlimited()), None);
        let twice = explain_no_match("m.py", FILE, "return total", &Budget::unlimited()).unwrap();
        assert!(twice.starts_with("old_text occurs 2 times in m.py, beginning at lines 5, 9."), "{twice}");
        assert_eq!(places("aaa", "aa"), [1, 1]);
        assert_eq!(places("ä\nä\n", "\nä"), [1]);
        assert_eq!(places("x\nx\nx", "x\n"), [1, 2]);
    }

    #[test]
    fn differences_in_white_space_are_named() {
        let message =
            explain_no_match("m.py", FILE, "    total = a * b\n    return total", &Budget::unlimited()).unwrap();
        assert!(message.contains("0 times") && message.contains("lines 8–9; only white space differs"), "{message}");
        assert!(message.contains("one is indented with tabs"), "{message}");
        assert!(
            message.contains("line 8\n  in the file: “⇥total = a * b”\n  in old_text: “    total = a * b”"),
            "{message}"
        );
        let message = explain_no_match("m.py", FILE, "      total = a + b", &Budget::unlimited()).unwrap();
        assert!(message.contains("line 4") && message.contains("indented differently"), "{message}");
        let message = explain_no_match("a.txt", "one\r\ntwo\r\n", "one\ntwo", &Budget::unlimited()).unwrap();
        assert!(message.contains("CR LF"), "{message}");
        let message = explain_no_match("a.txt", "one word  \ntwo", "one word\ntwo", &Budget::unlimited()).unwrap();
        assert!(message.contains("white space at the end"), "{message}");
    }

    #[test]
    fn a_different_line_is_shown_beside_the_wanted_one() {
        let message = explain_no_match(
            "m.py",
            FILE,
            "def add(a, b):\n    total = a - b - 1\n    return total",
            &Budget::unlimited(),
        )
        .unwrap();
        assert!(message.contains("nearly matches lines 3–5"), "{message}");
        assert!(
            message.contains("line 4\n  in the file: “    total = a + b”\n  in old_text: “    total = a - b - 1”"),
            "{message}"
        );
        assert!(!message.contains("line 5\n"), "only what differs: {message}");
        let message = explain_no_match("m.py", FILE, "class Nothing: pass", &Budget::unlimited()).unwrap();
        assert!(message.contains("No line of it is like “class Nothing: pass”"), "{message}");
    }

    #[test]
    fn any_two_texts_can_be_compared() {
        let mut random = StdRng::seed_from_u64(21);
        let alphabet = ['a', 'b', ' ', '\n', '\t', '\r', 'é', '(', '😀'];
        let mut text = |max| -> String {
            (0..random.random_range(1..max)).map(|_| alphabet[random.random_range(0..alphabet.len())]).collect()
        };
        for _ in 0..3_000 {
            let (file, wanted) = (text(60), text(12));
            let count =
                (0..file.len()).filter(|&at| file.is_char_boundary(at) && file[at..].starts_with(&wanted)).count();
            assert_eq!(places(&file, &wanted).len(), count, "{file:?} {wanted:?}");
            assert_eq!(explain_no_match("f", &file, &wanted, &Budget::unlimited()).is_none(), count == 1);
        }
        let many = explain_no_match("f", &"a".repeat(100_000), &"a".repeat(50_000), &Budget::unlimited()).unwrap();
        assert!(many.starts_with("old_text occurs at least 100 times in f"), "{many}");
        let line = (0..100_000).map(|n| format!("w{n} ")).collect::<String>();
        let message =
            explain_no_match("f", &format!("{line}\n").repeat(3), &format!("{line}x"), &Budget::unlimited()).unwrap();
        assert!(message.len() < 2_000 && message.contains("nearly matches line 1"), "{message}");
        let message = explain_no_match("f", "x = 1\n", "x = 2", &Budget::of(std::time::Duration::ZERO)).unwrap();
        assert!(message.contains("0 times in f. No line of it is like"), "{message}");
        let long = "x = 1\n".repeat(50_000);
        assert!(
            explain_no_match("f", &long, "y = 2", &Budget::unlimited()).is_some_and(|message| message.len() < 2_000)
        );
    }
}
