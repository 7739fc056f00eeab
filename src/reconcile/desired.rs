//! The desired state from the database, in the form in which runtimes request it.

use async_trait::async_trait;
use tokio::sync::OwnedMutexGuard;

use crate::domain::{AppId, Environment, ProcessKind, ReleaseNumber, ReleaseState};
use crate::error::AppError;
use crate::jobs::{release, runs};
use crate::platform::Platform;
use crate::runtime::{Deployment, DesiredState, RuntimeError};
use crate::store::StoreError;

/// The desired state according to the database and locks of one builder.
pub(super) struct Desired<'a>(pub(super) &'a Platform);

#[async_trait]
impl DesiredState for Desired<'_> {
    fn hold(&self, app: AppId) -> Option<OwnedMutexGuard<()>> {
        self.0.rollout_locks.try_lock(app)
    }

    async fn live(&self, app: AppId, environment: Environment) -> Result<Option<Deployment>, RuntimeError> {
        let live = async {
            let app = match self.0.store.app_by_id(app).await {
                Ok(app) if !app.deleting => app,
                Ok(_) | Err(StoreError::NotFound) => return Ok(None),
                Err(error) => return Err(AppError::from(error)),
            };
            let Some(number) = app.environment(environment).release else { return Ok(None) };
            let release = self.0.store.release(app.id, environment, number).await?;
            if release.spec.process == ProcessKind::Job && environment != runs::SCHEDULED {
                return Ok(None);
            }
            release::deployment(self.0, &app, &release).await.map(Some)
        };
        live.await.map_err(|error| unreadable(&error))
    }

    async fn is_needed(
        &self,
        app: AppId,
        environment: Environment,
        release: ReleaseNumber,
    ) -> Result<bool, RuntimeError> {
        match self.0.store.release(app, environment, release).await {
            Ok(release) => Ok(matches!(release.state, ReleaseState::Ready | ReleaseState::Deploying)),
            Err(StoreError::NotFound) => Ok(false),
            Err(error) => Err(unreadable(&error.into())),
        }
    }

    async fn is_kept(
        &self,
        app: AppId,
        environment: Environment,
        release: ReleaseNumber,
    ) -> Result<bool, RuntimeError> {
        let replaced = self.0.store.replaced_at(app, environment, release).await;
        let replaced = replaced.map_err(|error| unreadable(&error.into()))?;
        let now = self.0.clock.now();
        Ok(replaced.is_some_and(|at| now.duration_since(at).unsigned_abs() < self.0.config.keep_replaced))
    }
}

/// The error for a desired state that cannot be read.
pub(super) fn unreadable(error: &AppError) -> RuntimeError {
    RuntimeError::StateUnreadable(error.to_string())
}
