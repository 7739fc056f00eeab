//! The output of a build: its relevant lines, and the error of a failed build.

use std::collections::VecDeque;

use bollard::errors::Error;

use super::{BuildError, is_outage};
use crate::engine::Fault;
use crate::output::Bounded;
use crate::output::LineSink;
use crate::output::lines::Lines;

/// Number of last lines that are kept for the error.
const LAST_LINES: usize = 20;

/// Filters the engine's output, forwards a limited number of lines, and keeps the last ones.
pub(super) struct Output<'a> {
    lines: Lines,
    log: &'a dyn LineSink,
    bounded: Bounded<'a>,
    last: VecDeque<String>,
    /// The text for each of the engine's own steps; `None` hides a step.
    steps: Option<Vec<Option<String>>>,
}

impl<'a> Output<'a> {
    pub(super) fn new(log: &'a dyn LineSink) -> Self {
        Self { lines: Lines::default(), log, bounded: Bounded::new(log), last: VecDeque::new(), steps: None }
    }

    /// Reads a piece of the engine's output, which may end within a line.
    pub(super) async fn take(&mut self, piece: &str) {
        let mut lines = Vec::new();
        self.lines.push(piece.as_bytes(), &mut |line| lines.push(line));
        for line in lines {
            self.line(line).await;
        }
    }

    /// Logs a line of the builder itself.
    pub(super) async fn say(&mut self, line: impl Into<String>) {
        self.finish_line().await;
        self.line(line.into()).await;
    }

    /// The end of the build: logs the lines that were kept for the end.
    pub(super) async fn end(&mut self) {
        self.finish_line().await;
        self.bounded.end().await;
    }

    /// Sets the texts of the engine's own steps, by position; `None`: the engine's texts.
    pub(super) async fn show_steps(&mut self, steps: Option<Vec<Option<String>>>) {
        self.finish_line().await;
        self.steps = steps;
    }

    /// The engine's error of a step, which the log shows too.
    pub(super) async fn failed(&mut self, message: &str) -> BuildError {
        self.end().await;
        let message = explain(message.trim());
        self.log.line(message.clone()).await;
        BuildError::Failed { message, lines: self.last_lines() }
    }

    /// Reads a last line without a line break.
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
        // Output before a step is not the cause of its failure.
        if line.starts_with("Step ") {
            self.last.clear();
        } else if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line.clone());
        self.bounded.line(line).await;
    }

    /// The last lines of the current step.
    pub(super) fn last_lines(&self) -> Vec<String> {
        self.last.iter().cloned().collect()
    }

    /// The meaning of the error that ended the build.
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

/// The number of the step that starts: `Step 2/5 : …`.
fn place_of_step(line: &str) -> Option<usize> {
    line.strip_prefix("Step ")?.split_once('/')?.0.parse().ok()
}

/// Lines about the engine's intermediate images and containers, which are not useful for users.
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
            format!("“{command}” was killed during the build: a build step may use 1 GiB of memory.")
        } else {
            format!("“{command}” failed with exit code {} during the build.", code.trim())
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
        assert_eq!(message, "“false” failed with exit code 1 during the build.");
        assert_eq!(lines, ["Step 2/2 : RUN false", "half a line", "ERROR: no"]);
        assert_eq!(seen.lock().expect("no panic").len(), 5);

        let full = Error::DockerStreamError { error: "write /x: no space left on device".to_owned() };
        assert_eq!(output.failure(full).await, BuildError::DiskFull);
        let gone = Error::RequestTimeoutError;
        assert!(matches!(output.failure(gone).await, BuildError::Unavailable(_)));
    }
}
