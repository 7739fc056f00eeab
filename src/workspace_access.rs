//! Access to workspaces: on blocking threads, within limits, with one writer at a time for each workspace.

use std::time::Duration;

use crate::bounded_work::{Budget, Owner};
use crate::domain::{AppId, AppName, Version};
use crate::error::{AppError, AppResult, ErrorKind};
use crate::platform::Platform;
use crate::store::versions::NewVersion;
use crate::workspace::{Commit, Packed, Workspace, WorkspaceError};

/// Time limit for reading or changing a workspace.
const WORKSPACE_TIME: Duration = Duration::from_secs(30);
/// Time limit for packing a workspace's repository, which blocks other changes of that workspace.
const PACK_TIME: Duration = Duration::from_secs(20);

impl Platform {
    /// Reads an app's workspace on a blocking thread. The work ends early if the caller stops waiting for it.
    pub async fn read_workspace<R, F>(&self, app: &AppName, read: F) -> AppResult<R>
    where
        R: Send + 'static,
        F: FnOnce(&Workspace) -> Result<R, WorkspaceError> + Send + 'static,
    {
        self.read_workspace_within(app, WORKSPACE_TIME, move |workspace, _| read(workspace)).await
    }

    /// Like [`Self::read_workspace`], with another time limit. `read` has to check the budget.
    pub async fn read_workspace_within<R, F>(&self, app: &AppName, time: Duration, read: F) -> AppResult<R>
    where
        R: Send + 'static,
        F: FnOnce(&Workspace, &Budget) -> Result<R, WorkspaceError> + Send + 'static,
    {
        let (workspaces, name) = (self.workspaces.clone(), app.clone());
        let work = move |budget: &Budget| read(&workspaces.open_within(&name, budget)?, budget);
        Ok(self.workspace_work.run("read workspace", Owner::App(app.clone()), time, work).await??)
    }

    /// Changes an app's workspace on a blocking thread, exclusively. The change is completed even if the caller stops
    /// waiting for it.
    pub async fn change_workspace<R, F>(&self, id: AppId, app: &AppName, change: F) -> AppResult<R>
    where
        R: Send + 'static,
        F: FnOnce(&Workspace) -> Result<R, WorkspaceError> + Send + 'static,
    {
        let alone = self.workspace_locks.lock(id).await;
        let (workspaces, name) = (self.workspaces.clone(), app.clone());
        let work = move |budget: &Budget| {
            // Held until the change has ended, even if the caller stops waiting for it.
            let _alone = alone;
            change(&workspaces.open_within(&name, budget)?)
        };
        let owner = Owner::App(app.clone());
        Ok(self.workspace_work.run_to_end("change workspace", owner, WORKSPACE_TIME, work).await??)
    }

    /// Packs an app's repository if it has many loose objects. Skipped while the workspace is being changed, and ended
    /// early if the caller stops waiting for it.
    pub async fn pack_workspace(&self, id: AppId, app: &AppName) -> AppResult<Option<Packed>> {
        let Some(alone) = self.workspace_locks.try_lock(id) else { return Ok(None) };
        let (workspaces, name) = (self.workspaces.clone(), app.clone());
        let work = move |budget: &Budget| {
            let _alone = alone;
            workspaces.open_within(&name, budget)?.pack()
        };
        Ok(self.workspace_work.run("pack workspace", Owner::App(app.clone()), PACK_TIME, work).await??)
    }

    /// Records every commit that the store does not know yet as a version. The repository is authoritative: this finds
    /// a commit that was made just before the builder died.
    pub async fn record_versions(&self, id: AppId, app: &AppName) -> AppResult<Option<Version>> {
        let known = self.store.head(id).await?;
        let commits = self.read_workspace(app, move |workspace| workspace.log_since(known.as_ref())).await?;
        if !commits.is_empty() {
            self.store.add_versions(id, commits.into_iter().map(new_version).collect()).await?;
            self.events.changes().note(id);
        }
        Ok(self.store.newest_version(id).await?)
    }
}

fn new_version(commit: Commit) -> NewVersion {
    NewVersion {
        version: Version {
            id: commit.id,
            number: 0,
            title: commit.title,
            kind: commit.kind,
            turn: commit.turn,
            size: commit.size,
            created_at: commit.at,
        },
    }
}

impl From<WorkspaceError> for AppError {
    fn from(error: WorkspaceError) -> Self {
        match &error {
            WorkspaceError::NotFound(_) => Self::new(ErrorKind::NotFound, "not_found", error.to_string()),
            WorkspaceError::UnknownVersion(_) => Self::not_found("such version of this app"),
            WorkspaceError::Refused(sentence) => Self::new(ErrorKind::Invalid, "refused", sentence.clone()),
            WorkspaceError::TooLarge { .. } => Self::new(ErrorKind::TooLarge, "too_large", error.to_string()),
            WorkspaceError::DiskFull => Self::disk_full(),
            WorkspaceError::Stopped => Self::too_slow(error.to_string()),
            WorkspaceError::Busy => Self::conflict("workspace_busy", error.to_string()),
            WorkspaceError::NoWorkspace(_) => Self::new(ErrorKind::NotFound, "not_found", error.to_string())
                .hint("Its folder in the data directory is gone. Put it back from a copy, or delete the app."),
            _ => Self::internal(&error),
        }
    }
}
