//! What happens to Deployments, as what happens to instances.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{BoxStream, SelectAll};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment as Workload;
use k8s_openapi::api::core::v1::Namespace;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::super::{InstanceEvent, InstanceEventKind, InstanceState};
use super::fault::Fault;
use super::{KubernetesRuntime, found, manifest};

impl KubernetesRuntime {
    pub(in super::super) fn watch(&self) -> BoxStream<'static, InstanceEvent> {
        let runtime = self.clone();
        let changes = self.across::<Workload>(&self.selector());
        // By Deployment, what it did last: a rollout changes one a dozen times.
        let mut last: HashMap<String, (InstanceState, u32)> = HashMap::new();
        let events = changes.filter_map(move |change| {
            let event = match change {
                watcher::Event::Apply(workload) | watcher::Event::InitApply(workload) => found(&workload, None)
                    .and_then(|found| {
                        let now = (found.state, found.instance.release.0);
                        let before = last.insert(workload.name_any(), now);
                        let kind = kind(found.state)?;
                        (before != Some(now)).then_some(InstanceEvent { instance: found.instance, kind })
                    }),
                watcher::Event::Delete(workload) => {
                    last.remove(&workload.name_any());
                    let kind = InstanceEventKind::TakenDown;
                    found(&workload, None).map(|found| InstanceEvent { instance: found.instance, kind })
                }
                watcher::Event::Init | watcher::Event::InitDone => None,
            };
            let runtime = runtime.clone();
            async move {
                let mut event = event?;
                if event.kind == InstanceEventKind::Started {
                    let namespace = manifest::namespace(&event.instance.app);
                    let name = manifest::environment_name(&event.instance.app, event.instance.environment);
                    event.instance.address = runtime.address(&namespace, &name).await.ok()?;
                }
                Some(event)
            }
        });
        events.boxed()
    }

    /// Watches one kind in all of this builder's namespaces, without end: with one watch over the whole
    /// cluster where we may, else with one in each namespace.
    pub(super) fn across<K>(&self, labels: &str) -> BoxStream<'static, watcher::Event<K>>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug + Send + 'static,
        K::DynamicType: Default,
    {
        let client = self.cluster().client.clone();
        let namespaces = self.selector();
        let config = watcher::Config::default().labels(labels);
        let start = async move {
            let everywhere: Api<K> = Api::all(client.clone());
            // Asked until there is an answer: a cluster that is away will be back.
            let may = loop {
                match everywhere.list_metadata(&kube::api::ListParams::default().limit(1)).await.map_err(Fault::from) {
                    Ok(_) => break true,
                    Err(Fault::Forbidden(_)) => break false,
                    Err(_) => tokio::time::sleep(Duration::from_secs(5)).await,
                }
            };
            if may { endless(everywhere, config) } else { one_by_one(client, &namespaces, config) }
        };
        futures_util::stream::once(start).flatten().boxed()
    }
}

fn kind(state: InstanceState) -> Option<InstanceEventKind> {
    match state {
        InstanceState::Running => Some(InstanceEventKind::Started),
        InstanceState::Created => None,
        InstanceState::Restarting => Some(InstanceEventKind::Died { code: None, oom: false }),
        // Slipway deletes what is not to run: it never scales anything to nothing.
        InstanceState::Stopped => Some(InstanceEventKind::TakenDown),
    }
}

/// A watch that mends itself.
fn endless<K>(api: Api<K>, config: watcher::Config) -> BoxStream<'static, watcher::Event<K>>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    watcher(api, config).default_backoff().filter_map(async |change| change.ok()).boxed()
}

/// A watch in each of our namespaces, which come and go.
fn one_by_one<K>(client: kube::Client, ours: &str, config: watcher::Config) -> BoxStream<'static, watcher::Event<K>>
where
    K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug + Send + 'static,
    K::DynamicType: Default,
{
    struct State<K> {
        client: kube::Client,
        config: watcher::Config,
        namespaces: BoxStream<'static, watcher::Event<Namespace>>,
        inside: SelectAll<BoxStream<'static, watcher::Event<K>>>,
        watched: Watched,
    }
    let namespaces = endless(Api::<Namespace>::all(client.clone()), watcher::Config::default().labels(ours));
    let state = State { client, config, namespaces, inside: SelectAll::new(), watched: Watched::default() };
    futures_util::stream::unfold(state, async |mut state| {
        loop {
            tokio::select! {
                change = state.namespaces.next() => {
                    if let Some((name, gone)) = state.watched.take(change?) {
                        let api: Api<K> = Api::namespaced(state.client.clone(), &name);
                        // Right after it was made we may not look there yet, nor when it is on its way out: it is
                        // asked again and again, until it is gone.
                        let changes = endless(api, state.config.clone()).take_until(gone.cancelled_owned());
                        state.inside.push(changes.boxed());
                    }
                }
                Some(change) = state.inside.next() => return Some((change, state)),
            }
        }
    })
    .boxed()
}

