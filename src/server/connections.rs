//! The table of open connections: which may open, and which have to close.
//!
//! Three rules keep strangers from taking the listener away from other clients:
//!
//! - **Slots are limited.** There is a limit for all connections together, and for those of one address. When
//!   it is reached, a new connection replaces one whose client the server waits for; a connection of a logged-in user
//!   replaces any stranger's. Only if none can be replaced is the new one refused.
//! - **Waiting is limited.** When the server waits for a client (for a head, or until it reads), there is a deadline.
//!   One task scans all connections for it, so that a connection needs no timers.
//! - **Memory is limited.** Incomplete heads have a common budget, and the number of
//!   clients that do not read and of requests with incomplete bodies is limited. Beyond it the longest wait of
//!   the address with the most of them ends first.
//!
//! A trusted proxy and loopback have no limit for their address, because many clients share it;
//! requests through a proxy are counted by the client address that the proxy reports.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::slot::{Phase, Slot, Source, Totals};
use crate::guard::Proxies;
use crate::memory::Trimmer;

/// Idle timeout of a connection between two requests.
const IDLE_MAX: Duration = Duration::from_mins(1);
/// Maximum connections, or requests through a proxy, of one unknown address.
const SOURCE_MAX: usize = 128;
/// Budget in bytes for all incomplete heads together, beyond the part that is free for each. The buffers that contain
/// them use up to twice as much.
const HEADS_MAX: usize = 4 * 1024 * 1024;
/// Maximum number of clients that do not read, each of which holds up to some hundred kilobytes of a response.
const STALLED_MAX: usize = 96;
/// Maximum number of requests with incomplete bodies, each of which holds some tens of kilobytes.
const BODIES_MAX: usize = 128;
/// A client on a slow line reads at least this often; it does not count as a client that does not
/// read before this time, unless there are many of them at its address.
const SLOW_LINE: Duration = Duration::from_secs(2);
/// The number of clients at one address from which they count earlier.
const FEW: usize = 2;
/// Minimum interval between searches for clients that do not read.
const SEARCH_PAUSE_MS: u64 = 100;
/// How long an address stays known after a user there was logged in.
const KNOWN_FOR: Duration = Duration::from_hours(24);
/// Maximum number of known addresses.
const KNOWN_MAX: usize = 1024;
/// Number of connections from which freed memory is returned to the system, periodically and once half of them have closed.
const CROWD: usize = 256;
/// File descriptors that are reserved for everything except connections.
const FILES_KEPT: u64 = 256;

/// Limits of the listener.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Maximum number of connections.
    pub(super) connections: usize,
    /// How long a client may keep the server waiting.
    pub(super) patience: Duration,
}

impl Limits {
    /// The configured limits, reduced to `files` (the limit on open files): a connection to an app needs two.
    pub(super) fn new(connections: usize, patience: Duration, files: Option<u64>) -> Self {
        let fit = files.map(|files| usize::try_from(files.saturating_sub(FILES_KEPT) / 2).unwrap_or(usize::MAX));
        let allowed = connections.min(fit.unwrap_or(usize::MAX)).max(16);
        if allowed < connections {
            tracing::warn!(
                allowed,
                configured = connections,
                open_files_max = files,
                "fewer connections than configured: the limit on open files (ulimit -n) is too low"
            );
        }
        Self { connections: allowed, patience }
    }

    /// Maximum connections of one unknown address.
    fn of_source(&self) -> usize {
        SOURCE_MAX.min(self.connections / 4).max(4)
    }

    /// Maximum connections of one address with a logged-in user: never all of them, because other clients
    /// may share the address.
    fn of_known(&self) -> usize {
        self.connections / 2
    }

    fn bodies(&self) -> usize {
        BODIES_MAX.min(self.connections / 4).max(4)
    }

    fn stalled(&self) -> usize {
        STALLED_MAX.min(self.connections / 4).max(4)
    }
}

/// Why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// Its address has reached its limit, and all of its connections are in use.
    SourceFull,
    /// The total limit is reached, and all connections are in use.
    Full,
}

/// The listener's connections. Cheap to clone.
#[derive(Clone)]
pub(super) struct Connections(Arc<Table>);

/// Behind [`Connections`].
pub(super) struct Table {
    limits: Limits,
    proxies: Proxies,
    begun: Instant,
    state: Mutex<State>,
    /// Bytes of incomplete heads beyond the free part of each.
    heads: AtomicUsize,
    /// Number of clients that do not read.
    stalled: AtomicUsize,
    /// Time of the last search for clients that do not read.
    searched: AtomicU64,
    /// Number of requests with incomplete bodies.
    bodies: AtomicUsize,
    /// Time of the last search for those.
    bodies_searched: AtomicU64,
    /// Notified when the first connection is opened.
    opened: Notify,
    /// Milliseconds by which tests advance the time.
    #[cfg(test)]
    ahead: AtomicU64,
}

