//! Judges a rollout from the cluster's objects: it continues, it is ready, or it has a problem.
//!
//! The functions are pure: they look at a Deployment, its pods and their events, and send no requests.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment as Workload, ReplicaSet};
use k8s_openapi::api::core::v1::{ContainerState, Event, Pod};

use crate::output::outage;

/// How long a pod may be unschedulable, because a terminating pod may be about to free the resources.
const SCHEDULING_GRACE: Duration = Duration::from_secs(8);
/// How long the quota may be used up by terminating pods.
const QUOTA_GRACE: Duration = Duration::from_secs(3);
/// How long an app's readiness probe may fail with a wrong status before that counts as a problem.
const NOT_READY_GRACE: Duration = Duration::from_secs(15);

/// The state of a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It continues: the stage that it has reached, and what it waits for.
    Waiting(Stage, String),
    /// The new version's pods exist and are ready. The old version's pods may be ready too: they stay until the new
    /// version receives traffic.
    Ready,
    /// The rollout has a problem. It fails unless the problem ends within its grace period.
    PodProblem(PodProblem),
    /// The Deployment does not exist; it may have been deleted by anyone.
    Gone,
}

/// The stage that a new version's pod has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// It is not scheduled to a node yet.
    Place,
    /// The node pulls its image.
    Pull,
    /// Its container is being created.
    Make,
    /// Its container has started.
    Runs,
}

/// A problem, and the pod that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PodProblem {
    pub(super) kind: ProblemKind,
    /// The pod whose log may explain the problem.
    pub(super) pod: Option<String>,
    /// How long the problem may last before the rollout fails.
    pub(super) grace: Duration,
}

impl PodProblem {
    /// Whether `now` is the same problem with the same grace period.
    pub(super) fn is_same_problem(&self, now: &Self) -> bool {
        (&self.kind, self.grace) == (&now.kind, now.grace)
    }
}

impl ProblemKind {
    /// The stage of a pod with this problem.
    pub(super) fn stage(&self) -> Stage {
        match self {
            Self::Quota(_) | Self::Unschedulable(_) => Stage::Place,
            Self::Pull { .. } => Stage::Pull,
            Self::Unstartable(_) => Stage::Make,
            Self::Ended { .. } | Self::NotReady(_) => Stage::Runs,
        }
    }
}

/// The kinds of problems, with the cluster's message where it helps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ProblemKind {
    /// The container ended.
    Ended { code: i64, oom: bool },
    /// The image cannot be pulled.
    Pull { why: String, outage: bool },
    /// The container cannot be created or started.
    Unstartable(String),
    /// The namespace's quota is used up.
    Quota(String),
    /// No node has room for the pod.
    Unschedulable(String),
    /// The app runs and answers the readiness probe with an error.
    NotReady(String),
}

/// Judges a rollout. `set` and `pods` belong to the new version only: the Deployment still reports for a while what was
/// refused to an earlier version. `terminating` is the number of the app's pods that are terminating.
pub(super) fn of_rollout(
    workload: Option<&Workload>,
    set: Option<&ReplicaSet>,
    pods: &[&Pod],
    events: &[&Event],
    terminating: usize,
) -> Verdict {
    let Some(workload) = workload else { return Verdict::Gone };
    if let Some(trouble) = pods.iter().find_map(|pod| of_pod(pod, events)) {
        return Verdict::PodProblem(trouble);
    }
    let observed = workload.status.as_ref().and_then(|status| status.observed_generation);
    if observed < workload.metadata.generation {
        return Verdict::Waiting(Stage::Place, "the cluster has not taken up the new version yet.".to_owned());
    }
    let wanted = workload.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    if !pods.is_empty() && usize::try_from(wanted) == Ok(pods.len()) && pods.iter().all(|pod| is_ready(pod)) {
        return Verdict::Ready;
    }
    let conditions = set.and_then(|set| set.status.as_ref()?.conditions.as_ref());
    let refusal = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition.type_ == "ReplicaFailure" && condition.status == "True" && pods.is_empty());
    if let Some(message) = refusal.and_then(|condition| condition.message.as_deref())
        && let Some(trouble) = of_refusal(message, terminating)
    {
        return Verdict::PodProblem(trouble);
    }
    // Reports the pod that is furthest behind.
    let (stage, why) = pods
        .iter()
        .filter(|pod| !is_ready(pod))
        .map(|pod| waiting_for(pod, events))
        .min_by_key(|(stage, _)| *stage)
        .unwrap_or_else(|| (Stage::Place, "the cluster has not made all of its pods yet.".to_owned()));
    Verdict::Waiting(stage, why)
}

