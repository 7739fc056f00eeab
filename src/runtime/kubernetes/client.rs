//! The connection to the cluster: opens it, applies objects, and finds out the API versions that the cluster supports.

use std::sync::Arc;
use std::time::Duration;

use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::fault::Fault;
use super::manifest::Apis;

/// Slipway's name as the field manager of a server-side apply.
pub(super) const FIELD_MANAGER: &str = "slipway";
/// Timeout of one request.
const CALL_LIMIT: Duration = Duration::from_secs(15);
/// How long a permission that was just granted may take until every part of the API server knows it.
const PERMISSION_LIMIT: Duration = Duration::from_secs(10);
/// How long the discovered API versions are cached. They change only when the cluster is upgraded.
const APIS_FOR: Duration = Duration::from_mins(10);
/// Pause between retries while a new permission is not known yet.
const PERMISSION_PAUSE: Duration = Duration::from_millis(50);

/// Makes a client without a request to the cluster. Without a kubeconfig, the client connects to the cluster in which
/// the builder runs.
///
/// # Errors
/// A sentence that says what is wrong with the kubeconfig, or that the builder does not run in a cluster.
pub(super) async fn connect(kubeconfig: Option<&str>) -> Result<Client, String> {
    let mut config = match kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path).map_err(|error| format!("{path} cannot be used: {error}"))?;
            kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                .await
                .map_err(|error| format!("{path} cannot be used: {error}"))?
        }
        None => kube::Config::incluster().map_err(|error| {
            format!("there is no KUBECONFIG, and Slipway does not run in a cluster with a service account: {error}")
        })?,
    };
    config.connect_timeout = Some(Duration::from_secs(5));
    Client::try_from(config).map_err(|error| format!("no line to the cluster can be made: {error}"))
}

/// The kinds of objects that Slipway applies, each with its plural and whether it belongs to a namespace.
const KINDS: [(&str, &str, bool); 11] = [
    ("Namespace", "namespaces", false),
    ("RoleBinding", "rolebindings", true),
    ("ResourceQuota", "resourcequotas", true),
    ("LimitRange", "limitranges", true),
    ("NetworkPolicy", "networkpolicies", true),
    ("Secret", "secrets", true),
    ("Service", "services", true),
    ("Deployment", "deployments", true),
    ("Ingress", "ingresses", true),
    ("CronJob", "cronjobs", true),
    ("Job", "jobs", true),
];

/// The connection to a cluster, with the cached API versions.
#[derive(Clone)]
pub(super) struct Cluster {
    pub(super) client: Client,
    apis: Arc<Mutex<Option<(Apis, Instant)>>>,
    limit: Duration,
}

impl Cluster {
    pub(super) fn new(client: Client) -> Self {
        Self { client, apis: Arc::default(), limit: CALL_LIMIT }
    }

    /// Waits for the response of one request, with a timeout.
    pub(super) async fn call<T>(&self, call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Fault> {
        match tokio::time::timeout(self.limit, call).await {
            Ok(answer) => answer.map_err(Fault::from),
            Err(_) => Err(Fault::Away(format!("it has not answered for {} seconds", self.limit.as_secs()))),
        }
    }

    /// The API versions that discovery reports, from the cache if they were read recently.
    pub(super) async fn apis(&self) -> Result<Apis, Fault> {
        let mut known = self.apis.lock().await;
        if let Some((apis, at)) = &*known
            && at.elapsed() < APIS_FOR
        {
            return Ok(apis.clone());
        }
        let apis = self.discover().await?;
        *known = Some((apis.clone(), Instant::now()));
        Ok(apis)
    }

    /// Clears the cached API versions. Called after an API version was not found: the cluster may have been upgraded.
    async fn forget_apis(&self) {
        *self.apis.lock().await = None;
    }

    async fn discover(&self) -> Result<Apis, Fault> {
        let groups = self.call(self.client.list_api_groups()).await?.groups;
        let version = async |group: &str, plural: &str| {
            let group = groups.iter().find(|found| found.name == group);
            let preferred = group.and_then(|group| group.preferred_version.iter().next());
            let all = group.map(|group| group.versions.as_slice()).unwrap_or_default();
            for version in preferred.into_iter().chain(all) {
                let resources = self.call(self.client.list_api_group_resources(&version.group_version)).await?;
                if resources.resources.iter().any(|resource| resource.name == plural) {
                    return Ok(version.group_version.clone());
                }
            }
            Err(Fault::Refused(format!("the cluster has no {plural}, which Slipway needs")))
        };
        let (cronjob, ingress, slices, server) = tokio::try_join!(
            version("batch", "cronjobs"),
            version("networking.k8s.io", "ingresses"),
            version("discovery.k8s.io", "endpointslices"),
            self.call(self.client.apiserver_version()),
        )?;
        // From Kubernetes 1.27 on, time zones are supported without a feature gate that could be off.
        let minor: u32 = server.minor.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(0);
        Ok(Apis { cronjob, ingress, slices, time_zone: minor >= 27 })
    }

    /// Applies an object server-side: it sets the fields that the object contains, and keeps fields of other managers.
    pub(super) async fn apply(&self, object: &Value) -> Result<DynamicObject, Fault> {
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let api = self.api_of(object)?;
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let since = Instant::now();
        loop {
            match self.call(api.patch(name, &parameters, &Patch::Apply(object))).await {
                // The role was bound just before, and the API server does not know it yet.
                Err(Fault::Forbidden(why)) if since.elapsed() < PERMISSION_LIMIT && !why.contains("exceeded quota") => {
                    tokio::time::sleep(PERMISSION_PAUSE).await;
                }
                // There is no object of that name, or the API version is not supported any more.
                Err(fault @ Fault::NotFound(_)) => {
                    self.forget_apis().await;
                    return Err(fault);
                }
                other => return other,
            }
        }
    }

    fn api_of(&self, object: &Value) -> Result<Api<DynamicObject>, Fault> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (kind, version) = (text("/kind"), text("/apiVersion"));
        let Some((_, plural, is_namespaced)) = KINDS.iter().find(|(name, ..)| *name == kind) else {
            return Err(Fault::Refused(format!("{kind} is nothing that Slipway makes")));
        };
        let resource = resource(version, kind, plural);
        let client = self.client.clone();
        Ok(if *is_namespaced {
            Api::namespaced_with(client, text("/metadata/namespace"), &resource)
        } else {
            Api::all_with(client, &resource)
        })
    }
}

/// The resource of a kind in an API version such as `batch/v1`.
pub(super) fn resource(api_version: &str, kind: &str, plural: &str) -> ApiResource {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}
