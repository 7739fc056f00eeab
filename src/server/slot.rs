//! The state of one connection: which side has to act, and since when.
//!
//! The connection's own task writes it with plain atomic stores, and the table of connections reads it to decide which
//! connections end. Times are milliseconds since the table was made; 0 means that the state does not apply now.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::Context;

use futures_util::task::AtomicWaker;
use tokio_util::sync::CancellationToken;

/// Bytes of an incomplete head that do not count against the common budget: a connection's read
/// buffer has this size from the beginning, and ordinary heads fit into it.
pub(super) const HEAD_FREE: usize = 8 * 1024;

/// The totals of all connections, to which slots report, and their clock.
pub(super) trait Totals: Send + Sync {
    /// Milliseconds since the table was made; never 0.
    fn now(&self) -> u64;
    /// Incomplete heads grew by this many bytes beyond their free part.
    fn heads_grew(&self, bytes: usize);
    /// Incomplete heads shrank.
    fn heads_shrank(&self, bytes: usize);
    /// One more client does not read.
    fn one_more_stalls(&self);
    /// One fewer client does not read.
    fn one_less_stalls(&self);
    /// One more request has an incomplete body.
    fn one_more_awaits_body(&self);
    /// One fewer request has an incomplete body.
    fn one_less_awaits_body(&self);
}

/// The address that a connection counts against: an IPv4 address, or the /64 of an IPv6 address, because
/// a client usually controls a whole /64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Source(IpAddr);

impl Source {
    pub(super) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into()),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// The phase of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Just accepted. Its task has not run yet, or the request has arrived but was not read yet: the server does not wait
    /// for the client.
    Taken,
    /// No request is running: nothing was sent yet, a head is incomplete, or the last response is complete.
    Waiting,
    /// A request is being answered.
    Busy,
    /// After a protocol upgrade; idle time is allowed.
    Tunnel,
}

/// One open connection.
pub(super) struct Slot {
    pub(super) id: u64,
    pub(super) source: Source,
    /// Many clients may share this address: a proxy's, or loopback.
    pub(super) is_shared: bool,
    /// Set when the connection has to end.
    pub(super) ended: CancellationToken,
    phase: AtomicU8,
    since: AtomicU64,
    is_fresh: AtomicBool,
    is_known: AtomicBool,
    head_bytes: AtomicUsize,
    head_since: AtomicU64,
    /// A request's body is being read.
    reads_body: AtomicBool,
    body_since: AtomicU64,
    stalled_since: AtomicU64,
    /// Woken when the client reads again.
    flowing: AtomicWaker,
    totals: Arc<dyn Totals>,
}

impl Slot {
    pub(super) fn new(totals: Arc<dyn Totals>, id: u64, source: Source, is_shared: bool) -> Self {
        Self {
            id,
            source,
            is_shared,
            ended: CancellationToken::new(),
            phase: AtomicU8::new(Phase::Taken as u8),
            since: AtomicU64::new(totals.now()),
            is_fresh: AtomicBool::new(true),
            is_known: AtomicBool::new(false),
            head_bytes: AtomicUsize::new(0),
            head_since: AtomicU64::new(0),
            body_since: AtomicU64::new(0),
            reads_body: AtomicBool::new(false),
            stalled_since: AtomicU64::new(0),
            flowing: AtomicWaker::new(),
            totals,
        }
    }

    // Set by the connection's task

    /// From now on the server waits for the client.
    pub(super) fn waits(&self) {
        self.since.store(self.totals.now(), Relaxed);
        self.phase.store(Phase::Waiting as u8, Relaxed);
    }

    /// Bytes came from the client.
    pub(super) fn received(&self, bytes: usize) {
        if self.phase() == Phase::Taken {
            self.waits();
        }
        if self.phase() != Phase::Waiting {
            return;
        }
        let before = self.head_bytes.fetch_add(bytes, Relaxed);
        if before == 0 {
            self.head_since.store(self.totals.now(), Relaxed);
        }
        let over = (before + bytes).saturating_sub(HEAD_FREE) - before.saturating_sub(HEAD_FREE);
        if over > 0 {
            self.totals.heads_grew(over);
        }
    }

    /// A complete head has arrived and is being answered.
    pub(super) fn asked(&self) {
        self.forget_head();
        self.phase.store(Phase::Busy as u8, Relaxed);
        self.is_fresh.store(false, Relaxed);
    }

    /// The response body has ended or was dropped.
    pub(super) fn answered(&self) {
        if self.phase() == Phase::Busy {
            self.waits();
        }
    }

