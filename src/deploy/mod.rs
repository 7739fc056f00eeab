//! What runs: instances of releases, runs of jobs, their health, logs and end.
//!
//! One contract for all runtimes; today's is a Docker engine. Owns containers and networks.
//! Knows nothing of builds, routes, events or the database: images come in by name, and callers
//! read streams or hand in callbacks.

pub mod docker;
mod probe;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::stream::BoxStream;
use jiff::Timestamp;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use crate::domain::{AppId, AppName, DeploymentSpec, Environment, ImageRef, Probe, ReleaseNumber, RunId};
use crate::engine::{EngineInfo, Fault};

pub use docker::{DockerRuntime, DockerSettings, SubnetPool};

/// A release that is to run.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// Whose.
    pub app: AppName,
    /// Whose, for ever.
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
    /// Whose, for ever.
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
}

/// A job that is to run to its end.
#[derive(Debug, Clone)]
pub struct RunSpec {
    /// Whose.
    pub app: AppName,
    /// Whose, for ever.
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
    /// Whose, for ever.
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

/// What an instance uses at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Bytes of memory, without what the system would give up at once.
    pub memory_bytes: u64,
    /// Bytes that it may use.
    pub memory_limit_bytes: u64,
    /// Time on a core since it started.
    pub cpu_time: Duration,
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
}

impl DeployError {
    /// The last lines of the app that say why, where there are any.
    pub fn lines(&self) -> &[String] {
        match self {
            Self::Exited { lines, .. } | Self::NotReady { lines, .. } => lines,
            _ => &[],
        }
    }
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

/// Where apps run.
#[derive(Debug, Clone)]
pub enum Runtime {
    /// Containers of a Docker engine.
    Docker(DockerRuntime),
}

impl Runtime {
    /// Asks the runtime who it is; answers within five seconds.
    ///
    /// # Errors
    /// [`DeployError::Unavailable`] when nobody answers.
    pub async fn ping(&self) -> Result<EngineInfo, DeployError> {
        match self {
            Self::Docker(docker) => docker.ping().await,
        }
    }

    /// Makes what an app needs before its first release, so that the release does not wait for it.
    /// Can be left out: [`Self::start`] and [`Self::run`] do it as well.
    pub async fn prepare(&self, app: &AppName, app_id: AppId) -> Result<(), DeployError> {
        match self {
            Self::Docker(docker) => docker.prepare(app, app_id).await,
        }
    }

    /// Starts a release. Where it runs already, that instance is answered; a dead or half-made one is replaced.
    /// It is not started again by itself before [`Self::wait_ready`] has seen it answer.
    pub async fn start(&self, deployment: &Deployment, cancel: &CancellationToken) -> Result<Instance, DeployError> {
        match self {
            Self::Docker(docker) => docker.start(deployment, cancel).await,
        }
    }

    /// Waits until the instance answers its probe with 2xx or 3xx. Its end ends the waiting at once.
    /// From then on it is started again whenever it crashes, and with the engine.
    pub async fn wait_ready(
        &self,
        instance: &Instance,
        probe: &Probe,
        deadline: Duration,
        cancel: &CancellationToken,
    ) -> Result<Answered, DeployError> {
        match self {
            Self::Docker(docker) => docker.wait_ready(instance, probe, deadline, cancel).await,
        }
    }

    /// Asks the instance to end, ends it after ten seconds, and removes it. Already gone is success.
    pub async fn stop(&self, instance: &Instance) -> Result<(), DeployError> {
        match self {
            Self::Docker(docker) => docker.stop(instance).await,
        }
    }

    /// Starts a stopped instance again. Follow it with [`Self::wait_ready`].
    ///
    /// # Errors
    /// [`DeployError::Gone`] when there is nothing left to start.
    pub async fn resume(&self, instance: &Instance) -> Result<Instance, DeployError> {
        match self {
            Self::Docker(docker) => docker.resume(instance).await,
        }
    }

    /// All instances of all apps, whatever they do. Runs of jobs are not among them.
    pub async fn instances(&self) -> Result<Vec<FoundInstance>, DeployError> {
        match self {
            Self::Docker(docker) => docker.instances().await,
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
        }
    }

    /// Removes all that an app runs or ran, and its network. Already gone is success.
    pub async fn remove_app(&self, app: &AppName, app_id: AppId) -> Result<(), DeployError> {
        match self {
            Self::Docker(docker) => docker.remove_app(app, app_id).await,
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
        }
    }

    /// What happens to instances, without end. It begins, and begins again after each outage of the runtime,
    /// by stating what every instance does, so that nothing is missed for good.
    pub fn watch(&self) -> BoxStream<'static, InstanceEvent> {
        match self {
            Self::Docker(docker) => docker.watch(),
        }
    }

    /// Runs a job to its end and removes what is left of it. A run that goes on already is joined.
    /// `log` is handed every line, up to a bound. When this is dropped or the runtime goes away,
    /// the job itself goes on: see [`Self::runs`].
    pub async fn run(
        &self,
        spec: &RunSpec,
        log: &(dyn Fn(String) + Send + Sync),
        cancel: &CancellationToken,
    ) -> Result<RunOutcome, DeployError> {
        match self {
            // Boxed: it holds several of the engine's streams at once.
            Self::Docker(docker) => Box::pin(docker.run(spec, log, cancel)).await,
        }
    }

    /// Runs that an earlier builder started and nobody has waited for.
    pub async fn runs(&self) -> Result<Vec<LeftRun>, DeployError> {
        match self {
            Self::Docker(docker) => docker.runs().await,
        }
    }

    /// Waits for such a run as [`Self::run`] does. `log` is handed its lines from the first one on;
    /// `time_limit` counts from the run's own start.
    pub async fn attach_run(
        &self,
        left: &LeftRun,
        time_limit: Duration,
        log: &(dyn Fn(String) + Send + Sync),
        cancel: &CancellationToken,
    ) -> Result<RunOutcome, DeployError> {
        match self {
            Self::Docker(docker) => Box::pin(docker.attach_run(left, time_limit, log, cancel)).await,
        }
    }

    /// What an instance uses.
    pub async fn stats(&self, instance: &Instance) -> Result<Stats, DeployError> {
        match self {
            Self::Docker(docker) => docker.stats(instance).await,
        }
    }
}
