//! A client's socket that tells its slot in the table what happens: bytes came, or the client
//! takes nothing of what is written. It sets no timers of its own; see [`super::connections`]. A head that is
//! larger than the HTTP library reads is answered here; see [`super::large_head`].

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::connections::Admitted;
use super::large_head::{LargeHead, Scan};

/// How long a client that has closed its side is taken for one that still reads, as long as it has no answer yet.
/// Whether it reads or is gone, the system does not say.
const HALF_CLOSED_FOR: Duration = Duration::from_secs(2);

/// A connection's socket, for as long as which its slot is taken.
pub(super) struct Transport {
    stream: TcpStream,
    slot: Admitted,
    is_https: bool,
    /// The head that is on its way.
    scan: Option<Box<Scan>>,
    large_head: Option<LargeHead>,
    /// The client has closed its side, and is given this time for its answer.
    half_closed: Option<Pin<Box<Sleep>>>,
}

impl Transport {
    /// `is_https`: browsers reach us over https.
    pub(super) fn new(stream: TcpStream, slot: Admitted, is_https: bool) -> Self {
        Self { stream, slot, is_https, scan: None, large_head: None, half_closed: None }
    }

    /// Looks at what was read; whether it belongs to a head that is too large.
    fn is_too_large(&mut self, bytes: &[u8]) -> bool {
        if !self.slot.awaits_head() {
            self.scan = None;
            return false;
        }
        let scan = self.scan.get_or_insert_default();
        scan.feed(bytes);
        if scan.is_too_large() {
            self.large_head = self.scan.take().map(|scan| LargeHead::new(scan, self.is_https));
            return true;
        }
        if scan.is_over() {
            self.scan = None;
        }
        false
    }

    fn watch(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Pending => self.slot.stalls(),
            Poll::Ready(_) => self.slot.flows(),
        }
        written
    }
}

impl AsyncRead for Transport {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.large_head.is_none() {
            let before = buf.filled().len();
            let read = Pin::new(&mut this.stream).poll_read(cx, buf);
            let bytes = buf.filled().len() - before;
            if bytes == 0 {
                // The HTTP library takes a client that closes its side for one that is gone, and drops the answer.
                if matches!(read, Poll::Ready(Ok(()))) && buf.remaining() > 0 && this.slot.awaits_answer() {
                    let wait = this.half_closed.get_or_insert_with(|| Box::pin(sleep(HALF_CLOSED_FOR)));
                    ready!(wait.as_mut().poll(cx));
                }
                return read;
            }
            this.slot.received(bytes);
            if !this.is_too_large(&buf.filled()[before..]) {
                return read;
            }
            // The library would answer it by itself if it knew.
            buf.set_filled(before);
        }
        if let Some(large_head) = &mut this.large_head {
            ready!(large_head.poll(&mut this.stream, cx))?;
        }
        Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "the request's head is too large")))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
