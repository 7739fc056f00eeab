//! An event: a record of progress of a job or an app.

use serde::{Deserialize, Serialize};

use super::{
    AppId, Environment, EnvironmentState, EventId, JobError, JobId, JobResult, JobState, ReleaseNumber, Step, Usage,
    VersionId, WorkspacePath,
};

/// The kind of the model's text: answer or thinking.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TextKind {
    /// For the user.
    #[default]
    Answer,
    /// A summary of its thinking.
    Thought,
}

/// The text of an answer that broke off, which is retracted because the answer is requested again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenBack {
    /// Bytes of the answer.
    pub answer: usize,
    /// Bytes of thinking.
    pub thought: usize,
}

/// The state of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileState {
    /// Its content is being generated; `delta` is the next piece.
    Writing,
    /// It was written to the workspace.
    Written,
    /// It was deleted.
    Deleted,
}

/// The source of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// An image build.
    Build,
    /// The deployment itself.
    Deploy,
    /// The app, while it is being started or checked.
    App,
}

/// The content of an event. Its SSE name is [`EventBody::name`], its data the variant's fields as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EventBody {
    /// A job's state or one of its steps changed.
    Job {
        /// The job.
        id: JobId,
        /// `generate`, `preview`, …
        kind: String,
        /// Its state.
        state: JobState,
        /// The steps of a deployment so far.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        steps: Vec<Step>,
        /// The error of a failed job.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<JobError>,
        /// Its result.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        result: Option<JobResult>,
    },
    /// The next piece of the model's text.
    Text {
        /// The piece.
        delta: String,
        /// Answer or thinking.
        #[serde(default)]
        kind: TextKind,
    },
    /// A file is being written, was written, or was deleted.
    File {
        /// Its path.
        path: WorkspacePath,
        /// Its state.
        state: FileState,
        /// The next piece of its content, while it is being written.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        delta: Option<String>,
    },
    /// A tool was used.
    Tool {
        /// Its name.
        name: String,
        /// A summary in one line.
        summary: String,
        /// Whether it succeeded.
        ok: bool,
        /// In a notice: the retracted text; files that are being written are dropped too.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        taken_back: Option<TakenBack>,
    },
    /// One line of a log.
    Log {
        /// Its source.
        stream: LogStream,
        /// The line, without its end.
        line: String,
    },
    /// An environment's state changed.
    Environment {
        /// The environment.
        environment: Environment,
        /// Its state.
        state: EnvironmentState,
        /// The live release.
        release: Option<ReleaseNumber>,
        /// That release's version.
        version: Option<VersionId>,
        /// Its URL.
        url: Option<String>,
    },
    /// The usage of the turn so far.
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

    /// Parses a stored event: the name selects the variant.
    pub fn from_kept(name: &str, data: &str) -> Result<Self, serde_json::Error> {
        // The name comes first and selects the variant: nothing is buffered, and variants are not tried one after the other.
        let name = serde_json::to_string(name)?;
        serde_json::from_str::<Tagged>(&format!(r#"{{"name":{name},"data":{data}}}"#)).map(Self::from)
    }

    /// The JSON of the wire and of the database.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("events contain only strings and numbers")
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

/// A stored event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its id, which increases over the whole installation.
    pub id: EventId,
    /// Its app.
    pub app: AppId,
    /// Its job, if any.
    pub job: Option<JobId>,
    /// Its content.
    pub body: EventBody,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_event_can_be_read() {
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
