//! A browser beside thousands of clients that open connections and keep the builder waiting.
//!
//! All on this machine; the clients come from some hundred addresses of 127.0.0.0/8. Whoever is ended
//! comes again after a while, until the time is over.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::home::at_rest;
use super::report::{Bound, Report, Samples, say};
use super::support::builder::{Builder, client_from, send};

const PASSWORD: &str = "correct horse";
/// Clients of each kind at once, and the addresses that they share.
const CLIENTS: usize = 2000;
const ADDRESSES: usize = 100;
/// How long all of them are there.
const ATTACK: Duration = Duration::from_secs(40);
/// How long a disconnected client waits before it reconnects.
const AWAY: Duration = Duration::from_secs(10);
/// Between two bytes of a slow client.
const DRIP: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Idle,
    SlowHead,
    LargeHead,
    SlowBody,
    Login,
    Reader,
}

const KINDS: [Kind; 6] = [Kind::Idle, Kind::SlowHead, Kind::LargeHead, Kind::SlowBody, Kind::Login, Kind::Reader];

/// What all clients share.
struct Scene {
    port: u16,
    app: String,
    over: AtomicBool,
    open: AtomicUsize,
    opened: AtomicUsize,
}

pub async fn measure(report: &mut Report) {
    slipway::file_limit::raise();
    let mut builder = Builder::start_with_few_files(&[]).await;
    let app = builder.create("simple-api", "Speaks without end").await;
    builder
        .write(
            &app,
            "main.py",
            "from fastapi import FastAPI, Request\nfrom fastapi.responses import StreamingResponse\napp = FastAPI()\n\
             @app.get('/health')\ndef health():\n    return 'ok'\n\
             @app.get('/endless')\ndef endless(request: Request):\n    async def words():\n        \
             # Else it would never end after its client has gone, and log a warning for each write.\n        \
             while not await request.is_disconnected():\n            yield b'a' * 16384\n    \
             return StreamingResponse(words())\n",
        )
        .await;
    builder.preview(&app).await;
    builder.publish(&app).await;
    // With a password, as where strangers can reach it.
    builder.restart_with(&[("SLIPWAY_ADMIN_PASSWORD", PASSWORD)]).await;

    let owner = Ipv4Addr::new(127, 7, 0, 1);
    let cookie = log_in(&builder, owner).await;
    let mut quiet = Pages::default();
    browse(&builder, owner, &cookie, &app, &mut quiet, Duration::from_secs(2)).await;
    let rest = at_rest(&builder).await;

    let scene = Arc::new(Scene {
        port: builder.port,
        app: format!("{app}.localhost:{}", builder.port),
        over: AtomicBool::new(false),
        open: AtomicUsize::new(0),
        opened: AtomicUsize::new(0),
    });
    let crowd = Crowd::start(&scene);
    let most = tokio::spawn(largest(builder.pid(), scene.clone()));
    let mut pages = Pages::default();
    // Somebody comes who was never here, and logs in.
    let begun = Instant::now();
    let other = Ipv4Addr::new(127, 8, 0, 1);
    let fresh = log_in(&builder, other).await;
    pages.push("the newcomer's log-in", begun.elapsed());
    let half = ATTACK / 2;
    browse(&builder, other, &fresh, &app, &mut pages, half).await;
    browse(&builder, owner, &cookie, &app, &mut pages, half).await;
    let open = scene.open.load(Ordering::Relaxed);
    scene.over.store(true, Ordering::Relaxed);
    crowd.end();
    let most = most.await.expect("no panic");
    let after = at_rest(&builder).await;
    let opened = scene.opened.load(Ordering::Relaxed);
    say(&format!("{opened} connections were opened, {open} were open at the end"));

    let crowd = format!("{CLIENTS} clients of each of {} kinds", KINDS.len());
    let details = format!(
        "median {:.1} ms, {} pages; alone {:.1} ms; slowest: {}",
        pages.times.median(),
        pages.times.len(),
        quiet.times.median(),
        pages.slowest.1
    );
    let what = format!("slowest page of a browser beside {crowd}");
    report.row(&what, Bound::AtMost(1000.0), "ms", pages.times.quantile(1.0), &details);
    let details = format!("{rest:.1} MiB before");
    report.row(&format!("most resident memory beside {crowd}"), Bound::AtMost(120.0), "MiB", most, &details);
    let details = format!("{after:.1} MiB after");
    report.row("memory that is kept afterwards", Bound::AtMost(10.0), "MiB", after - rest, &details);
}

/// All clients, on threads of their own: a browser does not share its thread with thousands of them.
struct Crowd(tokio::runtime::Runtime);

impl Crowd {
    fn start(scene: &Arc<Scene>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        for number in 0..CLIENTS {
            for (kind, second) in KINDS.into_iter().zip(10_u8..) {
                let last = u8::try_from(number % ADDRESSES + 1).expect("below 256");
                let from = Ipv4Addr::new(127, second, 0, last);
                runtime.spawn(come_again(scene.clone(), kind, from, number));
            }
        }
        Self(runtime)
    }

