//! The rules, as a pure function of the settings, in the syntax of `iptables-restore`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

use super::FirewallSettings;
use crate::domain::BLOCKED_V4;

/// Selects forwarded packets of apps' and builds' networks: called from the engine's chain for user rules.
const FORWARD: &str = "SLIPWAY-FORWARD";
/// The same for packets to the host itself.
const INPUT: &str = "SLIPWAY-INPUT";
/// Decides about selected packets that leave the host.
const EGRESS: &str = "SLIPWAY-EGRESS";
/// Decides about selected packets to the host.
const HOST: &str = "SLIPWAY-HOST";
/// Prefix of a builder's own chain, followed by its interface prefix.
const OWN: &str = "SLIPWAY-OWN-";

/// The chains that a table must have, and the calls to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rules {
    /// Chains in order, with their rules after `-A <chain> `.
    chains: Vec<(String, Vec<String>)>,
    /// The calls from the chain for forwarded packets, in order, after `-A <chain> `.
    forward: Vec<String>,
    /// The same for packets to the host.
    input: Vec<String>,
    /// A chain that must not exist: this builder's own, if it needs none.
    unwanted: Option<String>,
}

/// A listing of existing rules.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Lines such as `-A <chain> …` of the built-in chains and `DOCKER-USER`.
    lines: Vec<String>,
    chains: BTreeSet<String>,
}

impl Found {
    /// Parses the output of `iptables -S`.
    pub(super) fn parse(listing: &str) -> Self {
        let chains = listing.lines().filter_map(|line| line.strip_prefix("-N ").or(line.strip_prefix("-P ")));
        let chains = chains.filter_map(|rest| rest.split(' ').next()).map(str::to_owned).collect();
        Self { lines: listing.lines().map(str::to_owned).collect(), chains }
    }

    pub(super) fn has_chain(&self, name: &str) -> bool {
        self.chains.contains(name)
    }

    fn rules_of<'a>(&'a self, chain: &'a str) -> impl Iterator<Item = &'a str> {
        self.lines.iter().filter_map(move |line| line.strip_prefix("-A ")?.strip_prefix(chain)?.strip_prefix(' '))
    }

    /// All lines of our chains, for comparison with an earlier listing.
    fn ours(&self, rules: &Rules) -> Vec<String> {
        let names: BTreeSet<&str> = rules.chains.iter().map(|(name, _)| name.as_str()).collect();
        let is_ours = |line: &&String| line.split(' ').nth(1).is_some_and(|chain| names.contains(chain));
        self.lines.iter().filter(is_ours).cloned().collect()
    }
}

impl Rules {
    /// For IPv4. `resolvers` are the DNS servers of containers, `subnets` this builder's networks
    /// whose interfaces have other names. `bridged`: the kernel applies rules to traffic inside a bridge.
    pub(super) fn v4(
        settings: &FirewallSettings,
        resolvers: &[IpAddr],
        subnets: &BTreeSet<String>,
        bridged: bool,
    ) -> Self {
        let answers = "-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN".to_owned();
        let names = resolvers.iter().filter(|resolver| resolver.is_ipv4());
        let names = names.flat_map(|server| {
            ["udp", "tcp"].map(|protocol| format!("-d {server}/32 -p {protocol} -m {protocol} --dport 53 -j RETURN"))
        });
        let passed: Vec<_> = std::iter::once(answers.clone()).chain(names).collect();
        let blocked = BLOCKED_V4.iter().map(|network| format!("-d {network} -j REJECT"));
        let egress = passed.iter().cloned().chain(blocked).collect();
        let host = passed.into_iter().chain(["-j REJECT".to_owned()]).collect();
        // Our networks must not send packets with a foreign source address.
        let prefix = &settings.interface_prefix;
        let judged = |chain: &str| -> Vec<String> {
            let pools = settings.pools.iter().map(|pool| format!("-s {pool} -g {chain}"));
            pools.chain([format!("-i {prefix}+ -j DROP")]).collect()
        };
        // Traffic between containers on one network, to which many kernels apply no rules.
        let within = bridged.then(|| "-m physdev --physdev-is-bridged -j RETURN".to_owned());
        let mut rules = Self {
            chains: vec![
                (EGRESS.to_owned(), egress),
                (HOST.to_owned(), host),
                (FORWARD.to_owned(), within.into_iter().chain(judged(EGRESS)).collect()),
                (INPUT.to_owned(), judged(HOST)),
            ],
            forward: vec![format!("-j {FORWARD}")],
            input: vec![format!("-j {INPUT}")],
            unwanted: None,
        };
        rules.add_own(settings, answers, subnets);
        rules
    }

