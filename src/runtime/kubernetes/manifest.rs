//! The manifests of an app as pure functions of its settings: the templates under `k8s/app/`, rendered with typed
//! values and parsed. The templates contain the deployment rules. This module sends no requests to the cluster.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use base64::Engine as _;
use minijinja::Environment as Templates;
use minijinja::syntax::SyntaxConfig;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::super::{Deployment, RunSpec};
use super::KubernetesSettings;
use crate::domain::{
    AppId, AppName, BLOCKED_V4, BLOCKED_V6, DeploymentSpec, Environment, HostName, ImageRef, ProcessKind, ReleaseNumber,
};
use crate::ownership;

/// Kubernetes's standard label for the app that an object belongs to.
const NAME: &str = "app.kubernetes.io/name";
/// The quota of each app's namespace.
pub(super) const QUOTA: &str = "slipway";
static TEMPLATES: LazyLock<Templates<'static>> = LazyLock::new(|| {
    let mut templates = Templates::new();
    templates.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    templates.set_syntax(syntax.expect("the syntax is Jinja's own"));
    for (name, text) in [
        ("namespace.yaml", include_str!("../../../k8s/app/namespace.yaml")),
        ("network.yaml", include_str!("../../../k8s/app/network.yaml")),
        ("pod.yaml", include_str!("../../../k8s/app/pod.yaml")),
        ("secret.yaml", include_str!("../../../k8s/app/secret.yaml")),
        ("service.yaml", include_str!("../../../k8s/app/service.yaml")),
        ("cronjob.yaml", include_str!("../../../k8s/app/cronjob.yaml")),
        ("job.yaml", include_str!("../../../k8s/app/job.yaml")),
    ] {
        templates.add_template(name, text).expect("a test renders each embedded template");
    }
    templates
});

/// The API versions of the cluster, for kinds that clusters support in different versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Apis {
    /// Of `CronJob`.
    pub(super) cronjob: String,
    /// Of `Ingress`.
    pub(super) ingress: String,
    /// Of `EndpointSlice`.
    pub(super) slices: String,
    /// Whether a `CronJob` has the field for a time zone.
    pub(super) time_zone: bool,
}

/// The app that objects belong to, and its labels.
#[derive(Debug, Clone)]
pub(super) struct Owner<'a> {
    pub(super) settings: &'a KubernetesSettings,
    pub(super) app: &'a AppName,
    pub(super) app_id: AppId,
}

type Labels = BTreeMap<String, String>;

impl Owner<'_> {
    /// The app's namespace.
    pub(super) fn namespace(&self) -> String {
        namespace(self.app)
    }

    /// The labels of every object of the app.
    pub(super) fn labels(&self) -> Labels {
        let mut labels: Labels = self.settings.installation.labels(self.app, self.app_id).into_iter().collect();
        labels.insert(NAME.to_owned(), self.app.to_string());
        labels
    }

    fn of(&self, environment: Environment, release: ReleaseNumber) -> Labels {
        let mut labels = self.labels();
        labels.insert(ownership::ENVIRONMENT.to_owned(), environment.to_string());
        labels.insert(ownership::RELEASE.to_owned(), release.to_string());
        labels
    }
}

/// The namespace of an app.
pub(super) fn namespace(app: &AppName) -> String {
    format!("app-{app}")
}

/// The name of the objects of an environment.
pub(super) fn environment_name(app: &AppName, environment: Environment) -> String {
    format!("{app}-{environment}")
}

/// The pod of a release, as it is in the release's manifests.
pub(super) fn release_pod(deployment: &Deployment) -> Value {
    let name = environment_name(&deployment.app, deployment.environment);
    pod(&deployment.spec, &deployment.image, &name, &deployment.secrets)
}

/// The name of a run's `Job`.
pub(super) fn run_name(spec: &RunSpec) -> String {
    format!("{}-{}-run-{}", spec.app, spec.environment, spec.run)
}

#[derive(Serialize)]
struct Builder<'a> {
    namespace: &'a str,
    account: &'a str,
    role: &'a str,
    pods: &'a str,
}

#[derive(Serialize)]
struct Ingress<'a> {
    class: &'a str,
    namespace: &'a str,
}

#[derive(Serialize)]
struct Blocked {
    v4: Vec<String>,
    v6: Vec<String>,
}

