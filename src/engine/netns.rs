//! For tests: simulates the engine that Slipway runs in a cluster, with a second dockerd in a network namespace of its
//! own, and with the script, certificates and flags of `k8s/builder/engine`. `RootlessKit`'s port driver, which accepts
//! connections outside of the namespace and opens them again on its loopback, is simulated too. All objects are removed
//! when the engine is dropped.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::task::JoinSet;

/// The port of the engine, as in `k8s/builder/engine`.
pub const ENGINE_PORT: u16 = 2376;

/// How long the second engine may take to stop before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// Runs a program to its end and returns its output.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let done = Command::new(program).args(arguments).output();
    let done = done.unwrap_or_else(|error| panic!("this test needs the program {program}: {error}"));
    let words = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{program} {arguments:?}: {words}");
    String::from_utf8_lossy(&done.stdout).trim().to_owned()
}

/// Runs `work` on a thread in another network namespace, named by its file. Sockets stay in the namespace in which they
/// were created.
pub fn within<T: Send>(namespace: &Path, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let file = File::open(namespace).expect("the namespace is there");
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).expect("these tests need root");
            work()
        });
        thread.join().expect("no panic")
    })
}

/// A network namespace.
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Creates a namespace that has only a loopback interface.
    pub fn with_loopback() -> Self {
        let namespace = Self { name: format!("slipway-t{:08x}", rand::random::<u32>()) };
        run("ip", &["netns", "add", &namespace.name]);
        namespace.ip(&["link", "set", "lo", "up"]);
        namespace
    }

    /// Runs `ip` in the namespace.
    pub fn ip(&self, arguments: &[&str]) {
        run("ip", &[&["-n", self.name.as_str()], arguments].concat());
    }

    /// The namespace's file.
    pub fn file(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    /// Connects to another namespace with a pair of interfaces, both named `up0`, with these addresses.
    pub fn join(&self, address: &str, other: &Self, others_address: &str) {
        self.ip(&["link", "add", "up0", "type", "veth", "peer", "name", "up0", "netns", &other.name]);
        for (namespace, address) in [(self, address), (other, others_address)] {
            namespace.ip(&["address", "add", address, "dev", "up0"]);
            namespace.ip(&["link", "set", "up0", "up"]);
        }
    }

    /// A listener in the namespace.
    pub fn listen(&self, address: &str) -> tokio::net::TcpListener {
        listen(&self.file(), address)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

/// A listener in a namespace.
pub fn listen(namespace: &Path, address: &str) -> tokio::net::TcpListener {
    let listener = within(namespace, || {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        io::Result::Ok(listener)
    });
    let listener = listener.unwrap_or_else(|error| panic!("{address}: {error}"));
    tokio::net::TcpListener::from_std(listener).expect("a listener")
}

/// A second engine, as in a cluster.
pub struct PlayedEngine {
    /// The address at which the builder reaches it.
    pub address: SocketAddr,
    folder: tempfile::TempDir,
    /// `None` once it is being stopped.
    dockerd: Option<Child>,
    _port_driver: JoinSet<()>,
}

impl PlayedEngine {
    /// Starts `k8s/builder/engine/dockerd` in the namespace. `resolver` is what its `/etc/resolv.conf` names.
    pub async fn start(namespace: &Namespace, resolver: &str, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(path("resolv.conf"), format!("nameserver {resolver}\n")).expect("a file");
        // The machine's own engine may have settings in its file that would conflict with these options.
        std::fs::write(path("daemon.json"), "{}").expect("a file");
        run(&source("scripts/engine-certificates"), &[&path("tls"), "localhost", "127.0.0.1"]);
        let log = File::create(path("log")).expect("a file");
        // A mount namespace as well, so that the engine's mounts are removed with it.
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", namespace.file().display()))
            .args(["unshare", "--mount", "sh", "-c", "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\""])
            .args([path("resolv.conf"), source("k8s/builder/engine/dockerd")])
            .args(["--data-root", &path("data"), "--exec-root", &path("exec"), "--pidfile", &path("pid")])
            .args(["--config-file", &path("daemon.json"), "--mtu=1400"])
            .args(runtime())
            .args(options)
            .env("SLIPWAY_TLS_DIR", path("tls/server"))
            .env("SLIPWAY_ENGINE_SOCKET", path("docker.sock"))
            .env_remove("DOCKER_HOST")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log);
        let dockerd = Some(command.spawn().expect("nsenter is installed"));
        let near = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = near.local_addr().expect("an address");
        let mut port_driver = JoinSet::new();
        port_driver.spawn(pass_on(near, namespace.file()));
        Self { address, folder, dockerd, _port_driver: port_driver }
    }

    /// The folder of the builder's certificates, in the form of `DOCKER_CERT_PATH`.
    pub fn client_certificates(&self) -> PathBuf {
        self.folder.path().join("tls/client")
    }

    /// Runs `docker` against it, through its socket.
    pub fn docker(&self, arguments: &[&str]) -> String {
        run("docker", &[&["--host", self.socket().as_str()], arguments].concat())
    }

    /// Copies an image of the usual engine to it.
    pub fn load(&self, image: &str) {
        let script = "docker image save \"$0\" | docker --host \"$1\" image load";
        run("bash", &["-o", "pipefail", "-c", script, image, &self.socket()]);
    }

    /// Panics with the last lines of the engine's log if it has ended.
    pub fn assert_runs(&mut self) {
        if let Some(Ok(Some(status))) = self.dockerd.as_mut().map(Child::try_wait) {
            panic!("the second engine has ended with {status}: {}", self.log());
        }
    }

    /// The last lines of the engine's log.
    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    fn socket(&self) -> String {
        format!("unix://{}", self.folder.path().join("docker.sock").display())
    }
}

impl Drop for PlayedEngine {
    fn drop(&mut self) {
        let Some(mut dockerd) = self.dockerd.take() else { return };
        let pid = dockerd.id().to_string();
        let (ended, end) = std::sync::mpsc::channel();
        let waiting = std::thread::spawn(move || {
            let _ = dockerd.wait();
            let _ = ended.send(());
        });
        // First a regular stop, so that it ends its containers and its own containerd.
        let _ = Command::new("kill").arg(&pid).status();
        if end.recv_timeout(STOP_LIMIT).is_err() {
            let _ = Command::new("kill").args(["-KILL", &pid]).status();
        }
        let _ = waiting.join();
    }
}

/// The path of a file of the sources.
fn source(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path).display().to_string()
}

