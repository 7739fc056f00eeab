//! The nouns of the contract: what is to run, what runs, what happens to it, and how runs end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;

use crate::domain::{AppId, AppName, DeploymentSpec, Environment, ImageRef, ReleaseNumber, RunId};

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
    /// It is there and gets no processor time until it goes on.
    Paused,
    /// It was made, but has never run.
    Created,
    /// It has ended.
    Stopped,
}

/// Which requests an instance's address answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serves {
    /// Those for its own release: each release has an address.
    OwnRelease,
    /// Those for the live release, whichever that is: all releases of an environment have one address.
    LiveRelease,
}

/// An instance as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundInstance {
    /// Which.
    pub instance: Instance,
    /// What it does.
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

/// What it took for a live release to run as it should.
#[derive(Debug, Clone)]
pub enum Restored {
    /// Nothing that has to be waited for: it runs, or will without us, or nothing is to run.
    Nothing,
    /// It was started. It is waited for with [`wait_ready`](super::Releases::wait_ready), and gets traffic then.
    Started(Box<Deployment>, Instance),
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

/// How much an app prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRate {
    /// Lines a second.
    pub lines: u64,
    /// Bytes a second.
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