#[derive(Serialize)]
struct Base<'a> {
    namespace: String,
    labels: Labels,
    namespace_labels: Labels,
    builder: Builder<'a>,
    ingress: Ingress<'a>,
    blocked: Blocked,
}

/// The namespace and the objects that it needs before anything runs in it. The first two have to be applied before the
/// rest.
pub(super) fn base(owner: &Owner<'_>) -> Vec<Value> {
    let settings = owner.settings;
    let labels = owner.labels();
    let mut namespace_labels = labels.clone();
    for mode in ["enforce", "audit", "warn"] {
        namespace_labels.insert(format!("pod-security.kubernetes.io/{mode}"), "restricted".to_owned());
    }
    let extra = |v6: bool| settings.blocked.iter().filter(move |cidr| cidr.contains(':') == v6).cloned();
    let base = Base {
        namespace: owner.namespace(),
        labels,
        namespace_labels,
        builder: Builder {
            namespace: &settings.builder_namespace,
            account: &settings.builder_account,
            role: &settings.app_role,
            pods: "slipway",
        },
        ingress: Ingress { class: &settings.ingress_class, namespace: &settings.ingress_namespace },
        blocked: Blocked {
            v4: BLOCKED_V4.into_iter().map(str::to_owned).chain(extra(false)).collect(),
            v6: BLOCKED_V6.into_iter().map(str::to_owned).chain(extra(true)).collect(),
        },
    };
    let mut objects = render("namespace.yaml", &base);
    objects.extend(render("network.yaml", &base));
    objects
}

#[derive(Serialize)]
struct Variable<'a> {
    name: &'a str,
    value: String,
}

#[derive(Serialize)]
struct Limits {
    cpu: String,
    memory: String,
    cpu_request: String,
    memory_request: String,
}

#[derive(Serialize)]
struct Pod<'a> {
    restart: &'static str,
    image: &'a str,
    port: Option<u16>,
    path: Option<&'a str>,
    variables: Vec<Variable<'a>>,
    secret: &'a str,
    secret_keys: Vec<&'a str>,
    limits: Limits,
}

fn pod(spec: &DeploymentSpec, image: &ImageRef, secret: &str, secrets: &BTreeMap<String, SecretString>) -> Value {
    let probe = match &spec.process {
        ProcessKind::Service(probe) => Some(probe),
        ProcessKind::Job => None,
    };
    let mut variables: BTreeMap<&str, String> = BTreeMap::new();
    if let Some(probe) = probe {
        variables.insert("PORT", probe.port.to_string());
    }
    variables.extend(spec.variables.iter().map(|(name, value)| (name.as_str(), value.clone())));
    // A secret replaces a variable of the same name. `HOME` is set by Slipway, since it decides where the app may
    // write.
    variables.retain(|name, _| !secrets.contains_key(*name) && *name != "HOME");
    let pod = Pod {
        restart: if probe.is_some() { "Always" } else { "Never" },
        image: image.as_str(),
        port: probe.map(|probe| probe.port),
        path: probe.map(|probe| probe.path.as_str()),
        variables: variables.into_iter().map(|(name, value)| Variable { name, value }).collect(),
        secret,
        secret_keys: secrets.keys().map(String::as_str).collect(),
        limits: Limits {
            cpu: millis(spec.limits.cpu_millis),
            memory: bytes(spec.limits.memory_bytes),
            // The request is lower than the limit, so that many apps fit on a node while few of them are busy.
            cpu_request: millis((spec.limits.cpu_millis / 10).max(10)),
            memory_request: bytes(spec.limits.memory_bytes / 2),
        },
    };
    render("pod.yaml", &pod).pop().expect("the template is one document")
}

/// Formats CPU as the cluster normalizes it. Otherwise an apply without changes would count as a change.
fn millis(cpu: i64) -> String {
    if cpu % 1000 == 0 { (cpu / 1000).to_string() } else { format!("{cpu}m") }
}

fn bytes(memory: i64) -> String {
    const MI: i64 = 1024 * 1024;
    if memory % MI == 0 { format!("{}Mi", memory / MI) } else { memory.to_string() }
}

/// How far a Deployment's rollout may proceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rollout {
    /// New pods start, and the old ones keep running: traffic has not been switched yet.
    Paused,
    /// New pods replace the old ones as soon as they are ready.
    Running,
}

