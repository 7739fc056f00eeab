//! A builder of its own on a real cluster, with lines to all that it needs which can be cut: to the API server, the
//! registry and the engine. Everything it made is removed when a test is over, after a panic as well.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::{Namespace, Secret, Service, ServiceAccount};
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use slipway::config::Config;
use slipway::domain::{App, AppName, Environment, EventBody, EventId, Job, JobState};
use slipway::services::Services;
use slipway::services::apps::CreateApp;
use slipway::startup::{self, Builder};

use super::line::{End, Line};

/// The registry as the node pulls from it.
pub const REGISTRY: &str = "127.0.0.1:5000";
/// Longest wait for anything.
pub const PATIENCE: Duration = Duration::from_mins(4);

/// Everything that a test needs.
pub struct Stage {
    /// The cluster, as its operator.
    pub operator: Client,
    /// What a user can do.
    pub services: Services,
    /// The line from the builder to the API server.
    pub cluster: Line,
    /// The line from the builder, and from the engine that it builds with, to the registry.
    pub registry: Line,
    /// The line from the builder to the engine.
    pub engine: Line,
    builder: Option<Builder>,
    settings: Vec<(String, String)>,
    folder: tempfile::TempDir,
    _processes: Vec<Killed>,
}

impl Stage {
    /// A cluster, a registry, and a builder with the rights of its own account and no more.
    pub async fn new() -> Self {
        Self::with(&[]).await
    }

