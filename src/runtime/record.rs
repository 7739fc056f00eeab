//! What a run of a job prints: its lines, bounded, and the last of them for the error.

use std::collections::VecDeque;

use crate::output::Bounded;
use crate::output::LineSink;

/// Lines that are kept for the error.
const LAST_LINES: usize = 20;

/// The lines of one run on their way to whoever reads them.
pub(super) struct Record<'a> {
    output: Bounded<'a>,
    last: VecDeque<String>,
}

impl<'a> Record<'a> {
    pub(super) fn new(log: &'a dyn LineSink) -> Self {
        Self { output: Bounded::new(log), last: VecDeque::new() }
    }

    /// Takes the next line, and waits until there is room for one more.
    pub(super) async fn line(&mut self, line: String) {
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line.clone());
        self.output.line(line).await;
    }

    /// Notes that lines may be missing before the next one.
    pub(super) fn gap(&mut self) {
        self.output.gap();
    }

    /// The run is over: hands on what was kept for the end, and answers the last lines.
    pub(super) async fn end(mut self) -> Vec<String> {
        self.output.end().await;
        self.last.into()
    }
}
