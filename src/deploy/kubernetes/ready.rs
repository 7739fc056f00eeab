//! From applied to ready: the rollout is watched, and then its Service asked. No polling.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{BoxStream, SelectAll};
use futures_util::{Stream, StreamExt};
use k8s_openapi::api::apps::v1::{Deployment as Workload, ReplicaSet};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{DynamicObject, LogParams};
use kube::runtime::watcher;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::{Answered, DeployError, Instance, probe};
use super::fault::Fault;
use super::verdict::{self, Trouble, TroubleKind, Verdict};
use super::{KubernetesRuntime, client, manifest};
use crate::domain::Probe;
use crate::engine::{label, line};

/// Lines of an app's log that an error shows.
pub(super) const LAST_LINES: i64 = 20;

/// Objects of one kind as they are now, by name.
pub(super) type Known<K> = BTreeMap<String, K>;

/// Takes a change in. True when the objects are complete.
pub(super) fn take<K: Resource>(known: &mut Known<K>, change: watcher::Event<K>) -> bool {
    let name = |object: &K| object.meta().name.clone().unwrap_or_default();
    match change {
        watcher::Event::Apply(object) | watcher::Event::InitApply(object) => {
            known.insert(name(&object), object);
        }
        watcher::Event::Delete(object) => {
            known.remove(&name(&object));
        }
        watcher::Event::Init => known.clear(),
        watcher::Event::InitDone => return true,
    }
    false
}

/// Watches the objects of one kind that `labels` or `fields` choose.
pub(super) fn changes<K>(
    api: Api<K>,
    labels: &str,
    fields: &str,
) -> BoxStream<'static, Result<watcher::Event<K>, Fault>>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut config = watcher::Config::default();
    if !labels.is_empty() {
        config = config.labels(labels);
    }
    if !fields.is_empty() {
        config = config.fields(fields);
    }
    lasting(watcher(api, config))
}

/// A watch without the errors that it mends by itself: an old place in the history is read anew.
fn lasting<K: Send + 'static>(
    changes: impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send + 'static,
) -> BoxStream<'static, Result<watcher::Event<K>, Fault>> {
    let lasting = changes.filter_map(async |change| match change {
        Ok(change) => Some(Ok(change)),
        Err(watcher::Error::WatchError(status)) if status.code == 410 => None,
        Err(error) => Some(Err(error.into())),
    });
    lasting.boxed()
}

/// Anything that changed in a rollout.
enum Change {
    Workload(watcher::Event<Workload>),
    Pod(watcher::Event<Pod>),
    Event(watcher::Event<Event>),
    Slice(watcher::Event<DynamicObject>),
    Set(watcher::Event<ReplicaSet>),
}

/// All that is known of a rollout.
#[derive(Default)]
struct Seen {
    workloads: Known<Workload>,
    pods: Known<Pod>,
    events: Known<Event>,
    slices: Known<DynamicObject>,
    sets: Known<ReplicaSet>,
    complete: [bool; 5],
}

impl Seen {
    fn take(&mut self, change: Change) {
        let (index, done) = match change {
            Change::Workload(change) => (0, take(&mut self.workloads, change)),
            Change::Pod(change) => (1, take(&mut self.pods, change)),
            Change::Event(change) => (2, take(&mut self.events, change)),
            Change::Slice(change) => (3, take(&mut self.slices, change)),
            Change::Set(change) => (4, take(&mut self.sets, change)),
        };
        self.complete[index] |= done;
    }

    fn verdict(&self, environment: &str, release: &str) -> Verdict {
        if self.complete.contains(&false) {
            return Verdict::Waiting("the cluster has not said yet how it stands.".to_owned());
        }
        let events: Vec<&Event> = self.events.values().collect();
        let new = |pod: &&Pod| {
            let says = |key: &str| pod.metadata.labels.as_ref()?.get(key).map(String::as_str);
            says(label::RELEASE) == Some(release) && says(label::ENVIRONMENT) == Some(environment)
        };
        let leaving = self.pods.values().filter(|pod| pod.metadata.deletion_timestamp.is_some()).count();
        let mut pods: Vec<&Pod> = self.pods.values().filter(new).collect();
        pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
        let set = self.sets.values().next();
        match verdict::of_rollout(self.workloads.values().next(), set, &pods, &events, leaving) {
            Verdict::Ready if !self.leads_to(&pods) => {
                Verdict::Waiting("its Service does not lead to the new version alone yet.".to_owned())
            }
            verdict => verdict,
        }
    }

