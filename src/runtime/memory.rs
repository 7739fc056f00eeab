//! A runtime in memory, for tests that need no container: releases run as soon as they are started, and answer or fail
//! as the test demands.
//!
//! As on an engine, each release has an instance and an address of its own, and the gateway's routes are its load
//! balancer.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::sync::{broadcast, watch};
use tokio_stream::wrappers::BroadcastStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{
    Answered, Deployment, DesiredState, FoundInstance, Instance, InstanceEvent, InstanceEventKind, InstanceState,
    JobRunner, LeftRun, LogRate, Observation, Reach, Reconcile, Releases, Restored, RunOutcome, RunSpec, Runtime,
    RuntimeError, ScheduledRun, Schedules, Serves, Stats, Switched,
};
use crate::domain::{AppId, AppName, Environment, Probe, ProcessKind, ReleaseNumber, RunId};
use crate::engine::EngineInfo;
use crate::gateway::{Traffic, Upstream};
use crate::output::{LineSink, LogLine};

/// A call that a test can fail or delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// [`Releases::start`].
    Start,
    /// [`Releases::wait_ready`].
    WaitReady,
    /// [`Releases::switch`].
    Switch,
    /// [`Reconcile::instances`].
    Instances,
    /// [`JobRunner::run`].
    Run,
}

/// The behaviour of a call, instead of its work.
#[derive(Debug, Clone)]
enum Fault {
    Fails(RuntimeError),
    /// It waits until it is cancelled or released.
    Waits,
}

/// Runs apps in memory. Clones share one state.
#[derive(Clone)]
pub struct MemoryRuntime {
    inner: Arc<Inner>,
}

struct Inner {
    traffic: Traffic,
    tasks: TaskTracker,
    state: Mutex<State>,
    /// Incremented with each change of the state.
    changed: watch::Sender<u64>,
    scheduled: broadcast::Sender<ScheduledRun>,
}

/// The state of the runtime.
#[derive(Default)]
pub struct State {
    /// The existing instances.
    pub instances: Vec<FoundInstance>,
    /// Runs that were not waited for, each with its exit code once it has ended.
    pub runs: Vec<(LeftRun, Option<i64>)>,
    /// Jobs with a schedule: the app, and its schedule.
    pub schedules: Vec<(AppName, Option<String>)>,
    /// The log of every environment.
    pub log: Vec<LogLine>,
    /// The usage of every release.
    pub stats: Option<Stats>,
    /// Calls that are being delayed.
    pub waiting: Vec<Call>,
    faults: Vec<(Call, Fault)>,
    silent: HashSet<(Environment, ReleaseNumber)>,
    addresses: u16,
}

impl MemoryRuntime {
    /// A runtime in which nothing runs.
    pub fn new(traffic: &Traffic, tasks: &TaskTracker) -> Self {
        let inner = Inner {
            traffic: traffic.clone(),
            tasks: tasks.clone(),
            state: Mutex::default(),
            changed: watch::Sender::new(0),
            scheduled: broadcast::Sender::new(64),
        };
        Self { inner: Arc::new(inner) }
    }

    /// This runtime as the parts of the contract.
    pub fn runtime(&self) -> Runtime {
        let memory = Arc::new(self.clone());
        Runtime {
            name: "memory",
            check: "memory",
            previews: Reach::Gateway,
            production: Reach::Gateway,
            releases: memory.clone(),
            reconcile: memory.clone(),
            runs: memory.clone(),
            observation: memory.clone(),
            schedules: Some(memory),
            standby: None,
            protection: None,
        }
    }

    /// Changes or reads the state.
    pub fn with<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let answer = change(&mut self.inner.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.inner.changed.send_modify(|count| *count += 1);
        answer
    }

