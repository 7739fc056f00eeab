//! A connection that can be cut and restored, as in an outage.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio_util::sync::CancellationToken;

/// The target of the connection.
#[derive(Debug, Clone)]
pub enum End {
    /// `host:port`
    Tcp(String),
    /// A socket's path.
    Unix(PathBuf),
}

/// A local port that forwards to a target, until it is cut.
#[derive(Clone)]
pub struct Line {
    /// The port.
    pub port: u16,
    open: Arc<Mutex<Option<CancellationToken>>>,
}

impl Line {
    /// An open line.
    pub async fn to(end: End) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let line = Self { port, open: Arc::new(Mutex::new(Some(CancellationToken::new()))) };
        let open = line.open.clone();
        tokio::spawn(async move {
            while let Ok((inside, _)) = listener.accept().await {
                // While it is cut, connections are refused.
                let Some(cut) = open.lock().unwrap_or_else(PoisonError::into_inner).clone() else { continue };
                let end = end.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        () = cut.cancelled() => {}
                        () = lead(inside, end) => {}
                    }
                });
            }
        });
        line
    }

    /// Ends all that goes over it, and lets nothing new through.
    pub fn cut(&self) {
        if let Some(token) = self.open.lock().unwrap_or_else(PoisonError::into_inner).take() {
            token.cancel();
        }
    }

    /// Lets everything through again.
    pub fn restore(&self) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = Some(CancellationToken::new());
    }
}

async fn lead(inside: TcpStream, end: End) {
    match end {
        End::Tcp(address) => copy(inside, TcpStream::connect(address).await).await,
        End::Unix(path) => copy(inside, UnixStream::connect(path).await).await,
    }
}

async fn copy(mut inside: TcpStream, outside: std::io::Result<impl AsyncRead + AsyncWrite + Unpin>) {
    if let Ok(mut outside) = outside {
        // However it ends, it has ended.
        let _ = copy_bidirectional(&mut inside, &mut outside).await;
    }
}
