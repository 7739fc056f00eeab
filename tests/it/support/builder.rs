//! The real binary, started on a data directory of its own, spoken to over HTTP alone.
//!
//! Everything it made in the engine is removed when it is dropped, after a panic as well.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::engine::Installation;
use super::stream::Stream;
use super::{PATIENCE, eventually};

/// How long a builder may take until it answers.
const START: Duration = Duration::from_secs(30);

/// A running builder.
pub struct Builder {
    child: Option<Child>,
    /// Goes before the folder that it is mounted in.
    disk: Option<SmallDisk>,
    folder: TempDir,
    settings: Vec<(String, String)>,
    /// Begins with the limit on open files that shells usually have.
    few_files: bool,
    /// The cookie that requests to the API carry; empty: none.
    session: String,
    /// Where it listens.
    pub port: u16,
    /// Keeps the port free for the next start.
    reserved: UdpSocket,
    /// Leads every name to this machine; follows no redirect.
    pub http: Client,
}

/// A file system of its own for a folder, in memory. It is unmounted when this is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(folder: &Path, mib: u32) -> Self {
        std::fs::create_dir(folder).expect("the folder is new");
        let options = format!("size={mib}m,mode=0700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder).output();
        let mounted = mounted.expect("the mount command is there");
        let complaint = String::from_utf8_lossy(&mounted.stderr);
        assert!(mounted.status.success(), "this test needs root, to mount a small disk: {complaint}");
        Self(folder.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} is still mounted", self.0.display());
        }
    }
}

/// An answer, read whole.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub bytes: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The JSON of an answer that has this status.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        if self.bytes.is_empty() { Value::Null } else { self.json() }
    }

    /// Checks that this is a problem with a code, in the contract's form.
    #[track_caller]
    pub fn expect_problem(&self, status: u16, code: &str) {
        let problem = self.expect(status);
        assert_eq!(self.header("content-type"), "application/problem+json", "{problem}");
        assert_eq!(problem["code"], code, "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{problem}");
    }
}

/// Sends a request and reads the answer whole.
pub async fn send(request: RequestBuilder) -> Answer {
    let answer = request.timeout(PATIENCE).send().await.expect("the builder answers");
    let (status, headers) = (answer.status(), answer.headers().clone());
    let bytes = answer.bytes().await.expect("the whole answer").to_vec();
    Answer { status, headers, bytes }
}

/// Sends every name to this machine, as browsers do with `*.localhost`.
struct Here;

impl Resolve for Here {
    fn resolve(&self, _: Name) -> Resolving {
        let here: Addrs = Box::new(std::iter::once(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))));
        Box::pin(std::future::ready(Ok(here)))
    }
}

/// A client for any host of ours.
pub fn client() -> Client {
    client_from(Ipv4Addr::LOCALHOST)
}

/// The same, coming from another address of this machine.
pub fn client_from(address: Ipv4Addr) -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .local_address(std::net::IpAddr::V4(address))
        .dns_resolver(Arc::new(Here))
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("a client without special wishes")
}

/// The binary: the one that Cargo built beside these tests, or another one that is to be tried.
pub fn binary() -> PathBuf {
    std::env::var_os("SLIPWAY_BIN").map_or_else(|| env!("CARGO_BIN_EXE_slipway").into(), PathBuf::from)
}

/// Ports for builders. The kernel gives ports from 32768 on to outgoing connections and Docker's engine publishes containers
/// there, either of which could take a builder's port while it restarts. Kubernetes begins at 30000.
const PORTS: RangeInclusive<u16> = 20_000..=29_999;

/// A port that no other test uses: as long as the UDP socket is bound, no other socket can be bound to its number.
fn reserve_port() -> (UdpSocket, u16) {
    for _ in 0..1000 {
        let port = rand::random_range(PORTS);
        if let Ok(socket) = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)) {
            return (socket, port);
        }
    }
    panic!("no port is free");
}

impl Builder {
    /// With the demo model typing as fast as it can.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With these environment variables.
    pub async fn start_with(settings: &[(&str, &str)]) -> Self {
        Self::begin(settings, false).await
    }

    /// The same, from a shell with the usual limit of 1,024 open files.
    pub async fn start_with_few_files(settings: &[(&str, &str)]) -> Self {
        Self::begin(settings, true).await
    }

    /// With a data directory on a disk of its own, of so many MiB.
    pub async fn start_on_disk(mib: u32, settings: &[(&str, &str)]) -> Self {
        let folder = Self::folder();
        let disk = SmallDisk::mount(&folder.path().join("data"), mib);
        let mut builder = Self::begin_in(folder, settings, false).await;
        builder.disk = Some(disk);
        builder
    }

    fn folder() -> TempDir {
        tempfile::Builder::new().prefix("slipway-test-").tempdir().expect("a temporary folder")
    }

    async fn begin(settings: &[(&str, &str)], few_files: bool) -> Self {
        Self::begin_in(Self::folder(), settings, few_files).await
    }

