//! The agent's ports: its tools work on the app's workspace, its doings become events.

use std::sync::Arc;

use crate::catalog::Template;
use crate::domain::{App, EventBody, TurnId, Usage, WorkspacePath};
use crate::error::{AppError, ErrorKind};
use crate::generation::{
    CheckReport, FileEntry, HostError, Message, PreviewAnswer, PreviewRequest, ToolHost, TurnSink,
};
use crate::jobs::context::JobContext;
use crate::jobs::proving;
use crate::platform::Platform;

/// The workspace as the model's tools see it.
pub struct WorkspaceHost<'a> {
    /// The job that runs the turn.
    pub context: &'a JobContext,
    /// The parts.
    pub platform: Arc<Platform>,
    /// Whose workspace.
    pub app: App,
    /// Says which files are the platform's.
    pub template: Arc<Template>,
}

impl WorkspaceHost<'_> {
    /// Refuses what may not be changed: the platform's files, and those that the person locked. Asked
    /// each time, so that a lock holds from the moment it is set.
    async fn may_change(&self, path: &WorkspacePath) -> Result<(), HostError> {
        self.refuse_platform_file(path)?;
        let locked = self.platform.store.locked_files(self.app.id).await;
        let locked = locked.map_err(|error| HostError::Failed(AppError::from(error).detail))?;
        if locked.contains(path) {
            return Err(HostError::Refused(format!(
                "{path} is locked by the person and cannot be changed. Do without, or say at the end what you would have \
                 changed in it."
            )));
        }
        Ok(())
    }

    fn refuse_platform_file(&self, path: &WorkspacePath) -> Result<(), HostError> {
        if self.template.owns(path) {
            return Err(HostError::Refused(format!(
                "{path} belongs to the platform and cannot be changed. Do what you need in the app's own files."
            )));
        }
        Ok(())
    }
}

/// What the model can act on goes back to it; the rest ends the turn.
pub(super) fn host_error(error: AppError) -> HostError {
    match error.kind {
        ErrorKind::NotFound | ErrorKind::Invalid | ErrorKind::TooLarge => HostError::Refused(error.detail),
        _ => HostError::Failed(error.detail),
    }
}

impl ToolHost for WorkspaceHost<'_> {
    async fn list(&mut self) -> Result<Vec<FileEntry>, HostError> {
        let entries = self
            .platform
            .read_workspace(&self.app.name, crate::workspace::Workspace::list)
            .await
            .map_err(host_error)?;
        Ok(entries.into_iter().map(|entry| FileEntry { path: entry.path, bytes: entry.bytes }).collect())
    }

    async fn read(&mut self, path: &WorkspacePath) -> Result<Vec<u8>, HostError> {
        let path = path.clone();
        self.platform.read_workspace(&self.app.name, move |workspace| workspace.read(&path)).await.map_err(host_error)
    }

    async fn precious(&mut self) -> Result<Vec<(WorkspacePath, String)>, HostError> {
        let template = self.template.clone();
        let read = self.platform.read_workspace(&self.app.name, move |workspace| {
            let mut files = Vec::new();
            for entry in workspace.list()? {
                // What Slipway put there and nobody touched is for the model to replace.
                if entry.binary || template.owns(&entry.path) {
                    continue;
                }
                let bytes = workspace.read(&entry.path)?;
                let untouched = template.files.iter().any(|(path, starter)| *path == entry.path && *starter == bytes);
                if let (false, Ok(text)) = (untouched, String::from_utf8(bytes)) {
                    files.push((entry.path, text));
                }
            }
            Ok(files)
        });
        read.await.map_err(host_error)
    }

    async fn write(&mut self, path: &WorkspacePath, content: &str) -> Result<(), HostError> {
        self.may_change(path).await?;
        let (path, bytes) = (path.clone(), content.as_bytes().to_vec());
        let written = self
            .platform
            .change_workspace(self.app.id, &self.app.name, move |workspace| workspace.write(&path, &bytes));
        written.await.map(|_| ()).map_err(host_error)
    }

    async fn delete(&mut self, path: &WorkspacePath) -> Result<(), HostError> {
        self.may_change(path).await?;
        let path = path.clone();
        let deleted =
            self.platform.change_workspace(self.app.id, &self.app.name, move |workspace| workspace.delete(&path));
        deleted.await.map_err(host_error)
    }

    async fn check(&mut self) -> Result<CheckReport, HostError> {
        let redaction = &self.context.redaction;
        let report = proving::check(self.context, &self.app, &self.template).await?;
        Ok(CheckReport {
            ok: report.ok,
            sentence: redaction.string(report.sentence),
            lines: redaction.lines(report.lines),
        })
    }

    async fn preview_logs(&mut self) -> Result<Vec<String>, HostError> {
        let lines = proving::preview_logs(&self.platform, &self.app).await?;
        Ok(self.context.redaction.lines(lines))
    }

    async fn request(&mut self, request: PreviewRequest) -> Result<PreviewAnswer, HostError> {
        let redaction = &self.context.redaction;
        let answer = proving::request(&self.platform, &self.app, request).await?;
        let headers = answer.headers.into_iter().map(|(name, value)| (redaction.string(name), redaction.string(value)));
        Ok(PreviewAnswer { headers: headers.collect(), body: redaction.string(answer.body), ..answer })
    }
}

/// The turn's events and transcript.
pub struct TurnEvents<'a> {
    /// The job that runs the turn.
    pub context: &'a JobContext,
    /// The turn.
    pub turn: TurnId,
    /// What the turn has used so far, kept with the transcript.
    pub usage: Usage,
}

impl TurnSink for TurnEvents<'_> {
    fn event(&mut self, body: EventBody) {
        if let EventBody::Usage(usage) = &body {
            self.usage = *usage;
        }
        self.context.emit(body);
    }

    async fn keep(&mut self, messages: &[Message]) -> Result<(), String> {
        let store = &self.context.platform.store;
        let kept = async {
            let messages = messages
                .iter()
                .map(|message| serde_json::to_string(message).expect("a message came from JSON and goes back to it"));
            store.keep_messages(self.turn, messages.collect()).await?;
            store.set_turn_usage(self.turn, self.usage).await
        };
        kept.await.map_err(|error| AppError::from(error).detail)
    }
}