/// The engine's options for the OCI runtime that the usual engine uses on this machine.
fn runtime() -> Vec<String> {
    let name = run("docker", &["info", "--format", "{{.DefaultRuntime}}"]);
    let path = run("docker", &["info", "--format", &format!("{{{{(index .Runtimes \"{name}\").Path}}}}")]);
    if name == "runc" {
        return Vec::new();
    }
    vec![format!("--add-runtime={name}={path}"), format!("--default-runtime={name}")]
}

/// Forwards like `RootlessKit`'s port driver: each connection is opened again on the loopback inside.
async fn pass_on(near: tokio::net::TcpListener, namespace: PathBuf) {
    let mut open = JoinSet::new();
    while let Ok((mut stream, _)) = near.accept().await {
        let namespace = namespace.clone();
        open.spawn(async move {
            let dialled = tokio::task::spawn_blocking(move || {
                within(&namespace, || std::net::TcpStream::connect(("127.0.0.1", ENGINE_PORT)))
            });
            let Ok(Ok(far)) = dialled.await else { return };
            far.set_nonblocking(true).expect("a socket");
            let mut far = tokio::net::TcpStream::from_std(far).expect("a socket");
            let _ = tokio::io::copy_bidirectional(&mut stream, &mut far).await;
        });
    }
}