    /// The response upgrades to another protocol.
    pub(super) fn switched(&self) {
        self.phase.store(Phase::Tunnel as u8, Relaxed);
    }

    /// A request on it came from a logged-in user.
    pub(super) fn known(&self) {
        self.is_known.store(true, Relaxed);
    }

    /// Whether a request's body is being read. That may last longer than the response.
    pub(super) fn reads_body(&self, reads: bool) {
        self.reads_body.store(reads, Relaxed);
    }

    /// Whether the next bytes of the client belong to a head.
    pub(super) fn awaits_head(&self) -> bool {
        self.phase() == Phase::Waiting && !self.reads_body.load(Relaxed)
    }

    /// Whether the client has sent its whole request, and waits for the response.
    pub(super) fn awaits_answer(&self) -> bool {
        self.phase() == Phase::Busy && !self.reads_body.load(Relaxed)
    }

    /// Records whether the server waits for more of a request's body.
    pub(super) fn awaits_body(&self, waits: bool) {
        let before = self.body_since.swap(if waits { self.totals.now() } else { 0 }, Relaxed);
        match (before != 0, waits) {
            (false, true) => self.totals.one_more_awaits_body(),
            (true, false) => self.totals.one_less_awaits_body(),
            _ => {}
        }
    }

    /// The client does not read.
    pub(super) fn stalls(&self) {
        if self.stalled_since.load(Relaxed) == 0 {
            self.stalled_since.store(self.totals.now(), Relaxed);
            self.totals.one_more_stalls();
        }
    }

    /// The client reads.
    pub(super) fn flows(&self) {
        if self.stalled_since.load(Relaxed) != 0 {
            self.stalled_since.store(0, Relaxed);
            self.totals.one_less_stalls();
            self.flowing.wake();
        }
    }

    /// Whether the client does not read. If so, the task of `cx` is woken when the client reads again or the connection ends.
    pub(super) fn is_stalled(&self, cx: &Context<'_>) -> bool {
        let is_stalled = self.stalled_since.load(Relaxed) != 0;
        if is_stalled {
            self.flowing.register(cx.waker());
        }
        is_stalled
    }

    /// The connection is closed or about to close: it does not count any more.
    pub(super) fn closed(&self) {
        self.forget_head();
        self.flows();
        self.awaits_body(false);
    }

    fn forget_head(&self) {
        let bytes = self.head_bytes.swap(0, Relaxed);
        self.head_since.store(0, Relaxed);
        if bytes > HEAD_FREE {
            self.totals.heads_shrank(bytes - HEAD_FREE);
        }
    }

    // Read by the table

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            0 => Phase::Taken,
            1 => Phase::Waiting,
            2 => Phase::Busy,
            _ => Phase::Tunnel,
        }
    }

    /// Whether a request on it came from a logged-in user.
    pub(super) fn is_known(&self) -> bool {
        self.is_known.load(Relaxed)
    }

    /// Whether it has had no request yet.
    pub(super) fn is_fresh(&self) -> bool {
        self.is_fresh.load(Relaxed)
    }

    /// Time without a request.
    pub(super) fn waiting(&self, now: u64) -> Option<u64> {
        (self.phase() == Phase::Waiting).then(|| now.saturating_sub(self.since.load(Relaxed)))
    }

    /// Time since the beginning of an incomplete head.
    pub(super) fn head(&self, now: u64) -> Option<u64> {
        age(&self.head_since, now)
    }

    /// Bytes of an incomplete head beyond its free part.
    pub(super) fn head_excess(&self) -> usize {
        self.head_bytes.load(Relaxed).saturating_sub(HEAD_FREE)
    }

    /// How long the server has waited for more of a body.
    pub(super) fn body(&self, now: u64) -> Option<u64> {
        age(&self.body_since, now)
    }

    /// How long the server has waited for the client, for any reason.
    pub(super) fn awaited(&self, now: u64) -> Option<u64> {
        [self.waiting(now), self.body(now), self.stalled(now)].into_iter().flatten().max()
    }

    /// How long the client has not read.
    pub(super) fn stalled(&self, now: u64) -> Option<u64> {
        age(&self.stalled_since, now)
    }
}

fn age(since: &AtomicU64, now: u64) -> Option<u64> {
    match since.load(Relaxed) {
        0 => None,
        since => Some(now.saturating_sub(since)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_counts_as_one_source() {
        let of = |text: &str| Source::of(text.parse().expect("an address"));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
    }
}