    /// Closes all connections.
    fn end(self) {
        self.0.shutdown_background();
    }
}

/// How long a browser's pages took.
#[derive(Default)]
struct Pages {
    times: Samples,
    slowest: (Duration, String),
}

impl Pages {
    fn push(&mut self, what: &str, time: Duration) {
        self.times.push_ms(time);
        if time > self.slowest.0 {
            self.slowest = (time, what.to_owned());
        }
    }
}

async fn log_in(builder: &Builder, from: Ipv4Addr) -> String {
    let form = client_from(from).post(builder.at("builder.localhost", "/login"));
    let form = form.header("content-type", "application/x-www-form-urlencoded").body("password=correct+horse");
    let answer = send(form).await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    let cookies = answer.headers.get_all("set-cookie").iter().filter_map(|cookie| cookie.to_str().ok());
    let pairs: Vec<_> = cookies.filter_map(|cookie| cookie.split(';').next()).collect();
    pairs.join("; ")
}

/// Opens pages for a while, over kept connections, and over new ones every fourth time.
async fn browse(builder: &Builder, from: Ipv4Addr, cookie: &str, app: &str, pages: &mut Pages, time: Duration) {
    let begun = Instant::now();
    let mut client = client_from(from);
    let paths = ["/".to_owned(), format!("/apps/{app}"), "/settings".to_owned(), format!("/apps/{app}?tab=code")];
    for number in 0.. {
        if begun.elapsed() > time {
            return;
        }
        let is_new = number % 4 == 0;
        if is_new {
            client = client_from(from);
        }
        let asked = Instant::now();
        let path = &paths[number % paths.len()];
        let page = client.get(builder.at("builder.localhost", path)).header("cookie", cookie);
        let answer = send(page).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let connection = if is_new { "a new connection" } else { "a kept connection" };
        pages.push(&format!("{path} over {connection}, after {:.0} s", begun.elapsed().as_secs_f64()), asked.elapsed());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The most resident memory that the process has until the end, in MiB.
async fn largest(pid: u32, scene: Arc<Scene>) -> f64 {
    let mut most: f64 = 0.0;
    while !scene.over.load(Ordering::Relaxed) {
        most = most.max(super::home::resident(pid));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    most
}

async fn come_again(scene: Arc<Scene>, kind: Kind, from: Ipv4Addr, number: usize) {
    // Not all in the same instant, which the system's queue for new connections would not take.
    tokio::time::sleep(Duration::from_millis(u64::try_from(number).unwrap_or_default())).await;
    while !scene.over.load(Ordering::Relaxed) {
        if let Ok(stream) = connect(from, scene.port).await {
            scene.open.fetch_add(1, Ordering::Relaxed);
            scene.opened.fetch_add(1, Ordering::Relaxed);
            let _ = keep_waiting(&scene, kind, stream).await;
            scene.open.fetch_sub(1, Ordering::Relaxed);
        }
        tokio::time::sleep(AWAY).await;
    }
}

async fn connect(from: Ipv4Addr, port: u16) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((from, 0)))?;
    socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await
}

/// Does what this kind does until the builder ends the connection.
async fn keep_waiting(scene: &Scene, kind: Kind, mut stream: TcpStream) -> std::io::Result<()> {
    let host = format!("builder.localhost:{}", scene.port);
    let login = |length: usize| {
        format!(
            "POST /login HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {length}\r\n\r\npassword="
        )
    };
    let opening = match kind {
        Kind::Idle => Vec::new(),
        Kind::SlowHead => format!("GET / HTTP/1.1\r\nHost: {host}\r\nX-Slow: ").into_bytes(),
        Kind::LargeHead => {
            [format!("GET / HTTP/1.1\r\nHost: {host}\r\nX-Large: ").into_bytes(), vec![b'a'; 62_000]].concat()
        }
        Kind::SlowBody => login(3000).into_bytes(),
        Kind::Login => [login(2_000_000).into_bytes(), vec![b'a'; 1_900_000]].concat(),
        Kind::Reader => format!("GET /endless HTTP/1.1\r\nHost: {}\r\n\r\n", scene.app).into_bytes(),
    };
    stream.write_all(&opening).await?;
    drop(opening);
    loop {
        match kind {
            Kind::SlowHead | Kind::SlowBody => {
                tokio::time::sleep(DRIP).await;
                stream.write_all(b"a").await?;
            }
            Kind::Reader => {
                // Never reads; that it was ended shows as an error of its socket, or where it writes.
                tokio::time::sleep(DRIP).await;
                if stream.take_error()?.is_some() {
                    return Ok(());
                }
                stream.write_all(b"\r\n").await?;
            }
            Kind::Idle | Kind::LargeHead | Kind::Login => {
                if stream.read(&mut [0; 512]).await? == 0 {
                    return Ok(());
                }
            }
        }
    }
}
