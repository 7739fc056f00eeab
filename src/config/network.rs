//! Settings for the listener, the host names and the clients.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use super::source::{ConfigError, Key, Sources, key};

pub(super) const KEYS: &[Key] = &[
    key("data_dir", "SLIPWAY_DATA_DIR", "./data", "Database, workspaces, uploads. Closed to others: mode 0700."),
    key("listen", "SLIPWAY_LISTEN", "127.0.0.1:8080", "Address of pages, API and gateway."),
    key("domain", "SLIPWAY_DOMAIN", "localhost", "Apps live at <app>.<domain>, the pages at builder.<domain>."),
    key(
        "apps_domain",
        "SLIPWAY_APPS_DOMAIN",
        "",
        "A domain for apps alone, on a site of its own, so that they share no cookies with the pages; default: the same.",
    ),
    key(
        "preview_access",
        "SLIPWAY_PREVIEW_ACCESS",
        "",
        "login: drafts and previews need the log-in or a share link; open: they need neither. Default: login where a \
         password is set, else open.",
    ),
    key(
        "public_url",
        "SLIPWAY_PUBLIC_URL",
        "",
        "How links are written, with {host} in it; default http://{host}:<port of listen>.",
    ),
    key(
        "trust_proxy",
        "SLIPWAY_TRUST_PROXY",
        "",
        "Addresses or networks of proxies of yours that set X-Forwarded-For, such as 127.0.0.1, with commas.",
    ),
    key(
        "max_connections",
        "SLIPWAY_MAX_CONNECTIONS",
        "2048",
        "Connections open at once, those of apps' visitors too; fewer where the system allows too few open files.",
    ),
    key(
        "client_timeout_seconds",
        "SLIPWAY_CLIENT_TIMEOUT_SECONDS",
        "30",
        "How long a client may take to send a request's head, to send more of a body, or to read more of an answer.",
    ),
];

/// Who may open drafts and previews.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreviewAccess {
    /// Browsers that are logged in to the builder, and those that opened a share link.
    Login,
    /// Everyone who can reach them.
    Open,
}

/// Reads the address to listen on. Without a password, everyone who can reach the builder could use it, so only
/// loopback is allowed then.
pub(super) fn listen(sources: &Sources, has_password: bool) -> Result<SocketAddr, ConfigError> {
    let listen: SocketAddr = sources.parse("listen", "an address and a port, such as 127.0.0.1:8080")?;
    if has_password || listen.ip().is_loopback() {
        return Ok(listen);
    }
    let reason = format!(
        "{listen} can be reached from outside, so a password is needed: set SLIPWAY_ADMIN_PASSWORD or \
         SLIPWAY_ADMIN_PASSWORD_FILE, or listen on 127.0.0.1"
    );
    Err(sources.bad("listen", reason))
}

/// Reads a domain and converts it to lower case.
pub(super) fn domain(sources: &Sources, name: &'static str) -> Result<String, ConfigError> {
    let domain = sources.text(name).unwrap_or_default().to_ascii_lowercase();
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if domain.split('.').all(is_label) {
        return Ok(domain);
    }
    Err(sources.bad(name, "expected a domain, such as localhost or 203.0.113.7.nip.io"))
}

/// Reads the domain of apps. It may not contain the builder's domain or be below it, because browsers would treat both
/// as the same site.
pub(super) fn apps_domain(sources: &Sources, own: &str) -> Result<String, ConfigError> {
    if sources.text("apps_domain").is_none() {
        return Ok(own.to_owned());
    }
    let apps = domain(sources, "apps_domain")?;
    let is_within = |inner: &str, outer: &str| inner.strip_suffix(outer).is_some_and(|rest| rest.ends_with('.'));
    if is_within(&apps, own) || is_within(own, &apps) {
        let reason = format!(
            "{apps} and {own} belong to the same site, so apps would share cookies with the pages all the same: use a \
             domain that is registered separately"
        );
        return Err(sources.bad("apps_domain", reason));
    }
    Ok(apps)
}

/// Reads the pattern of links, which contains `{host}`.
pub(super) fn public_url(sources: &Sources, listen: SocketAddr) -> Result<String, ConfigError> {
    let url = sources.owned("public_url").unwrap_or_else(|| format!("http://{{host}}:{}", listen.port()));
    if url.contains("{host}") && (url.starts_with("http://") || url.starts_with("https://")) {
        Ok(url)
    } else {
        Err(sources.bad("public_url", "expected http:// or https:// and {host}, such as https://{host}"))
    }
}

/// Reads who may open drafts and previews. Without a password there is no login to require.
pub(super) fn preview_access(sources: &Sources, has_password: bool) -> Result<PreviewAccess, ConfigError> {
    match sources.text("preview_access") {
        None | Some("login") if has_password => Ok(PreviewAccess::Login),
        None | Some("open") => Ok(PreviewAccess::Open),
        Some("login") => {
            let reason = "login needs a password: set SLIPWAY_ADMIN_PASSWORD or SLIPWAY_ADMIN_PASSWORD_FILE as well";
            Err(sources.bad("preview_access", reason))
        }
        Some(_) => Err(sources.bad("preview_access", "expected login or open")),
    }
}

/// Reads addresses, or networks in the form address, slash, prefix length. A plain “true” is refused: every client that
/// can reach the builder without the proxy could then claim any address.
pub(super) fn trusted_proxies(sources: &Sources) -> Result<Vec<IpNet>, ConfigError> {
    let text = sources.text("trust_proxy").unwrap_or_default();
    let all = text.split(',').map(str::trim).filter(|proxy| !proxy.is_empty() && *proxy != "false");
    let parsed = all.map(|proxy| {
        let network = proxy.parse::<IpNet>().or_else(|_| proxy.parse::<IpAddr>().map(IpNet::from));
        network.map_err(|_| {
            let reason = if proxy == "true" {
                "name the proxy's addresses, such as 127.0.0.1 or 10.42.0.0/16, in place of “true”".to_owned()
            } else {
                format!("expected addresses or networks such as 127.0.0.1 or 10.42.0.0/16, not “{proxy}”")
            };
            sources.bad("trust_proxy", reason)
        })
    });
    parsed.collect()
}

pub(super) fn max_connections(sources: &Sources) -> Result<usize, ConfigError> {
    let number: u32 = sources.parse("max_connections", "a number")?;
    if (16..=1_000_000).contains(&number) {
        Ok(number as usize)
    } else {
        Err(sources.bad("max_connections", "expected a number from 16 to 1000000"))
    }
}

pub(super) fn client_timeout(sources: &Sources) -> Result<Duration, ConfigError> {
    Ok(Duration::from_secs(sources.positive::<u32>("client_timeout_seconds")?.into()))
}
