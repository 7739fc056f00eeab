//! Reverts manual changes of objects, including fields that Slipway does not set itself.
//!
//! An apply restores the fields that Slipway sets. Fields that another client added to the same object stay: an
//! environment variable, a container, one more key of a quota. Therefore, if the cluster's record of field managers
//! names another client, the whole `spec` is replaced. Objects without Slipway's labels are logged and not changed.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DynamicObject, ListParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::Value;

use super::super::{Deployment, RuntimeError};
use super::KubernetesRuntime;
use super::client::{self, FIELD_MANAGER};
use super::fault::Fault;
use super::manifest::{self, Rollout};
use super::namespace::Presence;
use crate::ownership;

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

impl KubernetesRuntime {
    /// Reconciles a live release and the objects around it. A terminating namespace is skipped, without waiting for it.
    pub(in super::super) async fn reconcile(&self, deployment: &Deployment) -> Result<(), RuntimeError> {
        let (app, id) = (&deployment.app, deployment.app_id);
        let presence = self.look(app, id).await?;
        if presence == Presence::Leaving {
            return Ok(());
        }
        self.ensure_namespace(app, id, presence == Presence::There).await?;
        self.apply_release(deployment).await?;
        match self.revert_drift(deployment).await {
            // The namespace is being deleted, or an object was changed meanwhile: the next pass reconciles it.
            Ok(()) | Err(Fault::Forbidden(_) | Fault::NotFound(_) | Fault::Conflict(_)) => Ok(()),
            Err(fault) => Err(fault.into()),
        }
    }

    async fn revert_drift(&self, deployment: &Deployment) -> Result<(), Fault> {
        let owner = self.owner(&deployment.app, deployment.app_id);
        let namespace = manifest::namespace(&deployment.app);
        let mut wanted = manifest::base(&owner);
        wanted.extend(manifest::release(&owner, &self.cluster().apis().await?, deployment, Rollout::Running));
        for (kind, plural) in OWNED_KINDS {
            let wanted: Vec<&Value> = wanted.iter().filter(|object| object["kind"] == kind).collect();
            let Some(version) = wanted.first().and_then(|object| object["apiVersion"].as_str()) else { continue };
            let api = self.objects(&namespace, version, kind, plural);
            let found = self.cluster().call(api.list(&ListParams::default())).await?;
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
                let put = self.cluster().call(api.replace(&name, &parameters, &whole)).await?;
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
            for object in self.cluster().call(api.list(&foreign)).await?.items {
                let name = object.name_any();
                tracing::warn!(namespace, kind, name, "found a foreign object in an app's namespace; left unchanged");
            }
        }
        Ok(())
    }

    fn objects(&self, namespace: &str, version: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
        let resource = client::resource(version, kind, plural);
        Api::namespaced_with(self.cluster().client.clone(), namespace, &resource)
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
