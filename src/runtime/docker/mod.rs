//! The runtime on a Docker engine: a container per instance, a network per app.

mod container;
mod contract;
mod inspect;
mod logs;
mod network;
mod paused;
mod ready;
mod run;
mod stats;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bollard::Docker;
use bollard::models::{ContainerCreateBody, ContainerUpdateBody, ImageInspect, RestartPolicy, RestartPolicyNameEnum};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptionsBuilder, RemoveContainerOptionsBuilder,
    StopContainerOptionsBuilder,
};
use futures_util::TryStreamExt;
use tokio::sync::watch::{Receiver, Sender};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use paused::HostMemory;

use super::{Deployment, FoundInstance, Instance, InstanceState, RuntimeError};
use crate::domain::{AppId, AppName, Environment, ImageRef, ReleaseNumber};
use crate::engine::subnet::{SubnetPool, Subnets};
use crate::engine::{self, EngineInfo, Fault};
use crate::firewall::Firewall;
use crate::gateway::Traffic;
use crate::ownership::Installation;

/// Seconds between SIGTERM and SIGKILL.
const STOP_GRACE_SECS: i32 = 10;

/// Settings for new containers.
#[derive(Debug, Clone)]
pub struct DockerSettings {
    /// Identifies this builder among those that share the engine.
    pub installation: Installation,
    /// The pool of subnets for the apps' networks.
    pub subnets: SubnetPool,
    /// Blocks connections from apps to private addresses.
    pub firewall: Firewall,
    /// Routes of the gateway, which is this runtime's load balancer.
    pub traffic: Traffic,
    /// Runs the tasks that remove replaced releases after they have drained.
    pub tasks: TaskTracker,
    /// Keeps the release that production replaced last as a paused container.
    pub keeps_replaced: bool,
    /// Measures the host's memory, to decide whether paused releases may stay.
    pub memory: HostMemory,
}

/// Runs apps as containers of one engine.
#[derive(Debug, Clone)]
pub struct DockerRuntime {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    docker: Docker,
    settings: DockerSettings,
    /// Serializes the creation of an app's containers, so that two never choose the same address.
    app_locks: Mutex<HashMap<AppId, Arc<tokio::sync::Mutex<()>>>>,
    subnets: Subnets,
    /// The engine has no init program (`docker-init`).
    lacks_init: AtomicBool,
    /// Replaced containers that are being stopped.
    ending: paused::Ending,
    /// Notified after each attempt to pause an instance.
    paused: tokio::sync::Notify,
    /// Number of times that the watch has connected to the engine.
    reached: Sender<u64>,
}

impl DockerRuntime {
    /// Creates a runtime for an engine. Sends no request yet.
    pub fn new(docker: Docker, settings: DockerSettings) -> Self {
        Self {
            inner: Arc::new(Inner {
                docker,
                subnets: Subnets::new(settings.subnets),
                settings,
                app_locks: Mutex::default(),
                lacks_init: AtomicBool::new(false),
                ending: paused::Ending::default(),
                paused: tokio::sync::Notify::new(),
                reached: Sender::new(0),
            }),
        }
    }

    fn docker(&self) -> &Docker {
        &self.inner.docker
    }

    fn installation(&self) -> &Installation {
        &self.inner.settings.installation
    }

