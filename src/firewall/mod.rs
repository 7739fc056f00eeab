//! Packet filter rules that keep apps' and builds' networks on the Docker engine away from private addresses, from the
//! host, and from each other.
//!
//! Owns the rules, and puts them up and back where this process may do that. Knows nothing of apps, builds, or the
//! engine's API. The rules hold for the address ranges and the interfaces of all builders that share an engine, so
//! that several builders agree on them; what one builder allows or blocks besides is a chain of its own.

mod resolvers;
mod rules;
mod state_file;
mod tables;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tables::{Family, Tables};

use crate::domain::{AllowedNetwork, Network};
use crate::engine::subnet::SubnetPool;
use crate::ownership::INTERFACE_PREFIX;
use crate::ownership::Installation;

pub use state_file::STATE_FILE;

/// What the rules are made from.
#[derive(Debug, Clone)]
pub struct FirewallSettings {
    /// The address ranges that apps' and builds' networks are cut from.
    pub pools: Vec<Network>,
    /// How the names of all builders' bridge interfaces begin.
    pub interface_prefix: String,
    /// How the names of this builder's bridge interfaces begin.
    pub own_interface_prefix: String,
    /// Blocked besides the ranges of [`crate::domain::BLOCKED_V4`].
    pub blocked: Vec<Network>,
    /// Allowed although they are in a blocked range.
    pub allowed: Vec<AllowedNetwork>,
    /// The engine is on this machine, as far as its address says.
    pub is_local: bool,
}

impl FirewallSettings {
    /// For the networks of all builders, with nothing allowed or blocked besides.
    pub fn new(installation: &Installation, is_local: bool) -> Self {
        let pools = [SubnetPool::APPS, SubnetPool::BUILDS].map(|pool| pool.to_string());
        Self {
            pools: pools.iter().map(|pool| pool.parse().expect("a pool is a network")).collect(),
            interface_prefix: INTERFACE_PREFIX.to_owned(),
            own_interface_prefix: installation.interface_prefix(),
            blocked: Vec::new(),
            allowed: Vec::new(),
            is_local,
        }
    }
}

/// Whether the rules hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protection {
    /// The rules have not been checked yet.
    Unknown,
    /// This process has put them up, and has just seen them.
    Held,
    /// Another process with the right to do so keeps them up; it has last looked so long ago.
    HeldByService {
        /// Since it has looked.
        age: Duration,
    },
    /// They do not hold, or nobody can tell.
    Missing(Missing),
}

/// Why the rules do not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// The engine is somewhere else.
    #[error("the Docker engine is not on this machine")]
    Remote,
    /// The engine's rules are in another network namespace.
    #[error("the Docker engine has its networks in another network namespace than Slipway")]
    OtherNamespace,
    /// This process is not root and has no `CAP_NET_ADMIN`.
    #[error("Slipway runs without the right to set packet filter rules (root or CAP_NET_ADMIN)")]
    NotPermitted,
    /// `iptables` is not there.
    #[error("the program iptables is not installed")]
    NotInstalled,
    /// Something else.
    #[error("{0}")]
    Failed(String),
}

/// Keeps the rules up. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Firewall {
    inner: Arc<Inner>,
}

struct Inner {
    settings: FirewallSettings,
    /// One at a time looks and changes.
    tables: tokio::sync::Mutex<Known>,
    protection: Mutex<Protection>,
    /// Networks of this builder whose interfaces have other names.
    subnets: Mutex<BTreeSet<String>>,
    /// A network's interface is not in this namespace.
    is_elsewhere: AtomicBool,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What is known from the last look.
#[derive(Debug, Default)]
struct Known {
    v4: Option<Tables>,
    v6: Option<Tables>,
}

impl Firewall {
    /// Nothing is looked at or changed yet.
    pub fn new(settings: FirewallSettings) -> Self {
        Self {
            inner: Arc::new(Inner {
                settings,
                tables: tokio::sync::Mutex::default(),
                protection: Mutex::new(Protection::Unknown),
                subnets: Mutex::default(),
                is_elsewhere: AtomicBool::new(false),
            }),
        }
    }

    /// Notes that a network of ours has this interface. Where this namespace does not have it, the engine's networks
    /// are in another one, and rules here would be of no use.
    pub fn note_interface(&self, name: &str) {
        let is_here = std::path::Path::new("/sys/class/net").join(name).exists();
        self.inner.is_elsewhere.store(!is_here, Ordering::Relaxed);
    }

    /// Notes a network of this builder whose interface has another name.
    pub fn note_subnet(&self, subnet: Network) {
        self.inner.subnets.lock().unwrap_or_else(PoisonError::into_inner).insert(subnet.to_string());
    }

    /// Whether the rules held at the last look.
    pub fn protection(&self) -> Protection {
        self.inner.protection.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks at the rules and puts back what is missing or changed. Takes a few milliseconds.
    pub async fn ensure(&self) -> Protection {
        let protection = match self.apply().await {
            Ok(()) => Protection::Held,
            Err(Missing::NotPermitted) => self.held_by_service().await,
            Err(missing) => Protection::Missing(missing),
        };
        let before = {
            let mut kept = self.inner.protection.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *kept, protection.clone())
        };
        let changed = std::mem::discriminant(&before) != std::mem::discriminant(&protection);
        // Of an engine somewhere else nothing is known here: the health page says so.
        if let (true, Protection::Missing(why)) = (changed && self.inner.settings.is_local, &protection) {
            tracing::warn!(%why, "apps and builds can reach private networks and this host: no packet filter rules");
        }
        protection
    }

    /// Puts the rules up, and notes for builders without the right to look that they hold.
    ///
    /// # Errors
    /// Why they could not be put up.
    pub async fn serve(&self) -> Result<(), Missing> {
        self.apply().await?;
        state_file::write(&self.fingerprint())
            .await
            .map_err(|error| Missing::Failed(format!("{STATE_FILE} cannot be written: {error}")))
    }

    /// The rules for IPv4 as `iptables-restore --noflush` takes them, for an engine in another network namespace or on
    /// another machine. `resolvers` are the DNS servers that are used there.
    pub fn script(&self, resolvers: &[std::net::IpAddr]) -> String {
        rules::Rules::v4(&self.inner.settings, resolvers, &BTreeSet::new(), false)
            .restore(&rules::Found::default(), "DOCKER-USER")
    }

    async fn apply(&self) -> Result<(), Missing> {
        if !self.inner.settings.is_local {
            return Err(Missing::Remote);
        }
        if self.inner.is_elsewhere.load(Ordering::Relaxed) {
            return Err(Missing::OtherNamespace);
        }
        let resolvers = resolvers::of_this_machine().await;
        let mut known = self.inner.tables.lock().await;
        let subnets = self.inner.subnets.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let v4 = rules::Rules::v4(&self.inner.settings, &resolvers, &subnets, tables::shows_bridged());
        tables::ensure(&mut known.v4, Family::V4, &v4).await?;
        if tables::has_ipv6() {
            let v6 = rules::Rules::v6(&self.inner.settings);
            tables::ensure(&mut known.v6, Family::V6, &v6).await?;
        }
        Ok(())
    }

    async fn held_by_service(&self) -> Protection {
        match state_file::age(&self.fingerprint()).await {
            Some(age) => Protection::HeldByService { age },
            None => Protection::Missing(Missing::NotPermitted),
        }
    }

    /// Tells one set of settings from another.
    fn fingerprint(&self) -> String {
        let text = self.script(&[]);
        hex::encode(<sha2::Sha256 as sha2::Digest>::digest(text))
    }
}
