//! A client's socket that reports to its slot in the table that bytes arrived, or that the client does not read. It has
//! no timeouts of its own; see [`super::connections`]. A head that is larger than the HTTP library reads is answered
//! here; see [`super::large_head`].

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::connections::Admitted;
use super::large_head::{LargeHead, Scan};

/// How long a client that has closed its sending side is assumed to still read, while it has no response yet. The
/// system does not report whether it still reads or has disconnected.
const HALF_CLOSED_FOR: Duration = Duration::from_secs(2);

/// A connection's socket. Its slot is released when this is dropped.
pub(super) struct Transport {
    stream: TcpStream,
    slot: Admitted,
    is_https: bool,
    /// The parser of the head that is being received.
    scan: Option<Box<Scan>>,
    large_head: Option<LargeHead>,
    /// Runs while the client has closed its sending side and waits for its response.
    half_closed: Option<Pin<Box<Sleep>>>,
}

impl Transport {
    /// `is_https`: browsers reach the builder over https.
    pub(super) fn new(stream: TcpStream, slot: Admitted, is_https: bool) -> Self {
        Self { stream, slot, is_https, scan: None, large_head: None, half_closed: None }
    }

    /// Parses bytes that were read. Returns whether they belong to a head that is too large.
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
                // The HTTP library assumes that a client which closes its sending side has disconnected, and drops the
                // response.
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
            // The library must not see these bytes, because it would send its own response.
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