    /// As [`Self::new`], with settings of a test's own.
    pub async fn with(extra: &[(&str, String)]) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let _ = tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).try_init();
        let operator_file = cluster();
        let operator = client(&operator_file).await;
        let folder = tempfile::tempdir().expect("a folder");
        let registry_process = registry(folder.path()).await;
        let token = builder_token(&operator).await;
        let file = Kubeconfig::read_from(&operator_file).expect("a kubeconfig");
        let server = kube::Config::from_custom_kubeconfig(file.clone(), &KubeConfigOptions::default())
            .await
            .expect("a kubeconfig")
            .cluster_url;
        let cluster = Line::to(End::Tcp(server.authority().expect("an address").to_string())).await;
        let (registry, engine) = (Line::to(End::Tcp(REGISTRY.to_owned())).await, Line::to(engine()).await);
        let kubeconfig = folder.path().join("kubeconfig");
        write_kubeconfig(&kubeconfig, file, server.host().unwrap_or_default(), cluster.port, &token);
        let data = folder.path().join("data");
        let settings = [
            ("SLIPWAY_DATA_DIR", data.display().to_string()),
            ("SLIPWAY_RUNTIME", "kubernetes".to_owned()),
            ("SLIPWAY_REGISTRY", format!("127.0.0.1:{}", registry.port)),
            ("SLIPWAY_REGISTRY_PULL", REGISTRY.to_owned()),
            ("DOCKER_HOST", format!("tcp://127.0.0.1:{}", engine.port)),
            ("KUBECONFIG", kubeconfig.display().to_string()),
            ("SLIPWAY_PROVIDER", "demo".to_owned()),
            ("SLIPWAY_RECONCILE_SECONDS", "2".to_owned()),
        ];
        let mut settings: Vec<_> = settings.map(|(name, value)| (name.to_owned(), value)).into();
        for name in ["SLIPWAY_BASE_IMAGE_PYTHON", "SLIPWAY_BASE_IMAGE_NGINX"] {
            settings.extend(std::env::var(name).ok().map(|value| (name.to_owned(), value)));
        }
        for (name, value) in extra {
            settings.retain(|(known, _)| known != name);
            settings.push(((*name).to_owned(), value.clone()));
        }
        let builder = start(&settings).await;
        let services = builder.services.clone();
        let builder = Some(builder);
        let processes = registry_process.into_iter().collect();
        Self { operator, services, cluster, registry, engine, builder, settings, folder, _processes: processes }
    }

    /// The builder dies in the middle of what it does, and is started again with further settings.
    pub async fn restart_with(&mut self, settings: &[(&str, String)]) {
        self.settings.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        self.restart_at_once().await;
    }

    /// The builder dies in the middle of what it does, and is started again.
    pub async fn restart_at_once(&mut self) {
        let builder = self.builder.take().expect("a builder");
        builder.lifecycle.draining.cancel();
        builder.lifecycle.aborting.cancel();
        builder.lifecycle.tasks.close();
        builder.lifecycle.tasks.wait().await;
        drop(builder);
        let builder = start(&self.settings).await;
        self.services = builder.services.clone();
        self.builder = Some(builder);
    }

    /// A new app from a template, with a unique name.
    pub async fn app(&self, template: &str) -> App {
        let name: AppName = format!("t{:08x}", rand::random::<u32>()).parse().expect("a name");
        let new = CreateApp {
            auto_preview: false,
            description: "An app of a test".to_owned(),
            template: Some(template.parse().expect("a template")),
            name: Some(name),
        };
        self.services.create_app(new).await.expect("an app")
    }

    /// Writes a file, which makes a version.
    pub async fn write(&self, app: &App, path: &str, text: &str) {
        let path = path.parse().expect("a path");
        self.services.write_file(&app.name, &path, text.as_bytes().to_vec(), None).await.expect("it is written");
    }

    /// Deploys the newest version to preview, and waits for the end.
    pub async fn preview(&self, app: &App) -> Job {
        let job = self.services.deploy_preview(&app.name, None).await.expect("a job");
        self.ended(&job).await
    }

    /// Publishes, and waits for the end.
    pub async fn publish(&self, app: &App) -> Job {
        let job = self.services.publish(&app.name).await.expect("a job");
        self.ended(&job).await
    }

    /// Waits for a job's end.
    pub async fn ended(&self, job: &Job) -> Job {
        tokio::time::timeout(PATIENCE, self.services.job_events(job, EventId(0)).for_each(async |_| {}))
            .await
            .unwrap_or_else(|_| panic!("{} of {} has not ended", job.kind.as_str(), job.app));
        self.services.job(job.id).await.expect("the job")
    }

    /// Waits until a job has logged a line with `words` in it.
    pub async fn logged(&self, job: &Job, words: &str) -> String {
        let mut events = Box::pin(self.services.job_events(job, EventId(0)));
        let found = async {
            while let Some(event) = events.next().await {
                if let EventBody::Log { line, .. } = &event.expect("an event").body
                    && line.contains(words)
                {
                    return Some(line.clone());
                }
            }
            None
        };
        let found = tokio::time::timeout(PATIENCE, found).await.ok().flatten();
        found.unwrap_or_else(|| panic!("{} of {} never said “{words}”", job.kind.as_str(), job.app))
    }

    /// Objects of one kind in an app's namespace.
    pub fn objects<K>(&self, app: &App) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.operator.clone(), &format!("app-{}", app.name))
    }

    /// Namespaces.
    pub fn namespaces(&self) -> Api<Namespace> {
        Api::all(self.operator.clone())
    }

    /// Where an environment answers in the cluster.
    pub async fn address(&self, app: &App, environment: Environment) -> String {
        let service =
            self.objects::<Service>(app).get(&format!("{}-{environment}", app.name)).await.expect("a Service");
        service.spec.expect("a spec").cluster_ip.expect("an address")
    }

    /// The response of an environment's Service; nothing while the Service is missing or has no pod.
    pub async fn fetch(&self, app: &App, environment: Environment, path: &str) -> Option<(u16, String)> {
        let name = format!("{}-{environment}", app.name);
        let service = self.objects::<Service>(app).get_opt(&name).await.expect("the cluster answers")?;
        let address = service.spec?.cluster_ip?;
        let answer = http().get(format!("http://{address}{path}")).send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.text().await.ok()?))
    }

    /// Waits until a path of an environment answers with 200.
    pub async fn is_served(&self, app: &App, environment: Environment, path: &str) {
        until(&format!("{path} of {} in {environment} answers", app.name), async || {
            self.fetch(app, environment, path).await.filter(|(status, _)| *status == 200)
        })
        .await;
    }

    /// Waits until an environment answers with `expected`: the nodes learn within a second or so where a
    /// Service leads by now.
    pub async fn answers(&self, app: &App, environment: Environment, path: &str, expected: &str) {
        let seen = async {
            loop {
                let answer = self.fetch(app, environment, path).await;
                if answer == Some((200, expected.to_owned())) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let seen = tokio::time::timeout(PATIENCE, seen).await;
        seen.unwrap_or_else(|_| panic!("{environment} of {} never answered {expected}", app.name));
    }

    /// The builder's data directory.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The builder's own line to the cluster, with its account's rights.
    pub async fn as_builder(&self) -> Client {
        client(&self.folder.path().join("kubeconfig")).await
    }

    /// Deletes an app, and waits until nothing is left of it.
    pub async fn delete(&self, app: &App) {
        let job = self.services.delete_app(&app.name).await.expect("a job");
        let job = self.ended(&job).await;
        assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);
        let left = self.namespaces().get_opt(&format!("app-{}", app.name)).await.expect("an answer");
        assert!(left.is_none(), "the namespace is still there");
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(builder) = self.builder.take() {
            builder.lifecycle.draining.cancel();
            builder.lifecycle.aborting.cancel();
        }
        // After a panic the apps still exist: their namespaces are labelled with this installation's name.
        let installation = std::fs::read_to_string(self.data().join("installation")).unwrap_or_default();
        let operator = self.operator.clone();
        let clean = async move {
            let namespaces: Api<Namespace> = Api::all(operator);
            let ours = ListParams::default().labels(&format!("slipway.dev/installation={}", installation.trim()));
            for namespace in namespaces.list(&ours).await.map(|list| list.items).unwrap_or_default() {
                let name = namespace.metadata.name.unwrap_or_default();
                let _ = namespaces.delete(&name, &DeleteParams::default()).await;
            }
        };
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(clean));
    }
}

