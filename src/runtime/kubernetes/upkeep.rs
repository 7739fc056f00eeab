//! Reconciles the cluster with the desired state: finds what runs, removes what is not needed any more, and reverts
//! manual changes of objects, including fields that Slipway does not set itself.
//!
//! An apply restores the fields that Slipway sets. Fields that another client added to the same object stay: an
//! environment variable, a container, one more key of a quota. Therefore, if the cluster's record of field managers
//! names another client, the whole `spec` is replaced. Objects without Slipway's labels are logged and not changed.

use std::net::SocketAddr;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DynamicObject, ListParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::Value;

use super::super::{Deployment, DesiredState, FoundInstance, Instance, Reconcile, Restored, RuntimeError};
use super::client::{self, FIELD_MANAGER};
use super::fault::Fault;
use super::manifest::{self, Rollout};
use super::namespace::Presence;
use super::{KubernetesRuntime, found};
use crate::domain::{AppId, AppName, Environment, ReleaseNumber};
use crate::ownership;

/// Namespaces that are read at the same time.
const LOOKS_AT_ONCE: usize = 8;
/// Kinds whose `spec` belongs to Slipway alone, with their plurals.
const OWNED_KINDS: [(&str, &str); 7] = [
    ("ResourceQuota", "resourcequotas"),
    ("LimitRange", "limitranges"),
    ("NetworkPolicy", "networkpolicies"),
    ("Service", "services"),
    ("Deployment", "deployments"),
    ("Ingress", "ingresses"),
    ("CronJob", "cronjobs"),
];
/// Kinds of which foreign objects are logged and not changed: whoever created one may have intended it.
const REPORTED_KINDS: [(&str, &str, &str); 4] = [
    ("v1", "ResourceQuota", "resourcequotas"),
    ("v1", "LimitRange", "limitranges"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings"),
    ("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
];
/// Fields of a Service that the cluster sets once and that cannot be changed.
const SERVER_SET_FIELDS: [&str; 4] = ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"];

/// Compares what runs with what is to run.
#[derive(Debug, Clone)]
pub(super) struct ClusterReconcile {
    pub(super) runtime: KubernetesRuntime,
}

#[async_trait]
impl Reconcile for ClusterReconcile {
    async fn instances(&self) -> Result<Vec<FoundInstance>, RuntimeError> {
        let namespaces = self.runtime.namespaces().await?;
        let looks = namespaces.into_iter().map(|namespace| async move { self.instances_in(&namespace).await });
        futures_util::stream::iter(looks).buffer_unordered(LOOKS_AT_ONCE).try_concat().await
    }

    async fn restore(
        &self,
        app: AppId,
        environment: Environment,
        _runs: bool,
        desired: &dyn DesiredState,
    ) -> Result<Restored, RuntimeError> {
        // All releases of an environment share one Deployment: to apply the live release would undo what a running job
        // has applied. That job reconciles the environment as well, and so does the next pass.
        let Some(_alone) = desired.hold(app) else { return Ok(Restored::Nothing) };
        if let Some(live) = desired.live(app, environment).await? {
            Box::pin(self.reconcile(&live)).await?;
        }
        Ok(Restored::Nothing)
    }

    async fn remove_orphan(&self, orphan: &Instance, desired: &dyn DesiredState) -> Result<(), RuntimeError> {
        let Some(_alone) = desired.hold(orphan.app_id) else { return Ok(()) };
        // Checked again: a job may have deployed this release before the lock was acquired.
        if desired.is_needed(orphan.app_id, orphan.environment, orphan.release).await? {
            return Ok(());
        }
        match desired.live(orphan.app_id, orphan.environment).await? {
            // The live release's pods run beside the orphan's, in the same Deployment.
            Some(live) => Box::pin(self.reconcile(&live)).await,
            None => self.stop(orphan).await,
        }
    }

    fn due(&self) -> BoxStream<'static, ()> {
        // Drift is found by comparing periodically, since not all objects are watched.
        let every = self.runtime.settings().reconcile_every;
        futures_util::stream::unfold((), move |()| async move {
            tokio::time::sleep(every).await;
            Some(((), ()))
        })
        .boxed()
    }
}

impl ClusterReconcile {
    /// Reconciles a live release and the objects around it. A terminating namespace is skipped, without waiting for it.
    async fn reconcile(&self, deployment: &Deployment) -> Result<(), RuntimeError> {
        let (app, id) = (&deployment.app, deployment.app_id);
        let presence = self.runtime.look(app, id).await?;
        if presence == Presence::Leaving {
            return Ok(());
        }
        self.runtime.ensure_namespace(app, id, presence == Presence::There).await?;
        self.runtime.apply_release(deployment).await?;
        match self.revert_drift(deployment).await {
            // The namespace is being deleted, or an object was changed meanwhile: the next pass reconciles it.
            Ok(()) | Err(Fault::Forbidden(_) | Fault::NotFound(_) | Fault::Conflict(_)) => Ok(()),
            Err(fault) => Err(fault.into()),
        }
    }

    async fn revert_drift(&self, deployment: &Deployment) -> Result<(), Fault> {
        let owner = self.runtime.owner(&deployment.app, deployment.app_id);
        let namespace = manifest::namespace(&deployment.app);
        let mut wanted = manifest::base(&owner);
        wanted.extend(manifest::release(&owner, &self.runtime.cluster().apis().await?, deployment, Rollout::Running));
        for (kind, plural) in OWNED_KINDS {
            let wanted: Vec<&Value> = wanted.iter().filter(|object| object["kind"] == kind).collect();
            let Some(version) = wanted.first().and_then(|object| object["apiVersion"].as_str()) else { continue };
            let api = self.objects(&namespace, version, kind, plural);
            let found = self.runtime.cluster().call(api.list(&ListParams::default())).await?;
            for live in found.items {
                let name = live.name_any();
                let Some(wanted) = wanted.iter().find(|object| object["metadata"]["name"] == name.as_str()) else {
                    continue;
                };
                if !is_shared(&live.metadata) {
                    continue;
                }
                let whole = whole(&live, wanted)?;
                let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
                let put = self.runtime.cluster().call(api.replace(&name, &parameters, &whole)).await?;
                // Fields from an earlier replacement still count as shared. Replacing them with the same values changes
                // nothing, and is not logged.
                if put.metadata.resource_version != live.metadata.resource_version {
                    tracing::info!(namespace, kind, name, "reverted drift: something was changed by hand");
                }
            }
        }
        for (version, kind, plural) in REPORTED_KINDS {
            let foreign =
                ListParams::default().labels(&format!("{}!={}", ownership::MANAGED_BY, ownership::MANAGED_BY_SLIPWAY));
            let api = self.objects(&namespace, version, kind, plural);
            for object in self.runtime.cluster().call(api.list(&foreign)).await?.items {
                let name = object.name_any();
                tracing::warn!(namespace, kind, name, "found a foreign object in an app's namespace; left unchanged");
            }
        }
        Ok(())
    }

    fn objects(&self, namespace: &str, version: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
        let resource = client::resource(version, kind, plural);
        Api::namespaced_with(self.runtime.cluster().client.clone(), namespace, &resource)
    }

    /// Removes an environment, unless another release runs in it by now.
    async fn stop(&self, instance: &Instance) -> Result<(), RuntimeError> {
        match self.find(&instance.app, instance.app_id, instance.environment, instance.release).await? {
            Some(_) => self.runtime.remove_environment(&instance.app, instance.app_id, instance.environment).await,
            None => Ok(()),
        }
    }

    async fn find(
        &self,
        app: &AppName,
        app_id: AppId,
        environment: Environment,
        release: ReleaseNumber,
    ) -> Result<Option<FoundInstance>, RuntimeError> {
        if self.runtime.look(app, app_id).await? != Presence::There {
            return Ok(None);
        }
        let namespace = manifest::namespace(app);
        let workloads = self.runtime.workloads(&namespace);
        let name = manifest::environment_name(app, environment);
        let Some(workload) = self.runtime.cluster().call(workloads.get_opt(&name)).await? else { return Ok(None) };
        let address = self.runtime.address(&namespace, &name).await?;
        Ok(found(&workload, address).filter(|found| found.instance.release == release))
    }

    async fn instances_in(&self, namespace: &str) -> Result<Vec<FoundInstance>, RuntimeError> {
        let ours = ListParams::default().labels(&self.runtime.selector());
        let services: Api<Service> = Api::namespaced(self.runtime.cluster().client.clone(), namespace);
        let workloads = self.runtime.workloads(namespace);
        let listed = tokio::try_join!(
            self.runtime.cluster().call(workloads.list(&ours)),
            self.runtime.cluster().call(services.list(&ours))
        );
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
}

/// Whether a client other than Slipway's apply has set fields of the `spec`. Fields of the `status`, which controllers
/// write, do not count.
fn is_shared(metadata: &ObjectMeta) -> bool {
    metadata.managed_fields.iter().flatten().any(|entry| {
        let is_ours = entry.manager.as_deref() == Some(FIELD_MANAGER) && entry.operation.as_deref() == Some("Apply");
        !is_ours && entry.fields_v1.as_ref().is_some_and(|fields| fields.0.get("f:spec").is_some())
    })
}

/// The current object with its whole `spec` replaced by the wanted one. It keeps its resource version, so that the
/// cluster refuses to overwrite a later change.
fn whole(live: &DynamicObject, wanted: &Value) -> Result<DynamicObject, Fault> {
    let mut spec = wanted["spec"].clone();
    if wanted["kind"] == "Service" {
        for field in SERVER_SET_FIELDS {
            if let Some(given) = live.data["spec"].get(field) {
                spec[field] = given.clone();
            }
        }
    }
    let mut metadata = live.metadata.clone();
    metadata.managed_fields = None;
    let object = serde_json::json!({
        "apiVersion": wanted["apiVersion"],
        "kind": wanted["kind"],
        "metadata": metadata,
        "spec": spec,
    });
    serde_json::from_value(object).map_err(|error| Fault::Refused(error.to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn live(manager: &str, operation: &str, fields: &Value) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {
                "name": "tides-prod", "resourceVersion": "7", "annotations": {"kept": "yes"},
                "managedFields": [
                    {"manager": "slipway", "operation": "Apply", "fieldsV1": {"f:spec": {"f:ports": {}}}},
                    {"manager": manager, "operation": operation, "fieldsV1": fields},
                ],
            },
            "spec": {"clusterIP": "10.0.0.7", "externalIPs": ["203.0.113.9"], "ports": []},
            "status": {"loadBalancer": {}},
        }))
        .expect("an object")
    }

    #[test]
    fn who_else_set_something_is_seen() {
        let spec = json!({"f:spec": {"f:externalIPs": {}}});
        assert!(is_shared(&live("kubectl-edit", "Update", &spec).metadata));
        assert!(is_shared(&live("slipway", "Update", &spec).metadata), "what a replacement left");
        assert!(!is_shared(&live("slipway", "Apply", &spec).metadata));
        let status = json!({"f:metadata": {"f:annotations": {}}, "f:status": {}});
        assert!(!is_shared(&live("kube-controller-manager", "Update", &status).metadata));
    }

    #[test]
    fn what_we_want_takes_the_place_of_all_but_what_was_given() {
        let wanted = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "tides-prod"},
                            "spec": {"type": "ClusterIP", "ports": [{"port": 80}]}});
        let whole = whole(&live("kubectl-edit", "Update", &json!({})), &wanted).expect("an object");
        let whole = serde_json::to_value(whole).expect("JSON");
        assert_eq!(whole["spec"], json!({"type": "ClusterIP", "ports": [{"port": 80}], "clusterIP": "10.0.0.7"}));
        assert_eq!(whole["metadata"]["resourceVersion"], "7");
        assert_eq!(whole["metadata"]["annotations"], json!({"kept": "yes"}));
        assert!(whole["metadata"].get("managedFields").is_none() && whole.get("status").is_none(), "{whole}");
    }
}
