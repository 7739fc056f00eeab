//! Networks with address ranges that Slipway chooses.
//!
//! The engine's own address pools have room for about thirty networks, so Slipway allocates small blocks of private
//! ranges. It also chooses the names of the networks' bridge interfaces, by which the packet filter rules match them.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use bollard::Docker;
use bollard::models::{Ipam, IpamConfig, Network, NetworkCreateRequest};
use bollard::query_parameters::ListNetworksOptionsBuilder;

use super::{Fault, SLOW, call};
use crate::domain::Invalid;
use crate::ownership::{INTERFACE_OPTION, Installation};

/// Prefix length of one network's block.
pub const BLOCK_PREFIX: u8 = 28;
/// Addresses in a block.
pub const BLOCK: u32 = 1 << (32 - BLOCK_PREFIX);
/// How many blocks are tried if the engine refuses them because they overlap with others.
const TRIES: usize = 64;

/// A private range from which networks get blocks of sixteen addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubnetPool {
    first: u32,
    prefix: u8,
}

impl SubnetPool {
    /// The range of apps' networks: `10.213.0.0/16`, for 4096 apps.
    pub const APPS: Self = Self { first: Ipv4Addr::new(10, 213, 0, 0).to_bits(), prefix: 16 };
    /// The range of builds' networks: `10.214.0.0/16`.
    pub const BUILDS: Self = Self { first: Ipv4Addr::new(10, 214, 0, 0).to_bits(), prefix: 16 };
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
    /// First addresses of the blocks that do not overlap with the given ranges, in ascending order.
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

/// The first and the last address, and the prefix length, of `a.b.c.d/n`.
pub fn parse_subnet(text: &str) -> Option<(u32, u32, u8)> {
    let (address, prefix) = text.split_once('/')?;
    let (address, prefix): (Ipv4Addr, u8) = (address.parse().ok()?, prefix.parse().ok()?);
    let mask = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
    (prefix <= 32).then(|| (address.to_bits() & !mask, address.to_bits() | mask, prefix))
}

/// A network that was created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeNetwork {
    /// First address of its block.
    pub first: u32,
    /// Name of its bridge interface.
    pub interface: String,
}

/// Creates networks from one pool.
#[derive(Debug)]
pub struct Subnets {
    pool: SubnetPool,
    /// Held while a free block is searched and used.
    lock: tokio::sync::Mutex<()>,
}

impl Subnets {
    /// Creates networks in this range.
    pub fn new(pool: SubnetPool) -> Self {
        Self { pool, lock: tokio::sync::Mutex::default() }
    }

    /// Creates a bridge network without IPv6. `None` if no block is free. Slipway assigns the addresses of the first
    /// half of the block, the engine those of the second.
    ///
    /// # Errors
    /// The engine's error.
    pub async fn create(
        &self,
        docker: &Docker,
        installation: &Installation,
        name: &str,
        labels: HashMap<String, String>,
    ) -> Result<Option<MadeNetwork>, Fault> {
        let _one_at_a_time = self.lock.lock().await;
        let taken: Vec<_> = list(docker, HashMap::new()).await?.iter().flat_map(subnets).collect();
        for first in self.pool.free_blocks(&taken).take(TRIES) {
            let interface = installation.new_interface();
            let request = request(name, labels.clone(), first, &interface);
            match call(SLOW, docker.create_network(request)).await {
                Ok(_) => return Ok(Some(MadeNetwork { first, interface })),
                // Another process has allocated the range, or the machine uses it.
                Err(Fault::Conflict(why) | Fault::Other(why)) if why.to_ascii_lowercase().contains("overlap") => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(None)
    }
}

fn request(name: &str, labels: HashMap<String, String>, first: u32, interface: &str) -> NetworkCreateRequest {
    let address = |offset: u32| Ipv4Addr::from_bits(first + offset);
    NetworkCreateRequest {
        name: name.to_owned(),
        driver: Some("bridge".to_owned()),
        internal: Some(false),
        attachable: Some(false),
        enable_ipv6: Some(false),
        options: Some(HashMap::from([(INTERFACE_OPTION.to_owned(), interface.to_owned())])),
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
        labels: Some(labels),
        ..Default::default()
    }
}

/// The networks that match a filter.
///
/// # Errors
/// The engine's error.
#[expect(clippy::implicit_hasher, reason = "the client takes this very type")]
pub async fn list(docker: &Docker, filter: HashMap<String, Vec<String>>) -> Result<Vec<Network>, Fault> {
    let options = ListNetworksOptionsBuilder::new().filters(&filter).build();
    call(SLOW, docker.list_networks(Some(options))).await
}

/// Removes a network. Succeeds if it does not exist.
///
/// # Errors
/// The engine's error.
pub async fn remove(docker: &Docker, id: &str) -> Result<(), Fault> {
    match call(SLOW, docker.remove_network(id)).await {
        Ok(()) | Err(Fault::NotFound(_)) => Ok(()),
        Err(fault) => Err(fault),
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
        assert_eq!(SubnetPool::APPS.free_blocks(&[]).count(), 4096);
    }

    #[test]
    fn only_private_ranges_are_pools() {
        assert_eq!("10.213.0.0/16".parse(), Ok(SubnetPool::APPS));
        for bad in ["", "10.0.0.0", "10.0.0.0/29", "8.8.0.0/16", "192.168.0.0/15", "10.0.0.0/33", "x/16"] {
            assert!(bad.parse::<SubnetPool>().is_err(), "{bad}");
        }
    }
}
