//! Follows a rollout until it is ready and receives traffic: watches its objects, probes its pods, switches the Service
//! to them and probes the Service. It does not poll.

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

use super::super::{Instance, RuntimeError};
use super::fault::Fault;
use super::verdict::{self, PodProblem, ProblemKind, Stage, Verdict};
use super::{KubernetesRuntime, client, manifest};
use crate::output::{LineSink, lines};
use crate::ownership;

/// How long a pod may wait to be scheduled, for its image and for its container. The app has no influence on that time.
const PLACING_LIMIT: Duration = Duration::from_mins(10);
/// How long a pod waits for one of these before the wait is reported.
const TELL_AFTER: Duration = Duration::from_secs(10);
/// Lines of an app's log that an error contains.
const LAST_LINES: i64 = 20;
/// Maximum size of these lines, in bytes.
const LAST_BYTES: i64 = 128 * 1024;

/// Current objects of one kind, by name.
pub(super) type Known<K> = BTreeMap<String, K>;

/// Applies a change. Returns true when the list of objects is complete.
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

/// Watches the objects of one kind that match the selectors `labels` and `fields`.
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

/// Removes the errors from which a watch recovers by itself, such as an expired resource version.
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

/// The state of a rollout that the caller waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    /// The new version's pods are ready.
    Ready,
    /// The Service routes only to the new version.
    TrafficSwitched,
}

/// A change of one of a rollout's objects.
enum Change {
    Workload(watcher::Event<Workload>),
    Pod(watcher::Event<Pod>),
    Event(watcher::Event<Event>),
    Slice(watcher::Event<DynamicObject>),
    Set(watcher::Event<ReplicaSet>),
}

/// The current objects of a rollout.
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

    fn verdict(&self, environment: &str, release: &str, goal: Goal) -> Verdict {
        if self.complete.contains(&false) {
            return Verdict::Waiting(Stage::Place, "the cluster has not said yet how it stands.".to_owned());
        }
        let events: Vec<&Event> = self.events.values().collect();
        let new = |pod: &&Pod| {
            let says = |key: &str| pod.metadata.labels.as_ref()?.get(key).map(String::as_str);
            says(ownership::RELEASE) == Some(release) && says(ownership::ENVIRONMENT) == Some(environment)
        };
        let terminating = self.pods.values().filter(|pod| pod.metadata.deletion_timestamp.is_some()).count();
        let mut pods: Vec<&Pod> = self.pods.values().filter(new).collect();
        pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
        let set = self.sets.values().next();
        match verdict::of_rollout(self.workloads.values().next(), set, &pods, &events, terminating) {
            Verdict::Ready if goal == Goal::TrafficSwitched && !self.routes_to(&pods) => {
                Verdict::Waiting(Stage::Runs, "its Service does not lead to the new version alone yet.".to_owned())
            }
            verdict => verdict,
        }
    }

    /// Whether the Service's ready addresses are those of the new pods only.
    fn routes_to(&self, pods: &[&Pod]) -> bool {
        let of_pods: Vec<&str> = pods.iter().filter_map(|pod| pod.status.as_ref()?.pod_ip.as_deref()).collect();
        let mut ready = Vec::new();
        for endpoint in self.slices.values().filter_map(|slice| slice.data["endpoints"].as_array()).flatten() {
            // A missing condition means ready.
            if endpoint.pointer("/conditions/ready").and_then(serde_json::Value::as_bool) != Some(false) {
                ready.extend(endpoint["addresses"].as_array().into_iter().flatten().filter_map(|ip| ip.as_str()));
            }
        }
        !ready.is_empty() && ready.iter().all(|ip| of_pods.contains(ip))
    }
}

/// The progress of a rollout: its stage, how long it has been in it, and what was reported about it.
struct Progress {
    begun: Instant,
    /// When the new version started to run.
    runs: Option<Instant>,
    stage: Stage,
    /// The reason for the current wait, when it began, and whether it was reported.
    waits: (String, Instant, bool),
    trouble: Option<(PodProblem, Instant)>,
}

