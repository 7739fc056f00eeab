//! Runs of jobs: creates a Job, reads its log, and returns its exit code. The cluster starts the runs of a schedule;
//! this module finds them, gives them a number, and follows them to their end like other runs.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::runtime::watcher;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::record::Record;
use super::super::{Deployment, JobRunner, LeftRun, RunOutcome, RunSpec, RuntimeError, ScheduledRun, Schedules};
use super::client::FIELD_MANAGER;
use super::fault::Fault;
use super::logs::{Reader, Sink, container};
use super::ready::{Known, changes, take};
use super::verdict::{self, PodProblem, ProblemKind};
use super::{KubernetesRuntime, manifest};
use crate::domain::{AppName, Clock, ReleaseNumber, RunId};
use crate::output::LineSink;
use crate::ownership;

/// How long the log may still be read after the run has ended. A node keeps at most a few MiB of it.
const LOG_GRACE: Duration = Duration::from_secs(30);
/// How long to wait for the removal of a cancelled run. After that, the removal is left to a later cleanup.
const REMOVAL_LIMIT: Duration = Duration::from_secs(3);
/// How long after the cluster's own time limit Slipway ends a run.
const LIMIT_GRACE: Duration = Duration::from_secs(30);

/// A change of one of a run's objects.
#[expect(clippy::large_enum_variant, reason = "lives only from the watch to where it is taken in")]
enum Change {
    Job(watcher::Event<Job>),
    Pod(watcher::Event<Pod>),
    Event(watcher::Event<Event>),
}

/// How a run ended.
struct Exit {
    code: Option<i64>,
    timed_out: bool,
    oom: bool,
}

/// Runs jobs, and follows the runs that the cluster starts from schedules.
#[derive(Debug, Clone)]
pub(super) struct ClusterRuns {
    pub(super) runtime: KubernetesRuntime,
}

#[async_trait]
impl JobRunner for ClusterRuns {
    async fn run(
        &self,
        spec: &RunSpec,
        log: &dyn LineSink,
        cancel: &CancellationToken,
    ) -> Result<RunOutcome, RuntimeError> {
        let (namespace, name) = (manifest::namespace(&spec.app), manifest::run_name(spec));
        tokio::select! {
            biased;
            () = cancel.cancelled() => {
                self.remove_soon(&namespace, &name).await;
                return Err(RuntimeError::Cancelled);
            }
            begun = self.begin(spec, &namespace, &name, log) => begun?,
        }
        self.wait_for_exit(&namespace, &name, spec.time_limit, log, cancel).await
    }

    async fn attach(
        &self,
        left: &LeftRun,
        time_limit: Duration,
        log: &dyn LineSink,
        cancel: &CancellationToken,
    ) -> Result<RunOutcome, RuntimeError> {
        let started_at = left.started_at.unwrap_or_else(|| Clock::System.now());
        let gone_by = Clock::System.now().duration_since(started_at).max(SignedDuration::ZERO);
        let rest = time_limit.saturating_sub(gone_by.unsigned_abs());
        self.wait_for_exit(&manifest::namespace(&left.app), &left.id, rest, log, cancel).await
    }

    async fn end(&self, app: &AppName, id: &str) -> Result<(), RuntimeError> {
        self.remove_job(&manifest::namespace(app), id).await
    }

    async fn list(&self) -> Result<Vec<LeftRun>, RuntimeError> {
        let chosen = ListParams::default().labels(&format!("{},{}", self.runtime.selector(), ownership::RUN));
        let mut left = Vec::new();
        for namespace in self.runtime.namespaces().await? {
            match self.runtime.cluster().call(self.jobs(&namespace).list(&chosen)).await {
                Ok(jobs) => left.extend(jobs.items.iter().filter_map(left_run)),
                Err(Fault::Forbidden(_) | Fault::NotFound(_)) => {}
                Err(fault) => return Err(fault.into()),
            }
        }
        Ok(left)
    }

    fn id_of(&self, spec: &RunSpec) -> String {
        manifest::run_name(spec)
    }
}

#[async_trait]
impl Schedules for ClusterRuns {
    async fn keep(&self, deployment: &Deployment) -> Result<(), RuntimeError> {
        self.runtime.prepared().remove(&deployment.app_id);
        self.runtime.prepare(&deployment.app, deployment.app_id).await?;
        self.runtime.apply_release(deployment).await
    }

    fn started(&self) -> BoxStream<'static, ScheduledRun> {
        let chosen = format!("{},!{}", self.runtime.selector(), ownership::RUN);
        let jobs = self.runtime.across::<Job>(&chosen);
        jobs.filter_map(async |change| match change {
            watcher::Event::Apply(job) | watcher::Event::InitApply(job) => scheduled_run(&job),
            _ => None,
        })
        .boxed()
    }

    async fn name(&self, scheduled: &ScheduledRun, run: RunId) -> Result<LeftRun, RuntimeError> {
        let patch = serde_json::json!({"metadata": {"labels": {ownership::RUN: run.to_string()}}});
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let jobs = self.jobs(&manifest::namespace(&scheduled.app));
        let job = self.runtime.cluster().call(jobs.patch(&scheduled.id, &parameters, &Patch::Merge(&patch))).await?;
        left_run(&job).ok_or(RuntimeError::Gone)
    }
}

