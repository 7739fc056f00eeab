//! The engine as its own command line shows it: what an installation has there, and its removal.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tokio::net::{UnixListener, UnixStream};

/// A container of an installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    pub id: String,
    pub state: String,
    pub name: String,
    pub labels: BTreeMap<String, String>,
}

impl Container {
    /// App, environment and release, as in `oak-river/preview/3`. The release is the one in its name: what went on after a
    /// roll back has the label of an earlier one.
    pub fn place(&self) -> String {
        let label = |name: &str| self.labels.get(&format!("slipway.dev/{name}")).map_or("-", String::as_str);
        let named = self.name.split('.').next().and_then(|name| name.rsplit('-').next());
        format!("{}/{}/{}", label("app"), label("environment"), named.unwrap_or("-"))
    }
}

/// Runs `docker`; its output, or what it complained about.
pub fn docker(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("docker").args(arguments).output().expect("the docker command is installed");
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// A connection to the engine that can be cut to simulate an outage.
pub struct Line {
    socket: PathBuf,
    task: Option<tokio::task::JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

impl Line {
    /// A line that works.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut line = Self { socket: folder.path().join("engine.sock"), task: None, _folder: folder };
        line.restore();
        line
    }

    /// In the form of `DOCKER_HOST`.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Closes all connections and refuses new ones, until it is restored.
    pub async fn cut(&mut self) {
        if let Some(task) = self.task.take() {
            std::fs::remove_file(&self.socket).expect("the socket is there");
            task.abort();
            let _ = task.await;
        }
    }

    /// Makes it work again.
    pub fn restore(&mut self) {
        let listener = UnixListener::bind(&self.socket).expect("the socket's place is free");
        self.task = Some(tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                open.spawn(async move {
                    let host = std::env::var("DOCKER_HOST").unwrap_or_default();
                    let path = host.strip_prefix("unix://").unwrap_or("/var/run/docker.sock").to_owned();
                    let mut far = UnixStream::connect(path).await.expect("the engine's socket");
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

/// The base image of static sites: the image of `scripts/setup`, else the public one.
pub fn nginx_base() -> &'static str {
    let own = "slipway.local/nginx";
    if docker(&["image", "inspect", own]).is_ok() { own } else { "nginxinc/nginx-unprivileged:alpine-slim" }
}

fn words(arguments: &[&str]) -> Vec<String> {
    let text = docker(arguments).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

/// The objects of one builder in the engine.
#[derive(Debug, Clone)]
pub struct Installation(pub String);

impl Installation {
    fn filter(&self) -> String {
        format!("label=slipway.dev/installation={}", self.0)
    }

    /// All containers, running or not, with all their labels.
    pub fn containers(&self) -> Vec<Container> {
        let ids = words(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &self.filter()]);
        ids.iter().filter_map(|id| inspect(id)).collect()
    }

    /// The containers that serve releases, as `app/environment/release`, sorted. Runs of jobs are left out, and what is
    /// paused.
    pub fn places(&self) -> Vec<String> {
        self.of_releases(|state| state != "paused")
    }

    /// The releases that are paused.
    pub fn paused(&self) -> Vec<String> {
        self.of_releases(|state| state == "paused")
    }

    fn of_releases(&self, is_in: impl Fn(&str) -> bool) -> Vec<String> {
        let mut places: Vec<String> = self
            .containers()
            .iter()
            .filter(|container| !container.labels.contains_key("slipway.dev/run") && is_in(&container.state))
            .map(Container::place)
            .collect();
        places.sort();
        places
    }

    /// Ids of containers, networks and images that carry an app's label.
    pub fn of_app(&self, app: &str) -> Vec<String> {
        let (ours, app) = (self.filter(), format!("label=slipway.dev/app={app}"));
        let mut all = words(&["ps", "--all", "--quiet", "--filter", &ours, "--filter", &app]);
        all.extend(words(&["network", "ls", "--quiet", "--filter", &ours, "--filter", &app]));
        all.extend(words(&["images", "--quiet", "--filter", &ours, "--filter", &app]));
        all
    }

    /// Removes everything. Never fails: it runs after a panic too.
    pub fn remove_everything(&self) {
        let filter = self.filter();
        let remove = |list: &[&str], remove: &[&str]| {
            let found = words(list);
            if !found.is_empty() {
                let arguments: Vec<&str> = remove.iter().copied().chain(found.iter().map(String::as_str)).collect();
                if let Err(complaint) = docker(&arguments) {
                    eprintln!("left in the engine: {complaint}");
                }
            }
        };
        remove(&["ps", "--all", "--quiet", "--filter", &filter], &["rm", "--force", "--volumes"]);
        remove(&["network", "ls", "--quiet", "--filter", &filter], &["network", "rm"]);
        remove(&["images", "--quiet", "--no-trunc", "--filter", &filter], &["rmi", "--force"]);
    }
}

fn inspect(id: &str) -> Option<Container> {
    // A container that was removed between the two calls does not count.
    let text = docker(&["inspect", id]).ok()?;
    let value: Value = serde_json::from_str(&text).expect("docker inspect writes JSON");
    let container = &value[0];
    let labels = container["Config"]["Labels"].as_object()?;
    Some(Container {
        id: id.to_owned(),
        name: container["Name"].as_str().unwrap_or_default().to_owned(),
        state: container["State"]["Status"].as_str().unwrap_or_default().to_owned(),
        labels: labels
            .iter()
            .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect(),
    })
}

/// `docker inspect` of one thing.
pub fn inspected(id: &str) -> Value {
    let text = docker(&["inspect", id]).expect("it can be inspected");
    let value: Value = serde_json::from_str(&text).expect("docker inspect writes JSON");
    value[0].clone()
}
