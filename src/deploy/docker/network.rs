//! A network per app, on which it meets nobody but itself, and addresses that stay.
//!
//! The engine has room for some thirty networks in its own address pools, so we hand out small
//! blocks of one private range. The first addresses of a block are given to instances by us, so
//! that an instance which is started again is found where it was; the rest is the engine's, for runs.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use bollard::models::{Ipam, IpamConfig, Network, NetworkCreateRequest};
use bollard::query_parameters::ListNetworksOptionsBuilder;

use super::super::DeployError;
use super::DockerRuntime;
use crate::domain::{AppId, AppName, Invalid};
use crate::engine::{self, Fault, label};

/// Prefix length of one app's block: sixteen addresses.
const BLOCK_PREFIX: u8 = 28;
/// Addresses in a block.
const BLOCK: u32 = 1 << (32 - BLOCK_PREFIX);
/// Offsets in a block that we give to instances: after the network's and the gateway's.
const GIVEN: std::ops::Range<u32> = 2..8;
/// Blocks that are tried when the engine finds each of them taken.
const TRIES: usize = 64;

/// The private range that apps' networks are cut from. Default: `10.213.0.0/16`, for 4096 apps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubnetPool {
    first: u32,
    prefix: u8,
}

impl Default for SubnetPool {
    fn default() -> Self {
        Self { first: Ipv4Addr::new(10, 213, 0, 0).to_bits(), prefix: 16 }
    }
}

impl fmt::Display for SubnetPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from_bits(self.first), self.prefix)
    }
}

impl FromStr for SubnetPool {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let refuse = || Invalid::new(format!("“{text}” is no private IPv4 range of /8 to /28, such as 10.213.0.0/16."));
        let (first, last, prefix) = parse_subnet(text).ok_or_else(refuse)?;
        let fits = (8..=BLOCK_PREFIX).contains(&prefix);
        if fits && Ipv4Addr::from_bits(first).is_private() && Ipv4Addr::from_bits(last).is_private() {
            Ok(Self { first, prefix })
        } else {
            Err(refuse())
        }
    }
}

impl SubnetPool {
    /// First addresses of the blocks that no given range touches, in order.
    fn free_blocks(self, taken: &[(u32, u32)]) -> impl Iterator<Item = u32> {
        let blocks = 1_u32 << (BLOCK_PREFIX - self.prefix);
        let last_of_pool = self.first + (blocks * BLOCK - 1);
        let mut taken_blocks = HashSet::new();
        for (first, last) in taken {
            let (first, last) = ((*first).max(self.first), (*last).min(last_of_pool));
            if first <= last {
                taken_blocks.extend((first - self.first) / BLOCK..=(last - self.first) / BLOCK);
            }
        }
        (0..blocks).filter(move |block| !taken_blocks.contains(block)).map(move |block| self.first + block * BLOCK)
    }
}

/// First and last address, and prefix length, of `a.b.c.d/n`.
fn parse_subnet(text: &str) -> Option<(u32, u32, u8)> {
    let (address, prefix) = text.split_once('/')?;
    let (address, prefix): (Ipv4Addr, u8) = (address.parse().ok()?, prefix.parse().ok()?);
    let mask = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
    (prefix <= 32).then(|| (address.to_bits() & !mask, address.to_bits() | mask, prefix))
}

/// An app's network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AppNetwork {
    pub(super) name: String,
    /// First address of its block; none when it was not made by us in this form.
    first: Option<u32>,
}

impl DockerRuntime {
    /// The app's network, made if it is not there. The caller holds the app's lock.
    pub(super) async fn network(&self, app: &AppName, app_id: AppId) -> Result<AppNetwork, DeployError> {
        let filter = self.installation().app_filter(app, app_id);
        if let Some(network) = self.networks(filter).await?.into_iter().next() {
            let subnet = network.ipam.and_then(|ipam| ipam.config?.into_iter().find_map(|config| config.subnet));
            let first = subnet.as_deref().and_then(parse_subnet).filter(|(_, _, prefix)| *prefix == BLOCK_PREFIX);
            return Ok(AppNetwork { name: network.name.unwrap_or_default(), first: first.map(|(first, _, _)| first) });
        }
        let _one_at_a_time = self.inner.subnet_lock.lock().await;
        let taken: Vec<_> = self.networks(HashMap::new()).await?.iter().flat_map(subnets).collect();
        let name = format!("slipway-{app}.{app_id}.{}", self.installation());
        for first in self.inner.settings.subnets.free_blocks(&taken).take(TRIES) {
            let request = self.network_request(&name, app, app_id, first);
            match engine::call(engine::SLOW, self.docker().create_network(request)).await {
                Ok(_) => return Ok(AppNetwork { name, first: Some(first) }),
                // Somebody was quicker, or the machine itself uses it.
                Err(Fault::Conflict(why) | Fault::Other(why)) if why.to_ascii_lowercase().contains("overlap") => {}
                Err(fault) => return Err(fault.into()),
            }
        }
        Err(DeployError::Engine(format!(
            "no network could be made for the app: the addresses of {} are used up",
            self.inner.settings.subnets
        )))
    }

