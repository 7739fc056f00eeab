//! How a release is to run: the settings that both runtimes read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What is started and how it is known to be well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProcessKind {
    /// Answers HTTP.
    Service(Probe),
    /// Runs to its end.
    Job,
}

/// Where a service answers when it is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Port inside the container.
    pub port: u16,
    /// Path that answers 2xx or 3xx.
    pub path: String,
}

/// What one container may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceLimits {
    /// Bytes of memory; there is no swap beyond it.
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

/// The settings a release runs with, besides its image. Kept with the release.
/// Secret values are not here: they are looked up when a container is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentSpec {
    /// What is started.
    pub process: ProcessKind,
    /// What it may use.
    pub limits: ResourceLimits,
    /// When a job runs: a [`Schedule`](super::Schedule) in its one form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// Environment variables that are no secret.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// The image's own process is the container's first one, which nothing else in the container can end; it reaps the
    /// processes that others leave behind. Else an engine that has an init program starts that first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_init: bool,
}
