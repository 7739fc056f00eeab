//! The runtime: runs instances of releases and runs of jobs, and reports their health, logs and exits.
//!
//! One contract, two implementations: a Docker engine and a Kubernetes cluster. The runtime owns containers and networks, or
//! the objects in the apps' namespaces, and switches traffic. On Docker the gateway is the load balancer, so a switch changes
//! the gateway's routes.
//! It does not depend on builds, events or the database: images are referenced by name, callers read streams or pass in a
//! receiver of lines, and the desired state is read through [`DesiredState`].

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
