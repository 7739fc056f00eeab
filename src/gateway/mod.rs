//! The gateway: which app a request is for is decided before; here it is handed to the app's
//! instance, and the answer back, both as streams.
//!
//! Owns routes, connections to instances, what is added to and taken from headers, and the pages
//! shown when an app cannot answer. Knows nothing of containers, sessions or the database.

mod body;
mod headers;
pub mod inject;
mod pages;
mod pool;
mod routes;
#[cfg(test)]
mod tests;
mod traffic;
mod tunnel;
mod upload;

use std::net::IpAddr;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, Response, StatusCode};

use tokio::sync::Semaphore;

use crate::domain::{AppName, Environment};
use pool::{Connection, SendError};
use routes::{Door, InFlight};

pub use pages::{Trouble, page, unknown_host};
pub use routes::{Drained, Replaced, RouteState, RouteView, Routes, Upstream};
pub use traffic::{Drain, RouteSwitch, Traffic};
pub use tunnel::ClientSide;

/// How often a request is tried: on a kept connection, on a new one, and on what replaced the instance.
const TRIES: usize = 6;
/// Requests that wait at once for what runs to be known.
const HELD_MAX: usize = 256;
/// How often kept connections that nobody uses are closed.
const SWEEP_INTERVAL: Duration = Duration::from_secs(15);

/// How the gateway behaves.
#[derive(Debug, Clone)]
pub struct GatewaySettings {
    /// Have pages of previews report their errors; see [`inject`].
    pub report_errors: bool,
    /// Longest wait for a connection to an instance.
    pub connect: Duration,
    /// Longest wait for the head of an answer, counted from the last byte that was sent.
    pub head: Duration,
    /// Longest wait for an instance that may be found at any moment, right after the builder's own start.
    pub hold: Duration,
    /// Longest silence within an answer's body. Tunnels may be silent for as long as they like.
    pub idle: Duration,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            report_errors: false,
            connect: Duration::from_secs(2),
            head: Duration::from_mins(1),
            hold: Duration::from_secs(2),
            idle: Duration::from_mins(15),
        }
    }
}

/// Who asks.
#[derive(Debug, Clone)]
pub struct ClientInfo {
    /// Address of the peer.
    pub ip: IpAddr,
    /// The peer is a proxy of the operator's: its `X-Forwarded-*` are believed.
    pub is_proxy: bool,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The host as the client wrote it, port included.
    pub host: HeaderValue,
}

/// Hands requests to instances.
#[derive(Debug, Clone)]
pub struct Gateway {
    routes: Routes,
    settings: std::sync::Arc<GatewaySettings>,
    held: std::sync::Arc<Semaphore>,
}

impl Gateway {
    /// A gateway over a table of routes.
    pub fn new(routes: Routes, settings: GatewaySettings) -> Self {
        Self { routes, settings: settings.into(), held: Semaphore::new(HELD_MAX).into() }
    }

    /// The routes, which are the caller's to change.
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Closes kept connections that nobody uses, for as long as it is polled.
    pub async fn sweep_connections(&self) {
        loop {
            tokio::time::sleep(SWEEP_INTERVAL).await;
            self.routes.sweep_pools();
        }
    }

    /// Answers a request for an app: by its instance, or by a page that says why not.
    pub async fn handle(
        &self,
        app: &AppName,
        environment: Environment,
        client: &ClientInfo,
        mut request: Request<Body>,
    ) -> Response<Body> {
        let accept = request.headers().get(axum::http::header::ACCEPT).cloned();
        let reports = self.settings.report_errors
            && environment == Environment::Preview
            && inject::opens_page(request.method(), request.headers());
        let answer = match self.enter_soon(app, environment).await {
            Ok(_) if request.method() == Method::CONNECT => Err(Trouble::NoProxy),
            Ok(door) => {
                let upgrade = headers::upgrade_of(&request);
                headers::prepare_request(&mut request, client, upgrade.as_ref());
                if reports {
                    inject::ask_plain(request.headers_mut());
                }
                match upgrade {
                    Some(protocol) => self.tunnel(app, environment, door, protocol, request).await,
                    None => self.forward(app, environment, door, request).await,
                }
            }
            Err(trouble) => Err(trouble),
        };
        match answer {
            Ok(mut response) => {
                headers::prepare_response(&mut response, &client.host);
                if reports { inject::into_answer(response) } else { response }
            }
            Err(trouble) => page(trouble, Some((app, environment)), accept.as_ref()),
        }
    }

