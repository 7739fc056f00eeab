//! What one connection does at the moment: which side is waited for, and since when.
//!
//! Written by the connection's own task with plain atomic stores, read by whoever has to decide
//! which connections end. Times are milliseconds since the table of connections was made; 0 is “not now”.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::Context;

use futures_util::task::AtomicWaker;
use tokio_util::sync::CancellationToken;

/// Bytes of an unfinished head that are not counted against the budget of all: a connection's read
/// buffer is that large from the beginning, and ordinary heads fit in.
pub(super) const HEAD_FREE: usize = 8 * 1024;

/// What slots report to: the totals of all connections, and the clock that their times are of.
pub(super) trait Totals: Send + Sync {
    /// Milliseconds since the table was made; never 0.
    fn now(&self) -> u64;
    /// Unfinished heads grew by so many bytes beyond what is free.
    fn heads_grew(&self, bytes: usize);
    /// They shrank.
    fn heads_shrank(&self, bytes: usize);
    /// One more client does not take what is written.
    fn one_more_stalls(&self);
    /// One fewer.
    fn one_less_stalls(&self);
    /// One more request's body is waited for.
    fn one_more_awaits_body(&self);
    /// One fewer.
    fn one_less_awaits_body(&self);
}

/// Whom a connection is counted against: an IPv4 address, or the /64 of an IPv6 address, since
/// whoever has one address of a /64 usually has all of them.
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

/// What a connection is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Just taken. Either its task has not looked at it yet, or the request is there and is still to be read: it is not
    /// the client that is waited for.
    Taken,
    /// No request is in hand: nothing was sent yet, a head is on its way, or the last answer is through.
    Waiting,
    /// A request is being answered.
    Busy,
    /// Another protocol was switched to; silence is allowed.
    Tunnel,
}

/// One open connection.
pub(super) struct Slot {
    pub(super) id: u64,
    pub(super) source: Source,
    /// Many clients may be behind this address: a proxy's, or this machine's own.
    pub(super) is_shared: bool,
    /// Set when the connection is to end.
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

    // Told by the connection's task

    /// From now on the client is waited for.
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

    /// A whole head is there, and is being answered.
    pub(super) fn asked(&self) {
        self.forget_head();
        self.phase.store(Phase::Busy as u8, Relaxed);
        self.is_fresh.store(false, Relaxed);
    }

    /// The answer's body has come to its end, or was given up.
    pub(super) fn answered(&self) {
        if self.phase() == Phase::Busy {
            self.waits();
        }
    }

    /// The answer switches to another protocol.
    pub(super) fn switched(&self) {
        self.phase.store(Phase::Tunnel as u8, Relaxed);
    }

    /// A request on it came from somebody who is logged in.
    pub(super) fn known(&self) {
        self.is_known.store(true, Relaxed);
    }

    /// A request's body is being read, or has been. It may last longer than the answer.
    pub(super) fn reads_body(&self, reads: bool) {
        self.reads_body.store(reads, Relaxed);
    }

    /// Whether what comes next from the client is a part of a head.
    pub(super) fn awaits_head(&self) -> bool {
        self.phase() == Phase::Waiting && !self.reads_body.load(Relaxed)
    }

    /// Whether the client has sent all of its request, and waits for the answer.
    pub(super) fn awaits_answer(&self) -> bool {
        self.phase() == Phase::Busy && !self.reads_body.load(Relaxed)
    }

    /// The client is waited for in the middle of a request's body, or not any more.
    pub(super) fn awaits_body(&self, waits: bool) {
        let before = self.body_since.swap(if waits { self.totals.now() } else { 0 }, Relaxed);
        match (before != 0, waits) {
            (false, true) => self.totals.one_more_awaits_body(),
            (true, false) => self.totals.one_less_awaits_body(),
            _ => {}
        }
    }

    /// The client does not take what is written.
    pub(super) fn stalls(&self) {
        if self.stalled_since.load(Relaxed) == 0 {
            self.stalled_since.store(self.totals.now(), Relaxed);
            self.totals.one_more_stalls();
        }
    }

    /// The client takes what is written.
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

    /// The connection is gone, or will be at once: what it has is counted no more.
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

    // Read by who decides

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            0 => Phase::Taken,
            1 => Phase::Waiting,
            2 => Phase::Busy,
            _ => Phase::Tunnel,
        }
    }

    /// Whether a request on it came from somebody who is logged in.
    pub(super) fn is_known(&self) -> bool {
        self.is_known.load(Relaxed)
    }

    /// Whether no request was ever made on it.
    pub(super) fn is_fresh(&self) -> bool {
        self.is_fresh.load(Relaxed)
    }

    /// How long there has been no request.
    pub(super) fn waiting(&self, now: u64) -> Option<u64> {
        (self.phase() == Phase::Waiting).then(|| now.saturating_sub(self.since.load(Relaxed)))
    }

    /// How long a head has been on its way.
    pub(super) fn head(&self, now: u64) -> Option<u64> {
        age(&self.head_since, now)
    }

    /// Bytes of an unfinished head beyond those that are free.
    pub(super) fn head_excess(&self) -> usize {
        self.head_bytes.load(Relaxed).saturating_sub(HEAD_FREE)
    }

    /// How long more of a body has been waited for.
    pub(super) fn body(&self, now: u64) -> Option<u64> {
        age(&self.body_since, now)
    }

    /// How long the client has been waited for, whatever for.
    pub(super) fn awaited(&self, now: u64) -> Option<u64> {
        [self.waiting(now), self.body(now), self.stalled(now)].into_iter().flatten().max()
    }

    /// How long the client has taken nothing of what is written.
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
    fn one_that_has_a_whole_network_counts_as_one() {
        let of = |text: &str| Source::of(text.parse().expect("an address"));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
    }
}
