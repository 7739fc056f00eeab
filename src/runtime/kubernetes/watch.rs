//! Turns changes of Deployments into events of instances.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt::{Debug, Display};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{BoxStream, SelectAll};
use futures_util::{Stream, StreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment as Workload;
use k8s_openapi::api::core::v1::Namespace;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::super::{Instance, InstanceEvent, InstanceEventKind, InstanceState};
use super::fault::Fault;
use super::{KubernetesRuntime, found};

/// Pause before a failed read of an instance's address is repeated.
pub(super) const ADDRESS_PAUSE: Duration = Duration::from_secs(1);

impl KubernetesRuntime {
    /// Watches one kind in all of this builder's namespaces, without an end: with one watch of the whole cluster if
    /// that is permitted, otherwise with one watch in each namespace.
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
            // Retried until there is a response, since an outage of the cluster ends.
            let may = loop {
                match everywhere.list_metadata(&kube::api::ListParams::default().limit(1)).await.map_err(Fault::from) {
                    Ok(_) => break true,
                    Err(Fault::Forbidden(_)) => break false,
                    Err(_) => tokio::time::sleep(Duration::from_secs(5)).await,
                }
            };
            if may { with_deletions(endless(everywhere, config)) } else { one_by_one(client, &namespaces, config) }
        };
        futures_util::stream::once(start).flatten().boxed()
    }
}

/// Turns changes of Deployments into events of instances. A started instance is reported with its address, which `address`
/// reads. A failed read is repeated after `pause`.
pub(super) fn instance_events<A, F, E>(
    changes: BoxStream<'static, watcher::Event<Workload>>,
    address: A,
    pause: Duration,
) -> impl Stream<Item = InstanceEvent> + Send + 'static
where
    A: Fn(&Instance) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Option<SocketAddr>, E>> + Send,
    E: Display + Send + 'static,
{
    let state = (changes, Reported::default(), Arc::new(address));
    futures_util::stream::unfold(state, move |(mut changes, mut reported, address)| async move {
        loop {
            if let Some(event) = reported.ready.pop_front() {
                return Some((event, (changes, reported, address)));
            }
            let mut pending = Vec::new();
            if reported.without_address.is_empty() {
                pending.extend(reported.apply(changes.next().await?));
            } else {
                tokio::select! {
                    change = changes.next() => pending.extend(reported.apply(change?)),
                    () = tokio::time::sleep(pause) => pending.extend(reported.without_address.keys().cloned()),
                }
            }
            for name in pending {
                let Some((_, event)) = reported.without_address.get(&name) else { continue };
                match address(&event.instance).await {
                    Ok(address) => reported.set_address(&name, address),
                    Err(error) => tracing::warn!(
                        app = %event.instance.app, %error,
                        "failed to read the address of a running instance; retrying"
                    ),
                }
            }
        }
    })
}

/// What was reported of each Deployment last, by namespace and name. A rollout changes a Deployment a dozen times; only a
/// change of its state is reported.
#[derive(Default)]
struct Reported {
    last: HashMap<(Option<String>, String), State>,
    /// Running Deployments whose address is not known yet. They are reported once it is.
    without_address: HashMap<(Option<String>, String), (State, InstanceEvent)>,
    ready: VecDeque<InstanceEvent>,
}

type State = (InstanceState, u32);

impl Reported {
    /// Applies a change. Returns the key of a Deployment whose address has to be read before the change is reported.
    fn apply(&mut self, change: watcher::Event<Workload>) -> Option<(Option<String>, String)> {
        match change {
            watcher::Event::Apply(workload) | watcher::Event::InitApply(workload) => {
                let key = key(&workload);
                let found = found(&workload, None)?;
                let now = (found.state, found.instance.release.0);
                if self.last.get(&key) == Some(&now) {
                    return None;
                }
                self.without_address.remove(&key);
                let Some(kind) = kind(found.state) else {
                    self.last.insert(key, now);
                    return None;
                };
                let event = InstanceEvent { instance: found.instance, kind };
                if kind == InstanceEventKind::Started {
                    // The last report is outdated, and the new one is still to come.
                    self.last.remove(&key);
                    self.without_address.insert(key.clone(), (now, event));
                    return Some(key);
                }
                self.last.insert(key, now);
                self.ready.push_back(event);
            }
            watcher::Event::Delete(workload) => {
                let key = key(&workload);
                self.last.remove(&key);
                self.without_address.remove(&key);
                let kind = InstanceEventKind::TakenDown;
                self.ready.extend(found(&workload, None).map(|found| InstanceEvent { instance: found.instance, kind }));
            }
            // After an interruption every Deployment is reported again.
            watcher::Event::Init => self.last.clear(),
            watcher::Event::InitDone => {}
        }
        None
    }

    fn set_address(&mut self, key: &(Option<String>, String), address: Option<SocketAddr>) {
        if let Some((now, mut event)) = self.without_address.remove(key) {
            event.instance.address = address;
            self.last.insert(key.clone(), now);
            self.ready.push_back(event);
        }
    }
}

