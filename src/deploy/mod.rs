//! What runs: instances of releases, runs of jobs, their health, logs and end.
//!
//! One contract, two runtimes: a Docker engine, and a Kubernetes cluster. Owns containers and
//! networks, or the objects of the apps' namespaces.
//! Knows nothing of builds, routes, events or the database: images come in by name, and callers
//! read streams or hand in what takes lines.

pub mod docker;
pub mod kubernetes;
mod probe;
mod record;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::stream::BoxStream;
use jiff::Timestamp;
use secrecy::SecretString;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::domain::{AppId, AppName, DeploymentSpec, Environment, ImageRef, Probe, ReleaseNumber, RunId};
use crate::engine::{EngineInfo, Fault, LineSink};

pub use docker::{DockerRuntime, DockerSettings};
pub use kubernetes::{KubernetesRuntime, KubernetesSettings};

/// A release that is to run.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// Whose.
    pub app: AppName,
    /// The app's id; never used again.
    pub app_id: AppId,
    /// Where.
    pub environment: Environment,
    /// Its number there.
    pub release: ReleaseNumber,
    /// What runs.
    pub image: ImageRef,
    /// How.
    pub spec: DeploymentSpec,
    /// Environment variables that are secret.
    pub secrets: BTreeMap<String, SecretString>,
}

/// A release that was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// The runtime's own name for it.
    pub id: String,
    /// Whose.
    pub app: AppName,
    /// The app's id; never used again.
    pub app_id: AppId,
    /// Where.
    pub environment: Environment,
    /// Which release.
    pub release: ReleaseNumber,
    /// Where it answers HTTP; none for what has no port. Stays the same over restarts.
    pub address: Option<SocketAddr>,
}

/// What an instance does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstanceState {
    /// Its process runs.
    Running,
    /// It has crashed and is about to be started again.
    Restarting,
    /// It was made, but has never run.
    Created,
    /// It has ended.
    Stopped,
}

/// An instance as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundInstance {
    /// Which.
    pub instance: Instance,
    /// What it does.
    pub state: InstanceState,
}

/// That an instance has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// Milliseconds that it was waited for.
    pub millis: u64,
}

/// Something that happened to an instance. Events state what is true now: they may repeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceEvent {
    /// Which.
    pub instance: Instance,
    /// What.
    pub kind: InstanceEventKind,
}

/// What happened to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstanceEventKind {
    /// Its process runs. Whether it answers is another matter.
    Started,
    /// Its process has ended. Unless it was stopped, the runtime starts it again by itself.
    Died {
        /// Its exit code; none where it was found dead.
        code: Option<i64>,
        /// It had used more memory than it may.
        oom: bool,
    },
    /// Somebody else took it down: it was scaled to nothing, or deleted. The runtime does not bring it back by itself.
    TakenDown,
}

/// A job that is to run to its end.
#[derive(Debug, Clone)]
pub struct RunSpec {
    /// Whose.
    pub app: AppName,
    /// The app's id; never used again.
    pub app_id: AppId,
    /// Where.
    pub environment: Environment,
    /// The release whose image runs.
    pub release: ReleaseNumber,
    /// Which run.
    pub run: RunId,
    /// What runs.
    pub image: ImageRef,
    /// How.
    pub spec: DeploymentSpec,
    /// Environment variables that are secret.
    pub secrets: BTreeMap<String, SecretString>,
    /// How long it may take.
    pub time_limit: Duration,
}

/// A run that an earlier builder started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftRun {
    /// The runtime's own name for it.
    pub id: String,
    /// Whose.
    pub app: AppName,
    /// The app's id; never used again.
    pub app_id: AppId,
    /// Where.
    pub environment: Environment,
    /// The release whose image runs.
    pub release: ReleaseNumber,
    /// Which run.
    pub run: RunId,
    /// When it began; none when it never did.
    pub started_at: Option<Timestamp>,
    /// It has not ended.
    pub running: bool,
}

/// A run that the runtime started by itself, because its schedule said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduledRun {
    /// The runtime's own name for it.
    pub id: String,
    /// Whose.
    pub app: AppName,
    /// The app's id; never used again.
    pub app_id: AppId,
    /// Where.
    pub environment: Environment,
    /// The release whose image runs.
    pub release: ReleaseNumber,
    /// When it began.
    pub started_at: Timestamp,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunOutcome {
    /// Its exit code; none when it had to be stopped.
    pub exit_code: Option<i64>,
    /// It took longer than it may.
    pub timed_out: bool,
    /// It used more memory than it may.
    pub oom: bool,
    /// Its last twenty lines.
    pub log_tail: Vec<String>,
}

/// How a release runs at this moment, and what it uses. What nobody measures is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Copies of it that run, and are ready where the runtime knows that.
    pub ready: u32,
    /// Copies that should.
    pub wanted: u32,
    /// How often those that are there were started again.
    pub restarts: u32,
    /// Bytes of memory, without what the system would give up at once.
    pub memory_bytes: Option<u64>,
    /// Bytes that it may use.
    pub memory_limit_bytes: Option<u64>,
    /// Thousandths of a core that it uses.
    pub cpu_millis: Option<u64>,
}

