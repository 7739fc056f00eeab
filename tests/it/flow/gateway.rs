//! The gateway in front of a real app: WebSockets, bodies that stream, what an app is told about
//! its visitor, and the plain pages for apps that are not there.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::builder::{Answer, Builder, send};
use crate::support::engine::docker;
use crate::support::{PATIENCE, eventually};

const SOURCE: &str = r"
from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import StreamingResponse

app = FastAPI()


@app.get('/health')
def health():
    return 'ok'


@app.get('/')
def index():
    return 'here'


@app.get('/told')
def told(request: Request):
    return dict(request.headers)


@app.post('/length')
async def length(request: Request):
    total = 0
    async for piece in request.stream():
        total += len(piece)
    return total


@app.get('/many')
def many():
    return StreamingResponse((b'x' * 65536 for _ in range(256)))


@app.websocket('/echo')
async def echo(socket: WebSocket):
    await socket.accept()
    while True:
        await socket.send_text('echo ' + await socket.receive_text())
";

async fn deployed() -> (Builder, String) {
    let builder = Builder::start().await;
    let app = builder.create("simple-api", "Behind the gateway").await;
    builder.write(&app, "main.py", SOURCE).await;
    builder.preview(&app).await;
    (builder, format!("{app}-preview"))
}

#[tokio::test]
async fn streams_and_upgrades_pass_through() {
    let (builder, host) = deployed().await;
    let url = |path: &str| builder.at(&format!("{host}.localhost"), path);

    // The app gets the visitor's real address, and none of the builder's own cookies.
    let request = builder.http.get(url("/told")).header("X-Forwarded-For", "198.51.100.7");
    let told = send(request.header("Cookie", "slipway_session=abc; theme=dark; flavour=salt")).await.expect(200);
    assert_eq!(told["host"], format!("{host}.localhost:{}", builder.port), "{told:#}");
    assert_eq!(told["x-forwarded-host"], format!("{host}.localhost:{}", builder.port));
    assert_eq!(told["x-forwarded-proto"], "http");
    assert_eq!(told["x-forwarded-for"], "127.0.0.1", "a visitor's own header is not passed on");
    let cookies = told["cookie"].as_str().unwrap_or_default();
    assert!(cookies.contains("flavour=salt") && !cookies.contains("abc"), "{cookies}");

    // Large bodies, both ways.
    let body = vec![7_u8; 24 * 1024 * 1024];
    assert_eq!(send(builder.http.post(url("/length")).body(body)).await.expect(200), 24 * 1024 * 1024);
    assert_eq!(send(builder.http.get(url("/many"))).await.bytes.len(), 256 * 65536);

    // A WebSocket without a library: upgrade, two messages, two echoes.
    let mut socket = TcpStream::connect(("127.0.0.1", builder.port)).await.expect("it listens");
    let upgrade = format!(
        "GET /echo HTTP/1.1\r\nHost: {host}.localhost:{}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        builder.port
    );
    socket.write_all(upgrade.as_bytes()).await.expect("it listens");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.expect("an answer"));
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    for words in ["ahoy", "and farewell"] {
        socket.write_all(&text_frame(words)).await.expect("it is open");
        let answered = tokio::time::timeout(PATIENCE, read_frame(&mut socket)).await.expect("an echo");
        assert_eq!(answered, format!("echo {words}"));
    }
}

/// A short text message from a client, which masks it.
fn text_frame(words: &str) -> Vec<u8> {
    let mask = [1_u8, 2, 3, 4];
    let length = u8::try_from(words.len()).expect("a short message");
    let masked = words.bytes().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    [0x81, 0x80 | length].into_iter().chain(mask).chain(masked).collect()
}

async fn read_frame(socket: &mut TcpStream) -> String {
    let (kind, length) = (socket.read_u8().await.expect("a frame"), socket.read_u8().await.expect("its length"));
    assert_eq!((kind, length & 0x80), (0x81, 0), "a whole text, not masked");
    let mut text = vec![0; usize::from(length)];
    socket.read_exact(&mut text).await.expect("its words");
    String::from_utf8(text).expect("text")
}

