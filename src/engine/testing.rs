//! For tests on the real engine: an installation of their own, whose objects are all removed when it is dropped, even
//! after a panic.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bollard::Docker;
use bollard::query_parameters::{
    BuildImageOptionsBuilder, ListContainersOptionsBuilder, ListImagesOptionsBuilder, ListNetworksOptionsBuilder,
    RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder,
};
use bytes::Bytes;
use futures_util::StreamExt;

use super::{connect, ping};
use crate::domain::{AppId, AppName, ImageRef};
use crate::ownership::Installation;

/// An installation that exists for one test.
pub struct Sandbox {
    /// The engine.
    pub docker: Docker,
    /// A unique id.
    pub installation: Installation,
    apps: AtomicU32,
}

impl Sandbox {
    /// Panics with an explanation if no engine answers.
    pub async fn new() -> Self {
        let docker = connect(std::env::var("DOCKER_HOST").ok().as_deref()).expect("DOCKER_HOST names an engine");
        if let Err(fault) = ping(&docker).await {
            panic!("This test needs a running Docker engine. {fault}");
        }
        let installation = format!("t{:x}", rand::random::<u32>()).parse().expect("a short name");
        Self { docker, installation, apps: AtomicU32::new(0) }
    }

    /// A new app of this installation.
    pub fn app(&self) -> (AppName, AppId) {
        let n = self.apps.fetch_add(1, Ordering::Relaxed) + 1;
        (format!("{}-app{n}", self.installation).parse().expect("a name"), AppId(i64::from(n)))
    }

    /// Builds an image without the code under test. It has the installation's labels.
    pub async fn image(&self, app: &(AppName, AppId), files: &[(&str, &str)]) -> ImageRef {
        let labels = self.installation.labels(&app.0, app.1);
        let name = format!("slipway-test/{}", app.0);
        // Without the cache: the layers of another test's image may be removed while this build uses them.
        let options =
            BuildImageOptionsBuilder::new().nocache(true).rm(true).forcerm(true).labels(&labels).t(&name).build();
        let body = bollard::body_full(Bytes::from(tar_of(files)));
        let mut stream = std::pin::pin!(self.docker.build_image(options, None, Some(body)));
        let mut id = None;
        while let Some(step) = stream.next().await {
            let step = step.expect("the test's image builds; run scripts/setup if slipway.local/* is missing");
            id = step.aux.and_then(|aux| aux.id).or(id);
        }
        format!("{name}@{}", id.expect("an image id")).parse().expect("an image")
    }
}

/// A connection to the engine that a test can cut, to simulate an outage.
pub struct Line {
    /// The address in the form of `DOCKER_HOST`.
    pub host: String,
    address: std::net::SocketAddr,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Line {
    /// Starts a connection that works.
    pub async fn new() -> Self {
        let any = "127.0.0.1:0".parse().expect("an address");
        let mut line = Self { host: String::new(), address: any, task: None };
        line.restore().await;
        line.host = format!("tcp://{}", line.address);
        line
    }

    /// Closes all connections and refuses new ones, until [`Self::restore`].
    pub async fn cut(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            let _ = task.await;
        }
    }

    /// Accepts connections again.
    pub async fn restore(&mut self) {
        let listener = tokio::net::TcpListener::bind(self.address).await.expect("the port is free");
        self.address = listener.local_addr().expect("an address");
        self.task = Some(tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                open.spawn(async move {
                    let socket = std::env::var("DOCKER_HOST").unwrap_or_default();
                    let path = socket.strip_prefix("unix://").unwrap_or("/var/run/docker.sock").to_owned();
                    let mut far = tokio::net::UnixStream::connect(path).await.expect("the engine's socket");
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
        }));
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// A tar archive of these files.
pub fn tar_of(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(text.len() as u64);
        tar.append_data(&mut header, path, text.as_bytes()).expect("an entry");
    }
    tar.into_inner().expect("a tar")
}

/// Waits until `holds` returns true. Panics with `what` after `limit`.
pub async fn eventually<F: Future<Output = bool>>(what: &str, limit: Duration, mut holds: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + limit;
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let filter = self.installation.filter();
        // A separate thread and runtime: the test's own runtime may have ended, or the test may be panicking.
        let cleaned = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(clean(&filter));
            std::io::Result::Ok(())
        });
        if !matches!(cleaned.join(), Ok(Ok(()))) {
            eprintln!("what this test made in the engine could not be removed");
        }
    }
}

async fn clean(filter: &HashMap<String, Vec<String>>) {
    let Ok(docker) = connect(std::env::var("DOCKER_HOST").ok().as_deref()) else { return };
    let containers = ListContainersOptionsBuilder::new().all(true).filters(filter).build();
    for container in docker.list_containers(Some(containers)).await.unwrap_or_default() {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        let _ = docker.remove_container(&container.id.unwrap_or_default(), Some(options)).await;
    }
    let networks = ListNetworksOptionsBuilder::new().filters(filter).build();
    for network in docker.list_networks(Some(networks)).await.unwrap_or_default() {
        let _ = docker.remove_network(&network.id.unwrap_or_default()).await;
    }
    let images = ListImagesOptionsBuilder::new().filters(filter).build();
    for image in docker.list_images(Some(images)).await.unwrap_or_default() {
        let options = RemoveImageOptionsBuilder::new().force(true).build();
        let _ = docker.remove_image(&image.id, Some(options), None).await;
    }
}
