//! Deleting an app: containers, network, images, repository, rows; each gone already is fine.

use super::context::{Failure, JobContext};
use crate::domain::{Environment, JobResult, LogStream};
use crate::store::StoreError;

/// Removes everything that is the app's own.
pub async fn run(context: &JobContext) -> Result<JobResult, Failure> {
    match context.platform.store.app_by_id(context.job.app_id).await {
        Ok(_) => {}
        // An earlier attempt had come this far.
        Err(StoreError::NotFound) => return Ok(JobResult::default()),
        Err(error) => return Err(error.into()),
    }
    let removed = remove(context).await;
    if removed.is_err() {
        // What is left of the app can be used again, and deleted again.
        context.platform.store.mark_deleting(context.job.app_id, false).await?;
    }
    removed
}

async fn remove(context: &JobContext) -> Result<JobResult, Failure> {
    let platform = &context.platform;
    let (id, name) = (context.job.app_id, context.job.app.clone());
    context.log(LogStream::Deploy, "Removing containers and network.");
    platform.runtime.remove_app(&name, id).await?;
    for environment in Environment::ALL {
        platform.gateway.routes().remove(&name, environment);
    }
    context.log(LogStream::Deploy, "Removing images.");
    platform.images.remove_app(&name, id).await?;
    context.log(LogStream::Deploy, "Removing the repository.");
    let (workspaces, folder) = (platform.workspaces.clone(), name.clone());
    tokio::task::spawn_blocking(move || workspaces.remove(&folder))
        .await
        .map_err(|error| crate::error::AppError::internal(&error))?
        .map_err(crate::error::AppError::from)?;
    platform.store.remove_app(id, Some(context.job.id)).await?;
    platform.schedule_changed();
    Ok(JobResult::default())
}