/// Why something does not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeployError {
    /// The engine is not there.
    #[error("{0}")]
    Unavailable(String),
    /// The image is gone.
    #[error("The image {0} is no longer there. Build the version again.")]
    ImageMissing(ImageRef),
    /// It could not be made or started at all.
    #[error("The app could not be started: {0}")]
    CannotStart(String),
    /// It ended before it was ready.
    #[error("{}", exit_sentence(*code, *oom))]
    Exited {
        /// Its exit code.
        code: i64,
        /// It had used more memory than it may.
        oom: bool,
        /// The last lines that it wrote.
        lines: Vec<String>,
    },
    /// It runs, and did not answer as it should in time.
    #[error("The app runs, but was not ready within {} seconds: {last}", .waited.as_secs_f32().ceil())]
    NotReady {
        /// How long it was waited for.
        waited: Duration,
        /// What came of the last question, in a sentence.
        last: String,
        /// The last lines that it wrote.
        lines: Vec<String>,
    },
    /// Nothing is left of it.
    #[error("It does not run any more.")]
    Gone,
    /// It was stopped on request.
    #[error("It was stopped.")]
    Cancelled,
    /// The engine's disk is full.
    #[error(
        "The disk of the Docker engine is full. Delete apps that are not needed, or run `docker system prune`, and try again."
    )]
    DiskFull,
    /// All else, in the engine's words.
    #[error("The Docker engine reports: {0}")]
    Engine(String),
    /// The cluster is not there.
    #[error("The Kubernetes API server does not answer: {}", full_stop(.0))]
    ClusterUnavailable(String),
    /// All else, in the cluster's words.
    #[error("The Kubernetes cluster refuses: {}", full_stop(.0))]
    ClusterRefused(String),
    /// The cluster does not know us, or does not let us. Right after its start it may say so of anybody.
    #[error("The Kubernetes cluster refuses: {}", full_stop(.0))]
    ClusterDenied(String),
    /// There is a namespace of the app's name already.
    #[error("The namespace {namespace} is there already and is left alone: {whose}.")]
    NotOurs {
        /// Its name.
        namespace: String,
        /// Whose it is, as far as can be seen.
        whose: String,
    },
    /// The node cannot have the image.
    #[error("{}", full_stop(.0))]
    CannotPull(String),
    /// There is no room for it.
    #[error("{}", full_stop(.0))]
    NoRoom(String),
    /// It is ready, and traffic could not be switched to it.
    #[error("The new version is ready, but traffic could not be switched to it within {} seconds: {last}", .waited.as_secs_f32().ceil())]
    SwitchTimedOut {
        /// How long it was tried.
        waited: Duration,
        /// What it waited for last, in a sentence.
        last: String,
    },
    /// Somebody else deleted what was being deployed.
    #[error("{what} was deleted from outside while the new version came up.")]
    Deleted {
        /// What, in words.
        what: String,
    },
    /// A namespace that was deleted does not go.
    #[error("The namespace {namespace} was deleted and is still there: {}", full_stop(.held_by))]
    Stuck {
        /// Its name.
        namespace: String,
        /// What keeps it, in the cluster's words.
        held_by: String,
    },
}

impl DeployError {
    /// The last lines of the app that say why, where there are any.
    pub fn lines(&self) -> &[String] {
        match self {
            Self::Exited { lines, .. } | Self::NotReady { lines, .. } => lines,
            _ => &[],
        }
    }

    /// The runtime is away, and may come back.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::ClusterUnavailable(_))
    }
}

/// Somebody else's words as the end of a sentence of ours.
fn full_stop(text: &str) -> String {
    format!("{}.", text.trim_end_matches(['.', ' ', '\n']))
}

fn exit_sentence(code: i64, oom: bool) -> String {
    if oom {
        return "The app was ended while it started: it used more memory than it may.".to_owned();
    }
    match code {
        0 => "The app ended right after it started, without an error: it has to keep running and answer.".to_owned(),
        126 | 127 => format!("The app's command could not be run (exit code {code})."),
        _ => format!("The app ended while it started, with exit code {code}."),
    }
}

impl From<Fault> for DeployError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unavailable(_) => Self::Unavailable(fault.to_string()),
            Fault::DiskFull => Self::DiskFull,
            Fault::NotFound(_) => Self::Gone,
            Fault::Conflict(message) | Fault::Other(message) => Self::Engine(message),
        }
    }
}

