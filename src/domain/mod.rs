//! The terms of Slipway as types: names, apps, versions, releases, jobs, events, time.
//!
//! Pure: no I/O, and no imports of other modules. Every string from outside is parsed into one of these
//! types at the edge, or rejected there.

pub mod app;
pub mod attachment;
mod author;
pub mod clock;
pub mod deployment;
pub mod event;
pub mod history;
mod ids;
pub mod job;
pub mod model;
pub mod name;
pub mod network;
pub mod page;
pub mod path;
pub mod principal;
pub mod redaction;
pub mod release;
pub mod repair;
pub mod run;
pub mod schedule;
pub mod size;
pub mod smoke;
pub mod spending;
pub mod template;
pub mod timezone;
pub mod turn;
pub mod turn_block;
mod turn_mode;
pub mod turn_origin;
pub mod version;
mod version_title;

pub use app::{App, AppSettings, EnvironmentState, EnvironmentStatus};
pub use attachment::{Attachment, AttachmentId, AttachmentKind};
pub use author::Author;
pub use clock::Clock;
pub use deployment::{DeploymentSpec, Probe, ProcessKind, ResourceLimits};
pub use event::{Event, EventBody, FileState, LogStream, TakenBack, TextKind};
pub use history::{RestoredVersion, VersionsInUse};
pub use ids::{AppId, EventId, ImageRef, JobId, ReleaseNumber, RunId, SessionId, TokenId, TurnId, VersionId};
pub use job::{JOBS_ON_PAGES, Job, JobClass, JobError, JobKind, JobResult, JobState, Step, StepName, StepState};
pub use model::{Effort, ModelChoice, ModelId};
pub use name::{APP_NAME_MAX, APP_TITLE_MAX, AppName, AppTitle, Environment, HostName};
pub use network::{AllowedNetwork, BLOCKED_V4, BLOCKED_V6, Network};
pub use page::{AppFilter, Cursor, LIMIT_MAX, Page, PageRequest};
pub use path::WorkspacePath;
pub use principal::{Action, Principal, Refusal, Scope, Target, TokenGrant};
pub use redaction::Redaction;
pub use release::{Release, ReleaseState};
pub use repair::{Fingerprint, REPAIRS_MAX, RepairBudget, RepairEnd, RepairFailure, RepairStop, RepairVerdict};
pub use run::{Run, RunState, RunTrigger};
pub use schedule::Schedule;
pub use size::Bytes;
pub use smoke::{SmokeCheck, SmokeCount, SmokeKind};
pub use spending::Spending;
pub use template::{TemplateKind, TemplateManifest, TemplateName};
pub use timezone::Timezone;
pub use turn::{INTERRUPTED, Question, QuestionKind, Turn, TurnState, Usage, WITHDRAWN};
pub use turn_block::{NOTICE, NumberedBlock, TurnBlock, TurnFold};
pub use turn_mode::TurnMode;
pub use turn_origin::{AnswerId, Evidence, NewTurn, Repair, TurnOrigin};
pub use version::{ChangeSize, FileChange, Version, VersionKind};
pub use version_title::VersionTitle;

/// The error of an invalid string from outside, with a sentence for its sender.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

impl Invalid {
    /// An error with this sentence.
    pub fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
}

/// Defines a newtype over `String` whose only public constructors are `TryFrom` and `FromStr`,
/// with serde and display. `$check` is a `fn(&str) -> Result<(), Invalid>`.
macro_rules! validated_string {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl TryFrom<String> for $name {
            type Error = $crate::domain::Invalid;
            fn try_from(text: String) -> Result<Self, Self::Error> {
                $check(&text)?;
                Ok(Self(text))
            }
        }
        impl std::str::FromStr for $name {
            type Err = $crate::domain::Invalid;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::try_from(text.to_owned())
            }
        }
        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
pub(crate) use validated_string;

/// Defines the API's and the database's values of an enum without data.
macro_rules! words {
    ($type:ident { $($variant:ident = $word:literal),+ }) => {
        impl $type {
            /// The value in the API and in the database.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
        impl std::str::FromStr for $type {
            type Err = $crate::domain::Invalid;
            fn from_str(text: &str) -> Result<Self, $crate::domain::Invalid> {
                match text { $($word => Ok(Self::$variant),)+ _ => Err($crate::domain::Invalid::new(format!("“{text}” is unknown."))) }
            }
        }
    };
}
pub(crate) use words;
