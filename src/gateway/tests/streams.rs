//! Tests with long or endless bodies, and with tunnels.

use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::*;
use crate::engine::testing::eventually;

const PIECE: usize = 64 * 1024;
const PIECES: u64 = 1024;

/// 64 MiB, and a counter of the bytes that were read.
fn much() -> (Body, Arc<AtomicU64>) {
    let taken = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&taken);
    let piece = Bytes::from(vec![7; PIECE]);
    let pieces = futures_util::stream::iter(0..PIECES).map(move |_| {
        count.fetch_add(PIECE as u64, Ordering::SeqCst);
        std::io::Result::Ok(piece.clone())
    });
    (Body::from_stream(pieces), taken)
}

/// Waits until a count does not change any more, and returns it.
async fn settled(count: &AtomicU64) -> u64 {
    let last = AtomicU64::new(0);
    let calm = AtomicUsize::new(0);
    eventually("the count stands still", LONG, async || {
        let now = count.load(Ordering::SeqCst);
        let is_same = last.swap(now, Ordering::SeqCst) == now && now > 0;
        if is_same { calm.fetch_add(1, Ordering::SeqCst) + 1 >= 10 } else { calm.swap(0, Ordering::SeqCst) > 10 }
    })
    .await;
    last.load(Ordering::SeqCst)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_are_not_buffered() {
    let front = Front::new().await;
    let go = Arc::new(tokio::sync::Notify::new());
    let wait = Arc::clone(&go);
    let (download, downloaded) = much();
    let download = Arc::new(std::sync::Mutex::new(Some(download)));
    let app = serve(
        Router::new()
            .route(
                "/up",
                axum::routing::post(move |request: Request| async move {
                    wait.notified().await;
                    let mut body = request.into_body().into_data_stream();
                    let mut bytes = 0;
                    while let Some(piece) = body.next().await {
                        bytes += piece.expect("a piece").len();
                    }
                    bytes.to_string()
                }),
            )
            .route("/down", axum::routing::get(async move || download.lock().expect("no panic").take().expect("once"))),
    )
    .await;
    assert!(front.routes.set(&shop(), Prod, app.upstream(1)).is_none());

    let (upload, uploaded) = much();
    let whole = PIECES * PIECE as u64;
    let (response, ()) = tokio::join!(front.send(front.request(Method::POST, "/up", upload)), async {
        let taken = settled(&uploaded).await;
        assert!(taken < whole / 2, "{taken} bytes were taken from the client while the app read none");
        go.notify_one();
    });
    assert_eq!(text(response).await, whole.to_string());

    let response = front.send(front.request(Method::GET, "/down", Body::empty())).await;
    let taken = settled(&downloaded).await;
    assert!(taken < whole / 2, "{taken} bytes were taken from the app while the client read none");
    assert_eq!(text_len(response).await, whole);
    assert_eq!(front.in_flight(), 0);
}

async fn text_len(response: Response<hyper::body::Incoming>) -> u64 {
    let mut body = response.into_body().into_data_stream();
    let mut bytes = 0;
    while let Some(piece) = body.next().await {
        bytes += piece.expect("a piece").len() as u64;
    }
    bytes
}

#[tokio::test]
async fn events_arrive_immediately_and_end_with_the_client() {
    let front = Front::new().await;
    let (sender, receiver) = mpsc::channel::<std::io::Result<&'static str>>(1);
    let receiver = Arc::new(std::sync::Mutex::new(Some(receiver)));
    let app = serve(Router::new().fallback(async move || {
        let receiver = receiver.lock().expect("no panic").take().expect("once");
        ([("content-type", "text/event-stream")], Body::from_stream(ReceiverStream::new(receiver)))
    }))
    .await;
    assert!(front.routes.set(&shop(), Prod, app.upstream(1)).is_none());
    let mut events = front.send(front.request(Method::GET, "/", Body::empty())).await.into_body();
    for word in ["data: one\n\n", "data: two\n\n"] {
        sender.send(Ok(word)).await.expect("a receiver exists");
        let frame = tokio::time::timeout(LONG, events.frame()).await.expect("in time").expect("a frame");
        assert_eq!(frame.expect("a frame").into_data().expect("data"), word);
    }
    assert_eq!(front.in_flight(), 1);
    drop(events);
    // The app notices that the client has disconnected.
    tokio::time::timeout(LONG, sender.closed()).await.expect("in time");
    eventually("nothing is on its way", LONG, async || front.in_flight() == 0).await;
}

#[tokio::test]
async fn an_idle_response_is_cut_off() {
    let settings = GatewaySettings { idle: Duration::from_millis(100), ..GatewaySettings::default() };
    let front = Front::with(settings).await;
    let app = serve(Router::new().fallback(async || {
        Body::from_stream(
            futures_util::stream::iter([std::io::Result::Ok("some")]).chain(futures_util::stream::pending()),
        )
    }))
    .await;
    assert!(front.routes.set(&shop(), Prod, app.upstream(1)).is_none());
    let response = front.send(front.request(Method::GET, "/", Body::empty())).await;
    let whole = tokio::time::timeout(LONG, response.into_body().collect()).await.expect("in time");
    assert!(whole.is_err(), "a cut answer must not look whole");
}

/// An app that upgrades to an echo protocol.
fn echoing() -> Router {
    Router::new().fallback(async |mut request: Request| {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let stream = upgrade.await.expect("the protocol is switched");
            let (mut reader, mut writer) = tokio::io::split(hyper_util::rt::TokioIo::new(stream));
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
        });
        Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-accept", "x")
            .body(Body::empty())
            .expect("a response")
    })
}

