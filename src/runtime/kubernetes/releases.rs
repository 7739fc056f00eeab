//! The releases of apps in a cluster: starts one beside the one that runs, switches traffic to it, or goes back.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::apps::v1::Deployment as Workload;
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::{Patch, PatchParams};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::{Answered, Deployment, Instance, Releases, RuntimeError, Switched, probe};
use super::manifest::Rollout;
use super::ready::{Goal, said};
use super::{KubernetesRuntime, client, found, manifest};
use crate::domain::{AppId, AppName, Probe, ProcessKind};
use crate::gateway::Upstream;
use crate::output::LineSink;
use crate::ownership;

/// Carries the releases of apps through their rollouts.
#[derive(Debug, Clone)]
pub(super) struct ClusterReleases {
    pub(super) runtime: KubernetesRuntime,
}

#[async_trait]
impl Releases for ClusterReleases {
    async fn prepare(&self, app: &AppName, app_id: AppId) -> Result<(), RuntimeError> {
        self.runtime.prepare(app, app_id).await
    }

    async fn start(
        &self,
        deployment: &Deployment,
        tell: &dyn LineSink,
        cancel: &CancellationToken,
    ) -> Result<Instance, RuntimeError> {
        self.runtime.prepare(&deployment.app, deployment.app_id).await?;
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
                self.runtime.prepared().remove(&deployment.app_id);
                self.runtime.prepare(&deployment.app, deployment.app_id).await?;
                self.apply_beside(deployment).await?;
            }
            other => other?,
        }
        self.instance(deployment).await
    }

    async fn wait_ready(
        &self,
        instance: &Instance,
        probe: &Probe,
        deadline: Duration,
        tell: &dyn LineSink,
        cancel: &CancellationToken,
    ) -> Result<Answered, RuntimeError> {
        let begun = Instant::now();
        let work = async {
            self.runtime.rolled_out(instance, Goal::Ready, deadline, tell).await?;
            let last = Mutex::new("its pod has gone.".to_owned());
            let asked = async {
                let address = self.runtime.pod_address(instance, probe.port).await?.ok_or(RuntimeError::Gone)?;
                probe::until_ready(address, probe, &last).await;
                Ok(())
            };
            match tokio::time::timeout(deadline, asked).await {
                Ok(asked) => asked,
                Err(_) => Err(self.runtime.not_ready(instance, deadline, said(&last)).await),
            }
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(RuntimeError::Cancelled),
            done = work => done?,
        }
        Ok(Answered { millis: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX) })
    }

    async fn own_address(&self, instance: &Instance, probe: &Probe) -> Result<Option<SocketAddr>, RuntimeError> {
        self.runtime.pod_address(instance, probe.port).await
    }

    async fn switch(
        &self,
        deployment: &Deployment,
        _instance: &Instance,
        probe: &Probe,
        deadline: Duration,
        tell: &dyn LineSink,
        cancel: &CancellationToken,
    ) -> Result<Switched, RuntimeError> {
        let address = self.switch_traffic(deployment, probe, deadline, tell, cancel).await?;
        let Deployment { app, app_id, environment, release, .. } = deployment;
        let to = Upstream { address, release: *release };
        let route = self.runtime.inner.traffic.switch(app, *app_id, *environment, to).await;
        let (releases, live) = (self.clone(), deployment.clone());
        let finish = async move {
            if let Err(error) = releases.finish(&live).await {
                tracing::warn!(app = %live.app, %error, "failed to scale down the previous release; the next reconcile retries");
            }
        };
        // The Deployment removes the old pods by itself.
        Ok(Switched::new(route, &self.runtime.inner.tasks, finish, std::future::ready(())))
    }

    async fn finish(&self, live: &Deployment) -> Result<(), RuntimeError> {
        self.runtime.apply_parts(live, Rollout::Running, |kind| kind == "Deployment").await
    }

    async fn abandon(&self, failed: &Deployment, live: Option<&Deployment>) -> Result<(), RuntimeError> {
        match live {
            Some(live) => match self.runtime.apply_release(live).await {
                // Its objects were never created, or were all deleted: the next reconcile creates them.
                Err(RuntimeError::Gone) => Ok(()),
                other => other,
            },
            None => self.runtime.remove_environment(&failed.app, failed.app_id, failed.environment).await,
        }
    }

    async fn remove_app(&self, app: &AppName, app_id: AppId, tell: &dyn LineSink) -> Result<(), RuntimeError> {
        self.runtime.remove_app(app, app_id, tell).await
    }
}

