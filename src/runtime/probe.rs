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
    let mut answer = std::pin::pin!(sender.send_request(request));
    tokio::select! {
        biased;
        answer = answer.as_mut() => return Ok(answer?.status()),
        ended = connection => ended?,
    }
    // A short answer and the end of the connection may come as one: then the answer is there by now.
    Ok(answer.await?.status())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers each connection with the next of `answers`, and closes it in the same moment.
    async fn answering(answers: &'static [&'static str]) -> (SocketAddr, impl Future<Output = ()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let serve = async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await.expect("a request");
                stream.write_all(answer.as_bytes()).await.expect("it is sent");
            }
            std::future::pending::<()>().await;
        };
        (address, serve)
    }

    #[tokio::test]
    async fn answers_are_read_however_they_come() {
        let last = Mutex::new(String::new());
        let probe = Probe { port: 1, path: "/health".to_owned() };
        for (answers, said) in [
            (&["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"][..], ""),
            (&["HTTP/1.1 302 Found\r\nLocation: /x\r\nConnection: close\r\n\r\n"], ""),
            (
                &["HTTP/1.1 404 Not Found\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n"],
                "GET /health answered 404 Not Found.",
            ),
        ] {
            let (address, serve) = answering(answers).await;
            tokio::select! {
                () = until_ready(address, &probe, &last) => {}
                () = serve => {}
            }
            assert_eq!(*last.lock().expect("no panic"), said);
        }
    }

    #[tokio::test]
    async fn what_went_wrong_is_said() {
        let last = Mutex::new(String::new());
        let probe = Probe { port: 7, path: "/".to_owned() };
        let says = async |address, words: &str| {
            let said = async {
                while !last.lock().expect("no panic").contains(words) {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                () = until_ready(address, &probe, &last) => panic!("it is not ready"),
                said = tokio::time::timeout(Duration::from_secs(10), said) => said.expect(words),
            }
        };
        let free = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
        says(free, "nothing listens on port 7").await;
        let (address, serve) = answering(&["", "", "", "", "", ""]).await;
        tokio::select! {
            () = says(address, "GET / was not answered") => {}
            () = serve => {}
        }
    }
}
