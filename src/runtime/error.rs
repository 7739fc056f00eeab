//! Why something does not run, in terms of the job that requested it.

use std::time::Duration;

use crate::domain::ImageRef;
use crate::engine::Fault;

/// Why something does not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeError {
    /// The engine is not available.
    #[error("{0}")]
    Unavailable(String),
    /// The image was removed.
    #[error("The image {0} is no longer there. Build the version again.")]
    ImageMissing(ImageRef),
    /// It could not be created or started.
    #[error("The app could not be started: {0}")]
    CannotStart(String),
    /// It ended before it was ready.
    #[error("{}", exit_sentence(*code, *oom))]
    Exited {
        /// Its exit code.
        code: i64,
        /// It exceeded its memory limit.
        oom: bool,
        /// The last lines that it wrote.
        lines: Vec<String>,
    },
    /// It runs, but was not ready in time.
    #[error("The app runs, but was not ready within {} seconds: {last}", .waited.as_secs_f32().ceil())]
    NotReady {
        /// How long the caller waited.
        waited: Duration,
        /// The result of the last probe, in a sentence.
        last: String,
        /// The last lines that it wrote.
        lines: Vec<String>,
    },
    /// It does not exist any more.
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
    /// Any other error, in the engine's words.
    #[error("The Docker engine reports: {0}")]
    Engine(String),
    /// The cluster is not available.
    #[error("The Kubernetes API server does not answer: {}", full_stop(.0))]
    ClusterUnavailable(String),
    /// Any other refusal, in the cluster's words.
    #[error("The Kubernetes cluster refuses: {}", full_stop(.0))]
    ClusterRefused(String),
    /// The cluster rejects the builder's identity or permissions. Right after its start it may reject every client.
    #[error("The Kubernetes cluster refuses: {}", full_stop(.0))]
    ClusterDenied(String),
    /// A namespace with the app's name exists already, and belongs to another owner.
    #[error("The namespace {namespace} is there already and is left alone: {whose}.")]
    NotOurs {
        /// Its name.
        namespace: String,
        /// Its owner, as far as its labels show it.
        whose: String,
    },
    /// The node cannot pull the image.
    #[error("{}", full_stop(.0))]
    CannotPull(String),
    /// The cluster has no room for it.
    #[error("{}", full_stop(.0))]
    NoRoom(String),
    /// It is ready, and traffic could not be switched to it.
    #[error("The new version is ready, but traffic could not be switched to it within {} seconds: {last}", .waited.as_secs_f32().ceil())]
    SwitchTimedOut {
        /// How long the switch was tried.
        waited: Duration,
        /// What it waited for at the end, in a sentence.
        last: String,
    },
    /// What was being deployed was deleted by another client.
    #[error("{what} was deleted from outside while the new version came up.")]
    Deleted {
        /// The deleted object, in words.
        what: String,
    },
    /// The desired state cannot be read from the builder's own database.
    #[error("The builder's database cannot be read: {}", full_stop(.0))]
    StateUnreadable(String),
    /// A deleted namespace is not removed.
    #[error("The namespace {namespace} was deleted and is still there: {}", full_stop(.held_by))]
    Stuck {
        /// Its name.
        namespace: String,
        /// The reason for the delay, in the cluster's words.
        held_by: String,
    },
}

impl RuntimeError {
    /// The last lines of the app's log that explain the error, if there are any.
    pub fn lines(&self) -> &[String] {
        match self {
            Self::Exited { lines, .. } | Self::NotReady { lines, .. } => lines,
            _ => &[],
        }
    }

    /// Whether the runtime is temporarily unavailable.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::ClusterUnavailable(_))
    }
}

/// Formats foreign text as the end of one of Slipway's sentences.
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