/// Whether a pod reports that it is ready. Only then does a Service route to it.
pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The problem of a pod whose creation the cluster refused.
pub(super) fn of_refusal(message: &str, terminating: usize) -> Option<PodProblem> {
    let kind = if message.contains("exceeded quota") {
        ProblemKind::Quota(after(message, "exceeded quota: ").to_owned())
    } else if message.contains("status unknown for quota") {
        // The quota has just been created, and has no counts yet.
        return None;
    } else {
        ProblemKind::Unstartable(message.to_owned())
    };
    let grace = if terminating > 0 { Duration::from_secs(30) } else { QUOTA_GRACE };
    Some(PodProblem { kind, pod: None, grace })
}

/// The problem of a pod, if it has one.
pub(super) fn of_pod(pod: &Pod, events: &[&Event]) -> Option<PodProblem> {
    // A terminating pod has no problem.
    if pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let name = pod.metadata.name.clone();
    let status = pod.status.as_ref()?;
    let trouble = |kind, grace| Some(PodProblem { kind, pod: name.clone(), grace });
    let unscheduled = status.conditions.iter().flatten().find(|condition| {
        condition.type_ == "PodScheduled"
            && condition.status == "False"
            && condition.reason.as_deref() == Some("Unschedulable")
    });
    if let Some(condition) = unscheduled {
        let why = condition.message.clone().unwrap_or_else(|| "the cluster does not say why".to_owned());
        return trouble(ProblemKind::Unschedulable(why), SCHEDULING_GRACE);
    }
    let container = status.container_statuses.as_ref().and_then(|all| all.first())?;
    if container.ready {
        return None;
    }
    if let Some((code, oom)) = ending(container.state.as_ref()).or_else(|| ending(container.last_state.as_ref())) {
        return trouble(ProblemKind::Ended { code, oom }, Duration::ZERO);
    }
    if let Some(waiting) = container.state.as_ref().and_then(|state| state.waiting.as_ref()) {
        let message = waiting.message.clone().unwrap_or_default();
        match waiting.reason.as_deref().unwrap_or_default() {
            "ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull" | "RegistryUnavailable" | "InvalidImageName" => {
                // The state only reports the backoff. The event has the reason.
                let why = pull_reason(events, name.as_deref()).unwrap_or(message);
                let outage = outage::is_outage(&why);
                let grace = if outage { Duration::MAX } else { Duration::ZERO };
                return trouble(ProblemKind::Pull { why, outage }, grace);
            }
            "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" | "PostStartHookError" => {
                return trouble(ProblemKind::Unstartable(message), Duration::ZERO);
            }
            _ => {}
        }
    }
    container.state.as_ref().and_then(|state| state.running.as_ref())?;
    let said = of_this(events, name.as_deref(), "Unhealthy")?.message.as_deref()?;
    // Every app begins with a port that is not open yet, so that is not a problem. A wrong status is one.
    let status = said.split_once("statuscode: ").map(|(_, code)| code.trim().to_owned())?;
    trouble(ProblemKind::NotReady(status), NOT_READY_GRACE)
}

/// The exit code of a container that has ended, and whether it ran out of memory.
pub(super) fn ending(state: Option<&ContainerState>) -> Option<(i64, bool)> {
    let ended = state?.terminated.as_ref()?;
    Some((i64::from(ended.exit_code), ended.reason.as_deref() == Some("OOMKilled")))
}

