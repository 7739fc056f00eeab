//! The settings of a container, as a pure function of the deployment. The deployment rules are implemented here.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;

use bollard::models::{
    ContainerCreateBody, EndpointIpamConfig, EndpointSettings, HealthConfig, HostConfig, HostConfigLogConfig,
    ImageInspect, NetworkingConfig, RestartPolicy, RestartPolicyNameEnum,
};
use secrecy::{ExposeSecret, SecretString};

use super::super::{Deployment, RunSpec};
use super::network::AppNetwork;
use crate::domain::{DeploymentSpec, ProcessKind};
use crate::engine::seccomp;
use crate::ownership::{self, Installation};

/// User and group of an app whose image sets no numeric, unprivileged ones.
const DEFAULT_USER: &str = "10001:10001";
/// `/tmp`, the only writable folder of an app. It counts towards the app's memory and ends with the container. Files in it
/// cannot be executed.
const TMP_OPTIONS: &str = "rw,noexec,nosuid,nodev,mode=1777,size=64m";
/// Without this, a folder that the image declares as a volume would be writable and on the engine's disk.
const VOLUME_OPTIONS: &str = "rw,noexec,nosuid,nodev,mode=1777,size=16m";

/// Output goes to the engine's binary log, which costs the engine least. If the engine cannot keep up, lines beyond the buffer
/// are dropped and the app is not blocked. Old files are not compressed: for an app that prints without end, that would occupy
/// a core.
const LOG_OPTIONS: [(&str, &str); 5] = [
    ("mode", "non-blocking"),
    ("max-buffer-size", "1m"),
    ("max-size", "10m"),
    ("max-file", "2"),
    ("compress", "false"),
];

/// The container of a release.
pub(super) fn of_deployment(
    deployment: &Deployment,
    installation: &Installation,
    image: &ImageInspect,
    network: &AppNetwork,
    address: Option<Ipv4Addr>,
    init: bool,
) -> ContainerCreateBody {
    let mut labels = installation.labels(&deployment.app, deployment.app_id);
    labels.insert(ownership::ENVIRONMENT.to_owned(), deployment.environment.to_string());
    labels.insert(ownership::RELEASE.to_owned(), deployment.release.to_string());
    if let ProcessKind::Service(probe) = &deployment.spec.process {
        labels.insert(ownership::PORT.to_owned(), probe.port.to_string());
    }
    if let Some(address) = address {
        labels.insert(ownership::ADDRESS.to_owned(), address.to_string());
    }
    body(&deployment.spec, &deployment.secrets, labels, image, network, address, init)
}

/// The container of a job's run.
pub(super) fn of_run(
    spec: &RunSpec,
    installation: &Installation,
    image: &ImageInspect,
    network: &AppNetwork,
    init: bool,
) -> ContainerCreateBody {
    let mut labels = installation.labels(&spec.app, spec.app_id);
    labels.insert(ownership::ENVIRONMENT.to_owned(), spec.environment.to_string());
    labels.insert(ownership::RELEASE.to_owned(), spec.release.to_string());
    labels.insert(ownership::RUN.to_owned(), spec.run.to_string());
    body(&spec.spec, &spec.secrets, labels, image, network, None, init)
}

fn body(
    spec: &DeploymentSpec,
    secrets: &BTreeMap<String, SecretString>,
    labels: HashMap<String, String>,
    image: &ImageInspect,
    network: &AppNetwork,
    address: Option<Ipv4Addr>,
    init: bool,
) -> ContainerCreateBody {
    let config = image.config.as_ref();
    let volumes = config.and_then(|config| config.volumes.clone()).unwrap_or_default();
    let mut tmpfs: HashMap<_, _> = volumes.into_iter().map(|path| (path, VOLUME_OPTIONS.to_owned())).collect();
    tmpfs.insert("/tmp".to_owned(), TMP_OPTIONS.to_owned());
    let log_options = LOG_OPTIONS.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let limits = spec.limits;
    let host = HostConfig {
        memory: Some(limits.memory_bytes),
        // The sum of memory and swap: the same number means no swap.
        memory_swap: Some(limits.memory_bytes),
        nano_cpus: Some(limits.cpu_millis.saturating_mul(1_000_000)),
        pids_limit: Some(limits.processes),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(seccomp::security_options()),
        privileged: Some(false),
        readonly_rootfs: Some(true),
        tmpfs: Some(tmpfs),
        ipc_mode: Some("private".to_owned()),
        init: Some(init && !spec.is_init),
        // An exit before the first answer is final. After it, `wait_ready` sets the restart policy.
        restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None }),
        log_config: Some(HostConfigLogConfig { typ: Some("local".to_owned()), config: Some(log_options.into()) }),
        network_mode: Some(network.name.clone()),
        publish_all_ports: Some(false),
        ..Default::default()
    };
    let ipam_config =
        address.map(|address| EndpointIpamConfig { ipv4_address: Some(address.to_string()), ..Default::default() });
    let endpoint = EndpointSettings { ipam_config, ..Default::default() };
    ContainerCreateBody {
        // The default would be the container's id, which apps need not know.
        hostname: Some("app".to_owned()),
        user: Some(user(config.and_then(|config| config.user.as_deref()))),
        env: Some(variables(spec, secrets)),
        image: image.id.clone(),
        labels: Some(labels),
        // Slipway checks readiness itself. A health check of the image would only use the app's processor time.
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..Default::default() }),
        host_config: Some(host),
        networking_config: Some(NetworkingConfig {
            endpoints_config: Some(HashMap::from([(network.name.clone(), endpoint)])),
        }),
        ..Default::default()
    }
}

/// The environment variables of a container.
pub(super) fn variables(spec: &DeploymentSpec, secrets: &BTreeMap<String, SecretString>) -> Vec<String> {
    let mut variables = BTreeMap::new();
    if let ProcessKind::Service(probe) = &spec.process {
        variables.insert("PORT", probe.port.to_string());
    }
    variables.extend(spec.variables.iter().map(|(name, value)| (name.as_str(), value.clone())));
    variables.extend(secrets.iter().map(|(name, value)| (name.as_str(), value.expose_secret().to_owned())));
    variables.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

/// The image's user if it is numeric and unprivileged, otherwise Slipway's default. A name could map to any user, and a number
/// without a group would get the group from the image's own `/etc/passwd`, or root's.
fn user(of_image: Option<&str>) -> String {
    let number = |text: &str| text.parse::<u32>().ok().filter(|n| *n != 0);
    let (user, group) = match of_image.unwrap_or_default().split_once(':') {
        Some((user, group)) => (number(user), number(group)),
        None => (number(of_image.unwrap_or_default()), number(of_image.unwrap_or_default())),
    };
    match (user, group) {
        (Some(user), Some(group)) => format!("{user}:{group}"),
        _ => DEFAULT_USER.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::user;

    #[test]
    fn no_image_chooses_root() {
        assert_eq!(user(Some("1000:1001")), "1000:1001");
        assert_eq!(user(Some("1000")), "1000:1000");
        for root in [
            None,
            Some(""),
            Some("0"),
            Some("root"),
            Some("0:0"),
            Some("1000:0"),
            Some("0:5"),
            Some("nginx"),
            Some("00"),
        ] {
            assert_eq!(user(root), "10001:10001", "{root:?}");
        }
    }
}
