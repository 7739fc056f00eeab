//! A build's output: what is worth showing of it, and what it says when it fails.

use std::collections::VecDeque;

use bollard::errors::Error;

use super::{BuildError, is_outage};
use crate::engine::Fault;
use crate::output::Bounded;
use crate::output::LineSink;
use crate::output::lines::Lines;

/// Lines that are kept for the error.
const LAST_LINES: usize = 20;

/// Reads the engine's output, hands the lines worth showing on, as far as they are bounded, and keeps the last.
pub(super) struct Output<'a> {
    lines: Lines,
    log: &'a dyn LineSink,
    bounded: Bounded<'a>,
    last: VecDeque<String>,
    /// What is shown for each of the engine's own steps, none for nothing.
    steps: Option<Vec<Option<String>>>,
}

impl<'a> Output<'a> {
    pub(super) fn new(log: &'a dyn LineSink) -> Self {
        Self { lines: Lines::default(), log, bounded: Bounded::new(log), last: VecDeque::new(), steps: None }
    }

    /// Takes a piece of the engine's output, which need not be whole lines.
    pub(super) async fn take(&mut self, piece: &str) {
        let mut lines = Vec::new();
        self.lines.push(piece.as_bytes(), &mut |line| lines.push(line));
        for line in lines {
            self.line(line).await;
        }
    }

    /// Says something of our own.
    pub(super) async fn say(&mut self, line: impl Into<String>) {
        self.finish_line().await;
        self.line(line.into()).await;
    }

    /// The build is over, however it ended: hands out what was kept for the end.
    pub(super) async fn end(&mut self) {
        self.finish_line().await;
        self.bounded.end().await;
    }

    /// Has the engine's own steps shown as these, by their place; none: as the engine says them.
    pub(super) async fn show_steps(&mut self, steps: Option<Vec<Option<String>>>) {
        self.finish_line().await;
        self.steps = steps;
    }

    /// A step's end in the engine's words, as an error that the log shows too.
    pub(super) async fn failed(&mut self, message: &str) -> BuildError {
        self.end().await;
        let message = explain(message.trim());
        self.log.line(message.clone()).await;
        BuildError::Failed { message, lines: self.last_lines() }
    }

    /// Takes a last line that has no line break.
    pub(super) async fn finish_line(&mut self) {
        let mut last = None;
        self.lines.finish(&mut |line| last = Some(line));
        if let Some(line) = last {
            self.line(line).await;
        }
    }

    async fn line(&mut self, mut line: String) {
        if is_bookkeeping(&line) {
            return;
        }
        if let (Some(steps), Some(place)) = (&self.steps, place_of_step(&line)) {
            match steps.get(place.saturating_sub(1)) {
                Some(Some(shown)) => line.clone_from(shown),
                _ => return,
            }
        }
        // What came before a step is not why the step fails.
        if line.starts_with("Step ") {
            self.last.clear();
        } else if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line.clone());
        self.bounded.line(line).await;
    }

    /// The last lines so far that a step wrote.
    pub(super) fn last_lines(&self) -> Vec<String> {
        self.last.iter().cloned().collect()
    }

    /// What the error that ended the build means.
    pub(super) async fn failure(&mut self, error: Error) -> BuildError {
        self.end().await;
        if is_outage(&error) {
            return Fault::from(error).into();
        }
        let message = match error {
            Error::DockerStreamError { error } => error,
            Error::DockerResponseServerError { message, .. } => message,
            other => other.to_string(),
        };
        if matches!(Fault::from_message(&message), Fault::DiskFull) {
            return BuildError::DiskFull;
        }
        self.failed(&message).await
    }
}

/// The number of the step that the engine begins: `Step 2/5 : …`.
fn place_of_step(line: &str) -> Option<usize> {
    line.strip_prefix("Step ")?.split_once('/')?.0.parse().ok()
}

/// What the engine says of its own intermediate images and containers, which tells a user nothing.
fn is_bookkeeping(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty()
        || line.starts_with("---> ")
        || line.starts_with("Removing intermediate container ")
        || line.starts_with("Removed intermediate container ")
        || line.starts_with("Successfully built ")
        || line.starts_with("Successfully tagged ")
        || line.starts_with("[Warning] One or more build-args")
}

/// The engine's message, as a sentence.
fn explain(message: &str) -> String {
    if let Some((command, code)) =
        message.strip_prefix("The command '").and_then(|rest| rest.split_once("' returned a non-zero code: "))
    {
        let command = command.strip_prefix("/bin/sh -c ").unwrap_or(command);
        return if code.trim() == "137" {
            format!("“{command}” was killed while the image was built: a build may use 1 GiB of memory.")
        } else {
            format!("“{command}” failed with exit code {} while the image was built.", code.trim())
        };
    }
    if message.contains("Cannot locate specified Dockerfile") {
        return "There is no Dockerfile at the top of the app's files.".to_owned();
    }
    message.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_lines_are_those_of_the_step_that_failed() {
        let seen = std::sync::Mutex::new(Vec::new());
        let log = |line: String| seen.lock().expect("no panic").push(line);
        let mut output = Output::new(&log);
        for piece in [
            "Step 1/2 : COPY a b\n",
            " ---> 0123456789ab\n",
            "Step 2/2 : RUN false\n",
            " ---> Running in 4711\n",
            "half ",
            "a line\n\u{1b}[91mERROR: no\n\u{1b}[0m",
        ] {
            output.take(piece).await;
        }
        let error = "The command '/bin/sh -c false' returned a non-zero code: 1".to_owned();
        let failed = output.failure(Error::DockerStreamError { error }).await;
        let BuildError::Failed { message, lines } = failed else { panic!("{failed:?}") };
        assert_eq!(message, "“false” failed with exit code 1 while the image was built.");
        assert_eq!(lines, ["Step 2/2 : RUN false", "half a line", "ERROR: no"]);
        assert_eq!(seen.lock().expect("no panic").len(), 5);

        let full = Error::DockerStreamError { error: "write /x: no space left on device".to_owned() };
        assert_eq!(output.failure(full).await, BuildError::DiskFull);
        let gone = Error::RequestTimeoutError;
        assert!(matches!(output.failure(gone).await, BuildError::Unavailable(_)));
    }
}
