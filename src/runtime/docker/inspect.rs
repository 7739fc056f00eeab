//! Reads containers from the engine's answers.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use bollard::models::{
    ContainerInspectResponse, ContainerStateStatusEnum, ContainerSummary, ContainerSummaryStateEnum, EndpointSettings,
};
use bollard::query_parameters::ListContainersOptionsBuilder;

use super::super::{FoundInstance, Instance, InstanceState, RuntimeError, Serves};
use super::DockerRuntime;
use crate::domain::ReleaseNumber;
use crate::engine::{self, Fault};
use crate::ownership;

/// A container that this builder created.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) state: InstanceState,
    pub(super) labels: HashMap<String, String>,
    pub(super) address: Option<IpAddr>,
    pub(super) oom: bool,
    pub(super) started_at: Option<String>,
    /// Number of restarts by the engine.
    pub(super) restarts: u32,
    pub(super) memory_limit_bytes: Option<u64>,
    /// Its environment variables, those of its image included.
    pub(super) variables: Vec<String>,
}

impl Found {
    /// The instance that its labels describe.
    pub(super) fn instance(self) -> Result<Instance, RuntimeError> {
        instance(self.id, &self.name, &self.labels, self.address)
            .ok_or_else(|| RuntimeError::Engine("a container of ours has lost its labels".to_owned()))
    }
}

/// Reads an instance from a container's name and labels. None if this builder did not create it, or if it is a run.
pub(super) fn instance(
    id: String,
    name: &str,
    labels: &HashMap<String, String>,
    address: Option<IpAddr>,
) -> Option<Instance> {
    if labels.contains_key(ownership::RUN) {
        return None;
    }
    let address = address.or_else(|| labels.get(ownership::ADDRESS)?.parse().ok());
    let port = labels.get(ownership::PORT).and_then(|port| port.parse().ok());
    Some(Instance {
        id,
        app: labels.get(ownership::APP)?.parse().ok()?,
        app_id: labels.get(ownership::APP_ID)?.parse().ok()?,
        environment: labels.get(ownership::ENVIRONMENT)?.parse().ok()?,
        release: release_in(name).or_else(|| Some(ReleaseNumber(labels.get(ownership::RELEASE)?.parse().ok()?)))?,
        address: address.zip(port).map(|(address, port)| SocketAddr::new(address, port)),
    })
}

/// The release in the name of an instance's container, as [`DockerRuntime::instance_name`] writes it. A container that a
/// roll back resumes is renamed to the new release, and keeps the label of the release that created it.
fn release_in(name: &str) -> Option<ReleaseNumber> {
    let name = name.trim_start_matches('/').strip_prefix("slipway-")?;
    let (_, release) = name.split_once('.')?.0.rsplit_once('-')?;
    release.parse().ok().map(ReleaseNumber)
}

fn address(networks: Option<HashMap<String, EndpointSettings>>) -> Option<IpAddr> {
    networks?.into_values().find_map(|network| network.ip_address?.parse().ok())
}

fn found(container: ContainerInspectResponse) -> Found {
    let state = container.state.unwrap_or_default();
    let config = container.config.unwrap_or_default();
    let (labels, variables) = (config.labels.unwrap_or_default(), config.env.unwrap_or_default());
    let limit = container.host_config.and_then(|host| u64::try_from(host.memory?).ok());
    Found {
        id: container.id.unwrap_or_default(),
        name: container.name.unwrap_or_default(),
        state: match state.status {
            Some(ContainerStateStatusEnum::RUNNING) => InstanceState::Running,
            Some(ContainerStateStatusEnum::PAUSED) => InstanceState::Paused,
            Some(ContainerStateStatusEnum::RESTARTING) => InstanceState::Restarting,
            Some(ContainerStateStatusEnum::CREATED) => InstanceState::Created,
            _ => InstanceState::Stopped,
        },
        labels,
        variables,
        address: address(container.network_settings.and_then(|settings| settings.networks)),
        oom: state.oom_killed.unwrap_or_default(),
        started_at: state.started_at,
        restarts: container.restart_count.and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
        memory_limit_bytes: limit.filter(|limit| *limit > 0),
    }
}

impl DockerRuntime {
    /// A container by name or id.
    pub(super) async fn inspect(&self, name: &str) -> Result<Option<Found>, RuntimeError> {
        match engine::call(engine::QUICK, self.docker().inspect_container(name, None)).await {
            Ok(container) => Ok(Some(found(container))),
            Err(Fault::NotFound(_)) => Ok(None),
            Err(fault) => Err(fault.into()),
        }
    }

    /// All containers that match a filter, in any state.
    pub(super) async fn list(
        &self,
        filter: HashMap<String, Vec<String>>,
    ) -> Result<Vec<ContainerSummary>, RuntimeError> {
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filter).build();
        Ok(engine::call(engine::SLOW, self.docker().list_containers(Some(options))).await?)
    }

    pub(in super::super) async fn instances(&self) -> Result<Vec<FoundInstance>, RuntimeError> {
        let containers = self.list(self.installation().filter()).await?;
        Ok(containers.into_iter().filter_map(found_instance).collect())
    }
}

/// A container in a list, as an instance.
pub(super) fn found_instance(container: ContainerSummary) -> Option<FoundInstance> {
    let state = match container.state? {
        ContainerSummaryStateEnum::RUNNING => InstanceState::Running,
        ContainerSummaryStateEnum::PAUSED => InstanceState::Paused,
        ContainerSummaryStateEnum::RESTARTING => InstanceState::Restarting,
        ContainerSummaryStateEnum::CREATED => InstanceState::Created,
        _ => InstanceState::Stopped,
    };
    let address = address(container.network_settings.and_then(|settings| settings.networks));
    let name = container.names.and_then(|names| names.into_iter().next()).unwrap_or_default();
    Some(FoundInstance {
        instance: instance(container.id?, &name, &container.labels?, address)?,
        state,
        serves: Serves::OwnRelease,
    })
}
