//! The host of a request, parsed strictly: routing and the check of `Origin` depend on it.

use std::net::SocketAddr;

use axum::http::header::HOST;
use axum::http::request::Parts;

use crate::config::Config;
use crate::domain::HostName;
use crate::domain::name::strip_port;

/// Maximum length of a host in bytes: a DNS name and a port.
const HOST_MAX: usize = 262;

/// A request with an invalid host, and the reason as a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadHost(pub &'static str);

/// The host of a request with its port. There must be exactly one valid `Host` header, and it must
/// match the host in the address, if there is one: otherwise one host could be checked and
/// the other used.
pub fn requested_host(parts: &Parts) -> Result<&str, BadHost> {
    let mut headers = parts.headers.get_all(HOST).iter();
    let authority = parts.uri.authority().map(axum::http::uri::Authority::as_str);
    let host = match (headers.next(), headers.next()) {
        (_, Some(_)) => return Err(BadHost("The request names more than one host.")),
        (Some(host), None) => host.to_str().map_err(|_| BadHost("The request's host is not written in ASCII."))?,
        (None, None) => authority.ok_or(BadHost("The request names no host."))?,
    };
    if authority.is_some_and(|authority| !authority.eq_ignore_ascii_case(host)) {
        return Err(BadHost("The request's address and its Host header name different hosts."));
    }
    if is_host(host) { Ok(host) } else { Err(BadHost("The request's host is invalid.")) }
}

fn is_host(text: &str) -> bool {
    let name = strip_port(text);
    let port = &text[name.len()..];
    let bracketed = name.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
    let good_name = match bracketed {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_')),
    };
    let good_port = port.is_empty() || port == ":" || port[1..].parse::<u16>().is_ok();
    text.len() <= HOST_MAX && good_name && good_port
}

/// Our hosts and their meaning.
#[derive(Debug, Clone)]
pub struct OwnHosts {
    domain: String,
    apps_domain: String,
    listen: SocketAddr,
}

impl OwnHosts {
    /// From the settings.
    pub fn new(config: &Config) -> Self {
        Self { domain: config.domain.clone(), apps_domain: config.apps_domain.clone(), listen: config.listen }
    }

    /// The meaning of a host. If the builder listens on loopback, its bare address belongs to the
    /// builder too. Any other name that resolves to this machine is rejected (DNS rebinding): otherwise any
    /// page could read the builder under its own name.
    pub fn find(&self, host: &str) -> Option<HostName> {
        if HostName::parse(host, &self.domain) == Some(HostName::Builder) || self.is_bare(host) {
            return Some(HostName::Builder);
        }
        HostName::parse(host, &self.apps_domain).filter(|found| *found != HostName::Builder)
    }

    fn is_bare(&self, host: &str) -> bool {
        if !self.listen.ip().is_loopback() {
            return false;
        }
        let name = strip_port(host);
        let port = host[name.len()..].trim_start_matches(':');
        let port = if port.is_empty() { Some(80) } else { port.parse().ok() };
        // Port 0 in the settings means a port that the system chose.
        let port_is_ours = self.listen.port() == 0 || port == Some(self.listen.port());
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let own = match self.listen.ip() {
            std::net::IpAddr::V4(ip) => ip.to_string(),
            std::net::IpAddr::V6(ip) => format!("[{ip}]"),
        };
        port_is_ours && (matches!(name.as_str(), "localhost" | "127.0.0.1" | "[::1]") || name == own)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderValue, Request};

    use super::*;
    use crate::domain::Environment;

    fn host(uri: &str, hosts: &[&[u8]]) -> Result<String, BadHost> {
        let mut request = Request::builder().uri(uri).body(()).expect("a request");
        for host in hosts {
            request.headers_mut().append(HOST, HeaderValue::from_bytes(host).expect("a header"));
        }
        requested_host(&request.into_parts().0).map(str::to_owned)
    }

    #[test]
    fn requests_need_exactly_one_valid_host() {
        assert_eq!(host("/", &[b"builder.localhost:8080"]), Ok("builder.localhost:8080".into()));
        assert_eq!(host("http://A.localhost/x", &[b"a.localhost"]), Ok("a.localhost".into()));
        assert_eq!(host("http://a.localhost/x", &[]), Ok("a.localhost".into()));
        assert_eq!(host("/", &[b"[::1]:8080"]), Ok("[::1]:8080".into()));
        let garbage: &[(&str, &[&[u8]])] = &[
            ("/", &[]),
            ("/", &[b""]),
            ("/", &[b":80"]),
            ("/", &[b"a", b"a"]),
            ("/", &[b"a b"]),
            ("/", &[b"a/b"]),
            ("/", &[b"user@builder.localhost"]),
            ("/", &[b"a:99999"]),
            ("/", &[b"a:b"]),
            ("/", &[b"[::1"]),
            ("/", &[b"[x]"]),
            ("/", &[b"\xff\xfe"]),
            ("/", &["ü.localhost".as_bytes()]),
            ("http://evil.test/", &[b"builder.localhost"]),
            ("http://user@builder.localhost/", &[]),
        ];
        for (uri, hosts) in garbage {
            assert!(host(uri, hosts).is_err(), "{uri} {hosts:?}");
        }
        assert!(host("/", &["a".repeat(400).as_bytes()]).is_err());
    }

    #[test]
    fn the_bare_address_is_ours_only_on_loopback() {
        let own = |listen: &str| OwnHosts {
            domain: "localhost".into(),
            apps_domain: "localhost".into(),
            listen: listen.parse().expect("an address"),
        };
        let loopback = own("127.0.0.1:8080");
        for host in [
            "localhost:8080",
            "LOCALHOST:8080",
            "127.0.0.1:8080",
            "[::1]:8080",
            "builder.localhost",
            "builder.localhost.:1",
        ] {
            assert_eq!(loopback.find(host), Some(HostName::Builder), "{host}");
        }
        for host in [
            "localhost",
            "localhost:81",
            "127.0.0.2:8080",
            "evil.test:8080",
            "builder.localhost.evil.test",
            "a.b.localhost",
        ] {
            assert_eq!(loopback.find(host), None, "{host}");
        }
        assert_eq!(own("127.0.0.2:80").find("127.0.0.2"), Some(HostName::Builder));
        assert_eq!(own("0.0.0.0:8080").find("127.0.0.1:8080"), None);
        let app = "brisk-otter".parse().expect("a name");
        assert_eq!(loopback.find("Brisk-Otter-Preview.localhost:9"), Some(HostName::App(app, Environment::Preview)));
    }

    #[test]
    fn apps_with_a_separate_domain_are_not_served_under_the_builders() {
        let own = OwnHosts {
            domain: "pages.test".into(),
            apps_domain: "apps.test".into(),
            listen: "0.0.0.0:80".parse().expect("an address"),
        };
        let app = "tides".parse().expect("a name");
        assert_eq!(own.find("builder.pages.test"), Some(HostName::Builder));
        assert_eq!(own.find("tides.apps.test"), Some(HostName::App(app, Environment::Prod)));
        for host in ["tides.pages.test", "tides-preview.pages.test", "builder.apps.test", "apps.test"] {
            assert_eq!(own.find(host), None, "{host}");
        }
    }
}
