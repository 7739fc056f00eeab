//! The settings with which a release is started.

use std::time::Duration;

use super::context::Failure;
use crate::domain::{App, AppSettings, Release, VersionId, WorkspacePath};
use crate::error::{AppError, AppResult};
use crate::platform::Platform;
use crate::runtime::Deployment;
use crate::workspace::WorkspaceError;

/// Time limit for a new version's first answer after its start, and for the switch of traffic to it.
pub const START_LIMIT: Duration = Duration::from_mins(1);

/// The `app.toml` of a version; the defaults if it has none.
pub async fn settings(platform: &Platform, app: &App, version: &VersionId) -> Result<AppSettings, Failure> {
    let path: WorkspacePath = "app.toml".parse().map_err(AppError::from)?;
    let version = version.clone();
    let read = platform.read_workspace(&app.name, move |workspace| match workspace.read_at(&version, &path) {
        Err(WorkspaceError::NotFound(_)) => Ok(Vec::new()),
        other => other,
    });
    AppSettings::parse(&String::from_utf8_lossy(&read.await?))
        .map_err(|error| Failure::failed("bad_settings", error.to_string()).hint("Fix app.toml, then deploy again."))
}

/// The deployment that the runtime starts for a release.
pub async fn deployment(platform: &Platform, app: &App, release: &Release) -> AppResult<Deployment> {
    Ok(Deployment {
        app: app.name.clone(),
        app_id: app.id,
        environment: release.environment,
        release: release.number,
        image: release.image.clone(),
        spec: release.spec.clone(),
        secrets: platform.secrets(app, release.environment).await?,
    })
}
