//! The settings with which a release runs, for both runtimes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The kind of process, and its health check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProcessKind {
    /// Answers HTTP.
    Service(Probe),
    /// Runs to its end.
    Job,
}

/// The readiness probe of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Port inside the container.
    pub port: u16,
    /// Path that answers 2xx or 3xx when the service is healthy.
    pub path: String,
}

/// Resource limits of one container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceLimits {
    /// Memory in bytes, without swap.
    pub memory_bytes: i64,
    /// Thousandths of a core.
    pub cpu_millis: i64,
    /// Processes and threads.
    pub processes: i64,
}

impl Default for ResourceLimits {
    fn default() -> Self {
        Self { memory_bytes: 128 * 1024 * 1024, cpu_millis: 500, processes: 128 }
    }
}

/// The settings of a release in addition to its image. Stored with the release.
/// They contain no secrets: these are read when a container is created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentSpec {
    /// The kind of process.
    pub process: ProcessKind,
    /// Its resource limits.
    pub limits: ResourceLimits,
    /// The schedule of a job: a normalised [`Schedule`](super::Schedule).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// The time zone of the schedule, by its IANA name; UTC without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// Environment variables without secrets.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// The image's process runs as PID 1, which no other process in the container can kill, and reaps orphaned
    /// processes. Otherwise the engine starts its init program first, if it has one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_init: bool,
}
