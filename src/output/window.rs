//! A part of a log that is shown, found while the whole log passes by once.
//!
//! Bounded: at most [`WINDOW_LINES`] lines and [`WINDOW_BYTES`] are kept, and as many again while the log is read. Pure.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;

use super::LogLine;
use super::level::{Levels, LogLevel};
use super::needle::Needle;

/// Maximum number of lines of a window.
pub const WINDOW_LINES: usize = 1_000;
/// Maximum number of bytes of a window.
pub const WINDOW_BYTES: usize = 1024 * 1024;

/// Which lines are shown, and which are found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Lines that are less serious are left out. Lines without a level count as [`LogLevel::Info`].
    pub level: Option<LogLevel>,
    /// The searched words.
    pub needle: Option<Needle>,
}

impl Selection {
    /// Whether lines of this level are shown.
    pub fn shows(&self, level: Option<LogLevel>) -> bool {
        self.level.is_none_or(|least| level.unwrap_or(LogLevel::Info) >= least)
    }

    fn finds(&self, text: &str) -> bool {
        self.needle.as_ref().is_some_and(|needle| needle.is_in(text))
    }
}

/// The place in the log around which the window is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The end.
    End,
    /// The line with this id, or the first one after it.
    Line(i64),
    /// The last line that contains the searched words; the end if there is none.
    LastFound,
}

/// A line that is shown.
#[derive(Debug, PartialEq, Eq)]
pub struct Shown {
    /// Identifies the line in its log.
    pub id: Option<i64>,
    /// When it was written.
    pub at: Option<Timestamp>,
    /// Its level, if it says one.
    pub level: Option<LogLevel>,
    /// The deployment itself wrote it.
    pub is_deploy: bool,
    /// The text.
    pub text: String,
    /// It contains the searched words.
    pub is_found: bool,
    /// Its number among all lines that the selection shows, from zero.
    number: u64,
    /// Number of found lines before this one, and the id of the last of them.
    found_before: u64,
    previous_found: Option<i64>,
}

impl Shown {
    /// A line outside of a window.
    pub fn alone(line: LogLine, level: Option<LogLevel>) -> Self {
        Self {
            id: line.id(),
            at: line.at,
            level,
            is_deploy: false,
            text: line.text,
            is_found: false,
            number: 0,
            found_before: 0,
            previous_found: None,
        }
    }
}

/// A line that passes by.
#[derive(Debug)]
pub struct Passing {
    /// Identifies the line in its log.
    pub id: Option<i64>,
    /// When it was written.
    pub at: Option<Timestamp>,
    /// The deployment itself wrote it.
    pub is_deploy: bool,
    /// The text.
    pub text: String,
}

/// The lines that are shown, and what is around them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// The lines, oldest first.
    pub lines: Vec<Arc<Shown>>,
    /// Number of lines of the selection before the window that were read.
    pub earlier: u64,
    /// Number of lines of the selection after the window.
    pub later: u64,
    /// The line that the place means.
    pub current: Option<usize>,
    /// Number of found lines in the whole log.
    pub found: u64,
    /// Number of found lines before the window.
    pub found_before: u64,
    /// The last found line before the window.
    pub previous_found: Option<i64>,
    /// The first found line after the window.
    pub next_found: Option<i64>,
}

impl Window {
    /// The number of the current line among all found lines, from one.
    pub fn current_found(&self) -> Option<u64> {
        let line = self.lines.get(self.current?)?;
        line.is_found.then_some(line.found_before + 1)
    }

    /// The found line before the current line, or before the end.
    pub fn before_current(&self) -> Option<i64> {
        match self.current.and_then(|at| self.lines.get(at)) {
            Some(line) => line.previous_found,
            None => self.lines.iter().rev().find(|line| line.is_found).map_or(self.previous_found, |line| line.id),
        }
    }

    /// The found line after the current line.
    pub fn after_current(&self) -> Option<i64> {
        let after = self.lines.get(self.current? + 1..)?;
        after.iter().find(|line| line.is_found).map_or(self.next_found, |line| line.id)
    }
}

/// The last lines, limited in number and bytes.
#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<Arc<Shown>>,
    bytes: usize,
}

