//! What runs: instances of releases, runs of jobs, their health, logs and end.
//!
//! One contract, two runtimes: a Docker engine, and a Kubernetes cluster. Owns containers and
//! networks, or the objects of the apps' namespaces.
//! Knows nothing of builds, routes, events or the database: images come in by name, and callers
//! read streams or hand in what takes lines.

pub mod docker;
mod error;
pub mod kubernetes;
mod probe;
mod record;
mod types;

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::stream::BoxStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::domain::{AppId, AppName, Environment, Probe, ReleaseNumber, RunId};
use crate::engine::EngineInfo;
use crate::output::LineSink;

pub use docker::{DockerRuntime, DockerSettings};
pub use error::RuntimeError;
pub use kubernetes::{KubernetesRuntime, KubernetesSettings};
pub use types::{
    Answered, Deployment, FoundInstance, Instance, InstanceEvent, InstanceEventKind, InstanceState, LeftRun, LogRate,
    RunOutcome, RunSpec, ScheduledRun, Stats,
};

/// Where apps run.
#[derive(Debug, Clone)]
pub enum Runtime {
    /// Containers of a Docker engine.
    Docker(DockerRuntime),
    /// Objects of a Kubernetes cluster.
    Kubernetes(KubernetesRuntime),
}

impl Runtime {
    /// Asks the runtime who it is; answers within five seconds.
    ///
    /// # Errors
    /// [`RuntimeError::Unavailable`] when nobody answers.
    pub async fn ping(&self) -> Result<EngineInfo, RuntimeError> {
        match self {
            Self::Docker(docker) => docker.ping().await,
            Self::Kubernetes(cluster) => cluster.ping().await,
        }
    }

    /// Has the packet filter rules stand that keep apps away from private addresses, where the builder sees to that.
    ///
    /// # Errors
    /// [`RuntimeError::Unavailable`] when the runtime does not answer. Whether the rules stand, the firewall knows.
    pub async fn protect(&self) -> Result<(), RuntimeError> {
        match self {
            Self::Docker(docker) => docker.protect().await,
            Self::Kubernetes(_) => Ok(()),
        }
    }

    /// Makes what an app needs before its first release, so that the release does not wait for it.
    /// Can be left out: [`Self::start`] and [`Self::run`] do it as well.
    pub async fn prepare(&self, app: &AppName, app_id: AppId) -> Result<(), RuntimeError> {
        match self {
            Self::Docker(docker) => docker.prepare(app, app_id).await,
            Self::Kubernetes(cluster) => cluster.prepare(app, app_id).await,
        }
    }

    /// Starts a release. Where it runs already, that instance is answered; a dead or half-made one is replaced.
    /// It is not started again by itself before [`Self::wait_ready`] has seen it answer. `tell` is handed what it
    /// waits for, in sentences.
    pub async fn start(
        &self,
        deployment: &Deployment,
        tell: &dyn LineSink,
        cancel: &CancellationToken,
    ) -> Result<Instance, RuntimeError> {
        match self {
            Self::Docker(docker) => docker.start(deployment, cancel).await,
            Self::Kubernetes(cluster) => cluster.start(deployment, tell, cancel).await,
        }
    }

    /// Waits until this very instance answers its probe with 2xx or 3xx; `deadline` counts from when it runs. Its
    /// end ends the waiting at once. From then on it is started again whenever it crashes, and with the engine.
    /// `tell` is handed what holds it up while it is still waited for, in sentences.
    pub async fn wait_ready(
        &self,
        instance: &Instance,
        probe: &Probe,
        deadline: Duration,
        tell: &dyn LineSink,
        cancel: &CancellationToken,
    ) -> Result<Answered, RuntimeError> {
        match self {
            Self::Docker(docker) => docker.wait_ready(instance, probe, deadline, cancel).await,
            Self::Kubernetes(cluster) => cluster.wait_ready(instance, probe, deadline, tell, cancel).await,
        }
    }

    /// Where this very instance answers, rather than what stands in front of it; none when it does not run.
    pub async fn own_address(&self, instance: &Instance, probe: &Probe) -> Result<Option<SocketAddr>, RuntimeError> {
        match self {
            Self::Docker(_) => Ok(instance.address),
            Self::Kubernetes(cluster) => cluster.pod_address(instance, probe.port).await,
        }
    }

    /// Leads traffic to a release that is ready, where the runtime does that rather than the gateway, and waits
    /// until it has arrived there. What ran before is still there, and can receive traffic again by [`Self::abandon`].
    pub async fn switch_traffic(
        &self,
        deployment: &Deployment,
        instance: Instance,
        probe: &Probe,
        deadline: Duration,
        tell: &dyn LineSink,
        cancel: &CancellationToken,
    ) -> Result<Instance, RuntimeError> {
        match self {
            Self::Docker(_) => Ok(instance),
            Self::Kubernetes(cluster) => cluster.switch_traffic(deployment, probe, deadline, tell, cancel).await,
        }
    }

