//! Keeps a turn from throwing away what it did not make: counts the lines of earlier files that it
//! deletes or rewrites, and asks before they are more than half.
//!
//! Pure but for reading those files once. A line that stands somewhere in what the turn wrote is
//! not lost: moving is not throwing away.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::domain::{Question, WorkspacePath};

/// As many lines may go without asking, however small the app.
const FREE_LINES: usize = 20;
/// Files that are named.
const NAMED: usize = 5;

/// What a turn found, and how much of it is lost by now.
#[derive(Debug, Default)]
pub struct Rewrites {
    /// The lines of each file as it was found.
    found: BTreeMap<WorkspacePath, Vec<u64>>,
    /// The lines of each file that the turn changed, as they stand now.
    now: BTreeMap<WorkspacePath, Vec<u64>>,
}

impl Rewrites {
    /// With the files that the turn found and has to be careful with.
    pub fn new(files: impl IntoIterator<Item = (WorkspacePath, String)>) -> Self {
        let found = files.into_iter().map(|(path, text)| (path, lines(&text))).collect();
        Self { found, now: BTreeMap::new() }
    }

    /// What to ask before `path` becomes `text` (none: before it is deleted); none where it may.
    pub fn question(&self, path: &WorkspacePath, text: Option<&str>) -> Option<Question> {
        let before = self.lost(None);
        let next = text.map(lines).unwrap_or_default();
        let after = self.lost(Some((path, &next)));
        let total: usize = self.found.values().map(Vec::len).sum();
        let lost: usize = after.values().sum();
        // What loses nothing further is not to blame.
        if lost <= FREE_LINES || lost * 2 <= total || lost <= before.values().sum() {
            return None;
        }
        let files: Vec<String> = after
            .iter()
            .filter(|(_, lost)| **lost > 0)
            .map(|(path, lost)| format!("{path} ({lost} of {})", self.found[*path].len()))
            .collect();
        let more = files.len().saturating_sub(NAMED);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        Some(Question::about_rewrite(&format!(
            "This would delete or rewrite more than half of what was there before: {lost} of {total} lines, in {}{more}. \
             Shall it go on?",
            files.into_iter().take(NAMED).collect::<Vec<_>>().join(", ")
        )))
    }

    /// Notes that `path` now is `text`, or was deleted.
    pub fn changed(&mut self, path: &WorkspacePath, text: Option<&str>) {
        self.now.insert(path.clone(), text.map(lines).unwrap_or_default());
    }

    /// Lost lines of each file that was found, with one more change in mind.
    fn lost(&self, change: Option<(&WorkspacePath, &[u64])>) -> BTreeMap<&WorkspacePath, usize> {
        let is_changed =
            |path: &WorkspacePath| self.now.contains_key(path) || change.is_some_and(|(changed, _)| changed == path);
        // What the turn wrote: a multiset from which each found line takes one.
        let mut there: HashMap<u64, usize> = HashMap::new();
        let kept = self.now.iter().filter(|(path, _)| change.is_none_or(|(changed, _)| changed != *path));
        for lines in kept.map(|(_, lines)| lines.as_slice()).chain(change.map(|(_, lines)| lines)) {
            for line in lines {
                *there.entry(*line).or_default() += 1;
            }
        }
        let touched = self.found.iter().filter(|(path, _)| is_changed(path));
        touched
            .map(|(path, found)| {
                let lost = found.iter().filter(|line| match there.get_mut(line) {
                    Some(left) if *left > 0 => {
                        *left -= 1;
                        false
                    }
                    _ => true,
                });
                (path, lost.count())
            })
            .collect()
    }
}

/// The lines that say something, whatever their indentation.
fn lines(text: &str) -> Vec<u64> {
    let bare = text.lines().map(str::trim).filter(|line| line.chars().any(char::is_alphanumeric));
    bare.map(|line| {
        let mut hasher = DefaultHasher::new();
        line.hash(&mut hasher);
        hasher.finish()
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> WorkspacePath {
        text.parse().unwrap()
    }

    fn text(name: &str, lines: usize) -> String {
        (0..lines).map(|n| format!("{name} {n}")).collect::<Vec<_>>().join("\n")
    }

    fn app() -> Rewrites {
        Rewrites::new([(path("a"), text("a", 60)), (path("b"), text("b", 40))])
    }

    #[test]
    fn less_than_half_needs_no_question() {
        let mut turn = app();
        assert_eq!(turn.question(&path("b"), None), None);
        turn.changed(&path("b"), None);
        // Ten lines of the other file make exactly half.
        let ten_less = text("a", 50);
        assert_eq!(turn.question(&path("a"), Some(&ten_less)), None);
        let eleven_less = text("a", 49);
        let question = turn.question(&path("a"), Some(&eleven_less)).unwrap();
        assert!(question.text.contains("51 of 100 lines, in a (11 of 60), b (40 of 40)"), "{}", question.text);
        assert_eq!(question.choices.len(), 2);
        // What loses nothing more may be done all the same.
        turn.changed(&path("a"), Some(&eleven_less));
        assert_eq!(turn.question(&path("new"), Some("x")), None);
        assert_eq!(turn.question(&path("a"), Some(&format!("{eleven_less}\nmore"))), None);
    }

    #[test]
    fn moving_and_indenting_lose_nothing() {
        let mut turn = app();
        turn.changed(&path("c"), Some(&text("a", 60)));
        assert_eq!(turn.question(&path("a"), None), None);
        turn.changed(&path("a"), None);
        let indented = text("b", 40).replace('\n', "\n    ");
        assert_eq!(turn.question(&path("b"), Some(&indented)), None);
        // But what was moved and then thrown away is lost.
        assert!(turn.question(&path("c"), Some("")).is_some());
    }

    #[test]
    fn small_apps_are_not_worth_a_question() {
        let small = Rewrites::new([(path("a"), text("a", FREE_LINES))]);
        assert_eq!(small.question(&path("a"), None), None);
        assert_eq!(Rewrites::default().question(&path("a"), Some("x")), None);
        let larger = Rewrites::new([(path("a"), text("a", FREE_LINES + 1))]);
        assert!(larger.question(&path("a"), Some("all new")).is_some());
    }
}