impl ClusterRuns {
    fn jobs(&self, namespace: &str) -> Api<Job> {
        Api::namespaced(self.runtime.cluster().client.clone(), namespace)
    }

    /// Creates a run's Job and the objects that it needs, unless the Job exists.
    async fn begin(&self, spec: &RunSpec, namespace: &str, name: &str, log: &dyn LineSink) -> Result<(), RuntimeError> {
        self.runtime.prepare(&spec.app, spec.app_id).await?;
        if self.runtime.cluster().call(self.jobs(namespace).get_opt(name)).await?.is_some() {
            return Ok(());
        }
        self.runtime.room_for(&spec.app, namespace, &manifest::run_pod(spec), log).await?;
        let apis = self.runtime.cluster().apis().await?;
        for object in manifest::run(&self.runtime.owner(&spec.app, spec.app_id), &apis, spec) {
            self.runtime.cluster().apply(&object).await?;
        }
        Ok(())
    }

    /// Tries to remove a Job within [`REMOVAL_LIMIT`], so that a cancellation does not wait for an unavailable cluster.
    async fn remove_soon(&self, namespace: &str, name: &str) {
        match tokio::time::timeout(REMOVAL_LIMIT, self.remove_job(namespace, name)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, name, "a cancelled run is still there"),
            Err(_) => tracing::debug!(name, "a cancelled run is still there: no answer"),
        }
    }

    async fn wait_for_exit(
        &self,
        namespace: &str,
        name: &str,
        limit: Duration,
        log: &dyn LineSink,
        cancel: &CancellationToken,
    ) -> Result<RunOutcome, RuntimeError> {
        let mut record = Record::new(log);
        let exit = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(RuntimeError::Cancelled),
            exit = self.exit(namespace, name, &mut record) => exit,
            () = tokio::time::sleep(limit + LIMIT_GRACE) => Ok(Exit { code: None, timed_out: true, oom: false }),
        };
        match exit {
            Ok(exit) => {
                self.remove_job(namespace, name).await?;
                Ok(RunOutcome {
                    exit_code: exit.code,
                    timed_out: exit.timed_out,
                    oom: exit.oom,
                    log_tail: record.end().await,
                })
            }
            // The cluster is unavailable: the run continues there, and its result can be read later.
            Err(error @ RuntimeError::ClusterUnavailable(_)) => Err(error),
            Err(RuntimeError::Cancelled) => {
                record.end().await;
                self.remove_soon(namespace, name).await;
                Err(RuntimeError::Cancelled)
            }
            Err(error) => {
                record.end().await;
                self.remove_job(namespace, name).await?;
                Err(error)
            }
        }
    }

    async fn remove_job(&self, namespace: &str, name: &str) -> Result<(), RuntimeError> {
        match self.runtime.cluster().call(self.jobs(namespace).delete(name, &DeleteParams::background())).await {
            // A request is forbidden if the namespace is terminating or was removed.
            Ok(_) | Err(Fault::NotFound(_) | Fault::Forbidden(_)) => Ok(()),
            Err(fault) => Err(fault.into()),
        }
    }

    /// Watches a Job to its end, and reads its pod's log.
    async fn exit(&self, namespace: &str, name: &str, record: &mut Record<'_>) -> Result<Exit, RuntimeError> {
        let pods: Api<Pod> = Api::namespaced(self.runtime.cluster().client.clone(), namespace);
        let events: Api<Event> = Api::namespaced(self.runtime.cluster().client.clone(), namespace);
        let mut changes = futures_util::stream::select_all([
            changes::<Job>(self.jobs(namespace), "", &format!("metadata.name={name}"))
                .map(|change| change.map(Change::Job))
                .boxed(),
            changes::<Pod>(pods.clone(), &format!("job-name={name}"), "").map(|change| change.map(Change::Pod)).boxed(),
            changes::<Event>(events, "", "type=Warning").map(|change| change.map(Change::Event)).boxed(),
        ]);
        let (mut jobs, mut known, mut events) = (Known::<Job>::new(), Known::<Pod>::new(), Known::<Event>::new());
        let (mut listed, mut ended): (bool, Option<Exit>) = (false, None);
        let mut trouble: Option<(PodProblem, Instant)> = None;
        // Passes on the name of the pod, once its container has started and its log can be read.
        let (begun, mut has_begun) = tokio::sync::watch::channel(None::<String>);
        let reading = async {
            let pod = has_begun.wait_for(Option::is_some).await.ok().and_then(|pod| pod.clone());
            if let Some(pod) = pod {
                let mut reader = Reader::default();
                if let Err(fault) = reader.read(&pods, &pod, None, true, Sink::Record(record)).await {
                    tracing::debug!(?fault, pod, "a run's log broke off");
                }
            }
        };
        let mut reading = std::pin::pin!(reading);
        let mut read = false;
        while ended.is_none() {
            let patience = async {
                match trouble.as_ref().and_then(|(trouble, since)| since.checked_add(trouble.grace)) {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                change = changes.next() => match change {
                    Some(Ok(Change::Job(change))) => listed |= take(&mut jobs, change),
                    Some(Ok(Change::Pod(change))) => { take(&mut known, change); }
                    Some(Ok(Change::Event(change))) => { take(&mut events, change); }
                    Some(Err(fault)) => return Err(fault.into()),
                    None => return Err(Fault::Away("it closed the line".to_owned()).into()),
                },
                () = &mut reading, if !read => read = true,
                () = patience => {}
            }
            let Some(job) = jobs.values().next() else {
                if listed {
                    return Err(RuntimeError::Gone);
                }
                continue;
            };
            if let Some(pod) = known.values().find(|pod| has_started(pod)) {
                begun.send_if_modified(|now| {
                    let is_new = now.is_none();
                    if is_new {
                        now.clone_from(&pod.metadata.name);
                    }
                    is_new
                });
            }
            ended = ending(job, &known);
            if ended.is_some() {
                break;
            }
            let found = trouble_of(name, &known, &events);
            trouble = match (found, trouble.take()) {
                (Some(found), Some((before, since))) if before.is_same_problem(&found) => Some((found, since)),
                (Some(found), _) => Some((found, Instant::now())),
                (None, _) => None,
            };
            if let Some((found, since)) = &trouble
                && since.elapsed() >= found.grace
            {
                return Err(self.runtime.failure(namespace, found.clone()).await);
            }
        }
        if !read && begun.borrow().is_some() {
            let _ = tokio::time::timeout(LOG_GRACE, reading).await;
        }
        ended.ok_or(RuntimeError::Gone)
    }
}