    /// Waits until the state fulfils a condition.
    pub async fn until(&self, is_so: impl Fn(&State) -> bool) {
        let mut changed = self.inner.changed.subscribe();
        let is_so = || is_so(&self.inner.state.lock().unwrap_or_else(PoisonError::into_inner));
        let wait = async {
            while !is_so() {
                let _ = changed.changed().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect("it comes to that");
    }

    /// Fails the next call of this kind.
    pub fn fail(&self, call: Call, error: RuntimeError) {
        self.with(|state| state.faults.push((call, Fault::Fails(error))));
    }

    /// Delays the next call of this kind until it is cancelled, or until [`Self::go_on`].
    pub fn hold(&self, call: Call) {
        self.with(|state| state.faults.push((call, Fault::Waits)));
    }

    /// Waits until a call of this kind is being delayed.
    pub async fn until_held(&self, call: Call) {
        self.until(|state| state.waiting.contains(&call)).await;
    }

    /// Lets the delayed calls continue.
    pub fn go_on(&self) {
        self.with(|state| state.waiting.clear());
    }

    /// Makes a release never answer.
    pub fn silence(&self, environment: Environment, release: u32) {
        self.with(|state| state.silent.insert((environment, ReleaseNumber(release))));
    }

    /// The releases that run in an environment, in ascending order.
    pub fn releases(&self, environment: Environment) -> Vec<u32> {
        self.with(|state| releases(state, environment))
    }

    /// Waits until these releases run in an environment.
    pub async fn until_releases(&self, environment: Environment, wanted: &[u32]) {
        self.until(|state| releases(state, environment) == wanted).await;
    }

    /// Adds an instance like one that an earlier builder process left.
    pub fn leave(&self, app: &AppName, app_id: AppId, environment: Environment, release: u32) -> Instance {
        self.with(|state| put(state, app, app_id, environment, ReleaseNumber(release)))
    }

    /// Removes an instance from outside.
    pub fn take_down(&self, instance: &Instance) -> InstanceEvent {
        self.with(|state| state.instances.retain(|found| found.instance != *instance));
        InstanceEvent { instance: instance.clone(), kind: InstanceEventKind::TakenDown }
    }

    /// Ends a run.
    pub fn end_run(&self, run: RunId, code: i64) {
        self.with(|state| {
            for (left, ended) in &mut state.runs {
                if left.run == run {
                    *ended = Some(code);
                }
            }
        });
    }

    /// Reports a run that a schedule started.
    pub fn run_by_schedule(&self, run: ScheduledRun) {
        self.inner.scheduled.send(run).map(drop).expect("somebody listens");
    }

    /// Whether the builder listens for scheduled runs.
    pub fn is_listened_to(&self) -> bool {
        self.inner.scheduled.receiver_count() > 0
    }

    async fn fault(&self, call: Call, cancel: Option<&CancellationToken>) -> Result<(), RuntimeError> {
        let fault = self.with(|state| {
            let place = state.faults.iter().position(|(of, _)| *of == call)?;
            Some(state.faults.remove(place).1)
        });
        match fault {
            None => Ok(()),
            Some(Fault::Fails(error)) => Err(error),
            Some(Fault::Waits) => {
                self.with(|state| state.waiting.push(call));
                let gone_on = self.until(|state| !state.waiting.contains(&call));
                let never = CancellationToken::new();
                tokio::select! {
                    () = cancel.unwrap_or(&never).cancelled() => Err(RuntimeError::Cancelled),
                    () = gone_on => Ok(()),
                }
            }
        }
    }

    fn remove(&self, of: &Deployment, is_chosen: impl Fn(ReleaseNumber) -> bool) {
        let traffic = self.inner.traffic.clone();
        self.with(|state| {
            state.instances.retain(|FoundInstance { instance, .. }| {
                let is_of = (instance.app_id, instance.environment) == (of.app_id, of.environment);
                let drains = traffic.is_draining(instance.app_id, instance.environment, instance.release);
                !is_of || !is_chosen(instance.release) || drains
            });
        });
    }

    async fn outcome(&self, run: RunId, cancel: &CancellationToken) -> Result<RunOutcome, RuntimeError> {
        let code = |state: &State| state.runs.iter().find(|(left, _)| left.run == run).map(|(_, code)| *code);
        if self.with(|state| code(state).is_none()) {
            return Err(RuntimeError::Gone);
        }
        let ended = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(RuntimeError::Cancelled),
            () = self.until(|state| code(state) != Some(None)) => Ok(()),
        };
        let code = self.with(|state| {
            let code = code(state);
            state.runs.retain(|(left, _)| left.run != run);
            code
        });
        ended?;
        let exit_code = code.ok_or(RuntimeError::Gone)?;
        Ok(RunOutcome { exit_code, timed_out: false, oom: false, log_tail: Vec::new() })
    }
}

fn releases(state: &State, environment: Environment) -> Vec<u32> {
    let of = state.instances.iter().filter(|found| found.instance.environment == environment);
    let mut releases: Vec<u32> = of.map(|found| found.instance.release.0).collect();
    releases.sort_unstable();
    releases
}

fn put(state: &mut State, app: &AppName, app_id: AppId, environment: Environment, release: ReleaseNumber) -> Instance {
    let is_this = |found: &&FoundInstance| {
        let Instance { app_id: of, environment: own, release: number, .. } = &found.instance;
        (*of, *own, *number) == (app_id, environment, release)
    };
    if let Some(found) = state.instances.iter().find(is_this) {
        return found.instance.clone();
    }
    state.addresses += 1;
    let instance = Instance {
        id: format!("{app}-{environment}-{release}"),
        app: app.clone(),
        app_id,
        environment,
        release,
        address: Some(SocketAddr::from(([10, 0, 0, 1], 1000 + state.addresses))),
    };
    let found = FoundInstance { instance: instance.clone(), state: InstanceState::Running, serves: Serves::OwnRelease };
    state.instances.push(found);
    instance
}

#[async_trait]
impl Releases for MemoryRuntime {
    async fn prepare(&self, _app: &AppName, _app_id: AppId) -> Result<(), RuntimeError> {
        Ok(())
    }

