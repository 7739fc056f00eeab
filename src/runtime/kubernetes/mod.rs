//! The runtime on a Kubernetes cluster: a namespace for each app, and in it a Deployment, a Service and an Ingress for
//! each environment, or a `CronJob` and Jobs.
//!
//! Each environment has one Deployment, whose label names the release that runs: this is the instance. A new release
//! starts beside the old one, and its Deployment is paused until the Service routes to the new release. A namespace
//! without this builder's labels is never changed.

mod client;
mod contract;
mod fault;
mod logs;
mod manifest;
mod namespace;
mod quantity;
mod ready;
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
use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment as Workload;
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PropagationPolicy};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Deployment, FoundInstance, Instance, InstanceState, RuntimeError, Serves};
use crate::domain::{AppId, AppName, Environment, ProcessKind, ReleaseNumber};
use crate::engine::EngineInfo;
use crate::gateway::Traffic;
use crate::output::LineSink;
use crate::ownership::{self, Installation};
use client::Cluster;
use fault::Fault;
use manifest::{Owner, Rollout};
use namespace::Presence;

/// Namespaces that are read at the same time.
const LOOKS_AT_ONCE: usize = 8;

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

/// Runs apps in a cluster.
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

    pub(super) async fn ping(&self) -> Result<EngineInfo, RuntimeError> {
        let version = tokio::time::timeout(Duration::from_secs(5), self.cluster().client.apiserver_version())
            .await
            .map_err(|_| RuntimeError::ClusterUnavailable("it has not answered for 5 seconds".to_owned()))?
            .map_err(Fault::from)?;
        Ok(EngineInfo {
            version: version.git_version,
            api_version: format!("{}.{}", version.major, version.minor),
            platform: version.platform,
        })
    }

    pub(super) async fn start(
        &self,
        deployment: &Deployment,
        tell: &dyn LineSink,
        cancel: &CancellationToken,
    ) -> Result<Instance, RuntimeError> {
        self.prepare(&deployment.app, deployment.app_id).await?;
        if cancel.is_cancelled() {
            return Err(RuntimeError::Cancelled);
        }
        tokio::select! {
            () = cancel.cancelled() => return Err(RuntimeError::Cancelled),
            room = self.room_for_release(deployment, tell) => room?,
        }
        match self.apply_beside(deployment).await {
            // The namespace was deleted after it had been checked.
            Err(RuntimeError::Gone) => {
                self.prepared().remove(&deployment.app_id);
                self.prepare(&deployment.app, deployment.app_id).await?;
                self.apply_beside(deployment).await?;
            }
            other => other?,
        }
        self.instance(deployment).await
    }

    /// Starts a release beside the one that runs: no Service routes to the new release yet, and the old one keeps
    /// running.
    async fn apply_beside(&self, deployment: &Deployment) -> Result<(), RuntimeError> {
        match deployment.spec.process {
            ProcessKind::Service(_) => {
                self.pin(deployment).await?;
                self.apply_parts(deployment, Rollout::Paused, |kind| matches!(kind, "Secret" | "Deployment")).await
            }
            ProcessKind::Job => self.apply_release(deployment).await,
        }
    }

    /// Restricts the Service to the release that runs now. A Service that an earlier version of Slipway created matches
    /// every release, and would route to the new one as soon as it starts.
    async fn pin(&self, deployment: &Deployment) -> Result<(), RuntimeError> {
        let namespace = manifest::namespace(&deployment.app);
        let name = manifest::environment_name(&deployment.app, deployment.environment);
        let services: Api<Service> = Api::namespaced(self.cluster().client.clone(), &namespace);
        let workloads = self.workloads(&namespace);
        let (service, workload) = tokio::try_join!(
            self.cluster().call(services.get_opt(&name)),
            self.cluster().call(workloads.get_opt(&name)),
        )?;
        let Some(running) = unpinned(service.as_ref(), workload.as_ref()) else { return Ok(()) };
        if running == deployment.release.to_string() {
            return Ok(());
        }
        let patch = serde_json::json!({"spec": {"selector": {ownership::RELEASE: running}}});
        let parameters =
            PatchParams { field_manager: Some(client::FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        self.cluster().call(services.patch(&name, &parameters, &Patch::Merge(&patch))).await?;
        Ok(())
    }

    /// Waits until the quota has room for a release's pod, unless this release runs already.
    async fn room_for_release(&self, deployment: &Deployment, tell: &dyn LineSink) -> Result<(), RuntimeError> {
        let namespace = manifest::namespace(&deployment.app);
        let name = manifest::environment_name(&deployment.app, deployment.environment);
        let there = self.cluster().call(self.workloads(&namespace).get_opt(&name)).await?;
        let is_there = there.and_then(|workload| found(&workload, None)).is_some_and(|found| {
            (found.instance.app_id, found.instance.release) == (deployment.app_id, deployment.release)
        });
        if is_there {
            return Ok(());
        }
        let pod = manifest::release_pod(deployment);
        Ok(self.room_for(&deployment.app, &namespace, &pod, tell).await?)
    }

    /// Reconciles all objects of a live release. Objects that have not been changed stay as they are.
    pub(super) async fn keep(&self, deployment: &Deployment) -> Result<(), RuntimeError> {
        self.prepared().remove(&deployment.app_id);
        self.prepare(&deployment.app, deployment.app_id).await?;
        self.apply_release(deployment).await
    }

    /// Resumes the Deployment's rollout once traffic has switched to its release: the old pods are scaled down.
    pub(super) async fn finish_rollout(&self, deployment: &Deployment) -> Result<(), RuntimeError> {
        self.apply_parts(deployment, Rollout::Running, |kind| kind == "Deployment").await
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

    /// The instance of a release, whether or not it is running yet.
    async fn instance(&self, deployment: &Deployment) -> Result<Instance, RuntimeError> {
        let name = manifest::environment_name(&deployment.app, deployment.environment);
        let namespace = manifest::namespace(&deployment.app);
        Ok(Instance {
            id: format!("{namespace}/{name}/{}", deployment.release),
            app: deployment.app.clone(),
            app_id: deployment.app_id,
            environment: deployment.environment,
            release: deployment.release,
            address: match deployment.spec.process {
                ProcessKind::Service(_) => self.address(&namespace, &name).await?,
                ProcessKind::Job => None,
            },
        })
    }

    /// The address of a Service in the cluster.
    async fn address(&self, namespace: &str, name: &str) -> Result<Option<SocketAddr>, RuntimeError> {
        let services: Api<Service> = Api::namespaced(self.cluster().client.clone(), namespace);
        let Some(service) = self.cluster().call(services.get_opt(name)).await? else { return Ok(None) };
        let ip = service.spec.and_then(|spec| spec.cluster_ip).and_then(|ip| ip.parse().ok());
        Ok(ip.map(|ip| SocketAddr::new(ip, 80)))
    }

    /// Restores the release that ran before one that failed to start: its pods are still running. Without a previous
    /// release, removes the environment. Succeeds if that was already done.
    pub(super) async fn abandon(&self, failed: &Deployment, previous: Option<&Deployment>) -> Result<(), RuntimeError> {
        match previous {
            Some(previous) => match self.apply_release(previous).await {
                // Its objects were never created, or were all deleted: the next reconcile creates them.
                Err(RuntimeError::Gone) => Ok(()),
                other => other,
            },
            None => self.remove_environment(&failed.app, failed.app_id, failed.environment).await,
        }
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

    /// Removes an environment, unless another release runs in it by now.
    pub(super) async fn stop(&self, instance: &Instance) -> Result<(), RuntimeError> {
        match self.find(&instance.app, instance.app_id, instance.environment, instance.release).await? {
            Some(_) => self.remove_environment(&instance.app, instance.app_id, instance.environment).await,
            None => Ok(()),
        }
    }

    pub(super) async fn find(
        &self,
        app: &AppName,
        app_id: AppId,
        environment: Environment,
        release: ReleaseNumber,
    ) -> Result<Option<FoundInstance>, RuntimeError> {
        if self.look(app, app_id).await? != Presence::There {
            return Ok(None);
        }
        let namespace = manifest::namespace(app);
        let workloads = self.workloads(&namespace);
        let name = manifest::environment_name(app, environment);
        let Some(workload) = self.cluster().call(workloads.get_opt(&name)).await? else { return Ok(None) };
        let address = self.address(&namespace, &name).await?;
        Ok(found(&workload, address).filter(|found| found.instance.release == release))
    }

    pub(super) async fn instances(&self) -> Result<Vec<FoundInstance>, RuntimeError> {
        let namespaces = self.namespaces().await?;
        let looks = namespaces.into_iter().map(|namespace| async move { self.instances_in(&namespace).await });
        futures_util::stream::iter(looks).buffer_unordered(LOOKS_AT_ONCE).try_concat().await
    }

    async fn instances_in(&self, namespace: &str) -> Result<Vec<FoundInstance>, RuntimeError> {
        let ours = ListParams::default().labels(&self.selector());
        let services: Api<Service> = Api::namespaced(self.cluster().client.clone(), namespace);
        let workloads = self.workloads(namespace);
        let listed =
            tokio::try_join!(self.cluster().call(workloads.list(&ours)), self.cluster().call(services.list(&ours)));
        let (workloads, services) = match listed {
            Ok(listed) => listed,
            // The namespace is terminating, and its role binding has been removed.
            Err(Fault::Forbidden(_) | Fault::NotFound(_)) => return Ok(Vec::new()),
            Err(fault) => return Err(fault.into()),
        };
        let address = |name: Option<&String>| {
            let service = services.items.iter().find(|service| service.metadata.name.as_ref() == name)?;
            let ip = service.spec.as_ref()?.cluster_ip.as_ref()?.parse().ok()?;
            Some(SocketAddr::new(ip, 80))
        };
        Ok(workloads
            .items
            .iter()
            .filter_map(|workload| found(workload, address(workload.metadata.name.as_ref())))
            .collect())
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

/// The release that runs behind a Service that matches every release; none if the Service matches one release, or does
/// not exist.
fn unpinned<'a>(service: Option<&Service>, workload: Option<&'a Workload>) -> Option<&'a str> {
    let selector = service?.spec.as_ref()?.selector.as_ref()?;
    if selector.contains_key(ownership::RELEASE) {
        return None;
    }
    workload?.metadata.labels.as_ref()?.get(ownership::RELEASE).map(String::as_str)
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_service_that_leads_to_any_release_is_told_to_lead_to_one() {
        let service = |selector: serde_json::Value| -> Service {
            serde_json::from_value(json!({"metadata": {"name": "s"}, "spec": {"selector": selector}}))
                .expect("a Service")
        };
        let workload: Workload = serde_json::from_value(json!({
            "metadata": {"name": "w", "labels": {ownership::RELEASE: "4"}},
            "spec": {"selector": {}, "template": {}},
        }))
        .expect("a Deployment");
        let any = service(json!({ownership::APP: "a", ownership::ENVIRONMENT: "prod"}));
        let one = service(json!({ownership::APP: "a", ownership::ENVIRONMENT: "prod", ownership::RELEASE: "3"}));
        assert_eq!(unpinned(Some(&any), Some(&workload)), Some("4"));
        assert_eq!(unpinned(Some(&one), Some(&workload)), None);
        assert_eq!(unpinned(None, Some(&workload)), None);
        assert_eq!(unpinned(Some(&any), None), None);
    }
}
