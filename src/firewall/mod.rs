//! Packet filter rules that block private addresses, the host and each other for the networks of apps and builds on the
//! Docker engine.
//!
//! Owns the rules, and sets and restores them if this process has the right to. Independent of apps, builds, and the
//! engine's API. The rules cover the address ranges and interfaces of all builders that share an engine, so
//! that several builders agree on them; exceptions and additional ranges of one builder are in a separate chain.

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

/// The input of the rules.
#[derive(Debug, Clone)]
pub struct FirewallSettings {
    /// The address ranges from which apps' and builds' networks are allocated.
    pub pools: Vec<Network>,
    /// Prefix of the names of all builders' bridge interfaces.
    pub interface_prefix: String,
    /// Prefix of the names of this builder's bridge interfaces.
    pub own_interface_prefix: String,
    /// Blocked ranges in addition to [`crate::domain::BLOCKED_V4`].
    pub blocked: Vec<Network>,
    /// Exceptions from the blocked ranges.
    pub allowed: Vec<AllowedNetwork>,
    /// The engine is on this machine, according to its address.
    pub is_local: bool,
}

impl FirewallSettings {
    /// For the networks of all builders, without exceptions and additional ranges.
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

/// The state of the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protection {
    /// The rules have not been checked yet.
    Unknown,
    /// This process has set them and just verified them.
    Held,
    /// Another process with the required rights maintains them.
    HeldByService {
        /// Time since its last check.
        age: Duration,
    },
    /// They are missing, or their state is unknown.
    Missing(Missing),
}

/// Why the rules are missing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// The engine is on another machine.
    #[error("the Docker engine is not on this machine")]
    Remote,
    /// The engine's rules are in another network namespace.
    #[error("the Docker engine has its networks in another network namespace than Slipway")]
    OtherNamespace,
    /// This process is not root and has no `CAP_NET_ADMIN`.
    #[error("Slipway runs without the right to set packet filter rules (root or CAP_NET_ADMIN)")]
    NotPermitted,
    /// `iptables` is not installed.
    #[error("the program iptables is not installed")]
    NotInstalled,
    /// Another error.
    #[error("{0}")]
    Failed(String),
}

/// Maintains the rules. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Firewall {
    inner: Arc<Inner>,
}

struct Inner {
    settings: FirewallSettings,
    /// Serialises checks and changes.
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

/// The result of the last check.
#[derive(Debug, Default)]
struct Known {
    v4: Option<Tables>,
    v6: Option<Tables>,
}

impl Firewall {
    /// Does not check or change anything yet.
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

    /// Records the interface of one of our networks. If it does not exist in this namespace, the engine's networks
    /// are in another one, and rules here would have no effect.
    pub fn note_interface(&self, name: &str) {
        let is_here = std::path::Path::new("/sys/class/net").join(name).exists();
        self.inner.is_elsewhere.store(!is_here, Ordering::Relaxed);
    }

    /// Records a network of this builder whose interface has another name.
    pub fn note_subnet(&self, subnet: Network) {
        self.inner.subnets.lock().unwrap_or_else(PoisonError::into_inner).insert(subnet.to_string());
    }

    /// The state at the last check.
    pub fn protection(&self) -> Protection {
        self.inner.protection.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Checks the rules and restores missing or changed ones. Takes a few milliseconds.
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
        // The rules of a remote engine are unknown: the health page says so.
        if let (true, Protection::Missing(why)) = (changed && self.inner.settings.is_local, &protection) {
            tracing::warn!(%why, "apps and builds can reach private networks and this host: no packet filter rules");
        }
        protection
    }

    /// Sets the rules, and records it for builders without the right to check them.
    ///
    /// # Errors
    /// Why they could not be set.
    pub async fn serve(&self) -> Result<(), Missing> {
        self.apply().await?;
        state_file::write(&self.fingerprint())
            .await
            .map_err(|error| Missing::Failed(format!("{STATE_FILE} cannot be written: {error}")))
    }

    /// The rules for IPv4 as input of `iptables-restore --noflush`, for an engine in another network namespace or on
    /// another machine. `resolvers` are the DNS servers of that machine.
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

    /// Identifies a set of settings.
    fn fingerprint(&self) -> String {
        let text = self.script(&[]);
        hex::encode(<sha2::Sha256 as sha2::Digest>::digest(text))
    }
}