    /// Whether the Service's ready addresses are the new pods' and no others.
    fn leads_to(&self, pods: &[&Pod]) -> bool {
        let of_pods: Vec<&str> = pods.iter().filter_map(|pod| pod.status.as_ref()?.pod_ip.as_deref()).collect();
        let mut ready = Vec::new();
        for endpoint in self.slices.values().filter_map(|slice| slice.data["endpoints"].as_array()).flatten() {
            // Unsaid means ready.
            if endpoint.pointer("/conditions/ready").and_then(serde_json::Value::as_bool) != Some(false) {
                ready.extend(endpoint["addresses"].as_array().into_iter().flatten().filter_map(|ip| ip.as_str()));
            }
        }
        !ready.is_empty() && ready.iter().all(|ip| of_pods.contains(ip))
    }
}

impl KubernetesRuntime {
    pub(in super::super) async fn wait_ready(
        &self,
        instance: &Instance,
        probe: &Probe,
        deadline: Duration,
        tell: &(dyn Fn(String) + Send + Sync),
        cancel: &CancellationToken,
    ) -> Result<Answered, DeployError> {
        let begun = Instant::now();
        let last = Mutex::new(String::new());
        let work = async {
            self.rolled_out(instance, &last, tell).await?;
            let Some(address) = instance.address else {
                return Err(DeployError::CannotStart("its Service has no address in the cluster".to_owned()));
            };
            probe::until_ready(address, probe, &last).await;
            Ok(())
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(DeployError::Cancelled),
            done = work => done?,
            () = tokio::time::sleep(deadline) => {
                let last = last.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let lines = self.newest_lines(instance).await;
                return Err(DeployError::NotReady { waited: deadline, last, lines });
            }
        }
        Ok(Answered { millis: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX) })
    }

    /// Watches until only the new version's pods are there and ready, or will never be.
    async fn rolled_out(
        &self,
        instance: &Instance,
        last: &Mutex<String>,
        tell: &(dyn Fn(String) + Send + Sync),
    ) -> Result<(), DeployError> {
        let namespace = manifest::namespace(&instance.app);
        let mut changes = self.rollout_changes(instance, &namespace).await?;
        let mut seen = Seen::default();
        let (environment, release) = (instance.environment.to_string(), instance.release.to_string());
        let mut trouble: Option<(Trouble, Instant)> = None;
        loop {
            let verdict = seen.verdict(&environment, &release);
            tracing::debug!(namespace, %environment, release, ?verdict, "rollout");
            match verdict {
                Verdict::Ready => return Ok(()),
                Verdict::Waiting(why) => {
                    trouble = None;
                    *last.lock().unwrap_or_else(PoisonError::into_inner) = why;
                }
                Verdict::Trouble(found) => {
                    let since = match &trouble {
                        Some((before, since)) if before.is_still(&found) => *since,
                        _ => {
                            let words = words(&found.kind);
                            if found.grace > Duration::ZERO {
                                tell(words.clone());
                            }
                            *last.lock().unwrap_or_else(PoisonError::into_inner) = words;
                            Instant::now()
                        }
                    };
                    if since.elapsed() >= found.grace {
                        return Err(self.failure(&namespace, found).await);
                    }
                    trouble = Some((found, since));
                }
            }
            let patience = async {
                match trouble.as_ref().and_then(|(trouble, since)| since.checked_add(trouble.grace)) {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                change = changes.next() => match change {
                    Some(Ok(change)) => seen.take(change),
                    Some(Err(fault)) => return Err(fault.into()),
                    None => return Err(Fault::Away("it closed the line".to_owned()).into()),
                },
                () = patience => {}
            }
        }
    }

    async fn rollout_changes(
        &self,
        instance: &Instance,
        namespace: &str,
    ) -> Result<SelectAll<BoxStream<'static, Result<Change, Fault>>>, DeployError> {
        let client = || self.cluster().client.clone();
        let name = manifest::environment_name(&instance.app, instance.environment);
        let release =
            format!("{}={},{}={}", label::ENVIRONMENT, instance.environment, label::RELEASE, instance.release);
        // All of the app's: what is on its way out in the other environment makes room as well.
        let pods = format!("{}={}", label::APP, instance.app);
        let apis = self.cluster().apis().await?;
        let slices = client::resource(&apis.slices, "EndpointSlice", "endpointslices");
        let slices: Api<DynamicObject> = Api::namespaced_with(client(), namespace, &slices);
        Ok(futures_util::stream::select_all([
            changes::<Workload>(Api::namespaced(client(), namespace), "", &format!("metadata.name={name}"))
                .map(|change| change.map(Change::Workload))
                .boxed(),
            changes::<Pod>(Api::namespaced(client(), namespace), &pods, "")
                .map(|change| change.map(Change::Pod))
                .boxed(),
            changes::<Event>(Api::namespaced(client(), namespace), "", "type=Warning,involvedObject.kind=Pod")
                .map(|change| change.map(Change::Event))
                .boxed(),
            dynamic_changes(slices, &format!("kubernetes.io/service-name={name}"))
                .map(|change| change.map(Change::Slice))
                .boxed(),
            changes::<ReplicaSet>(Api::namespaced(client(), namespace), &release, "")
                .map(|change| change.map(Change::Set))
                .boxed(),
        ]))
    }

    /// A trouble that has lasted too long, with what the app wrote last.
    pub(super) async fn failure(&self, namespace: &str, trouble: Trouble) -> DeployError {
        let lines = match &trouble.pod {
            Some(pod) => self.pod_lines(namespace, pod).await,
            None => Vec::new(),
        };
        match trouble.kind {
            TroubleKind::Ended { code, oom } => DeployError::Exited { code, oom, lines },
            TroubleKind::Unwell(_) => {
                DeployError::NotReady { waited: trouble.grace, last: words(&trouble.kind), lines }
            }
            TroubleKind::Pull { .. } => DeployError::CannotPull(words(&trouble.kind)),
            TroubleKind::Quota(_) | TroubleKind::Unschedulable(_) => DeployError::NoRoom(words(&trouble.kind)),
            TroubleKind::Unstartable(why) => DeployError::CannotStart(why),
        }
    }

    /// The last lines that a pod's container wrote, in this life or the one before; none where they cannot be had.
    pub(super) async fn pod_lines(&self, namespace: &str, pod: &str) -> Vec<String> {
        let pods: Api<Pod> = Api::namespaced(self.cluster().client.clone(), namespace);
        for previous in [false, true] {
            let parameters = LogParams { tail_lines: Some(LAST_LINES), previous, ..LogParams::default() };
            if let Ok(text) = self.cluster().call(pods.logs(pod, &parameters)).await
                && !text.is_empty()
            {
                return text.lines().map(|text| line::clean(text.as_bytes())).collect();
            }
        }
        Vec::new()
    }

    /// Where a pod of this very release answers. The Service may lead to the pod before it for a moment
    /// longer: nodes follow its endpoints in their own time.
    pub(in super::super) async fn pod_address(&self, instance: &Instance, port: u16) -> Option<SocketAddr> {
        let pods = self.pods_of(instance).await;
        let runs = |pod: &&Pod| pod.metadata.deletion_timestamp.is_none();
        let ip = pods.iter().filter(runs).find_map(|pod| pod.status.as_ref()?.pod_ip.as_deref()?.parse().ok())?;
        Some(SocketAddr::new(ip, port))
    }

    async fn newest_lines(&self, instance: &Instance) -> Vec<String> {
        let pods = self.pods_of(instance).await;
        let newest = pods.into_iter().max_by_key(|pod| pod.metadata.creation_timestamp.clone());
        match newest.and_then(|pod| pod.metadata.name) {
            Some(pod) => self.pod_lines(&manifest::namespace(&instance.app), &pod).await,
            None => Vec::new(),
        }
    }

    /// The pods of a release; none when the cluster does not say.
    async fn pods_of(&self, instance: &Instance) -> Vec<Pod> {
        let namespace = manifest::namespace(&instance.app);
        let pods: Api<Pod> = Api::namespaced(self.cluster().client.clone(), &namespace);
        let chosen = format!(
            "{}={},{}={},{}={}",
            label::APP,
            instance.app,
            label::ENVIRONMENT,
            instance.environment,
            label::RELEASE,
            instance.release
        );
        let listed = self.cluster().call(pods.list(&kube::api::ListParams::default().labels(&chosen))).await;
        listed.map(|pods| pods.items).unwrap_or_default()
    }
}

/// As [`changes`], for a kind whose version only the cluster knows.
fn dynamic_changes(
    api: Api<DynamicObject>,
    labels: &str,
) -> BoxStream<'static, Result<watcher::Event<DynamicObject>, Fault>> {
    lasting(watcher(api, watcher::Config::default().labels(labels)))
}

/// A trouble in a sentence.
pub(super) fn words(kind: &TroubleKind) -> String {
    match kind {
        TroubleKind::Ended { code, .. } => format!("the app ended with exit code {code}."),
        TroubleKind::Pull { why, outage: true } => {
            format!("the node cannot reach the registry to pull the image, and goes on trying: {why}")
        }
        TroubleKind::Pull { why, outage: false } => format!("The node cannot pull the image: {why}"),
        TroubleKind::Unstartable(why) => format!("the container cannot be started: {why}"),
        TroubleKind::Quota(why) => format!("The app's namespace has used up its quota: {why}"),
        TroubleKind::Unschedulable(why) => format!("No node of the cluster has room for the app: {why}"),
        TroubleKind::Unwell(status) => format!("its health check was answered with HTTP status {status}."),
    }
}