impl Progress {
    fn new(now: Instant) -> Self {
        Self { begun: now, runs: None, stage: Stage::Place, waits: (String::new(), now, false), trouble: None }
    }

    fn reach(&mut self, stage: Stage, why: &str, now: Instant) {
        self.stage = stage;
        if stage == Stage::Runs {
            self.runs.get_or_insert(now);
        }
        if self.waits.0 != why {
            self.waits = (why.to_owned(), now, false);
        }
    }

    /// The deadline of the rollout: the app has `limit` from the time it runs.
    fn ends_at(&self, limit: Duration) -> Instant {
        self.runs.map_or(self.begun + PLACING_LIMIT, |since| since + limit)
    }

    /// The message that is due now and was not reported yet.
    fn untold(&mut self, now: Instant) -> Option<String> {
        let (why, since, told) = &mut self.waits;
        let is_due = self.runs.is_none() && self.trouble.is_none() && !*told && now >= *since + TELL_AFTER;
        is_due.then(|| {
            *told = true;
            format!("Still waiting: {why}")
        })
    }

    /// The time of the next check, if nothing changes before it.
    fn look_at(&self, limit: Duration) -> Instant {
        let mut at = self.ends_at(limit);
        if let Some((trouble, since)) = &self.trouble {
            at = since.checked_add(trouble.grace).map_or(at, |patience| patience.min(at));
        } else if self.runs.is_none() && !self.waits.2 {
            at = at.min(self.waits.1 + TELL_AFTER);
        }
        at
    }

    /// The error for a version that has not started within [`PLACING_LIMIT`].
    fn not_begun(&self) -> RuntimeError {
        let minutes = PLACING_LIMIT.as_secs() / 60;
        let why = &self.waits.0;
        match self.stage {
            Stage::Place => RuntimeError::NoRoom(format!("The app found no place in {minutes} minutes: {why}")),
            Stage::Pull => RuntimeError::CannotPull(format!("The image was not pulled in {minutes} minutes: {why}")),
            Stage::Make | Stage::Runs => {
                RuntimeError::CannotStart(format!("its container was not made in {minutes} minutes: {why}"))
            }
        }
    }
}

impl KubernetesRuntime {
    pub(super) async fn not_ready(&self, instance: &Instance, waited: Duration, last: String) -> RuntimeError {
        RuntimeError::NotReady { waited, last, lines: self.newest_lines(instance).await }
    }

    /// Watches until the rollout has reached the goal, or until it has failed.
    pub(super) async fn rolled_out(
        &self,
        instance: &Instance,
        goal: Goal,
        limit: Duration,
        tell: &dyn LineSink,
    ) -> Result<(), RuntimeError> {
        let namespace = manifest::namespace(&instance.app);
        let mut changes = self.rollout_changes(instance, &namespace).await?;
        let mut seen = Seen::default();
        let (environment, release) = (instance.environment.to_string(), instance.release.to_string());
        let mut progress = Progress::new(Instant::now());
        loop {
            let verdict = seen.verdict(&environment, &release, goal);
            tracing::debug!(namespace, %environment, release, ?goal, ?verdict, "rollout");
            let now = Instant::now();
            match verdict {
                Verdict::Ready => return Ok(()),
                Verdict::Gone => {
                    let name = manifest::environment_name(&instance.app, instance.environment);
                    return Err(RuntimeError::Deleted { what: format!("The Deployment {name} in {namespace}") });
                }
                Verdict::Waiting(stage, why) => {
                    progress.trouble = None;
                    progress.reach(stage, &why, now);
                }
                Verdict::PodProblem(found) => {
                    let words = words(&found.kind);
                    progress.reach(found.kind.stage(), &words, now);
                    let since = match &progress.trouble {
                        Some((before, since)) if before.is_same_problem(&found) => *since,
                        _ => {
                            if found.grace > Duration::ZERO {
                                tell.line(words).await;
                            }
                            now
                        }
                    };
                    if now >= since.checked_add(found.grace).unwrap_or(now + PLACING_LIMIT) {
                        return Err(self.failure(&namespace, found).await);
                    }
                    progress.trouble = Some((found, since));
                }
            }
            if now >= progress.ends_at(limit) {
                let last = progress.waits.0.clone();
                return Err(match goal {
                    _ if progress.runs.is_none() => progress.not_begun(),
                    Goal::Ready => self.not_ready(instance, limit, last).await,
                    Goal::TrafficSwitched => RuntimeError::SwitchTimedOut { waited: limit, last },
                });
            }
            if let Some(line) = progress.untold(now) {
                tell.line(line).await;
            }
            tokio::select! {
                change = changes.next() => match change {
                    Some(Ok(change)) => seen.take(change),
                    Some(Err(fault)) => return Err(fault.into()),
                    None => return Err(Fault::Away("it closed the line".to_owned()).into()),
                },
                () = tokio::time::sleep_until(progress.look_at(limit)) => {}
            }
        }
    }

