//! Protocol upgrades: after one, bytes are copied in both directions without inspection.

use std::any::Any;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::pages::Trouble;
use super::pool::BUFFER_MAX;
use super::routes::InFlight;
use super::{Gateway, body};
use crate::domain::{AppName, Environment};

/// The client's side of a tunnel; in the extensions of a request with an upgrade.
#[derive(Clone)]
pub struct ClientSide {
    /// Set when the client's connection has to end.
    pub ended: CancellationToken,
    /// Guards that live as long as the tunnel.
    pub held: Option<Arc<dyn Any + Send + Sync>>,
}

impl Gateway {
    /// Requests the upgrade from the instance. If it accepts, a task copies bytes until one side ends or
    /// the instance has to stop; the tunnel counts as a running request until then.
    pub(super) async fn tunnel(
        &self,
        app: &AppName,
        environment: Environment,
        mut entry: InFlight,
        protocol: axum::http::HeaderValue,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, Trouble> {
        let client = request.extensions_mut().remove::<OnUpgrade>();
        let side = request.extensions_mut().remove::<ClientSide>();
        let stream = loop {
            match tokio::time::timeout(self.settings.connect, TcpStream::connect(entry.live().address())).await {
                Ok(Ok(stream)) => break stream,
                failed => match self.replacement(app, environment, &entry) {
                    Some(next) => entry = next,
                    None if failed.is_err() => return Err(Trouble::TimedOut),
                    None => return Err(Trouble::Failed),
                },
            }
        };
        let _ = stream.set_nodelay(true);
        let handshake = http1::Builder::new().max_buf_size(BUFFER_MAX).handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.map_err(|_| Trouble::Failed)?;
        // Ends with the connection, which ends with the tunnel or the response body.
        tokio::spawn(connection.with_upgrades());
        let answer = tokio::time::timeout(self.settings.head, sender.send_request(request)).await;
        let mut response = answer.map_err(|_| Trouble::TimedOut)?.map_err(|_| Trouble::Failed)?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(body::answer_driven_elsewhere(response, entry, self.settings.idle));
        }
        let Some(client) = client else { return Err(Trouble::Failed) };
        tracing::trace!(%app, %environment, ?protocol, "a tunnel opens");
        let instance = hyper::upgrade::on(&mut response);
        tokio::spawn(async move {
            let carry = async {
                let (client, instance) = tokio::try_join!(client, instance)?;
                let (mut client, mut instance) = (TokioIo::new(client), TokioIo::new(instance));
                // A broken connection is the normal end of a tunnel.
                let _ = tokio::io::copy_bidirectional(&mut client, &mut instance).await;
                Ok::<_, hyper::Error>(())
            };
            let ended = async {
                match &side {
                    Some(side) => side.ended.cancelled().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = entry.live().closing.cancelled() => {}
                () = ended => {}
                _ = carry => {}
            }
        });
        Ok(response.map(|_| Body::empty()))
    }
}