/// The stage of a pod without a problem, and a description of what it waits for.
fn waiting_for(pod: &Pod, events: &[&Event]) -> (Stage, String) {
    let status = pod.status.as_ref();
    let has_place = status
        .and_then(|status| status.conditions.as_ref())
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "PodScheduled" && condition.status == "True");
    let container = status.and_then(|status| status.container_statuses.as_ref()).and_then(|all| all.first());
    let name = pod.metadata.name.as_deref();
    if container.and_then(|container| container.state.as_ref()).is_some_and(|state| state.running.is_some()) {
        let said = of_this(events, name, "Unhealthy").and_then(|event| event.message.as_deref());
        let why = said.map_or_else(|| "it has not answered its health check yet.".to_owned(), |said| unwell(pod, said));
        return (Stage::Runs, why);
    }
    if !has_place && container.is_none() {
        return (Stage::Place, "the cluster has not found a node for its pod yet.".to_owned());
    }
    let of_image = events
        .iter()
        .rev()
        .filter(|event| event.involved_object.name.as_deref() == name)
        .find(|event| matches!(event.reason.as_deref(), Some("Pulling" | "Pulled" | "Created")));
    if of_image.is_some_and(|event| event.reason.as_deref() == Some("Pulling")) {
        (Stage::Pull, "the node pulls its image.".to_owned())
    } else {
        (Stage::Make, "its container is being made.".to_owned())
    }
}

/// Describes a failed health check, from the node's message.
fn unwell(pod: &Pod, said: &str) -> String {
    let container = pod.spec.as_ref().and_then(|spec| spec.containers.first());
    let port = container.and_then(|container| container.ports.as_ref()?.first()).map(|port| port.container_port);
    let probe = container.and_then(|container| container.readiness_probe.as_ref()?.http_get.as_ref());
    let path = probe.and_then(|get| get.path.as_deref()).unwrap_or("/");
    match port {
        Some(port) if said.contains("connection refused") => format!("nothing listens on port {port} yet."),
        _ if said.contains("deadline exceeded") || said.contains("Client.Timeout") => {
            format!("GET {path} was not answered in time.")
        }
        _ => format!(
            "its health check failed: {}.",
            after(said, "Readiness probe failed: ").trim_end_matches(['.', '\n'])
        ),
    }
}

fn of_this<'a>(events: &[&'a Event], pod: Option<&str>, reason: &str) -> Option<&'a Event> {
    events
        .iter()
        .rev()
        .find(|event| event.involved_object.name.as_deref() == pod && event.reason.as_deref() == Some(reason))
        .copied()
}

/// Why an image could not be pulled, in the container engine's words.
fn pull_reason(events: &[&Event], pod: Option<&str>) -> Option<String> {
    let said = events.iter().rev().filter(|event| event.involved_object.name.as_deref() == pod);
    let said =
        said.filter_map(|event| event.message.as_deref()).find(|message| message.starts_with("Failed to pull"))?;
    Some(after(said, "desc = ").to_owned())
}

