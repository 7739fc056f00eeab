//! Instances of live releases: routes to those that run, starts those that do not, and removes the others.

use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use super::desired::{Desired, unreadable};
use crate::domain::{AppId, Environment, EnvironmentState, ProcessKind};
use crate::error::AppResult;
use crate::gateway::{RouteState, Upstream};
use crate::jobs::release::START_LIMIT;
use crate::jobs::runtime_unavailable;
use crate::output::Discard;
use crate::platform::Platform;
use crate::runtime::{Deployment, DesiredState, FoundInstance, Instance, InstanceState, Restored, RuntimeError};

/// Number of live releases that are restored at the same time.
const RESTORED_AT_ONCE: usize = 4;

/// A live release, and whether it runs.
pub(super) struct Live {
    app: AppId,
    environment: Environment,
    runs: bool,
}

/// All existing instances.
pub(super) async fn find(platform: &Platform) -> AppResult<Vec<FoundInstance>> {
    platform.runtime.reconcile.instances().await.map_err(|error| runtime_unavailable(&error))
}

/// Routes to the instances of live releases. Returns all live releases.
pub(super) async fn route(platform: &Platform, found: &[FoundInstance]) -> AppResult<Vec<Live>> {
    let mut live = Vec::new();
    for (app, _) in platform.store.app_names().await? {
        for environment in Environment::ALL {
            if let Some(runs) = route_to_live(platform, app, environment, found).await? {
                live.push(Live { app, environment, runs });
            }
        }
    }
    Ok(live)
}

/// Routes to the live release of an environment, if its instance was found. Returns whether it runs; none if nothing
/// should run.
async fn route_to_live(
    platform: &Platform,
    id: AppId,
    environment: Environment,
    found: &[FoundInstance],
) -> AppResult<Option<bool>> {
    let _alone = platform.traffic.lock(id).await;
    let Ok(app) = platform.store.app_by_id(id).await else { return Ok(None) };
    if app.deleting {
        return Ok(None);
    }
    let Some(number) = app.environment(environment).release else { return Ok(None) };
    let release = platform.store.release(id, environment, number).await?;
    if release.spec.process == ProcessKind::Job {
        // A job has no instance, so it cannot be missing and needs no route.
        platform.traffic.routes().remove(&app.name, environment);
        return Ok(Some(true));
    }
    let Some(serving) = found.iter().find(|found| found.serves(id, environment, number)) else {
        // A deployment in progress starts its own instance.
        let open = platform.store.open_jobs(Some(id)).await?;
        let is_deploying = open.iter().any(|job| job.kind.environment() == Some(environment));
        return Ok((!is_deploying).then_some(false));
    };
    let routes = platform.traffic.routes();
    // For an instance that crashes repeatedly, the state that the watch has reported is kept, if there is one.
    let is_unknown = !matches!(routes.state(&app.name, environment), Some(RouteState::Up(_) | RouteState::Stopped));
    let is_running = serving.state == InstanceState::Running;
    if let Some(address) = serving.instance.address
        && (is_running || is_unknown)
    {
        routes.set(&app.name, environment, Upstream { address, release: number });
    }
    if is_running {
        set_state(platform, id, environment, EnvironmentState::Ready).await?;
    }
    Ok(Some(true))
}

/// Removes the instances that no release needs.
pub(super) async fn remove_orphans(platform: &Platform, found: &[FoundInstance]) -> AppResult<()> {
    let desired = Desired(platform);
    for FoundInstance { instance, state, .. } in found {
        match remove_orphan(platform, &desired, instance, *state).await {
            Ok(()) => {}
            Err(error) if error.is_outage() => return Err(runtime_unavailable(&error)),
            // The failure concerns one instance or app, so the others are still removed.
            Err(error) => {
                tracing::warn!(app = %instance.app, release = instance.release.0, %error, "failed to remove an orphaned instance; the next reconcile retries");
            }
        }
    }
    Ok(())
}

async fn remove_orphan(
    platform: &Platform,
    desired: &Desired<'_>,
    instance: &Instance,
    state: InstanceState,
) -> Result<(), RuntimeError> {
    if state == InstanceState::Paused
        && desired.is_kept(instance.app_id, instance.environment, instance.release).await?
    {
        return Ok(());
    }
    if desired.is_needed(instance.app_id, instance.environment, instance.release).await? {
        return Ok(());
    }
    tracing::info!(app = %instance.app, release = instance.release.0, "removing an orphaned instance");
    platform.runtime.reconcile.remove_orphan(instance, desired).await
}

/// Restores live releases.
pub(super) async fn restore(platform: &Platform, live: Vec<Live>) {
    futures_util::stream::iter(live)
        .for_each_concurrent(RESTORED_AT_ONCE, async |Live { app, environment, runs }| {
            if let Err(error) = restore_one(platform, app, environment, runs).await {
                tracing::warn!(app = app.0, %environment, %error, "failed to restore a live release");
                if runs {
                    return;
                }
                if let Err(error) = set_state(platform, app, environment, EnvironmentState::Stopped).await {
                    tracing::warn!(app = app.0, %error, "failed to store an environment's state");
                }
            }
        })
        .await;
}

/// Restores an environment's live release, and routes to it if it had to be started.
pub(super) async fn restore_one(
    platform: &Platform,
    id: AppId,
    environment: Environment,
    runs: bool,
) -> Result<(), RuntimeError> {
    let desired = Desired(platform);
    let restored = Box::pin(platform.runtime.reconcile.restore(id, environment, runs, &desired)).await?;
    let Restored::Started(deployment, instance) = restored else { return Ok(()) };
    let ProcessKind::Service(probe) = &deployment.spec.process else { return Ok(()) };
    let never = CancellationToken::new();
    let ready = platform.runtime.releases.wait_ready(&instance, probe, START_LIMIT, &Discard, &never);
    Box::pin(ready).await?;
    // A job may have started meanwhile: the app may have been deleted, or another release may be live.
    let routed = route_to_started(platform, &deployment, &instance).await.map_err(|error| unreadable(&error))?;
    if routed {
        return Ok(());
    }
    platform.runtime.reconcile.remove_orphan(&instance, &desired).await
}

/// Routes to a started instance, if its release is still the live one.
async fn route_to_started(platform: &Platform, deployment: &Deployment, instance: &Instance) -> AppResult<bool> {
    let (id, environment) = (deployment.app_id, deployment.environment);
    let _alone = platform.traffic.lock(id).await;
    let is_live = platform
        .store
        .app_by_id(id)
        .await
        .is_ok_and(|app| !app.deleting && app.environment(environment).release == Some(deployment.release));
    if !is_live {
        return Ok(false);
    }
    if let Some(address) = instance.address {
        let to = Upstream { address, release: deployment.release };
        platform.traffic.routes().set(&deployment.app, environment, to);
    }
    set_state(platform, id, environment, EnvironmentState::Ready).await?;
    Ok(true)
}

/// Stores the state of an environment, and publishes it if it changed. A deployment reports its result itself.
pub(super) async fn set_state(
    platform: &Platform,
    id: AppId,
    environment: Environment,
    state: EnvironmentState,
) -> AppResult<()> {
    let app = platform.store.app_by_id(id).await?;
    let status = app.environment(environment);
    if status.state == state || status.state == EnvironmentState::Deploying {
        return Ok(());
    }
    let event = platform.environment_event(&app, None, environment, state, status.release.zip(status.version.clone()));
    platform
        .events
        .commit(move |t| {
            crate::store::apps::set_environment_state(t, id, environment, state)?;
            Ok(((), vec![event]))
        })
        .await?;
    Ok(())
}
