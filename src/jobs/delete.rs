//! Deleting an app: containers, network, images, repository, rows; each gone already is fine.

use super::context::{Failure, JobContext};
use crate::domain::{Environment, JobResult, LogStream};
use crate::store::StoreError;

/// Removes everything that is the app's own.
pub async fn run(context: &JobContext) -> Result<JobResult, Failure> {
    let platform = &context.platform;
    let (id, name) = (context.job.app_id, context.job.app.clone());
    match platform.store.app_by_id(id).await {
        Ok(_) => {}
        // An earlier attempt had come this far.
        Err(StoreError::NotFound) => return Ok(JobResult::default()),
        Err(error) => return Err(error.into()),
    }
    for environment in Environment::ALL {
        platform.gateway.routes().remove(&name, environment);
    }
    context.log(LogStream::Deploy, "Removing containers and network.");
    platform.runtime.remove_app(&name, id).await?;
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
