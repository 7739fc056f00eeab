//! The contract of a runtime: each trait is one part of it.
//!
//! The runtimes differ in their implementations, in optional parts, and in values ([`Reach`], [`Serves`](super::Serves)).
//! No caller tests which runtime it has.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::error::RuntimeError;
use super::types::{
    Answered, Deployment, FoundInstance, Instance, InstanceEvent, LeftRun, LogRate, Restored, RunOutcome, RunSpec,
    ScheduledRun, Stats,
};
use crate::domain::{AppId, AppName, Environment, Probe, ReleaseNumber, RunId};
use crate::engine::EngineInfo;
use crate::gateway::RouteSwitch;
use crate::output::{LineSink, LogLine};

/// Where apps run: the parts of one runtime. Cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    /// Its name for users, such as `Docker engine`.
    pub name: &'static str,
    /// The name of its check on the health page, such as `docker`.
    pub check: &'static str,
    /// How browsers reach previews.
    pub previews: Reach,
    /// How visitors reach production.
    pub production: Reach,
    /// Starts and removes releases.
    pub releases: Arc<dyn Releases>,
    /// Compares the running instances with the desired state.
    pub reconcile: Arc<dyn Reconcile>,
    /// Runs jobs to their end.
    pub runs: Arc<dyn JobRunner>,
    /// Reports the state and the events of instances.
    pub observation: Arc<dyn Observation>,
    /// Starts jobs by their schedules; none if the builder's own scheduler does that.
    pub schedules: Option<Arc<dyn Schedules>>,
    /// Keeps the replaced release paused; none if a roll back always starts the release.
    pub standby: Option<Arc<dyn Standby>>,
    /// Keeps apps away from private addresses with packet filter rules of this machine; none if the runtime does that
    /// by itself.
    pub protection: Option<Arc<dyn Protection>>,
}

/// How browsers reach an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Through the builder's gateway, which sees each request.
    Gateway,
    /// Through an Ingress of the cluster, without the gateway.
    Ingress,
}

/// Starts a release of an app beside another one, switches traffic to it, and removes releases.
#[async_trait]
pub trait Releases: Send + Sync {
    /// Creates what an app needs before its first release, so that the release does not wait for it. Optional:
    /// [`Self::start`] and [`JobRunner::run`] do it as well.
    async fn prepare(&self, app: &AppName, app_id: AppId) -> Result<(), RuntimeError>;

    /// Starts a release. If it runs already, returns that instance; a dead or incomplete one is replaced. The runtime
    /// does not restart it after a crash until [`Self::wait_ready`] has seen it answer. `tell` receives sentences about
    /// what the start waits for.
    async fn start(
        &self,
        deployment: &Deployment,
        tell: &dyn LineSink,
        cancel: &CancellationToken,
    ) -> Result<Instance, RuntimeError>;

    /// Waits until this instance answers its probe with 2xx or 3xx; `deadline` counts from the time it runs. Fails at
    /// once if the instance ends. After it was ready, the runtime restarts it after each crash, and with the engine.
    /// `tell` receives sentences about what delays it.
    async fn wait_ready(
        &self,
        instance: &Instance,
        probe: &Probe,
        deadline: Duration,
        tell: &dyn LineSink,
        cancel: &CancellationToken,
    ) -> Result<Answered, RuntimeError>;

    /// The address of this instance itself, and not of a load balancer in front of it; none if it does not run.
    async fn own_address(&self, instance: &Instance, probe: &Probe) -> Result<Option<SocketAddr>, RuntimeError>;

    /// Switches an environment's traffic to a ready release, and waits until requests arrive there. The release that
    /// served before keeps running, and receives the traffic again unless the caller keeps the returned [`Switched`].
    async fn switch(
        &self,
        deployment: &Deployment,
        instance: &Instance,
        probe: &Probe,
        deadline: Duration,
        tell: &dyn LineSink,
        cancel: &CancellationToken,
    ) -> Result<Switched, RuntimeError>;

    /// Removes the instances that a live release has replaced and that have no requests any more. [`Switched::keep`]
    /// does it as well: this is for a switch that was interrupted by the end of the builder.
    async fn finish(&self, live: &Deployment) -> Result<(), RuntimeError>;

    /// Removes a release that never received traffic, and restores the state of the `live` one. Succeeds if that was
    /// already done.
    async fn abandon(&self, failed: &Deployment, live: Option<&Deployment>) -> Result<(), RuntimeError>;

