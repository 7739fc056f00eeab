//! An event: one line of what a job or an app does.

use serde::{Deserialize, Serialize};

use super::{
    AppId, Environment, EnvironmentState, EventId, JobError, JobId, JobResult, JobState, ReleaseNumber, Step, Usage,
    VersionId, WorkspacePath,
};

/// What the model says: the answer itself, or what it thinks on the way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TextKind {
    /// For the user.
    #[default]
    Answer,
    /// A summary of its thinking.
    Thought,
}

/// What an answer had said when it broke off. It is said again, so that it is taken back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenBack {
    /// Bytes of the answer.
    pub answer: usize,
    /// Bytes of thoughts.
    pub thought: usize,
}

/// What happens to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileState {
    /// Its content is being generated; `delta` is the next piece.
    Writing,
    /// It stands in the workspace.
    Written,
    /// It is gone.
    Deleted,
}

/// Where a log line comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// An image build.
    Build,
    /// A deployment's own words.
    Deploy,
    /// The app, while it is being started or checked.
    App,
}

/// What an event says. Its SSE name is [`EventBody::name`], its data the variant's fields as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EventBody {
    /// A job changed its state or a step of it.
    Job {
        /// The job.
        id: JobId,
        /// `generate`, `preview`, …
        kind: String,
        /// Where it stands.
        state: JobState,
        /// The parts of a deployment so far.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        steps: Vec<Step>,
        /// Why it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<JobError>,
        /// What it made.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        result: Option<JobResult>,
    },
    /// The next piece of the model's text.
    Text {
        /// The piece.
        delta: String,
        /// Answer or thought.
        #[serde(default)]
        kind: TextKind,
    },
    /// A file is being written, was written, or was deleted.
    File {
        /// Which.
        path: WorkspacePath,
        /// What happens to it.
        state: FileState,
        /// The next piece of its content, while it is being written.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        delta: Option<String>,
    },
    /// A tool was used.
    Tool {
        /// Its name.
        name: String,
        /// What it did, in one line.
        summary: String,
        /// Whether it did it.
        ok: bool,
        /// In a notice: the last words, and the files that are being written, do not count.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        taken_back: Option<TakenBack>,
    },
    /// One line of a log.
    Log {
        /// Where from.
        stream: LogStream,
        /// The line, without its end.
        line: String,
    },
    /// An environment changed its state.
    Environment {
        /// Which.
        environment: Environment,
        /// What it does now.
        state: EnvironmentState,
        /// The release that takes traffic.
        release: Option<ReleaseNumber>,
        /// That release's version.
        version: Option<VersionId>,
        /// Where it answers.
        url: Option<String>,
    },
    /// What the turn has used so far.
    Usage(Usage),
}

impl EventBody {
    /// A tool was used.
    pub fn tool(name: &str, summary: impl Into<String>, ok: bool) -> Self {
        Self::Tool { name: name.to_owned(), summary: summary.into(), ok, taken_back: None }
    }

    /// The event's SSE name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Job { .. } => "job",
            Self::Text { .. } => "text",
            Self::File { .. } => "file",
            Self::Tool { .. } => "tool",
            Self::Log { .. } => "log",
            Self::Environment { .. } => "environment",
            Self::Usage(_) => "usage",
        }
    }

    /// Reads what was kept: the name chooses the variant.
    pub fn from_kept(name: &str, data: &str) -> Result<Self, serde_json::Error> {
        // The variants are told apart by name, not by trying them in turn.
        let data: serde_json::Value = serde_json::from_str(data)?;
        Tagged::deserialize(serde_json::json!({ "name": name, "data": data })).map(Self::from)
    }

    /// The JSON that goes over the wire and into the database.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("events are made of strings and numbers alone")
    }
}

#[derive(Deserialize)]
#[serde(tag = "name", content = "data", rename_all = "lowercase")]
enum Tagged {
    Job {
        id: JobId,
        kind: String,
        state: JobState,
        #[serde(default)]
        steps: Vec<Step>,
        error: Option<JobError>,
        result: Option<JobResult>,
    },
    Text {
        delta: String,
        #[serde(default)]
        kind: TextKind,
    },
    File {
        path: WorkspacePath,
        state: FileState,
        delta: Option<String>,
    },
    Tool {
        name: String,
        summary: String,
        ok: bool,
        #[serde(default)]
        taken_back: Option<TakenBack>,
    },
    Log {
        stream: LogStream,
        line: String,
    },
    Environment {
        environment: Environment,
        state: EnvironmentState,
        release: Option<ReleaseNumber>,
        version: Option<VersionId>,
        url: Option<String>,
    },
    Usage(Usage),
}

impl From<Tagged> for EventBody {
    fn from(tagged: Tagged) -> Self {
        match tagged {
            Tagged::Job { id, kind, state, steps, error, result } => {
                Self::Job { id, kind, state, steps, error, result }
            }
            Tagged::Text { delta, kind } => Self::Text { delta, kind },
            Tagged::File { path, state, delta } => Self::File { path, state, delta },
            Tagged::Tool { name, summary, ok, taken_back } => Self::Tool { name, summary, ok, taken_back },
            Tagged::Log { stream, line } => Self::Log { stream, line },
            Tagged::Environment { environment, state, release, version, url } => {
                Self::Environment { environment, state, release, version, url }
            }
            Tagged::Usage(usage) => Self::Usage(usage),
        }
    }
}

/// A kept event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Grows over the whole installation.
    pub id: EventId,
    /// Whose it is.
    pub app: AppId,
    /// The job it belongs to, if any.
    pub job: Option<JobId>,
    /// What it says.
    pub body: EventBody,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_back() {
        let bodies = [
            EventBody::Text { delta: "a\n\"b".into(), kind: TextKind::Answer },
            EventBody::tool("search", "3 hits", true),
            EventBody::Tool {
                name: "model".into(),
                summary: "Asking again.".into(),
                ok: false,
                taken_back: Some(TakenBack { answer: 3, thought: 0 }),
            },
            EventBody::Log { stream: LogStream::Build, line: "Step 1/4".into() },
            EventBody::Usage(Usage { output_tokens: 3, ..Usage::default() }),
            EventBody::File {
                path: "a/b.txt".parse().expect("a path"),
                state: FileState::Writing,
                delta: Some("x".into()),
            },
            EventBody::Job {
                id: JobId(3),
                kind: "preview".into(),
                state: JobState::Running,
                steps: vec![Step {
                    name: crate::domain::StepName::Build,
                    state: crate::domain::StepState::Done,
                    millis: 7,
                }],
                error: None,
                result: None,
            },
        ];
        for body in bodies {
            assert_eq!(EventBody::from_kept(body.name(), &body.to_json()).expect("readable"), body);
        }
    }
}
