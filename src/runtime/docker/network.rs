//! A network for each app, on which the app can reach only itself, with addresses that stay the same.
//!
//! Slipway assigns the first addresses of a block to instances, so that a restarted instance keeps its address. The
//! engine assigns the rest, to runs.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use bollard::models::Network;

use super::super::RuntimeError;
use super::DockerRuntime;
use crate::domain::{AppId, AppName};
use crate::engine::subnet::{self, BLOCK_PREFIX, parse_subnet};
use crate::ownership;

/// Offsets in a block that Slipway assigns to instances: those after the addresses of the network and the gateway.
const GIVEN: std::ops::Range<u32> = 2..8;

/// An app's network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AppNetwork {
    pub(super) name: String,
    /// First address of its block; none if Slipway did not create it with a block of this size.
    first: Option<u32>,
}

impl DockerRuntime {
    /// The app's network, which is created if it does not exist. The caller holds the app's lock.
    pub(super) async fn network(&self, app: &AppName, app_id: AppId) -> Result<AppNetwork, RuntimeError> {
        let filter = self.installation().app_filter(app, app_id);
        if let Some(network) = subnet::list(self.docker(), filter).await?.into_iter().next() {
            self.note_network(&network);
            let subnet = network.ipam.and_then(|ipam| ipam.config?.into_iter().find_map(|config| config.subnet));
            let first = subnet.as_deref().and_then(parse_subnet).filter(|(_, _, prefix)| *prefix == BLOCK_PREFIX);
            return Ok(AppNetwork { name: network.name.unwrap_or_default(), first: first.map(|(first, _, _)| first) });
        }
        let name = format!("slipway-{app}.{app_id}.{}", self.installation());
        let labels = self.installation().labels(app, app_id);
        let made = self.inner.subnets.create(self.docker(), self.installation(), &name, labels).await;
        match made? {
            Some(made) => {
                self.inner.settings.firewall.note_interface(&made.interface);
                Ok(AppNetwork { name, first: Some(made.first) })
            }
            None => Err(RuntimeError::Engine(format!(
                "no network could be made for the app: the addresses of {} are used up",
                self.inner.settings.subnets
            ))),
        }
    }

    /// Addresses that no container of the app has now, or will have after a restart.
    pub(super) async fn free_addresses(
        &self,
        app: &AppName,
        app_id: AppId,
        network: &AppNetwork,
    ) -> Result<Vec<Ipv4Addr>, RuntimeError> {
        let Some(first) = network.first else { return Ok(Vec::new()) };
        let containers = self.list(self.installation().app_filter(app, app_id)).await?;
        let taken: HashSet<Ipv4Addr> =
            containers.iter().filter_map(|c| c.labels.as_ref()?.get(ownership::ADDRESS)?.parse().ok()).collect();
        Ok(GIVEN.map(|offset| Ipv4Addr::from_bits(first + offset)).filter(|address| !taken.contains(address)).collect())
    }

    /// Removes the app's network. Succeeds if it does not exist.
    pub(super) async fn remove_network(&self, app: &AppName, app_id: AppId) -> Result<(), RuntimeError> {
        for network in subnet::list(self.docker(), self.installation().app_filter(app, app_id)).await? {
            subnet::remove(self.docker(), &network.id.unwrap_or_default()).await?;
        }
        Ok(())
    }

    /// Reports the existing networks to the firewall, and makes it apply its rules.
    pub(in super::super) async fn protect(&self) -> Result<(), RuntimeError> {
        for network in subnet::list(self.docker(), self.installation().filter()).await? {
            self.note_network(&network);
        }
        self.inner.settings.firewall.ensure().await;
        Ok(())
    }

    fn note_network(&self, network: &Network) {
        let firewall = &self.inner.settings.firewall;
        let interface = network.options.as_ref().and_then(|options| options.get(ownership::INTERFACE_OPTION));
        if let Some(interface) = interface {
            return firewall.note_interface(interface);
        }
        // The network was created by an earlier version, before Slipway chose the names of interfaces.
        let configs = network.ipam.iter().flat_map(|ipam| ipam.config.iter().flatten());
        for subnet in configs.filter_map(|config| config.subnet.as_deref()?.parse().ok()) {
            firewall.note_subnet(subnet);
        }
    }
}
