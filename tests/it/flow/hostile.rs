//! Strangers who open connections and keep the builder waiting, while a user works with it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::support::PATIENCE;
use crate::support::builder::{Builder, send};

const PASSWORD: &str = "correct horse";
/// Addresses that strangers come from, and how often each does each thing.
const STRANGERS: u8 = 12;
const EACH: usize = 25;

/// A connection from an address of our choice.
async fn connect(from: Ipv4Addr, port: u16) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((from, 0)))?;
    socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await
}

/// The bytes that each kind of stranger sends before it stops.
fn openings(host: &str) -> Vec<Vec<u8>> {
    let login = |length: usize, sent: usize| {
        let head = format!(
            "POST /login HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {length}\r\n\r\npassword="
        );
        [head.into_bytes(), vec![b'a'; sent]].concat()
    };
    vec![
        Vec::new(),
        format!("GET / HTTP/1.1\r\nHost: {host}\r\nX-Slow: ").into_bytes(),
        [format!("GET / HTTP/1.1\r\nHost: {host}\r\nX-Large: ").into_bytes(), vec![b'a'; 60_000]].concat(),
        login(100, 10),
        login(2_000_000, 100_000),
    ]
}

/// A stranger: sends its opening and waits until the builder ends the connection.
async fn stranger(from: Ipv4Addr, port: u16, opening: Vec<u8>, beginning: Arc<Semaphore>) {
    let begins = beginning.acquire().await;
    // Refused or ended in the middle of it: that is an end as well.
    let Ok(mut stream) = connect(from, port).await else { return };
    if stream.write_all(&opening).await.is_err() {
        return;
    }
    drop(begins);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_are_disconnected_while_pages_are_answered() {
    let builder =
        Builder::start_with_few_files(&[("SLIPWAY_ADMIN_PASSWORD", PASSWORD), ("SLIPWAY_CLIENT_TIMEOUT_SECONDS", "3")])
            .await;
    let port = builder.port;
    let host = format!("builder.localhost:{port}");
    let files = std::fs::read_to_string(format!("/proc/{}/limits", builder.pid())).expect("it runs");
    let files = files.lines().find(|line| line.starts_with("Max open files")).expect("a limit").to_owned();
    let numbers: Vec<&str> = files.split_whitespace().skip(3).take(2).collect();
    assert_eq!(numbers[0], numbers[1], "the limit on open files is raised: {files}");

    let mut strangers = JoinSet::new();
    // Not all in one instant: on a busy machine this test itself would send their openings too late.
    let beginning = Arc::new(Semaphore::new(16));
    for number in 1..=STRANGERS {
        let from = Ipv4Addr::new(127, 1, 0, number);
        for opening in openings(&host) {
            for _ in 0..EACH {
                strangers.spawn(stranger(from, port, opening.clone(), beginning.clone()));
            }
        }
    }
    // Somebody logs in meanwhile, from elsewhere, and opens pages over new connections. `scripts/bench hostile` says how
    // long a page takes.
    let owner = Ipv4Addr::new(127, 2, 0, 1);
    let mut session = None;
    for page in 0..20 {
        let client = crate::support::builder::client_from(owner);
        match &session {
            None => {
                let form = client.post(builder.at("builder.localhost", "/login"));
                let form = form.header("content-type", "application/x-www-form-urlencoded");
                let answer = send(form.body(format!("password={}", PASSWORD.replace(' ', "+")))).await;
                assert_eq!(answer.status, 303, "page {page}: {}", answer.text());
                session = answer.header("set-cookie").split(';').next().map(str::to_owned);
            }
            Some(cookie) => {
                for path in ["/", "/settings"] {
                    let answer = send(client.get(builder.at("builder.localhost", path)).header("cookie", cookie)).await;
                    assert_eq!(answer.status, 200, "page {page}: {}", answer.text());
                }
            }
        }
    }
    let left = tokio::time::timeout(PATIENCE, async { while strangers.join_next().await.is_some() {} });
    assert!(left.await.is_ok(), "{} connections of strangers are still open", strangers.len());
}
