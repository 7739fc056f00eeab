//! The parts of the runtime contract, implemented for a Docker engine.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio_stream::wrappers::WatchStream;
use tokio_util::sync::CancellationToken;

use super::super::{
    Answered, Deployment, DesiredState, FoundInstance, Instance, InstanceEvent, JobRunner, LeftRun, LogRate,
    Observation, Protection, Reach, Reconcile, Releases, Restored, RunOutcome, RunSpec, Runtime, RuntimeError, Standby,
    Stats, Switched,
};
use super::DockerRuntime;
use crate::domain::{AppId, AppName, Environment, Probe, ProcessKind, ReleaseNumber};
use crate::engine::EngineInfo;
use crate::gateway::Upstream;
use crate::output::{LineSink, LogLine};

impl From<DockerRuntime> for Runtime {
    fn from(docker: DockerRuntime) -> Self {
        let docker = Arc::new(docker);
        Self {
            name: "Docker engine",
            check: "docker",
            previews: Reach::Gateway,
            production: Reach::Gateway,
            releases: docker.clone(),
            reconcile: docker.clone(),
            runs: docker.clone(),
            observation: docker.clone(),
            schedules: None,
            standby: Some(docker.clone()),
            protection: Some(docker),
        }
    }
}

#[async_trait]
impl Releases for DockerRuntime {
    async fn prepare(&self, app: &AppName, app_id: AppId) -> Result<(), RuntimeError> {
        self.prepare(app, app_id).await
    }

    async fn start(
        &self,
        deployment: &Deployment,
        _tell: &dyn LineSink,
        cancel: &CancellationToken,
    ) -> Result<Instance, RuntimeError> {
        self.start(deployment, cancel).await
    }

    async fn wait_ready(
        &self,
        instance: &Instance,
        probe: &Probe,
        deadline: Duration,
        _tell: &dyn LineSink,
        cancel: &CancellationToken,
    ) -> Result<Answered, RuntimeError> {
        self.wait_ready(instance, probe, deadline, cancel).await
    }

    async fn own_address(&self, instance: &Instance, _probe: &Probe) -> Result<Option<SocketAddr>, RuntimeError> {
        Ok(instance.address)
    }

    async fn switch(
        &self,
        deployment: &Deployment,
        instance: &Instance,
        _probe: &Probe,
        _deadline: Duration,
        _tell: &dyn LineSink,
        cancel: &CancellationToken,
    ) -> Result<Switched, RuntimeError> {
        if cancel.is_cancelled() {
            return Err(RuntimeError::Cancelled);
        }
        let Some(address) = instance.address else {
            return Err(RuntimeError::CannotStart("it has no address to lead traffic to".to_owned()));
        };
        let Deployment { app, app_id, environment, release, .. } = deployment;
        let to = Upstream { address, release: *release };
        let route = self.inner.settings.traffic.switch(app, *app_id, *environment, to).await;
        let (docker, live) = (self.clone(), deployment.clone());
        let when_drained = async move {
            if let Err(error) = docker.retire(&live).await {
                tracing::warn!(app = %live.app, environment = %live.environment, %error, "failed to pause or remove an old container; the next start retries");
            }
        };
        Ok(Switched::new(route, &self.inner.settings.tasks, std::future::ready(()), when_drained))
    }

    async fn finish(&self, live: &Deployment) -> Result<(), RuntimeError> {
        self.retire(live).await
    }

    async fn abandon(&self, failed: &Deployment, live: Option<&Deployment>) -> Result<(), RuntimeError> {
        let live = live.map(|live| live.release);
        self.remove_instances(failed, |release| release <= failed.release && Some(release) != live).await
    }

    async fn remove_app(&self, app: &AppName, app_id: AppId, _tell: &dyn LineSink) -> Result<(), RuntimeError> {
        self.remove_app(app, app_id).await
    }
}

#[async_trait]
impl Reconcile for DockerRuntime {
    async fn instances(&self) -> Result<Vec<FoundInstance>, RuntimeError> {
        self.instances().await
    }

