//! State and resource usage of an environment: the state comes from the Deployment and its pods, the usage from the
//! metrics API, if the cluster has one.

use k8s_openapi::api::apps::v1::Deployment as Workload;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use serde_json::Value;

use super::super::{RuntimeError, Stats};
use super::fault::Fault;
use super::{KubernetesRuntime, found, manifest, quantity};
use crate::domain::{AppId, AppName, Environment};
use crate::ownership;

impl KubernetesRuntime {
    /// The statistics of the environment's Deployment, whichever release it runs.
    pub(super) async fn environment_stats(
        &self,
        app: &AppName,
        app_id: AppId,
        environment: Environment,
    ) -> Result<Option<Stats>, RuntimeError> {
        let namespace = manifest::namespace(app);
        let name = manifest::environment_name(app, environment);
        let chosen = format!("{},{}={environment}", self.selector(), ownership::ENVIRONMENT);
        let ours = ListParams::default().labels(&chosen);
        let workloads = self.workloads(&namespace);
        let pods: Api<Pod> = Api::namespaced(self.cluster().client.clone(), &namespace);
        let asked = tokio::try_join!(
            self.cluster().call(workloads.get_opt(&name)),
            self.cluster().call(pods.list(&ours)),
            async { Ok(self.metrics(&namespace, &chosen).await) },
        );
        let (workload, pods, metrics) = match asked {
            Ok(asked) => asked,
            // The namespace was removed or is terminating: its role binding does not exist any more.
            Err(Fault::Forbidden(_) | Fault::NotFound(_)) => return Ok(None),
            Err(fault) => return Err(fault.into()),
        };
        let installation = self.settings().installation.as_str();
        let workload = workload.filter(|workload| {
            let labels = workload.metadata.labels.as_ref();
            let whose = labels.and_then(|labels| labels.get(ownership::INSTALLATION)).map(String::as_str);
            whose == Some(installation) && found(workload, None).is_some_and(|found| found.instance.app_id == app_id)
        });
        Ok(workload.map(|workload| of_parts(&workload, &pods.items, metrics.as_ref())))
    }

    /// What the pods use; none if there is no metrics API, or no permission to use it.
    async fn metrics(&self, namespace: &str, selector: &str) -> Option<Value> {
        let selector = selector.replace('/', "%2F").replace('=', "%3D").replace(',', "%2C");
        let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods?labelSelector={selector}");
        let request = axum::http::Request::get(path).body(Vec::new()).ok()?;
        match self.cluster().call(self.cluster().client.request(request)).await {
            Ok(list) => Some(list),
            Err(fault) => {
                tracing::debug!(namespace, ?fault, "no metrics");
                None
            }
        }
    }
}

