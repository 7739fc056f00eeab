//! Asking an instance whether it is well: plain HTTP, a connection for each question.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::domain::Probe;

/// First pause between questions.
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_millis(250);
/// Longest wait for the head of an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Asks until the answer is 2xx or 3xx. `last` holds what came of the last question, in a sentence.
pub(super) async fn until_ready(address: SocketAddr, probe: &Probe, last: &Mutex<String>) {
    let begun = Instant::now();
    loop {
        let said = match tokio::time::timeout(ANSWER_LIMIT, ask(address, &probe.path)).await {
            Ok(Ok(status)) if status.is_success() || status.is_redirection() => return,
            Ok(Ok(status)) => format!("GET {} answered {status}.", probe.path),
            Ok(Err(_)) if !listens(address).await => format!("nothing listens on port {} yet.", probe.port),
            Ok(Err(error)) => format!("GET {} was not answered: {error}.", probe.path),
            Err(_) => format!("GET {} was not answered within {} seconds.", probe.path, ANSWER_LIMIT.as_secs()),
        };
        *last.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = said;
        // The pause grows with the time gone by, so that waiting adds a few percent and no more.
        tokio::time::sleep((begun.elapsed() / 16).clamp(PAUSE_MIN, PAUSE_MAX)).await;
    }
}

async fn listens(address: SocketAddr) -> bool {
    matches!(tokio::time::timeout(ANSWER_LIMIT, TcpStream::connect(address)).await, Ok(Ok(_)))
}

async fn ask(address: SocketAddr, path: &str) -> Result<StatusCode, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path)
        .header(HOST, "localhost")
        .header(USER_AGENT, "slipway-probe")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    // Both in this task: when it is dropped, so is the connection.
    tokio::select! {
        biased;
        answer = sender.send_request(request) => Ok(answer?.status()),
        ended = connection => match ended {
            Err(error) => Err(error.into()),
            Ok(()) => Err("the connection was closed".into()),
        },
    }
}
