//! Deletes an app: containers, network, images, repository, rows. Idempotent.

use super::context::{Failure, JobContext};
use super::failure::BuildFault;
use super::outage::retry_during_outage;
use crate::build::BuildEngine;
use crate::domain::{Environment, JobResult, LogStream};
use crate::store::StoreError;

/// Removes everything that belongs to the app.
pub async fn run(context: &JobContext) -> Result<JobResult, Failure> {
    match context.platform.store.app_by_id(context.job.app_id).await {
        Ok(_) => {}
        // An earlier attempt has removed the rows.
        Err(StoreError::NotFound) => return Ok(JobResult::default()),
        Err(error) => return Err(error.into()),
    }
    let removed = remove(context).await;
    if removed.is_err() {
        withdraw(context).await?;
    }
    removed
}

/// After a failed deletion: the rest of the app can be used, and the deletion can be retried.
pub async fn withdraw(context: &JobContext) -> Result<(), Failure> {
    Ok(context.platform.store.mark_deleting(context.job.app_id, false).await?)
}

async fn remove(context: &JobContext) -> Result<JobResult, Failure> {
    let platform = &context.platform;
    let (id, name) = (context.job.app_id, context.job.app.clone());
    context.log(LogStream::Deploy, format!("Removing everything that runs in the {}.", platform.runtime.name)).await;
    let tell = context.lines(LogStream::Deploy);
    retry_during_outage(context, || Box::pin(platform.runtime.releases.remove_app(&name, id, &tell))).await?;
    for environment in Environment::ALL {
        platform.gateway.routes().remove(&name, environment);
    }
    context.log(LogStream::Deploy, "Removing images.").await;
    let pushed = retry_during_outage(context, || {
        Box::pin(async {
            let removed = platform.images.remove_pushed(&name).await;
            removed.map_err(|error| BuildFault { error, engine: BuildEngine::InCluster })
        })
    });
    match pushed.await {
        Ok(()) => {}
        Err(Failure::Cancelled) => return Err(Failure::Cancelled),
        // The app is deleted even if the registry keeps its images.
        Err(Failure::Failed(error)) => {
            tracing::warn!(app = %name, reason = error.message, "failed to delete a deleted app's images from the registry");
            let repository = crate::build::repository(&name);
            let left = format!("{} The images in {repository} stay there; remove them by hand.", error.message);
            context.log(LogStream::Deploy, left).await;
        }
    }
    retry_during_outage(context, || {
        Box::pin(async {
            let removed = platform.images.remove_app(&name, id).await;
            removed.map_err(|error| BuildFault { error, engine: platform.images.engine() })
        })
    })
    .await?;
    context.log(LogStream::Deploy, "Removing the repository and the attachments of messages.").await;
    let (workspaces, uploads, folder) = (platform.workspaces.clone(), platform.uploads.clone(), name.clone());
    tokio::task::spawn_blocking(move || {
        uploads.remove(id).map_err(Into::into).and_then(|()| workspaces.remove(&folder))
    })
    .await
    .map_err(|error| crate::error::AppError::internal(&error))?
    .map_err(crate::error::AppError::from)?;
    platform.store.remove_app(id, Some(context.job.id)).await?;
    platform.browser_errors.forget(id);
    platform.schedule_changed();
    Ok(JobResult::default())
}