#[derive(Default)]
struct State {
    next: u64,
    open: HashMap<u64, Arc<Slot>>,
    /// Number of connections of each address.
    by_source: HashMap<Source, usize>,
    /// Running requests of clients behind a proxy.
    forwarded: HashMap<Source, usize>,
    /// Addresses with logged-in users, and when they were last seen.
    known: HashMap<Source, Instant>,
}

/// An open connection's slot, which is released when this is dropped.
pub(super) struct Admitted {
    slot: Arc<Slot>,
    table: Arc<Table>,
}

/// A request of a client behind a proxy, counted until this is dropped.
pub(super) struct ForwardedRequest {
    table: Arc<Table>,
    source: Source,
}

impl Connections {
    pub(super) fn new(limits: Limits, proxies: Proxies) -> Self {
        Self(Arc::new(Table {
            limits,
            proxies,
            begun: Instant::now(),
            state: Mutex::default(),
            heads: AtomicUsize::new(0),
            stalled: AtomicUsize::new(0),
            searched: AtomicU64::new(0),
            bodies: AtomicUsize::new(0),
            bodies_searched: AtomicU64::new(0),
            opened: Notify::new(),
            #[cfg(test)]
            ahead: AtomicU64::new(0),
        }))
    }

    /// Admits a connection, or refuses it.
    pub(super) fn admit(&self, peer: IpAddr) -> Result<Admitted, Refused> {
        let table = &self.0;
        let peer = peer.to_canonical();
        let source = Source::of(peer);
        let is_shared = is_this_machine(peer) || table.proxies.contains(peer);
        let mut state = table.state();
        let is_known = state.knows(source);
        let most = match (is_shared, is_known) {
            (true, _) => table.limits.connections,
            (false, true) => table.limits.of_known(),
            (false, false) => table.limits.of_source(),
        };
        if state.count(source) >= most && !state.end_idlest_of(source, table.now()) {
            return Err(Refused::SourceFull);
        }
        if state.open.len() >= table.limits.connections {
            let few = (table.limits.connections / 32).max(1);
            if !state.make_room(few, source, is_known, table.now()) {
                return Err(Refused::Full);
            }
        }
        state.next += 1;
        let slot = Arc::new(Slot::new(table.clone(), state.next, source, is_shared));
        *state.by_source.entry(source).or_default() += 1;
        state.open.insert(slot.id, slot.clone());
        if state.open.len() == 1 {
            table.opened.notify_one();
        }
        Ok(Admitted { slot, table: table.clone() })
    }

    /// Counts a request that a proxy forwards for this client; `None` if the client has too many running requests.
    pub(super) fn forwarded(&self, client: IpAddr) -> Option<ForwardedRequest> {
        let source = Source::of(client);
        let mut state = self.0.state();
        let most = if state.knows(source) { self.0.limits.of_known() } else { self.0.limits.of_source() };
        let count = state.forwarded.entry(source).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(ForwardedRequest { table: self.0.clone(), source })
    }

    /// Records that a user at this address is logged in.
    pub(super) fn known(&self, client: IpAddr) {
        let now = Instant::now();
        let mut state = self.0.state();
        state.known.insert(Source::of(client), now);
        if state.known.len() > KNOWN_MAX {
            let oldest = state.known.iter().min_by_key(|(_, seen)| **seen).map(|(source, _)| *source);
            oldest.and_then(|source| state.known.remove(&source));
        }
    }

    /// Closes connections whose clients keep the server waiting for too long, until the future is dropped.
    pub(super) async fn watch_deadlines(&self) {
        let table = &self.0;
        let every = (table.limits.patience / 8).clamp(Duration::from_millis(20), Duration::from_secs(1));
        let mut was_late = false;
        let trimmer = Arc::new(Trimmer::default());
        let (mut most, mut were_leaving) = (0, false);
        loop {
            let open = table.state().open.len();
            most = most.max(open);
            let are_leaving = most >= CROWD && open < most / 2;
            if are_leaving {
                most = open;
            }
            // Again in the next round: a connection's memory is freed a moment after it is removed from the count.
            if are_leaving || were_leaving {
                let trimmer = trimmer.clone();
                tokio::task::spawn_blocking(move || trimmer.trim());
            } else if open >= CROWD {
                let trimmer = trimmer.clone();
                tokio::task::spawn_blocking(move || trimmer.trim_if_grown());
            }
            were_leaving = are_leaving;
            if open == 0 && !are_leaving {
                most = 0;
                table.opened.notified().await;
            }
            let begun = Instant::now();
            tokio::time::sleep(every).await;
            // If the process was suspended, data of clients may be unread: skip one round.
            was_late = !was_late && begun.elapsed() > 3 * every;
            if !was_late {
                table.end_late();
                // Clients that were skipped because their addresses have few connections, and that have not read since.
                if table.stalled.load(Relaxed) > table.limits.stalled() {
                    table.end_silent_readers(table.now());
                }
            }
        }
    }
}