    fn network_request(&self, name: &str, app: &AppName, app_id: AppId, first: u32) -> NetworkCreateRequest {
        let address = |offset: u32| Ipv4Addr::from_bits(first + offset);
        NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".to_owned()),
            internal: Some(false),
            attachable: Some(false),
            enable_ipv6: Some(false),
            ipam: Some(Ipam {
                driver: Some("default".to_owned()),
                config: Some(vec![IpamConfig {
                    subnet: Some(format!("{}/{BLOCK_PREFIX}", address(0))),
                    gateway: Some(address(1).to_string()),
                    ip_range: Some(format!("{}/{}", address(BLOCK / 2), BLOCK_PREFIX + 1)),
                    auxiliary_addresses: None,
                }]),
                options: None,
            }),
            labels: Some(self.installation().labels(app, app_id)),
            ..Default::default()
        }
    }

    /// Addresses that no container of the app has, nor will have when it is started again.
    pub(super) async fn free_addresses(
        &self,
        app: &AppName,
        app_id: AppId,
        network: &AppNetwork,
    ) -> Result<Vec<Ipv4Addr>, DeployError> {
        let Some(first) = network.first else { return Ok(Vec::new()) };
        let containers = self.list(self.installation().app_filter(app, app_id)).await?;
        let taken: HashSet<Ipv4Addr> =
            containers.iter().filter_map(|c| c.labels.as_ref()?.get(label::ADDRESS)?.parse().ok()).collect();
        Ok(GIVEN.map(|offset| Ipv4Addr::from_bits(first + offset)).filter(|address| !taken.contains(address)).collect())
    }

    /// Removes the app's network. Already gone is success.
    pub(super) async fn remove_network(&self, app: &AppName, app_id: AppId) -> Result<(), DeployError> {
        for network in self.networks(self.installation().app_filter(app, app_id)).await? {
            let id = network.id.unwrap_or_default();
            match engine::call(engine::SLOW, self.docker().remove_network(&id)).await {
                Ok(()) | Err(Fault::NotFound(_)) => {}
                Err(fault) => return Err(fault.into()),
            }
        }
        Ok(())
    }

    async fn networks(&self, filter: HashMap<String, Vec<String>>) -> Result<Vec<Network>, DeployError> {
        let options = ListNetworksOptionsBuilder::new().filters(&filter).build();
        Ok(engine::call(engine::SLOW, self.docker().list_networks(Some(options))).await?)
    }
}

/// The address ranges of a network.
fn subnets(network: &Network) -> Vec<(u32, u32)> {
    let configs = network.ipam.as_ref().and_then(|ipam| ipam.config.as_ref());
    let subnets = configs.into_iter().flatten().filter_map(|config| parse_subnet(config.subnet.as_deref()?));
    subnets.map(|(first, last, _)| (first, last)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(subnet: &str) -> (u32, u32) {
        let (first, last, _) = parse_subnet(subnet).expect("a subnet");
        (first, last)
    }

    #[test]
    fn blocks_that_are_taken_are_passed_over() {
        let pool: SubnetPool = "10.213.0.0/26".parse().expect("a pool");
        let free = |taken: &[&str]| -> Vec<String> {
            let taken: Vec<_> = taken.iter().map(|subnet| range(subnet)).collect();
            pool.free_blocks(&taken).map(|first| Ipv4Addr::from_bits(first).to_string()).collect()
        };
        assert_eq!(free(&["172.17.0.0/16"]), ["10.213.0.0", "10.213.0.16", "10.213.0.32", "10.213.0.48"]);
        assert_eq!(free(&["10.213.0.0/28", "10.213.0.40/30"]), ["10.213.0.16", "10.213.0.48"]);
        assert!(free(&["10.0.0.0/8"]).is_empty() && free(&["0.0.0.0/0"]).is_empty());
        assert_eq!(SubnetPool::default().free_blocks(&[]).count(), 4096);
    }

    #[test]
    fn only_private_ranges_are_pools() {
        assert_eq!("10.213.0.0/16".parse(), Ok(SubnetPool::default()));
        for bad in ["", "10.0.0.0", "10.0.0.0/29", "8.8.0.0/16", "192.168.0.0/15", "10.0.0.0/33", "x/16"] {
            assert!(bad.parse::<SubnetPool>().is_err(), "{bad}");
        }
    }
}
