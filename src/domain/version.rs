//! A version: a commit in an app's workspace.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Invalid, TurnId, VersionId};

/// The origin of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum VersionKind {
    /// The template's files.
    Scaffold,
    /// A turn of the model.
    Turn,
    /// A file that a user saved or deleted.
    Edit,
    /// A restored version.
    Restore,
}

impl VersionKind {
    /// The value in the API and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scaffold => "scaffold",
            Self::Turn => "turn",
            Self::Edit => "edit",
            Self::Restore => "restore",
        }
    }
}

impl std::str::FromStr for VersionKind {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        [Self::Scaffold, Self::Turn, Self::Edit, Self::Restore]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| Invalid::new(format!("“{text}” is not a kind of version.")))
    }
}

/// The size of a change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ChangeSize {
    /// Files added, changed or deleted.
    pub files: u32,
    /// Lines added.
    pub additions: u32,
    /// Lines removed.
    pub deletions: u32,
}

/// A file that a version changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChange {
    /// Its path.
    pub path: String,
    /// Lines added.
    pub additions: u32,
    /// Lines removed.
    pub deletions: u32,
}

/// A commit in the workspace. Every turn that changes files, every edit and every restore creates one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The commit.
    pub id: VersionId,
    /// Number within the app, from 1.
    pub number: u32,
    /// Its title, for example the first line of the user's message.
    pub title: String,
    /// Its origin.
    pub kind: VersionKind,
    /// The turn that created it, if any.
    pub turn: Option<TurnId>,
    /// Compared with the previous version.
    pub size: ChangeSize,
    /// When it was committed.
    pub created_at: Timestamp,
}