    async fn start(
        &self,
        deployment: &Deployment,
        _tell: &dyn LineSink,
        cancel: &CancellationToken,
    ) -> Result<Instance, RuntimeError> {
        self.fault(Call::Start, Some(cancel)).await?;
        let Deployment { app, app_id, environment, release, .. } = deployment;
        Ok(self.with(|state| put(state, app, *app_id, *environment, *release)))
    }

    async fn wait_ready(
        &self,
        instance: &Instance,
        _probe: &Probe,
        deadline: Duration,
        _tell: &dyn LineSink,
        cancel: &CancellationToken,
    ) -> Result<Answered, RuntimeError> {
        self.fault(Call::WaitReady, Some(cancel)).await?;
        if self.with(|state| state.silent.contains(&(instance.environment, instance.release))) {
            return Err(RuntimeError::NotReady {
                waited: deadline,
                last: "nothing listens.".to_owned(),
                lines: Vec::new(),
            });
        }
        Ok(Answered { millis: 1 })
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
        self.fault(Call::Switch, Some(cancel)).await?;
        let address = instance.address.ok_or(RuntimeError::Gone)?;
        let Deployment { app, app_id, environment, release, .. } = deployment;
        let to = Upstream { address, release: *release };
        let route = self.inner.traffic.switch(app, *app_id, *environment, to).await;
        let (memory, live) = (self.clone(), deployment.clone());
        let when_drained = async move { memory.remove(&live, |release| release < live.release) };
        Ok(Switched::new(route, &self.inner.tasks, std::future::ready(()), when_drained))
    }

    async fn finish(&self, live: &Deployment) -> Result<(), RuntimeError> {
        self.remove(live, |release| release < live.release);
        Ok(())
    }

    async fn abandon(&self, failed: &Deployment, live: Option<&Deployment>) -> Result<(), RuntimeError> {
        let live = live.map(|live| live.release);
        self.remove(failed, |release| release <= failed.release && Some(release) != live);
        Ok(())
    }

    async fn remove_app(&self, _app: &AppName, app_id: AppId, _tell: &dyn LineSink) -> Result<(), RuntimeError> {
        self.with(|state| state.instances.retain(|found| found.instance.app_id != app_id));
        Ok(())
    }
}

#[async_trait]
impl Reconcile for MemoryRuntime {
    async fn instances(&self) -> Result<Vec<FoundInstance>, RuntimeError> {
        self.fault(Call::Instances, None).await?;
        Ok(self.with(|state| state.instances.clone()))
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
                let instance = self.start(&live, &|_| {}, &CancellationToken::new()).await?;
                Ok(Restored::Started(Box::new(live), instance))
            }
            _ => Ok(Restored::Nothing),
        }
    }

    async fn remove_orphan(&self, orphan: &Instance, _desired: &dyn DesiredState) -> Result<(), RuntimeError> {
        if !self.inner.traffic.is_draining(orphan.app_id, orphan.environment, orphan.release) {
            self.with(|state| state.instances.retain(|found| found.instance != *orphan));
        }
        Ok(())
    }

    fn due(&self) -> BoxStream<'static, ()> {
        futures_util::stream::pending().boxed()
    }
}