/// The namespaces that are watched, by name: each until it is gone.
#[derive(Default)]
struct Watched {
    known: HashMap<String, (String, DropGuard)>,
    /// Names that a new list has had so far.
    listed: HashSet<String>,
}

impl Watched {
    /// Takes a change in. Answers a namespace that is to be watched from now on, and what says that it is gone.
    fn take(&mut self, change: watcher::Event<Namespace>) -> Option<(String, CancellationToken)> {
        match change {
            watcher::Event::Init => self.listed.clear(),
            watcher::Event::InitApply(namespace) => {
                self.listed.insert(namespace.name_any());
                return self.begin(&namespace);
            }
            // What went while nobody looked is not told of.
            watcher::Event::InitDone => self.known.retain(|name, _| self.listed.contains(name)),
            watcher::Event::Apply(namespace) => return self.begin(&namespace),
            watcher::Event::Delete(namespace) => {
                self.known.remove(&namespace.name_any());
            }
        }
        None
    }

    fn begin(&mut self, namespace: &Namespace) -> Option<(String, CancellationToken)> {
        let (name, uid) = (namespace.name_any(), namespace.metadata.uid.clone().unwrap_or_default());
        let is_known = self.known.get(&name).is_some_and(|(known, _)| *known == uid);
        if is_known || namespace.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let gone = CancellationToken::new();
        // One of this name before it ends here.
        self.known.insert(name.clone(), (uid, gone.clone().drop_guard()));
        Some((name, gone))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::engine::label;

    fn namespace(name: &str, uid: &str) -> Namespace {
        serde_json::from_value(json!({"metadata": {"name": name, "uid": uid}})).expect("a namespace")
    }

    #[test]
    fn one_that_is_scaled_to_nothing_was_taken_down_and_has_not_stopped() {
        let workload = |replicas: i32, available: i32| -> Workload {
            let labels = json!({
                label::APP: "tides", label::APP_ID: "7", label::ENVIRONMENT: "prod", label::RELEASE: "3",
            });
            serde_json::from_value(json!({
                "metadata": {"name": "tides-prod", "namespace": "app-tides", "labels": labels},
                "spec": {"replicas": replicas, "selector": {}, "template": {}},
                "status": {"availableReplicas": available},
            }))
            .expect("a Deployment")
        };
        let told = |replicas, available| kind(found(&workload(replicas, available), None).expect("ours").state);
        assert_eq!(told(0, 0), Some(InstanceEventKind::TakenDown));
        assert_eq!(told(1, 0), Some(InstanceEventKind::Died { code: None, oom: false }));
        assert_eq!(told(1, 1), Some(InstanceEventKind::Started));
    }

    #[test]
    fn a_namespace_is_watched_until_it_is_gone() {
        let mut watched = Watched::default();
        assert!(watched.take(watcher::Event::Init).is_none());
        let (_, one) = watched.take(watcher::Event::InitApply(namespace("app-one", "1"))).expect("it is new");
        let (_, two) = watched.take(watcher::Event::InitApply(namespace("app-two", "2"))).expect("it is new");
        assert!(watched.take(watcher::Event::InitDone).is_none());
        assert!(watched.take(watcher::Event::Apply(namespace("app-one", "1"))).is_none(), "it is watched already");
        // Another one of the same name.
        let (_, again) = watched.take(watcher::Event::Apply(namespace("app-one", "3"))).expect("it is new");
        assert!(one.is_cancelled() && !again.is_cancelled());
        // The line broke, and one went meanwhile.
        assert!(watched.take(watcher::Event::Init).is_none());
        assert!(watched.take(watcher::Event::InitApply(namespace("app-one", "3"))).is_none());
        assert!(watched.take(watcher::Event::InitDone).is_none());
        assert!(two.is_cancelled() && !again.is_cancelled());
        watched.take(watcher::Event::Delete(namespace("app-one", "3")));
        assert!(again.is_cancelled());
        assert!(watched.take(watcher::Event::Apply(namespace("app-one", "4"))).is_some());
    }
}