    /// Removes all that an app runs or ran, with its network or namespace, and waits until it was removed. Succeeds if
    /// there is nothing to remove. `tell` receives sentences about what delays the removal.
    async fn remove_app(&self, app: &AppName, app_id: AppId, tell: &dyn LineSink) -> Result<(), RuntimeError>;
}

/// A switch of traffic to a new release, until its caller has recorded that the release is live. Dropping it undoes the
/// switch in the gateway; [`Releases::abandon`] undoes the runtime's other changes.
#[must_use = "dropping it undoes the switch"]
pub struct Switched {
    route: RouteSwitch,
    finish: BoxFuture<'static, ()>,
    when_drained: BoxFuture<'static, ()>,
    tasks: TaskTracker,
}

impl Switched {
    /// `finish` runs before the job that switched continues, `when_drained` once no request waits for the replaced
    /// release any more.
    pub(super) fn new(
        route: RouteSwitch,
        tasks: &TaskTracker,
        finish: impl Future<Output = ()> + Send + 'static,
        when_drained: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        Self { route, finish: Box::pin(finish), when_drained: Box::pin(when_drained), tasks: tasks.clone() }
    }

    /// Completes the switch, once the release is recorded as live. The replaced instances drain and are removed in the
    /// background; the next reconcile removes those whose removal fails now.
    pub async fn keep(self) {
        let drain = self.route.keep();
        let when_drained = self.when_drained;
        self.tasks.spawn(async move {
            drain.ended().await;
            when_drained.await;
        });
        self.finish.await;
    }
}

/// Compares the running instances with the builder's database, and removes the difference.
#[async_trait]
pub trait Reconcile: Send + Sync {
    /// Lists all instances of all apps, in any state. Runs of jobs are not included.
    async fn instances(&self) -> Result<Vec<FoundInstance>, RuntimeError>;

    /// Restores an environment's live release: starts it if it does not run, and reverts manual changes. `runs` says
    /// whether an instance of it was found.
    async fn restore(
        &self,
        app: AppId,
        environment: Environment,
        runs: bool,
        desired: &dyn DesiredState,
    ) -> Result<Restored, RuntimeError>;

    /// Removes an instance that no release needs, once it has no requests any more.
    async fn remove_orphan(&self, orphan: &Instance, desired: &dyn DesiredState) -> Result<(), RuntimeError>;

    /// A stream without an end: each item means that reconciling is due.
    fn due(&self) -> BoxStream<'static, ()>;
}

/// The desired state according to the builder's database. Runtimes ask through this trait and have no access to the
/// database.
#[async_trait]
pub trait DesiredState: Send + Sync {
    /// Prevents jobs from changing an app's releases until the guard is dropped; none while a job changes them.
    fn hold(&self, app: AppId) -> Option<OwnedMutexGuard<()>>;

    /// An environment's live release with what it needs to run; none if nothing should run, or if a deployment is in
    /// progress, which starts its own release.
    ///
    /// # Errors
    /// [`RuntimeError::StateUnreadable`].
    async fn live(&self, app: AppId, environment: Environment) -> Result<Option<Deployment>, RuntimeError>;

    /// Whether a release is live or being deployed.
    ///
    /// # Errors
    /// [`RuntimeError::StateUnreadable`].
    async fn is_needed(
        &self,
        app: AppId,
        environment: Environment,
        release: ReleaseNumber,
    ) -> Result<bool, RuntimeError>;

    /// Whether a release was live just before the one that is, and stays paused for a while longer.
    ///
    /// # Errors
    /// [`RuntimeError::StateUnreadable`].
    async fn is_kept(&self, app: AppId, environment: Environment, release: ReleaseNumber)
    -> Result<bool, RuntimeError>;
}

/// Executes jobs to their end, and finds the runs that an earlier builder process started.
#[async_trait]
pub trait JobRunner: Send + Sync {
    /// Executes a job to its end and removes its objects. If the run is active already, waits for that one. `log`
    /// receives the lines, limited as described in [`crate::output`]. If this is dropped or the runtime becomes
    /// unavailable, the job itself continues: see [`Self::list`] and [`Self::end`]. Cancelling returns soon, even if
    /// the run's objects cannot be removed at the moment.
    async fn run(
        &self,
        spec: &RunSpec,
        log: &dyn LineSink,
        cancel: &CancellationToken,
    ) -> Result<RunOutcome, RuntimeError>;