fn key<K: Resource>(object: &K) -> (Option<String>, String) {
    (object.namespace(), object.name_any())
}

/// Adds the deletions that a watch has missed while it was interrupted: the objects that its next full list lacks. When the
/// watch itself ends, all of its objects count as deleted.
fn with_deletions<K, S>(changes: S) -> BoxStream<'static, watcher::Event<K>>
where
    K: Resource + Clone + Send + 'static,
    S: Stream<Item = watcher::Event<K>> + Send + 'static,
{
    let mut listing = Listing::default();
    let changes = changes.map(Some).chain(futures_util::stream::once(std::future::ready(None)));
    changes.flat_map(move |change| futures_util::stream::iter(listing.take(change))).boxed()
}

struct Listing<K> {
    /// The last known state of each object, by namespace and name.
    seen: HashMap<(Option<String>, String), K>,
    /// The objects of the full list that is being received.
    listed: HashSet<(Option<String>, String)>,
}

impl<K> Default for Listing<K> {
    fn default() -> Self {
        Self { seen: HashMap::new(), listed: HashSet::new() }
    }
}

impl<K: Resource + Clone> Listing<K> {
    /// The events for a change. No change means that the watch has ended.
    fn take(&mut self, change: Option<watcher::Event<K>>) -> Vec<watcher::Event<K>> {
        let mut events = Vec::new();
        match &change {
            Some(watcher::Event::Init) => self.listed.clear(),
            Some(watcher::Event::InitApply(object)) => {
                self.listed.insert(key(object));
                self.see(object);
            }
            Some(watcher::Event::InitDone) => {
                let gone = self.seen.extract_if(|key, _| !self.listed.contains(key));
                events.extend(gone.map(|(_, object)| watcher::Event::Delete(object)));
                self.listed.clear();
            }
            Some(watcher::Event::Apply(object)) => self.see(object),
            Some(watcher::Event::Delete(object)) => {
                self.seen.remove(&key(object));
            }
            None => events.extend(self.seen.drain().map(|(_, object)| watcher::Event::Delete(object))),
        }
        events.extend(change);
        events
    }

    fn see(&mut self, object: &K) {
        let mut seen = object.clone();
        // They are as large as the rest of the object, and are not used here.
        seen.meta_mut().managed_fields = None;
        self.seen.insert(key(object), seen);
    }
}

fn kind(state: InstanceState) -> Option<InstanceEventKind> {
    match state {
        InstanceState::Running => Some(InstanceEventKind::Started),
        InstanceState::Created | InstanceState::Paused => None,
        InstanceState::Restarting => Some(InstanceEventKind::Died { code: None, oom: false }),
        // Slipway deletes Deployments that should not run. It never scales one to zero.
        InstanceState::Stopped => Some(InstanceEventKind::TakenDown),
    }
}

/// A watch that recovers from its errors by itself.
fn endless<K>(api: Api<K>, config: watcher::Config) -> BoxStream<'static, watcher::Event<K>>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    watcher(api, config).default_backoff().filter_map(async |change| change.ok()).boxed()
}

/// A watch in each of this builder's namespaces. Namespaces are added and removed over time.
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
                        // Right after a namespace was created its roles may be missing, and while it terminates they are:
                        // the watch retries until the namespace is gone.
                        let changes = endless(api, state.config.clone()).take_until(gone.cancelled_owned());
                        state.inside.push(with_deletions(changes));
                    }
                }
                Some(change) = state.inside.next() => return Some((change, state)),
            }
        }
    })
    .boxed()
}

/// The watched namespaces, by name. Each is watched until it was removed.
#[derive(Default)]
struct Watched {
    known: HashMap<String, (String, DropGuard)>,
    /// Names that the current full list has contained so far.
    listed: HashSet<String>,
}

