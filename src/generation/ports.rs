//! What the agent needs of the rest of the program: a workspace to work on, and somewhere to
//! tell and keep what it does. Implemented where jobs are run.

use std::future::Future;
use std::time::Duration;

use super::wire::Message;
use crate::bounded_work::Budget;
use crate::domain::{EventBody, WorkspacePath};

/// How long one piece of a tool's work may take.
pub const COMPUTE_TIME: Duration = Duration::from_secs(3);

/// A file of the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// Where.
    pub path: WorkspacePath,
    /// Its size in bytes.
    pub bytes: u64,
}

/// What a file holds, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Text.
    Text(String),
    /// Something else, of so many bytes.
    Binary(u64),
}

/// A file edited by the user or by an earlier turn, or made by the turn that this one continues or repairs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtectedFile {
    /// Where.
    pub path: WorkspacePath,
    /// What stood there before the work began; none where it is the work's own.
    pub before: Option<Content>,
    /// What stands there now; none where it is gone.
    pub now: Option<Content>,
    /// A person made it.
    pub by_hand: bool,
}

/// A request to the app's own preview.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreviewRequest {
    /// In capitals.
    pub method: String,
    /// With its query.
    pub path: String,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: String,
}

/// What the preview answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PreviewAnswer {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// The beginning of the body.
    pub body: String,
    /// The body went on.
    pub truncated: bool,
    /// How long it took, in milliseconds.
    pub millis: u64,
    /// Something about the request that the model should know.
    pub note: Option<String>,
}

/// What came of a check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Nothing is wrong.
    pub ok: bool,
    /// What was found, in a sentence.
    pub sentence: String,
    /// The lines that show it.
    pub lines: Vec<String>,
}

/// How much a search may look at, give, and take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SearchLimits {
    /// Files that are looked into.
    pub files: usize,
    /// Bytes of a file that is looked into; larger ones are left out.
    pub file_bytes: u64,
    /// Bytes at the beginning of a line that are searched: the budget is checked between lines.
    pub line_bytes: usize,
    /// Matching lines that are given.
    pub matches: usize,
    /// Characters of a matching line that are given.
    pub match_chars: usize,
    /// How long all of it may take.
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

/// What a search has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SearchFound {
    /// Matching lines, as `path:number: text`.
    pub lines: Vec<String>,
    /// Files with matching lines.
    pub files: usize,
    /// There are more matching lines.
    pub more: bool,
    /// It was stopped at its time limit, so that not all files were searched.
    pub late: bool,
}

/// What writing a file came to: lines added and removed, against what stood there before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Lines added.
    pub additions: u32,
    /// Lines removed.
    pub deletions: u32,
}

/// Why the workspace did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// It may not or cannot be done: a sentence that the model can act on. The turn goes on.
    #[error("{0}")]
    Refused(String),
    /// The machine failed, e.g. its disk is full: a sentence for the user. The turn ends.
    #[error("{0}")]
    Failed(String),
}

/// What the agent may do to a workspace.
///
/// Paths are checked words by then; symbolic links, files that belong to the platform and what
/// else depends on the disk are for the host to refuse. Each call is awaited to its end, even
/// when the turn is stopped, so it should be short.
pub trait ToolHost: Send {
    /// All files, in the order in which they should be listed. `.git` is not among them.
    fn list(&mut self) -> impl Future<Output = Result<Vec<FileEntry>, HostError>> + Send;
    /// A file's bytes.
    fn read(&mut self, path: &WorkspacePath) -> impl Future<Output = Result<Vec<u8>, HostError>> + Send;
    /// Makes or replaces a file, with the folders above it.
    fn write(&mut self, path: &WorkspacePath, content: &str)
    -> impl Future<Output = Result<Written, HostError>> + Send;
    /// Finds the lines of text files that match a regular expression, in one pass away from the async threads. What is no
    /// regular expression is refused.
    fn search(
        &mut self,
        pattern: &str,
        limits: SearchLimits,
    ) -> impl Future<Output = Result<SearchFound, HostError>> + Send;
    /// Runs work on the app's text that takes processor time, away from the async threads, within a budget of
    /// [`COMPUTE_TIME`].
    fn compute<R: Send + 'static>(
        &mut self,
        name: &'static str,
        work: impl FnOnce(&Budget) -> R + Send + 'static,
    ) -> impl Future<Output = Result<R, HostError>> + Send;
    /// The files whose content must not be thrown away unasked: those that a person or an earlier turn made or
    /// changed. For a turn that continues or repairs another, as they were before that one, with what it has
    /// changed since. Read once, before the first change.
    fn protected_files(&mut self) -> impl Future<Output = Result<Vec<ProtectedFile>, HostError>> + Send;
    /// Removes a file.
    fn delete(&mut self, path: &WorkspacePath) -> impl Future<Output = Result<(), HostError>> + Send;
    /// Builds the workspace as it is now without deploying it, and says what is wrong.
    fn check(&mut self) -> impl Future<Output = Result<CheckReport, HostError>> + Send;
    /// The last lines that the app wrote in preview.
    fn preview_logs(&mut self) -> impl Future<Output = Result<Vec<String>, HostError>> + Send;
    /// Sends a request to this app's preview, and to nobody else.
    fn request(&mut self, request: PreviewRequest) -> impl Future<Output = Result<PreviewAnswer, HostError>> + Send;
}

/// Where the agent's doings go.
pub trait TurnSink: Send {
    /// Something to show, in order. Text and code come in many small pieces.
    ///
    /// A `file` event `writing` without a delta begins the file anew. A file that is being written
    /// ends with `written`, or with a failed `tool` event: then it stands in the workspace as it
    /// did before. A `tool` event of the name `model` is no tool but a notice, e.g. that the
    /// connection broke. With `taken_back`, what that answer had said and begun to write does not count.
    /// Whoever takes them may be slow: then the model's answer is read more slowly.
    fn event(&mut self, body: EventBody) -> impl Future<Output = ()> + Send;

    /// Appends messages to the kept transcript of this turn, the opening one first, so that a crash does not lose them.
    /// Called after each answer and each tool. `from` is how many of those kept before stay: all of them, but after the
    /// provider refused the last ones. An error is a sentence for the user, keeps nothing, and ends the turn.
    fn keep(&mut self, from: usize, messages: &[Message]) -> impl Future<Output = Result<(), String>> + Send;
}
