//! The agent's interfaces to the rest of the program: a workspace, and a sink for
//! progress and transcript. The jobs implement them.

use std::future::Future;
use std::time::Duration;

use super::wire::Message;
use crate::bounded_work::Budget;
use crate::domain::{EventBody, WorkspacePath};

/// Deadline for one piece of a tool's CPU-bound work.
pub const COMPUTE_TIME: Duration = Duration::from_secs(3);

/// A file of the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// Its path.
    pub path: WorkspacePath,
    /// Its size in bytes.
    pub bytes: u64,
}

/// The content of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Text.
    Text(String),
    /// Binary data of this many bytes.
    Binary(u64),
}

/// A file edited by the user or by an earlier turn, or created by the turn that this one continues or repairs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtectedFile {
    /// Its path.
    pub path: WorkspacePath,
    /// Its content before the work began; `None` if the work created it.
    pub before: Option<Content>,
    /// Its current content; `None` if it was deleted.
    pub now: Option<Content>,
    /// A user created it.
    pub by_hand: bool,
}

/// A request to the app's own preview.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreviewRequest {
    /// The method in capitals.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: String,
}

/// The response of the preview.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PreviewAnswer {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// The beginning of the body.
    pub body: String,
    /// The body was longer.
    pub truncated: bool,
    /// Its duration in milliseconds.
    pub millis: u64,
    /// A note about the request for the model.
    pub note: Option<String>,
}

/// The result of a check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// It found no error.
    pub ok: bool,
    /// The result in a sentence.
    pub sentence: String,
    /// The lines that show the error.
    pub lines: Vec<String>,
}

/// Limits of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SearchLimits {
    /// Maximum number of files that are searched.
    pub files: usize,
    /// Maximum bytes of a file; larger files are skipped.
    pub file_bytes: u64,
    /// Maximum bytes at the beginning of a line that are searched: the budget is checked between lines.
    pub line_bytes: usize,
    /// Maximum number of matching lines in the result.
    pub matches: usize,
    /// Maximum characters of a matching line in the result.
    pub match_chars: usize,
    /// Deadline of the search.
    pub time: Duration,
}

impl Default for SearchLimits {
    fn default() -> Self {
        Self {
            files: 2_000,
            file_bytes: 1024 * 1024,
            line_bytes: 16 * 1024,
            matches: 100,
            match_chars: 240,
            time: Duration::from_secs(6),
        }
    }
}

/// The result of a search.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SearchFound {
    /// Matching lines, as `path:number: text`.
    pub lines: Vec<String>,
    /// Files with matching lines.
    pub files: usize,
    /// There are more matching lines.
    pub more: bool,
    /// It was stopped at its deadline, so not all files were searched.
    pub late: bool,
}

/// The result of writing a file: lines added and removed, compared with the content before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Lines added.
    pub additions: u32,
    /// Lines removed.
    pub deletions: u32,
}

/// Why a call of the host failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// It is not allowed or not possible: a sentence that the model can act on. The turn continues.
    #[error("{0}")]
    Refused(String),
    /// The host failed, for example because its disk is full: a sentence for the user. The turn ends.
    #[error("{0}")]
    Failed(String),
}

/// Operations of the agent on a workspace.
///
/// Paths are already validated; the host rejects symbolic links, files that belong to the platform and anything
/// else that depends on the disk. Each call is awaited to its end, even
/// if the turn is stopped, so it should be short.
pub trait ToolHost: Send {
    /// All files except `.git`, in the order of the list.
    fn list(&mut self) -> impl Future<Output = Result<Vec<FileEntry>, HostError>> + Send;
    /// A file's bytes.
    fn read(&mut self, path: &WorkspacePath) -> impl Future<Output = Result<Vec<u8>, HostError>> + Send;
    /// Creates or replaces a file, with its parent folders.
    fn write(&mut self, path: &WorkspacePath, content: &str)
    -> impl Future<Output = Result<Written, HostError>> + Send;
    /// Finds the lines of text files that match a regular expression, in one pass off the async threads. An invalid
    /// regular expression is rejected.
    fn search(
        &mut self,
        pattern: &str,
        limits: SearchLimits,
    ) -> impl Future<Output = Result<SearchFound, HostError>> + Send;
    /// Runs CPU-bound work on the app's text off the async threads, within a budget of
    /// [`COMPUTE_TIME`].
    fn compute<R: Send + 'static>(
        &mut self,
        name: &'static str,
        work: impl FnOnce(&Budget) -> R + Send + 'static,
    ) -> impl Future<Output = Result<R, HostError>> + Send;
    /// The files that must not be deleted or rewritten without a confirmation: those that a user or an earlier turn created or
    /// changed. For a turn that continues or repairs another, in their state before that one, with its changes
    /// since. Read once, before the first change.
    fn protected_files(&mut self) -> impl Future<Output = Result<Vec<ProtectedFile>, HostError>> + Send;
    /// Deletes a file.
    fn delete(&mut self, path: &WorkspacePath) -> impl Future<Output = Result<(), HostError>> + Send;
    /// Builds the current workspace without deploying it, and reports errors.
    fn check(&mut self) -> impl Future<Output = Result<CheckReport, HostError>> + Send;
    /// The last lines of the preview's log.
    fn preview_logs(&mut self) -> impl Future<Output = Result<Vec<String>, HostError>> + Send;
    /// Sends a request to this app's preview only.
    fn request(&mut self, request: PreviewRequest) -> impl Future<Output = Result<PreviewAnswer, HostError>> + Send;
}

/// Receives the agent's progress.
pub trait TurnSink: Send {
    /// An event to show, in order. Text and code arrive in many small pieces.
    ///
    /// A `file` event `writing` without a delta starts the file again. Writing a file
    /// ends with `written`, or with a failed `tool` event: then the file in the workspace is
    /// unchanged. A `tool` event with the name `model` is a notice, for example that the
    /// connection broke. With `taken_back`, text and files that the answer had started are retracted.
    /// A slow sink slows down reading of the model's answer.
    fn event(&mut self, body: EventBody) -> impl Future<Output = ()> + Send;

    /// Appends messages to the stored transcript of this turn, the opening one first, so that a crash does not lose them.
    /// Called after each answer and each tool. `from`: number of stored messages that stay: all of them, except after the
    /// provider rejected the last ones. The error is a sentence for the user; nothing is stored then, and the turn ends.
    fn keep(&mut self, from: usize, messages: &[Message]) -> impl Future<Output = Result<(), String>> + Send;
}
