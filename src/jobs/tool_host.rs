//! Implements the agent's ports: tools work on the app's workspace, and a turn's progress is sent as events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::host_error::host_error;
use crate::bounded_work::{Budget, Owner, WorkError};
use crate::catalog::Template;
use crate::domain::{App, EventBody, JobKind, TurnId, Usage, VersionId, WorkspacePath};
use crate::error::AppError;
use crate::generation::search;
use crate::generation::{
    self, COMPUTE_TIME, CheckReport, Content, HostError, Message, PreviewAnswer, PreviewRequest, ProtectedFile,
    SearchFound, SearchLimits, ToolHost, TurnSink, Written,
};
use crate::jobs::context::JobContext;
use crate::jobs::{briefing, proving};
use crate::platform::Platform;
use crate::workspace::{FileEntry, FileStatus, Workspace, WorkspaceError};

/// Number of manual versions that are searched for the user's own files.
const EDITS_LOOKED_AT: u32 = 50;

/// Time in which a search must end after its own time limit.
const SEARCH_GRACE: Duration = Duration::from_secs(1);

/// The workspace for the model's tools.
pub struct WorkspaceHost<'a> {
    /// The job that runs the turn.
    pub context: &'a JobContext,
    /// Services and stores.
    pub platform: Arc<Platform>,
    /// The app of the workspace.
    pub app: App,
    /// Defines which files belong to the platform.
    pub template: Arc<Template>,
}

impl WorkspaceHost<'_> {
    /// Refuses changes to the platform's files and to files that the user locked. Checked for each change, so that a lock takes
    /// effect immediately.
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

/// The protected files: those of `base`, the version before the work began, or of the work tree if this turn begins the work.
fn protected_files(
    workspace: &Workspace,
    template: &Template,
    base: Option<&VersionId>,
    edits: &[VersionId],
) -> Result<Vec<ProtectedFile>, WorkspaceError> {
    let mut by_hand = BTreeSet::new();
    for edit in edits {
        // It may be missing in a history that was repaired manually.
        let files = workspace.changed_files(edit).unwrap_or_default();
        by_hand.extend(files.into_iter().filter(|(_, status)| *status == FileStatus::Added).map(|(path, _)| path));
    }
    let content = |entry: &FileEntry, read: Result<Vec<u8>, WorkspaceError>| {
        Ok::<_, WorkspaceError>(String::from_utf8(read?).map_or(Content::Binary(entry.bytes), Content::Text))
    };
    let is_ours = |entry: &FileEntry| template.owns(&entry.path);
    let mut now = BTreeMap::new();
    for entry in workspace.list()?.into_iter().filter(|entry| !is_ours(entry)) {
        let content =
            if entry.binary { Content::Binary(entry.bytes) } else { content(&entry, workspace.read(&entry.path))? };
        now.insert(entry.path, content);
    }
    let before = match base {
        None => now.clone(),
        Some(base) => {
            // Files that the user created meanwhile are protected as well.
            let mut before: BTreeMap<_, _> = now
                .iter()
                .filter(|(path, _)| by_hand.contains(path))
                .map(|(path, now)| (path.clone(), now.clone()))
                .collect();
            for entry in workspace.tree_at(base)?.into_iter().filter(|entry| !is_ours(entry)) {
                let content = if entry.binary {
                    Content::Binary(entry.bytes)
                } else {
                    content(&entry, workspace.read_at(base, &entry.path))?
                };
                before.insert(entry.path, content);
            }
            before
        }
    };
    // The model may replace starter files that are unchanged.
    let is_untouched = |path: &WorkspacePath, content: &Content| {
        template.files.iter().any(|(starter, bytes)| {
            starter == path
                && match content {
                    Content::Text(text) => text.as_bytes() == bytes.as_slice(),
                    Content::Binary(size) => *size == bytes.len() as u64,
                }
        })
    };
    let paths: BTreeSet<&WorkspacePath> = before.keys().chain(now.keys()).collect();
    let file = |path: &WorkspacePath| {
        let found = before.get(path).filter(|content| !is_untouched(path, content)).cloned();
        let now = now.get(path).cloned();
        let by_hand = by_hand.contains(path);
        let matters = found.is_some() || (base.is_some() && before.get(path) != now.as_ref());
        matters.then(|| ProtectedFile { path: path.clone(), before: found, now, by_hand })
    };
    Ok(paths.into_iter().filter_map(file).collect())
}

