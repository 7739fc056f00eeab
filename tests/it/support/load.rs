//! Clients that ask again and again, and forgive nothing: no retry, no second attempt.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// The longest any one request may take.
const LIMIT: Duration = Duration::from_secs(10);

/// The responses that the clients got.
#[derive(Default)]
struct Seen {
    answered: AtomicU64,
    failures: Mutex<Vec<String>>,
    bodies: Mutex<Vec<String>>,
}

/// Running clients.
pub struct Load {
    seen: Arc<Seen>,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

/// The result of a load.
#[derive(Debug)]
pub struct Outcome {
    /// Requests that were answered with 200.
    pub answered: u64,
    /// The failures, each in a sentence.
    pub failures: Vec<String>,
    /// The different bodies, in the order in which they were first seen.
    pub bodies: Vec<String>,
}

impl Load {
    /// Starts clients on one address: `kept` keep their connection, `fresh` open a new one each time.
    pub fn start(port: u16, host: &str, path: &str, kept: usize, fresh: usize) -> Self {
        let seen = Arc::new(Seen::default());
        let stop = Arc::new(AtomicBool::new(false));
        let kinds = std::iter::repeat_n(true, kept).chain(std::iter::repeat_n(false, fresh));
        let clients = kinds
            .map(|keep| {
                let target = Target { port, host: format!("{host}.localhost:{port}"), path: path.to_owned() };
                tokio::spawn(target.ask_until(seen.clone(), stop.clone(), keep))
            })
            .collect();
        Self { seen, stop, clients }
    }

    /// How many requests were answered so far.
    pub fn answered(&self) -> u64 {
        self.seen.answered.load(Ordering::Relaxed)
    }

    /// Waits until so many more were answered, so that what follows happens under load.
    pub async fn warm(&self, more: u64) {
        let from = self.answered();
        super::eventually("the load runs", Duration::from_secs(30), || {
            let failed = !self.seen.failures.lock().expect("no panic").is_empty();
            std::future::ready((failed || self.answered() >= from + more).then_some(()))
        })
        .await;
    }

    /// Lets every client finish its request and returns their results.
    pub async fn end(self) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.expect("a client does not panic");
        }
        Outcome {
            answered: self.seen.answered.load(Ordering::Relaxed),
            failures: self.seen.failures.lock().expect("no panic").clone(),
            bodies: self.seen.bodies.lock().expect("no panic").clone(),
        }
    }
}

struct Target {
    port: u16,
    host: String,
    path: String,
}

impl Target {
    async fn ask_until(self, seen: Arc<Seen>, stop: Arc<AtomicBool>, keep: bool) {
        let mut connection: Option<SendRequest<Empty<Bytes>>> = None;
        while !stop.load(Ordering::Relaxed) {
            let asked = tokio::time::timeout(LIMIT, self.ask(&mut connection, keep)).await;
            match asked.unwrap_or_else(|_| Err(format!("no answer within {LIMIT:?}"))) {
                Ok(body) => {
                    seen.answered.fetch_add(1, Ordering::Relaxed);
                    let mut bodies = seen.bodies.lock().expect("no panic");
                    if !bodies.contains(&body) {
                        bodies.push(body);
                    }
                }
                Err(failure) => {
                    connection = None;
                    let mut failures = seen.failures.lock().expect("no panic");
                    if failures.len() < 50 {
                        failures.push(failure);
                    }
                }
            }
        }
    }

    async fn ask(&self, connection: &mut Option<SendRequest<Empty<Bytes>>>, keep: bool) -> Result<String, String> {
        // A server that said it would close after the last answer is connected to anew.
        if connection.as_ref().is_none_or(SendRequest::is_closed) {
            *connection = Some(self.connect().await.map_err(|error| format!("connecting: {error}"))?);
        }
        let sender = connection.as_mut().expect("it was just made");
        let words = if keep { "keep-alive" } else { "close" };
        let request = Request::get(&self.path)
            .header("Host", &self.host)
            .header("Connection", words)
            .body(Empty::new())
            .expect("a request without special wishes");
        let answer = sender.send_request(request).await.map_err(|error| format!("asking: {error}"))?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(|error| format!("reading: {error}"))?;
        let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        if !keep {
            *connection = None;
        }
        if status.as_u16() == 200 { Ok(body) } else { Err(format!("{status}: {body}")) }
    }

    async fn connect(&self) -> Result<SendRequest<Empty<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }
}