/// How much an app prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRate {
    /// Lines a second.
    pub lines: u64,
    /// Bytes a second.
    pub bytes: u64,
}

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
    /// [`DeployError::Unavailable`] when nobody answers.
    pub async fn ping(&self) -> Result<EngineInfo, DeployError> {
        match self {
            Self::Docker(docker) => docker.ping().await,
            Self::Kubernetes(cluster) => cluster.ping().await,
        }
    }

    /// Has the packet filter rules stand that keep apps away from private addresses, where the builder sees to that.
    ///
    /// # Errors
    /// [`DeployError::Unavailable`] when the runtime does not answer. Whether the rules stand, the firewall knows.
    pub async fn protect(&self) -> Result<(), DeployError> {
        match self {
            Self::Docker(docker) => docker.protect().await,
            Self::Kubernetes(_) => Ok(()),
        }
    }

    /// Makes what an app needs before its first release, so that the release does not wait for it.
    /// Can be left out: [`Self::start`] and [`Self::run`] do it as well.
    pub async fn prepare(&self, app: &AppName, app_id: AppId) -> Result<(), DeployError> {
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
    ) -> Result<Instance, DeployError> {
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
    ) -> Result<Answered, DeployError> {
        match self {
            Self::Docker(docker) => docker.wait_ready(instance, probe, deadline, cancel).await,
            Self::Kubernetes(cluster) => cluster.wait_ready(instance, probe, deadline, tell, cancel).await,
        }
    }

    /// Where this very instance answers, rather than what stands in front of it; none when it does not run.
    pub async fn own_address(&self, instance: &Instance, probe: &Probe) -> Result<Option<SocketAddr>, DeployError> {
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
    ) -> Result<Instance, DeployError> {
        match self {
            Self::Docker(_) => Ok(instance),
            Self::Kubernetes(cluster) => cluster.switch_traffic(deployment, probe, deadline, tell, cancel).await,
        }
    }

    /// Scales down the previous release once traffic has switched, where the runtime does that. Does not wait for its end.
    pub async fn finish_rollout(&self, deployment: &Deployment) -> Result<(), DeployError> {
        match self {
            Self::Docker(_) => Ok(()),
            Self::Kubernetes(cluster) => cluster.finish_rollout(deployment).await,
        }
    }

    /// Asks the instance to end, ends it after ten seconds, and removes it. Already gone is success.
    pub async fn stop(&self, instance: &Instance) -> Result<(), DeployError> {
        match self {
            Self::Docker(docker) => docker.stop(instance).await,
            Self::Kubernetes(cluster) => cluster.stop(instance).await,
        }
    }

    /// Starts a stopped instance again. Follow it with [`Self::wait_ready`].
    ///
    /// # Errors
    /// [`DeployError::Gone`] when there is nothing left to start.
    pub async fn resume(&self, instance: &Instance) -> Result<Instance, DeployError> {
        match self {
            Self::Docker(docker) => docker.resume(instance).await,
            Self::Kubernetes(cluster) => cluster.resume(instance).await,
        }
    }

    /// All instances of all apps, whatever they do. Runs of jobs are not among them.
    pub async fn instances(&self) -> Result<Vec<FoundInstance>, DeployError> {
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
    ) -> Result<Option<FoundInstance>, DeployError> {
        match self {
            Self::Docker(docker) => docker.find(app, app_id, environment, release).await,
            Self::Kubernetes(cluster) => cluster.find(app, app_id, environment, release).await,
        }
    }

    /// Removes all that an app runs or ran, with its network or namespace, and waits until it is gone. Already
    /// gone is success. `tell` is handed what holds it up, in sentences.
    pub async fn remove_app(&self, app: &AppName, app_id: AppId, tell: &dyn LineSink) -> Result<(), DeployError> {
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
    ) -> BoxStream<'static, Result<String, DeployError>> {
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
    ) -> Result<Option<LogRate>, DeployError> {
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
    /// `log` is handed the lines, bounded as [`crate::engine::output`] says. When this is dropped or the runtime goes away,
    /// the job itself goes on: see [`Self::runs`] and [`Self::end_run`]. Cancelling answers soon, even
    /// where what is left of it cannot be removed for now.
    pub async fn run(
        &self,
        spec: &RunSpec,
        log: &dyn LineSink,
        cancel: &CancellationToken,
    ) -> Result<RunOutcome, DeployError> {
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
    pub async fn end_run(&self, app: &AppName, id: &str) -> Result<(), DeployError> {
        match self {
            Self::Docker(docker) => docker.end_run(id).await,
            Self::Kubernetes(cluster) => cluster.end_run(app, id).await,
        }
    }

    /// Runs that an earlier builder started and nobody has waited for.
    pub async fn runs(&self) -> Result<Vec<LeftRun>, DeployError> {
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
    ) -> Result<RunOutcome, DeployError> {
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
    ) -> Result<Option<Stats>, DeployError> {
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
    pub async fn schedule(&self, deployment: &Deployment) -> Result<(), DeployError> {
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
    /// [`DeployError::Gone`] when nothing is left of it.
    pub async fn name_run(&self, scheduled: &ScheduledRun, run: RunId) -> Result<LeftRun, DeployError> {
        match self {
            Self::Docker(_) => Err(DeployError::Gone),
            Self::Kubernetes(cluster) => cluster.name_run(scheduled, run).await,
        }
    }

    /// Puts back what ran before a release that did not come up, or takes all of it away where nothing did:
    /// old and new run side by side until the new one has taken over. Already done is success.
    pub async fn abandon(&self, failed: &Deployment, previous: Option<&Deployment>) -> Result<(), DeployError> {
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
    pub async fn keep(&self, deployment: &Deployment) -> Result<(), DeployError> {
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