/// Combines the Deployment, its pods and their metrics. `metrics` is a `PodMetricsList`.
fn of_parts(workload: &Workload, pods: &[Pod], metrics: Option<&Value>) -> Stats {
    let wanted = workload.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    // During a rollout the pods of both releases are ready, so there may be one more than wanted.
    let ready = workload.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0).min(wanted);
    let staying = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let containers = staying.filter_map(|pod| pod.status.as_ref()?.container_statuses.as_ref()).flatten();
    let restarts: i32 = containers.map(|container| container.restart_count).sum();
    let limit = || {
        let pod = workload.spec.as_ref()?.template.spec.as_ref()?;
        let limits = pod.containers.first()?.resources.as_ref()?.limits.as_ref()?;
        Some(quantity::units(&limits.get("memory")?.0))
    };
    let measured = metrics.and_then(|metrics| metrics["items"].as_array()).map(|pods| {
        let containers = || pods.iter().filter_map(|pod| pod["containers"].as_array()).flatten();
        let used = |resource: &'static str| containers().filter_map(move |one| one["usage"][resource].as_str());
        let memory_bytes: u64 = used("memory").map(quantity::units).sum();
        let cpu_nanos: u64 = used("cpu").map(quantity::billionths).sum();
        (pods.len(), memory_bytes, cpu_nanos / 1_000_000)
    });
    // A pod that has just started was not measured yet.
    let measured = measured.filter(|(pods, ..)| *pods > 0);
    let count = |number: i32| u32::try_from(number).unwrap_or(0);
    Stats {
        ready: count(ready),
        wanted: count(wanted),
        restarts: count(restarts),
        memory_bytes: measured.map(|(_, memory_bytes, _)| memory_bytes),
        // The limit applies to each pod.
        memory_limit_bytes: limit().map(|limit| limit * measured.map_or(1, |(pods, ..)| pods as u64)),
        cpu_millis: measured.map(|(.., cpu_millis)| cpu_millis),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn workload(status: &Value) -> Workload {
        serde_json::from_value(json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": "tides-prod", "namespace": "app-tides" },
            "spec": {
                "replicas": 1,
                "selector": {},
                "template": { "spec": { "containers": [
                    { "name": "app", "resources": { "limits": { "memory": "128Mi", "cpu": "500m" } } },
                ] } },
            },
            "status": status,
        }))
        .expect("a Deployment")
    }

    fn pod(name: &str, restarts: i32, leaving: bool) -> Pod {
        let mut metadata = json!({ "name": name });
        if leaving {
            metadata["deletionTimestamp"] = json!("2026-11-20T12:00:00Z");
        }
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
            "status": { "containerStatuses": [{
                "name": "app", "image": "x", "imageID": "x", "ready": true, "restartCount": restarts,
            }] },
        }))
        .expect("a Pod")
    }

    fn metrics(pods: &[(&str, &str)]) -> Value {
        let items: Vec<Value> = pods
            .iter()
            .map(|(memory, cpu)| {
                json!({ "metadata": {}, "window": "15s", "containers": [
                    { "name": "app", "usage": { "memory": memory, "cpu": cpu } },
                ] })
            })
            .collect();
        json!({ "kind": "PodMetricsList", "apiVersion": "metrics.k8s.io/v1beta1", "items": items })
    }

    #[test]
    fn all_three_say_their_part() {
        let workload = workload(&json!({ "replicas": 1, "readyReplicas": 1, "availableReplicas": 1 }));
        let metrics = metrics(&[("23552Ki", "12345678n")]);
        assert_eq!(
            of_parts(&workload, &[pod("a", 2, false)], Some(&metrics)),
            Stats {
                ready: 1,
                wanted: 1,
                restarts: 2,
                memory_bytes: Some(23 << 20),
                memory_limit_bytes: Some(128 << 20),
                cpu_millis: Some(12),
            }
        );
    }

    #[test]
    fn without_a_metrics_api_the_rest_is_said() {
        // The cluster omits the field while no pod is ready.
        let workload = workload(&json!({ "replicas": 1, "unavailableReplicas": 1 }));
        let pods = [pod("a", 5, false), pod("b", 7, true)];
        let expected = Stats { wanted: 1, restarts: 5, memory_limit_bytes: Some(128 << 20), ..Stats::default() };
        assert_eq!(of_parts(&workload, &pods, None), expected);
        // The metrics API answers, but has no measurements yet.
        assert_eq!(of_parts(&workload, &pods, Some(&metrics(&[]))), expected);
    }

    #[test]
    fn two_releases_side_by_side_are_not_more_than_wanted() {
        let workload = workload(&json!({ "replicas": 2, "readyReplicas": 2 }));
        let metrics = metrics(&[("20Mi", "1m"), ("30Mi", "2m")]);
        let stats = of_parts(&workload, &[pod("a", 0, false), pod("b", 1, false)], Some(&metrics));
        assert_eq!((stats.ready, stats.wanted, stats.restarts), (1, 1, 1));
        assert_eq!((stats.memory_bytes, stats.memory_limit_bytes), (Some(50 << 20), Some(256 << 20)));
        assert_eq!(stats.cpu_millis, Some(3));
    }
}
