//! The runtime on a Kubernetes cluster: a namespace for each app, and in it a Deployment, a Service and an Ingress for
//! each environment, or a `CronJob` and Jobs.
//!
//! Each environment has one Deployment, whose label names the release that runs: this is the instance. A new release
//! starts beside the old one, and its Deployment is paused until the Service routes to the new release. A namespace
//! without this builder's labels is never changed.

mod client;
mod fault;
mod logs;
mod manifest;
mod namespace;
mod observation;
mod quantity;
mod ready;
mod releases;
mod room;
mod run;
mod stats;
mod upkeep;
mod verdict;
mod watch;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::try_join_all;
use k8s_openapi::api::apps::v1::Deployment as Workload;
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::{DeleteParams, PropagationPolicy};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::{Deployment, FoundInstance, Instance, InstanceState, Reach, Runtime, RuntimeError, Serves};
use crate::domain::{AppId, AppName, Environment, ProcessKind, ReleaseNumber};
use crate::gateway::Traffic;
use crate::ownership::{self, Installation};
use client::Cluster;
use fault::Fault;
use manifest::{Owner, Rollout};
use namespace::Presence;
use observation::ClusterObservation;
use releases::ClusterReleases;
use run::ClusterRuns;
use upkeep::ClusterReconcile;

/// Settings for the objects that are created.
#[derive(Debug, Clone)]
pub struct KubernetesSettings {
    /// The id of this builder among those that share the cluster.
    pub installation: Installation,
    /// The domain under which apps live.
    pub domain: String,
    /// Whether previews require a login. Such a preview has no Ingress, and is reached through the builder.
    pub protects_previews: bool,
    /// Class of the Ingresses.
    pub ingress_class: String,
    /// Namespace of the ingress controller.
    pub ingress_namespace: String,
    /// Namespace of the builder.
    pub builder_namespace: String,
    /// The builder's service account.
    pub builder_account: String,
    /// The `ClusterRole` that is bound to this account in each app's namespace.
    pub app_role: String,
    /// Networks that apps may not reach, in addition to those that are never public.
    pub blocked: Vec<String>,
    /// Time limit of a scheduled run.
    pub run_limit: Duration,
    /// Pause between two passes of reconciling.
    pub reconcile_every: Duration,
}

/// The connection to a cluster, with what all parts of the runtime share. Each part of the contract is a value of its own,
/// made from this one.
#[derive(Clone)]
pub struct KubernetesRuntime {
    inner: Arc<Inner>,
}

struct Inner {
    cluster: Cluster,
    settings: KubernetesSettings,
    /// Where the gateway sends requests for apps: to their Services.
    traffic: Traffic,
    /// The tasks that continue after a job has ended.
    tasks: TaskTracker,
    /// When this process last reconciled each app's namespace.
    prepared: Mutex<HashMap<AppId, Instant>>,
}

impl std::fmt::Debug for KubernetesRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubernetesRuntime").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}

impl From<KubernetesRuntime> for Runtime {
    fn from(runtime: KubernetesRuntime) -> Self {
        // A preview that requires a login has no Ingress: requests to it go through the builder, which checks the
        // login.
        let previews = if runtime.settings().protects_previews { Reach::Gateway } else { Reach::Ingress };
        let runs = Arc::new(ClusterRuns { runtime: runtime.clone() });
        Self {
            name: "Kubernetes cluster",
            check: "kubernetes",
            previews,
            production: Reach::Ingress,
            releases: Arc::new(ClusterReleases { runtime: runtime.clone() }),
            reconcile: Arc::new(ClusterReconcile { runtime: runtime.clone() }),
            runs: runs.clone(),
            observation: Arc::new(ClusterObservation { runtime }),
            schedules: Some(runs),
            standby: None,
            protection: None,
        }
    }
}

impl KubernetesRuntime {
    /// A runtime on a cluster; without a kubeconfig, on the cluster in which the builder runs. Sends no request to it
    /// yet.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the kubeconfig, or that the builder does not run in a cluster.
    pub async fn connect(
        kubeconfig: Option<&str>,
        settings: KubernetesSettings,
        traffic: Traffic,
        tasks: TaskTracker,
    ) -> Result<Self, String> {
        let cluster = Cluster::new(client::connect(kubeconfig).await?);
        Ok(Self { inner: Arc::new(Inner { cluster, settings, traffic, tasks, prepared: Mutex::default() }) })
    }

    fn cluster(&self) -> &Cluster {
        &self.inner.cluster
    }

    fn settings(&self) -> &KubernetesSettings {
        &self.inner.settings
    }

    fn owner<'a>(&'a self, app: &'a AppName, app_id: AppId) -> Owner<'a> {
        Owner { settings: self.settings(), app, app_id }
    }

    fn prepared(&self) -> std::sync::MutexGuard<'_, HashMap<AppId, Instant>> {
        self.inner.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn workloads(&self, namespace: &str) -> Api<Workload> {
        Api::namespaced(self.cluster().client.clone(), namespace)
    }

    /// Applies all objects of an environment, and removes the `CronJob` of a job that has no schedule any more.
    async fn apply_release(&self, deployment: &Deployment) -> Result<(), RuntimeError> {
        self.apply_parts(deployment, Rollout::Running, |_| true).await?;
        if deployment.spec.process == ProcessKind::Job && deployment.spec.schedule.is_none() {
            let version = self.cluster().apis().await?.cronjob.clone();
            self.remove_object(deployment, &version, "CronJob", "cronjobs").await?;
        }
        Ok(())
    }

