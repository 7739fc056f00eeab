//! The search of the model's tool `search`: one pass over the files of a workspace, limited in time and output.
//!
//! Pure: the caller lists and reads the files. Run it off the async threads.

use regex::{Regex, RegexBuilder};

use super::ports::{FileEntry, SearchFound, SearchLimits};
use crate::bounded_work::Budget;
use crate::domain::WorkspacePath;

/// Maximum size of a compiled pattern in bytes, because matching takes time that grows with it.
const PATTERN_COMPILED_MAX: usize = 1 << 20;

/// Searches `files` in their order, within the budget and the limits. `read` returns a file's bytes, or `None` to skip
/// the file. The outer error is `read`'s; the inner one describes an invalid pattern.
pub fn run<E>(
    pattern: &str,
    limits: &SearchLimits,
    budget: &Budget,
    files: &[FileEntry],
    mut read: impl FnMut(&WorkspacePath) -> Result<Option<Vec<u8>>, E>,
) -> Result<Result<SearchFound, String>, E> {
    let regex = match compile(pattern) {
        Ok(regex) => regex,
        Err(why) => return Ok(Err(why)),
    };
    let budget = budget.at_most(limits.time);
    let mut found = SearchFound::default();
    for file in files.iter().take(limits.files).filter(|file| file.bytes <= limits.file_bytes) {
        if budget.is_spent() {
            found.late = true;
        }
        if found.more || found.late {
            break;
        }
        let text =
            read(&file.path)?.and_then(|bytes| String::from_utf8(bytes).ok()).filter(|text| !text.contains('\0'));
        if let Some(text) = text {
            look(&mut found, &regex, &file.path, &text, limits, &budget);
        }
    }
    Ok(Ok(found))
}

fn compile(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern).size_limit(PATTERN_COMPILED_MAX).build().map_err(|error| {
        let why = error.to_string();
        format!(
            "The pattern is not a valid regular expression: {}.",
            why.split_whitespace().collect::<Vec<_>>().join(" ")
        )
    })
}

fn look(
    found: &mut SearchFound,
    regex: &Regex,
    path: &WorkspacePath,
    text: &str,
    limits: &SearchLimits,
    budget: &Budget,
) {
    let before = found.lines.len();
    for (nth, line) in text.lines().enumerate() {
        if budget.is_spent() {
            found.late = true;
            break;
        }
        if !regex.is_match(&line[..line.floor_char_boundary(limits.line_bytes)]) {
            continue;
        }
        if found.lines.len() == limits.matches {
            found.more = true;
            break;
        }
        let shown: String = line.trim_end().chars().take(limits.match_chars).collect();
        found.lines.push(format!("{path}:{}: {shown}", nth + 1));
    }
    found.files += usize::from(found.lines.len() > before);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Searches these files; returns the result and the number of files that were read.
    fn search(pattern: &str, limits: &SearchLimits, budget: &Budget, files: &[(&str, &str)]) -> (SearchFound, usize) {
        let entry = |(path, text): &(&str, &str)| FileEntry { path: path.parse().unwrap(), bytes: text.len() as u64 };
        let entries: Vec<FileEntry> = files.iter().map(entry).collect();
        let mut reads = 0;
        let read = |path: &WorkspacePath| {
            reads += 1;
            let found = files.iter().find(|(name, _)| *name == path.as_str());
            Ok::<_, ()>(found.map(|(_, text)| text.as_bytes().to_vec()))
        };
        (run(pattern, limits, budget, &entries, read).unwrap().unwrap(), reads)
    }

    #[test]
    fn a_search_stops_at_each_limit() {
        let limits =
            SearchLimits { files: 3, file_bytes: 40, line_bytes: 10, matches: 3, match_chars: 8, ..Default::default() };
        let long = "needle ".repeat(20);
        let files =
            [("a", "needle\nhay\nneedle and more\n"), ("b", &*long), ("c", "0123456789needle\n\0"), ("d", "needle\n")];
        let (found, reads) = search("needle", &limits, &Budget::unlimited(), &files);
        assert_eq!((found.lines, found.files), (vec!["a:1: needle".to_owned(), "a:3: needle a".to_owned()], 1));
        assert_eq!((found.more, found.late, reads), (false, false, 2), "neither the large file nor the fourth is read");
        let (found, reads) = search(".", &limits, &Budget::unlimited(), &[("a", "1\n2\n3\n4\n"), ("b", "5\n")]);
        assert_eq!((found.lines.len(), found.more, reads), (3, true, 1));
    }

    #[test]
    fn a_search_stops_at_its_deadline() {
        let files = [("a", "needle\n"), ("b", "needle\n")];
        let limits = SearchLimits::default();
        let (found, reads) = search("needle", &limits, &Budget::of(Duration::ZERO), &files);
        assert_eq!((found.late, found.lines.len(), reads), (true, 0, 0));
        let none = SearchLimits { time: Duration::ZERO, ..limits };
        assert!(search("needle", &none, &Budget::unlimited(), &files).0.late, "the deadline covers all files");
        assert_eq!(search("needle", &limits, &Budget::unlimited(), &files).0.lines.len(), 2);
    }
}