    async fn rollout_changes(
        &self,
        instance: &Instance,
        namespace: &str,
    ) -> Result<SelectAll<BoxStream<'static, Result<Change, Fault>>>, RuntimeError> {
        let client = || self.cluster().client.clone();
        let name = manifest::environment_name(&instance.app, instance.environment);
        let release =
            format!("{}={},{}={}", ownership::ENVIRONMENT, instance.environment, ownership::RELEASE, instance.release);
        // Includes all pods of the app, since pods that terminate in the other environment free quota as well.
        let pods = format!("{}={}", ownership::APP, instance.app);
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
            changes::<Event>(Api::namespaced(client(), namespace), "", "involvedObject.kind=Pod")
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

    /// The error for a problem that has lasted longer than its grace period, with the last lines of the app's log.
    pub(super) async fn failure(&self, namespace: &str, trouble: PodProblem) -> RuntimeError {
        let lines = match &trouble.pod {
            Some(pod) => self.pod_lines(namespace, pod).await,
            None => Vec::new(),
        };
        match trouble.kind {
            ProblemKind::Ended { code, oom } => RuntimeError::Exited { code, oom, lines },
            ProblemKind::NotReady(_) => {
                RuntimeError::NotReady { waited: trouble.grace, last: words(&trouble.kind), lines }
            }
            ProblemKind::Pull { .. } => RuntimeError::CannotPull(words(&trouble.kind)),
            ProblemKind::Quota(_) | ProblemKind::Unschedulable(_) => RuntimeError::NoRoom(words(&trouble.kind)),
            ProblemKind::Unstartable(why) => RuntimeError::CannotStart(why),
        }
    }

    /// The last lines of a pod's container, from its current or its previous run; none if they cannot be read.
    pub(super) async fn pod_lines(&self, namespace: &str, pod: &str) -> Vec<String> {
        let pods: Api<Pod> = Api::namespaced(self.cluster().client.clone(), namespace);
        for previous in [false, true] {
            let parameters = LogParams {
                tail_lines: Some(LAST_LINES),
                limit_bytes: Some(LAST_BYTES),
                previous,
                ..LogParams::default()
            };
            if let Ok(text) = self.cluster().call(pods.logs(pod, &parameters)).await
                && !text.is_empty()
            {
                return text.lines().map(|text| lines::clean(text.as_bytes())).collect();
            }
        }
        Vec::new()
    }

    /// The address of a ready pod of this release, independent of the Service; none if no pod is ready.
    pub(super) async fn pod_address(&self, instance: &Instance, port: u16) -> Result<Option<SocketAddr>, RuntimeError> {
        let mut pods = self.pods_of(instance).await?;
        pods.retain(|pod| pod.metadata.deletion_timestamp.is_none() && verdict::is_ready(pod));
        let newest = pods.into_iter().max_by_key(|pod| pod.metadata.creation_timestamp.clone());
        let ip = newest.and_then(|pod| pod.status?.pod_ip?.parse().ok());
        Ok(ip.map(|ip| SocketAddr::new(ip, port)))
    }

