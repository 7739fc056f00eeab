//! The output of a job's run: its lines, limited, and the last ones for an error message.

use std::collections::VecDeque;

use crate::output::Bounded;
use crate::output::LineSink;

/// Number of lines that are kept for an error message.
const LAST_LINES: usize = 20;

/// Forwards the lines of one run to its reader.
pub(super) struct Record<'a> {
    output: Bounded<'a>,
    last: VecDeque<String>,
}

impl<'a> Record<'a> {
    pub(super) fn new(log: &'a dyn LineSink) -> Self {
        Self { output: Bounded::new(log), last: VecDeque::new() }
    }

    /// Takes the next line, and waits until the reader has room for it.
    pub(super) async fn line(&mut self, line: String) {
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line.clone());
        self.output.line(line).await;
    }

    /// Notes that lines before the next one may be missing.
    pub(super) fn gap(&mut self) {
        self.output.gap();
    }

    /// Ends the output: forwards its last part, and returns the last lines.
    pub(super) async fn end(mut self) -> Vec<String> {
        self.output.end().await;
        self.last.into()
    }
}
