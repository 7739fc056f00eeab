//! Views of a webhook: its address, its secret, test calls, and the calls that it received. Pure.

use askama::Template;

use crate::domain::{AppName, Environment};
use crate::proof::Signature;
use crate::services::webhook_samples::Sample;
use crate::web::format::{self, When};
use crate::web::ui;
use crate::webhook_calls::{CallSource, WebhookCall};

/// A webhook's address, secret, test calls, and received calls.
#[derive(Template)]
#[template(path = "app/webhook.html")]
pub struct WebhookPanel<'a> {
    /// The app.
    pub app: &'a AppName,
    /// `preview` or `prod`.
    pub environment: Environment,
    /// The URL for calls.
    pub url: String,
    /// Who can reach it; empty if anyone can.
    pub reach: &'static str,
    /// How calls are signed; none if `app.toml` cannot be read.
    pub signature: Option<Signature>,
    /// It is running.
    pub running: bool,
    /// The sample in the form.
    pub sample: Sample,
    /// The rendered [`CallList`].
    pub calls: String,
}

impl WebhookPanel<'_> {
    fn about_signature(&self) -> &'static str {
        match self.signature {
            Some(Signature::Timestamped) => {
                "Requests must be signed (HMAC-SHA256 of “timestamp.body” in X-Signature-256, the timestamp in X-Timestamp) and at most 5 minutes old."
            }
            Some(Signature::Github) => {
                "Requests must be signed like GitHub's: the HMAC-SHA256 of the body in X-Hub-Signature-256."
            }
            Some(Signature::Stripe) => {
                "Requests must be signed like Stripe's: a timestamp and the HMAC-SHA256 of timestamp and body in Stripe-Signature, at most 5 minutes old."
            }
            None => "app.toml cannot be read at the moment, so it is not known how calls are signed.",
        }
    }

    /// The sample's sender signs in another way than this app checks.
    fn other_mode(&self) -> Option<&'static str> {
        let own = match self.signature? {
            Signature::Timestamped => "timestamped",
            Signature::Github => "github",
            Signature::Stripe => "stripe",
        };
        (self.sample.mode() != own).then_some(self.sample.mode())
    }

    fn rows(&self) -> usize {
        self.sample.body().lines().count().clamp(4, 14)
    }

    fn title(&self) -> &'static str {
        self.environment.title()
    }
}

/// A webhook's secret, after the user requested it.
#[derive(Template)]
#[template(path = "app/secret.html")]
pub struct Secret<'a> {
    /// The secret.
    pub text: &'a str,
}

/// The calls that a webhook received.
#[derive(Template)]
#[template(path = "app/webhook_calls.html")]
pub struct CallList<'a> {
    /// The app.
    pub app: &'a AppName,
    /// Preview or production.
    pub environment: Environment,
    /// Calls from elsewhere are recorded.
    pub records: bool,
    /// Newest first.
    pub calls: Vec<CallView>,
    /// The environments in which something runs.
    pub targets: Vec<Environment>,
}

/// One call.
pub struct CallView {
    id: u64,
    status: u16,
    class: &'static str,
    verdict: &'static str,
    at: When,
    source: String,
    time: String,
    size: String,
    headers: Vec<(String, String)>,
    body: String,
    whole: bool,
}

impl CallView {
    /// A call in the list.
    pub fn new(call: &WebhookCall, now: jiff::Timestamp) -> Self {
        let kept = &call.call;
        let agent = kept.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("user-agent"));
        let agent = agent.map(|(_, value)| format::first_line(value, 60)).unwrap_or_default();
        Self {
            id: call.id,
            status: kept.status,
            class: match kept.status {
                200..=299 => "ok",
                300..=499 => "warn",
                _ => "bad",
            },
            // The template's verifier answers 401 and 413 itself; all other calls of a running app have passed it.
            verdict: match kept.status {
                401 => "signature refused",
                413 => "too large",
                408 | 502..=504 => "the app did not answer",
                _ => "signature accepted",
            },
            at: When::new(kept.at, now),
            source: match kept.source {
                CallSource::Page => "sent from this page".to_owned(),
                CallSource::Client(ip) if agent.is_empty() => ip.to_string(),
                CallSource::Client(ip) => format!("{agent} at {ip}"),
            },
            time: format::duration(kept.millis),
            size: format::bytes(kept.size),
            headers: kept.headers.clone(),
            body: String::from_utf8_lossy(&kept.body).into_owned(),
            whole: call.is_whole(),
        }
    }
}

const MACHINE: &str = "Only this machine can reach this address.";
const NETWORK: &str = "Only machines in your network can reach this address.";
/// Ends of names that only a local network knows.
const LOCAL_ZONES: [&str; 6] = ["local", "lan", "internal", "home.arpa", "intranet", "test"];

/// Who can reach an address, for a service that is to call it; empty if it may be anyone.
pub fn reach(url: &str) -> &'static str {
    let host = format::without_scheme(url).split('/').next().unwrap_or_default();
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    if host == "localhost" || host.ends_with(".localhost") {
        return MACHINE;
    }
    match address_in(&host) {
        Some(ip) if ip.is_loopback() || ip.is_unspecified() => MACHINE,
        Some(std::net::IpAddr::V4(ip)) if ip.is_private() || ip.is_link_local() => NETWORK,
        // Addresses of carriers and overlay networks.
        Some(std::net::IpAddr::V4(ip)) if ip.octets()[0] == 100 && (64..128).contains(&ip.octets()[1]) => NETWORK,
        Some(std::net::IpAddr::V6(ip)) if ip.is_unique_local() || ip.is_unicast_link_local() => NETWORK,
        None if LOCAL_ZONES.iter().any(|zone| host == *zone || host.ends_with(&format!(".{zone}"))) => NETWORK,
        None if !host.contains('.') => NETWORK,
        Some(_) | None => "",
    }
}

/// The address of a host, or the one that its name contains, as names of `nip.io` do.
fn address_in(host: &str) -> Option<std::net::IpAddr> {
    if let Ok(ip) = host.parse() {
        return Some(ip);
    }
    let name = host.strip_suffix(".nip.io").or_else(|| host.strip_suffix(".sslip.io"))?;
    let labels: Vec<&str> = name.split('.').collect();
    let dotted = labels.len().checked_sub(4).map(|from| labels[from..].join("."));
    let dashed = labels.last().map(|label| {
        let parts: Vec<&str> = label.split('-').collect();
        parts[parts.len().saturating_sub(4)..].join(".")
    });
    [dotted, dashed].into_iter().flatten().find_map(|text| text.parse::<std::net::Ipv4Addr>().ok()).map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_say_who_can_reach_them() {
        for url in [
            "http://hook-preview.localhost:8080/webhook",
            "http://127.0.0.1:8080",
            "http://hook.127.0.0.1.nip.io/webhook",
            "http://[::1]:80/webhook",
        ] {
            assert_eq!(reach(url), "Only this machine can reach this address.", "{url}");
        }
        for url in [
            "http://hook.192.168.1.20.nip.io:81/webhook",
            "http://hook-10-0-0-7.nip.io",
            "http://hook.172.16.0.1.sslip.io",
            "https://hook.box.local/webhook",
            "http://hook.100.64.0.9.nip.io",
            "http://[fd00::1]/webhook",
            "http://intranet-box/webhook",
        ] {
            assert_eq!(reach(url), "Only machines in your network can reach this address.", "{url}");
        }
        for url in
            ["https://hook.example.org/webhook", "http://hook.203.0.113.7.nip.io", "http://hook.172.32.0.1.nip.io"]
        {
            assert_eq!(reach(url), "", "{url}");
        }
    }
}
