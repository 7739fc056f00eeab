//! The client's address: the peer of the socket, or the address that a trusted proxy reports.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap};
use ipnet::IpNet;

/// Maximum number of entries of `X-Forwarded-For` that are read.
const HOPS_MAX: usize = 16;

/// The client's address; in the extensions of every request to the builder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientIp(pub IpAddr);

impl ClientIp {
    /// The peer of the socket. Without a socket, as in tests, it is this machine.
    pub fn of_socket(extensions: &Extensions) -> Self {
        let address = extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip());
        Self(address.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |ip| ip.to_canonical()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ClientIp {
    type Rejection = std::convert::Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get().copied().unwrap_or_else(|| Self::of_socket(&parts.extensions)))
    }
}

/// The networks of the operator's proxies, whose client addresses are trusted. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Proxies(Arc<[IpNet]>);

impl Proxies {
    /// The configured networks.
    pub fn new(networks: &[IpNet]) -> Self {
        Self(networks.into())
    }

    /// Whether one of them contains this address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The client behind `peer`. The entry that a trusted proxy wrote is the last one of `X-Forwarded-For`;
    /// if that is a trusted proxy too, the one before counts, and so on.
    pub fn client(&self, peer: ClientIp, headers: &HeaderMap) -> ClientIp {
        let mut client = peer;
        let lines: Vec<_> = headers.get_all("x-forwarded-for").iter().collect();
        let mut entries = lines.iter().rev().flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
        for _ in 0..HOPS_MAX {
            if !self.contains(client.0) {
                break;
            }
            let Some(Ok(ip)) = entries.next().map(|entry| entry.trim().parse::<IpAddr>()) else { break };
            client = ClientIp(ip.to_canonical());
        }
        client
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_entries_of_trusted_proxies_count() {
        let network = |text: &str| text.parse().expect("a network");
        let proxies = Proxies::new(&[network("10.42.0.0/16"), network("fd00::/64")]);
        let client = |peer: &str, lines: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("x-forwarded-for", HeaderValue::from_bytes(line).expect("a header"));
            }
            proxies.client(ClientIp(peer.parse().expect("an address")), &headers).0.to_string()
        };
        assert_eq!(client("10.42.0.7", &[b"192.0.2.1"]), "192.0.2.1");
        assert_eq!(client("::ffff:10.42.0.7", &[b"192.0.2.1"]), "192.0.2.1");
        assert_eq!(client("fd00::7", &[b"6.6.6.6, 192.0.2.7"]), "192.0.2.7");
        assert_eq!(client("10.42.0.7", &[b"6.6.6.6", b"::ffff:192.0.2.7"]), "192.0.2.7");
        // Through two trusted proxies.
        assert_eq!(client("10.42.0.7", &[b"6.6.6.6, 192.0.2.7, 10.42.0.8"]), "192.0.2.7");
        assert_eq!(client("10.42.0.7", &[b"192.0.2.7", b"10.42.0.8"]), "192.0.2.7");
        // Other peers are not trusted.
        assert_eq!(client("192.0.2.9", &[b"6.6.6.6"]), "192.0.2.9");
        assert_eq!(client("192.0.2.9", &[b"10.42.0.1"]), "192.0.2.9");
        for garbage in [&[][..], &[&b""[..]], &[b"unknown"], &[b"192.0.2.1,"], &[b"\xff"]] {
            assert_eq!(client("10.42.0.7", garbage), "10.42.0.7");
        }
    }
}
