//! Address ranges, and those that apps and builds must not reach.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::Invalid;

/// IPv4 ranges that apps and builds may not reach: this network, private, carrier-grade NAT, loopback, a cloud's host
/// agent, link-local with the metadata services, protocol assignments, benchmarks, multicast, reserved.
/// Source: IANA IPv4 Special-Purpose Address Registry; 168.63.129.16 is Azure's host agent.
pub const BLOCKED_V4: [&str; 12] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
];
/// IPv6 ranges that apps and builds may not reach: unspecified and loopback, IPv4 embedded in IPv6 (NAT64, Teredo,
/// 6to4), unique local, link-local, multicast. Mapped IPv4 (`::ffff:0:0/96`) is never sent over a network, and clusters
/// treat it as IPv4.
pub const BLOCKED_V6: [&str; 8] =
    ["::/128", "::1/128", "64:ff9b::/96", "2001::/32", "2002::/16", "fc00::/7", "fe80::/10", "ff00::/8"];

/// A range of addresses, such as `203.0.113.0/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether it is a range of IPv6 addresses.
    pub fn is_v6(&self) -> bool {
        self.address.is_ipv6()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        Self { address, bits: if address.is_ipv6() { 128 } else { 32 } }
    }
}

impl FromStr for Network {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let parsed = text.split_once('/').and_then(|(address, bits)| {
            let network = Self { address: address.parse().ok()?, bits: bits.parse().ok()? };
            (network.bits <= Self::from(network.address).bits).then_some(network)
        });
        parsed.ok_or_else(|| Invalid::new(format!("expected networks such as 203.0.113.0/24, not “{text}”")))
    }
}

/// An exception from the blocked ranges that the operator allows: an address or a range, with or
/// without a port, such as `10.0.0.7:3128`, `10.0.0.0/24` or `10.0.0.7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllowedNetwork {
    /// The addresses.
    pub network: Network,
    /// TCP and UDP port; `None`: all ports and protocols.
    pub port: Option<u16>,
}

impl fmt::Display for AllowedNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.network)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl FromStr for AllowedNetwork {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let refuse = || {
            Invalid::new(format!("expected IPv4 networks such as 10.0.0.0/24, 10.0.0.7 or 10.0.0.7:3128, not “{text}”"))
        };
        let (network, port) = match text.split_once(':') {
            Some((network, port)) => (network, Some(port.parse().ok().filter(|port| *port != 0).ok_or_else(refuse)?)),
            None => (text, None),
        };
        let network = if network.contains('/') {
            network.parse().map_err(|_| refuse())?
        } else {
            Network::from(network.parse::<IpAddr>().map_err(|_| refuse())?)
        };
        if network.is_v6() {
            return Err(refuse());
        }
        Ok(Self { network, port })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn scripts_and_manifests_have_the_same_list_of_networks() {
        let listed: BTreeSet<_> = BLOCKED_V4.into_iter().chain(BLOCKED_V6).collect();
        for file in [
            include_str!("../../k8s/builder/engine/network-policy.yaml"),
            include_str!("../../k8s/builder/engine/dockerd"),
        ] {
            let words = file.split(|c: char| c.is_whitespace() || "\"'".contains(c));
            let networks = words.filter(|word| word.contains('/') && word.parse::<Network>().is_ok());
            let named: BTreeSet<_> = networks.filter(|word| !word.ends_with("/0")).collect();
            assert_eq!(named, listed);
        }
    }

    #[test]
    fn networks_are_parsed_and_blocked_ones_are_valid() {
        for good in BLOCKED_V4.iter().chain(&BLOCKED_V6) {
            let network: Network = good.parse().expect("a network");
            assert_eq!(network.to_string(), *good);
            assert_eq!(network.is_v6(), good.contains(':'));
        }
        for bad in ["", "10.0.0.0", "10.0.0.0/33", "::/129", "x/8", "10.0.0.0/8 -j ACCEPT"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_allowed_network_can_have_a_port() {
        for (text, shown) in
            [("10.0.0.7", "10.0.0.7/32"), ("10.0.0.7:3128", "10.0.0.7/32:3128"), ("10.1.0.0/16", "10.1.0.0/16")]
        {
            assert_eq!(text.parse::<AllowedNetwork>().expect("allowed").to_string(), shown);
        }
        for bad in ["", "10.0.0.7:0", "10.0.0.7:x", "proxy:3128", "::1", "10.0.0.0/40"] {
            assert!(bad.parse::<AllowedNetwork>().is_err(), "{bad}");
        }
    }
}
