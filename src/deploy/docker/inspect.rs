//! What the engine says about containers, read back into our words.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bollard::models::{
    ContainerInspectResponse, ContainerStateStatusEnum, ContainerSummary, ContainerSummaryStateEnum, EndpointSettings,
};
use bollard::query_parameters::{ListContainersOptionsBuilder, StatsOptionsBuilder};
use futures_util::StreamExt;

use super::super::{DeployError, FoundInstance, Instance, InstanceState, Stats};
use super::DockerRuntime;
use crate::engine::{self, Fault, label};

/// A container of ours.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) id: String,
    pub(super) state: InstanceState,
    pub(super) labels: HashMap<String, String>,
    pub(super) address: Option<IpAddr>,
    pub(super) oom: bool,
    pub(super) started_at: Option<String>,
}

impl Found {
    /// As the instance that its labels say it is.
    pub(super) fn instance(self) -> Result<Instance, DeployError> {
        instance(self.id, &self.labels, self.address)
            .ok_or_else(|| DeployError::Engine("a container of ours has lost its labels".to_owned()))
    }
}

/// Reads an instance from a container's labels. None when it is none of ours, or a run.
pub(super) fn instance(id: String, labels: &HashMap<String, String>, address: Option<IpAddr>) -> Option<Instance> {
    if labels.contains_key(label::RUN) {
        return None;
    }
    let address = address.or_else(|| labels.get(label::ADDRESS)?.parse().ok());
    let port = labels.get(label::PORT).and_then(|port| port.parse().ok());
    Some(Instance {
        id,
        app: labels.get(label::APP)?.parse().ok()?,
        app_id: labels.get(label::APP_ID)?.parse().ok()?,
        environment: labels.get(label::ENVIRONMENT)?.parse().ok()?,
        release: crate::domain::ReleaseNumber(labels.get(label::RELEASE)?.parse().ok()?),
        address: address.zip(port).map(|(address, port)| SocketAddr::new(address, port)),
    })
}

fn address(networks: Option<HashMap<String, EndpointSettings>>) -> Option<IpAddr> {
    networks?.into_values().find_map(|network| network.ip_address?.parse().ok())
}

fn found(container: ContainerInspectResponse) -> Found {
    let state = container.state.unwrap_or_default();
    Found {
        id: container.id.unwrap_or_default(),
        state: match state.status {
            Some(ContainerStateStatusEnum::RUNNING | ContainerStateStatusEnum::PAUSED) => InstanceState::Running,
            Some(ContainerStateStatusEnum::RESTARTING) => InstanceState::Restarting,
            Some(ContainerStateStatusEnum::CREATED) => InstanceState::Created,
            _ => InstanceState::Stopped,
        },
        labels: container.config.and_then(|config| config.labels).unwrap_or_default(),
        address: address(container.network_settings.and_then(|settings| settings.networks)),
        oom: state.oom_killed.unwrap_or_default(),
        started_at: state.started_at,
    }
}

impl DockerRuntime {
    /// A container by name or id.
    pub(super) async fn inspect(&self, name: &str) -> Result<Option<Found>, DeployError> {
        match engine::call(engine::QUICK, self.docker().inspect_container(name, None)).await {
            Ok(container) => Ok(Some(found(container))),
            Err(Fault::NotFound(_)) => Ok(None),
            Err(fault) => Err(fault.into()),
        }
    }

    /// All containers that a filter lets through, whatever they do.
    pub(super) async fn list(
        &self,
        filter: HashMap<String, Vec<String>>,
    ) -> Result<Vec<ContainerSummary>, DeployError> {
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filter).build();
        Ok(engine::call(engine::SLOW, self.docker().list_containers(Some(options))).await?)
    }

    pub(in super::super) async fn instances(&self) -> Result<Vec<FoundInstance>, DeployError> {
        let containers = self.list(self.installation().filter()).await?;
        Ok(containers.into_iter().filter_map(found_instance).collect())
    }

    pub(in super::super) async fn stats(&self, of: &Instance) -> Result<Stats, DeployError> {
        let options = StatsOptionsBuilder::new().stream(false).one_shot(true).build();
        let mut stream = std::pin::pin!(self.docker().stats(&of.id, Some(options)));
        let stats = engine::call(engine::QUICK, async { stream.next().await.transpose() }).await?;
        let stats = stats.ok_or(DeployError::Gone)?;
        let memory = stats.memory_stats.unwrap_or_default();
        // Files that were read stay in memory until it is wanted: version 1 and 2 of cgroups call them so.
        let cached = memory.stats.and_then(|s| s.get("total_inactive_file").or(s.get("inactive_file")).copied());
        let cpu_nanos = stats.cpu_stats.and_then(|cpu| cpu.cpu_usage?.total_usage).unwrap_or_default();
        Ok(Stats {
            memory_bytes: memory.usage.unwrap_or_default().saturating_sub(cached.unwrap_or_default()),
            memory_limit_bytes: memory.limit.unwrap_or_default(),
            cpu_time: Duration::from_nanos(cpu_nanos),
        })
    }
}

/// A container in a list, as an instance.
pub(super) fn found_instance(container: ContainerSummary) -> Option<FoundInstance> {
    let state = match container.state? {
        ContainerSummaryStateEnum::RUNNING | ContainerSummaryStateEnum::PAUSED => InstanceState::Running,
        ContainerSummaryStateEnum::RESTARTING => InstanceState::Restarting,
        ContainerSummaryStateEnum::CREATED => InstanceState::Created,
        _ => InstanceState::Stopped,
    };
    let address = address(container.network_settings.and_then(|settings| settings.networks));
    Some(FoundInstance { instance: instance(container.id?, &container.labels?, address)?, state })
}