impl Ring {
    fn push(&mut self, line: Arc<Shown>) {
        self.bytes += line.text.len();
        self.lines.push_back(line);
        while self.lines.len() > WINDOW_LINES || self.bytes > WINDOW_BYTES {
            let Some(first) = self.lines.pop_front() else { return };
            self.bytes -= first.text.len();
        }
    }
}

/// Reads a log once and keeps the window.
#[derive(Debug)]
pub struct Scan {
    selection: Selection,
    place: Place,
    levels: Levels,
    /// The lines before the next one.
    recent: Ring,
    /// The number of the line that the place means.
    current: Option<u64>,
    /// That line has exactly the wanted id.
    is_exact: bool,
    /// Lines and bytes after it.
    after: (usize, usize),
    /// The window, once half of it is after that line.
    full: Option<VecDeque<Arc<Shown>>>,
    number: u64,
    found: u64,
    last_found: Option<i64>,
    next_found: Option<i64>,
}

impl Scan {
    /// Starts before the first line.
    pub fn new(selection: Selection, place: Place) -> Self {
        Self {
            selection,
            place,
            levels: Levels::default(),
            recent: Ring::default(),
            current: None,
            is_exact: false,
            after: (0, 0),
            full: None,
            number: 0,
            found: 0,
            last_found: None,
            next_found: None,
        }
    }

    /// Takes the next line.
    pub fn push(&mut self, passing: Passing) {
        let Passing { id, at, is_deploy, text } = passing;
        let level = self.levels.next(&text);
        if !self.selection.shows(level) {
            return;
        }
        let line = Arc::new(Shown {
            id,
            at,
            level,
            is_deploy,
            is_found: self.selection.finds(&text),
            text,
            number: self.number,
            found_before: self.found,
            previous_found: self.last_found,
        });
        self.number += 1;
        let is_place = match self.place {
            Place::End => false,
            // Lines of standard output and error may be some microseconds out of order.
            Place::Line(wanted) => {
                let is_exact = id == Some(wanted) && !self.is_exact;
                self.is_exact |= is_exact;
                is_exact || (self.current.is_none() && id.is_some_and(|id| id >= wanted))
            }
            Place::LastFound => line.is_found,
        };
        if is_place {
            (self.current, self.after, self.full, self.next_found) = (Some(line.number), (0, 0), None, None);
        } else if self.current.is_some() {
            if self.full.is_none() {
                self.after = (self.after.0 + 1, self.after.1 + line.text.len());
                if self.after.0 > WINDOW_LINES / 2 || self.after.1 > WINDOW_BYTES / 2 {
                    self.full = Some(self.recent.lines.clone());
                }
            }
            if self.full.is_some() && line.is_found && self.next_found.is_none() {
                self.next_found = line.id;
            }
        }
        if line.is_found {
            self.found += 1;
            self.last_found = line.id;
        }
        self.recent.push(line);
    }

