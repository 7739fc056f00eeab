//! The rules as text; tests in `deploy` and `build` verify their effect with real containers.

use std::collections::BTreeSet;

use super::rules::{Found, Rules};
use super::*;

fn settings(own: &str) -> FirewallSettings {
    FirewallSettings {
        allowed: vec!["10.0.0.7:3128".parse().expect("a network")],
        own_interface_prefix: own.to_owned(),
        ..FirewallSettings::new(&"one".parse().expect("a name"), true)
    }
}

fn v4(settings: &FirewallSettings) -> Rules {
    Rules::v4(settings, &["10.0.0.2".parse().expect("an address")], &BTreeSet::new(), true)
}

/// The listing after the rules were set.
fn standing(rules: &Rules, before: &str) -> String {
    let found = Found::parse(before);
    let mut top: Vec<String> = Vec::new();
    let mut lines: Vec<String> = before.lines().map(str::to_owned).collect();
    for line in rules.restore(&found, "DOCKER-USER").lines() {
        if let Some(chain) = line.strip_prefix(':') {
            lines.push(format!("-N {}", chain.split(' ').next().expect("a name")));
        } else if let Some(rule) = line.strip_prefix("-I ") {
            let mut words = rule.splitn(3, ' ');
            let (chain, rule) = (words.next().expect("a chain"), words.nth(1).expect("a rule"));
            top.insert(0, format!("-A {chain} {rule}"));
        } else if let Some(gone) = line.strip_prefix("-D ") {
            lines.retain(|there| *there != format!("-A {gone}"));
        } else if line.starts_with("-A ") {
            lines.push(line.to_owned());
        }
    }
    top.extend(lines);
    top.join("\n")
}

const DOCKER: &str = "-P INPUT ACCEPT\n-P FORWARD DROP\n-N DOCKER-USER\n-A DOCKER-USER -j RETURN";

#[test]
fn unchanged_rules_are_recognised_and_changed_ones_are_not() {
    let rules = v4(&settings("slpaaaaaa"));
    let listing = standing(&rules, DOCKER);
    let found = Found::parse(&listing);
    let seen = rules.seen(&found).expect("all are there");
    assert!(rules.hold(&found, "DOCKER-USER", &seen), "{listing}");
    for changed in [
        DOCKER.to_owned(),
        listing.replace("-A INPUT -j SLIPWAY-INPUT", ""),
        listing.replace("-d 169.254.0.0/16 -j REJECT", "-d 169.254.0.0/16 -j ACCEPT"),
        format!("-A DOCKER-USER -j ACCEPT\n{listing}"),
    ] {
        assert!(!rules.hold(&Found::parse(&changed), "DOCKER-USER", &seen), "{changed}");
    }
    // Rules of another builder for its own networks are ignored.
    let beside = format!("-A DOCKER-USER -i slpbbbbbb+ -j SLIPWAY-OWN-slpbbbbbb\n{listing}");
    assert!(rules.hold(&Found::parse(&beside), "DOCKER-USER", &seen));
    let again = rules.restore(&Found::parse(&beside), "DOCKER-USER");
    assert!(!again.contains("\n-D ") && !again.contains("\n-I "), "{again}");
    // If the calls have to be added again, they come after those.
    let buried = format!("{DOCKER}\n-A DOCKER-USER -i slpbbbbbb+ -j SLIPWAY-OWN-slpbbbbbb");
    let listing = standing(&rules, &buried);
    let entered: Vec<&str> = listing.lines().filter_map(|line| line.strip_prefix("-A DOCKER-USER ")).collect();
    assert_eq!(entered.first(), Some(&"-i slpbbbbbb+ -j SLIPWAY-OWN-slpbbbbbb"), "{listing}");
    assert_eq!(entered.iter().filter(|rule| rule.contains("slpbbbbbb")).count(), 1, "{listing}");
}

#[test]
fn a_builder_without_own_settings_removes_its_chain() {
    let with = v4(&settings("slpaaaaaa"));
    let before = standing(&with, DOCKER);
    let without = v4(&FirewallSettings { allowed: Vec::new(), ..settings("slpaaaaaa") });
    let text = without.restore(&Found::parse(&before), "DOCKER-USER");
    assert!(text.contains("-D INPUT -s 10.213.0.0/16 -i slpaaaaaa+ -j SLIPWAY-OWN-slpaaaaaa"), "{text}");
    assert!(text.ends_with("-F SLIPWAY-OWN-slpaaaaaa\n-X SLIPWAY-OWN-slpaaaaaa\nCOMMIT\n"), "{text}");
}

#[tokio::test]
async fn missing_rights_are_reported() {
    let remote = Firewall::new(FirewallSettings::new(&"one".parse().expect("a name"), false));
    assert_eq!(remote.protection(), Protection::Unknown);
    assert_eq!(remote.ensure().await, Protection::Missing(Missing::Remote));
    assert_eq!(remote.protection(), Protection::Missing(Missing::Remote));
    let elsewhere = Firewall::new(FirewallSettings::new(&"one".parse().expect("a name"), true));
    elsewhere.note_interface("slpnowhere");
    assert_eq!(elsewhere.ensure().await, Protection::Missing(Missing::OtherNamespace));
}