/// The text after the last `mark`, or the whole text if it has none.
fn after<'a>(text: &'a str, mark: &str) -> &'a str {
    text.rsplit_once(mark).map_or(text, |(_, end)| end)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(container: &serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p1"},
            "status": {"containerStatuses": [container]},
        }))
        .expect("a pod")
    }

    fn event(reason: &str, message: &str) -> Event {
        serde_json::from_value(json!({
            "metadata": {}, "involvedObject": {"name": "p1"}, "reason": reason, "message": message,
        }))
        .expect("an event")
    }

    fn container(state: &serde_json::Value, last: &serde_json::Value) -> serde_json::Value {
        json!({"name": "app", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state, "lastState": last})
    }

    fn workload(status: &serde_json::Value) -> Workload {
        serde_json::from_value(json!({
            "metadata": {"name": "w", "generation": 2},
            "spec": {"replicas": 1, "selector": {}, "template": {}},
            "status": status,
        }))
        .expect("a Deployment")
    }

    fn new_pod(name: &str, ready: bool) -> Pod {
        let state = json!({"running": {}});
        serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {"containers": [{
                "name": "app",
                "ports": [{"containerPort": 8080}],
                "readinessProbe": {"httpGet": {"path": "/health", "port": "http"}},
            }]},
            "status": {
                "conditions": [
                    {"type": "PodScheduled", "status": "True"},
                    {"type": "Ready", "status": if ready { "True" } else { "False" }},
                ],
                "containerStatuses": [{
                    "name": "app", "image": "i", "imageID": "", "ready": ready, "restartCount": 0, "state": state,
                }],
            },
        }))
        .expect("a pod")
    }

    #[test]
    fn ready_is_said_of_the_new_version_while_the_old_one_stays() {
        // The old pod runs and is the only one that counts as available: the rollout is paused.
        let held = |observed: i64| {
            workload(&json!({
                "observedGeneration": observed, "replicas": 2, "updatedReplicas": 1, "availableReplicas": 1,
            }))
        };
        let (ready, waits) = (new_pod("p1", true), new_pod("p1", false));
        assert_eq!(of_rollout(Some(&held(2)), None, &[&ready], &[], 0), Verdict::Ready);
        let waiting = |observed, pods: &[&Pod]| match of_rollout(Some(&held(observed)), None, pods, &[], 0) {
            Verdict::Waiting(stage, _) => stage,
            other => panic!("{other:?}"),
        };
        assert_eq!(waiting(1, &[&ready]), Stage::Place);
        assert_eq!(waiting(2, &[]), Stage::Place);
        assert_eq!(waiting(2, &[&waits]), Stage::Runs);
        // There are two pods while one is wanted: one of them is about to be removed.
        assert_eq!(waiting(2, &[&ready, &new_pod("p2", true)]), Stage::Place);
        assert_eq!(of_rollout(None, None, &[&ready], &[], 0), Verdict::Gone);
    }

    #[test]
    fn what_is_waited_for_is_said() {
        let says = |pod: &Pod, events: &[&Event]| waiting_for(pod, events);
        let homeless = json!({"metadata": {"name": "p1"}, "status": {"phase": "Pending"}});
        let homeless: Pod = serde_json::from_value(homeless).expect("a pod");
        assert_eq!(says(&homeless, &[]).0, Stage::Place);
        let making = pod(&container(&json!({"waiting": {"reason": "ContainerCreating"}}), &json!({})));
        let (pulling, pulled) = (event("Pulling", "Pulling image \"x\""), event("Pulled", "Successfully pulled"));
        assert_eq!(says(&making, &[]).0, Stage::Make);
        assert_eq!(says(&making, &[&pulling]), (Stage::Pull, "the node pulls its image.".to_owned()));
        assert_eq!(says(&making, &[&pulling, &pulled]).0, Stage::Make);
        let runs = new_pod("p1", false);
        for (message, words) in [
            (
                "Get \"http://10.1.1.2:8080/health\": dial tcp 10.1.1.2:8080: connect: connection refused",
                "nothing listens on port 8080 yet.",
            ),
            ("Get \"http://x/health\": context deadline exceeded", "GET /health was not answered in time."),
            ("Get \"http://x/health\": EOF", "its health check failed: Get \"http://x/health\": EOF."),
        ] {
            let unhealthy = event("Unhealthy", &format!("Readiness probe failed: {message}"));
            assert_eq!(says(&runs, &[&unhealthy]), (Stage::Runs, words.to_owned()));
        }
        assert_eq!(says(&runs, &[]).1, "it has not answered its health check yet.");
    }

    #[test]
    fn each_trouble_is_known_by_its_signs() {
        let starting = container(&json!({"waiting": {"reason": "ContainerCreating"}}), &json!({}));
        assert_eq!(of_pod(&pod(&starting), &[]), None);

        let crashed = container(
            &json!({"waiting": {"reason": "CrashLoopBackOff"}}),
            &json!({"terminated": {"exitCode": 3, "reason": "Error"}}),
        );
        let trouble = of_pod(&pod(&crashed), &[]).expect("trouble");
        assert_eq!((trouble.kind, trouble.grace), (ProblemKind::Ended { code: 3, oom: false }, Duration::ZERO));

        let oom = container(&json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}), &json!({}));
        assert_eq!(of_pod(&pod(&oom), &[]).expect("trouble").kind, ProblemKind::Ended { code: 137, oom: true });

        let pull = container(&json!({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off"}}), &json!({}));
        let missing = event("Failed", "Failed to pull image \"x\": rpc error: code = Unknown desc = manifest unknown");
        let trouble = of_pod(&pod(&pull), &[&missing]).expect("trouble");
        assert_eq!(trouble.kind, ProblemKind::Pull { why: "manifest unknown".to_owned(), outage: false });
        assert_eq!(trouble.grace, Duration::ZERO);
        let away = event("Failed", "Failed to pull image \"x\": rpc error: desc = dial tcp: connection refused");
        let trouble = of_pod(&pod(&pull), &[&away]).expect("trouble");
        assert!(matches!(trouble.kind, ProblemKind::Pull { outage: true, .. }) && trouble.grace == Duration::MAX);

        let running = container(&json!({"running": {}}), &json!({}));
        let closed = event("Unhealthy", "Readiness probe failed: Get \"http://x/\": dial tcp: connection refused");
        assert_eq!(of_pod(&pod(&running), &[&closed]), None);
        let wrong = event("Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 500");
        let trouble = of_pod(&pod(&running), &[&wrong]).expect("trouble");
        assert_eq!(trouble.kind, ProblemKind::NotReady("500".to_owned()));
        assert!(trouble.grace > Duration::ZERO, "an app may warm up");
        // The event belongs to another pod.
        let mut other = wrong;
        other.involved_object.name = Some("p2".to_owned());
        assert_eq!(of_pod(&pod(&running), &[&other]), None);

        let mut terminating = pod(&crashed);
        terminating.metadata.deletion_timestamp =
            Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).expect("a time"));
        assert_eq!(of_pod(&terminating, &[]), None);

        let homeless: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p1"},
            "status": {"conditions": [
                {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available"},
            ]},
        }))
        .expect("a pod");
        let trouble = of_pod(&homeless, &[]).expect("trouble");
        assert_eq!(trouble.kind, ProblemKind::Unschedulable("0/1 nodes are available".to_owned()));
    }

    #[test]
    fn a_quota_is_believed_once_nobody_makes_room() {
        let waiting = workload(&json!({
            "observedGeneration": 2, "replicas": 1, "updatedReplicas": 0, "availableReplicas": 1,
        }));
        let refused = |message: &str, terminating| {
            let condition =
                json!({"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message});
            let set = json!({"metadata": {"name": "s"}, "status": {"replicas": 0, "conditions": [condition]}});
            let set: ReplicaSet = serde_json::from_value(set).expect("a ReplicaSet");
            of_rollout(Some(&waiting), Some(&set), &[], &[], terminating)
        };
        let message =
            "pods \"x\" is forbidden: exceeded quota: slipway, requested: pods=1, used: pods=6, limited: pods=6";
        let Verdict::PodProblem(trouble) = refused(message, 0) else { panic!("trouble") };
        assert!(matches!(&trouble.kind, ProblemKind::Quota(why) if why.contains("used: pods=6")));
        let Verdict::PodProblem(hopeful) = refused(message, 1) else { panic!("trouble") };
        assert!(hopeful.grace > trouble.grace && !hopeful.is_same_problem(&trouble));
        let fresh = refused("pods \"x\" is forbidden: status unknown for quota: slipway", 0);
        assert!(matches!(fresh, Verdict::Waiting(Stage::Place, _)));
    }
}
