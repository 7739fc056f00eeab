//! The view of text that was found in files. Pure.

use askama::Template;

use crate::domain::AppName;
use crate::web::format::{count, encode_path};
use crate::web::ui;
use crate::workspace::{Found, FoundLine, Wanted};

/// The form, and what was found.
#[derive(Template)]
#[template(path = "app/find.html")]
pub struct FindPanel<'a> {
    /// The app.
    pub app: &'a AppName,
    /// What to find.
    pub wanted: &'a Wanted,
    /// The reason why it cannot be found.
    pub problem: Option<&'a str>,
    /// How much was found; none before the first search.
    pub summary: Option<String>,
    /// The files with matches.
    pub files: Vec<FoundFileView>,
}

/// A file with matches.
pub struct FoundFileView {
    path: String,
    href: String,
    lines: Vec<LineView>,
}

/// A line of a file.
struct LineView {
    number: usize,
    href: String,
    /// Pieces of its text, with whether they match.
    pieces: Vec<(bool, String)>,
    /// Lines before it are left out.
    after_gap: bool,
}

impl LineView {
    fn is_match(&self) -> bool {
        self.pieces.iter().any(|(is_match, _)| *is_match)
    }
}

impl<'a> FindPanel<'a> {
    /// The form without results.
    pub fn empty(app: &'a AppName, wanted: &'a Wanted, problem: Option<&'a str>) -> Self {
        Self { app, wanted, problem, summary: None, files: Vec::new() }
    }

    /// The form with what was found.
    pub fn of(app: &'a AppName, wanted: &'a Wanted, found: Found) -> Self {
        let summary = Some(summary(&found));
        let file = |file: crate::workspace::FoundFile| {
            let href = format!("/apps/{app}/code/{}", encode_path(file.path.as_str(), true));
            let mut before = None;
            let line = |line: FoundLine| {
                let after_gap = before.is_some_and(|before| line.number > before + 1);
                before = Some(line.number);
                LineView {
                    number: line.number,
                    href: format!("{href}#L{}", line.number),
                    pieces: pieces(&line),
                    after_gap,
                }
            };
            let lines = file.lines.into_iter().map(line).collect();
            FoundFileView { path: file.path.into(), href, lines }
        };
        let files = found.files.into_iter().map(file).collect();
        Self { app, wanted, problem: None, summary, files }
    }
}

fn summary(found: &Found) -> String {
    let searched = count(found.searched as u64, "text file", "text files");
    let mut summary = if found.lines == 0 {
        format!("Nothing was found in {searched}.")
    } else {
        let lines = count(found.lines as u64, "line", "lines");
        format!("{lines} in {}.", count(found.files.len() as u64, "file", "files"))
    };
    if found.more {
        summary.push_str(" There are more: narrow the text to see them.");
    }
    if found.late {
        summary.push_str(" The search took too long and ended early: some files were not searched.");
    }
    if found.skipped > 0 {
        let skipped = count(found.skipped as u64, "large file was", "large files were");
        summary = format!("{summary} {skipped} not searched.");
    }
    summary
}

fn pieces(line: &FoundLine) -> Vec<(bool, String)> {
    let mut pieces = Vec::new();
    let mut from = 0;
    for range in &line.matches {
        pieces.push((false, line.text[from..range.start].to_owned()));
        pieces.push((true, line.text[range.clone()].to_owned()));
        from = range.end;
    }
    pieces.push((false, line.text[from..].to_owned()));
    pieces.retain(|(_, text)| !text.is_empty());
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::samples;
    use crate::workspace::FoundFile;

    #[test]
    fn results_are_escaped_and_link_to_their_lines() {
        let app = samples::app().name;
        let line = |number, text: &str, matches: Vec<std::ops::Range<usize>>| FoundLine {
            number,
            text: text.to_owned(),
            matches,
        };
        let found = Found {
            files: vec![FoundFile {
                path: "a b/<c>.html".parse().expect("a path"),
                lines: vec![
                    line(3, "before", Vec::new()),
                    line(4, "<b>x</b> x", vec![3..4, 9..10]),
                    line(9, "x", std::iter::once(0..1).collect()),
                ],
            }],
            lines: 2,
            searched: 7,
            more: true,
            ..Found::default()
        };
        let wanted = Wanted { text: "x\"".to_owned(), match_case: true, pattern: false };
        let html = FindPanel::of(&app, &wanted, found).render().expect("renders");
        let page = samples::select(&html);
        assert_eq!(page.texts("mark"), ["x", "x", "x"]);
        assert_eq!(page.attribute(".match a", "href"), "/apps/brisk-otter/code/a%20b/%3Cc%3E.html#L4");
        assert_eq!(page.attribute("#find-text", "value"), "x\"");
        assert_eq!((page.count("li"), page.count(".match"), page.count(".after-gap"), page.count("b")), (3, 2, 1, 0));
        assert!(page.texts(".find-summary")[0].starts_with("2 lines in 1 file. There are more"));
        let none = FindPanel::of(&app, &wanted, Found { searched: 1, skipped: 2, ..Found::default() });
        assert_eq!(none.summary.as_deref(), Some("Nothing was found in 1 text file. 2 large files were not searched."));
    }
}
