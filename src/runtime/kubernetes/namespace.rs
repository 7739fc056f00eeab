//! Creates, reconciles and deletes an app's namespace. Never changes a namespace of another owner.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::try_join_all;
use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use tokio::time::Instant;

use super::super::RuntimeError;
use super::KubernetesRuntime;
use super::client::FIELD_MANAGER;
use super::fault::Fault;
use super::manifest;
use crate::domain::{AppId, AppName};
use crate::output::Discard;
use crate::output::LineSink;
use crate::ownership;

/// How long the removal of a namespace, with all that is in it, may take.
const REMOVAL_LIMIT: Duration = Duration::from_mins(5);
/// How long a reconciled namespace counts as reconciled: it can be changed from outside at any time.
const PREPARED_FOR: Duration = Duration::from_secs(5);

impl KubernetesRuntime {
    fn namespace_api(&self) -> Api<Namespace> {
        Api::all(self.cluster().client.clone())
    }

    /// Creates the namespace and the objects that it needs before anything runs, unless that was done within
    /// [`PREPARED_FOR`].
    pub(super) async fn prepare(&self, app: &AppName, app_id: AppId) -> Result<(), RuntimeError> {
        if self.prepared().get(&app_id).is_some_and(|at| at.elapsed() < PREPARED_FOR) {
            return Ok(());
        }
        let is_there = self.owns_namespace(app, app_id).await?;
        self.ensure_namespace(app, app_id, is_there).await
    }

    /// Reconciles the objects of the namespace, and creates the namespace if it does not exist.
    pub(super) async fn ensure_namespace(
        &self,
        app: &AppName,
        app_id: AppId,
        is_there: bool,
    ) -> Result<(), RuntimeError> {
        let objects = manifest::base(&self.owner(app, app_id));
        let (first, rest) = objects.split_at(2);
        if !is_there {
            // A plain create: an apply would take over a namespace that another client has just created.
            let namespace: Namespace = serde_json::from_value(first[0].clone())
                .map_err(|error| RuntimeError::ClusterRefused(error.to_string()))?;
            let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
            match self.cluster().call(self.namespace_api().create(&parameters, &namespace)).await {
                Ok(_) => {}
                // The next call checks whose namespace it is.
                Err(Fault::Conflict(_)) => {
                    self.owns_namespace(app, app_id).await?;
                }
                Err(fault) => return Err(fault.into()),
            }
        }
        for object in first {
            self.cluster().apply(object).await?;
        }
        try_join_all(rest.iter().map(|object| self.cluster().apply(object))).await?;
        self.prepared().insert(app_id, Instant::now());
        Ok(())
    }

    /// Whether the app's namespace exists. Waits until a terminating one was removed.
    ///
    /// # Errors
    /// [`RuntimeError::NotOurs`] if the namespace exists and belongs to another owner.
    async fn owns_namespace(&self, app: &AppName, app_id: AppId) -> Result<bool, RuntimeError> {
        match self.look(app, app_id).await? {
            Presence::There => Ok(true),
            Presence::Gone => Ok(false),
            Presence::Leaving => {
                self.namespace_gone(&manifest::namespace(app), &Discard).await?;
                Ok(false)
            }
        }
    }

    /// The state of the app's namespace. Fails if the namespace belongs to another owner.
    pub(super) async fn look(&self, app: &AppName, app_id: AppId) -> Result<Presence, RuntimeError> {
        let name = manifest::namespace(app);
        let Some(namespace) = self.cluster().call(self.namespace_api().get_opt(&name)).await? else {
            return Ok(Presence::Gone);
        };
        let labels = namespace.metadata.labels.unwrap_or_default();
        let ours = self.settings().installation.labels(app, app_id);
        if !ours.iter().all(|(key, value)| labels.get(key) == Some(value)) {
            return Err(RuntimeError::NotOurs { namespace: name, whose: whose(&labels) });
        }
        let is_leaving = namespace.metadata.deletion_timestamp.is_some();
        Ok(if is_leaving { Presence::Leaving } else { Presence::There })
    }