impl Watched {
    /// Applies a change. Returns a namespace to watch from now on, with the token that is cancelled when it was
    /// removed.
    fn take(&mut self, change: watcher::Event<Namespace>) -> Option<(String, CancellationToken)> {
        match change {
            watcher::Event::Init => self.listed.clear(),
            watcher::Event::InitApply(namespace) => {
                self.listed.insert(namespace.name_any());
                return self.begin(&namespace);
            }
            // Deletions during an interruption are not reported: the full list lacks those namespaces.
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
        // Ends the watch of an earlier namespace with the same name.
        self.known.insert(name.clone(), (uid, gone.clone().drop_guard()));
        Some((name, gone))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::UnboundedReceiverStream;

    use super::*;
    use crate::ownership;

    fn namespace(name: &str, uid: &str) -> Namespace {
        serde_json::from_value(json!({"metadata": {"name": name, "uid": uid}})).expect("a namespace")
    }

    fn workload(app: &str, replicas: i32, available: i32) -> Workload {
        let labels = json!({
            ownership::APP: app, ownership::APP_ID: "7", ownership::ENVIRONMENT: "prod", ownership::RELEASE: "3",
        });
        serde_json::from_value(json!({
            "metadata": {"name": format!("{app}-prod"), "namespace": format!("app-{app}"), "labels": labels},
            "spec": {"replicas": replicas, "selector": {}, "template": {}},
            "status": {"availableReplicas": available},
        }))
        .expect("a Deployment")
    }

    /// A watch whose changes the test sends, and the events that come of them. The first `unanswered` reads of an address
    /// fail.
    fn events(
        unanswered: usize,
    ) -> (mpsc::UnboundedSender<watcher::Event<Workload>>, BoxStream<'static, (String, InstanceEventKind)>) {
        let (sender, changes) = mpsc::unbounded_channel();
        let changes = with_deletions(UnboundedReceiverStream::new(changes));
        let asked = AtomicUsize::new(0);
        let address = move |_: &Instance| {
            let fails = asked.fetch_add(1, Ordering::SeqCst) < unanswered;
            let answer = if fails { Err("the API server is away") } else { Ok("10.0.0.1:80".parse().ok()) };
            std::future::ready(answer)
        };
        let events = instance_events(changes, address, Duration::from_millis(1));
        let told = events.map(|event| {
            assert_eq!(event.instance.address.is_some(), event.kind == InstanceEventKind::Started);
            (event.instance.app.to_string(), event.kind)
        });
        (sender, told.boxed())
    }

    async fn next(events: &mut BoxStream<'static, (String, InstanceEventKind)>) -> (String, InstanceEventKind) {
        tokio::time::timeout(Duration::from_secs(20), events.next()).await.expect("something is told").expect("open")
    }

    const STARTED: InstanceEventKind = InstanceEventKind::Started;
    const TAKEN_DOWN: InstanceEventKind = InstanceEventKind::TakenDown;

    #[tokio::test]
    async fn a_start_is_told_although_its_address_cannot_be_read_at_first() {
        let (watch, mut events) = events(3);
        watch.send(watcher::Event::Apply(workload("tides", 1, 1))).expect("open");
        assert_eq!(next(&mut events).await, ("tides".to_owned(), STARTED));
        // The start is reported only once, whatever else changes in the Deployment.
        watch.send(watcher::Event::Apply(workload("tides", 1, 1))).expect("open");
        watch.send(watcher::Event::Apply(workload("tides", 0, 0))).expect("open");
        assert_eq!(next(&mut events).await, ("tides".to_owned(), TAKEN_DOWN));
    }

    #[tokio::test]
    async fn what_stopped_before_its_address_was_read_is_not_told_as_started() {
        let (watch, mut events) = events(usize::MAX);
        watch.send(watcher::Event::Apply(workload("tides", 1, 1))).expect("open");
        watch.send(watcher::Event::Apply(workload("tides", 0, 0))).expect("open");
        assert_eq!(next(&mut events).await, ("tides".to_owned(), TAKEN_DOWN));
    }

    #[tokio::test]
    async fn after_an_interruption_all_is_told_again_and_what_went_meanwhile_is_taken_down() {
        let (watch, mut events) = events(0);
        let send = |change| watch.send(change).expect("open");
        let tell = async |names: &[&str], events: &mut BoxStream<'static, (String, InstanceEventKind)>| {
            send(watcher::Event::Init);
            for name in names {
                send(watcher::Event::InitApply(workload(name, 1, 1)));
            }
            send(watcher::Event::InitDone);
            for name in names {
                assert_eq!(next(events).await, ((*name).to_owned(), STARTED));
            }
        };
        tell(&["tides", "winds"], &mut events).await;
        send(watcher::Event::Apply(workload("lamps", 1, 1)));
        assert_eq!(next(&mut events).await, ("lamps".to_owned(), STARTED));
        // The watch was interrupted, and two were deleted meanwhile.
        tell(&["winds"], &mut events).await;
        let mut gone = [next(&mut events).await, next(&mut events).await];
        gone.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!(gone, [("lamps".to_owned(), TAKEN_DOWN), ("tides".to_owned(), TAKEN_DOWN)]);
        // The watch of this namespace ends with the namespace.
        drop(watch);
        assert_eq!(next(&mut events).await, ("winds".to_owned(), TAKEN_DOWN));
        assert!(events.next().await.is_none());
    }

    #[test]
    fn one_that_is_scaled_to_nothing_was_taken_down_and_has_not_stopped() {
        let workload = |replicas, available| workload("tides", replicas, available);
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
        // A new namespace with the same name.
        let (_, again) = watched.take(watcher::Event::Apply(namespace("app-one", "3"))).expect("it is new");
        assert!(one.is_cancelled() && !again.is_cancelled());
        // The connection broke, and one namespace was removed meanwhile.
        assert!(watched.take(watcher::Event::Init).is_none());
        assert!(watched.take(watcher::Event::InitApply(namespace("app-one", "3"))).is_none());
        assert!(watched.take(watcher::Event::InitDone).is_none());
        assert!(two.is_cancelled() && !again.is_cancelled());
        watched.take(watcher::Event::Delete(namespace("app-one", "3")));
        assert!(again.is_cancelled());
        assert!(watched.take(watcher::Event::Apply(namespace("app-one", "4"))).is_some());
    }
}
