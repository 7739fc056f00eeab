//! Why something does not run, in the words of whoever asked for it.

use std::time::Duration;

use crate::domain::ImageRef;
use crate::engine::Fault;

/// Why something does not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeError {
    /// The engine is not there.
    #[error("{0}")]
    Unavailable(String),
    /// The image is gone.
    #[error("The image {0} is no longer there. Build the version again.")]
    ImageMissing(ImageRef),
    /// It could not be made or started at all.
    #[error("The app could not be started: {0}")]
    CannotStart(String),
    /// It ended before it was ready.
    #[error("{}", exit_sentence(*code, *oom))]
    Exited {
        /// Its exit code.
        code: i64,
        /// It had used more memory than it may.
        oom: bool,
        /// The last lines that it wrote.
        lines: Vec<String>,
    },
    /// It runs, and did not answer as it should in time.
    #[error("The app runs, but was not ready within {} seconds: {last}", .waited.as_secs_f32().ceil())]
    NotReady {
        /// How long it was waited for.
        waited: Duration,
        /// What came of the last question, in a sentence.
        last: String,
        /// The last lines that it wrote.
        lines: Vec<String>,
    },
    /// Nothing is left of it.
    #[error("It does not run any more.")]
    Gone,
    /// It was stopped on request.
    #[error("It was stopped.")]
    Cancelled,
    /// The engine's disk is full.
    #[error(
        "The disk of the Docker engine is full. Delete apps that are not needed, or run `docker system prune`, and try again."
    )]
    DiskFull,
    /// All else, in the engine's words.
    #[error("The Docker engine reports: {0}")]
    Engine(String),
    /// The cluster is not there.
    #[error("The Kubernetes API server does not answer: {}", full_stop(.0))]
    ClusterUnavailable(String),
    /// All else, in the cluster's words.
    #[error("The Kubernetes cluster refuses: {}", full_stop(.0))]
    ClusterRefused(String),
    /// The cluster does not know us, or does not let us. Right after its start it may say so of anybody.
    #[error("The Kubernetes cluster refuses: {}", full_stop(.0))]
    ClusterDenied(String),
    /// There is a namespace of the app's name already.
    #[error("The namespace {namespace} is there already and is left alone: {whose}.")]
    NotOurs {
        /// Its name.
        namespace: String,
        /// Whose it is, as far as can be seen.
        whose: String,
    },
    /// The node cannot have the image.
    #[error("{}", full_stop(.0))]
    CannotPull(String),
    /// There is no room for it.
    #[error("{}", full_stop(.0))]
    NoRoom(String),
    /// It is ready, and traffic could not be switched to it.
    #[error("The new version is ready, but traffic could not be switched to it within {} seconds: {last}", .waited.as_secs_f32().ceil())]
    SwitchTimedOut {
        /// How long it was tried.
        waited: Duration,
        /// What it waited for last, in a sentence.
        last: String,
    },
    /// Somebody else deleted what was being deployed.
    #[error("{what} was deleted from outside while the new version came up.")]
    Deleted {
        /// What, in words.
        what: String,
    },
    /// The builder's own database does not say what should run.
    #[error("The builder's database cannot be read: {}", full_stop(.0))]
    StateUnreadable(String),
    /// A namespace that was deleted does not go.
    #[error("The namespace {namespace} was deleted and is still there: {}", full_stop(.held_by))]
    Stuck {
        /// Its name.
        namespace: String,
        /// What keeps it, in the cluster's words.
        held_by: String,
    },
}

impl RuntimeError {
    /// The last lines of the app that say why, where there are any.
    pub fn lines(&self) -> &[String] {
        match self {
            Self::Exited { lines, .. } | Self::NotReady { lines, .. } => lines,
            _ => &[],
        }
    }

    /// The runtime is away, and may come back.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::ClusterUnavailable(_))
    }
}

/// Somebody else's words as the end of a sentence of ours.
fn full_stop(text: &str) -> String {
    format!("{}.", text.trim_end_matches(['.', ' ', '\n']))
}

fn exit_sentence(code: i64, oom: bool) -> String {
    if oom {
        return "The app was ended while it started: it used more memory than it may.".to_owned();
    }
    match code {
        0 => "The app ended right after it started, without an error: it has to keep running and answer.".to_owned(),
        126 | 127 => format!("The app's command could not be run (exit code {code})."),
        _ => format!("The app ended while it started, with exit code {code}."),
    }
}

impl From<Fault> for RuntimeError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unavailable(_) => Self::Unavailable(fault.to_string()),
            Fault::DiskFull => Self::DiskFull,
            Fault::NotFound(_) => Self::Gone,
            Fault::Conflict(message) | Fault::Other(message) => Self::Engine(message),
        }
    }
}
