//! From the model's token to the bytes at the browser, with 1, 50 and 200 streams at once, and what it takes
//! of the processors.
//!
//! A server that speaks the Messages API stamps each token with the time at which it sends it; the
//! readers of the pages' streams take the time at which its bytes arrive.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::report::{Bound, Report, Samples};
use super::support::PATIENCE;
use super::support::builder::Builder;

/// How many streams there are at once; the number to hold is that of the second.
const STREAMS: [usize; 3] = [1, 50, 200];
/// Tokens of each stream, and the time between two of them: a quick model.
const TOKENS: usize = 300;
const PACE: Duration = Duration::from_millis(20);
/// The kernel counts processor time in hundredths of a second.
const TICKS_PER_SECOND: f64 = 100.0;

pub async fn measure(report: &mut Report) {
    for streams in STREAMS {
        let (samples, processor) = play(streams).await;
        let what = format!("token from the model to bytes at the browser, {} p99", said(streams));
        let details = format!("median {:.2} ms, {} tokens", samples.median(), samples.len());
        if streams == 50 {
            report.row(&what, Bound::AtMost(10.0), "ms", samples.quantile(0.99), &details);
        } else {
            report.unbounded(&what, "ms", samples.quantile(0.99), &details);
        }
        if streams > 1 {
            #[expect(clippy::cast_precision_loss, reason = "there are far fewer tokens than 2^52")]
            let tokens = samples.len() as f64;
            let what = format!("processor time for a million tokens, {}", said(streams).trim_end_matches(','));
            let details = format!("{processor:.2} s for {tokens} tokens");
            report.unbounded(&what, "s", processor / tokens * 1e6, &details);
        }
    }
}

fn said(streams: usize) -> String {
    if streams == 1 { "1 stream,".to_owned() } else { format!("{streams} streams,") }
}

/// Streams so many answers at once; the time that each token took, and the builder's processor time in seconds.
async fn play(streams: usize) -> (Samples, f64) {
    let zero = Instant::now();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let model = tokio::spawn(serve(listener, zero));
    let builder = Builder::start_with(&[("ANTHROPIC_API_KEY", "sk-bench"), ("ANTHROPIC_BASE_URL", &address)]).await;

    let samples = Arc::new(Mutex::new(Samples::default()));
    let mut readers = Vec::new();
    for number in 0..streams {
        let app = format!("stream-{number:03}");
        let body = json!({"name": app, "description": "Streams", "template": "static-site"});
        builder.post("/apps", &body).await.expect(201);
        let url = builder.at("builder.localhost", &format!("/apps/{app}/stream?after=0"));
        let request = builder.http.get(url).header("Accept", "text/event-stream");
        let answer = request.send().await.expect("a stream");
        assert_eq!(answer.status(), 200, "the page's stream is opened");
        readers.push(tokio::spawn(read(answer, zero, samples.clone())));
    }
    let before = processor_seconds(builder.pid());
    for number in 0..streams {
        builder.ask(&format!("/apps/stream-{number:03}/turns"), &json!({"prompt": "Talk"})).await;
    }
    for reader in readers {
        tokio::time::timeout(PATIENCE, reader).await.expect("all tokens arrive").expect("no panic");
    }
    let processor = processor_seconds(builder.pid()) - before;
    model.abort();
    let samples = samples.lock().expect("no panic").clone();
    assert_eq!(samples.len(), streams * TOKENS, "each token arrived once");
    (samples, processor)
}

/// What the process has had of the processors so far, in user and in kernel mode.
fn processor_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the builder runs");
    // The name, in brackets, may hold anything; the times are the 12th and 13th field behind it.
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<f64>().expect("a number");
    (ticks(11) + ticks(12)) / TICKS_PER_SECOND
}

fn micros(zero: Instant) -> u64 {
    u64::try_from(zero.elapsed().as_micros()).expect("a bench ends before that")
}

/// Reads a stream until every token was seen; each is written `<t123456>`, in whatever the page wraps it.
async fn read(answer: reqwest::Response, zero: Instant, samples: Arc<Mutex<Samples>>) {
    let mut body = answer.bytes_stream();
    let mut text = String::new();
    let mut seen = 0;
    while seen < TOKENS {
        let bytes = body.next().await.expect("the stream continues").expect("the stream is whole");
        let now = micros(zero);
        text.push_str(&String::from_utf8_lossy(&bytes));
        let mut samples = samples.lock().expect("no panic");
        while let Some(from) = text.find("(t") {
            let Some(length) = text[from..].find("t)") else { break };
            let sent: u64 = text[from + 2..from + length].parse().expect("a stamp");
            samples.push_ms(Duration::from_micros(now.saturating_sub(sent)));
            text.drain(..from + length + 2);
            seen += 1;
        }
        // What cannot be part of a stamp any more.
        let keep = text.rfind('(').unwrap_or(text.len());
        text.drain(..keep);
    }
}

async fn serve(listener: TcpListener, zero: Instant) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(async move {
            // A client may disconnect at any time.
            let _ = answer(stream, zero).await;
        });
    }
}

async fn answer(mut stream: TcpStream, zero: Instant) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    read_request(&mut stream).await?;
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    let usage = json!({"input_tokens": 1, "output_tokens": 1});
    let message =
        json!({"id": "msg", "type": "message", "role": "assistant", "model": "bench", "content": [], "usage": usage});
    send(&mut stream, &json!({"type": "message_start", "message": message})).await?;
    send(
        &mut stream,
        &json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
    )
    .await?;
    let mut ticks = tokio::time::interval(PACE);
    for _ in 0..TOKENS {
        ticks.tick().await;
        let text = format!("(t{}t) ", micros(zero));
        send(
            &mut stream,
            &json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}),
        )
        .await?;
    }
    send(&mut stream, &json!({"type": "content_block_stop", "index": 0})).await?;
    let delta = json!({"stop_reason": "end_turn"});
    send(&mut stream, &json!({"type": "message_delta", "delta": delta, "usage": {"output_tokens": TOKENS}})).await?;
    send(&mut stream, &json!({"type": "message_stop"})).await?;
    stream.write_all(b"0\r\n\r\n").await?;
    stream.shutdown().await
}

async fn send(stream: &mut TcpStream, event: &serde_json::Value) -> std::io::Result<()> {
    let text = format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default());
    stream.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes()).await
}

/// Reads a request up to its content length.
async fn read_request(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    loop {
        if let Some(head_end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..head_end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
            if bytes.len() >= head_end + 4 + length {
                return Ok(());
            }
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
    }
}