    /// Scales down the previous release once traffic has switched, where the runtime does that. Does not wait for its end.
    pub async fn finish_rollout(&self, deployment: &Deployment) -> Result<(), RuntimeError> {
        match self {
            Self::Docker(_) => Ok(()),
            Self::Kubernetes(cluster) => cluster.finish_rollout(deployment).await,
        }
    }

    /// Asks the instance to end, ends it after ten seconds, and removes it. Already gone is success.
    pub async fn stop(&self, instance: &Instance) -> Result<(), RuntimeError> {
        match self {
            Self::Docker(docker) => docker.stop(instance).await,
            Self::Kubernetes(cluster) => cluster.stop(instance).await,
        }
    }

    /// Starts a stopped instance again. Follow it with [`Self::wait_ready`].
    ///
    /// # Errors
    /// [`RuntimeError::Gone`] when there is nothing left to start.
    pub async fn resume(&self, instance: &Instance) -> Result<Instance, RuntimeError> {
        match self {
            Self::Docker(docker) => docker.resume(instance).await,
            Self::Kubernetes(cluster) => cluster.resume(instance).await,
        }
    }

    /// All instances of all apps, whatever they do. Runs of jobs are not among them.
    pub async fn instances(&self) -> Result<Vec<FoundInstance>, RuntimeError> {
        match self {
            Self::Docker(docker) => docker.instances().await,
            Self::Kubernetes(cluster) => cluster.instances().await,
        }
    }

    /// The instance of one release, if there is one.
    pub async fn find(
        &self,
        app: &AppName,
        app_id: AppId,
        environment: Environment,
        release: ReleaseNumber,
    ) -> Result<Option<FoundInstance>, RuntimeError> {
        match self {
            Self::Docker(docker) => docker.find(app, app_id, environment, release).await,
            Self::Kubernetes(cluster) => cluster.find(app, app_id, environment, release).await,
        }
    }

    /// Removes all that an app runs or ran, with its network or namespace, and waits until it is gone. Already
    /// gone is success. `tell` is handed what holds it up, in sentences.
    pub async fn remove_app(&self, app: &AppName, app_id: AppId, tell: &dyn LineSink) -> Result<(), RuntimeError> {
        match self {
            Self::Docker(docker) => docker.remove_app(app, app_id).await,
            Self::Kubernetes(cluster) => cluster.remove_app(app, app_id, tell).await,
        }
    }