fn has_started(pod: &Pod) -> bool {
    container(pod)
        .and_then(|container| container.state.as_ref())
        .is_some_and(|state| state.running.is_some() || state.terminated.is_some())
}

/// The result of a Job that has ended; none if it has not.
fn ending(job: &Job, pods: &Known<Pod>) -> Option<Exit> {
    let code = pods.values().find_map(|pod| verdict::ending(container(pod)?.state.as_ref()));
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
    let over = conditions
        .into_iter()
        .flatten()
        .find(|condition| matches!(condition.type_.as_str(), "Complete" | "Failed") && condition.status == "True");
    let timed_out = over.is_some_and(|condition| condition.reason.as_deref() == Some("DeadlineExceeded"));
    if timed_out {
        return Some(Exit { code: None, timed_out: true, oom: false });
    }
    // The exit code of a pod that is being deleted is not the result of the job: the Job's controller decides about it.
    let is_leaving = pods.values().any(|pod| pod.metadata.deletion_timestamp.is_some());
    match code {
        Some((code, oom)) if over.is_some() || !is_leaving => Some(Exit { code: Some(code), timed_out: false, oom }),
        // The pod was removed, so only the success or failure of the Job is known.
        None if over.is_some_and(|condition| condition.type_ == "Complete") => {
            Some(Exit { code: Some(0), timed_out: false, oom: false })
        }
        None if over.is_some() => Some(Exit { code: None, timed_out: false, oom: false }),
        _ => None,
    }
}

/// Why a Job's pod cannot run, if there is a reason.
fn trouble_of(name: &str, pods: &Known<Pod>, events: &Known<Event>) -> Option<PodProblem> {
    let all: Vec<&Event> = events.values().collect();
    let of_pods = pods.values().find_map(|pod| verdict::of_pod(pod, &all));
    let refused = || {
        let event = all.iter().find(|event| {
            event.involved_object.name.as_deref() == Some(name) && event.reason.as_deref() == Some("FailedCreate")
        })?;
        verdict::of_refusal(event.message.as_deref()?, 0)
    };
    // A container that has ended is the result of a run, not a problem.
    of_pods
        .filter(|trouble| !matches!(trouble.kind, ProblemKind::Ended { .. }))
        .or_else(|| if pods.is_empty() { refused() } else { None })
}

fn left_run(job: &Job) -> Option<LeftRun> {
    let labels = job.metadata.labels.as_ref()?;
    let found = scheduled_run(job)?;
    Some(LeftRun {
        id: found.id,
        app: found.app,
        app_id: found.app_id,
        environment: found.environment,
        release: found.release,
        run: labels.get(ownership::RUN)?.parse().ok()?,
        started_at: Some(found.started_at),
        running: job.status.as_ref().and_then(|status| status.active).unwrap_or(0) > 0,
    })
}

fn scheduled_run(job: &Job) -> Option<ScheduledRun> {
    let labels = job.metadata.labels.as_ref()?;
    if job.metadata.deletion_timestamp.is_some() {
        return None;
    }
    Some(ScheduledRun {
        id: job.metadata.name.clone()?,
        app: labels.get(ownership::APP)?.parse().ok()?,
        app_id: labels.get(ownership::APP_ID)?.parse().ok()?,
        environment: labels.get(ownership::ENVIRONMENT)?.parse().ok()?,
        release: ReleaseNumber(labels.get(ownership::RELEASE)?.parse().ok()?),
        started_at: job.metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |at| at.0),
    })
}