    /// Waits for a run that an earlier builder process started with [`Self::run`]. `log` receives its lines from the
    /// first one on; `time_limit` counts from the run's own start.
    async fn attach(
        &self,
        left: &LeftRun,
        time_limit: Duration,
        log: &dyn LineSink,
        cancel: &CancellationToken,
    ) -> Result<RunOutcome, RuntimeError>;

    /// Ends a run whose result is not needed any more, and removes its objects. Succeeds if it does not exist.
    async fn end(&self, app: &AppName, id: &str) -> Result<(), RuntimeError>;

    /// Lists the runs that an earlier builder process started, and whose objects still exist.
    async fn list(&self) -> Result<Vec<LeftRun>, RuntimeError>;

    /// The runtime's own name for a run, see [`LeftRun::id`].
    fn id_of(&self, spec: &RunSpec) -> String;
}

/// Starts jobs by their schedules, in runtimes that have a scheduler of their own.
#[async_trait]
pub trait Schedules: Send + Sync {
    /// Runs a job by its schedule from now on, or stops that if it has none.
    async fn keep(&self, deployment: &Deployment) -> Result<(), RuntimeError>;

    /// The runs that a schedule started and that have no number yet, as a stream without an end. A run may be reported
    /// several times, until [`Self::name`] has given it a number.
    fn started(&self) -> BoxStream<'static, ScheduledRun>;

    /// Gives a scheduled run its number. Follow it with [`JobRunner::attach`].
    ///
    /// # Errors
    /// [`RuntimeError::Gone`] if the run's objects were removed.
    async fn name(&self, scheduled: &ScheduledRun, run: RunId) -> Result<LeftRun, RuntimeError>;
}

/// Keeps the release that production ran before the current one paused, so that a roll back to it starts nothing.
#[async_trait]
pub trait Standby: Send + Sync {
    /// Resumes the instance of the release `earlier` as `deployment`, which has its image and settings. None if it was
    /// removed, or runs with other secrets: then the deployment is started like any other.
    async fn resume(&self, deployment: &Deployment, earlier: ReleaseNumber) -> Result<Option<Instance>, RuntimeError>;

    /// Lists paused instances.
    async fn paused(&self) -> Result<Vec<Instance>, RuntimeError>;

    /// Waits until an instance was paused since the last call.
    async fn next_pause(&self);

    /// Ends an instance, unless it belongs to another release by now. An instance that does not exist is a success.
    async fn end(&self, instance: &Instance) -> Result<(), RuntimeError>;

    /// Whether the machine is short of memory, so that paused instances have to end.
    fn is_memory_short(&self) -> bool;
}

/// Reports the state of instances, and what happens to them.
#[async_trait]
pub trait Observation: Send + Sync {
    /// Reads the runtime's version, with a timeout of five seconds.
    ///
    /// # Errors
    /// [`RuntimeError::Unavailable`] or [`RuntimeError::ClusterUnavailable`] if the runtime does not answer.
    async fn ping(&self) -> Result<EngineInfo, RuntimeError>;

    /// The log of the newest instance, from `tail` lines before its end. With `follow`, the stream continues over
    /// restarts and later releases, until it is dropped.
    fn logs(
        &self,
        app: &AppName,
        app_id: AppId,
        environment: Environment,
        tail: u32,
        follow: bool,
    ) -> BoxStream<'static, Result<LogLine, RuntimeError>>;

    /// How much the newest instance prints; none if that is little, if nothing runs, or if the runtime does not support
    /// it.
    async fn log_rate(
        &self,
        app: &AppName,
        app_id: AppId,
        environment: Environment,
    ) -> Result<Option<LogRate>, RuntimeError>;

    /// The state and the resource usage of an environment's live release; none if it has no instance. May take seconds,
    /// because CPU usage is measured over an interval.
    async fn stats(
        &self,
        app: &AppName,
        app_id: AppId,
        environment: Environment,
        release: ReleaseNumber,
    ) -> Result<Option<Stats>, RuntimeError>;

    /// Events of instances, as a stream without an end. At the start and after each outage of the runtime it reports
    /// the current state of every instance, so that changes during an outage are not lost.
    fn watch(&self) -> BoxStream<'static, InstanceEvent>;
}

/// Keeps apps and builds away from private addresses, in runtimes that need the builder for that.
#[async_trait]
pub trait Protection: Send + Sync {
    /// Applies the packet filter rules for all existing networks. The firewall reports whether they are in place.
    async fn protect(&self) -> Result<(), RuntimeError>;
}