fn entries(entries: Vec<FileEntry>) -> Vec<generation::FileEntry> {
    entries.into_iter().map(|entry| generation::FileEntry { path: entry.path, bytes: entry.bytes }).collect()
}

impl ToolHost for WorkspaceHost<'_> {
    async fn list(&mut self) -> Result<Vec<generation::FileEntry>, HostError> {
        let entries = self.platform.read_workspace(&self.app.name, Workspace::list).await.map_err(host_error)?;
        Ok(self::entries(entries))
    }

    async fn read(&mut self, path: &WorkspacePath) -> Result<Vec<u8>, HostError> {
        let path = path.clone();
        self.platform.read_workspace(&self.app.name, move |workspace| workspace.read(&path)).await.map_err(host_error)
    }

    async fn protected_files(&mut self) -> Result<Vec<ProtectedFile>, HostError> {
        let found = async {
            let store = &self.platform.store;
            let JobKind::Generate { turn } = self.context.job.kind else { return Ok(Vec::new()) };
            let root = briefing::root(&self.platform, &store.turn(turn).await?).await?;
            let base = if root.id == turn { None } else { store.turn_base(root.id).await? };
            let edits = store.edits(self.app.id, EDITS_LOOKED_AT).await?;
            let template = self.template.clone();
            let read = self.platform.read_workspace(&self.app.name, move |workspace| {
                protected_files(workspace, &template, base.as_ref(), &edits)
            });
            read.await
        };
        found.await.map_err(host_error)
    }

    async fn search(&mut self, pattern: &str, limits: SearchLimits) -> Result<SearchFound, HostError> {
        let pattern = pattern.to_owned();
        // At its own time limit a search returns what it has found, so the pool's limit is later.
        let time = limits.time + SEARCH_GRACE;
        let found = self.platform.read_workspace_within(&self.app.name, time, move |workspace, budget| {
            let files = entries(workspace.list()?);
            Ok(search::run(&pattern, &limits, budget, &files, |path| match workspace.read(path) {
                Ok(bytes) => Ok(Some(bytes)),
                // The file was deleted or cannot be read as a file. Any other error ends the search.
                Err(error) => match host_error(error.into()) {
                    HostError::Refused(_) => Ok(None),
                    failed @ HostError::Failed(_) => Err(failed),
                },
            }))
        });
        found.await.map_err(host_error)??.map_err(HostError::Refused)
    }

    async fn compute<R: Send + 'static>(
        &mut self,
        name: &'static str,
        work: impl FnOnce(&Budget) -> R + Send + 'static,
    ) -> Result<R, HostError> {
        let owner = Owner::App(self.app.name.clone());
        let done = self.platform.cpu_work.run(name, owner, COMPUTE_TIME, work).await;
        // The model can do something else, or narrow the search.
        done.map_err(|error| match error {
            WorkError::Busy | WorkError::TooSlow(_) => HostError::Refused(error.to_string()),
            WorkError::Failed(_) => HostError::Failed(AppError::from(error).detail),
        })
    }

    async fn write(&mut self, path: &WorkspacePath, content: &str) -> Result<Written, HostError> {
        self.may_change(path).await?;
        let (path, bytes) = (path.clone(), content.as_bytes().to_vec());
        let written = self
            .platform
            .change_workspace(self.app.id, &self.app.name, move |workspace| workspace.write(&path, &bytes));
        let done = written.await.map_err(host_error)?;
        Ok(Written { additions: done.additions, deletions: done.deletions })
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
    /// The turn's usage so far, stored with the transcript.
    pub usage: Usage,
}

impl TurnSink for TurnEvents<'_> {
    async fn event(&mut self, body: EventBody) {
        if let EventBody::Usage(usage) = &body {
            self.usage = *usage;
        }
        self.context.emit(body).await;
    }

    async fn keep(&mut self, from: usize, messages: &[Message]) -> Result<(), String> {
        let store = &self.context.platform.store;
        let kept = async {
            let messages = messages
                .iter()
                .map(|message| serde_json::to_string(message).expect("a message came from JSON and goes back to it"));
            store.insert_messages(self.turn, from, messages.collect()).await?;
            store.set_turn_usage(self.turn, self.usage).await
        };
        kept.await.map_err(|error| AppError::from(error).detail)
    }
}
