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
use crate::output::LineSink;

/// Where apps run: the parts of one runtime. Cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    /// What people call it, such as `Docker engine`.
    pub name: &'static str,
    /// The name of its check on the health page, such as `docker`.
    pub check: &'static str,
    /// How browsers reach previews.
    pub previews: Reach,
    /// Brings releases up and takes them down.
    pub releases: Arc<dyn Releases>,
    /// Has what should run do so.
    pub reconcile: Arc<dyn Reconcile>,
    /// Runs jobs to their end.
    pub runs: Arc<dyn JobRunner>,
    /// Says how what runs does.
    pub observation: Arc<dyn Observation>,
    /// Starts jobs by their schedules; none where the builder's own scheduler does that.
    pub schedules: Option<Arc<dyn Schedules>>,
    /// Keeps the release that was just replaced at hand; none where a roll back starts it anew.
    pub standby: Option<Arc<dyn Standby>>,
    /// Keeps apps away from private addresses by rules of this machine; none where the runtime does that by itself.
    pub protection: Option<Arc<dyn Protection>>,
}

/// How browsers reach an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Through the builder's gateway, which sees each request.
    Gateway,
    /// Through an Ingress of the cluster, past the gateway.
    Ingress,
}

/// Brings one release of an app up beside another, leads traffic to it, and takes it down.
#[async_trait]
pub trait Releases: Send + Sync {
    /// Makes what an app needs before its first release, so that the release does not wait for it. Can be left out:
    /// [`Self::start`] and [`JobRunner::run`] do it as well.
    async fn prepare(&self, app: &AppName, app_id: AppId) -> Result<(), RuntimeError>;

    /// Starts a release. Where it runs already, that instance is answered; a dead or half-made one is replaced.
    /// It is not started again by itself before [`Self::wait_ready`] has seen it answer. `tell` is handed what it
    /// waits for, in sentences.
    async fn start(
        &self,
        deployment: &Deployment,
        tell: &dyn LineSink,
        cancel: &CancellationToken,
    ) -> Result<Instance, RuntimeError>;

    /// Waits until this very instance answers its probe with 2xx or 3xx; `deadline` counts from when it runs. Its
    /// end ends the waiting at once. From then on it is started again whenever it crashes, and with the engine.
    /// `tell` is handed what holds it up while it is still waited for, in sentences.
    async fn wait_ready(
        &self,
        instance: &Instance,
        probe: &Probe,
        deadline: Duration,
        tell: &dyn LineSink,
        cancel: &CancellationToken,
    ) -> Result<Answered, RuntimeError>;

    /// Says where this very instance answers, rather than what stands in front of it; none when it does not run.
    async fn own_address(&self, instance: &Instance, probe: &Probe) -> Result<Option<SocketAddr>, RuntimeError>;

    /// Leads an environment's traffic to a release that is ready, and waits until it has arrived there. What served
    /// before is still there: it gets the traffic back unless the caller keeps the answer, see [`Switched`].
    async fn switch(
        &self,
        deployment: &Deployment,
        instance: &Instance,
        probe: &Probe,
        deadline: Duration,
        tell: &dyn LineSink,
        cancel: &CancellationToken,
    ) -> Result<Switched, RuntimeError>;

    /// Removes what a live release has replaced and that has no requests any more. [`Switched::keep`] does it as
    /// well: this is for a builder that died in between.
    async fn finish(&self, live: &Deployment) -> Result<(), RuntimeError>;

    /// Ends a release that never took traffic, and has what is `live` go on as if it had not been there. Already done
    /// is success.
    async fn abandon(&self, failed: &Deployment, live: Option<&Deployment>) -> Result<(), RuntimeError>;

    /// Removes all that an app runs or ran, with its network or namespace, and waits until it is gone. Already
    /// gone is success. `tell` is handed what holds it up, in sentences.
    async fn remove_app(&self, app: &AppName, app_id: AppId, tell: &dyn LineSink) -> Result<(), RuntimeError>;
}

