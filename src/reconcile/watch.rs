//! Follows the events of instances as long as the builder runs.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;

use super::instances::{restore_one, set_state};
use crate::domain::{AppId, Environment, EnvironmentState};
use crate::gateway::{RouteState, Upstream};
use crate::platform::Platform;
use crate::runtime::{InstanceEvent, InstanceEventKind};

/// Pause before a live release that was removed by hand is restored.
const RESTORE_PAUSE: Duration = Duration::from_secs(2);

/// Follows the events of instances: one that dies is shown as stopped, one that runs again as ready. A release that was
/// removed by hand is restored, because Slipway itself removes what should not run.
pub async fn watch(platform: Arc<Platform>) {
    let mut events = platform.runtime.observation.watch();
    while let Some(event) = events.next().await {
        take(&platform, event, RESTORE_PAUSE).await;
    }
}

/// Handles an event. A removed live release is restored after `pause`.
pub(super) async fn take(platform: &Arc<Platform>, InstanceEvent { instance, kind }: InstanceEvent, pause: Duration) {
    let _alone = platform.traffic.lock(instance.app_id).await;
    let Ok(app) = platform.store.app_by_id(instance.app_id).await else { return };
    let status = app.environment(instance.environment);
    if status.release != Some(instance.release) || status.state == EnvironmentState::Deploying {
        return;
    }
    let state = match kind {
        InstanceEventKind::Started => {
            if let Some(address) = instance.address {
                let upstream = Upstream { address, release: instance.release };
                platform.traffic.routes().set(&app.name, instance.environment, upstream);
            }
            EnvironmentState::Ready
        }
        InstanceEventKind::Died { .. } | InstanceEventKind::TakenDown => {
            if kind == InstanceEventKind::TakenDown {
                platform.lifecycle.tasks.spawn(restore_soon(platform.clone(), app.id, instance.environment, pause));
            }
            platform.traffic.routes().set_state(&app.name, instance.environment, RouteState::Stopped);
            EnvironmentState::Stopped
        }
    };
    if let Err(error) = set_state(platform, app.id, instance.environment, state).await {
        tracing::warn!(app = %app.name, %error, "failed to store an environment's state");
    }
}

/// Restores a live release that was removed by hand. If that fails, the next reconcile does it.
async fn restore_soon(platform: Arc<Platform>, id: AppId, environment: Environment, pause: Duration) {
    let work = async {
        // A client that deletes one object may delete more. The pause also limits the rate if another client deletes
        // the release repeatedly.
        tokio::time::sleep(pause).await;
        tracing::info!(app = id.0, %environment, "restoring a live release that was removed by hand");
        if let Err(error) = restore_one(&platform, id, environment, false).await {
            tracing::warn!(app = id.0, %environment, %error, "failed to restore a live release");
        }
    };
    platform.lifecycle.draining.run_until_cancelled(work).await;
}
