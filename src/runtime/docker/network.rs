//! A network per app, on which it meets nobody but itself, and addresses that stay.
//!
//! The first addresses of a block are given to instances by us, so that an instance which is started again is found
//! where it was; the rest is the engine's, for runs.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use bollard::models::Network;

use super::super::RuntimeError;
use super::DockerRuntime;
use crate::domain::{AppId, AppName};
use crate::engine::subnet::{self, BLOCK_PREFIX, parse_subnet};
use crate::ownership;

/// Offsets in a block that we give to instances: after the network's and the gateway's.
const GIVEN: std::ops::Range<u32> = 2..8;

/// An app's network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AppNetwork {
    pub(super) name: String,
    /// First address of its block; none when it was not made by us in this form.
    first: Option<u32>,
}

impl DockerRuntime {
    /// The app's network, made if it is not there. The caller holds the app's lock.
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

    /// Addresses that no container of the app has, nor will have when it is started again.
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

    /// Removes the app's network. Already gone is success.
    pub(super) async fn remove_network(&self, app: &AppName, app_id: AppId) -> Result<(), RuntimeError> {
        for network in subnet::list(self.docker(), self.installation().app_filter(app, app_id)).await? {
            subnet::remove(self.docker(), &network.id.unwrap_or_default()).await?;
        }
        Ok(())
    }

    /// Tells the firewall of the networks that are there, and has it put up its rules.
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
        // Made before interfaces had names of ours.
        let configs = network.ipam.iter().flat_map(|ipam| ipam.config.iter().flatten());
        for subnet in configs.filter_map(|config| config.subnet.as_deref()?.parse().ok()) {
            firewall.note_subnet(subnet);
        }
    }
}