/// Traffic that leads to a new release while its caller records that the release is live. Dropping it instead leads
/// the gateway's traffic back; what else the runtime changed, [`Releases::abandon`] puts back.
#[must_use = "dropping it undoes the switch"]
pub struct Switched {
    route: RouteSwitch,
    finish: BoxFuture<'static, ()>,
    when_drained: BoxFuture<'static, ()>,
    tasks: TaskTracker,
}

impl Switched {
    /// `finish` is done before the job that switched goes on, `when_drained` once nobody waits for the replaced
    /// release any more.
    pub(super) fn new(
        route: RouteSwitch,
        tasks: &TaskTracker,
        finish: impl Future<Output = ()> + Send + 'static,
        when_drained: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        Self { route, finish: Box::pin(finish), when_drained: Box::pin(when_drained), tasks: tasks.clone() }
    }

    /// The release is live, and recorded as such. What served before drains and is removed in the background; what
    /// cannot be removed now, the next reconcile does.
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

/// Has what runs be what the builder's database says.
#[async_trait]
pub trait Reconcile: Send + Sync {
    /// Lists all instances of all apps, whatever they do. Runs of jobs are not among them.
    async fn instances(&self) -> Result<Vec<FoundInstance>, RuntimeError>;

    /// Has an environment's live release run as it should: starts it where it does not run, and puts back what
    /// somebody changed by hand. `runs` says that an instance of it was found.
    async fn restore(
        &self,
        app: AppId,
        environment: Environment,
        runs: bool,
        desired: &dyn DesiredState,
    ) -> Result<Restored, RuntimeError>;

    /// Removes an instance that no release needs, once it has no requests any more.
    async fn remove_orphan(&self, orphan: &Instance, desired: &dyn DesiredState) -> Result<(), RuntimeError>;

    /// Tells, without end, when what runs is to be compared with what should run again.
    fn due(&self) -> BoxStream<'static, ()>;
}

/// What the builder's database says should run: a runtime asks it, and does not see the database.
#[async_trait]
pub trait DesiredState: Send + Sync {
    /// Keeps jobs from changing an app's releases until the answer is dropped; none while a job does so.
    fn hold(&self, app: AppId) -> Option<OwnedMutexGuard<()>>;

    /// An environment's live release with what it needs to run; none where nothing is to run, or where a deployment
    /// is on its way, which brings its own.
    ///
    /// # Errors
    /// [`RuntimeError::StateUnreadable`].
    async fn live(&self, app: AppId, environment: Environment) -> Result<Option<Deployment>, RuntimeError>;

    /// Whether a release is live or on its way.
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

/// Runs jobs to their end, and finds those that an earlier builder started.
#[async_trait]
pub trait JobRunner: Send + Sync {
    /// Runs a job to its end and removes what is left of it. A run that goes on already is joined.
    /// `log` is handed the lines, bounded as [`crate::output`] says. When this is dropped or the runtime goes away,
    /// the job itself goes on: see [`Self::list`] and [`Self::end`]. Cancelling answers soon, even
    /// where what is left of it cannot be removed for now.
    async fn run(
        &self,
        spec: &RunSpec,
        log: &dyn LineSink,
        cancel: &CancellationToken,
    ) -> Result<RunOutcome, RuntimeError>;

    /// Waits for a run that an earlier builder started as [`Self::run`] does. `log` is handed its lines from the first
    /// one on; `time_limit` counts from the run's own start.
    async fn attach(
        &self,
        left: &LeftRun,
        time_limit: Duration,
        log: &dyn LineSink,
        cancel: &CancellationToken,
    ) -> Result<RunOutcome, RuntimeError>;

    /// Ends a run that nobody waits for any more, and removes what is left of it. Already gone is success.
    async fn end(&self, app: &AppName, id: &str) -> Result<(), RuntimeError>;

