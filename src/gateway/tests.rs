//! Tests of the gateway with real sockets.

mod faults;
mod streams;
mod swap;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::HOST;
use axum::http::{HeaderValue, Response, StatusCode};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::domain::Environment::Prod;
use crate::domain::{HostName, ReleaseNumber};

/// Longer than any wait in these tests.
const LONG: Duration = Duration::from_secs(20);

/// A server that is closed with all its connections when this is dropped.
struct Server {
    address: SocketAddr,
    /// Number of accepted connections.
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    fn upstream(&self, release: u32) -> Upstream {
        Upstream { address: self.address, release: ReleaseNumber(release) }
    }
}

/// Serves `router` on a free port.
async fn serve(router: Router) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let task = tokio::spawn(async move {
        // Dropped with this task, together with every connection.
        let mut open = tokio::task::JoinSet::new();
        loop {
            let Ok((stream, _)) = listener.accept().await else { return };
            count.fetch_add(1, Ordering::SeqCst);
            let service = hyper_util::service::TowerToHyperService::new(router.clone());
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(hyper_util::rt::TokioIo::new(stream), service)
                .with_upgrades();
            open.spawn(async move {
                let _ = connection.await;
            });
            while open.try_join_next().is_some() {}
        }
    });
    Server { address, connections, task }
}

/// The gateway on a port, and a client for it.
struct Front {
    routes: Routes,
    address: SocketAddr,
    client: Client<HttpConnector, Body>,
    _task: tokio_util::task::AbortOnDropHandle<()>,
}

impl Front {
    async fn new() -> Self {
        Self::with(GatewaySettings::default()).await
    }

    async fn with(settings: GatewaySettings) -> Self {
        Self::over(Routes::new(), settings).await
    }

    async fn over(routes: Routes, settings: GatewaySettings) -> Self {
        let gateway = Gateway::new(routes.clone(), settings);
        let pages = Router::new().fallback(front).with_state(gateway);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let task = tokio::spawn(async move {
            let service = pages.into_make_service_with_connect_info::<SocketAddr>();
            let _ = axum::serve(listener, service).await;
        });
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { routes, address, client, _task: tokio_util::task::AbortOnDropHandle::new(task) }
    }

    fn request(&self, method: Method, path: &str, body: Body) -> Request {
        Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address))
            .header(HOST, "shop.localhost")
            .body(body)
            .expect("a request")
    }

    async fn send(&self, request: Request) -> Response<hyper::body::Incoming> {
        tokio::time::timeout(LONG, self.client.request(request)).await.expect("in time").expect("an answer")
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        let response = self.send(self.request(Method::GET, path, Body::empty())).await;
        let status = response.status();
        (status, text(response).await)
    }

    fn in_flight(&self) -> usize {
        self.routes.snapshot().iter().map(|route| route.in_flight).sum()
    }
}

async fn text(response: Response<hyper::body::Incoming>) -> String {
    let body = tokio::time::timeout(LONG, response.into_body().collect()).await.expect("in time").expect("a body");
    String::from_utf8(body.to_bytes().into()).expect("text")
}

async fn front(
    State(gateway): State<Gateway>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response<Body> {
    let host = request.headers()[HOST].clone();
    let Some(HostName::App(app, environment)) = HostName::parse(host.to_str().expect("text"), "localhost") else {
        return unknown_host(host.to_str().expect("text"), None);
    };
    gateway
        .handle(&app, environment, &ClientInfo { ip: peer.ip(), is_proxy: false, scheme: "http", host }, request)
        .await
}

fn shop() -> AppName {
    "shop".parse().expect("a name")
}

/// An app that answers every request with `word`.
fn saying(word: &'static str) -> Router {
    Router::new().fallback(move |request: Request| async move {
        // Reads the request body, like ordinary apps.
        let _ = request.into_body().collect().await;
        word
    })
}

#[tokio::test]
async fn requests_are_seen_with_their_results() {
    let app = serve(Router::new().route("/tide", axum::routing::get(|| async { "high" }))).await;
    let front = Front::new().await;
    assert_eq!(front.get("/early").await.0, StatusCode::NOT_FOUND);
    assert!(front.routes.seen(&shop()).is_none(), "nothing is kept of an unknown app");
    front.routes.set(&shop(), Prod, app.upstream(1));
    front.get("/tide?token=secret").await;
    front.get("/ebb").await;
    let _ = front.routes.set_state(&shop(), Prod, RouteState::Stopped);
    front.get("/tide").await;
    let seen = front.routes.seen(&shop()).expect("it was asked");
    let requests = seen.after(0);
    let said: Vec<_> = requests.iter().map(|request| (&*request.path, request.status.as_u16())).collect();
    assert_eq!(said, [("/tide", 200), ("/ebb", 404), ("/tide", 503)]);
    assert_eq!((seen.counted(Prod).requests(), seen.counted(Prod).errors), (3, 1));
    let _ = front.routes.remove(&shop(), Prod);
    assert!(front.routes.seen(&shop()).is_none(), "it ends with the app's routes");
}
