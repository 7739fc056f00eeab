//! Protects existing files in a turn: counts the lines of earlier files that it
//! deletes or rewrites, and asks the user before they are more than half.
//!
//! Pure, except that it reads those files once. A line that occurs somewhere in the turn's output is
//! not lost, so moved lines do not count.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::domain::{Bytes, Question, WorkspacePath};
use crate::generation::ports::{Content, ProtectedFile};

/// This many lines may always be deleted, but not a whole file that a user created.
const FREE_LINES: usize = 20;
/// Maximum number of files that the question names.
const NAMED: usize = 5;
/// A binary file counts as one line per this many bytes, up to a maximum number of lines.
const BINARY_LINE: u64 = 256;
const BINARY_LINES: u64 = 200;
/// Maximum lines of a file that count; changes further down are ignored.
const FILE_LINES: usize = 20_000;
/// Maximum lines of all files that count. They are counted at each write, which has to stay fast.
const ALL_LINES: usize = 200_000;

/// The files before the turn, and the lines that are lost so far.
#[derive(Debug, Default)]
pub struct Rewrites {
    /// Each file before the turn.
    found: BTreeMap<WorkspacePath, Found>,
    /// The current lines of each changed file.
    now: BTreeMap<WorkspacePath, Vec<u64>>,
}

/// A file before the turn.
#[derive(Debug)]
struct Found {
    lines: Vec<u64>,
    /// Its size, if it is a binary file.
    binary: Option<Bytes>,
    by_hand: bool,
}

impl Rewrites {
    /// With the protected files, and their changes before this turn.
    pub fn new(files: impl IntoIterator<Item = ProtectedFile>) -> Self {
        let mut rewrites = Self::default();
        let mut left = ALL_LINES;
        for ProtectedFile { path, before, now, by_hand } in files {
            if now != before {
                rewrites.now.insert(path.clone(), now.map(|now| weighed(&path, &now)).unwrap_or_default());
            }
            if let Some(before) = before {
                let binary = match before {
                    Content::Text(_) => None,
                    Content::Binary(bytes) => Some(Bytes(bytes)),
                };
                let mut lines = weighed(&path, &before);
                lines.truncate(left);
                left -= lines.len();
                rewrites.found.insert(path, Found { lines, binary, by_hand });
            }
        }
        rewrites
    }

    /// The question before `path` becomes `text` (`None`: is deleted); no question if the change is allowed.
    pub fn question(&self, path: &WorkspacePath, text: Option<&str>) -> Option<Question> {
        let before = self.lost(None);
        let next = text.map(lines).unwrap_or_default();
        let after = self.lost(Some((path, &next)));
        let total: usize = self.found.values().map(|file| file.lines.len()).sum();
        let lost: usize = after.values().sum();
        let throws_away = next.is_empty()
            && self.found.get(path).is_some_and(|file| file.by_hand && after.get(path) == Some(&file.lines.len()));
        let is_little = lost <= FREE_LINES && !throws_away;
        // A change that loses no further lines is allowed.
        if is_little || lost * 2 <= total || lost <= before.values().sum() {
            return None;
        }
        let lossy: Vec<(&WorkspacePath, usize)> = after.into_iter().filter(|(_, lost)| *lost > 0).collect();
        let files = lossy.iter().take(NAMED).map(|(path, lost)| match &self.found[*path] {
            Found { binary: Some(bytes), .. } => format!("{path} ({bytes})"),
            Found { lines, .. } => format!("{path} ({lost} of {})", lines.len()),
        });
        let files = files.collect::<Vec<_>>().join(", ");
        let more = match lossy.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        // With binary files, a number of lines would be misleading.
        let lines = if self.found.values().any(|file| file.binary.is_some()) {
            String::new()
        } else {
            format!("{lost} of {total} lines, ")
        };
        Some(Question::about_rewrite(&format!(
            "This would delete or rewrite more than half of your code: {lines}in {files}{more}. Continue?"
        )))
    }

    /// Records that `path` now is `text`, or was deleted.
    pub fn changed(&mut self, path: &WorkspacePath, text: Option<&str>) {
        self.now.insert(path.clone(), text.map(lines).unwrap_or_default());
    }

