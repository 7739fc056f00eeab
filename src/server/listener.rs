//! Accepts connections and serves them, with the timeouts and limits around every request.

use std::convert::Infallible;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::header::{RETRY_AFTER, UPGRADE};
use axum::http::{HeaderValue, Request, StatusCode};
use axum::response::Response;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::App;
use super::bodies::{Answered, Received};
use super::connections::{Admitted, Connections, ForwardedRequest, Limits, Refused};
use super::large_head::HEAD_MAX;
use super::slot::Slot;
use super::transport::Transport;
use crate::file_limit;
use crate::gateway::ClientSide;
use crate::guard::{Caller, ClientIp, plain_page};
use crate::lifecycle::Lifecycle;

/// Maximum size of a head for the HTTP library, in bytes: more than it is ever given. The library's write buffer has
/// the same limit.
const BUFFER_MAX: usize = HEAD_MAX + 16 * 1024;
/// Length of the queue of connections that wait to be accepted. The system may reduce it (`net.core.somaxconn`).
const QUEUE_MAX: u32 = 4096;
/// Bytes of a response that the system buffers before they are sent.
const UNSENT_MAX: u32 = 128 * 1024;
/// After this time without data, and a few unanswered probes, a connection whose peer disappeared is closed.
const KEEPALIVE: Duration = Duration::from_mins(1);
/// Pause between attempts to find room for a connection, and their number.
const ADMIT_PAUSE: Duration = Duration::from_millis(1);
const ADMIT_TRIES: u32 = 50;
/// Pause after a failed accept, which most likely lacked a file descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Listens on an address, with a queue for connections that arrive at the same time: if it is full, the system drops
/// new connection requests, and clients retry a second later.
pub fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Allows to use a port whose last connections are still closing.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(QUEUE_MAX)
}

/// Serves connections until the builder stops. Then running responses may end, event streams end by themselves, and
/// after the grace period the remaining connections are closed. Returns as soon as no new connections are accepted; the
/// open ones belong to the lifecycle's tasks.
pub async fn serve(listener: TcpListener, app: App, lifecycle: Lifecycle) -> std::io::Result<()> {
    let config = app.0.services.config();
    let limits = Limits::new(config.max_connections, config.client_timeout, file_limit::current());
    let connections = Connections::new(limits, app.0.proxies.clone());
    prepare(&listener)?;
    let listener = listener.into_std()?;
    listener.set_nonblocking(false)?;
    let stop = StopAccepting { token: CancellationToken::new(), listener: listener.try_clone()? };
    let acceptor = Acceptor {
        app,
        connections: connections.clone(),
        limits,
        lifecycle: lifecycle.clone(),
        runtime: Handle::current(),
        stopped: stop.token.clone(),
    };
    let mut accepting = tokio::task::spawn_blocking(move || acceptor.run(&listener));
    tokio::select! {
        () = lifecycle.draining.cancelled() => {}
        () = connections.watch_deadlines() => {}
        ended = &mut accepting => return ended.map_err(std::io::Error::other),
    }
    drop(stop);
    accepting.await.map_err(std::io::Error::other)
}

/// Stops the acceptor's wait for the next connection when this is dropped.
struct StopAccepting {
    token: CancellationToken,
    listener: std::net::TcpListener,
}

impl Drop for StopAccepting {
    fn drop(&mut self) {
        self.token.cancel();
        if let Err(error) = SockRef::from(&self.listener).shutdown(std::net::Shutdown::Both) {
            tracing::warn!(%error, "failed to stop listening");
        }
    }
}

/// Sets socket options, which connections inherit from their listener: idle peers are probed, and only a small buffer
/// is used for a client that does not read. That buffer limits the bytes that wait to be sent, not those in transit, so
/// it does not reduce the throughput.
fn prepare(listener: &TcpListener) -> std::io::Result<()> {
    let socket = SockRef::from(listener);
    let probes = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 4).with_retries(4);
    socket.set_tcp_keepalive(&probes)?;
    socket.set_tcp_notsent_lowat(UNSENT_MAX)
}

/// Accepts connections on a thread of its own: with thousands of running requests, a task would run too rarely, the
/// system's queue would fill up, and clients would retry a second later.
struct Acceptor {
    app: App,
    connections: Connections,
    limits: Limits,
    lifecycle: Lifecycle,
    runtime: Handle,
    stopped: CancellationToken,
}

impl Acceptor {
    fn run(&self, listener: &std::net::TcpListener) {
        while !self.stopped.is_cancelled() {
            match listener.accept() {
                Ok((stream, peer)) => self.take(stream, peer),
                Err(_) if self.stopped.is_cancelled() => {}
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a connection; retrying");
                    self.pause(ACCEPT_PAUSE);
                }
            }
        }
    }

    /// Waits for a time, or until the acceptor is stopped.
    fn pause(&self, time: Duration) {
        let _ = self.runtime.block_on(tokio::time::timeout(time, self.stopped.cancelled()));
    }

    fn take(&self, stream: std::net::TcpStream, peer: SocketAddr) {
        if stream.set_nonblocking(true).is_err() {
            return;
        }
        let admitted = match self.admit(peer.ip()) {
            Ok(admitted) => admitted,
            Err(refused) => return refuse(stream, refused),
        };
        let connection = Connection {
            app: self.app.clone(),
            connections: self.connections.clone(),
            slot: admitted.slot(),
            peer: peer.ip().to_canonical(),
            patience: self.limits.patience,
        };
        let lifecycle = self.lifecycle.clone();
        let serve = async move {
            match TcpStream::from_std(stream) {
                Ok(stream) => connection.serve(stream, admitted, peer, lifecycle).await,
                Err(error) => tracing::warn!(%error, "failed to serve a connection"),
            }
        };
        self.lifecycle.tasks.spawn_on(serve, &self.runtime);
    }

    /// Admits a connection. If there is no room because all other connections have just been accepted, their requests
    /// are read first; meanwhile the system's queue holds further connections.
    fn admit(&self, peer: IpAddr) -> Result<Admitted, Refused> {
        for _ in 0..ADMIT_TRIES {
            match self.connections.admit(peer) {
                Err(Refused::Full) if !self.stopped.is_cancelled() => self.pause(ADMIT_PAUSE),
                admitted => return admitted,
            }
        }
        self.connections.admit(peer)
    }
}

