//! A build's output: what is worth showing of it, and what it says when it fails.

use std::collections::VecDeque;

use bollard::errors::Error;

use super::{BuildError, is_outage};
use crate::engine::Fault;
use crate::engine::line::Lines;

/// Lines that are kept for the error.
const LAST_LINES: usize = 20;

/// Reads the engine's output, hands the lines worth showing on, and keeps the last.
pub(super) struct Output<'a> {
    lines: Lines,
    each: Each<'a>,
}

struct Each<'a> {
    log: &'a (dyn Fn(String) + Send + Sync),
    last: VecDeque<String>,
}

impl<'a> Output<'a> {
    pub(super) fn new(log: &'a (dyn Fn(String) + Send + Sync)) -> Self {
        Self { lines: Lines::default(), each: Each { log, last: VecDeque::new() } }
    }

    /// Takes a piece of the engine's output, which need not be whole lines.
    pub(super) fn take(&mut self, piece: &str) {
        let each = &mut self.each;
        self.lines.push(piece.as_bytes(), &mut |line| each.line(line));
    }

    /// Says something of our own.
    pub(super) fn say(&mut self, line: impl Into<String>) {
        self.finish();
        self.each.line(line.into());
    }

    /// Hands out a last line that has no line break.
    pub(super) fn finish(&mut self) {
        let each = &mut self.each;
        self.lines.finish(&mut |line| each.line(line));
    }

    /// The last lines so far that a step wrote.
    pub(super) fn last_lines(&self) -> Vec<String> {
        self.each.last.iter().cloned().collect()
    }

    /// What the error that ended the build means.
    pub(super) fn failure(&mut self, error: Error) -> BuildError {
        self.finish();
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
        let message = explain(message.trim());
        (self.each.log)(message.clone());
        BuildError::Failed { message, lines: self.last_lines() }
    }
}

impl Each<'_> {
    fn line(&mut self, line: String) {
        if is_bookkeeping(&line) {
            return;
        }
        // What came before a step is not why the step fails.
        if line.starts_with("Step ") {
            self.last.clear();
        } else if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line.clone());
        (self.log)(line);
    }
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

    #[test]
    fn the_last_lines_are_those_of_the_step_that_failed() {
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
            output.take(piece);
        }
        let error = "The command '/bin/sh -c false' returned a non-zero code: 1".to_owned();
        let failed = output.failure(Error::DockerStreamError { error });
        let BuildError::Failed { message, lines } = failed else { panic!("{failed:?}") };
        assert_eq!(message, "“false” failed with exit code 1 while the image was built.");
        assert_eq!(lines, ["Step 2/2 : RUN false", "half a line", "ERROR: no"]);
        assert_eq!(seen.lock().expect("no panic").len(), 5);

        let full = Error::DockerStreamError { error: "write /x: no space left on device".to_owned() };
        assert_eq!(output.failure(full), BuildError::DiskFull);
        let gone = Error::RequestTimeoutError;
        assert!(matches!(output.failure(gone), BuildError::Unavailable(_)));
    }
}
