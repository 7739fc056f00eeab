//! Connections to the engine: a Unix socket, TCP on this machine, or mutual TLS. Connections are opened on demand, so
//! that a builder can start before its engine, and survives a restart or an upgrade of it.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use super::tls::ClientTls;
use crate::domain::Invalid;

/// The engine's socket if `DOCKER_HOST` is not set.
const DEFAULT_SOCKET: &str = "/var/run/docker.sock";
/// Timeout in seconds for the head of any response. Single calls have shorter timeouts of their own.
const HEAD_TIMEOUT_SECS: u64 = 120;

/// A client for the engine at `host`, in the form of `DOCKER_HOST` (`unix:///path` or `tcp://address:port`); without
/// it, for the usual socket. No connection is opened yet: whether the engine is available is found out by each call.
///
/// # Errors
/// If the form of `host` is not supported, or if it is TCP to another machine, which needs [`connect_with_tls`].
pub fn connect(host: Option<&str>) -> Result<Docker, Invalid> {
    open(Place::parse(host, None)?)
}

/// A client for the engine at `host` (`tcp://address:port`) with mutual TLS. `certificates` is a folder in the layout
/// of Docker's command line: `ca.pem`, `cert.pem` and `key.pem`. They are read once, here. A Unix socket needs no TLS:
/// then the folder is not read.
///
/// # Errors
/// If the form of `host` is not supported, or if the certificates are missing or cannot be used.
pub fn connect_with_tls(host: Option<&str>, certificates: &Path) -> Result<Docker, Invalid> {
    open(Place::parse(host, Some(certificates))?)
}

fn open(place: Place) -> Result<Docker, Invalid> {
    let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(Connector(place));
    let line = Arc::new(Line { client, empty: || bollard::body_full(Bytes::new()), minor: AtomicUsize::new(0) });
    let transport = move |request: BollardRequest| {
        let line = Arc::clone(&line);
        async move { line.request(request).await }
    };
    Docker::connect_with_custom_transport(transport, Some("http://docker"), HEAD_TIMEOUT_SECS, API_DEFAULT_VERSION)
        .map_err(|error| Invalid::new(format!("The engine's client cannot be made: {error}")))
}

/// Whether the address shows that the engine is on this machine: a socket does, a TCP port may be forwarded from
/// anywhere.
pub fn is_local(host: Option<&str>) -> bool {
    matches!(Place::parse(host, None), Ok(Place::Unix(_)))
}

/// The connection to one engine, and the API version that was negotiated with it.
struct Line<B> {
    client: Client<Connector, B>,
    /// Makes an empty request body; bollard does not export its type.
    empty: fn() -> B,
    /// Minor API version; 0 until it was negotiated.
    minor: AtomicUsize,
}

impl<B> Line<B>
where
    B: hyper::body::Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Sends a request in the negotiated API version, because bollard writes its own version into the path.
    async fn request(&self, mut request: Request<B>) -> Result<Response<Incoming>, Error> {
        let minor = self.agreed().await?;
        if let Some(rest) = versionless(request.uri()) {
            let uri = format!("http://docker/v1.{minor}{rest}");
            *request.uri_mut() = uri.parse().map_err(|err| Error::InvalidURIError { err })?;
        }
        self.send(request).await
    }

    async fn agreed(&self) -> Result<usize, Error> {
        let known = self.minor.load(Ordering::Relaxed);
        if known != 0 {
            return Ok(known);
        }
        let ping = Request::get("http://docker/_ping").body((self.empty)())?;
        let answer = self.send(ping).await?;
        let spoken = answer.headers().get("api-version").and_then(|v| v.to_str().ok()).and_then(minor_version);
        // Read to the end, because an engine logs an aborted response as an error.
        let _ = answer.into_body().collect().await;
        let minor = spoken.map_or(API_DEFAULT_VERSION.minor_version, |m| m.min(API_DEFAULT_VERSION.minor_version));
        self.minor.store(minor, Ordering::Relaxed);
        Ok(minor)
    }

    async fn send(&self, request: Request<B>) -> Result<Response<Incoming>, Error> {
        self.client.request(request).await.map_err(|err| {
            // The next connection may reach another engine.
            self.minor.store(0, Ordering::Relaxed);
            Error::from(err)
        })
    }
}

/// `/containers/json?all=1` for `/v1.53/containers/json?all=1`.
fn versionless(uri: &Uri) -> Option<&str> {
    let rest = uri.path_and_query()?.as_str().strip_prefix("/v")?;
    let slash = rest.find('/')?;
    rest[..slash].bytes().all(|b| b.is_ascii_digit() || b == b'.').then(|| &rest[slash..])
}

fn minor_version(text: &str) -> Option<usize> {
    text.strip_prefix("1.")?.parse().ok()
}

/// An engine's address.
#[derive(Debug, Clone)]
enum Place {
    Unix(PathBuf),
    /// Plain TCP: only on this machine, because everyone who can read or reach it controls the engine.
    Loopback(String),
    Tls(String, ClientTls),
}

