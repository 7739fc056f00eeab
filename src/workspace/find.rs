//! Finds text in the files of a version, within limits of time, files, bytes and lines.

use std::ops::Range;
use std::time::Duration;

use regex::{Regex, RegexBuilder};

use super::tree::files_of;
use super::{Workspace, WorkspaceError, repo};
use crate::domain::{VersionId, WorkspacePath};

/// Maximum length of the text to find, in characters.
pub const WANTED_MAX: usize = 200;
/// Maximum size of a compiled pattern in bytes, because matching takes time that grows with it.
const PATTERN_COMPILED_MAX: usize = 1 << 20;

/// What to find.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The text, or a regular expression.
    pub text: String,
    /// Upper case differs from lower case.
    pub match_case: bool,
    /// The text is a regular expression.
    pub pattern: bool,
}

/// The limits of one search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FindLimits {
    /// How long it may take.
    pub time: Duration,
    /// Maximum bytes to search, over all files.
    pub bytes: u64,
    /// Maximum size of a file; larger ones are skipped.
    pub file_bytes: u64,
    /// Maximum length of a line in bytes; the rest of it is not searched.
    pub line_bytes: usize,
    /// Maximum number of lines that match.
    pub lines: usize,
    /// Maximum number of characters of a line that are returned.
    pub line_chars: usize,
}

impl Default for FindLimits {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(2),
            bytes: 64 * 1024 * 1024,
            file_bytes: 1024 * 1024,
            line_bytes: 20_000,
            lines: 300,
            line_chars: 200,
        }
    }
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The files with matches, by path.
    pub files: Vec<FoundFile>,
    /// How many lines match.
    pub lines: usize,
    /// How many files were searched.
    pub searched: usize,
    /// There are more matches: the limit of lines was reached.
    pub more: bool,
    /// The search ended early: the limit of time or of bytes was reached.
    pub late: bool,
    /// Text files that were skipped because they are too large.
    pub skipped: usize,
}

/// A file with matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundFile {
    /// Its path.
    pub path: WorkspacePath,
    /// The lines that match, and the lines around them, in order.
    pub lines: Vec<FoundLine>,
}

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundLine {
    /// Its number, counted from 1.
    pub number: usize,
    /// Its text, shortened around the first match.
    pub text: String,
    /// The matches in `text`, in bytes. A line without matches is the context of another.
    pub matches: Vec<Range<usize>>,
}

impl Workspace {
    /// Finds text in the files of a version. Binary files are not searched. The inner error says why the pattern is invalid.
    pub fn find(
        &self,
        version: &VersionId,
        wanted: &Wanted,
        limits: &FindLimits,
    ) -> Result<Result<Found, String>, WorkspaceError> {
        let pattern = match compile(wanted) {
            Ok(pattern) => pattern,
            Err(why) => return Ok(Err(why)),
        };
        let budget = self.0.budget.at_most(limits.time);
        let repo = self.repo()?;
        let odb = repo.odb()?;
        let mut found = Found::default();
        let mut bytes_left = limits.bytes;
        for (path, file) in files_of(&repo, &repo::commit_of(&repo, version)?.tree()?)? {
            if found.more {
                break;
            }
            let (size, _) = odb.read_header(file.id)?;
            if size as u64 > limits.file_bytes {
                found.skipped += 1;
                continue;
            }
            if budget.is_spent() || size as u64 > bytes_left {
                found.late = true;
                break;
            }
            bytes_left -= size as u64;
            let blob = repo.find_blob(file.id)?;
            let Ok(text) = std::str::from_utf8(blob.content()) else { continue };
            if text.contains('\0') {
                continue;
            }
            found.searched += 1;
            let lines = look(&pattern, text, limits, &mut found, || budget.is_spent());
            if !lines.is_empty() {
                let path = path.parse().map_err(|error: crate::domain::Invalid| WorkspaceError::Refused(error.0))?;
                found.files.push(FoundFile { path, lines });
            }
            if found.late {
                break;
            }
        }
        Ok(Ok(found))
    }
}