#[async_trait]
impl JobRunner for MemoryRuntime {
    async fn run(
        &self,
        spec: &RunSpec,
        _log: &dyn LineSink,
        cancel: &CancellationToken,
    ) -> Result<RunOutcome, RuntimeError> {
        let left = LeftRun {
            id: self.id_of(spec),
            app: spec.app.clone(),
            app_id: spec.app_id,
            environment: spec.environment,
            release: spec.release,
            run: spec.run,
            started_at: None,
            running: true,
        };
        self.with(|state| state.runs.push((left, Some(0))));
        let held = self.fault(Call::Run, Some(cancel)).await;
        if held.is_err() {
            self.with(|state| state.runs.retain(|(left, _)| left.run != spec.run));
        }
        held?;
        self.outcome(spec.run, cancel).await
    }

    async fn attach(
        &self,
        left: &LeftRun,
        _time_limit: Duration,
        _log: &dyn LineSink,
        cancel: &CancellationToken,
    ) -> Result<RunOutcome, RuntimeError> {
        self.outcome(left.run, cancel).await
    }

    async fn end(&self, _app: &AppName, id: &str) -> Result<(), RuntimeError> {
        self.with(|state| state.runs.retain(|(left, _)| left.id != id));
        Ok(())
    }

    async fn list(&self) -> Result<Vec<LeftRun>, RuntimeError> {
        Ok(self.with(|state| state.runs.iter().map(|(left, _)| left.clone()).collect()))
    }

    fn id_of(&self, spec: &RunSpec) -> String {
        format!("run-{}", spec.run)
    }
}

#[async_trait]
impl Schedules for MemoryRuntime {
    async fn keep(&self, deployment: &Deployment) -> Result<(), RuntimeError> {
        let schedule = (deployment.app.clone(), deployment.spec.schedule.clone());
        self.with(|state| state.schedules.push(schedule));
        Ok(())
    }

    fn started(&self) -> BoxStream<'static, ScheduledRun> {
        BroadcastStream::new(self.inner.scheduled.subscribe()).filter_map(async |run| run.ok()).boxed()
    }

    async fn name(&self, scheduled: &ScheduledRun, run: RunId) -> Result<LeftRun, RuntimeError> {
        let left = LeftRun {
            id: scheduled.id.clone(),
            app: scheduled.app.clone(),
            app_id: scheduled.app_id,
            environment: scheduled.environment,
            release: scheduled.release,
            run,
            started_at: Some(scheduled.started_at),
            running: true,
        };
        self.with(|state| state.runs.push((left.clone(), None)));
        Ok(left)
    }
}

#[async_trait]
impl Observation for MemoryRuntime {
    async fn ping(&self) -> Result<EngineInfo, RuntimeError> {
        Ok(EngineInfo { version: "1".to_owned(), api_version: "1".to_owned(), platform: "memory".to_owned() })
    }

    fn logs(
        &self,
        _app: &AppName,
        _app_id: AppId,
        _environment: Environment,
        tail: u32,
        follow: bool,
    ) -> BoxStream<'static, Result<LogLine, RuntimeError>> {
        let log = self.with(|state| state.log.clone());
        let from = log.len().saturating_sub(usize::try_from(tail).unwrap_or(usize::MAX));
        let lines = futures_util::stream::iter(log.into_iter().skip(from).map(Ok));
        if follow { lines.chain(futures_util::stream::pending()).boxed() } else { lines.boxed() }
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
        _app: &AppName,
        _app_id: AppId,
        _environment: Environment,
        _release: ReleaseNumber,
    ) -> Result<Option<Stats>, RuntimeError> {
        Ok(self.with(|state| state.stats))
    }

    fn watch(&self) -> BoxStream<'static, InstanceEvent> {
        futures_util::stream::pending().boxed()
    }
}