impl ClusterReleases {
    /// Starts a release beside the one that runs: no Service routes to the new release yet, and the old one keeps
    /// running.
    async fn apply_beside(&self, deployment: &Deployment) -> Result<(), RuntimeError> {
        match deployment.spec.process {
            ProcessKind::Service(_) => {
                self.pin(deployment).await?;
                self.runtime
                    .apply_parts(deployment, Rollout::Paused, |kind| matches!(kind, "Secret" | "Deployment"))
                    .await
            }
            ProcessKind::Job => self.runtime.apply_release(deployment).await,
        }
    }

    /// Restricts the Service to the release that runs now. A Service that an earlier version of Slipway created matches
    /// every release, and would route to the new one as soon as it starts.
    async fn pin(&self, deployment: &Deployment) -> Result<(), RuntimeError> {
        let namespace = manifest::namespace(&deployment.app);
        let name = manifest::environment_name(&deployment.app, deployment.environment);
        let services: Api<Service> = Api::namespaced(self.runtime.cluster().client.clone(), &namespace);
        let workloads = self.runtime.workloads(&namespace);
        let (service, workload) = tokio::try_join!(
            self.runtime.cluster().call(services.get_opt(&name)),
            self.runtime.cluster().call(workloads.get_opt(&name)),
        )?;
        let Some(running) = unpinned(service.as_ref(), workload.as_ref()) else { return Ok(()) };
        if running == deployment.release.to_string() {
            return Ok(());
        }
        let patch = serde_json::json!({"spec": {"selector": {ownership::RELEASE: running}}});
        let parameters =
            PatchParams { field_manager: Some(client::FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        self.runtime.cluster().call(services.patch(&name, &parameters, &Patch::Merge(&patch))).await?;
        Ok(())
    }

    /// Waits until the quota has room for a release's pod, unless this release runs already.
    async fn room_for_release(&self, deployment: &Deployment, tell: &dyn LineSink) -> Result<(), RuntimeError> {
        let namespace = manifest::namespace(&deployment.app);
        let name = manifest::environment_name(&deployment.app, deployment.environment);
        let there = self.runtime.cluster().call(self.runtime.workloads(&namespace).get_opt(&name)).await?;
        let is_there = there.and_then(|workload| found(&workload, None)).is_some_and(|found| {
            (found.instance.app_id, found.instance.release) == (deployment.app_id, deployment.release)
        });
        if is_there {
            return Ok(());
        }
        let pod = manifest::release_pod(deployment);
        Ok(self.runtime.room_for(&deployment.app, &namespace, &pod, tell).await?)
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
                ProcessKind::Service(_) => self.runtime.address(&namespace, &name).await?,
                ProcessKind::Job => None,
            },
        })
    }

    /// Switches the Service to a ready release, and waits until it routes to that release and has answered there. The
    /// old pods keep running. Returns the Service's address.
    async fn switch_traffic(
        &self,
        deployment: &Deployment,
        probe: &Probe,
        deadline: Duration,
        tell: &dyn LineSink,
        cancel: &CancellationToken,
    ) -> Result<SocketAddr, RuntimeError> {
        let work = async {
            self.runtime.apply_parts(deployment, Rollout::Paused, |kind| matches!(kind, "Service" | "Ingress")).await?;
            let instance = self.instance(deployment).await?;
            self.runtime.rolled_out(&instance, Goal::TrafficSwitched, deadline, tell).await?;
            let Some(address) = instance.address else {
                return Err(RuntimeError::CannotStart("its Service has no address in the cluster".to_owned()));
            };
            let last = Mutex::default();
            match tokio::time::timeout(deadline, probe::until_ready(address, probe, &last)).await {
                Ok(()) => Ok(address),
                Err(_) => Err(RuntimeError::SwitchTimedOut { waited: deadline, last: said(&last) }),
            }
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(RuntimeError::Cancelled),
            done = work => done,
        }
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
