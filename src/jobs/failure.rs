//! Converts errors of the engine, the registry or the cluster into failures of a job, with a code, a message and a
//! hint.

use super::context::Failure;
use crate::build::{BuildEngine, BuildError};
use crate::runtime::RuntimeError;

/// A build's error, and the engine on which it was built.
#[derive(Debug)]
pub(super) struct BuildFault {
    pub(super) error: BuildError,
    pub(super) engine: BuildEngine,
}

impl std::fmt::Display for BuildFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

impl From<BuildFault> for Failure {
    fn from(fault: BuildFault) -> Self {
        let is_engine_away = matches!(fault.error, BuildError::Unavailable(_));
        let failure = Self::from(fault.error);
        if fault.engine == BuildEngine::InCluster && is_engine_away {
            return failure.hint(
                "See that the engine that DOCKER_HOST leads to runs (`kubectl -n builder-engine get pods` where it is in the \
                 cluster), then try again.",
            );
        }
        failure
    }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        let (message, lines) = (error.to_string(), error.lines().to_vec());
        match error {
            BuildError::Cancelled => Self::Cancelled,
            BuildError::Failed { .. } => Self::failed("build_failed", message)
                .hint("The last log lines show why. Ask for a fix, or edit the code and deploy again.")
                .lines(lines),
            BuildError::TimedOut { .. } => Self::failed("build_timed_out", message).lines(lines),
            BuildError::Unavailable(_) => Self::failed("docker_unavailable", message)
                .hint("Start Docker (for example with `sudo systemctl start docker`), then try again."),
            BuildError::RegistryAway { .. } => Self::failed("registry_unavailable", message).hint(
                "See that the registry runs and that the builder reaches it under SLIPWAY_REGISTRY, then try again.",
            ),
            BuildError::BaseImageMissing { .. } => {
                Self::failed("base_image_missing", message).hint("Run scripts/setup on the server, then try again.")
            }
            BuildError::TooLarge { .. } => Self::failed("image_too_large", message),
            BuildError::DiskFull => {
                Self::failed("disk_full", message).hint("Free some space on the engine's disk, then try again.")
            }
            BuildError::Registry { .. } => {
                Self::failed("registry_refused", message).hint("See how the registry is set up, then try again.")
            }
            BuildError::Push { .. } => Self::failed("push_failed", message)
                .hint("See that the registry runs and can be reached, then try again."),
        }
    }
}

impl From<RuntimeError> for Failure {
    fn from(error: RuntimeError) -> Self {
        let message = error.to_string();
        match error {
            RuntimeError::Cancelled => Self::Cancelled,
            RuntimeError::Unavailable(_) => Self::failed("docker_unavailable", message)
                .hint("Start Docker (for example with `sudo systemctl start docker`), then try again."),
            RuntimeError::ClusterUnavailable(_) => Self::failed("cluster_unavailable", message)
                .hint("See that the cluster runs and that KUBECONFIG leads to it, then try again."),
            RuntimeError::ClusterRefused(_) | RuntimeError::ClusterDenied(_) => {
                Self::failed("cluster_refused", message)
                    .hint("See that the builder's account and roles are in place, then try again.")
            }
            RuntimeError::NotOurs { .. } => Self::failed("namespace_taken", message)
                .hint("Delete that namespace if nobody needs it, or give the app another name."),
            RuntimeError::CannotPull(_) => Self::failed("image_pull_failed", message)
                .hint("See that the nodes reach the registry under SLIPWAY_REGISTRY_PULL, then try again."),
            RuntimeError::NoRoom(_) => Self::failed("no_room", message)
                .hint("Wait until other versions have ended, or give the cluster more room, then try again."),
            RuntimeError::SwitchTimedOut { .. } => Self::failed("switch_failed", message)
                .hint("See that the cluster's network and its endpoint controller run, then try again."),
            RuntimeError::Deleted { .. } => {
                Self::failed("deleted_outside", message).hint("See who deletes what Slipway makes, then deploy again.")
            }
            RuntimeError::Stuck { .. } => {
                Self::failed("namespace_stuck", message).hint("Fix what holds it, then delete the app again.")
            }
            RuntimeError::Exited { lines, .. } => Self::failed("start_failed", message)
                .hint("The app’s last lines show why. Ask for a fix, or edit the code and deploy again.")
                .lines(lines),
            RuntimeError::NotReady { lines, .. } => Self::failed("health_check_failed", message)
                .hint("The app runs but does not answer as it should. Its last lines may say why.")
                .lines(lines),
            RuntimeError::DiskFull => {
                Self::failed("disk_full", message).hint("Free some space on the engine's disk, then try again.")
            }
            _ => Self::failed("deploy_failed", message),
        }
    }
}
