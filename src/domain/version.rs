//! A version: a commit in an app's workspace.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Invalid, TurnId, VersionId};

/// Where a version came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum VersionKind {
    /// The template's files.
    Scaffold,
    /// A turn of the model.
    Turn,
    /// A file saved or deleted by hand.
    Edit,
    /// An earlier version put back.
    Restore,
}

impl VersionKind {
    /// The word used in the API and in the database.
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
            .ok_or_else(|| Invalid::new(format!("“{text}” is no kind of version.")))
    }
}

/// How much changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ChangeSize {
    /// Files added, changed or deleted.
    pub files: u32,
    /// Lines added.
    pub additions: u32,
    /// Lines removed.
    pub deletions: u32,
}

/// A commit in the workspace. Every turn that changed something, every edit and restore is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The commit.
    pub id: VersionId,
    /// Its place in the app's history, from 1.
    pub number: u32,
    /// What was asked, in one line.
    pub title: String,
    /// Where it came from.
    pub kind: VersionKind,
    /// The turn that made it, if one did.
    pub turn: Option<TurnId>,
    /// Against the version before.
    pub size: ChangeSize,
    /// When it was committed.
    pub created_at: Timestamp,
}