    async fn begin_in(folder: TempDir, settings: &[(&str, &str)], few_files: bool) -> Self {
        let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let (reserved, port) = reserve_port();
        let mut builder = Self {
            child: None,
            disk: None,
            folder,
            settings,
            few_files,
            session: String::new(),
            port,
            reserved,
            http: client(),
        };
        while !builder.launch().await {
            (builder.reserved, builder.port) = reserve_port();
        }
        builder
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// The log of the process so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Starts the process and waits until it answers; `false` if its port was taken.
    async fn launch(&mut self) -> bool {
        self.spawn();
        let (http, url) = (self.http.clone(), self.at("builder.localhost", "/healthz"));
        let deadline = tokio::time::Instant::now() + START;
        loop {
            let answer = http.get(&url).send().await;
            if answer.is_ok_and(|answer| answer.status() == StatusCode::OK) {
                return true;
            }
            let child = self.child.as_mut().expect("it was just started");
            if let Some(status) = child.try_wait().expect("a child can be looked at") {
                let log = self.log();
                assert!(log.contains("cannot listen on"), "the builder ended with {status}:\n{log}");
                return false;
            }
            assert!(tokio::time::Instant::now() < deadline, "no answer within {START:?}:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn spawn(&mut self) {
        let log = File::options().create(true).append(true).open(self.log_file()).expect("a log file");
        let mut command = if self.few_files {
            let mut shell = Command::new("sh");
            shell.arg("-c").arg("ulimit -Sn 1024 && exec \"$0\" \"$@\"").arg(binary());
            shell
        } else {
            Command::new(binary())
        };
        for name in [
            "ANTHROPIC_API_KEY",
            "ANTHROPIC_BASE_URL",
            "OPENAI_API_KEY",
            "OPENAI_BASE_URL",
            "SLIPWAY_ADMIN_PASSWORD",
            "SLIPWAY_MODEL",
            "SLIPWAY_PROVIDER",
        ] {
            command.env_remove(name);
        }
        command
            .arg("serve")
            .current_dir(self.folder.path())
            .env("SLIPWAY_DATA_DIR", self.data())
            .env("SLIPWAY_LISTEN", format!("127.0.0.1:{}", self.port))
            .env("SLIPWAY_DEMO_PACE", "0")
            .envs(self.settings.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log);
        self.child = Some(command.spawn().expect("the binary starts"));
    }

    /// Starts the stopped process and asks for a page again and again; the time until it has answered.
    pub fn start_to_first_answer(&mut self, path: &str) -> Duration {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: builder.localhost:{}\r\nConnection: close\r\n\r\n", self.port);
        let begun = Instant::now();
        self.spawn();
        let mut answer = Vec::new();
        while begun.elapsed() < START {
            let asked = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).and_then(|mut stream| {
                stream.write_all(request.as_bytes())?;
                stream.read_to_end(&mut answer)
            });
            if asked.is_ok() && answer.starts_with(b"HTTP/1.1 200") {
                return begun.elapsed();
            }
            assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
            std::thread::park_timeout(Duration::from_micros(300));
        }
        panic!("no answer within {START:?}:\n{}", self.log());
    }

    /// SIGKILL: no chance to tidy up.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks the process to stop and waits for its end; its exit code.
    pub async fn stop(&mut self) -> Option<i32> {
        let mut child = self.child.take().expect("it runs");
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill is there").success());
        let mut ended = None;
        eventually("the builder stops", Duration::from_secs(30), || {
            ended = child.try_wait().expect("a child can be looked at");
            std::future::ready(ended.map(|_| ()))
        })
        .await;
        ended.and_then(|status| status.code())
    }

    /// Starts again on the same data directory and port, with further settings.
    pub async fn restart_with(&mut self, settings: &[(&str, &str)]) {
        self.kill();
        self.settings.extend(settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        assert!(self.launch().await, "the port {} was taken meanwhile", self.port);
    }

    /// SIGKILL, and again on the same data directory and port.
    pub async fn restart(&mut self) {
        self.restart_with(&[]).await;
    }

    /// Its objects in the engine.
    pub fn installation(&self) -> Installation {
        let name = std::fs::read_to_string(self.data().join("installation")).expect("an installation has a name");
        Installation(name.trim().to_owned())
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Bytes of memory that the process holds at this moment.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has memory");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    // Addresses

    /// An address on one of its hosts.
    pub fn at(&self, host: &str, path: &str) -> String {
        format!("http://{host}:{}{path}", self.port)
    }

    /// A request to the API.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, self.at("builder.localhost", &format!("/api/v1{path}")));
        if self.session.is_empty() { request } else { request.header("Cookie", &self.session) }
    }

    /// Logs in: from now on requests to the API carry the session.
    pub async fn log_in(&mut self, password: &str) {
        let login = self.http.post(self.at("builder.localhost", "/login"));
        let login = login.header("Content-Type", "application/x-www-form-urlencoded");
        let answer = send(login.body(format!("password={password}"))).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text());
        let cookie = answer.header("set-cookie").split(';').next().expect("a cookie");
        cookie.clone_into(&mut self.session);
    }

    /// The session's cookie.
    pub fn session(&self) -> &str {
        &self.session
    }

    pub async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        send(self.request(Method::DELETE, path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        send(self.request(Method::POST, path).json(body)).await
    }

    pub async fn put(&self, path: &str, bytes: impl Into<Vec<u8>>) -> Answer {
        send(self.request(Method::PUT, path).body(bytes.into())).await
    }

    /// An address of an app: `host` is `oak-river`, `oak-river-preview` or `oak-river-draft`.
    pub async fn open(&self, host: &str, path: &str) -> Answer {
        send(self.http.get(self.at(&format!("{host}.localhost"), path))).await
    }

    // Common steps of tests

    /// A new app of a template; its name. Nothing is deployed in it but what a test asks for.
    pub async fn create(&self, template: &str, description: &str) -> String {
        self.create_with(&json!({"description": description, "template": template, "auto_preview": false})).await
    }

    /// A new app with automatic previews, which are the default.
    pub async fn create_followed(&self, template: &str, description: &str) -> String {
        self.create_with(&json!({"description": description, "template": template})).await
    }

    async fn create_with(&self, new: &Value) -> String {
        let app = self.post("/apps", new).await.expect(201);
        app["name"].as_str().expect("an app has a name").to_owned()
    }

    pub async fn app(&self, name: &str) -> Value {
        self.get(&format!("/apps/{name}")).await.expect(200)
    }

    pub async fn head(&self, name: &str) -> String {
        self.app(name).await["head"].as_str().expect("an app has a head").to_owned()
    }

    /// Asks for a job; it as it was answered.
    pub async fn ask(&self, path: &str, body: &Value) -> Value {
        self.post(path, body).await.expect(202)
    }

    pub async fn job(&self, id: &Value) -> Value {
        self.get(&format!("/jobs/{}", word(id))).await.expect(200)
    }

    /// Waits for a job's end; the job.
    pub async fn ended(&self, job: &Value) -> Value {
        eventually(&format!("job {} ends", job["id"]), PATIENCE, || async {
            let job = self.job(&job["id"]).await;
            matches!(job["state"].as_str(), Some("succeeded" | "failed" | "cancelled")).then_some(job)
        })
        .await
    }

    /// Asks for a job and waits until it has succeeded.
    pub async fn done(&self, path: &str, body: &Value) -> Value {
        let job = self.ask(path, body).await;
        let job = self.ended(&job).await;
        assert_eq!(job["state"], "succeeded", "{job:#}\n{}", self.log());
        job
    }

    /// Asks for a job and waits until it has failed.
    pub async fn failed(&self, path: &str, body: &Value) -> Value {
        let job = self.ask(path, body).await;
        let job = self.ended(&job).await;
        assert_eq!(job["state"], "failed", "{job:#}");
        job
    }

    pub async fn preview(&self, app: &str) -> Value {
        self.done(&format!("/apps/{app}/previews"), &json!({})).await
    }

    pub async fn publish(&self, app: &str) -> Value {
        self.done(&format!("/apps/{app}/publish"), &json!({})).await
    }

    pub async fn turn(&self, app: &str, prompt: &str) -> Value {
        self.done(&format!("/apps/{app}/turns"), &json!({"prompt": prompt})).await
    }

    /// Saves a file of an app.
    pub async fn write(&self, app: &str, path: &str, text: &str) {
        let answer = self.put(&format!("/apps/{app}/files/{path}"), text).await;
        assert!(answer.status.is_success(), "{}", answer.text());
    }

    /// Releases of an environment, newest first.
    pub async fn releases(&self, app: &str, environment: &str) -> Vec<Value> {
        let list = self.get(&format!("/apps/{app}/releases?environment={environment}")).await.expect(200);
        list["releases"].as_array().expect("a list").clone()
    }

    /// The app's event stream after an id.
    pub async fn events(&self, app: &str, after: u64) -> Stream {
        Stream::open(self.request(Method::GET, &format!("/apps/{app}/events")), after).await
    }

    /// A job's event stream from its beginning.
    pub async fn job_events(&self, id: &Value, after: u64) -> Stream {
        Stream::open(self.request(Method::GET, &format!("/jobs/{}/events", word(id))), after).await
    }
}

/// An id, whether it is written as a number or as text.
pub fn word(id: &Value) -> String {
    id.as_str().map_or_else(|| id.to_string(), str::to_owned)
}

/// Whether a folder is there.
pub fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

impl Drop for Builder {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let last: Vec<&str> = log.lines().rev().take(60).collect();
            eprintln!("--- the builder's last words");
            last.iter().rev().for_each(|line| eprintln!("{line}"));
        }
        if let Ok(name) = std::fs::read_to_string(self.data().join("installation")) {
            Installation(name.trim().to_owned()).remove_everything();
        }
    }
}