/// Opens a tunnel; returns the stream and the head.
async fn tunnel(front: &Front) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(front.address).await.expect("a connection");
    let head = "GET /ws HTTP/1.1\r\nHost: shop.localhost\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Key: k\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("a request");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tokio::time::timeout(LONG, stream.read_u8()).await.expect("in time").expect("a byte"));
    }
    (stream, String::from_utf8(head).expect("text").to_ascii_lowercase())
}

async fn echo(stream: &mut TcpStream, word: &[u8]) {
    stream.write_all(word).await.expect("it is sent");
    let mut back = vec![0; word.len()];
    tokio::time::timeout(LONG, stream.read_exact(&mut back)).await.expect("in time").expect("it comes back");
    assert_eq!(back, word);
}

#[tokio::test]
async fn tunnels_carry_bytes_and_end_at_the_drains_timeout() {
    let front = Front::new().await;
    let app = serve(echoing()).await;
    assert!(front.routes.set(&shop(), Prod, app.upstream(1)).is_none());
    let (mut first, head) = tunnel(&front).await;
    assert!(head.starts_with("http/1.1 101") && head.contains("upgrade: websocket"), "{head}");
    assert!(head.contains("sec-websocket-accept: x"), "{head}");
    echo(&mut first, b"hello").await;
    let (mut second, _) = tunnel(&front).await;
    echo(&mut second, &vec![9; 100_000]).await;
    assert_eq!(front.in_flight(), 2);
    drop(second);
    eventually("a tunnel ends with its client", LONG, async || front.in_flight() == 1).await;

    let next = serve(echoing()).await;
    let replaced = front.routes.set(&shop(), Prod, next.upstream(2)).expect("one was there");
    let mut drained = std::pin::pin!(replaced.drained(Duration::from_millis(300)));
    assert!(futures_util::poll!(drained.as_mut()).is_pending());
    echo(&mut first, b"still here").await;
    assert_eq!(drained.await, Drained { clean: false });
    let end = tokio::time::timeout(LONG, first.read_u8()).await.expect("in time");
    assert!(end.is_err(), "the tunnel is closed");

    // The builder's shutdown closes all of them.
    let (mut third, _) = tunnel(&front).await;
    echo(&mut third, b"new").await;
    front.routes.close();
    assert!(tokio::time::timeout(LONG, third.read_u8()).await.expect("in time").is_err());
}

#[tokio::test]
async fn a_refused_upgrade_is_an_ordinary_response() {
    let front = Front::new().await;
    let app = serve(saying("no tunnel")).await;
    assert!(front.routes.set(&shop(), Prod, app.upstream(1)).is_none());
    let (mut stream, head) = tunnel(&front).await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    let mut body = [0; 9];
    stream.read_exact(&mut body).await.expect("a body");
    assert_eq!(&body, b"no tunnel");
    eventually("nothing is on its way", LONG, async || front.in_flight() == 0).await;
}