fn compile(wanted: &Wanted) -> Result<Regex, String> {
    if wanted.text.is_empty() {
        return Err("Enter the text to find.".to_owned());
    }
    if wanted.text.chars().nth(WANTED_MAX).is_some() {
        return Err(format!("The text to find can have at most {WANTED_MAX} characters."));
    }
    let pattern = if wanted.pattern { wanted.text.clone() } else { regex::escape(&wanted.text) };
    let built =
        RegexBuilder::new(&pattern).case_insensitive(!wanted.match_case).size_limit(PATTERN_COMPILED_MAX).build();
    built.map_err(|error| {
        let why = error.to_string();
        // The last line is the reason; those before it repeat the pattern.
        let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        format!("This is not a valid regular expression: {why}.")
    })
}

/// The lines of a text that match, each with the line before and the line after it.
fn look(
    pattern: &Regex,
    text: &str,
    limits: &FindLimits,
    found: &mut Found,
    is_spent: impl Fn() -> bool,
) -> Vec<FoundLine> {
    let mut lines: Vec<FoundLine> = Vec::new();
    let mut before: Option<(usize, &str)> = None;
    let mut wants_next = false;
    for (nth, line) in text.lines().enumerate() {
        let number = nth + 1;
        if nth % 64 == 0 && is_spent() {
            found.late = true;
            break;
        }
        let searched = &line[..line.floor_char_boundary(limits.line_bytes)];
        // An empty match, as of `x*`, marks nothing.
        let matches: Vec<Range<usize>> =
            pattern.find_iter(searched).map(|one| one.range()).filter(|range| !range.is_empty()).take(50).collect();
        if matches.is_empty() {
            if wants_next {
                lines.push(context(number, line, limits));
            }
            wants_next = false;
        } else {
            if found.lines == limits.lines {
                found.more = true;
                break;
            }
            found.lines += 1;
            if let Some((number, line)) =
                before.filter(|(number, _)| lines.last().is_none_or(|last| last.number < *number))
            {
                lines.push(context(number, line, limits));
            }
            lines.push(shortened(number, searched, line.len() > searched.len(), &matches, limits.line_chars));
            wants_next = true;
        }
        before = Some((number, line));
    }
    lines
}

fn context(number: usize, line: &str, limits: &FindLimits) -> FoundLine {
    let line = &line[..line.floor_char_boundary(limits.line_bytes)];
    shortened(number, line, false, &[], limits.line_chars)
}

