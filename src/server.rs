//! The one listener: decides by host who answers, before anything else is looked at, and serves
//! connections until the builder stops.
//!
//! Owns the split between the builder, apps and drafts, and the life of connections: who may open
//! one, how much memory and time it gets ([`listener`], [`connections`]). Knows nothing of what pages, calls and
//! apps do with a request.

mod bodies;
mod connections;
mod draft;
mod entry;
mod large_head;
mod listener;
mod reports;
mod slot;
mod transport;
mod webhook_calls;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, StatusCode};
use axum::response::Response;
use tower::{Service, ServiceExt};

use crate::browser_errors::Place;
use crate::domain::{Environment, HostName};
use crate::gateway::ClientInfo;
use crate::guard::{self, ClientIp, OwnHosts, Proxies, plain_page, requested_host};
use crate::services::Services;
use crate::services::preview_access::place_of;

pub use listener::{listen, serve};

/// Answers every request that reaches the listener. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Inner>);

struct Inner {
    services: Services,
    hosts: OwnHosts,
    proxies: Proxies,
    /// `http` or `https`, as links are written.
    scheme: &'static str,
    builder: Router,
    /// Answers at hosts that are not ours.
    probes: Router,
}

/// The builder's own host with pages and API behind the guard, and apps and drafts beside it.
/// `pages` brings the answer to addresses that are none.
pub fn app(services: Services, pages: Router) -> App {
    let probes = crate::api::probes(services.clone());
    let own = crate::api::router(services.clone()).merge(pages);
    App(Arc::new(Inner {
        hosts: OwnHosts::new(services.config()),
        proxies: Proxies::new(&services.config().trusted_proxies),
        scheme: if guard::is_https(&services) { "https" } else { "http" },
        builder: guard::protect(own, services.clone()),
        probes,
        services,
    }))
}

impl App {
    fn is_https(&self) -> bool {
        guard::is_https(&self.0.services)
    }

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
        if let Some(answer) = guard::cookies_too_large(&parts, &host, self.is_https()) {
            return answer;
        }
        if parts.method == Method::CONNECT {
            return plain_page(StatusCode::METHOD_NOT_ALLOWED, "This is not a proxy", &["CONNECT is not supported."]);
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
                let ip = ClientIp::of_socket(&parts.extensions).0;
                let is_proxy = self.0.proxies.contains(ip);
                let client = ClientInfo { ip, is_proxy, scheme: self.0.scheme, host };
                let visitor = self.0.proxies.client(ClientIp(ip), &parts.headers).0;
                let is_call = webhook_calls::may_be_call(&parts);
                let request = Request::from_parts(parts, body);
                let services = &self.0.services;
                let answer = |request| services.gateway().handle(&app, environment, &client, request);
                if is_call {
                    webhook_calls::recorded(services, &app, environment, visitor, request, answer).await
                } else {
                    answer(request).await
                }
            }
            Some(HostName::Draft(app)) => draft::answer(&self.0.services, &app, &parts).await,
            // Requests by address get only the state of the builder, without details.
            None if matches!(parts.uri.path(), "/healthz" | "/readyz") => {
                let request = Request::from_parts(parts, body);
                self.0.probes.clone().oneshot(request).await.unwrap_or_else(|never| match never {})
            }
            None => self.unknown(&host),
        }
    }

    fn unknown(&self, host: &str) -> Response {
        let builder = self.0.services.url(&HostName::Builder);
        let sentences = [
            format!("There is no app at {host} on this server."),
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
