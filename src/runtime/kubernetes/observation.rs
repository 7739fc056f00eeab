//! What can be seen of apps in a cluster: its version, their logs, their resource usage and their state.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use k8s_openapi::api::apps::v1::Deployment as Workload;

use super::super::{Instance, InstanceEvent, LogRate, Observation, RuntimeError, Stats};
use super::fault::Fault;
use super::watch::{ADDRESS_PAUSE, instance_events};
use super::{KubernetesRuntime, manifest};
use crate::domain::{AppId, AppName, Environment, ReleaseNumber};
use crate::engine::EngineInfo;
use crate::output::LogLine;

/// Reads what the cluster reports about apps.
#[derive(Debug, Clone)]
pub(super) struct ClusterObservation {
    pub(super) runtime: KubernetesRuntime,
}

#[async_trait]
impl Observation for ClusterObservation {
    async fn ping(&self) -> Result<EngineInfo, RuntimeError> {
        let version = tokio::time::timeout(Duration::from_secs(5), self.runtime.cluster().client.apiserver_version())
            .await
            .map_err(|_| RuntimeError::ClusterUnavailable("it has not answered for 5 seconds".to_owned()))?
            .map_err(Fault::from)?;
        Ok(EngineInfo {
            version: version.git_version,
            api_version: format!("{}.{}", version.major, version.minor),
            platform: version.platform,
        })
    }

    fn logs(
        &self,
        app: &AppName,
        _app_id: AppId,
        environment: Environment,
        tail: u32,
        follow: bool,
    ) -> BoxStream<'static, Result<LogLine, RuntimeError>> {
        self.runtime.environment_log(app, environment, tail, follow)
    }

    async fn log_rate(
        &self,
        _app: &AppName,
        _app_id: AppId,
        _environment: Environment,
    ) -> Result<Option<LogRate>, RuntimeError> {
        Ok(None)
    }

    async fn stats(
        &self,
        app: &AppName,
        app_id: AppId,
        environment: Environment,
        _release: ReleaseNumber,
    ) -> Result<Option<Stats>, RuntimeError> {
        self.runtime.environment_stats(app, app_id, environment).await
    }

    fn watch(&self) -> BoxStream<'static, InstanceEvent> {
        let runtime = self.runtime.clone();
        let address = move |instance: &Instance| {
            let namespace = manifest::namespace(&instance.app);
            let name = manifest::environment_name(&instance.app, instance.environment);
            let runtime = runtime.clone();
            async move { runtime.address(&namespace, &name).await }
        };
        instance_events(self.runtime.across::<Workload>(&self.runtime.selector()), address, ADDRESS_PAUSE).boxed()
    }
}