/// Sends the reason for a refusal, if that is possible without waiting.
fn refuse(mut stream: std::net::TcpStream, refused: Refused) {
    let words = match refused {
        Refused::SourceFull => "There are too many connections from your address. Close some, then try again.\n",
        Refused::Full => "There are too many connections at this moment. Try again in a moment.\n",
    };
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\r\n{words}",
        words.len()
    );
    let _ = stream.write(answer.as_bytes());
}

/// Whether the client disconnected before its connection was accepted.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused)
}

/// Whether a client that has just connected has sent data or has disconnected. The async runtime learns of this only
/// some time after the system.
fn has_sent(stream: &TcpStream) -> bool {
    use rustix::net::{RecvFlags, recv};
    let seen = recv(stream, &mut [0; 1][..], RecvFlags::PEEK | RecvFlags::DONTWAIT);
    seen != Err(rustix::io::Errno::WOULDBLOCK)
}

/// One connection, with what its requests need to know about it.
#[derive(Clone)]
struct Connection {
    app: App,
    connections: Connections,
    slot: Arc<Slot>,
    peer: IpAddr,
    patience: Duration,
}

impl Connection {
    async fn serve(self, stream: TcpStream, admitted: Admitted, peer: SocketAddr, lifecycle: Lifecycle) {
        // An event is one small write, and has to be sent at once.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection was gone at once");
            return;
        }
        // Allocates no buffers before there is data for them.
        if !has_sent(&stream) {
            self.slot.waits();
            tokio::select! {
                readable = stream.readable() => if readable.is_err() { return },
                () = self.slot.ended.cancelled() => return,
                () = lifecycle.draining.cancelled() => return,
            }
        }
        // On the heap, here and below: otherwise an idle connection would use as much memory as one that answers a
        // request.
        Box::pin(self.speak(stream, admitted, peer, lifecycle)).await;
    }

    async fn speak(self, stream: TcpStream, admitted: Admitted, peer: SocketAddr, lifecycle: Lifecycle) {
        let ended = self.slot.ended.clone();
        let is_https = self.app.is_https();
        let service = service_fn(move |request| {
            let connection = self.clone();
            connection.slot.asked();
            Box::pin(async move { Ok::<_, Infallible>(connection.answer(request, peer).await) })
        });
        let connection = http1::Builder::new()
            // The table of connections enforces the timeouts.
            .header_read_timeout(None)
            .max_header_size(BUFFER_MAX)
            .max_buf_size(BUFFER_MAX)
            .serve_connection(TokioIo::new(Transport::new(stream, admitted, is_https)), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let over = tokio::select! {
            over = connection.as_mut() => over,
            () = ended.cancelled() => return,
            () = lifecycle.draining.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    over = connection => over,
                    () = ended.cancelled() => return,
                    () = lifecycle.aborting.cancelled() => return,
                }
            }
        };
        if let Err(error) = over {
            // Clients may disconnect at any time.
            tracing::debug!(%error, %peer, "a connection ended early");
        }
    }

    async fn answer(&self, request: Request<hyper::body::Incoming>, peer: SocketAddr) -> Response<Answered> {
        let client = self.app.0.proxies.client(ClientIp(self.peer), request.headers()).0;
        let forwarded = if client == self.peer {
            None
        } else {
            let Some(counted) = self.connections.forwarded(client) else {
                return self.answered(too_many_requests(), None);
            };
            Some(Arc::new(counted))
        };
        let mut request = request.map(|body| {
            if hyper::body::Body::is_end_stream(&body) {
                Body::new(body)
            } else {
                Body::new(Received::new(body, self.slot.clone(), self.patience))
            }
        });
        request.extensions_mut().insert(ConnectInfo(peer));
        if request.headers().contains_key(UPGRADE) {
            let held = forwarded.clone().map(|counted| counted as _);
            request.extensions_mut().insert(ClientSide { ended: self.slot.ended.clone(), held });
        }
        let response = self.app.answer(request).await;
        if !self.slot.is_known() && response.extensions().get::<Caller>().is_some_and(|caller| caller.is_known()) {
            self.connections.known(client);
            // A proxy's connection may serve another client next.
            if client == self.peer {
                self.slot.known();
            }
        }
        self.answered(response, forwarded)
    }

    fn answered(&self, response: Response, forwarded: Option<Arc<ForwardedRequest>>) -> Response<Answered> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            self.slot.switched();
        }
        response.map(|body| Answered::new(body, self.slot.clone(), forwarded))
    }
}

fn too_many_requests() -> Response {
    let sentences = ["Too many requests from your address are being answered at this moment. Try again in a moment."];
    let mut response = plain_page(StatusCode::TOO_MANY_REQUESTS, "Too many requests", &sentences);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
    response
}
