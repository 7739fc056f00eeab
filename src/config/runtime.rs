//! Settings for the runtime: where apps run, how it is reached, and which networks apps may reach.

use std::path::PathBuf;
use std::time::Duration;

use super::source::{ConfigError, Key, Sources, key};
use crate::domain::{AllowedNetwork, Network};

pub(super) const KEYS: &[Key] = &[
    key("runtime", "SLIPWAY_RUNTIME", "auto", "docker, kubernetes or auto: Kubernetes inside a cluster, else Docker."),
    key(
        "docker_host",
        "DOCKER_HOST",
        "",
        "Address of the Docker engine; default: its socket. tcp:// to another machine needs TLS.",
    ),
    key(
        "docker_tls_verify",
        "DOCKER_TLS_VERIFY",
        "",
        "Anything but empty: the engine at tcp:// is spoken to with mutual TLS, as Docker's own command line does.",
    ),
    key(
        "docker_cert_path",
        "DOCKER_CERT_PATH",
        "",
        "The folder with ca.pem, cert.pem and key.pem for that; setting it is enough. Default: ~/.docker.",
    ),
    key("kubeconfig", "KUBECONFIG", "", "How to reach a cluster; none inside one."),
    key("ingress_class", "SLIPWAY_INGRESS_CLASS", "traefik", "Class of the apps' Ingresses."),
    key("ingress_namespace", "SLIPWAY_INGRESS_NAMESPACE", "kube-system", "Where the ingress controller runs."),
    key("reconcile_seconds", "SLIPWAY_RECONCILE_SECONDS", "300", "How often changes made by hand are reverted."),
    key(
        "keep_replaced_seconds",
        "SLIPWAY_KEEP_REPLACED_SECONDS",
        "600",
        "How long, on Docker, the release that production ran just before stays paused, so that a roll back to it starts nothing; 0: not at all.",
    ),
    key(
        "blocked_networks",
        "SLIPWAY_BLOCKED_NETWORKS",
        "",
        "Networks that apps and builds may not reach, such as 203.0.113.0/24, with commas; private ones never can be.",
    ),
    key(
        "allowed_networks",
        "SLIPWAY_ALLOWED_NETWORKS",
        "",
        "Private IPv4 addresses that apps and builds may reach on Docker, such as a proxy at 10.0.0.7:3128, with commas.",
    ),
];

/// The runtime of apps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuntimeKind {
    /// In a Docker engine.
    Docker,
    /// In a Kubernetes cluster.
    Kubernetes,
}

/// Settings for the Kubernetes runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterConfig {
    /// The kubeconfig; none: the cluster in which the builder runs.
    pub kubeconfig: Option<String>,
    /// Class of the apps' Ingresses.
    pub ingress_class: String,
    /// Namespace of the ingress controller.
    pub ingress_namespace: String,
    /// Interval in which the cluster is reconciled, and manual changes are reverted.
    pub reconcile_every: Duration,
}

pub(super) fn kind(sources: &Sources) -> Result<RuntimeKind, ConfigError> {
    match sources.text("runtime").unwrap_or_default() {
        "auto" if sources.in_cluster => Ok(RuntimeKind::Kubernetes),
        "auto" | "docker" => Ok(RuntimeKind::Docker),
        "kubernetes" => Ok(RuntimeKind::Kubernetes),
        _ => Err(sources.bad("runtime", "expected auto, docker or kubernetes")),
    }
}

pub(super) fn cluster(sources: &Sources) -> Result<ClusterConfig, ConfigError> {
    Ok(ClusterConfig {
        kubeconfig: sources.owned("kubeconfig"),
        ingress_class: sources.owned("ingress_class").unwrap_or_default(),
        ingress_namespace: sources.owned("ingress_namespace").unwrap_or_default(),
        reconcile_every: Duration::from_secs(sources.positive("reconcile_seconds")?),
    })
}

/// Reads the folder of the certificates for the engine, if TLS is used. As in Docker's command line, any value of
/// `DOCKER_TLS_VERIFY` enables TLS. Unlike there, the engine's certificate is always verified.
pub(super) fn docker_cert_path(sources: &Sources) -> Result<Option<PathBuf>, ConfigError> {
    if let Some(folder) = sources.text("docker_cert_path") {
        return Ok(Some(PathBuf::from(folder)));
    }
    if sources.text("docker_tls_verify").is_none() {
        return Ok(None);
    }
    match std::env::home_dir() {
        Some(home) => Ok(Some(home.join(".docker"))),
        None => Err(sources.bad("docker_tls_verify", "there is no home folder here: set DOCKER_CERT_PATH")),
    }
}

/// How long the release that production ran just before stays paused.
pub(super) fn keep_replaced(sources: &Sources) -> Result<Duration, ConfigError> {
    Ok(Duration::from_secs(sources.parse("keep_replaced_seconds", "a number of seconds")?))
}

pub(super) fn blocked_networks(sources: &Sources) -> Result<Vec<Network>, ConfigError> {
    sources.list("blocked_networks")
}

pub(super) fn allowed_networks(sources: &Sources, runtime: RuntimeKind) -> Result<Vec<AllowedNetwork>, ConfigError> {
    let allowed = sources.list("allowed_networks")?;
    if runtime == RuntimeKind::Kubernetes && !allowed.is_empty() {
        return Err(sources.bad(
            "allowed_networks",
            "this setting is for the Docker runtime; on a cluster, add a NetworkPolicy to the app's namespace",
        ));
    }
    Ok(allowed)
}
