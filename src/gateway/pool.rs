//! A pool of connections to one instance.
//!
//! The task of a request also drives its connection, first while it waits for the head
//! and then while it reads the body, so that no byte has to wake another task.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::pages::Trouble;
use super::upload::Upload;

/// Maximum number of idle connections to one instance.
const KEPT_MAX: usize = 256;
/// Maximum bytes that a connection buffers of a response that the client does not read, and of a request that the app
/// does not read. A response head has to fit into it.
pub(super) const BUFFER_MAX: usize = 64 * 1024;
/// Bytes of a response that are read at once. One less than a power of two: a read that fills the library's buffer would
/// double it, and each piece would then hold a buffer of twice its size for as long as the client does not read it.
const READ_MAX: usize = 16 * 1024 - 1;
/// How long a connection is kept without a request.
const KEPT_FOR: Duration = Duration::from_secs(30);
/// Maximum idle time of a connection for a request that is not idempotent: apps close idle connections
/// after seconds, and closing it during such a request would make the request fail.
const SURE_FOR: Duration = Duration::from_secs(1);

/// A connection with its driver.
pub(super) struct Connection {
    sender: http1::SendRequest<Body>,
    driver: http1::Connection<TokioIo<SmallReads>, Body>,
    is_over: bool,
}

/// A socket that is read in small pieces.
struct SmallReads(TcpStream);

impl AsyncRead for SmallReads {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let room = buf.remaining().min(READ_MAX);
        let mut piece = ReadBuf::new(buf.initialize_unfilled_to(room));
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut piece))?;
        let read = piece.filled().len();
        buf.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for SmallReads {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Why there is no response.
pub(super) enum SendError {
    /// No part of the request was sent.
    Unsent(Box<Request<Body>>),
    /// The connection broke before the response head.
    Broken,
    /// The response head did not arrive in time.
    TimedOut,
}

impl Connection {
    /// Opens a connection.
    pub(super) async fn open(address: SocketAddr, limit: Duration) -> Result<Box<Self>, Trouble> {
        let stream = match tokio::time::timeout(limit, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(_)) => return Err(Trouble::Failed),
            Err(_) => return Err(Trouble::TimedOut),
        };
        // Waiting for a full packet would only delay small responses.
        let _ = stream.set_nodelay(true);
        let (sender, driver) = http1::Builder::new()
            .max_buf_size(BUFFER_MAX)
            .handshake(TokioIo::new(SmallReads(stream)))
            .await
            .map_err(|_| Trouble::Failed)?;
        Ok(Box::new(Self { sender, driver, is_over: false }))
    }

    /// Drives the connection. Ready when it has closed.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_over {
            self.is_over = Pin::new(&mut self.driver).poll(cx).is_ready();
        }
        if self.is_over { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Whether a request can probably be sent over it.
    fn is_fit(&mut self, cx: &mut Context<'_>) -> bool {
        self.drive(cx).is_pending() && self.sender.is_ready()
    }

    /// Sends a request and waits for the response head.
    pub(super) async fn send(
        mut self: Box<Self>,
        request: Request<Body>,
        limit: Duration,
        upload: Option<&Upload>,
    ) -> Result<(Response<Incoming>, Box<Self>), SendError> {
        let mut answer = std::pin::pin!(self.sender.try_send_request(request));
        let head = std::future::poll_fn(|cx| {
            if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
                return Poll::Ready(answer);
            }
            if !self.is_over {
                self.is_over = Pin::new(&mut self.driver).poll(cx).is_ready();
            }
            answer.as_mut().poll(cx)
        });
        let mut head = std::pin::pin!(head);
        let mut deadline = Instant::now() + limit;
        let answer = loop {
            match tokio::time::timeout_at(deadline, head.as_mut()).await {
                Ok(answer) => break answer,
                // While the upload makes progress, the app cannot answer yet.
                Err(_) => match upload.map(Upload::last_progress) {
                    Some(progress) if progress + limit > deadline => deadline = progress + limit,
                    _ => return Err(SendError::TimedOut),
                },
            }
        };
        match answer {
            Ok(response) => Ok((response, self)),
            Err(mut error) => Err(match error.take_message() {
                Some(request) => SendError::Unsent(Box::new(request)),
                None => SendError::Broken,
            }),
        }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("is_over", &self.is_over).finish_non_exhaustive()
    }
}

/// Idle connections, the most recently used last.
#[derive(Debug, Default)]
pub(super) struct Pool {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    kept: Vec<(Box<Connection>, Instant)>,
    is_closed: bool,
}

impl Pool {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops all connections, and stores none from now on.
    pub(super) fn close(&self) {
        let kept = {
            let mut state = self.state();
            state.is_closed = true;
            std::mem::take(&mut state.kept)
        };
        drop(kept);
    }

    /// A usable pooled connection. An idempotent request can use any of them.
    pub(super) async fn checkout(&self, is_repeatable: bool) -> Option<Box<Connection>> {
        let limit = if is_repeatable { KEPT_FOR } else { SURE_FOR };
        loop {
            let (mut connection, since) = self.state().kept.pop()?;
            if since.elapsed() > limit {
                if !is_repeatable {
                    // Still usable for idempotent requests.
                    self.state().kept.push((connection, since));
                    return None;
                }
                continue;
            }
            if std::future::poll_fn(|cx| Poll::Ready(connection.is_fit(cx))).await {
                return Some(connection);
            }
        }
    }

    /// Stores a connection after its response, if it is usable for another request.
    pub(super) fn checkin(&self, mut connection: Box<Connection>, cx: &mut Context<'_>) {
        if !connection.is_fit(cx) {
            return;
        }
        let mut state = self.state();
        if state.is_closed || state.kept.len() >= KEPT_MAX {
            return;
        }
        state.kept.push((connection, Instant::now()));
    }

    /// Closes connections that were idle for too long, or that the app has closed.
    pub(super) fn sweep(&self) {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        self.state().kept.retain_mut(|(connection, since)| since.elapsed() < KEPT_FOR && connection.is_fit(&mut cx));
    }
}