    /// Applies the objects of an environment whose kind `is_wanted` accepts.
    async fn apply_parts(
        &self,
        deployment: &Deployment,
        pace: Rollout,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<(), RuntimeError> {
        let owner = self.owner(&deployment.app, deployment.app_id);
        let apis = self.cluster().apis().await?;
        let mut objects = manifest::release(&owner, &apis, deployment, pace);
        objects.retain(|object| object["kind"].as_str().is_some_and(&is_wanted));
        // The pods need the Secret. The other objects do not depend on each other.
        let (secrets, others): (Vec<_>, Vec<_>) = objects.iter().partition(|object| object["kind"] == "Secret");
        for object in secrets {
            self.cluster().apply(object).await?;
        }
        let has_ingress = others.iter().any(|object| object["kind"] == "Ingress");
        try_join_all(others.into_iter().map(|object| self.cluster().apply(object))).await?;
        // An Ingress from before previews required a login would bypass that login.
        if is_wanted("Ingress") && !has_ingress && matches!(deployment.spec.process, ProcessKind::Service(_)) {
            self.remove_object(deployment, &apis.ingress, "Ingress", "ingresses").await?;
        }
        Ok(())
    }

    /// Deletes an object of an environment. Succeeds if it does not exist.
    async fn remove_object(
        &self,
        deployment: &Deployment,
        version: &str,
        kind: &str,
        plural: &str,
    ) -> Result<(), RuntimeError> {
        let namespace = manifest::namespace(&deployment.app);
        let resource = client::resource(version, kind, plural);
        let api: Api<kube::api::DynamicObject> =
            Api::namespaced_with(self.cluster().client.clone(), &namespace, &resource);
        let name = manifest::environment_name(&deployment.app, deployment.environment);
        match self.cluster().call(api.delete(&name, &DeleteParams::background())).await {
            Ok(_) | Err(Fault::NotFound(_)) => Ok(()),
            Err(fault) => Err(fault.into()),
        }
    }

    /// The address of a Service in the cluster.
    async fn address(&self, namespace: &str, name: &str) -> Result<Option<SocketAddr>, RuntimeError> {
        let services: Api<Service> = Api::namespaced(self.cluster().client.clone(), namespace);
        let Some(service) = self.cluster().call(services.get_opt(name)).await? else { return Ok(None) };
        let ip = service.spec.and_then(|spec| spec.cluster_ip).and_then(|ip| ip.parse().ok());
        Ok(ip.map(|ip| SocketAddr::new(ip, 80)))
    }

    /// Removes an environment's pods, Service and Ingress, if its namespace belongs to this builder.
    async fn remove_environment(
        &self,
        app: &AppName,
        app_id: AppId,
        environment: Environment,
    ) -> Result<(), RuntimeError> {
        if self.look(app, app_id).await? != Presence::There {
            return Ok(());
        }
        let (namespace, name) = (manifest::namespace(app), manifest::environment_name(app, environment));
        let apis = self.cluster().apis().await?;
        let background = DeleteParams { propagation_policy: Some(PropagationPolicy::Background), ..Default::default() };
        for (version, kind, plural) in [
            (apis.ingress.as_str(), "Ingress", "ingresses"),
            ("apps/v1", "Deployment", "deployments"),
            ("v1", "Service", "services"),
            (apis.cronjob.as_str(), "CronJob", "cronjobs"),
        ] {
            let api: Api<kube::api::DynamicObject> = Api::namespaced_with(
                self.cluster().client.clone(),
                &namespace,
                &client::resource(version, kind, plural),
            );
            match self.cluster().call(api.delete(&name, &background)).await {
                Ok(_) | Err(Fault::NotFound(_)) => {}
                Err(fault) => return Err(fault.into()),
            }
        }
        Ok(())
    }

    /// The label selector for this builder's objects.
    fn selector(&self) -> String {
        let installation = &self.settings().installation;
        format!(
            "{}={},{}={installation}",
            ownership::MANAGED_BY,
            ownership::MANAGED_BY_SLIPWAY,
            ownership::INSTALLATION
        )
    }
}

/// The instance that a Deployment of this builder represents.
fn found(workload: &Workload, address: Option<SocketAddr>) -> Option<FoundInstance> {
    let labels = workload.metadata.labels.as_ref()?;
    let instance = Instance {
        id: format!(
            "{}/{}/{}",
            workload.metadata.namespace.as_deref()?,
            workload.metadata.name.as_deref()?,
            labels.get(ownership::RELEASE)?
        ),
        app: labels.get(ownership::APP)?.parse().ok()?,
        app_id: labels.get(ownership::APP_ID)?.parse().ok()?,
        environment: labels.get(ownership::ENVIRONMENT)?.parse().ok()?,
        release: ReleaseNumber(labels.get(ownership::RELEASE)?.parse().ok()?),
        address,
    };
    let available = workload.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0);
    let wanted = workload.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let state = if available > 0 {
        InstanceState::Running
    } else if wanted == 0 {
        InstanceState::Stopped
    } else {
        InstanceState::Restarting
    };
    Some(FoundInstance { instance, state, serves: Serves::LiveRelease })
}