    /// Lost lines of each protected file, including one more change.
    fn lost(&self, change: Option<(&WorkspacePath, &[u64])>) -> BTreeMap<&WorkspacePath, usize> {
        let is_changed =
            |path: &WorkspacePath| self.now.contains_key(path) || change.is_some_and(|(changed, _)| changed == path);
        // The lines that the turn wrote: a multiset from which each old line takes one.
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
                let lost = found.lines.iter().filter(|line| match there.get_mut(line) {
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

/// The lines that a file counts for.
fn weighed(path: &WorkspacePath, content: &Content) -> Vec<u64> {
    match content {
        Content::Text(text) => lines(text),
        Content::Binary(bytes) => {
            let count = (bytes / BINARY_LINE).clamp(1, BINARY_LINES);
            (0..count).map(|nth| hash(&(path.as_str(), bytes, nth))).collect()
        }
    }
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The lines that are not blank, without indentation.
fn lines(text: &str) -> Vec<u64> {
    let bare = text.lines().map(str::trim).filter(|line| line.chars().any(char::is_alphanumeric));
    bare.take(FILE_LINES).map(|line| hash(&line)).collect()
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

    fn file(name: &str, content: Content, by_hand: bool) -> ProtectedFile {
        ProtectedFile { path: path(name), before: Some(content.clone()), now: Some(content), by_hand }
    }

    fn with(name: &str, lines: usize) -> ProtectedFile {
        file(name, Content::Text(text(name, lines)), false)
    }

    fn app() -> Rewrites {
        Rewrites::new([with("a", 60), with("b", 40)])
    }

    #[test]
    fn less_than_half_needs_no_question() {
        let mut turn = app();
        assert_eq!(turn.question(&path("b"), None), None);
        turn.changed(&path("b"), None);
        // With ten lines of the other file it is exactly half.
        let ten_less = text("a", 50);
        assert_eq!(turn.question(&path("a"), Some(&ten_less)), None);
        let eleven_less = text("a", 49);
        let question = turn.question(&path("a"), Some(&eleven_less)).unwrap();
        assert!(question.text.contains("51 of 100 lines, in a (11 of 60), b (40 of 40)"), "{}", question.text);
        assert_eq!(question.choices.len(), 2);
        // Changes that lose nothing more are still allowed.
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
        // But lines that were moved and then deleted are lost.
        assert!(turn.question(&path("c"), Some("")).is_some());
    }

    #[test]
    fn the_number_of_counted_lines_is_bounded() {
        let text = (0..30_000).map(|n| format!("{n}\n")).collect::<String>();
        let names: Vec<String> = (0..15).map(|n| format!("{n}.txt")).collect();
        let turn = Rewrites::new(names.iter().map(|name| file(name, Content::Text(text.clone()), false)));
        assert_eq!(turn.found.values().map(|file| file.lines.len()).sum::<usize>(), ALL_LINES);
        assert!(turn.found.values().all(|file| file.lines.len() <= FILE_LINES));
    }

    #[test]
    fn small_apps_need_no_question() {
        let small = Rewrites::new([with("a", FREE_LINES)]);
        assert_eq!(small.question(&path("a"), None), None);
        assert_eq!(Rewrites::default().question(&path("a"), Some("x")), None);
        let larger = Rewrites::new([with("a", FREE_LINES + 1)]);
        assert!(larger.question(&path("a"), Some("all new")).is_some());
    }

    #[test]
    fn deleting_a_small_file_of_a_user_needs_a_question() {
        let notes = || file("notes.txt", Content::Text(text("note", 15)), true);
        let mut turn = Rewrites::new([notes()]);
        let question = turn.question(&path("notes.txt"), None).expect("all of it");
        assert!(question.text.contains("15 of 15 lines, in notes.txt"), "{}", question.text);
        assert_eq!(turn.question(&path("notes.txt"), Some("all new")), None, "an edit is free");
        turn.changed(&path("moved.txt"), Some(&text("note", 15)));
        assert_eq!(turn.question(&path("notes.txt"), None), None, "moved");
        assert_eq!(Rewrites::new([notes(), with("a", 60)]).question(&path("notes.txt"), None), None, "a small part");
    }

    #[test]
    fn binary_files_count_by_their_size() {
        let turn = Rewrites::new([file("photo.png", Content::Binary(300_000), false), with("a", 60)]);
        let question = turn.question(&path("photo.png"), None).expect("most of it");
        assert!(question.text.contains("code: in photo.png (292 KiB). Continue?"), "{}", question.text);
        assert_eq!(turn.question(&path("a"), None), None);
        let turn = Rewrites::new([file("dot.png", Content::Binary(70), false), with("a", 60)]);
        assert_eq!(turn.question(&path("dot.png"), None), None, "next to nothing");
        assert!(turn.question(&path("a"), None).is_some());
    }

    #[test]
    fn files_that_the_same_work_created_are_not_protected() {
        let before = |name: &str, before: Option<&str>, now: Option<&str>| {
            let content = |text: Option<&str>| text.map(|text| Content::Text(text.to_owned()));
            ProtectedFile { path: path(name), before: content(before), now: content(now), by_hand: false }
        };
        let (old, new) = (text("old", 60), text("new", 60));
        let mut turn = Rewrites::new([before("old", Some(&old), Some(&old)), before("new", None, Some(&new))]);
        assert_eq!(turn.question(&path("new"), None), None, "its own");
        turn.changed(&path("new"), None);
        assert!(turn.question(&path("old"), None).is_some());
        // Lines that were lost before this turn count as lost, moved lines do not.
        let turn = Rewrites::new([before("a", Some(&old), None), before("b", Some(&new), Some(&new))]);
        assert!(turn.question(&path("b"), Some(&text("new", 59))).is_some());
        let turn = Rewrites::new([before("a", Some(&old), None), before("moved", None, Some(&old)), with("c", 60)]);
        assert_eq!(turn.question(&path("c"), Some(&text("c", 30))), None);
    }
}