    /// Exceptions and additional ranges of one builder, for its own networks.
    fn add_own(&mut self, settings: &FirewallSettings, answers: String, subnets: &BTreeSet<String>) {
        let name = format!("{OWN}{}", settings.own_interface_prefix);
        let mut own = vec![answers];
        for allowed in &settings.allowed {
            match allowed.port {
                None => own.push(format!("-d {} -j ACCEPT", allowed.network)),
                Some(port) => own.extend(["tcp", "udp"].map(|protocol| {
                    format!("-d {} -p {protocol} -m {protocol} --dport {port} -j ACCEPT", allowed.network)
                })),
            }
        }
        let blocked = settings.blocked.iter().filter(|network| !network.is_v6());
        own.extend(blocked.map(|network| format!("-d {network} -j REJECT")));
        if own.len() == 1 {
            self.unwanted = Some(name);
            return;
        }
        let enter =
            settings.pools.iter().map(|pool| format!("-s {pool} -i {}+ -j {name}", settings.own_interface_prefix));
        let enter: Vec<_> = enter.chain(subnets.iter().map(|subnet| format!("-s {subnet} -j {name}"))).collect();
        self.forward.splice(0..0, enter.clone());
        self.input.splice(0..0, enter);
        self.chains.push((name, own));
    }

    /// For IPv6, which our networks do not have: all packets are dropped.
    pub(super) fn v6(settings: &FirewallSettings) -> Self {
        let judged = vec![format!("-i {}+ -j DROP", settings.interface_prefix)];
        Self {
            chains: vec![(FORWARD.to_owned(), judged.clone()), (INPUT.to_owned(), judged)],
            forward: vec![format!("-j {FORWARD}")],
            input: vec![format!("-j {INPUT}")],
            unwanted: None,
        }
    }

    /// Whether all rules are unchanged since `seen` was recorded, and are called before all others.
    pub(super) fn hold(&self, found: &Found, entered_from: &str, seen: &[String]) -> bool {
        let is_unwanted = self.unwanted.as_deref().is_some_and(|name| found.has_chain(name));
        !is_unwanted
            && self.are_entered(found, entered_from, &self.forward)
            && self.are_entered(found, "INPUT", &self.input)
            && found.ours(self) == seen
    }

    /// Whether a chain begins with these rules, ignoring those of other builders on the same engine.
    fn are_entered(&self, found: &Found, chain: &str, wanted: &[String]) -> bool {
        let mut rules = found.rules_of(chain).filter(|rule| !self.is_of_another(rule));
        wanted.iter().all(|rule| rules.next().is_some_and(|there| is_same(there, rule)))
    }

    fn is_of_another(&self, rule: &str) -> bool {
        let target = rule.split_whitespace().last().unwrap_or_default();
        target.starts_with(OWN) && self.chains.iter().all(|(name, _)| name != target)
    }

    /// The current lines of our chains, for [`Self::hold`]. `None` if rules are missing.
    pub(super) fn seen(&self, found: &Found) -> Option<Vec<String>> {
        let complete = self.chains.iter().all(|(name, rules)| found.rules_of(name).count() == rules.len());
        complete.then(|| found.ours(self))
    }

    /// Input for `iptables-restore --noflush` that sets the rules in one transaction, for any existing rules in `found`.
    pub(super) fn restore(&self, found: &Found, entered_from: &str) -> String {
        let mut text = String::from("*filter\n");
        for (name, _) in &self.chains {
            // Creates the chain, or empties it.
            let _ = writeln!(text, ":{name} - [0:0]");
        }
        for (chain, wanted) in [(entered_from, &self.forward), ("INPUT", &self.input)] {
            let must_move = !self.are_entered(found, chain, wanted);
            let mut others = Vec::new();
            for there in found.rules_of(chain) {
                let target = there.split_whitespace().last().unwrap_or_default();
                let is_unwanted = self.unwanted.as_deref() == Some(target);
                let is_ours = self.chains.iter().any(|(name, _)| name == target);
                let is_of_another = self.is_of_another(there) && !is_unwanted;
                if is_unwanted || must_move && (is_ours || is_of_another) {
                    let _ = writeln!(text, "-D {chain} {there}");
                }
                if is_of_another {
                    others.push(there);
                }
            }
            if must_move {
                // Rules of other builders for their own networks stay before the common ones.
                for rule in others.into_iter().chain(wanted.iter().map(String::as_str)).rev() {
                    let _ = writeln!(text, "-I {chain} 1 {rule}");
                }
            }
        }
        for (name, rules) in &self.chains {
            for rule in rules {
                let _ = writeln!(text, "-A {name} {rule}");
            }
        }
        if let Some(unwanted) = self.unwanted.as_deref().filter(|name| found.has_chain(name)) {
            let _ = writeln!(text, "-F {unwanted}\n-X {unwanted}");
        }
        text.push_str("COMMIT\n");
        text
    }
}

/// Whether a listed rule is the wanted one: listings contain the same words in another order.
fn is_same(listed: &str, wanted: &str) -> bool {
    let words = |rule: &str| -> BTreeSet<String> { rule.split_whitespace().map(str::to_owned).collect() };
    words(listed) == words(wanted)
}