    async fn app_lock(&self, app_id: AppId) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.inner.app_locks.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(locks.entry(app_id).or_default())
        };
        lock.lock_owned().await
    }

    pub(super) fn reached(&self) -> Receiver<u64> {
        self.inner.reached.subscribe()
    }

    pub(super) async fn ping(&self) -> Result<EngineInfo, RuntimeError> {
        Ok(engine::ping(self.docker()).await?)
    }

    pub(super) async fn prepare(&self, app: &AppName, app_id: AppId) -> Result<(), RuntimeError> {
        let _one_at_a_time = self.app_lock(app_id).await;
        self.network(app, app_id).await.map(drop)
    }

    pub(super) async fn start(
        &self,
        deployment: &Deployment,
        cancel: &CancellationToken,
    ) -> Result<Instance, RuntimeError> {
        let Deployment { app, app_id, environment, release, .. } = deployment;
        let _one_at_a_time = self.app_lock(*app_id).await;
        let name = self.instance_name(app, *app_id, *environment, *release);
        match self.inspect(&name).await? {
            Some(found) if found.state == InstanceState::Running => return found.instance(),
            Some(found) if found.state == InstanceState::Paused => {
                // Paused manually, or by a builder that died before it unpaused the container.
                self.unpause(&found.id).await?;
                return found.instance();
            }
            Some(found) => self.remove(&found.id).await?,
            None => {}
        }
        self.make_room(deployment).await?;
        let network = self.network(app, *app_id).await?;
        let (image, _) = tokio::join!(self.image(&deployment.image), self.inner.settings.firewall.ensure());
        let image = image?;
        if cancel.is_cancelled() {
            return Err(RuntimeError::Cancelled);
        }
        let mut addresses = self.free_addresses(app, *app_id, &network).await?.into_iter();
        loop {
            let address = addresses.next();
            let init = !self.inner.lacks_init.load(Ordering::Relaxed);
            let body = container::of_deployment(deployment, self.installation(), &image, &network, address, init);
            match self.make(&name, body).await {
                Ok(id) if cancel.is_cancelled() => {
                    self.remove(&id).await?;
                    return Err(RuntimeError::Cancelled);
                }
                Ok(id) => {
                    return match self.inspect(&id).await? {
                        Some(found) => found.instance(),
                        None => Err(RuntimeError::Gone),
                    };
                }
                // Another container has this address: try the next one, and finally let the engine choose.
                Err(RuntimeError::CannotStart(why)) if address.is_some() && why.contains("Address already in use") => {}
                Err(RuntimeError::CannotStart(why)) if init && why.contains("docker-init") => {
                    self.inner.lacks_init.store(true, Ordering::Relaxed);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Creates a container and starts it. A container that does not start is removed.
    async fn make(&self, name: &str, body: ContainerCreateBody) -> Result<String, RuntimeError> {
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        let create = || self.docker().create_container(Some(options.clone()), body.clone());
        let created = match engine::call(engine::SLOW, create()).await {
            Err(Fault::Conflict(_)) => {
                // Left behind by a builder that died between two calls.
                self.remove(name).await?;
                engine::call(engine::SLOW, create()).await
            }
            other => other,
        };
        let id = created.map_err(cannot_start)?.id;
        let started = engine::call(engine::SLOW, self.docker().start_container(&id, None)).await;
        if let Err(fault) = started {
            self.remove(&id).await?;
            return Err(cannot_start(fault));
        }
        Ok(id)
    }

    pub(super) async fn stop(&self, instance: &Instance) -> Result<(), RuntimeError> {
        self.end(&instance.id).await?;
        self.remove(&instance.id).await
    }

    /// Stops a container: SIGTERM first, then SIGKILL.
    async fn end(&self, id: &str) -> Result<(), RuntimeError> {
        let options = StopContainerOptionsBuilder::new().t(STOP_GRACE_SECS).build();
        match engine::call(engine::SLOW, self.docker().stop_container(id, Some(options))).await {
            Ok(()) | Err(Fault::NotFound(_)) => Ok(()),
            Err(fault) => Err(fault.into()),
        }
    }

    /// Removes a container, running or not.
    async fn remove(&self, id: &str) -> Result<(), RuntimeError> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        match engine::call(engine::SLOW, self.docker().remove_container(id, Some(options))).await {
            Ok(()) | Err(Fault::NotFound(_)) => Ok(()),
            // Another request is removing it.
            Err(Fault::Conflict(why)) if why.contains("already in progress") => Ok(()),
            Err(fault) => Err(fault.into()),
        }
    }

    /// Sets whether the engine restarts a container when it exits and when the engine itself starts.
    async fn restart_when_it_ends(&self, id: &str, restart: bool) -> Result<(), RuntimeError> {
        let name = if restart { RestartPolicyNameEnum::UNLESS_STOPPED } else { RestartPolicyNameEnum::NO };
        let policy = RestartPolicy { name: Some(name), maximum_retry_count: None };
        let update = ContainerUpdateBody { restart_policy: Some(policy), ..Default::default() };
        Ok(engine::call(engine::QUICK, self.docker().update_container(id, update)).await?)
    }

    /// Removes the chosen instances of a deployment's environment, except those that are draining.
    async fn remove_instances(
        &self,
        of: &Deployment,
        is_chosen: impl Fn(ReleaseNumber) -> bool + Send,
    ) -> Result<(), RuntimeError> {
        let Deployment { app, app_id, environment, .. } = of;
        for container in self.list(self.installation().app_filter(app, *app_id)).await? {
            let Some(FoundInstance { instance, .. }) = inspect::found_instance(container) else { continue };
            let drains = self.inner.settings.traffic.is_draining(*app_id, *environment, instance.release);
            if instance.environment == *environment && is_chosen(instance.release) && !drains {
                self.stop(&instance).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn remove_app(&self, app: &AppName, app_id: AppId) -> Result<(), RuntimeError> {
        {
            let _one_at_a_time = self.app_lock(app_id).await;
            for container in self.list(self.installation().app_filter(app, app_id)).await? {
                self.remove(&container.id.unwrap_or_default()).await?;
            }
            self.remove_network(app, app_id).await?;
        }
        self.inner.app_locks.lock().unwrap_or_else(PoisonError::into_inner).remove(&app_id);
        Ok(())
    }

    /// The name of an instance's container: readable, and unique on the engine.
    fn instance_name(&self, app: &AppName, app_id: AppId, environment: Environment, release: ReleaseNumber) -> String {
        format!("slipway-{app}-{environment}-{release}.{app_id}.{}", self.installation())
    }

    /// Finds an image in the engine, or pulls it from the registry in its name.
    async fn image(&self, image: &ImageRef) -> Result<ImageInspect, RuntimeError> {
        // Images that were never pushed are found by their id, others by the registry's digest.
        for name in [image.digest(), image.as_str()] {
            match engine::call(engine::QUICK, self.docker().inspect_image(name)).await {
                Ok(found) => return Ok(found),
                Err(Fault::NotFound(_)) => {}
                Err(fault) => return Err(fault.into()),
            }
        }
        let host = image.name().split('/').next().unwrap_or_default();
        if !host.contains(['.', ':']) {
            return Err(RuntimeError::ImageMissing(image.clone()));
        }
        let options = CreateImageOptionsBuilder::new().from_image(image.as_str()).build();
        let pull = self.docker().create_image(Some(options), None, None).try_for_each(async |_| Ok(()));
        match engine::call(engine::SLOW * 5, pull).await {
            Ok(()) => Ok(engine::call(engine::QUICK, self.docker().inspect_image(image.as_str())).await?),
            Err(Fault::NotFound(_)) => Err(RuntimeError::ImageMissing(image.clone())),
            Err(fault) => Err(fault.into()),
        }
    }
}

/// The engine's reason for not starting a container, without internals of the container runtime.
fn cannot_start(fault: Fault) -> RuntimeError {
    match fault {
        Fault::NotFound(why) | Fault::Conflict(why) | Fault::Other(why) => {
            let why = why.rsplit_once("unable to start container process: ").map_or(why.as_str(), |(_, end)| end);
            RuntimeError::CannotStart(why.trim_end_matches(": unknown").trim().to_owned())
        }
        outage => outage.into(),
    }
}
