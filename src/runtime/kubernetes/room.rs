//! Waits until terminating pods have freed the quota of an app's namespace.
//!
//! Checked before pods are created, because the cluster retries with a growing backoff after a quota has refused a pod.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment as Workload;
use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::Api;
use kube::api::ListParams;
use kube::runtime::watcher;
use serde_json::Value;

use super::KubernetesRuntime;
use super::fault::Fault;
use super::quantity;
use super::ready::changes;
use crate::domain::AppName;
use crate::output::LineSink;
use crate::ownership;

/// Longest wait for terminating pods to be removed. Most take about 10 s. A kubelet that misses a container's exit removes
/// the pod at its next full sync; the longest measured was 72 s.
const LEAVING_LIMIT: Duration = Duration::from_mins(2);
/// How long the quota may take to notice that a pod was removed.
const COUNTING_LIMIT: Duration = Duration::from_secs(2);
/// The resources that Slipway's quota limits.
const COUNTED: [&str; 4] = ["pods", "requests.cpu", "requests.memory", "limits.memory"];

impl KubernetesRuntime {
    /// Waits until the quota has room for one more `pod`, as long as terminating pods may free it, and reports that to
    /// `tell`. If nothing will be freed, it returns at once, and the cluster refuses the pod with a reason.
    pub(super) async fn room_for(
        &self,
        app: &AppName,
        namespace: &str,
        pod: &Value,
        tell: &dyn LineSink,
    ) -> Result<(), Fault> {
        match self.room(app, namespace, pod, tell).await {
            // The namespace was deleted after it had been checked. The following apply reports that.
            Err(Fault::NotFound(_) | Fault::Forbidden(_)) => Ok(()),
            other => other,
        }
    }

    async fn room(&self, app: &AppName, namespace: &str, pod: &Value, tell: &dyn LineSink) -> Result<(), Fault> {
        let quotas: Api<ResourceQuota> = Api::namespaced(self.cluster().client.clone(), namespace);
        let has_room = |quota: &ResourceQuota| fits(quota, pod);
        if self.cluster().call(quotas.get_opt(super::manifest::QUOTA)).await?.is_none_or(|quota| has_room(&quota)) {
            return Ok(());
        }
        let pods: Api<Pod> = Api::namespaced(self.cluster().client.clone(), namespace);
        let of_app = ListParams::default().labels(&format!("{}={app}", ownership::APP));
        let workloads = self.workloads(namespace);
        let (pods, workloads) =
            tokio::try_join!(self.cluster().call(pods.list(&of_app)), self.cluster().call(workloads.list(&of_app)))?;
        let limit = if makes_room(&pods.items, &workloads.items) {
            tell.line("The app's quota is used up until an earlier version has gone: waiting for that.".to_owned())
                .await;
            LEAVING_LIMIT
        } else {
            COUNTING_LIMIT
        };
        let mut changes = changes(quotas, "", &format!("metadata.name={}", super::manifest::QUOTA)).boxed();
        let room = async {
            while let Some(change) = changes.try_next().await? {
                match change {
                    watcher::Event::Apply(quota) | watcher::Event::InitApply(quota) if !has_room(&quota) => {}
                    watcher::Event::Init | watcher::Event::InitDone => {}
                    // The quota has room, or was deleted.
                    _ => break,
                }
            }
            Ok(())
        };
        tokio::time::timeout(limit, room).await.unwrap_or(Ok(()))
    }
}

/// Whether pods of an app are terminating or will be: there are more pods than the Deployments should have.
fn makes_room(pods: &[Pod], workloads: &[Workload]) -> bool {
    let is_leaving = |pod: &Pod| pod.metadata.deletion_timestamp.is_some();
    let serves = |pod: &&Pod| {
        let owners = pod.metadata.owner_references.iter().flatten();
        owners.into_iter().any(|owner| owner.kind == "ReplicaSet")
    };
    let wanted: i32 = workloads.iter().filter_map(|workload| workload.spec.as_ref()?.replicas).sum();
    let serving = pods.iter().filter(serves).count();
    pods.iter().any(is_leaving) || usize::try_from(wanted).is_ok_and(|wanted| serving > wanted)
}

/// Whether a quota has room for one more of a pod.
fn fits(quota: &ResourceQuota, pod: &Value) -> bool {
    let Some(status) = &quota.status else { return true };
    let amount = |of: &Option<BTreeMap<String, Quantity>>, name: &str| {
        let found = of.as_ref().and_then(|amounts| amounts.get(name));
        found.map(|found| quantity::thousandths(&found.0))
    };
    COUNTED.iter().all(|name| match (amount(&status.hard, name), amount(&status.used, name)) {
        (Some(hard), Some(used)) => used + needs(pod, name) <= hard,
        _ => true,
    })
}

/// How much of one resource a pod's containers need, in thousandths.
fn needs(pod: &Value, name: &str) -> u64 {
    let Some((side, resource)) = name.split_once('.') else { return 1000 };
    let containers = pod["containers"].as_array().into_iter().flatten();
    let of_each = containers.filter_map(|container| container["resources"][side][resource].as_str());
    of_each.map(quantity::thousandths).sum()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn quota(pods: &str, memory: &str) -> ResourceQuota {
        serde_json::from_value(json!({
            "metadata": {"name": "slipway"},
            "status": {
                "hard": {"pods": "6", "limits.memory": "512Mi", "requests.cpu": "1"},
                "used": {"pods": pods, "limits.memory": memory, "requests.cpu": "150m"},
            },
        }))
        .expect("a quota")
    }

    #[test]
    fn pods_that_are_to_go_make_room_before_they_are_told_so() {
        let pod = |kind: &str, leaves: bool| -> Pod {
            let at = leaves.then_some("2026-01-01T00:00:00Z");
            let owner = json!({"apiVersion": "v1", "kind": kind, "name": "o", "uid": "u"});
            serde_json::from_value(json!({"metadata": {"ownerReferences": [owner], "deletionTimestamp": at}}))
                .expect("a pod")
        };
        let workload: Workload =
            serde_json::from_value(json!({"metadata": {}, "spec": {"replicas": 1, "selector": {}, "template": {}}}))
                .expect("a Deployment");
        let (one, terminating, run) = (pod("ReplicaSet", false), pod("ReplicaSet", true), pod("Job", false));
        let workloads = std::slice::from_ref(&workload);
        assert!(!makes_room(&[one.clone(), run.clone(), run], workloads));
        assert!(makes_room(&[one.clone(), terminating], workloads));
        assert!(makes_room(&[one.clone(), one], workloads));
    }

    #[test]
    fn a_quota_has_room_until_one_of_its_numbers_is_used_up() {
        let pod = json!({"containers": [
            {"resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"cpu": "500m", "memory": "128Mi"}}},
        ]});
        assert!(fits(&quota("3", "384Mi"), &pod));
        assert!(!fits(&quota("4", "512Mi"), &pod));
        assert!(!fits(&quota("4", "385Mi"), &pod));
        assert!(!fits(&quota("6", "0"), &pod));
        // A new quota, which has no counts yet.
        assert!(fits(&ResourceQuota::default(), &pod));
    }
}