/// The page in a browser.
async fn as_browser(builder: &Builder, host: &str) -> Answer {
    let request = builder.http.get(builder.at(&format!("{host}.localhost"), "/"));
    send(request.header("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")).await
}

#[tokio::test]
async fn an_app_that_stops_is_shown_as_stopped_and_comes_back() {
    let (builder, host) = deployed().await;
    let name = host.trim_end_matches("-preview").to_owned();
    let container = builder.installation().containers()[0].id.clone();
    let state = async || builder.app(&name).await["environments"]["preview"]["state"].clone();
    docker(&["stop", "--time", "5", &container]).expect("it stops");
    eventually("it is shown as stopped", PATIENCE, || async { (state().await == "stopped").then_some(()) }).await;
    let page = as_browser(&builder, &host).await;
    assert!(matches!(page.status.as_u16(), 502..=504), "{}", page.status);
    assert!(page.header("content-type").starts_with("text/html"), "a plain page says so: {}", page.text());
    assert!(page.text().contains(&name), "{}", page.text());
    docker(&["start", &container]).expect("it starts");
    eventually("it is back", PATIENCE, || async {
        (state().await == "ready" && builder.open(&host, "/").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn unknown_hosts_are_not_served() {
    let builder = Builder::start().await;
    for host in ["nobody-here", "nobody-here-preview", "nobody-here-draft", "deep.er"] {
        let page = as_browser(&builder, host).await;
        assert_eq!(page.status, 404, "{host}");
        assert!(page.header("content-type").starts_with("text/html"), "{host}");
    }
    let foreign = builder.http.get(format!("http://127.0.0.1:{}/api/v1/apps", builder.port));
    let answer = send(foreign.header("Host", "evil.example")).await;
    assert!(answer.status.is_client_error(), "{}", answer.status);
    // A foreign page, or a page of an app, that sends a changing request to the builder.
    for origin in ["http://evil.example", &builder.at("some-app.localhost", "")] {
        let request = builder.request(reqwest::Method::POST, "/apps").header("Origin", origin);
        let answer = send(request.json(&json!({"description": "x", "template": "static-site"}))).await;
        assert_eq!(answer.status, 403, "{origin}: {}", answer.text());
    }
    assert_eq!(builder.get("/apps").await.expect(200)["apps"], json!([]));
}

#[tokio::test]
async fn visitors_do_not_notice_a_restart_of_the_builder() {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    const VISITORS: usize = 3;
    let mut builder = Builder::start().await;
    let app = builder.create("static-site", "Always open").await;
    builder.preview(&app).await;
    let url = builder.at(&format!("{app}-preview.localhost"), "/");
    let ends = std::sync::Arc::new(AtomicBool::new(false));
    let answers = std::sync::Arc::new([const { AtomicUsize::new(0) }; VISITORS]);
    let visitor = |number: usize| {
        let (url, ends, answers) = (url.clone(), ends.clone(), answers.clone());
        let http = crate::support::builder::client();
        tokio::spawn(async move {
            let mut other = Vec::new();
            while !ends.load(Ordering::Relaxed) {
                // Without a builder there is no response; every response is a success.
                match http.get(&url).header("Connection", "close").send().await {
                    Ok(answer) if answer.status() == 200 => {
                        answers[number].fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(answer) => other.push(answer.status()),
                    Err(_) => tokio::time::sleep(std::time::Duration::from_micros(300)).await,
                }
            }
            other
        })
    };
    let visitors: Vec<_> = (0..VISITORS).map(visitor).collect();
    let count = || answers.each_ref().map(|count| count.load(Ordering::Relaxed));
    for _ in 0..4 {
        let before = count();
        builder.restart().await;
        eventually("every visitor is answered again", PATIENCE, || {
            let all = count().iter().zip(before).all(|(now, before)| *now > before + 1);
            std::future::ready(all.then_some(()))
        })
        .await;
    }
    ends.store(true, Ordering::Relaxed);
    for visitor in visitors {
        let other = visitor.await.expect("no panic");
        assert!(other.is_empty(), "{other:?}");
    }
}
