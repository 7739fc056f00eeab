#![expect(clippy::ok_expect, reason = "a slot has nothing to print")]

use super::*;

fn connections(most: usize, proxies: &[&str]) -> Connections {
    let proxies: Vec<_> = proxies.iter().map(|text| text.parse().expect("a network")).collect();
    let limits = Limits { connections: most, patience: Duration::from_secs(2) };
    Connections::new(limits, Proxies::new(&proxies))
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn is_ended(slot: &Admitted) -> bool {
    slot.ended.is_cancelled()
}

fn advance(connections: &Connections, time: Duration) {
    connections.0.ahead.fetch_add(millis(time), Relaxed);
}

/// Opens so many from one address; those that were taken in, and looked at.
fn open(connections: &Connections, from: &str, count: usize) -> Vec<Admitted> {
    let taken: Vec<_> = (0..count).filter_map(|_| connections.admit(address(from)).ok()).collect();
    for slot in &taken {
        slot.waits();
    }
    taken
}

#[tokio::test]
async fn an_address_at_its_limit_replaces_its_own_connections() {
    let connections = connections(64, &[]);
    // A /64 counts as one address.
    let mut own: Vec<_> = (0..16).flat_map(|n| open(&connections, &format!("2001:db8::{n:x}"), 1)).collect();
    assert_eq!(own.len(), 16);
    for slot in &own {
        slot.asked();
    }
    assert_eq!(connections.admit(address("2001:db8::ff")).err(), Some(Refused::SourceFull));
    assert!(connections.admit(address("2001:db8:0:1::1")).is_ok());
    // One of them waits for its next request and is replaced.
    own[3].answered();
    assert!(connections.admit(address("2001:db8::ff")).is_ok());
    assert_eq!(own.iter().filter(|slot| is_ended(slot)).count(), 1);
    assert!(is_ended(&own[3]));
    // A closed connection does not count.
    own.truncate(4);
    assert_eq!(open(&connections, "2001:db8::1", 5).len(), 5);
}

#[tokio::test]
async fn a_new_connection_replaces_one_whose_client_is_late_when_all_slots_are_used() {
    let connections = connections(64, &[]);
    let crowd: Vec<_> = (1..=4).flat_map(|n| open(&connections, &format!("192.0.2.{n}"), 16)).collect();
    assert_eq!(crowd.len(), 64);
    let visitor = connections.admit(address("198.51.100.1")).ok().expect("room is made");
    assert!(!is_ended(&visitor) && crowd.iter().any(is_ended));
    // All are in use: an address with few connections replaces one of an address with many, but not vice versa.
    for slot in &crowd {
        slot.asked();
    }
    visitor.asked();
    for slot in open(&connections, "198.51.100.2", 2) {
        slot.asked();
        std::mem::forget(slot);
    }
    let before = crowd.iter().filter(|slot| is_ended(slot)).count();
    let other = connections.admit(address("198.51.100.3")).ok().expect("room is made");
    other.asked();
    assert_eq!(crowd.iter().filter(|slot| is_ended(slot)).count(), before + 1);
    assert!(!is_ended(&visitor));
    assert!(matches!(connections.admit(address("192.0.2.1")), Err(Refused::Full | Refused::SourceFull)));
}

#[tokio::test]
async fn a_connection_that_was_not_served_yet_is_not_replaced() {
    let connections = connections(64, &[]);
    let crowd: Vec<_> = (1..=63).flat_map(|n| open(&connections, &format!("192.0.2.{n}"), 1)).collect();
    let honest = connections.admit(address("198.51.100.1")).ok().expect("room");
    advance(&connections, Duration::from_mins(1));
    let others: Vec<_> = (1..=63).map(|n| connections.admit(address(&format!("203.0.113.{n}")))).collect();
    assert!(others.iter().all(Result::is_ok) && crowd.iter().all(is_ended) && !is_ended(&honest));
    assert_eq!(connections.admit(address("203.0.113.64")).err(), Some(Refused::Full));
}

#[tokio::test]
async fn an_address_with_few_connections_keeps_its_slots_in_an_attack() {
    let connections = connections(64, &[]);
    let visitor = open(&connections, "198.51.100.1", 1);
    let mut crowd = Vec::new();
    for number in 0..600 {
        advance(&connections, Duration::from_millis(1));
        crowd.extend(open(&connections, &format!("192.0.2.{}", number % 16), 1));
    }
    assert_eq!(crowd.len(), 600);
    assert!(!is_ended(&visitor[0]), "its slot was taken after less than a second");
}

#[tokio::test]
async fn a_logged_in_user_always_gets_a_slot() {
    let connections = connections(64, &[]);
    connections.known(address("203.0.113.9"));
    let crowd: Vec<_> = (1..=64).flat_map(|n| open(&connections, &format!("192.0.2.{n}"), 1)).collect();
    for slot in &crowd {
        slot.asked();
    }
    assert_eq!(connections.admit(address("198.51.100.1")).err(), Some(Refused::Full));
    let owners = open(&connections, "203.0.113.9", 6);
    assert_eq!(owners.len(), 6);
    assert_eq!(crowd.iter().filter(|slot| is_ended(slot)).count(), 6);
    // Nor is it replaced.
    assert_eq!(connections.admit(address("198.51.100.1")).err(), Some(Refused::Full));
    assert!(!owners.iter().any(is_ended));
}

#[tokio::test]
async fn proxies_and_loopback_have_no_limit_but_clients_behind_a_proxy_have() {
    let connections = connections(64, &["10.42.0.0/16"]);
    assert_eq!(open(&connections, "10.42.0.7", 40).len() + open(&connections, "127.0.0.1", 20).len(), 60);
    let held: Vec<_> = (0..20).filter_map(|_| connections.forwarded(address("192.0.2.1"))).collect();
    assert_eq!(held.len(), 16);
    assert!(connections.forwarded(address("192.0.2.2")).is_some());
    drop(held);
    assert!(connections.forwarded(address("192.0.2.1")).is_some());
}

#[tokio::test]
async fn large_heads_share_a_budget() {
    let connections = connections(1024, &[]);
    let crowd: Vec<_> = (1..=4).flat_map(|n| open(&connections, &format!("192.0.2.{n}"), 64)).collect();
    let honest = connections.admit(address("198.51.100.1")).ok().expect("room");
    honest.waits();
    honest.received(20 * 1024);
    for slot in &crowd {
        slot.received(60 * 1024);
    }
    let left: usize = crowd.iter().filter(|slot| !is_ended(slot)).map(|slot| slot.head_excess()).sum();
    assert!(left <= HEADS_MAX && left > 0, "{left}");
    assert!(!is_ended(&honest));
    drop(crowd);
    drop(honest);
    assert_eq!(connections.0.heads.load(Relaxed), 0);
    assert_eq!(connections.0.state().by_source.len(), 0);
}

#[tokio::test]
async fn the_number_of_clients_that_do_not_read_is_limited() {
    let connections = connections(64, &[]);
    let many = open(&connections, "192.0.2.1", 16);
    let slow: Vec<_> = (1..=8).flat_map(|n| open(&connections, &format!("198.51.100.{n}"), 1)).collect();
    for slot in many.iter().chain(&slow) {
        slot.asked();
        advance(&connections, Duration::from_millis(10));
        slot.stalls();
        advance(&connections, Duration::from_millis(SEARCH_PAUSE_MS));
    }
    assert!(!slow.iter().any(is_ended), "slow lines are left alone");
    let ended = many.iter().filter(|slot| is_ended(slot)).count();
    assert!(ended >= 7, "{ended}");
    for slot in &slow {
        slot.flows();
    }
    // A closed connection does not count, even if its task still runs.
    assert_eq!(connections.0.stalled.load(Relaxed), many.iter().filter(|slot| !is_ended(slot)).count());
}

#[tokio::test]
async fn the_number_of_incomplete_bodies_is_limited() {
    let connections = connections(64, &[]);
    let many = open(&connections, "192.0.2.1", 16);
    let honest: Vec<_> = (1..=8).flat_map(|n| open(&connections, &format!("198.51.100.{n}"), 1)).collect();
    for slot in many.iter().chain(&honest) {
        slot.asked();
        advance(&connections, Duration::from_millis(SEARCH_PAUSE_MS));
        slot.awaits_body(true);
    }
    assert!(!honest.iter().any(is_ended), "addresses with one request each are not affected");
    let ended = many.iter().filter(|slot| is_ended(slot)).count();
    assert!((8..16).contains(&ended), "{ended}");
    for slot in &honest {
        slot.awaits_body(false);
    }
    // A closed connection does not count, even if its task still runs.
    assert_eq!(connections.0.bodies.load(Relaxed), many.len() - ended);
}

#[tokio::test]
async fn only_late_clients_reach_a_deadline() {
    let connections = connections(64, &[]);
    let [silent, head, reader, idle, busy, tunnel, slow] =
        std::array::from_fn(|n| connections.admit(address(&format!("192.0.2.{}", n + 1))).ok().expect("room"));
    for slot in [&silent, &head] {
        slot.waits();
    }
    head.received(10);
    for slot in [&reader, &idle, &busy, &tunnel, &slow] {
        slot.asked();
    }
    idle.answered();
    reader.stalls();
    tunnel.switched();
    slow.stalls();
    advance(&connections, Duration::from_millis(1500));
    head.received(10);
    slow.flows();
    slow.stalls();
    advance(&connections, Duration::from_millis(600));
    connections.0.end_late();
    for (slot, ends) in [(&silent, true), (&head, true), (&reader, true), (&idle, false), (&slow, false)] {
        assert_eq!(is_ended(slot), ends);
    }
    advance(&connections, IDLE_MAX);
    slow.flows();
    connections.0.end_late();
    assert!(is_ended(&idle) && !is_ended(&busy) && !is_ended(&tunnel) && !is_ended(&slow));
}

#[test]
fn connections_leave_file_descriptors_for_other_uses() {
    let limits = |files| Limits::new(2048, Duration::from_secs(1), files).connections;
    assert_eq!((limits(None), limits(Some(1_000_000)), limits(Some(1024)), limits(Some(64))), (2048, 2048, 384, 16));
}
