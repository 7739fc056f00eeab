//! What happens to Deployments, as what happens to instances.

use std::collections::HashMap;
use std::fmt::Debug;
use std::time::Duration;

use futures_util::stream::{BoxStream, SelectAll};
use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment as Workload;
use k8s_openapi::api::core::v1::Namespace;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

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
                    let kind = InstanceEventKind::Died { code: None, oom: false };
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
        InstanceState::Restarting | InstanceState::Stopped => Some(InstanceEventKind::Died { code: None, oom: false }),
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
        known: HashMap<String, String>,
    }
    let namespaces = endless(Api::<Namespace>::all(client.clone()), watcher::Config::default().labels(ours));
    let state = State { client, config, namespaces, inside: SelectAll::new(), known: HashMap::new() };
    futures_util::stream::unfold(state, async |mut state| {
        loop {
            tokio::select! {
                change = state.namespaces.next() => match change? {
                    watcher::Event::Apply(namespace) | watcher::Event::InitApply(namespace) => {
                        let (name, uid) = (namespace.name_any(), namespace.metadata.uid.clone().unwrap_or_default());
                        let leaving = namespace.metadata.deletion_timestamp.is_some();
                        if !leaving && state.known.insert(name.clone(), uid.clone()) != Some(uid) {
                            let api: Api<K> = Api::namespaced(state.client.clone(), &name);
                            state.inside.push(until_closed(api, state.config.clone()));
                        }
                    }
                    watcher::Event::Delete(namespace) => { state.known.remove(&namespace.name_any()); }
                    watcher::Event::Init | watcher::Event::InitDone => {}
                },
                Some(change) = state.inside.next() => return Some((change, state)),
            }
        }
    })
    .boxed()
}

/// A watch in one namespace, which ends for good some time after we may not look there any more:
/// right after the namespace was made, we may not look there yet.
fn until_closed<K>(api: Api<K>, config: watcher::Config) -> BoxStream<'static, watcher::Event<K>>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    /// With the back-off, about a minute.
    const REFUSALS: u32 = 10;
    let refusals = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let changes = watcher(api, config).default_backoff().map_err(Fault::from);
    let count = refusals.clone();
    let open = changes.take_while(move |change| {
        let refused = match change {
            Ok(_) => {
                count.store(0, std::sync::atomic::Ordering::Relaxed);
                0
            }
            Err(Fault::Forbidden(_) | Fault::NotFound(_)) => {
                count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1
            }
            Err(_) => 0,
        };
        std::future::ready(refused < REFUSALS)
    });
    open.filter_map(async |change| change.ok()).boxed()
}