    /// Names of this builder's namespaces that are not terminating.
    pub(super) async fn namespaces(&self) -> Result<Vec<String>, RuntimeError> {
        let ours = ListParams::default().labels(&self.selector());
        let found = self.cluster().call(self.namespace_api().list(&ours)).await?;
        let alive = found.items.into_iter().filter(|namespace| namespace.metadata.deletion_timestamp.is_none());
        Ok(alive.filter_map(|namespace| namespace.metadata.name).collect())
    }

    /// Removes the namespace with all that is in it, and waits until it is removed; meanwhile it reports what blocks
    /// the removal. Succeeds if the namespace does not exist, or belongs to another owner: then it contains nothing of
    /// this app.
    pub(super) async fn remove_app(
        &self,
        app: &AppName,
        app_id: AppId,
        tell: &dyn LineSink,
    ) -> Result<(), RuntimeError> {
        self.prepared().remove(&app_id);
        match self.look(app, app_id).await {
            Ok(Presence::There) => {}
            Ok(Presence::Leaving) => return self.namespace_gone(&manifest::namespace(app), tell).await,
            Ok(Presence::Gone) | Err(RuntimeError::NotOurs { .. }) => return Ok(()),
            Err(error) => return Err(error),
        }
        let name = manifest::namespace(app);
        match self.cluster().call(self.namespace_api().delete(&name, &DeleteParams::default())).await {
            Ok(_) | Err(Fault::NotFound(_) | Fault::Conflict(_)) => {}
            Err(fault) => return Err(fault.into()),
        }
        self.namespace_gone(&name, tell).await
    }

    /// Waits until a deleted namespace was removed. Reports what blocks the removal.
    async fn namespace_gone(&self, name: &str, tell: &dyn LineSink) -> Result<(), RuntimeError> {
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let mut changes = watcher(self.namespace_api(), config).default_backoff().boxed();
        let mut held_by: Option<String> = None;
        let mut listed = 0;
        let gone = async {
            while let Some(change) = changes.try_next().await.map_err(Fault::from)? {
                let namespace = match change {
                    watcher::Event::Delete(_) => return Ok(()),
                    watcher::Event::InitDone if listed == 0 => return Ok(()),
                    watcher::Event::Init => {
                        listed = 0;
                        continue;
                    }
                    watcher::Event::InitDone => continue,
                    watcher::Event::InitApply(namespace) => {
                        listed += 1;
                        namespace
                    }
                    watcher::Event::Apply(namespace) => namespace,
                };
                let holds = what_holds(&namespace);
                if holds != held_by {
                    if let Some(holds) = &holds {
                        tell.line(format!("The namespace {name} is being deleted, and waits: {holds}")).await;
                    }
                    held_by = holds;
                }
            }
            Err(Fault::Away("it closed the line".to_owned()))
        };
        match tokio::time::timeout(REMOVAL_LIMIT, gone).await {
            Ok(gone) => Ok(gone?),
            Err(_) => Err(RuntimeError::Stuck {
                namespace: name.to_owned(),
                held_by: held_by.unwrap_or_else(|| "the cluster does not say what holds it".to_owned()),
            }),
        }
    }
}

/// The state of an app's namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    There,
    Leaving,
    Gone,
}

/// Describes the owner of a namespace that does not belong to this app.
fn whose(labels: &BTreeMap<String, String>) -> String {
    match (
        labels.get(ownership::MANAGED_BY).map(String::as_str),
        labels.get(ownership::INSTALLATION),
        labels.get(ownership::APP),
    ) {
        (Some(ownership::MANAGED_BY_SLIPWAY), Some(_), Some(app)) => {
            format!("it belongs to another Slipway, or to an app “{app}” that was deleted here")
        }
        _ => "it was not made by Slipway".to_owned(),
    }
}

/// The reasons that a terminating namespace reports for its delay.
fn what_holds(namespace: &Namespace) -> Option<String> {
    let conditions = namespace.status.as_ref()?.conditions.as_ref()?;
    let said: Vec<&str> = conditions
        .iter()
        .filter(|condition| condition.status == "True")
        .filter_map(|condition| condition.message.as_deref())
        .collect();
    (!said.is_empty()).then(|| said.join("; "))
}
