//! What runs: instances of releases, runs of jobs, their health, logs and end.
//!
//! One contract, two runtimes: a Docker engine, and a Kubernetes cluster. Owns containers and
//! networks, or the objects of the apps' namespaces, and what traffic leads to: on Docker the gateway is the load balancer,
//! so a switch of traffic changes the gateway's routes.
//! Knows nothing of builds, events or the database: images come in by name, callers
//! read streams or hand in what takes lines, and what should run is asked through [`DesiredState`].

mod contract;
pub mod docker;
mod error;
pub mod kubernetes;
#[cfg(test)]
pub mod memory;
mod probe;
mod record;
mod types;

pub use contract::{
    DesiredState, JobRunner, Observation, Protection, Reach, Reconcile, Releases, Runtime, Schedules, Standby, Switched,
};
pub use docker::{DockerRuntime, DockerSettings, HostMemory};
pub use error::RuntimeError;
pub use kubernetes::{KubernetesRuntime, KubernetesSettings};
pub use types::{
    Answered, Deployment, FoundInstance, Instance, InstanceEvent, InstanceEventKind, InstanceState, LeftRun, LogRate,
    Restored, RunOutcome, RunSpec, ScheduledRun, Serves, Stats,
};