    /// Lists runs that an earlier builder started and nobody has waited for.
    async fn list(&self) -> Result<Vec<LeftRun>, RuntimeError>;

    /// Says the runtime's own name for a run, as [`LeftRun::id`] has it.
    fn id_of(&self, spec: &RunSpec) -> String;
}

/// Starts jobs by their schedules, where a runtime does that rather than the builder.
#[async_trait]
pub trait Schedules: Send + Sync {
    /// Has a job run by its schedule from now on, or not any more if it has none.
    async fn keep(&self, deployment: &Deployment) -> Result<(), RuntimeError>;

    /// Tells, without end, of runs that were started by a schedule and have no number yet. Each may come more than
    /// once, until [`Self::name`] has given it one.
    fn started(&self) -> BoxStream<'static, ScheduledRun>;

    /// Gives a scheduled run its number. Follow it with [`JobRunner::attach`].
    ///
    /// # Errors
    /// [`RuntimeError::Gone`] when nothing is left of it.
    async fn name(&self, scheduled: &ScheduledRun, run: RunId) -> Result<LeftRun, RuntimeError>;
}

/// Keeps the release that production ran just before paused, so that a roll back to it needs no start.
#[async_trait]
pub trait Standby: Send + Sync {
    /// Has what is left of the release `earlier` go on as `deployment`, which has its image and settings. None when it is
    /// not there any more, or runs with other secrets: then the deployment is started as any other.
    async fn resume(&self, deployment: &Deployment, earlier: ReleaseNumber) -> Result<Option<Instance>, RuntimeError>;

    /// Lists what is paused.
    async fn paused(&self) -> Result<Vec<Instance>, RuntimeError>;

    /// Ends an instance, unless it belongs to another release by now. Already gone is success.
    async fn end(&self, instance: &Instance) -> Result<(), RuntimeError>;

    /// Whether the machine has little memory left, so that what is paused has to go.
    fn is_memory_short(&self) -> bool;
}

/// Says how what runs does, and what happens to it.
#[async_trait]
pub trait Observation: Send + Sync {
    /// Asks the runtime who it is; answers within five seconds.
    ///
    /// # Errors
    /// [`RuntimeError::Unavailable`] or [`RuntimeError::ClusterUnavailable`] when nobody answers.
    async fn ping(&self) -> Result<EngineInfo, RuntimeError>;

    /// Hands out what the newest instance wrote, from `tail` lines before its end. With `follow` the stream goes on,
    /// over restarts and on to later releases, until it is dropped.
    fn logs(
        &self,
        app: &AppName,
        app_id: AppId,
        environment: Environment,
        tail: u32,
        follow: bool,
    ) -> BoxStream<'static, Result<String, RuntimeError>>;

    /// Says how much the newest instance prints; none where that is little, nothing runs, or the runtime cannot tell.
    async fn log_rate(
        &self,
        app: &AppName,
        app_id: AppId,
        environment: Environment,
    ) -> Result<Option<LogRate>, RuntimeError>;

    /// Says how an environment's live release runs and what it uses; none when nothing of it is there. May take
    /// seconds: the use of a core is measured over a while.
    async fn stats(
        &self,
        app: &AppName,
        app_id: AppId,
        environment: Environment,
        release: ReleaseNumber,
    ) -> Result<Option<Stats>, RuntimeError>;

    /// Tells what happens to instances, without end. It begins, and begins again after each outage of the runtime,
    /// by stating what every instance does, so that nothing is missed for good.
    fn watch(&self) -> BoxStream<'static, InstanceEvent>;
}

/// Keeps apps and builds away from private addresses, where the builder sees to that.
#[async_trait]
pub trait Protection: Send + Sync {
    /// Has the packet filter rules stand for all networks that are there. Whether they stand, the firewall knows.
    async fn protect(&self) -> Result<(), RuntimeError>;
}
