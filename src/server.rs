//! The one listener: decides by host who answers, before anything else is looked at, and serves
//! connections until the builder stops.
//!
//! Owns the split between the builder, apps and drafts, and the life of connections. Knows nothing
//! of what pages, calls and apps do with a request.

mod draft;
mod entry;
mod reports;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderValue, Method, Request, StatusCode};
use axum::response::Response;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tower::{Service, ServiceExt};

use crate::browser_errors::Place;
use crate::domain::{Environment, HostName};
use crate::gateway::ClientInfo;
use crate::guard::{self, ClientIp, OwnHosts, plain_page, requested_host};
use crate::lifecycle::Lifecycle;
use crate::services::Services;
use crate::services::preview_access::place_of;

/// How long a client may take to send a request's headers, or may be silent between two requests.
const HEADER_TIMEOUT: Duration = Duration::from_mins(1);
/// After accepting failed, most likely for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers every request that reaches the listener. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Inner>);

struct Inner {
    services: Services,
    hosts: OwnHosts,
    /// `http` or `https`, as links are written.
    scheme: &'static str,
    builder: Router,
}

/// The builder's own host with pages and API behind the guard, and apps and drafts beside it.
/// `pages` brings the answer to addresses that are none.
pub fn app(services: Services, pages: Router) -> App {
    let own = crate::api::router(services.clone()).merge(pages);
    App(Arc::new(Inner {
        hosts: OwnHosts::new(services.config()),
        scheme: if guard::is_https(&services) { "https" } else { "http" },
        builder: guard::protect(own, services.clone()),
        services,
    }))
}

impl App {
    /// Answers one request.
    pub async fn answer(&self, request: Request<Body>) -> Response {
        let (parts, body) = request.into_parts();
        let (found, host) = match requested_host(&parts) {
            Ok(host) => (self.0.hosts.find(host), host.to_owned()),
            Err(error) => {
                let sentences = [&error.to_string(), "This is a Slipway server: it answers to names of its own only."];
                return plain_page(StatusCode::BAD_REQUEST, "This request cannot be read", &sentences);
            }
        };
        if parts.method == Method::CONNECT {
            return plain_page(StatusCode::METHOD_NOT_ALLOWED, "This is no proxy", &["CONNECT is not answered here."]);
        }
        if let Some((app, place)) = found.as_ref().and_then(place_of)
            && let Some(response) = entry::answer(&self.0.services, app, place, &parts).await
        {
            return response;
        }
        match found {
            Some(HostName::Builder) => {
                let request = Request::from_parts(parts, body);
                self.0.builder.clone().oneshot(request).await.unwrap_or_else(|never| match never {})
            }
            Some(HostName::App(app, Environment::Preview))
                if reports::is_ours(parts.uri.path()) && self.0.services.collects_browser_errors(Place::Preview) =>
            {
                reports::answer(&self.0.services, &app, Place::Preview, Request::from_parts(parts, body)).await
            }
            Some(HostName::Draft(app)) if reports::is_ours(parts.uri.path()) => {
                reports::answer(&self.0.services, &app, Place::Draft, Request::from_parts(parts, body)).await
            }
            Some(HostName::App(app, environment)) => {
                let host = HeaderValue::try_from(host).unwrap_or(HeaderValue::from_static(""));
                let client = ClientInfo { ip: ClientIp::of_socket(&parts.extensions).0, scheme: self.0.scheme, host };
                let request = Request::from_parts(parts, body);
                self.0.services.gateway().handle(&app, environment, &client, request).await
            }
            Some(HostName::Draft(app)) => draft::answer(&self.0.services, &app, &parts).await,
            None => self.unknown(&host),
        }
    }

    fn unknown(&self, host: &str) -> Response {
        let builder = self.0.services.url(&HostName::Builder);
        let sentences = [
            format!("Nothing on this server is called {host}."),
            format!("Slipway is at {builder}; apps are at names that end in .{}.", self.0.services.apps_domain()),
        ];
        plain_page(StatusCode::NOT_FOUND, "There is nothing here", &sentences.each_ref().map(String::as_str))
    }
}

impl Service<Request<Body>> for App {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let app = self.clone();
        Box::pin(async move { Ok(app.answer(request).await) })
    }
}

/// Serves connections until the builder is to stop. Answers in hand then come to their end, streams
/// of events end by themselves, and what is left is cut off when the grace period is over. Ends as
/// soon as no new connections are taken; those that are open are among the lifecycle's tasks.
pub async fn serve(listener: TcpListener, app: App, lifecycle: Lifecycle) -> std::io::Result<()> {
    loop {
        let accepted = tokio::select! {
            () = lifecycle.draining.cancelled() => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                lifecycle.tasks.spawn(connection(stream, peer, app.clone(), lifecycle.clone()));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot take connections at this moment");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The client went away before we came to it.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused)
}

async fn connection(stream: TcpStream, peer: SocketAddr, app: App, lifecycle: Lifecycle) {
    // An event is one small write, and is to leave at once.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection was gone at once");
        return;
    }
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let app = app.clone();
        async move {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            Ok::<_, Infallible>(app.answer(request).await)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = lifecycle.draining.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection => ended,
                () = lifecycle.aborting.cancelled() => return,
            }
        }
    };
    if let Err(error) = ended {
        // Clients go away in the middle of everything.
        tracing::debug!(%error, %peer, "a connection ended early");
    }
}
