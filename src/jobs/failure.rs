//! Converts errors of the engine, the registry or the cluster into a code, a message and a hint: for a job as its
//! failure, and for a request as its response.

use super::context::Failure;
use crate::build::{BuildEngine, BuildError};
use crate::error::{AppError, ErrorKind};
use crate::runtime::RuntimeError;

const START_DOCKER: &str = "Start Docker (for example with `sudo systemctl start docker`), then try again.";
const CHECK_BUILD_ENGINE: &str = "See that the engine that DOCKER_HOST leads to runs (`kubectl -n builder-engine get pods` where it is in the \
                                  cluster), then try again.";
const CHECK_CLUSTER: &str = "See that the cluster runs and that KUBECONFIG leads to it, then try again.";

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
    fn from(BuildFault { error, engine }: BuildFault) -> Self {
        let (message, lines) = (error.to_string(), error.lines().to_vec());
        match error {
            BuildError::Cancelled => Self::Cancelled,
            BuildError::Failed { .. } => Self::failed("build_failed", message)
                .hint("The last log lines show why. Ask for a fix, or edit the code and deploy again.")
                .lines(lines),
            BuildError::TimedOut { .. } => Self::failed("build_timed_out", message).lines(lines),
            BuildError::Unavailable(_) => {
                let hint = if engine == BuildEngine::InCluster { CHECK_BUILD_ENGINE } else { START_DOCKER };
                Self::failed("docker_unavailable", message).hint(hint)
            }
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
            RuntimeError::Unavailable(_) => Self::failed("docker_unavailable", message).hint(START_DOCKER),
            RuntimeError::ClusterUnavailable(_) => Self::failed("cluster_unavailable", message).hint(CHECK_CLUSTER),
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

/// The response (503) to a request for which the runtime is queried directly, if the runtime does not answer.
pub fn runtime_unavailable(error: &RuntimeError) -> AppError {
    match error {
        RuntimeError::ClusterUnavailable(_) | RuntimeError::ClusterRefused(_) | RuntimeError::ClusterDenied(_) => {
            AppError::new(ErrorKind::Unavailable, "cluster_unavailable", error.to_string()).hint(CHECK_CLUSTER)
        }
        _ => AppError::new(ErrorKind::Unavailable, "docker_unavailable", error.to_string()).hint(START_DOCKER),
    }
}