/// A line of at most `most` characters, around the first match.
fn shortened(number: usize, line: &str, is_cut: bool, matches: &[Range<usize>], most: usize) -> FoundLine {
    let line = line.trim_end();
    let first = matches.first().map_or(0, |first| first.start.min(line.len()));
    let mut start = 0;
    if line[..first].chars().count() > most / 2 {
        // A quarter of the space is for what precedes the match.
        start = line[..first].char_indices().rev().nth(most / 4).map_or(0, |(at, _)| at);
    }
    let end = line[start..].char_indices().nth(most).map_or(line.len(), |(at, _)| start + at);
    let mut text = String::new();
    if start > 0 {
        text.push('…');
    }
    let shift = text.len();
    text.push_str(&line[start..end]);
    if end < line.len() || is_cut {
        text.push('…');
    }
    let matches = matches
        .iter()
        .filter(|range| range.start >= start && range.start < end)
        .map(|range| range.start - start + shift..range.end.min(end) - start + shift)
        .collect();
    FoundLine { number, text, matches }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;

    fn find(bench: &Bench, wanted: &Wanted, limits: &FindLimits) -> Found {
        bench.app.find(&bench.first, wanted, limits).unwrap().unwrap()
    }

    fn text(text: &str) -> Wanted {
        Wanted { text: text.to_owned(), ..Wanted::default() }
    }

    /// Each line as `number:text`, with the matches in brackets.
    fn shown(file: &FoundFile) -> Vec<String> {
        let line = |line: &FoundLine| {
            let mut text = line.text.clone();
            for range in line.matches.iter().rev() {
                text.insert(range.end, ']');
                text.insert(range.start, '[');
            }
            format!("{}:{text}", line.number)
        };
        file.lines.iter().map(line).collect()
    }

    #[test]
    fn lines_are_found_with_their_neighbours() {
        let bench = Bench::new(&[
            ("a.txt", "one\ntwo\nTide and tide\nfour\nfive\nsix\nseven\ntide\n"),
            ("b.bin", "tide\0"),
            ("c.txt", "nothing\n"),
        ]);
        let found = find(&bench, &text("tide"), &FindLimits::default());
        assert_eq!((found.files.len(), found.lines, found.searched, found.more, found.late), (1, 2, 2, false, false));
        assert_eq!(shown(&found.files[0]), ["2:two", "3:[Tide] and [tide]", "4:four", "7:seven", "8:[tide]"]);
        let exact = find(&bench, &Wanted { match_case: true, ..text("tide") }, &FindLimits::default());
        assert_eq!(shown(&exact.files[0])[1], "3:Tide and [tide]");
        // A text is no pattern.
        assert_eq!(find(&bench, &text("t.de"), &FindLimits::default()).lines, 0);
        let pattern = Wanted { pattern: true, ..text("t.de|x*") };
        assert_eq!(find(&bench, &pattern, &FindLimits::default()).lines, 3, "with the x of six");
    }

    #[test]
    fn a_long_line_is_shortened_around_the_match() {
        let line = format!("{}é needle {}\n", "ü".repeat(500), "z".repeat(500));
        let bench = Bench::new(&[("a.txt", &line)]);
        let found = find(&bench, &text("needle"), &FindLimits::default());
        let line = &found.files[0].lines[0];
        assert!(line.text.starts_with('…') && line.text.ends_with('…') && line.text.chars().count() <= 202);
        assert_eq!(&line.text[line.matches[0].clone()], "needle");
        let far = FindLimits { line_bytes: 100, ..FindLimits::default() };
        assert_eq!(find(&bench, &text("needle"), &far).lines, 0);
    }

    #[test]
    fn a_search_ends_at_each_limit() {
        let many = "needle\n".repeat(500);
        let bench = Bench::new(&[("a.txt", &many), ("b.txt", &many), ("c.txt", "needle\n")]);
        let all = FindLimits::default();
        let found = find(&bench, &text("needle"), &all);
        assert_eq!((found.lines, found.more, found.searched), (300, true, 1));
        let found = find(&bench, &text("needle"), &FindLimits { file_bytes: 100, ..all });
        assert_eq!((found.lines, found.skipped, found.more), (1, 2, false));
        let found = find(&bench, &text("needle"), &FindLimits { bytes: 4_000, lines: 1_000, ..all });
        assert_eq!((found.lines, found.late), (500, true));
        let found = find(&bench, &text("needle"), &FindLimits { time: Duration::ZERO, ..all });
        assert_eq!((found.lines, found.late), (0, true));
    }

    #[test]
    fn an_invalid_text_is_explained() {
        let bench = Bench::new(&[("a.txt", "a")]);
        let refusal =
            |wanted: &Wanted| bench.app.find(&bench.first, wanted, &FindLimits::default()).unwrap().unwrap_err();
        assert_eq!(refusal(&text("")), "Enter the text to find.");
        assert!(refusal(&text(&"x".repeat(201))).contains("at most 200"));
        let pattern = |pattern: &str| Wanted { pattern: true, ..text(pattern) };
        assert_eq!(refusal(&pattern("a(")), "This is not a valid regular expression: unclosed group.");
        assert!(refusal(&pattern("(((a{100}){100}){100}){100}")).contains("not a valid"));
    }
}