impl Place {
    fn parse(host: Option<&str>, certificates: Option<&Path>) -> Result<Self, Invalid> {
        let host = host.map(str::trim).filter(|host| !host.is_empty());
        let Some(host) = host else { return Ok(Self::Unix(DEFAULT_SOCKET.into())) };
        if let Some(path) = host.strip_prefix("unix://").filter(|path| path.starts_with('/')) {
            return Ok(Self::Unix(path.into()));
        }
        let address = host.strip_prefix("tcp://").or_else(|| host.strip_prefix("http://"));
        let address = address.map(|address| address.trim_end_matches('/'));
        let Some((address, name)) = address.and_then(|address| Some((address, host_name(address)?))) else {
            return Err(Invalid::new(format!(
                "“{host}” is no address of an engine: write unix:///path/to/socket or tcp://address:port."
            )));
        };
        if let Some(folder) = certificates {
            return Ok(Self::Tls(address.to_owned(), ClientTls::read(folder, name)?));
        }
        if name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()) {
            return Ok(Self::Loopback(address.to_owned()));
        }
        Err(Invalid::new(format!(
            "“{host}” is another machine, and an engine is not spoken to in the clear: who reaches its port owns it. Have \
             the engine listen with --tlsverify, and set DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH to a folder with ca.pem, \
             cert.pem and key.pem."
        )))
    }
}

/// The host of `host:port` or `[address]:port`.
fn host_name(address: &str) -> Option<&str> {
    let (host, port) = address.rsplit_once(':')?;
    port.parse::<u16>().ok()?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    (!host.is_empty()).then_some(host)
}

/// Opens a connection to the engine, whatever the URI of the request is.
#[derive(Clone)]
struct Connector(Place);

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Socket>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let place = self.0.clone();
        Box::pin(async move {
            let socket = match place {
                Place::Unix(path) => Socket::Unix(UnixStream::connect(path).await?),
                Place::Loopback(address) => Socket::Tcp(dial(&address).await?),
                Place::Tls(address, tls) => {
                    let stream = dial(&address).await?;
                    Socket::Tls(Box::new(tokio::time::timeout(super::QUICK, tls.connect(stream)).await??))
                }
            };
            Ok(TokioIo::new(socket))
        })
    }
}

async fn dial(address: &str) -> io::Result<TcpStream> {
    let stream = tokio::time::timeout(super::QUICK, TcpStream::connect(address)).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// An open connection to the engine.
enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection for Socket {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

macro_rules! forward {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Socket::Unix(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Socket::Tcp(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Socket::Tls(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        forward!(self, stream => stream.poll_read(cx, buffer))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        forward!(self, stream => stream.poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, stream => stream.poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Fault, ping};

    #[test]
    fn hosts_are_read_as_docker_writes_them() {
        let parse = |host| Place::parse(host, None);
        assert!(matches!(parse(None), Ok(Place::Unix(path)) if path == Path::new(DEFAULT_SOCKET)));
        assert!(matches!(parse(Some("unix:///run/x.sock")), Ok(Place::Unix(path)) if path == Path::new("/run/x.sock")));
        for bad in ["ssh://me@there", "npipe:////./pipe/x", "unix://relative", "localhost", "tcp://:2375", "tcp://a:b"]
        {
            assert!(parse(Some(bad)).is_err(), "{bad}");
        }
        let uri = "http://docker/v1.53/images/slipway%2Fx/json?a=v1".parse().expect("a URI");
        assert_eq!(versionless(&uri), Some("/images/slipway%2Fx/json?a=v1"));
        assert_eq!(minor_version("1.41"), Some(41));
    }

    #[test]
    fn plain_tcp_stays_on_this_machine() {
        for near in ["tcp://127.0.0.1:2375/", "tcp://localhost:2375", "tcp://[::1]:2375", "http://127.9.9.9:1"] {
            assert!(matches!(Place::parse(Some(near), None), Ok(Place::Loopback(_))), "{near}");
        }
        for far in ["tcp://10.0.0.1:2375", "tcp://engine.example.test:2375", "tcp://[fd00::1]:2375"] {
            let refused = connect(Some(far)).expect_err(far).to_string();
            assert!(refused.contains("--tlsverify") && refused.contains("DOCKER_CERT_PATH"), "{refused}");
        }
    }

    #[tokio::test]
    async fn the_engine_is_found_and_its_version_agreed() {
        let docker = connect(std::env::var("DOCKER_HOST").ok().as_deref()).expect("a client");
        let info = ping(&docker).await.expect("these tests need a running Docker engine");
        assert!(!info.version.is_empty() && info.platform.starts_with("linux/"), "{info:?}");
    }

    #[tokio::test]
    async fn a_missing_engine_has_its_sentence_and_may_come_later() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("docker.sock");
        let docker = connect(Some(&format!("unix://{}", socket.display()))).expect("a client without an engine");
        let fault = ping(&docker).await.expect_err("nobody listens");
        assert!(matches!(&fault, Fault::Unavailable(why) if why.contains("does not exist")), "{fault}");
        // A socket file that a dead engine left.
        drop(std::os::unix::net::UnixListener::bind(&socket).expect("a socket"));
        let fault = ping(&docker).await.expect_err("nobody listens");
        assert!(matches!(&fault, Fault::Unavailable(why) if why.contains("refused")), "{fault}");
    }
}
