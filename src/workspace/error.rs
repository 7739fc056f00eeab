//! Errors of workspaces, which distinguish mistakes of the caller from failures of the machine.

use std::io;

use crate::bounded_work::Spent;
use crate::domain::{AppName, VersionId};

/// Why an operation on a workspace failed. The sentences are for users and for the model.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// There is no file at this path.
    #[error("There is no file “{0}”.")]
    NotFound(String),
    /// Not permitted; the sentence says what to do instead.
    #[error("{0}")]
    Refused(String),
    /// One of the workspace's limits is exceeded.
    #[error("{what} would have {actual} {unit}, and at most {limit} are allowed: make it smaller.")]
    TooLarge {
        /// The subject that is too large: a file's path, or the app.
        what: String,
        /// Its size would be this, in `unit`.
        actual: u64,
        /// The limit, in `unit`.
        limit: u64,
        /// `bytes` or `files`.
        unit: &'static str,
    },
    /// There is no such commit in this app's history.
    #[error("This app has no version {}.", .0.short())]
    UnknownVersion(VersionId),
    /// The app has no workspace.
    #[error("The app “{0}” has no workspace.")]
    NoWorkspace(AppName),
    /// A workspace of that name exists already.
    #[error("A workspace named “{0}” is already there.")]
    Exists(AppName),
    /// The disk is full.
    #[error("The disk is full: nothing was saved. Free some space and try again.")]
    DiskFull,
    /// Another writer is changing the repository.
    #[error("The workspace is being changed by something else: try again in a moment.")]
    Busy,
    /// The time limit was exceeded, or the caller stopped waiting.
    #[error("This took too long, so it was stopped. Nothing was changed.")]
    Stopped,
    /// The repository is damaged or cannot be used.
    #[error("The app's repository cannot be used: {}", .0.message())]
    Git(#[source] git2::Error),
    /// The file system failed.
    #[error("The workspace's files cannot be used: {0}")]
    Io(#[source] io::Error),
}

impl WorkspaceError {
    /// A refusal with this sentence.
    pub(super) fn refused(sentence: impl Into<String>) -> Self {
        Self::Refused(sentence.into())
    }
}

impl From<Spent> for WorkspaceError {
    fn from(_: Spent) -> Self {
        Self::Stopped
    }
}

impl From<io::Error> for WorkspaceError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull,
            _ => Self::Io(error),
        }
    }
}

impl From<git2::Error> for WorkspaceError {
    fn from(error: git2::Error) -> Self {
        // libgit2 reports the system's error only in the message.
        let message = error.message();
        if message.contains("No space left on device") || message.contains("quota exceeded") {
            return Self::DiskFull;
        }
        match error.code() {
            // Another writer holds a lock file, or moved the branch after it was read.
            git2::ErrorCode::Locked | git2::ErrorCode::Modified => Self::Busy,
            _ => Self::Git(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_full_disk_is_known_as_one() {
        let mut full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let error = full.write_all(b"x").unwrap_err();
        assert!(matches!(WorkspaceError::from(error), WorkspaceError::DiskFull));
        let error = git2::Error::new(
            git2::ErrorCode::GenericError,
            git2::ErrorClass::Os,
            "failed to write to '/x/.git/objects/tmp': No space left on device",
        );
        assert!(matches!(WorkspaceError::from(error), WorkspaceError::DiskFull));
        let error = git2::Error::new(git2::ErrorCode::Locked, git2::ErrorClass::Index, "locked");
        assert!(matches!(WorkspaceError::from(error), WorkspaceError::Busy));
        let error = git2::Error::new(git2::ErrorCode::Invalid, git2::ErrorClass::Odb, "bad object");
        assert!(matches!(WorkspaceError::from(error), WorkspaceError::Git(_)));
    }
}
