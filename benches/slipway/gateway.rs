//! Requests per second through the gateway, beside nginx leading to the same container.
//!
//! The container's own limit of half a processor is lifted for this: it would be what is measured
//! otherwise, on both sides alike.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::deployments::address;
use super::report::{Bound, Report, Samples};
use super::support::builder::Builder;
use super::support::engine::docker;

const ROUNDS: usize = 8;
const SECONDS: &str = "3s";
const CONNECTIONS: &str = "32";

pub async fn measure(report: &mut Report) {
    let builder = Builder::start().await;
    let app = builder.create("static-site", "Is asked a lot").await;
    builder.write(&app, "public/index.html", &format!("<!doctype html><p>{}</p>\n", "0123456789".repeat(100))).await;
    builder.preview(&app).await;
    builder.publish(&app).await;
    let containers = builder.installation().containers();
    let place = format!("{app}/prod/1");
    let container = containers.iter().find(|container| container.place() == place).expect("it runs");
    docker(&["update", "--cpus", "2", &container.id]).expect("its limit is lifted");

    let nginx = Nginx::start(&address(&container.id), &builder).await;
    let (mut ours, mut theirs) = (Samples::default(), Samples::default());
    let (mut our_p99, mut their_p99) = (Samples::default(), Samples::default());
    let host = format!("{app}.localhost:{}", builder.port);
    // One round that is not counted, for both.
    for round in 0..=ROUNDS {
        // Each goes first every other time.
        let first = (round % 2 == 0).then(|| wrk(nginx.port, &host));
        let (rate, p99) = wrk(builder.port, &host);
        let (their_rate, their_slowest) = first.unwrap_or_else(|| wrk(nginx.port, &host));
        if round > 0 {
            ours.push(rate);
            theirs.push(their_rate);
            our_p99.push(p99);
            their_p99.push(their_slowest);
        }
    }
    let peer =
        format!("nginx with kept connections; p99 {:.1} ms, ours {:.1} ms", their_p99.median(), our_p99.median());
    let what = "gateway requests per second, over nginx";
    report.ratio(what, Bound::AtLeast(0.8), "/s", &ours, &theirs, &peer);
}

/// Requests per second, and the 99th percentile in milliseconds. Every answer must be a good one.
fn wrk(port: u16, host: &str) -> (f64, f64) {
    let url = format!("http://127.0.0.1:{port}/");
    let header = format!("Host: {host}");
    let arguments =
        ["--threads", "1", "--connections", CONNECTIONS, "--duration", SECONDS, "--latency", "--header", &header, &url];
    let output = Command::new("wrk").args(arguments).output().expect("wrk is installed; scripts/bench installs it");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!text.contains("Non-2xx") && !text.contains("Socket errors"), "{text}");
    let after = |words: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(words));
        line.unwrap_or_else(|| panic!("no “{words}” in {text}")).trim().to_owned()
    };
    (after("Requests/sec:").parse().expect("a number"), milliseconds(&after("99%")))
}

/// A time as wrk writes it: `812.00us`, `3.10ms`, `1.02s`.
fn milliseconds(text: &str) -> f64 {
    let (number, factor) = match text {
        micros if micros.ends_with("us") => (&micros[..micros.len() - 2], 0.001),
        millis if millis.ends_with("ms") => (&millis[..millis.len() - 2], 1.0),
        seconds => (seconds.trim_end_matches('s'), 1000.0),
    };
    number.parse::<f64>().expect("a number") * factor
}

/// nginx from the distribution as a reverse proxy, set up as its manual says for speed.
struct Nginx {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Nginx {
    async fn start(upstream: &str, builder: &Builder) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let configuration = format!(
            "daemon off; worker_processes auto; pid nginx.pid; error_log stderr warn;\n\
             events {{ worker_connections 1024; }}\n\
             http {{\n  access_log off; keepalive_requests 1000000; tcp_nodelay on;\n\
               client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n\
               upstream app {{ server {upstream}:8080; keepalive 64; keepalive_requests 1000000; }}\n\
               server {{ listen 127.0.0.1:{port};\n    location / {{\n      proxy_pass http://app; proxy_http_version 1.1;\n\
                 proxy_set_header Connection \"\"; proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr;\n\
                 proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $http_host;\n    }}\n  }}\n}}\n"
        );
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, configuration).expect("it is written");
        let child = Command::new(program())
            .arg("-p")
            .arg(folder.path())
            .arg("-c")
            .arg(&file)
            .stderr(Stdio::inherit())
            .spawn()
            .expect("nginx is installed; scripts/bench installs it");
        let nginx = Self { child, port, _folder: folder };
        let url = format!("http://127.0.0.1:{port}/");
        super::support::eventually("nginx answers", Duration::from_secs(10), || async {
            builder.http.get(&url).send().await.ok().filter(|answer| answer.status() == 200)
        })
        .await;
        nginx
    }
}

/// An ordinary user's path may leave `/usr/sbin` out.
fn program() -> &'static str {
    if std::path::Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // A quick stop that takes the workers along.
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}
