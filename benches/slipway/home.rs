//! The builder without apps' traffic: its size, its memory at rest, its start, its list of a thousand apps.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use super::report::{Bound, Report, Samples};
use super::support::builder::{Builder, binary};

const MIB: f64 = 1024.0 * 1024.0;
/// Starts that are timed.
const STARTS: usize = 9;
/// Requests for the list that are timed.
const LISTS: usize = 1500;

pub async fn measure(report: &mut Report) {
    #[expect(clippy::cast_precision_loss, reason = "a binary is smaller than 2^52 bytes")]
    let size = std::fs::metadata(binary()).expect("the binary is there").len() as f64 / MIB;
    report.row("release binary", Bound::AtMost(34.0), "MiB", size, "");

    let mut builder = Builder::start().await;
    fill(&builder, 0, 100).await;

    let mut starts = Samples::default();
    for _ in 0..STARTS {
        builder.stop().await;
        starts.push_ms(builder.start_to_first_answer("/"));
    }
    let most = format!("median of {STARTS}, slowest {:.0} ms", starts.quantile(1.0));
    report.row("start to the first answered request, 100 apps", Bound::AtMost(50.0), "ms", starts.median(), &most);

    let rest = at_rest(&builder).await;
    let shares = shares(builder.pid());
    report.row("resident memory at rest, 100 apps", Bound::AtMost(20.0), "MiB", rest, &shares);

    fill(&builder, 100, 1000).await;
    let mut lists = Samples::default();
    let mut page = Page::open(&builder);
    for number in 0..LISTS + 50 {
        let begun = Instant::now();
        let bytes = page.get("/");
        if number >= 50 {
            lists.push_ms(begun.elapsed());
        }
        assert!(bytes > 2000, "the list is a page");
    }
    let details = format!("median {:.2} ms, {LISTS} requests", lists.median());
    report.row("list page with 1,000 apps, p99", Bound::AtMost(5.0), "ms", lists.quantile(0.99), &details);
}

/// Makes apps until there are so many.
async fn fill(builder: &Builder, from: usize, to: usize) {
    let templates = ["static-site", "simple-api", "webhook", "scheduled-job"];
    for number in from..to {
        let body = json!({
            "name": format!("app-{number:04}"),
            "description": format!("App number {number}, which does what the {number} before it do, but otherwise"),
            "template": templates[number % templates.len()],
        });
        builder.post("/apps", &body).await.expect(201);
    }
}

/// Resident memory in MiB, once the process has come to rest after its start.
pub async fn at_rest(builder: &Builder) -> f64 {
    let mut last = (ticks(builder.pid()), Instant::now());
    // At rest: no processor time used for two seconds.
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = ticks(builder.pid());
        if now > last.0 + 1 {
            last = (now, Instant::now());
        } else if last.1.elapsed() > Duration::from_secs(2) {
            break;
        }
    }
    resident(builder.pid())
}

/// Resident memory in MiB.
pub fn resident(pid: u32) -> f64 {
    mib_of(pid, "status", "VmRSS:")
}

/// How much of the resident memory the process made itself, and what its share is of what it has in common with others.
fn shares(pid: u32) -> String {
    let anonymous = mib_of(pid, "status", "RssAnon:");
    let proportional = mib_of(pid, "smaps_rollup", "Pss:");
    format!("RssAnon {anonymous:.1} MiB, Pss {proportional:.1} MiB")
}

/// A size that the kernel reports of a process, in MiB.
fn mib_of(pid: u32, file: &str, field: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).expect("the process runs");
    let size = text.lines().find_map(|line| line.strip_prefix(field)).expect("the kernel reports this size");
    let kib: f64 = size.trim().trim_end_matches(" kB").parse().expect("a number");
    kib / 1024.0
}

/// Processor time that a process has used, in ticks.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let (_, after_name) = stat.rsplit_once(") ").expect("a name in parentheses");
    let fields: Vec<&str> = after_name.split(' ').collect();
    fields[11].parse::<u64>().expect("a number") + fields[12].parse::<u64>().expect("a number")
}

/// One connection that is kept, as a browser's is.
struct Page {
    stream: TcpStream,
    host: String,
}

impl Page {
    fn open(builder: &Builder) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", builder.port)).expect("it listens");
        stream.set_nodelay(true).expect("a socket of ours");
        Self { stream, host: format!("builder.localhost:{}", builder.port) }
    }

    /// Asks for a page and reads it whole; its bytes, as they came over the wire.
    fn get(&mut self, path: &str) -> usize {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {}\r\nAccept: text/html\r\nAccept-Encoding: gzip\r\n\r\n", self.host);
        self.stream.write_all(request.as_bytes()).expect("it listens");
        let mut bytes = Vec::new();
        let mut buffer = vec![0; 65536];
        loop {
            let read = self.stream.read(&mut buffer).expect("an answer");
            assert!(read > 0, "the connection was closed");
            bytes.extend_from_slice(&buffer[..read]);
            if is_whole(&bytes) {
                assert!(
                    bytes.starts_with(b"HTTP/1.1 200"),
                    "{}",
                    String::from_utf8_lossy(&bytes[..bytes.len().min(300)])
                );
                return bytes.len();
            }
        }
    }
}

/// Whether an answer has come to its end.
fn is_whole(bytes: &[u8]) -> bool {
    let Some(head_end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&bytes[..head_end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    match length.map(|length| length.trim().parse::<usize>().expect("a number")) {
        Some(length) => bytes.len() >= head_end + 4 + length,
        None => bytes.ends_with(b"0\r\n\r\n"),
    }
}
