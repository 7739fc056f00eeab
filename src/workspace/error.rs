//! What can go wrong in a workspace, so that callers can tell a caller's mistake from the machine's.

use std::io;

use crate::bounded_work::Spent;
use crate::domain::{AppName, VersionId};

/// Why a workspace did not do what was asked. The sentences are for users and for the model.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// No file stands at this path.
    #[error("There is no file “{0}”.")]
    NotFound(String),
    /// Not allowed here; the sentence says what to do instead.
    #[error("{0}")]
    Refused(String),
    /// Beyond one of the workspace's limits.
    #[error("{what} would have {actual} {unit}, and at most {limit} are allowed: make it smaller.")]
    TooLarge {
        /// What is too large: a file's path, or the app.
        what: String,
        /// How large it would be, in `unit`.
        actual: u64,
        /// How large it may be, in `unit`.
        limit: u64,
        /// `bytes` or `files`.
        unit: &'static str,
    },
    /// No such commit in this app's history.
    #[error("This app has no version {}.", .0.short())]
    UnknownVersion(VersionId),
    /// The app has no workspace.
    #[error("The app “{0}” has no workspace.")]
    NoWorkspace(AppName),
    /// A workspace of that name stands already.
    #[error("A workspace named “{0}” is already there.")]
    Exists(AppName),
    /// The file system has no room left.
    #[error("The disk is full: nothing was saved. Free some space and try again.")]
    DiskFull,
    /// Somebody else writes to the repository at this moment.
    #[error("The workspace is being changed by something else: try again in a moment.")]
    Busy,
    /// The time for it was up, or nobody waits for it any more.
    #[error("This took too long, so it was stopped. Nothing was changed.")]
    Stopped,
    /// The repository itself is not well.
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
        // libgit2 keeps the system's reason in the message alone.
        let message = error.message();
        if message.contains("No space left on device") || message.contains("quota exceeded") {
            return Self::DiskFull;
        }
        match error.code() {
            // Another writer holds a lock file, or moved the branch between our reading and writing it.
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
