//! Deadlines of the listener, in front of an app with endless responses.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use slipway::domain::{Environment, ReleaseNumber};
use slipway::gateway::Upstream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::asking::{Bench, PATIENCE};

/// An app that streams endlessly, counts received bytes, sends one event and stops, or upgrades the protocol.
async fn app() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(talk(stream));
        }
    });
    address
}

async fn talk(mut stream: TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    if head.starts_with("get /endless") {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
        loop {
            stream.write_all(&[b'a'; 16384]).await?;
        }
    }
    if head.starts_with("get /events") {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n").await?;
        return std::future::pending().await;
    }
    if head.starts_with("get /socket") {
        stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n").await?;
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await?;
        return Ok(());
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
    let mut body = vec![0; length.trim().parse().expect("a number")];
    stream.read_exact(&mut body).await?;
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\ntaken").await
}

/// A builder that gives its clients two seconds, with that app at `ducks.localhost`.
async fn front() -> (Bench, SocketAddr) {
    let bench = Bench::with(&[("SLIPWAY_CLIENT_TIMEOUT_SECONDS", "2")]).await;
    let upstream = Upstream { address: app().await, release: ReleaseNumber(1) };
    bench.services.gateway().routes().set(&"ducks".parse().expect("a name"), Environment::Prod, upstream);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(slipway::server::serve(listener, bench.app.clone(), bench.lifecycle()));
    (bench, address)
}

/// Sends the head of a request for the app.
async fn ask(address: SocketAddr, head: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let head = head.replace('\n', "\r\n");
    stream.write_all(format!("{head}\r\nHost: ducks.localhost\r\n\r\n").as_bytes()).await.expect("sent");
    stream
}

async fn line(stream: &mut TcpStream) -> String {
    let mut line = String::new();
    while !line.ends_with('\n') {
        line.push(char::from(stream.read_u8().await.expect("more of the answer")));
    }
    line
}

#[tokio::test]
async fn only_clients_that_make_no_progress_are_disconnected() {
    let (_bench, address) = front().await;
    // Those that read nothing. What the system has buffered can be read until the connection is gone.
    let mut silent = JoinSet::new();
    for _ in 0..20 {
        let mut stream = ask(address, "GET /endless HTTP/1.1").await;
        silent.spawn(async move {
            // Nothing is read until the other side has given up, which shows as an error on the socket.
            while stream.take_error().expect("a socket").is_none() {
                if stream.write_all(b"\r\n").await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            drop(stream.read_u8().await);
        });
    }
    // One that reads slowly, but reads.
    let mut slow = ask(address, "GET /endless HTTP/1.1").await;
    // Streams and tunnels that have nothing to say.
    let mut events = ask(address, "GET /events HTTP/1.1").await;
    while line(&mut events).await.trim() != "data: 1" {}
    // The end of the event, and that of its chunk.
    assert_eq!(line(&mut events).await + &line(&mut events).await, "\n\r\n");
    let mut tunnel = ask(address, "GET /socket HTTP/1.1\nConnection: upgrade\nUpgrade: echo").await;
    assert!(line(&mut tunnel).await.contains("101"));
    while !line(&mut tunnel).await.trim().is_empty() {}
    // An upload that is slow, and one that stops.
    let mut upload = ask(address, "POST /take HTTP/1.1\nContent-Length: 15000\nConnection: close").await;
    let mut stops = ask(address, "POST /take HTTP/1.1\nContent-Length: 15000\nConnection: close").await;
    stops.write_all(&[b'a'; 10_000]).await.expect("sent");
    let mut drip = ask(address, "POST /take HTTP/1.1\nContent-Length: 15000\nConnection: close").await;

    let mut chunk = vec![0; 64 * 1024];
    for _ in 0..15 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        upload.write_all(&[b'a'; 1000]).await.expect("sent");
        // Five bytes a second are too few. That it was ended is seen below.
        let _ = drip.write_all(b"a").await;
        slow.read_exact(&mut chunk).await.expect("an answer without end");
    }
    let mut answer = String::new();
    upload.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("taken"), "{answer}");
    for mut late in [stops, drip] {
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, late.read_to_end(&mut answer)).await.expect("an end");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
    tokio::time::timeout(PATIENCE, async { while silent.join_next().await.is_some() {} }).await.expect("all ended");
    tunnel.write_all(b"still there\n").await.expect("sent");
    assert_eq!(line(&mut tunnel).await, "still there\n");
    let more = tokio::time::timeout(Duration::from_millis(50), events.read_u8()).await;
    assert!(more.is_err(), "the stream of events is still open: {more:?}");
}

#[tokio::test]
async fn heads_and_login_forms_have_a_size_limit() {
    let (_bench, address) = front().await;
    for (length, status) in [(60_000, "200"), (70_000, "431")] {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        let head = format!(
            "GET /healthz HTTP/1.1\r\nHost: builder.localhost\r\nConnection: close\r\nX-Large: {}\r\n\r\n",
            "a".repeat(length)
        );
        // Refused before it is whole: what is not taken any more may fail to be sent.
        let _ = stream.write_all(head.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an answer");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{length}: {answer}");
    }
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let login = format!(
        "POST /login HTTP/1.1\r\nHost: builder.localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: 2000000\r\n\r\npassword={}",
        "a".repeat(6000)
    );
    stream.write_all(login.as_bytes()).await.expect("sent");
    assert!(line(&mut stream).await.contains(" 413 "), "a login is refused before all of it is there");
}