#[derive(Serialize)]
struct Running<'a> {
    name: &'a str,
    namespace: String,
    labels: Labels,
    selector: Labels,
    routes_to: Labels,
    held: bool,
    /// The host name of the Ingress; none if there is no Ingress.
    host: Option<String>,
    ingress: Ingress<'a>,
    apis: &'a Apis,
    pod: Value,
    secrets: BTreeMap<&'a str, String>,
    secrets_digest: String,
    schedule: Option<&'a str>,
    timezone: &'a str,
    time_limit_seconds: u64,
}

/// The time zone of schedules that name none.
const UTC: &str = "Etc/UTC";

/// The objects of one environment. If it has secrets, they come first.
pub(super) fn release(owner: &Owner<'_>, apis: &Apis, deployment: &Deployment, rollout: Rollout) -> Vec<Value> {
    let name = environment_name(owner.app, deployment.environment);
    let mut labels = owner.of(deployment.environment, deployment.release);
    let mut routes_to = labels.clone();
    routes_to.retain(|key, _| matches!(key.as_str(), ownership::APP | ownership::ENVIRONMENT | ownership::RELEASE));
    // The selector of a Deployment is immutable, so it matches all releases of the environment.
    let mut selector = routes_to.clone();
    selector.remove(ownership::RELEASE);
    if let ProcessKind::Service(probe) = &deployment.spec.process {
        labels.insert(ownership::PORT.to_owned(), probe.port.to_string());
    }
    let is_behind_login = owner.settings.protects_previews && deployment.environment == Environment::Preview;
    let host = HostName::App(owner.app.clone(), deployment.environment).to_host(&owner.settings.domain);
    let host = (!is_behind_login).then_some(host);
    let is_job = deployment.spec.process == ProcessKind::Job;
    let running = Running {
        name: &name,
        namespace: owner.namespace(),
        labels,
        selector,
        routes_to,
        held: rollout == Rollout::Paused,
        host,
        ingress: Ingress { class: &owner.settings.ingress_class, namespace: &owner.settings.ingress_namespace },
        apis,
        pod: release_pod(deployment),
        secrets: encoded(&deployment.secrets),
        secrets_digest: digest(&deployment.secrets),
        schedule: deployment.spec.schedule.as_deref(),
        timezone: deployment.spec.timezone.as_deref().unwrap_or(UTC),
        time_limit_seconds: owner.settings.run_limit.as_secs(),
    };
    let mut objects = Vec::new();
    if !deployment.secrets.is_empty() {
        objects.extend(render("secret.yaml", &running));
    }
    if !is_job {
        objects.extend(render("service.yaml", &running));
    } else if running.schedule.is_some() {
        objects.extend(render("cronjob.yaml", &running));
    }
    objects
}

/// The pod of a run, as it is in the run's manifests.
pub(super) fn run_pod(spec: &RunSpec) -> Value {
    pod(&spec.spec, &spec.image, &environment_name(&spec.app, spec.environment), &spec.secrets)
}

/// The objects of one run. If it has secrets, they come first.
pub(super) fn run(owner: &Owner<'_>, apis: &Apis, spec: &RunSpec) -> Vec<Value> {
    let secret = environment_name(owner.app, spec.environment);
    let mut labels = owner.of(spec.environment, spec.release);
    let mut running = Running {
        name: &secret,
        namespace: owner.namespace(),
        labels: labels.clone(),
        selector: Labels::new(),
        routes_to: Labels::new(),
        held: false,
        host: None,
        ingress: Ingress { class: &owner.settings.ingress_class, namespace: &owner.settings.ingress_namespace },
        apis,
        pod: run_pod(spec),
        secrets: encoded(&spec.secrets),
        secrets_digest: digest(&spec.secrets),
        schedule: None,
        timezone: UTC,
        time_limit_seconds: spec.time_limit.as_secs(),
    };
    let mut objects = if spec.secrets.is_empty() { Vec::new() } else { render("secret.yaml", &running) };
    labels.insert(ownership::RUN.to_owned(), spec.run.to_string());
    let name = run_name(spec);
    running.labels = labels;
    running.name = &name;
    objects.extend(render("job.yaml", &running));
    objects
}

