//! The data types of the contract: what should run, what runs, what happens to it, and how runs end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;

use crate::domain::{AppId, AppName, DeploymentSpec, Environment, ImageRef, ReleaseNumber, RunId};

/// A release that should run.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// The app.
    pub app: AppName,
    /// The app's id; never used again.
    pub app_id: AppId,
    /// The environment.
    pub environment: Environment,
    /// The number of the release in that environment.
    pub release: ReleaseNumber,
    /// The image that runs.
    pub image: ImageRef,
    /// How the image runs.
    pub spec: DeploymentSpec,
    /// Environment variables that are secret.
    pub secrets: BTreeMap<String, SecretString>,
}

/// A release that was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// The runtime's own name for it.
    pub id: String,
    /// The app.
    pub app: AppName,
    /// The app's id; never used again.
    pub app_id: AppId,
    /// The environment.
    pub environment: Environment,
    /// The number of the release.
    pub release: ReleaseNumber,
    /// The address at which it answers HTTP; none if it has no port. Stays the same over restarts.
    pub address: Option<SocketAddr>,
}

/// The state of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstanceState {
    /// Its process runs.
    Running,
    /// It has crashed and will be restarted.
    Restarting,
    /// It exists, and gets no processor time until it is resumed.
    Paused,
    /// It was created, but has never run.
    Created,
    /// It has ended.
    Stopped,
}

/// Which requests an instance's address answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serves {
    /// Requests for its own release: each release has its own address.
    OwnRelease,
    /// Requests for the live release, whichever that is: all releases of an environment share one address.
    LiveRelease,
}

/// An instance that was found in the runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundInstance {
    /// The instance.
    pub instance: Instance,
    /// Its state.
    pub state: InstanceState,
    /// Which requests its address answers.
    pub serves: Serves,
}

impl FoundInstance {
    /// Whether requests for a live release are answered at this instance's address.
    pub fn serves(&self, app: AppId, environment: Environment, live: ReleaseNumber) -> bool {
        let Instance { app_id, environment: own, release, .. } = &self.instance;
        (*app_id, *own) == (app, environment)
            && (*release == live || self.serves == Serves::LiveRelease)
            && matches!(self.state, InstanceState::Running | InstanceState::Restarting)
    }
}

/// The result of restoring a live release.
#[derive(Debug, Clone)]
pub enum Restored {
    /// There is nothing to wait for: it runs, the runtime starts it by itself, or nothing should run.
    Nothing,
    /// It was started. The caller waits with [`wait_ready`](super::Releases::wait_ready), and then routes traffic to
    /// it.
    Started(Box<Deployment>, Instance),
}

/// The proof that an instance has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// Milliseconds until it answered.
    pub millis: u64,
}

/// Something that happened to an instance. Events report the current state, so they may repeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceEvent {
    /// The instance.
    pub instance: Instance,
    /// The kind of event.
    pub kind: InstanceEventKind,
}

/// What happened to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstanceEventKind {
    /// Its process runs. It may not answer requests yet.
    Started,
    /// Its process has ended. The runtime restarts it by itself, unless it was stopped on request.
    Died {
        /// Its exit code; none if it had ended before it was watched.
        code: Option<i64>,
        /// It exceeded its memory limit.
        oom: bool,
    },
    /// Another client scaled it to zero or deleted it. The runtime does not restore it by itself.
    TakenDown,
}

/// A job that should run to its end.
#[derive(Debug, Clone)]
pub struct RunSpec {
    /// The app.
    pub app: AppName,
    /// The app's id; never used again.
    pub app_id: AppId,
    /// The environment.
    pub environment: Environment,
    /// The release whose image runs.
    pub release: ReleaseNumber,
    /// The number of the run.
    pub run: RunId,
    /// The image that runs.
    pub image: ImageRef,
    /// How the image runs.
    pub spec: DeploymentSpec,
    /// Environment variables that are secret.
    pub secrets: BTreeMap<String, SecretString>,
    /// Its time limit.
    pub time_limit: Duration,
}

/// A run that an earlier builder process started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftRun {
    /// The runtime's own name for it.
    pub id: String,
    /// The app.
    pub app: AppName,
    /// The app's id; never used again.
    pub app_id: AppId,
    /// The environment.
    pub environment: Environment,
    /// The release whose image runs.
    pub release: ReleaseNumber,
    /// The number of the run.
    pub run: RunId,
    /// When it started; none if it never did.
    pub started_at: Option<Timestamp>,
    /// Whether it is still running.
    pub running: bool,
}

/// A run that the runtime's own scheduler started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduledRun {
    /// The runtime's own name for it.
    pub id: String,
    /// The app.
    pub app: AppName,
    /// The app's id; never used again.
    pub app_id: AppId,
    /// The environment.
    pub environment: Environment,
    /// The release whose image runs.
    pub release: ReleaseNumber,
    /// When it started.
    pub started_at: Timestamp,
}

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunOutcome {
    /// Its exit code; none if it had to be stopped.
    pub exit_code: Option<i64>,
    /// It exceeded its time limit.
    pub timed_out: bool,
    /// It exceeded its memory limit.
    pub oom: bool,
    /// Its last twenty lines.
    pub log_tail: Vec<String>,
}

/// The current state and resource usage of a release. Values that are not measured are none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Number of running instances; where the runtime knows readiness, only the ready ones.
    pub ready: u32,
    /// Number of instances that should run.
    pub wanted: u32,
    /// Number of restarts of the existing instances.
    pub restarts: u32,
    /// Bytes of memory in use, without memory that the system can reclaim at once.
    pub memory_bytes: Option<u64>,
    /// Memory limit in bytes.
    pub memory_limit_bytes: Option<u64>,
    /// CPU usage in thousandths of a core.
    pub cpu_millis: Option<u64>,
}

/// How much an app prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRate {
    /// Lines per second.
    pub lines: u64,
    /// Bytes per second.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_for_the_live_release_are_answered_by_it_or_at_the_address_of_all() {
        let found = |release, state, serves| {
            let app = "tides".parse().expect("a name");
            let (app_id, environment) = (AppId(7), Environment::Prod);
            let release = ReleaseNumber(release);
            let instance = Instance { id: String::new(), app, app_id, environment, release, address: None };
            FoundInstance { instance, state, serves }
        };
        let serves = |found: &FoundInstance| found.serves(AppId(7), Environment::Prod, ReleaseNumber(2));
        for state in [InstanceState::Running, InstanceState::Restarting] {
            assert!(serves(&found(2, state, Serves::OwnRelease)));
            assert!(!serves(&found(3, state, Serves::OwnRelease)), "that is another release's");
            assert!(serves(&found(3, state, Serves::LiveRelease)), "the live one's pods are behind it as well");
        }
        assert!(!serves(&found(2, InstanceState::Stopped, Serves::OwnRelease)));
        let other = found(2, InstanceState::Running, Serves::LiveRelease);
        assert!(!other.serves(AppId(8), Environment::Prod, ReleaseNumber(2)));
        assert!(!other.serves(AppId(7), Environment::Preview, ReleaseNumber(2)));
    }
}
