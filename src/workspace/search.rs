//! Searching the work tree for a pattern.

use regex::RegexBuilder;

use super::files::is_binary;
use super::{Workspace, WorkspaceError};
use crate::domain::WorkspacePath;

/// Characters of a line that are shown.
const SHOWN_CHARS: usize = 200;
/// Bytes that a compiled pattern may take, so that a short one cannot become a huge automaton.
const PATTERN_BYTES: usize = 1024 * 1024;
/// Longest pattern, in bytes.
const PATTERN_MAX: usize = 1000;

/// A line that matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// The file.
    pub path: WorkspacePath,
    /// The line's number, from 1.
    pub line: u32,
    /// The line; of a long one, what is around the match.
    pub text: String,
}

impl Workspace {
    /// The first `max_hits` lines of text files that match a regular expression, in the order of
    /// paths and lines. Takes time in proportion to the app's size, whatever the pattern.
    pub fn search(&self, pattern: &str, max_hits: usize) -> Result<Vec<Hit>, WorkspaceError> {
        if pattern.is_empty() || pattern.len() > PATTERN_MAX {
            return Err(WorkspaceError::refused(format!("A pattern to search for has 1 to {PATTERN_MAX} bytes.")));
        }
        let pattern =
            RegexBuilder::new(pattern).size_limit(PATTERN_BYTES).dfa_size_limit(PATTERN_BYTES).build().map_err(
                |error| {
                    let why = error.to_string();
                    let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
                    WorkspaceError::refused(format!(
                        "This is not a regular expression that can be searched for ({why}): escape special characters with a backslash."
                    ))
                },
            )?;
        let tree = self.tree()?;
        let mut hits = Vec::new();
        for found in self.found(&tree)? {
            if found.stat.bytes > self.0.limits.file_bytes {
                continue;
            }
            let Some(bytes) = tree.read(&found.path, self.0.limits.total_bytes)? else { continue };
            if is_binary(&bytes) {
                continue;
            }
            let text = String::from_utf8_lossy(&bytes);
            for (line, number) in text.lines().zip(1..) {
                if hits.len() >= max_hits {
                    return Ok(hits);
                }
                if let Some(place) = pattern.find(line) {
                    hits.push(Hit { path: found.path.clone(), line: number, text: around(line, place.start()) });
                }
            }
        }
        Ok(hits)
    }
}

/// At most [`SHOWN_CHARS`] characters of a line, from a little before the byte `at`.
fn around(line: &str, at: usize) -> String {
    if line.chars().nth(SHOWN_CHARS).is_none() {
        return line.to_owned();
    }
    let start = line.floor_char_boundary(at.saturating_sub(SHOWN_CHARS / 4));
    let mut shown: String = line[start..].chars().take(SHOWN_CHARS).collect();
    if start + shown.len() < line.len() {
        shown.push('…');
    }
    if start > 0 {
        shown.insert(0, '…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, path};
    use super::*;

    #[test]
    fn lines_that_match_are_found() {
        let bench = Bench::new(&[("a.txt", "one\ntwo\nthree two\n"), ("b/c.txt", "TWO"), (".gitignore", "*.log\n")]);
        std::fs::write(bench.app.root().join("x.log"), "two").unwrap();
        std::fs::write(bench.app.root().join("bin"), b"two\0two").unwrap();
        let hits = bench.app.search("t[w]o", 10).unwrap();
        let places: Vec<_> = hits.iter().map(|hit| (hit.path.as_str(), hit.line, hit.text.as_str())).collect();
        assert_eq!(places, [("a.txt", 2, "two"), ("a.txt", 3, "three two")]);
        assert_eq!(bench.app.search("(?i)two", 10).unwrap().len(), 3);
        assert_eq!(bench.app.search("two", 1).unwrap().len(), 1);
        assert!(bench.app.search("nowhere", 10).unwrap().is_empty());
    }

    #[test]
    fn hostile_patterns_and_lines_are_bounded() {
        let line = format!("{}needle{}", "é".repeat(5000), "x".repeat(5000));
        let bench = Bench::new(&[("a.txt", &line)]);
        let hits = bench.app.search("needle", 10).unwrap();
        assert!(hits[0].text.contains("needle") && hits[0].text.chars().count() <= SHOWN_CHARS + 2);
        for bad in ["(", "", "a{1000}{1000}{1000}", &"a".repeat(PATTERN_MAX + 1)] {
            assert!(matches!(bench.app.search(bad, 10), Err(WorkspaceError::Refused(_))), "{bad}");
        }
        // Would take for ever where matching goes back and tries again.
        bench.app.write(&path("b.txt"), "a".repeat(20_000).as_bytes()).unwrap();
        assert!(bench.app.search("(a*)*(a*)*b$", 10).unwrap().is_empty());
    }
}
