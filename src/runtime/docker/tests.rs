//! Containers on the real engine.

mod egress;
mod instances;
mod jobs;
mod paused;
mod streams;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::{Deployment, Instance, RuntimeError};
use super::{DockerRuntime, DockerSettings, HostMemory, SubnetPool};
use crate::domain::{
    AppId, AppName, DeploymentSpec, Environment, ImageRef, Probe, ProcessKind, ReleaseNumber, ResourceLimits,
};
use crate::engine::testing::Sandbox;
use crate::firewall::{Firewall, FirewallSettings};
use crate::gateway::{Routes, Traffic};
use crate::ownership::Installation;

/// An app that does what its tests ask it to.
const APP: &str = include_str!("tests/app.py");
/// Runs it as root, as far as the image has a say.
const DOCKERFILE: &str =
    "FROM slipway.local/python\nVOLUME /data\nCOPY app.py /app.py\nCMD [\"python3\", \"-u\", \"/app.py\"]\n";
/// More than any wait in these tests needs.
const LONG: Duration = Duration::from_secs(30);

/// A runtime, an app, and the app's image.
struct Scene {
    runtime: DockerRuntime,
    app: (AppName, AppId),
    image: ImageRef,
    sandbox: Sandbox,
}

impl Scene {
    async fn new() -> Self {
        let sandbox = Sandbox::new().await;
        let app = sandbox.app();
        let image = sandbox.image(&app, &[("Dockerfile", DOCKERFILE), ("app.py", APP)]).await;
        Self { runtime: runtime(&sandbox), app, image, sandbox }
    }

    /// A service that behaves as `mode` says.
    fn deployment(&self, environment: Environment, release: u32, mode: &str) -> Deployment {
        self.deployment_of(&self.app, environment, release, mode)
    }

    fn deployment_of(&self, app: &(AppName, AppId), environment: Environment, release: u32, mode: &str) -> Deployment {
        Deployment {
            app: app.0.clone(),
            app_id: app.1,
            environment,
            release: ReleaseNumber(release),
            image: self.image.clone(),
            spec: spec(ProcessKind::Service(probe("/health")), mode),
            secrets: BTreeMap::from([("WORD".to_owned(), "only the app knows".to_owned().into())]),
        }
    }

    async fn start(&self, deployment: &Deployment) -> Instance {
        self.runtime.start(deployment, &CancellationToken::new()).await.expect("it starts")
    }

    /// Starts a release and waits until it answers.
    async fn serve(&self, deployment: &Deployment) -> Instance {
        let instance = self.start(deployment).await;
        self.ready(&instance, "/health", LONG).await.expect("it answers");
        instance
    }

    async fn ready(&self, instance: &Instance, path: &str, deadline: Duration) -> Result<(), RuntimeError> {
        self.runtime.wait_ready(instance, &probe(path), deadline, &CancellationToken::new()).await.map(drop)
    }
}

/// A runtime as another builder on the same data would have it.
fn runtime(sandbox: &Sandbox) -> DockerRuntime {
    let firewall = firewall(&sandbox.installation);
    let settings = settings(sandbox.installation.clone(), firewall);
    DockerRuntime::new(sandbox.docker.clone(), settings)
}

/// How it makes containers. Nothing asks its gateway.
fn settings(installation: Installation, firewall: Firewall) -> DockerSettings {
    DockerSettings {
        installation,
        subnets: SubnetPool::APPS,
        firewall,
        traffic: Traffic::new(Routes::new()),
        tasks: TaskTracker::new(),
        keeps_replaced: true,
        memory: HostMemory::here(),
    }
}

fn firewall(installation: &Installation) -> Firewall {
    Firewall::new(FirewallSettings::new(installation, true))
}

fn probe(path: &str) -> Probe {
    Probe { port: 8080, path: path.to_owned() }
}

fn spec(process: ProcessKind, mode: &str) -> DeploymentSpec {
    let variables = BTreeMap::from([("MODE".to_owned(), mode.to_owned())]);
    DeploymentSpec {
        process,
        limits: ResourceLimits::default(),
        schedule: None,
        timezone: None,
        variables,
        is_init: false,
    }
}

/// The body of an answer to GET.
async fn get(address: Option<SocketAddr>, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address.expect("an address")).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}
