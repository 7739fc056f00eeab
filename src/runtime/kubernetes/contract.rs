//! The parts of the runtime contract, implemented for a Kubernetes cluster.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio_util::sync::CancellationToken;

use super::super::{
    Answered, Deployment, DesiredState, FoundInstance, Instance, InstanceEvent, JobRunner, LeftRun, LogRate,
    Observation, Reach, Reconcile, Releases, Restored, RunOutcome, RunSpec, Runtime, RuntimeError, ScheduledRun,
    Schedules, Stats, Switched,
};
use super::KubernetesRuntime;
use crate::domain::{AppId, AppName, Environment, Probe, ReleaseNumber, RunId};
use crate::engine::EngineInfo;
use crate::gateway::Upstream;
use crate::output::{LineSink, LogLine};

impl From<KubernetesRuntime> for Runtime {
    fn from(cluster: KubernetesRuntime) -> Self {
        // A preview that requires a login has no Ingress: requests to it go through the builder, which checks the
        // login.
        let previews = if cluster.settings().protects_previews { Reach::Gateway } else { Reach::Ingress };
        let cluster = Arc::new(cluster);
        Self {
            name: "Kubernetes cluster",
            check: "kubernetes",
            previews,
            production: Reach::Ingress,
            releases: cluster.clone(),
            reconcile: cluster.clone(),
            runs: cluster.clone(),
            observation: cluster.clone(),
            schedules: Some(cluster),
            standby: None,
            protection: None,
        }
    }
}

#[async_trait]
impl Releases for KubernetesRuntime {
    async fn prepare(&self, app: &AppName, app_id: AppId) -> Result<(), RuntimeError> {
        self.prepare(app, app_id).await
    }

    async fn start(
        &self,
        deployment: &Deployment,
        tell: &dyn LineSink,
        cancel: &CancellationToken,
    ) -> Result<Instance, RuntimeError> {
        self.start(deployment, tell, cancel).await
    }

    async fn wait_ready(
        &self,
        instance: &Instance,
        probe: &Probe,
        deadline: Duration,
        tell: &dyn LineSink,
        cancel: &CancellationToken,
    ) -> Result<Answered, RuntimeError> {
        self.wait_ready(instance, probe, deadline, tell, cancel).await
    }

    async fn own_address(&self, instance: &Instance, probe: &Probe) -> Result<Option<SocketAddr>, RuntimeError> {
        self.pod_address(instance, probe.port).await
    }

    async fn switch(
        &self,
        deployment: &Deployment,
        _instance: &Instance,
        probe: &Probe,
        deadline: Duration,
        tell: &dyn LineSink,
        cancel: &CancellationToken,
    ) -> Result<Switched, RuntimeError> {
        let address = self.switch_traffic(deployment, probe, deadline, tell, cancel).await?;
        let Deployment { app, app_id, environment, release, .. } = deployment;
        let to = Upstream { address, release: *release };
        let route = self.inner.traffic.switch(app, *app_id, *environment, to).await;
        let (cluster, live) = (self.clone(), deployment.clone());
        let finish = async move {
            if let Err(error) = cluster.finish_rollout(&live).await {
                tracing::warn!(app = %live.app, %error, "failed to scale down the previous release; the next reconcile retries");
            }
        };
        // The Deployment removes the old pods by itself.
        Ok(Switched::new(route, &self.inner.tasks, finish, std::future::ready(())))
    }

    async fn finish(&self, live: &Deployment) -> Result<(), RuntimeError> {
        self.finish_rollout(live).await
    }

    async fn abandon(&self, failed: &Deployment, live: Option<&Deployment>) -> Result<(), RuntimeError> {
        self.abandon(failed, live).await
    }

    async fn remove_app(&self, app: &AppName, app_id: AppId, tell: &dyn LineSink) -> Result<(), RuntimeError> {
        self.remove_app(app, app_id, tell).await
    }
}

#[async_trait]
impl Reconcile for KubernetesRuntime {
    async fn instances(&self) -> Result<Vec<FoundInstance>, RuntimeError> {
        self.instances().await
    }

    async fn restore(
        &self,
        app: AppId,
        environment: Environment,
        _runs: bool,
        desired: &dyn DesiredState,
    ) -> Result<Restored, RuntimeError> {
        // All releases of an environment share one Deployment: to apply the live release would undo what a running job
        // has applied. That job reconciles the environment as well, and so does the next pass.
        let Some(_alone) = desired.hold(app) else { return Ok(Restored::Nothing) };
        if let Some(live) = desired.live(app, environment).await? {
            Box::pin(self.reconcile(&live)).await?;
        }
        Ok(Restored::Nothing)
    }

    async fn remove_orphan(&self, orphan: &Instance, desired: &dyn DesiredState) -> Result<(), RuntimeError> {
        let Some(_alone) = desired.hold(orphan.app_id) else { return Ok(()) };
        // Checked again: a job may have deployed this release before the lock was acquired.
        if desired.is_needed(orphan.app_id, orphan.environment, orphan.release).await? {
            return Ok(());
        }
        match desired.live(orphan.app_id, orphan.environment).await? {
            // The live release's pods run beside the orphan's, in the same Deployment.
            Some(live) => Box::pin(self.reconcile(&live)).await,
            None => self.stop(orphan).await,
        }
    }

    fn due(&self) -> BoxStream<'static, ()> {
        // Drift is found by comparing periodically, since not all objects are watched.
        let every = self.settings().reconcile_every;
        futures_util::stream::unfold((), move |()| async move {
            tokio::time::sleep(every).await;
            Some(((), ()))
        })
        .boxed()
    }
}

#[async_trait]
impl JobRunner for KubernetesRuntime {
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

    async fn end(&self, app: &AppName, id: &str) -> Result<(), RuntimeError> {
        self.end_run(app, id).await
    }

    async fn list(&self) -> Result<Vec<LeftRun>, RuntimeError> {
        self.runs().await
    }

    fn id_of(&self, spec: &RunSpec) -> String {
        Self::run_name(spec)
    }
}

#[async_trait]
impl Schedules for KubernetesRuntime {
    async fn keep(&self, deployment: &Deployment) -> Result<(), RuntimeError> {
        self.keep(deployment).await
    }

    fn started(&self) -> BoxStream<'static, ScheduledRun> {
        self.scheduled_runs()
    }

    async fn name(&self, scheduled: &ScheduledRun, run: RunId) -> Result<LeftRun, RuntimeError> {
        self.name_run(scheduled, run).await
    }
}

#[async_trait]
impl Observation for KubernetesRuntime {
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
        _app: &AppName,
        _app_id: AppId,
        _environment: Environment,
    ) -> Result<Option<LogRate>, RuntimeError> {
        Ok(None)
    }

    async fn stats(
        &self,
        app: &AppName,
        app_id: AppId,
        environment: Environment,
        _release: ReleaseNumber,
    ) -> Result<Option<Stats>, RuntimeError> {
        self.stats(app, app_id, environment).await
    }

    fn watch(&self) -> BoxStream<'static, InstanceEvent> {
        self.watch()
    }
}