    async fn newest_lines(&self, instance: &Instance) -> Vec<String> {
        let pods = self.pods_of(instance).await.unwrap_or_default();
        let newest = pods.into_iter().max_by_key(|pod| pod.metadata.creation_timestamp.clone());
        match newest.and_then(|pod| pod.metadata.name) {
            Some(pod) => self.pod_lines(&manifest::namespace(&instance.app), &pod).await,
            None => Vec::new(),
        }
    }

    /// The pods of a release.
    async fn pods_of(&self, instance: &Instance) -> Result<Vec<Pod>, Fault> {
        let namespace = manifest::namespace(&instance.app);
        let pods: Api<Pod> = Api::namespaced(self.cluster().client.clone(), &namespace);
        let chosen = format!(
            "{}={},{}={},{}={}",
            ownership::APP,
            instance.app,
            ownership::ENVIRONMENT,
            instance.environment,
            ownership::RELEASE,
            instance.release
        );
        let listed = self.cluster().call(pods.list(&kube::api::ListParams::default().labels(&chosen))).await?;
        Ok(listed.items)
    }
}

/// Like [`changes`], for a kind whose API version was discovered in the cluster.
fn dynamic_changes(
    api: Api<DynamicObject>,
    labels: &str,
) -> BoxStream<'static, Result<watcher::Event<DynamicObject>, Fault>> {
    lasting(watcher(api, watcher::Config::default().labels(labels)))
}

/// The last reason that was noted.
pub(super) fn said(last: &Mutex<String>) -> String {
    last.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Describes a problem in a sentence.
pub(super) fn words(kind: &ProblemKind) -> String {
    match kind {
        ProblemKind::Ended { code, .. } => format!("the app ended with exit code {code}."),
        ProblemKind::Pull { why, outage: true } => {
            format!("the node cannot reach the registry to pull the image, and goes on trying: {why}")
        }
        ProblemKind::Pull { why, outage: false } => format!("The node cannot pull the image: {why}"),
        ProblemKind::Unstartable(why) => format!("the container cannot be started: {why}"),
        ProblemKind::Quota(why) => format!("The app's namespace has used up its quota: {why}"),
        ProblemKind::Unschedulable(why) => format!("No node of the cluster has room for the app: {why}"),
        ProblemKind::NotReady(status) => format!("its health check was answered with HTTP status {status}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_app_s_time_counts_from_when_it_runs() {
        let (begun, limit) = (Instant::now(), Duration::from_mins(1));
        let after = |seconds| begun + Duration::from_secs(seconds);
        let mut progress = Progress::new(begun);
        progress.reach(Stage::Pull, "the node pulls its image.", after(1));
        assert_eq!(progress.untold(after(5)), None);
        assert_eq!(progress.look_at(limit), after(11));
        assert_eq!(progress.untold(after(11)).as_deref(), Some("Still waiting: the node pulls its image."));
        assert_eq!(progress.untold(after(90)), None, "it is told once");
        // The time of a slow pull does not count against the app's own limit.
        assert_eq!(progress.ends_at(limit), begun + PLACING_LIMIT);
        assert!(matches!(progress.not_begun(), RuntimeError::CannotPull(why) if why.contains("pulls its image")));
        progress.reach(Stage::Place, "no node.", after(95));
        assert!(matches!(progress.not_begun(), RuntimeError::NoRoom(_)));
        progress.reach(Stage::Runs, "nothing listens on port 8080 yet.", after(100));
        progress.reach(Stage::Runs, "GET / was not answered in time.", after(120));
        assert_eq!(progress.ends_at(limit), after(160));
        assert_eq!(progress.untold(after(155)), None, "what an app does is in its own log");
    }
}