fn encoded(secrets: &BTreeMap<String, SecretString>) -> BTreeMap<&str, String> {
    let encode = |secret: &SecretString| base64::engine::general_purpose::STANDARD.encode(secret.expose_secret());
    secrets.iter().map(|(name, secret)| (name.as_str(), encode(secret))).collect()
}

/// A hash that changes with the secrets, so that the pods are replaced. The secrets cannot be derived from it.
fn digest(secrets: &BTreeMap<String, SecretString>) -> String {
    let mut hash = Sha256::new();
    for (name, secret) in secrets {
        for part in [name.as_str(), secret.expose_secret()] {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
    }
    hex::encode(&hash.finalize()[..8])
}

/// Renders each value as JSON, which is valid YAML: a value cannot change the structure of the document.
fn render(name: &str, values: &impl Serialize) -> Vec<Value> {
    let text = TEMPLATES
        .get_template(name)
        .and_then(|template| template.render(minijinja::value::Serde(values)))
        .expect("a test renders each embedded template");
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text).expect("a test parses each embedded template");
    objects.into_iter().filter(|object| !object.is_null()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Probe, ResourceLimits};

    fn settings() -> KubernetesSettings {
        KubernetesSettings {
            installation: "abc123".parse().expect("a name"),
            domain: "203.0.113.7.nip.io".to_owned(),
            protects_previews: false,
            ingress_class: "traefik".to_owned(),
            ingress_namespace: "kube-system".to_owned(),
            builder_namespace: "builder-system".to_owned(),
            builder_account: "builder-controller".to_owned(),
            app_role: "slipway-app-manager".to_owned(),
            blocked: vec!["198.51.100.0/24".to_owned(), "2001:db8::/32".to_owned()],
            run_limit: std::time::Duration::from_mins(15),
            reconcile_every: std::time::Duration::from_mins(1),
        }
    }

    fn apis(version: &str) -> Apis {
        Apis {
            cronjob: format!("batch/{version}"),
            ingress: format!("networking.k8s.io/{version}"),
            slices: format!("discovery.k8s.io/{version}"),
            time_zone: version == "v1",
        }
    }

    fn deployment(process: ProcessKind) -> Deployment {
        let secrets = [("WEBHOOK_SECRET".to_owned(), SecretString::from("whsec_1"))];
        Deployment {
            app: "brisk-otter".parse().expect("a name"),
            app_id: AppId(7),
            environment: Environment::Prod,
            release: ReleaseNumber(3),
            image: format!("127.0.0.1:5000/slipway/brisk-otter@sha256:{}", "a".repeat(64)).parse().expect("an image"),
            spec: DeploymentSpec {
                process,
                limits: ResourceLimits::default(),
                schedule: Some("0 7 * * *".to_owned()),
                timezone: None,
                variables: [("GREETING".to_owned(), "say \"hi\": {{ no }}\n- x".to_owned())].into(),
                is_init: false,
            },
            secrets: secrets.into(),
        }
    }

    fn shown(objects: &[Value]) -> String {
        let shown: Vec<_> = objects.iter().map(|object| serde_json::to_string_pretty(object).expect("JSON")).collect();
        shown.join("\n---\n")
    }

    #[test]
    fn the_manifests_of_an_app() {
        let (settings, app) = (settings(), "brisk-otter".parse().expect("a name"));
        let owner = Owner { settings: &settings, app: &app, app_id: AppId(7) };
        insta::assert_snapshot!("base", shown(&base(&owner)));
        let service = ProcessKind::Service(Probe { port: 8080, path: "/health".to_owned() });
        insta::assert_snapshot!(
            "service",
            shown(&release(&owner, &apis("v1"), &deployment(service.clone()), Rollout::Running))
        );
        let held = release(&owner, &apis("v1"), &deployment(service.clone()), Rollout::Paused);
        assert_eq!(held[2]["spec"]["minReadySeconds"], 31_536_000);
        assert!(held[2]["spec"]["progressDeadlineSeconds"].as_i64() > held[2]["spec"]["minReadySeconds"].as_i64());
        insta::assert_snapshot!(
            "cronjob",
            shown(&release(&owner, &apis("v1"), &deployment(ProcessKind::Job), Rollout::Running))
        );
        // A preview that requires a login is reached only through the builder.
        let closed = KubernetesSettings { protects_previews: true, ..settings.clone() };
        let closed = Owner { settings: &closed, app: &app, app_id: AppId(7) };
        let kinds = |owner: &Owner<'_>, environment| -> Vec<String> {
            let wanted = Deployment { environment, ..deployment(service.clone()) };
            let objects = release(owner, &apis("v1"), &wanted, Rollout::Running);
            objects.iter().map(|object| object["kind"].as_str().expect("a kind").to_owned()).collect()
        };
        assert_eq!(kinds(&closed, Environment::Preview), ["Secret", "Service", "Deployment"]);
        assert_eq!(kinds(&closed, Environment::Prod), ["Secret", "Service", "Deployment", "Ingress"]);
        assert_eq!(kinds(&owner, Environment::Preview), ["Secret", "Service", "Deployment", "Ingress"]);
        // A cluster with older API versions.
        let old = release(&owner, &apis("v1beta1"), &deployment(service), Rollout::Running);
        assert_eq!(old[3]["spec"]["rules"][0]["http"]["paths"][0]["backend"]["servicePort"], "http");
        let old = release(&owner, &apis("v1beta1"), &deployment(ProcessKind::Job), Rollout::Running);
        assert_eq!((&old[1]["apiVersion"], &old[1]["spec"]["timeZone"]), (&Value::from("batch/v1beta1"), &Value::Null));
        let spec = RunSpec {
            app: app.clone(),
            app_id: AppId(7),
            environment: Environment::Preview,
            release: ReleaseNumber(3),
            run: crate::domain::RunId(12),
            image: deployment(ProcessKind::Job).image,
            spec: deployment(ProcessKind::Job).spec,
            secrets: BTreeMap::new(),
            time_limit: std::time::Duration::from_mins(15),
        };
        insta::assert_snapshot!("run", shown(&run(&owner, &apis("v1"), &spec)));
    }

    /// The peers from which the network policy admits requests to an app with this ingress class.
    fn ingress_peers(class: &str, namespace: &str) -> Value {
        let settings = KubernetesSettings {
            ingress_class: class.to_owned(),
            ingress_namespace: namespace.to_owned(),
            ..settings()
        };
        let app = "brisk-otter".parse().expect("a name");
        let objects = base(&Owner { settings: &settings, app: &app, app_id: AppId(7) });
        let policy = objects.iter().find(|object| object["metadata"]["name"] == "from-ingress-and-builder");
        policy.expect("the policy")["spec"]["ingress"][0]["from"].clone()
    }

    #[test]
    fn an_ingress_controller_is_known_by_its_namespace() {
        // The pods of ingress-nginx are not labelled with the name of the class.
        let nginx = ingress_peers("nginx", "ingress-nginx");
        let wanted =
            serde_json::json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}});
        assert_eq!(nginx[0], wanted);
        let traefik = ingress_peers("traefik", "kube-system");
        assert_eq!(traefik[0]["podSelector"]["matchLabels"][NAME], "traefik");
        assert_eq!(nginx[1], traefik[1]);
    }

    #[test]
    fn values_stay_where_they_were_put() {
        let (settings, app) = (settings(), "brisk-otter".parse().expect("a name"));
        let owner = Owner { settings: &settings, app: &app, app_id: AppId(7) };
        let service = ProcessKind::Service(Probe { port: 8080, path: "/a\"\nimage: evil".to_owned() });
        let wanted = deployment(service);
        let objects = release(&owner, &apis("v1"), &wanted, Rollout::Running);
        let pod = &objects[2]["spec"]["template"]["spec"];
        assert_eq!(pod["containers"][0]["image"], wanted.image.as_str());
        assert_eq!(pod["containers"][0]["readinessProbe"]["httpGet"]["path"], "/a\"\nimage: evil");
        assert_eq!(pod["containers"][0]["env"][0]["value"], wanted.spec.variables["GREETING"]);
        // A secret is only in the Secret object, and a changed secret replaces the pods.
        assert!(objects.iter().skip(1).all(|object| !object.to_string().contains("whsec")));
        let digest = |objects: &[Value]| objects[2]["spec"]["template"]["metadata"]["annotations"].clone();
        let mut changed = wanted.clone();
        changed.secrets.insert("WEBHOOK_SECRET".to_owned(), SecretString::from("whsec_2"));
        assert_ne!(digest(&objects), digest(&release(&owner, &apis("v1"), &changed, Rollout::Running)));
    }
}