/// Loopback: a proxy or tools of the operator that run on the same machine.
fn is_this_machine(address: IpAddr) -> bool {
    address == IpAddr::V4(Ipv4Addr::LOCALHOST) || address == IpAddr::V6(Ipv6Addr::LOCALHOST)
}

impl Totals for Table {
    fn now(&self) -> u64 {
        let now = millis(self.begun.elapsed()).saturating_add(1);
        #[cfg(test)]
        let now = now + self.ahead.load(Relaxed);
        now
    }

    fn heads_grew(&self, bytes: usize) {
        if self.heads.fetch_add(bytes, Relaxed) + bytes > HEADS_MAX {
            self.end_large_heads();
        }
    }

    fn heads_shrank(&self, bytes: usize) {
        self.heads.fetch_sub(bytes, Relaxed);
    }

    fn one_more_stalls(&self) {
        let now = self.now();
        if self.stalled.fetch_add(1, Relaxed) >= self.limits.stalled()
            && now.saturating_sub(self.searched.load(Relaxed)) >= SEARCH_PAUSE_MS
        {
            self.searched.store(now, Relaxed);
            self.end_silent_readers(now);
        }
    }

    fn one_less_stalls(&self) {
        self.stalled.fetch_sub(1, Relaxed);
    }

    fn one_more_awaits_body(&self) {
        let now = self.now();
        if self.bodies.fetch_add(1, Relaxed) >= self.limits.bodies()
            && now.saturating_sub(self.bodies_searched.load(Relaxed)) >= SEARCH_PAUSE_MS
        {
            self.bodies_searched.store(now, Relaxed);
            self.end_late_bodies(now);
        }
    }

    fn one_less_awaits_body(&self) {
        self.bodies.fetch_sub(1, Relaxed);
    }
}

impl Table {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the connections with the oldest incomplete heads until half of the budget is free.
    fn end_large_heads(&self) {
        let now = self.now();
        let mut state = self.state();
        let mut large = state.scored(|slot| (slot.head_excess() > 0).then(|| slot.head(now).unwrap_or_default()));
        large.sort_by_key(|(score, _)| Reverse(*score));
        let mut left: usize = large.iter().map(|(_, slot)| slot.head_excess()).sum();
        for (_, slot) in large {
            if left <= HEADS_MAX / 2 {
                break;
            }
            left -= slot.head_excess().min(left);
            state.end(&slot, "the heads of all clients together are too large");
        }
    }

    /// Closes the connections whose clients have not read for longest, if there are too many.
    fn end_silent_readers(&self, now: u64) {
        let mut state = self.state();
        let slow_line = millis(SLOW_LINE);
        let mut silent = state.scored(|slot| slot.stalled(now));
        let enough = self.limits.stalled() * 3 / 4;
        let mut surplus = silent.len().saturating_sub(enough);
        silent.sort_by_key(|(score, _)| Reverse(*score));
        let mut of_source: HashMap<Source, usize> = HashMap::new();
        for (_, slot) in &silent {
            *of_source.entry(slot.source).or_default() += 1;
        }
        for (_, slot) in silent {
            if surplus == 0 {
                break;
            }
            let are_few = slot.is_shared || of_source.get(&slot.source).is_none_or(|count| *count <= FEW);
            if are_few && slot.stalled(now).is_none_or(|age| age < slow_line) {
                continue;
            }
            of_source.entry(slot.source).and_modify(|count| *count -= 1);
            state.end(&slot, "too many clients do not read");
            surplus -= 1;
        }
    }

    /// Closes the connections with the oldest incomplete bodies, if there are too many.
    fn end_late_bodies(&self, now: u64) {
        let mut state = self.state();
        let mut late = state.scored(|slot| slot.body(now));
        late.sort_by_key(|(score, _)| Reverse(*score));
        let surplus = late.len().saturating_sub(self.limits.bodies() * 3 / 4);
        for (_, slot) in late.into_iter().take(surplus) {
            state.end(&slot, "too many clients delay a request's body");
        }
    }

    /// Closes every connection whose client has kept the server waiting for too long.
    fn end_late(&self) {
        let now = self.now();
        let patience = millis(self.limits.patience);
        let idle = millis(IDLE_MAX.max(self.limits.patience));
        let mut state = self.state();
        let late: Vec<_> = state
            .open
            .values()
            .filter_map(|slot| {
                let over = |age: Option<u64>, most: u64| age.is_some_and(|age| age > most);
                let why = if over(slot.stalled(now), patience) {
                    "the client does not read"
                } else if over(slot.head(now), patience) {
                    "the request's head was not complete in time"
                } else if over(slot.waiting(now), if slot.is_fresh() { patience } else { idle }) {
                    "no request came"
                } else {
                    return None;
                };
                Some((slot.clone(), why))
            })
            .collect();
        for (slot, why) in late {
            state.end(&slot, why);
        }
    }
}