    /// The window, after the last line.
    pub fn finish(self) -> Window {
        let lines: Vec<_> = self.full.unwrap_or(self.recent.lines).into();
        let current = self.current.and_then(|number| lines.iter().position(|line| line.number == number));
        let (Some(first), Some(last)) = (lines.first(), lines.last()) else { return Window::default() };
        Window {
            earlier: first.number,
            later: self.number - last.number - 1,
            current,
            found: self.found,
            found_before: first.found_before,
            previous_found: first.previous_found,
            next_found: self.next_found,
            lines,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(texts: impl Iterator<Item = String>, selection: Selection, place: Place) -> Window {
        let mut scan = Scan::new(selection, place);
        for (id, text) in (1..).zip(texts) {
            scan.push(Passing { id: Some(id), at: None, is_deploy: false, text });
        }
        scan.finish()
    }

    fn ids(window: &Window) -> (i64, i64) {
        let id = |line: Option<&Arc<Shown>>| line.and_then(|line| line.id).expect("a line");
        (id(window.lines.first()), id(window.lines.last()))
    }

    fn numbered(count: u32) -> impl Iterator<Item = String> {
        (1..=count).map(|number| format!("line {number}"))
    }

    fn searching(words: &str) -> Selection {
        Selection { needle: Needle::new(words), level: None }
    }

    #[test]
    fn the_end_of_a_log_is_shown() {
        let end = window(numbered(5_000), Selection::default(), Place::End);
        assert_eq!((ids(&end), end.earlier, end.later), ((4_001, 5_000), 4_000, 0));
        assert_eq!(window(numbered(0), Selection::default(), Place::End), Window::default());
    }

    #[test]
    fn a_line_is_shown_with_the_lines_around_it() {
        let half = WINDOW_LINES as u64 / 2;
        let there = window(numbered(5_000), Selection::default(), Place::Line(2_000));
        assert_eq!(there.current.map(|at| there.lines[at].id), Some(Some(2_000)));
        assert_eq!((there.earlier, there.later), (2_000 - half, 5_000 - 2_000 - half));
        let mut scan = Scan::new(Selection::default(), Place::Line(7));
        for id in [5, 8, 7, 9] {
            scan.push(Passing { id: Some(id), at: None, is_deploy: false, text: id.to_string() });
        }
        assert_eq!(scan.finish().current, Some(2), "lines may be out of order");
        let first = window(numbered(5_000), Selection::default(), Place::Line(-7));
        assert_eq!((first.current, first.earlier), (Some(0), 0), "the line is gone: the next one is shown");
        let beyond = window(numbered(5_000), Selection::default(), Place::Line(9_000));
        assert_eq!((beyond.current, ids(&beyond).1), (None, 5_000));
    }

    #[test]
    fn the_last_found_line_is_shown_and_all_are_counted() {
        let found = window(numbered(5_000), searching("LINE 20"), Place::LastFound);
        // 20, 200–209, 2000–2099
        assert_eq!(found.found, 111);
        assert_eq!(found.current.map(|at| found.lines[at].text.as_str()), Some("line 2099"));
        assert_eq!(
            (found.current_found(), found.before_current(), found.after_current()),
            (Some(111), Some(2_098), None)
        );
        assert_eq!((found.found_before, found.previous_found), (11, Some(209)));
        let many = window(numbered(5_000), searching("line"), Place::LastFound);
        assert_eq!((many.found, many.current_found(), many.later), (5_000, Some(5_000), 0));
        let none = window(numbered(5_000), searching("boat"), Place::LastFound);
        assert_eq!((none.found, none.current, ids(&none).1), (0, None, 5_000));
    }

    #[test]
    fn found_lines_outside_of_the_window_are_reachable() {
        let there = window(numbered(5_000), searching("0000"), Place::Line(2_500));
        assert_eq!((there.found, there.current_found()), (0, None));
        let there = window(numbered(5_000), searching("000"), Place::Line(2_500));
        // 1000, 2000, 3000, 4000, 5000
        assert_eq!((there.found, there.found_before), (5, 2));
        assert_eq!((there.before_current(), there.after_current()), (Some(2_000), Some(3_000)));
        assert_eq!((there.previous_found, there.next_found), (Some(2_000), Some(4_000)));
    }

    #[test]
    fn less_serious_lines_are_left_out() {
        let texts = || ["DEBUG a", "b", "WARN c", "ERROR d", "  e", "f"].map(str::to_owned).into_iter();
        let shown = |level| {
            let selection = Selection { level, needle: Needle::new("e") };
            let window = window(texts(), selection, Place::End);
            (window.lines.iter().filter_map(|line| line.text.trim().chars().last()).collect::<String>(), window.found)
        };
        assert_eq!(shown(None), ("abcdef".into(), 3));
        assert_eq!(shown(Some(LogLevel::Debug)), ("abcdef".into(), 3));
        assert_eq!(shown(Some(LogLevel::Info)), ("bcdef".into(), 2));
        assert_eq!(shown(Some(LogLevel::Warn)), ("cde".into(), 2));
        assert_eq!(shown(Some(LogLevel::Error)), ("de".into(), 2));
    }

    #[test]
    fn long_lines_are_bounded_by_their_bytes() {
        let long = |count| (0..count).map(|_| "x".repeat(4_096));
        for (selection, place) in [
            (Selection::default(), Place::End),
            (Selection::default(), Place::Line(1_000)),
            (searching("x"), Place::LastFound),
        ] {
            let window = window(long(2_000), selection, place);
            let bytes: usize = window.lines.iter().map(|line| line.text.len()).sum();
            assert!(bytes > WINDOW_BYTES / 2 - 8_192 && bytes <= WINDOW_BYTES + 4_096, "{place:?}: {bytes}");
        }
    }
}
