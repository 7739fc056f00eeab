//! The DNS servers of the engine's resolver.
//!
//! The engine answers containers' DNS queries itself. It forwards other queries from the container's own network
//! namespace, so these packets are subject to the rules. It queries a server on a loopback address from the host's
//! namespace, which needs no rule.

use std::net::IpAddr;

/// The files from which the engine reads its servers. It uses the second one if the first contains only systemd's stub.
const FILES: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
/// Maximum number of servers; the C library uses three.
const SERVERS_MAX: usize = 8;

/// DNS servers of this machine that are not on a loopback address.
pub(super) async fn of_this_machine() -> Vec<IpAddr> {
    let mut servers = Vec::new();
    for file in FILES {
        if let Ok(text) = tokio::fs::read_to_string(file).await {
            servers.extend(parse(&text));
        }
    }
    servers.sort_unstable();
    servers.dedup();
    servers.truncate(SERVERS_MAX);
    servers
}

fn parse(text: &str) -> impl Iterator<Item = IpAddr> {
    let words = text.lines().map(str::split_whitespace);
    words.filter_map(|mut words| match (words.next(), words.next()) {
        (Some("nameserver"), Some(address)) => address.parse().ok().filter(|address: &IpAddr| !address.is_loopback()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn loopback_servers_are_ignored() {
        let text =
            "# nameserver 10.0.0.1\nsearch lan\nnameserver 127.0.0.53\nnameserver 10.0.0.2\nnameserver fe80::1%eth0\n";
        assert_eq!(
            super::parse(text).collect::<Vec<_>>(),
            ["10.0.0.2".parse::<std::net::IpAddr>().expect("an address")]
        );
    }
}