impl State {
    fn count(&self, source: Source) -> usize {
        self.by_source.get(&source).copied().unwrap_or_default()
    }

    fn knows(&self, source: Source) -> bool {
        self.known.get(&source).is_some_and(|seen| seen.elapsed() < KNOWN_FOR)
    }

    /// Whether no logged-in user is known to use this connection.
    fn is_strangers(&self, slot: &Slot) -> bool {
        !slot.is_known() && (slot.is_shared || !self.knows(slot.source))
    }

    /// Scores the connections for which `age` returns an age in milliseconds: the age times the square of the number of
    /// connections that the address has. The highest score ends first. The square protects an address with few connections from
    /// a crowd that opens new ones so quickly that all of them are younger. Connections of logged-in users score 0.
    fn scored(&self, age: impl Fn(&Slot) -> Option<u64>) -> Vec<(u64, Arc<Slot>)> {
        let scored = self.open.values().filter_map(|slot| {
            let age = age(slot)? + 1;
            let score = if !self.is_strangers(slot) {
                0
            } else if slot.is_shared {
                age
            } else {
                age.saturating_mul((self.count(slot.source) as u64).pow(2))
            };
            Some((score, slot.clone()))
        });
        scored.collect()
    }

    /// Closes the connection of an address whose client has kept the server waiting for longest, those of logged-in users
    /// last; returns whether there was one.
    fn end_idlest_of(&mut self, source: Source, now: u64) -> bool {
        let own = self.open.values().filter(|slot| slot.source == source);
        let idlest = own.filter_map(|slot| {
            let age = if slot.is_known() { slot.waiting(now) } else { slot.awaited(now) };
            Some(((!slot.is_known(), age?), slot))
        });
        let Some(slot) = idlest.max_by_key(|(rank, _)| *rank).map(|(_, slot)| slot.clone()) else { return false };
        self.end(&slot, "its address opened another connection and has reached its limit");
        true
    }

    /// Closes up to `few` connections, so that one of `newcomer` can be opened; returns whether any was closed.
    fn make_room(&mut self, few: usize, newcomer: Source, is_known: bool, now: u64) -> bool {
        let mut waiting = self.scored(|slot| if self.is_strangers(slot) { slot.awaited(now) } else { None });
        if !waiting.is_empty() {
            // Never all of them: one may be new.
            let few = few.min(waiting.len().div_ceil(2));
            if waiting.len() > few {
                waiting.select_nth_unstable_by_key(few - 1, |(score, _)| Reverse(*score));
                waiting.truncate(few);
            }
            for (_, slot) in waiting {
                self.end(&slot, "another client needs its slot");
            }
            return true;
        }
        // All slots are in use. A logged-in user replaces a connection of the address with the most connections; an
        // address with few connections replaces one of an address with many.
        let own = self.count(newcomer);
        let heaviest = self
            .open
            .values()
            .filter(|slot| self.is_strangers(slot) && (is_known || !slot.is_shared))
            .max_by_key(|slot| (self.count(slot.source), slot.phase() != Phase::Tunnel));
        let Some(slot) = heaviest.cloned() else { return false };
        if !is_known && self.count(slot.source) <= 4 * (own + 1) {
            return false;
        }
        self.end(&slot, "another client needs its slot");
        true
    }

    /// Closes a connection and removes it from the count.
    fn end(&mut self, slot: &Slot, why: &'static str) {
        if self.remove(slot) {
            tracing::debug!(source = ?slot.source, why, "a connection is ended");
            slot.ended.cancel();
            // Now, and not when its task ends: otherwise the next search would find it again.
            slot.closed();
        }
    }

    /// Removes a connection from the count; returns whether it was counted.
    fn remove(&mut self, slot: &Slot) -> bool {
        if self.open.remove(&slot.id).is_none() {
            return false;
        }
        forget_one(&mut self.by_source, slot.source);
        true
    }
}

fn forget_one(counts: &mut HashMap<Source, usize>, source: Source) {
    if let Some(count) = counts.get_mut(&source) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&source);
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Admitted {
    /// The slot, for guards that outlive the socket.
    pub(super) fn slot(&self) -> Arc<Slot> {
        self.slot.clone()
    }
}

impl Deref for Admitted {
    type Target = Slot;
    fn deref(&self) -> &Slot {
        &self.slot
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.slot.closed();
        self.table.state().remove(&self.slot);
    }
}

impl Drop for ForwardedRequest {
    fn drop(&mut self) {
        forget_one(&mut self.table.state().forwarded, self.source);
    }
}

#[cfg(test)]
mod tests;
