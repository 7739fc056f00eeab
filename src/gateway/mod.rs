//! The gateway: forwards a request for an app to the app's instance, and the response back, both as streams.
//!
//! Owns routes, connections to instances, changes of headers, what was seen of requests, and the pages
//! that are shown when an app cannot answer. Independent of containers, sessions and the database.

mod body;
mod headers;
pub mod inject;
mod latency;
mod pages;
mod pool;
mod routes;
mod seen;
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
use routes::{Entry, InFlight};
use seen::Arrived;

pub use latency::Counted;
pub use pages::{Trouble, page, unknown_host};
pub use routes::{Drained, Replaced, RouteState, RouteView, Routes, Upstream};
pub use seen::{REQUESTS_MAX, Seen, SeenReader, SeenRequest};
pub use traffic::{Drain, RouteSwitch, Traffic};
pub use tunnel::ClientSide;

/// Attempts of a request: on a pooled connection, on a new one, and on a replacement of the instance.
const TRIES: usize = 6;
/// Maximum number of requests that wait until running instances are known.
const HELD_MAX: usize = 256;
/// Interval at which idle pooled connections are closed.
const SWEEP_INTERVAL: Duration = Duration::from_secs(15);

/// Settings of the gateway.
#[derive(Debug, Clone)]
pub struct GatewaySettings {
    /// Inject the error-reporting script into pages of previews; see [`inject`].
    pub report_errors: bool,
    /// Timeout of a connection to an instance.
    pub connect: Duration,
    /// Timeout of the response head, counted from the last byte that was sent.
    pub head: Duration,
    /// Maximum wait for an instance right after the builder's start, before running instances are known.
    pub hold: Duration,
    /// Idle timeout of a response body. Tunnels have none.
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

/// The client of a request.
#[derive(Debug, Clone)]
pub struct ClientInfo {
    /// Address of the peer.
    pub ip: IpAddr,
    /// The peer is one of the operator's proxies: its `X-Forwarded-*` headers are trusted.
    pub is_proxy: bool,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The host that the client sent, with its port.
    pub host: HeaderValue,
}

/// Forwards requests to instances.
#[derive(Debug, Clone)]
pub struct Gateway {
    routes: Routes,
    settings: std::sync::Arc<GatewaySettings>,
    held: std::sync::Arc<Semaphore>,
}

impl Gateway {
    /// A gateway with a table of routes.
    pub fn new(routes: Routes, settings: GatewaySettings) -> Self {
        Self { routes, settings: settings.into(), held: Semaphore::new(HELD_MAX).into() }
    }

    /// The routes, which callers may change.
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Closes idle pooled connections while it is polled.
    pub async fn sweep_connections(&self) {
        loop {
            tokio::time::sleep(SWEEP_INTERVAL).await;
            self.routes.sweep_pools();
        }
    }

    /// Answers a request for an app: with its instance's response, or with a page that explains the problem.
    pub async fn handle(
        &self,
        app: &AppName,
        environment: Environment,
        client: &ClientInfo,
        mut request: Request<Body>,
    ) -> Response<Body> {
        let arrived = Arrived::new(request.method(), request.uri());
        let accept = request.headers().get(axum::http::header::ACCEPT).cloned();
        let reports = self.settings.report_errors
            && environment == Environment::Preview
            && inject::opens_page(request.method(), request.headers());
        let answer = match self.enter_soon(app, environment).await {
            Ok(_) if request.method() == Method::CONNECT => Err(Trouble::NoProxy),
            Ok(entry) => {
                let upgrade = headers::upgrade_of(&request);
                headers::prepare_request(&mut request, client, upgrade.as_ref());
                if reports {
                    inject::ask_plain(request.headers_mut());
                }
                match upgrade {
                    Some(protocol) => self.tunnel(app, environment, entry, protocol, request).await,
                    None => self.forward(app, environment, entry, request).await,
                }
            }
            Err(trouble) => Err(trouble),
        };
        let response = match answer {
            Ok(mut response) => {
                headers::prepare_response(&mut response, &client.host);
                if reports { inject::into_answer(response) } else { response }
            }
            Err(trouble) => page(trouble, Some((app, environment)), accept.as_ref()),
        };
        self.routes.answered(app, environment, arrived, response.status());
        response
    }

    /// Admits a request. Right after the builder's start it waits until running instances are known, but only for a limited time
    /// and with a limited number of other requests.
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
            Entry::Open(in_flight) => Ok(in_flight),
            Entry::Starting => Err(Trouble::Starting),
            Entry::Stopped => Err(Trouble::Stopped),
            Entry::Unknown => Err(Trouble::Unknown),
        }
    }

    /// The instance that has replaced `before`, if any.
    fn replacement(&self, app: &AppName, environment: Environment, before: &InFlight) -> Option<InFlight> {
        self.enter(app, environment).ok().filter(|now| !now.is_same(before))
    }

    async fn forward(
        &self,
        app: &AppName,
        environment: Environment,
        mut entry: InFlight,
        request: Request<Body>,
    ) -> Result<Response<Body>, Trouble> {
        let (mut request, upload) = upload::watched(request);
        // Kept to send the request again, if it is idempotent.
        let replay = (upload.is_none() && is_repeatable(request.method())).then(|| copy_of(&request));
        let mut fresh_only = false;
        for _ in 0..TRIES {
            let instance = entry.live().clone();
            let Some(unanswered) = instance.wait_for_answer() else { return Err(Trouble::Overloaded) };
            let kept = if fresh_only { None } else { instance.pool.checkout(replay.is_some()).await };
            let is_kept = kept.is_some();
            let connection = match kept {
                Some(connection) => connection,
                None => match Connection::open(entry.live().address(), self.settings.connect).await {
                    Ok(connection) => connection,
                    Err(trouble) => match self.replacement(app, environment, &entry) {
                        Some(next) => {
                            entry = next;
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
                        // An upgrade that was not requested.
                        return Err(Trouble::Failed);
                    }
                    return Ok(body::answer(response, connection, entry, self.settings.idle).await);
                }
                Err(SendError::TimedOut) => return Err(Trouble::TimedOut),
                Err(SendError::Unsent(unsent)) => request = *unsent,
                Err(SendError::Broken) => {
                    let next = self.replacement(app, environment, &entry);
                    match &replay {
                        // Apps close idle connections at any time, possibly at this moment.
                        Some(copy) if is_kept || next.is_some() => request = copy_of(copy),
                        _ if upload.is_some_and(|upload| upload.timed_out()) => return Err(Trouble::UploadTimedOut),
                        _ => return Err(Trouble::Failed),
                    }
                    if let Some(next) = next {
                        entry = next;
                    }
                }
            }
            // After one stale connection, the other pooled ones are likely stale too.
            fresh_only = is_kept;
        }
        Err(Trouble::Failed)
    }
}

/// Whether the method is idempotent.
fn is_repeatable(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE | Method::TRACE)
}

/// A copy of the request, which has no body.
fn copy_of(request: &Request<Body>) -> Request<Body> {
    let mut copy = Request::new(Body::empty());
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    copy
}