    /// Lets a request in. Right after the builder's start it waits until it is known what runs, but not for long, and
    /// only where few others wait.
    async fn enter_soon(&self, app: &AppName, environment: Environment) -> Result<InFlight, Trouble> {
        match self.enter(app, environment) {
            Err(Trouble::Starting | Trouble::Stopped) if let Ok(_held) = self.held.try_acquire() => {
                let _ = tokio::time::timeout(self.settings.hold, self.routes.found(app, environment)).await;
                self.enter(app, environment)
            }
            other => other,
        }
    }

    fn enter(&self, app: &AppName, environment: Environment) -> Result<InFlight, Trouble> {
        match self.routes.enter(app, environment) {
            Door::Open(in_flight) => Ok(in_flight),
            Door::Starting => Err(Trouble::Starting),
            Door::Stopped => Err(Trouble::Stopped),
            Door::Unknown => Err(Trouble::Unknown),
        }
    }

    /// Looks whether another instance has taken over since `before` was entered.
    fn replacement(&self, app: &AppName, environment: Environment, before: &InFlight) -> Option<InFlight> {
        self.enter(app, environment).ok().filter(|now| !now.is_same(before))
    }

    async fn forward(
        &self,
        app: &AppName,
        environment: Environment,
        mut door: InFlight,
        request: Request<Body>,
    ) -> Result<Response<Body>, Trouble> {
        let (mut request, upload) = upload::watched(request);
        // Kept so that the request can be sent once more, where sending it twice does no harm.
        let replay = (upload.is_none() && is_repeatable(request.method())).then(|| copy_of(&request));
        let mut fresh_only = false;
        for _ in 0..TRIES {
            let instance = door.live().clone();
            let Some(unanswered) = instance.wait_for_answer() else { return Err(Trouble::Overloaded) };
            let kept = if fresh_only { None } else { instance.pool.checkout(replay.is_some()).await };
            let is_kept = kept.is_some();
            let connection = match kept {
                Some(connection) => connection,
                None => match Connection::open(door.live().address(), self.settings.connect).await {
                    Ok(connection) => connection,
                    Err(trouble) => match self.replacement(app, environment, &door) {
                        Some(next) => {
                            door = next;
                            continue;
                        }
                        None => return Err(trouble),
                    },
                },
            };
            let sent = connection.send(request, self.settings.head, upload.as_deref()).await;
            drop(unanswered);
            match sent {
                Ok((response, connection)) => {
                    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                        // Nobody asked for that.
                        return Err(Trouble::Failed);
                    }
                    return Ok(body::answer(response, connection, door, self.settings.idle).await);
                }
                Err(SendError::TimedOut) => return Err(Trouble::TimedOut),
                Err(SendError::Unsent(unsent)) => request = *unsent,
                Err(SendError::Broken) => {
                    let next = self.replacement(app, environment, &door);
                    match &replay {
                        // Kept connections are closed by apps whenever they like, also at this very moment.
                        Some(copy) if is_kept || next.is_some() => request = copy_of(copy),
                        _ if upload.is_some_and(|upload| upload.timed_out()) => return Err(Trouble::UploadTimedOut),
                        _ => return Err(Trouble::Failed),
                    }
                    if let Some(next) = next {
                        door = next;
                    }
                }
            }
            // One stale connection is enough: the others that were kept are likely no better.
            fresh_only = is_kept;
        }
        Err(Trouble::Failed)
    }
}

/// Whether the method may be repeated without asking.
fn is_repeatable(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE | Method::TRACE)
}

/// The same request again; it has no body.
fn copy_of(request: &Request<Body>) -> Request<Body> {
    let mut copy = Request::new(Body::empty());
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    copy
}