    /// What the newest instance wrote, from `tail` lines before its end. With `follow` the stream goes on,
    /// over restarts and on to later releases, until it is dropped.
    pub fn logs(
        &self,
        app: &AppName,
        app_id: AppId,
        environment: Environment,
        tail: u32,
        follow: bool,
    ) -> BoxStream<'static, Result<String, RuntimeError>> {
        match self {
            Self::Docker(docker) => docker.logs(app, app_id, environment, tail, follow),
            Self::Kubernetes(cluster) => cluster.logs(app, app_id, environment, tail, follow),
        }
    }

    /// How much the newest instance prints; none where that is little, nothing runs, or the runtime cannot tell.
    pub async fn log_rate(
        &self,
        app: &AppName,
        app_id: AppId,
        environment: Environment,
    ) -> Result<Option<LogRate>, RuntimeError> {
        match self {
            Self::Docker(docker) => docker.log_rate(app, app_id, environment).await,
            Self::Kubernetes(_) => Ok(None),
        }
    }

    /// What happens to instances, without end. It begins, and begins again after each outage of the runtime,
    /// by stating what every instance does, so that nothing is missed for good.
    pub fn watch(&self) -> BoxStream<'static, InstanceEvent> {
        match self {
            Self::Docker(docker) => docker.watch(),
            Self::Kubernetes(cluster) => cluster.watch(),
        }
    }

    /// Changes each time [`Self::watch`] has reached the runtime, first and after each outage; none where the watch
    /// itself tells of what went during an outage.
    pub fn reached(&self) -> Option<watch::Receiver<u64>> {
        match self {
            Self::Docker(docker) => Some(docker.reached()),
            Self::Kubernetes(_) => None,
        }
    }

    /// Runs a job to its end and removes what is left of it. A run that goes on already is joined.
    /// `log` is handed the lines, bounded as [`crate::output`] says. When this is dropped or the runtime goes away,
    /// the job itself goes on: see [`Self::runs`] and [`Self::end_run`]. Cancelling answers soon, even
    /// where what is left of it cannot be removed for now.
    pub async fn run(
        &self,
        spec: &RunSpec,
        log: &dyn LineSink,
        cancel: &CancellationToken,
    ) -> Result<RunOutcome, RuntimeError> {
        match self {
            // Boxed: it holds several of the engine's streams at once.
            Self::Docker(docker) => Box::pin(docker.run(spec, log, cancel)).await,
            Self::Kubernetes(cluster) => Box::pin(cluster.run(spec, log, cancel)).await,
        }
    }

    /// The runtime's own name for a run, as [`LeftRun::id`] has it.
    pub fn run_id(&self, spec: &RunSpec) -> String {
        match self {
            Self::Docker(docker) => docker.run_name(spec),
            Self::Kubernetes(_) => KubernetesRuntime::run_name(spec),
        }
    }

    /// Ends a run that nobody waits for any more, and removes what is left of it. Already gone is success.
    pub async fn end_run(&self, app: &AppName, id: &str) -> Result<(), RuntimeError> {
        match self {
            Self::Docker(docker) => docker.end_run(id).await,
            Self::Kubernetes(cluster) => cluster.end_run(app, id).await,
        }
    }

    /// Runs that an earlier builder started and nobody has waited for.
    pub async fn runs(&self) -> Result<Vec<LeftRun>, RuntimeError> {
        match self {
            Self::Docker(docker) => docker.runs().await,
            Self::Kubernetes(cluster) => cluster.runs().await,
        }
    }

    /// Waits for such a run as [`Self::run`] does. `log` is handed its lines from the first one on;
    /// `time_limit` counts from the run's own start.
    pub async fn attach_run(
        &self,
        left: &LeftRun,
        time_limit: Duration,
        log: &dyn LineSink,
        cancel: &CancellationToken,
    ) -> Result<RunOutcome, RuntimeError> {
        match self {
            Self::Docker(docker) => Box::pin(docker.attach_run(left, time_limit, log, cancel)).await,
            Self::Kubernetes(cluster) => Box::pin(cluster.attach_run(left, time_limit, log, cancel)).await,
        }
    }

    /// How an environment's live release runs and what it uses; none when nothing of it is there. May take
    /// seconds: the use of a core is measured over a while.
    pub async fn stats(
        &self,
        app: &AppName,
        app_id: AppId,
        environment: Environment,
        release: ReleaseNumber,
    ) -> Result<Option<Stats>, RuntimeError> {
        match self {
            Self::Docker(docker) => docker.stats(app, app_id, environment, release).await,
            Self::Kubernetes(cluster) => cluster.stats(app, app_id, environment).await,
        }
    }

    /// Whether the runtime starts scheduled jobs by itself: see [`Self::schedule`] and [`Self::scheduled_runs`].
    pub fn keeps_schedules(&self) -> bool {
        match self {
            Self::Docker(_) => false,
            Self::Kubernetes(_) => true,
        }
    }

    /// Has the runtime run a job by its schedule from now on, or not any more if it has none. A runtime
    /// that keeps no schedules has nothing to do.
    pub async fn schedule(&self, deployment: &Deployment) -> Result<(), RuntimeError> {
        match self {
            Self::Docker(_) => Ok(()),
            Self::Kubernetes(cluster) => cluster.keep(deployment).await,
        }
    }

    /// Runs that the runtime started by a schedule and that have no number yet, without end. Each may come
    /// more than once, until [`Self::name_run`] has given it one.
    pub fn scheduled_runs(&self) -> BoxStream<'static, ScheduledRun> {
        match self {
            Self::Docker(_) => Box::pin(futures_util::stream::pending()),
            Self::Kubernetes(cluster) => cluster.scheduled_runs(),
        }
    }

    /// Gives a scheduled run its number. Follow it with [`Self::attach_run`].
    ///
    /// # Errors
    /// [`RuntimeError::Gone`] when nothing is left of it.
    pub async fn name_run(&self, scheduled: &ScheduledRun, run: RunId) -> Result<LeftRun, RuntimeError> {
        match self {
            Self::Docker(_) => Err(RuntimeError::Gone),
            Self::Kubernetes(cluster) => cluster.name_run(scheduled, run).await,
        }
    }

    /// Puts back what ran before a release that did not come up, or takes all of it away where nothing did:
    /// old and new run side by side until the new one has taken over. Already done is success.
    pub async fn abandon(&self, failed: &Deployment, previous: Option<&Deployment>) -> Result<(), RuntimeError> {
        match self {
            Self::Docker(docker) => {
                let found = docker.find(&failed.app, failed.app_id, failed.environment, failed.release).await?;
                match found {
                    Some(found) => docker.stop(&found.instance).await,
                    None => Ok(()),
                }
            }
            Self::Kubernetes(cluster) => cluster.abandon(failed, previous).await,
        }
    }

    /// Puts what a live release consists of back to what it should be, where somebody changed it by hand.
    /// A runtime whose parts cannot be changed has nothing to do.
    pub async fn keep(&self, deployment: &Deployment) -> Result<(), RuntimeError> {
        match self {
            Self::Docker(_) => Ok(()),
            Self::Kubernetes(cluster) => cluster.reconcile(deployment).await,
        }
    }

    /// Whether all releases of an environment have one address, which leads to the live one, rather than each
    /// its own; [`Self::keep`] has something to do then.
    pub fn replaces_in_place(&self) -> bool {
        match self {
            Self::Docker(_) => false,
            Self::Kubernetes(_) => true,
        }
    }

    /// What people call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Docker(_) => "Docker engine",
            Self::Kubernetes(_) => "Kubernetes cluster",
        }
    }
}