/// The test's own HTTP client: a new connection for each request, as new visitors make.
pub fn http() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(0)
        .timeout(Duration::from_secs(10))
        .build()
        .expect("a client")
}

async fn start(settings: &[(String, String)]) -> Builder {
    let config =
        Config::load(None, settings.iter().cloned(), &[("listen", "127.0.0.1:0".to_owned())]).expect("settings");
    startup::start(config).await.expect("a builder")
}

async fn client(kubeconfig: &Path) -> Client {
    let file = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.expect("a kubeconfig");
    Client::try_from(config).expect("a client")
}

/// The cluster that is at hand: `KUBECONFIG`, an installed k3s, or the test cluster, started if it is not up.
pub fn cluster() -> PathBuf {
    if let Ok(file) = std::env::var("KUBECONFIG") {
        return file.into();
    }
    let k3s = Path::new("/etc/rancher/k3s/k3s.yaml");
    if k3s.exists() {
        return k3s.to_owned();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/test-cluster");
    let output = Command::new(&script).arg("up").stderr(Stdio::inherit()).output().expect("scripts/test-cluster runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let file = said.lines().find_map(|line| line.strip_prefix("export KUBECONFIG="));
    file.unwrap_or_else(|| panic!("scripts/test-cluster up said no KUBECONFIG: {said}")).into()
}

/// Where the engine is that this machine builds with.
fn engine() -> End {
    let host = std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
    match host.split_once("://") {
        Some(("unix", path)) => End::Unix(path.into()),
        Some(("tcp", address)) => End::Tcp(address.to_owned()),
        _ => panic!("DOCKER_HOST is {host}: the tests speak to a unix socket or plain TCP"),
    }
}

/// A process that does not outlive the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A registry where nodes look for one; started if none answers.
async fn registry(folder: &Path) -> Option<Killed> {
    let answers = async || http().get(format!("http://{REGISTRY}/v2/")).send().await.is_ok();
    if answers().await {
        return None;
    }
    let config = folder.join("registry.yml");
    let root = folder.join("registry");
    let text = format!(
        "version: 0.1\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  delete: {{enabled: true}}\n\
         http: {{addr: \"{REGISTRY}\"}}\nlog: {{level: error}}\n",
        root.display()
    );
    std::fs::write(&config, text).expect("it is written");
    let child = Command::new("docker-registry")
        .arg("serve")
        .arg(&config)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("Debian's package docker-registry is installed");
    let child = Killed(child);
    until("the registry answers", async || answers().await.then_some(())).await;
    Some(child)
}

/// Waits until `look` finds something.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let waited = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waited).await.unwrap_or_else(|_| panic!("never: {what}"))
}

/// The builder's account with its roles, as `k8s/builder` has them, and a token of it.
async fn builder_token(operator: &Client) -> String {
    let namespaces: Api<Namespace> = Api::all(operator.clone());
    let namespace =
        serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "builder-system"}});
    let apply = PatchParams::apply("slipway-tests").force();
    until("builder-system is there to stay", async || {
        let there = namespaces.patch("builder-system", &apply, &Patch::Apply(&namespace)).await.expect("a namespace");
        there.metadata.deletion_timestamp.is_none().then_some(())
    })
    .await;
    let text = include_str!("../../../k8s/builder/app/account.yaml");
    let objects: Vec<serde_json::Value> = serde_saphyr::from_multiple(text).expect("manifests");
    for object in objects {
        let text = |pointer: &str| object.pointer(pointer).and_then(serde_json::Value::as_str).unwrap_or_default();
        let (group, version) = text("/apiVersion").split_once('/').unwrap_or(("", text("/apiVersion")));
        let kind = kube::api::GroupVersionKind::gvk(group, version, text("/kind"));
        let resource = kube::api::ApiResource::from_gvk(&kind);
        let api: Api<DynamicObject> = match text("/metadata/namespace") {
            "" => Api::all_with(operator.clone(), &resource),
            namespace => Api::namespaced_with(operator.clone(), namespace, &resource),
        };
        api.patch(text("/metadata/name"), &apply, &Patch::Apply(&object)).await.expect("it is applied");
    }
    // A Secret of this kind is filled by every version of Kubernetes.
    let secret = serde_json::json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
        "metadata": {
            "name": "builder-controller-test", "namespace": "builder-system",
            "annotations": {"kubernetes.io/service-account.name": "builder-controller"},
        },
    });
    let accounts: Api<ServiceAccount> = Api::namespaced(operator.clone(), "builder-system");
    accounts.get("builder-controller").await.expect("the account");
    let secrets: Api<Secret> = Api::namespaced(operator.clone(), "builder-system");
    secrets.patch("builder-controller-test", &apply, &Patch::Apply(&secret)).await.expect("a Secret");
    let token = until("the account has a token", async || {
        let secret = secrets.get("builder-controller-test").await.ok()?;
        secret.data?.remove("token")
    })
    .await;
    String::from_utf8(token.0).expect("a token")
}

/// The operator's kubeconfig with the builder's token, over our line.
fn write_kubeconfig(path: &Path, mut file: Kubeconfig, host: &str, port: u16, token: &str) {
    for cluster in &mut file.clusters {
        if let Some(cluster) = &mut cluster.cluster {
            cluster.server = Some(format!("https://127.0.0.1:{port}"));
            cluster.tls_server_name = Some(host.to_owned());
        }
    }
    let mut value = serde_json::to_value(&file).expect("a kubeconfig");
    for user in value["users"].as_array_mut().into_iter().flatten() {
        user["user"] = serde_json::json!({"token": token});
    }
    std::fs::write(path, value.to_string()).expect("it is written");
}