    async fn restore(
        &self,
        app: AppId,
        environment: Environment,
        runs: bool,
        desired: &dyn DesiredState,
    ) -> Result<Restored, RuntimeError> {
        if runs {
            return Ok(Restored::Nothing);
        }
        match desired.live(app, environment).await? {
            Some(live) if live.spec.process != ProcessKind::Job => {
                tracing::info!(app = %live.app, %environment, release = live.release.0, "restarting a live release");
                let instance = Box::pin(self.start(&live, &CancellationToken::new())).await?;
                Ok(Restored::Started(Box::new(live), instance))
            }
            _ => Ok(Restored::Nothing),
        }
    }

    async fn remove_orphan(&self, orphan: &Instance, _desired: &dyn DesiredState) -> Result<(), RuntimeError> {
        // It may still have requests from before traffic was switched: the task that drains it removes it.
        if self.inner.settings.traffic.is_draining(orphan.app_id, orphan.environment, orphan.release) {
            return Ok(());
        }
        self.end_replaced(orphan).await
    }

    fn due(&self) -> BoxStream<'static, ()> {
        // The engine restarts containers by itself, so reconciling is due only after a time in which containers were
        // not watched.
        WatchStream::from_changes(self.reached()).map(drop).boxed()
    }
}

#[async_trait]
impl JobRunner for DockerRuntime {
    async fn run(
        &self,
        spec: &RunSpec,
        log: &dyn LineSink,
        cancel: &CancellationToken,
    ) -> Result<RunOutcome, RuntimeError> {
        self.run(spec, log, cancel).await
    }

    async fn attach(
        &self,
        left: &LeftRun,
        time_limit: Duration,
        log: &dyn LineSink,
        cancel: &CancellationToken,
    ) -> Result<RunOutcome, RuntimeError> {
        self.attach_run(left, time_limit, log, cancel).await
    }

    async fn end(&self, _app: &AppName, id: &str) -> Result<(), RuntimeError> {
        self.end_run(id).await
    }

    async fn list(&self) -> Result<Vec<LeftRun>, RuntimeError> {
        self.runs().await
    }

    fn id_of(&self, spec: &RunSpec) -> String {
        self.run_name(spec)
    }
}

#[async_trait]
impl Observation for DockerRuntime {
    async fn ping(&self) -> Result<EngineInfo, RuntimeError> {
        self.ping().await
    }

    fn logs(
        &self,
        app: &AppName,
        app_id: AppId,
        environment: Environment,
        tail: u32,
        follow: bool,
    ) -> BoxStream<'static, Result<LogLine, RuntimeError>> {
        self.logs(app, app_id, environment, tail, follow)
    }

    async fn log_rate(
        &self,
        app: &AppName,
        app_id: AppId,
        environment: Environment,
    ) -> Result<Option<LogRate>, RuntimeError> {
        self.log_rate(app, app_id, environment).await
    }

    async fn stats(
        &self,
        app: &AppName,
        app_id: AppId,
        environment: Environment,
        release: ReleaseNumber,
    ) -> Result<Option<Stats>, RuntimeError> {
        self.stats(app, app_id, environment, release).await
    }

    fn watch(&self) -> BoxStream<'static, InstanceEvent> {
        self.watch()
    }
}

#[async_trait]
impl Standby for DockerRuntime {
    async fn resume(&self, deployment: &Deployment, earlier: ReleaseNumber) -> Result<Option<Instance>, RuntimeError> {
        self.resume(deployment, earlier).await
    }

    async fn paused(&self) -> Result<Vec<Instance>, RuntimeError> {
        self.paused().await
    }

    async fn next_pause(&self) {
        self.next_pause().await;
    }

    async fn end(&self, instance: &Instance) -> Result<(), RuntimeError> {
        self.end_replaced(instance).await
    }

    fn is_memory_short(&self) -> bool {
        self.is_memory_short()
    }
}

#[async_trait]
impl Protection for DockerRuntime {
    async fn protect(&self) -> Result<(), RuntimeError> {
        self.protect().await
    }
}
