//! Logs of pods as lines: follows an environment's log over restarts and releases, with a watch.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::io::AsyncBufReadExt;
use futures_util::stream::{BoxStream, FuturesUnordered};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::Api;
use kube::api::LogParams;
use tokio::sync::mpsc;

use super::super::RuntimeError;
use super::super::record::Record;
use super::client::Cluster;
use super::fault::Fault;
use super::ready::{Known, changes, take};
use super::{KubernetesRuntime, manifest};
use crate::domain::{AppName, Environment};
use crate::output::LogLine;
use crate::output::lines::{LINE_MAX, Lines};
use crate::ownership;

/// First and longest pause before the next check whether the namespace exists.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(4);
/// Timeout for more data of a log that is read to its current end, without following it.
const READ_LIMIT: Duration = Duration::from_secs(15);
/// Pause before a log is read again after its connection broke.
const READ_ON: Duration = Duration::from_millis(500);
/// Lines that are buffered for a slow reader. While the buffer is full, nothing more is read from the cluster.
const BUFFERED_LINES: usize = 256;

/// The status of an app pod's only container.
pub(super) fn container(pod: &Pod) -> Option<&ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_ref()?.first()
}

/// The id of the pod's container, once the container has started. Each restart has another id.
fn begun(pod: &Pod) -> Option<String> {
    let container = container(pod)?;
    let state = container.state.as_ref()?;
    (state.running.is_some() || state.terminated.is_some()).then(|| container.container_id.clone()).flatten()
}

fn release(pod: &Pod) -> u32 {
    let labels = pod.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(ownership::RELEASE)).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The destination of log lines.
pub(super) enum Sink<'a, 'r> {
    /// The reader of the stream.
    Reader(&'a mpsc::Sender<Result<LogLine, RuntimeError>>),
    /// A run's record.
    Record(&'a mut Record<'r>),
}

impl Sink<'_, '_> {
    /// Delivers a line. Returns false if the reader has disconnected.
    async fn give(&mut self, line: LogLine) -> bool {
        match self {
            Self::Reader(sender) => sender.send(Ok(line)).await.is_ok(),
            Self::Record(record) => {
                record.line(line.text).await;
                true
            }
        }
    }
}

/// Reads one container's log, and keeps the position up to which it was read.
#[derive(Default)]
pub(super) struct Reader {
    lines: Lines,
    last: Option<Timestamp>,
}

impl Reader {
    /// Reads to the end of the log. With `follow`, that is when the container ends.
    pub(super) async fn read(
        &mut self,
        pods: &Api<Pod>,
        pod: &str,
        tail: Option<u32>,
        follow: bool,
        mut sink: Sink<'_, '_>,
    ) -> Result<(), Fault> {
        let parameters = LogParams {
            follow,
            timestamps: true,
            tail_lines: tail.filter(|tail| *tail < u32::MAX).map(i64::from),
            since_time: self.last,
            ..LogParams::default()
        };
        // A followed log has no timeout, since an app may write nothing for any time.
        let limit = if follow { Duration::MAX } else { READ_LIMIT };
        let late = || Fault::Away(format!("it has not answered for {} seconds", READ_LIMIT.as_secs()));
        let opened = tokio::time::timeout(limit, pods.log_stream(pod, &parameters)).await.map_err(|_| late())?;
        let mut stream = std::pin::pin!(opened?);
        let skip_to = self.last;
        let mut ready = Vec::new();
        // A line may arrive in several chunks, and one chunk may contain the end of a line and the start of the next.
        let mut partial: Vec<u8> = Vec::new();
        loop {
            let filled = tokio::time::timeout(limit, stream.fill_buf()).await.map_err(|_| late())?;
            let bytes = filled.map_err(|error| Fault::Away(error.to_string()))?;
            if bytes.is_empty() {
                break;
            }
            let length = bytes.len();
            for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
                // Drops the part of a line that is beyond the maximum length, but keeps the line break.
                let room = (LINE_MAX * 2).saturating_sub(partial.len());
                partial.extend_from_slice(&piece[..piece.len().min(room)]);
                if piece.ends_with(b"\n") {
                    if !partial.ends_with(b"\n") {
                        partial.push(b'\n');
                    }
                    self.take(&partial, skip_to, &mut ready);
                    partial.clear();
                }
            }
            stream.consume_unpin(length);
            for line in ready.drain(..) {
                if !sink.give(line).await {
                    return Ok(());
                }
            }
        }
        self.take(&partial, skip_to, &mut ready);
        let at = self.last;
        self.lines.finish(&mut |text| ready.push(LogLine { at, text }));
        for line in ready {
            if !sink.give(line).await {
                break;
            }
        }
        Ok(())
    }

    fn take(&mut self, mut bytes: &[u8], skip_to: Option<Timestamp>, ready: &mut Vec<LogLine>) {
        if let Some(space) = bytes.iter().position(|byte| *byte == b' ')
            && let Some(time) =
                std::str::from_utf8(&bytes[..space]).ok().and_then(|time| time.parse::<Timestamp>().ok())
        {
            if skip_to.is_some_and(|read| time <= read) {
                return;
            }
            self.last = self.last.max(Some(time));
            bytes = &bytes[space + 1..];
        }
        let at = self.last;
        self.lines.push(bytes, &mut |text| ready.push(LogLine { at, text }));
    }
}

impl KubernetesRuntime {
    /// The log of an environment, over all its releases.
    pub(super) fn environment_log(
        &self,
        app: &AppName,
        environment: Environment,
        tail: u32,
        follow: bool,
    ) -> BoxStream<'static, Result<LogLine, RuntimeError>> {
        let (sender, receiver) = mpsc::channel(BUFFERED_LINES);
        let pods: Api<Pod> = Api::namespaced(self.cluster().client.clone(), &manifest::namespace(app));
        let installation = &self.settings().installation;
        let chosen = format!(
            "{}={app},{}={environment},{}={installation},!{}",
            ownership::APP,
            ownership::ENVIRONMENT,
            ownership::INSTALLATION,
            ownership::RUN
        );
        let cluster = self.cluster().clone();
        let follower = Arc::new(Follower { cluster, pods, chosen, sender: sender.clone() });
        let work = async move {
            let done = if follow { follow_on(&follower, tail).await } else { follower.newest(tail).await };
            if let Err(fault) = done {
                let _ = sender.send(Err(fault.into())).await;
            }
        };
        let arriving = tokio_stream::wrappers::ReceiverStream::new(receiver);
        // There is no separate task: when the reader drops the stream, the work is dropped with it.
        let work = futures_util::stream::once(work).filter_map(async |()| None);
        futures_util::stream::select(arriving, work).boxed()
    }
}

/// Follows the log of an environment from one container to the next.
struct Follower {
    cluster: Cluster,
    pods: Api<Pod>,
    chosen: String,
    sender: mpsc::Sender<Result<LogLine, RuntimeError>>,
}

impl Follower {
    /// Reads the last lines of the newest pod, without following it.
    async fn newest(&self, tail: u32) -> Result<(), Fault> {
        let chosen = kube::api::ListParams::default().labels(&self.chosen);
        let pods = match self.cluster.call(self.pods.list(&chosen)).await {
            Ok(pods) => pods.items,
            Err(Fault::Forbidden(_) | Fault::NotFound(_)) => return Ok(()),
            Err(fault) => return Err(fault),
        };
        match newest(pods.iter()) {
            Some(pod) => self.read_once(pod, tail).await,
            None => Ok(()),
        }
    }

    async fn read_once(&self, pod: &Pod, tail: u32) -> Result<(), Fault> {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let sink = Sink::Reader(&self.sender);
        match Reader::default().read(&self.pods, &name, Some(tail), false, sink).await {
            // The container has not started, or the pod was removed: there is no log.
            Err(Fault::NotFound(_) | Fault::Refused(_)) => Ok(()),
            other => other,
        }
    }
}

/// Follows the logs of all containers, without an end.
async fn follow_on(follower: &Arc<Follower>, tail: u32) -> Result<(), Fault> {
    let mut changes = changes(follower.pods.clone(), &follower.chosen, "");
    let (mut known, mut read, mut complete) = (Known::<Pod>::new(), HashSet::new(), false);
    let mut readings = FuturesUnordered::new();
    let mut pause = LOOK_AGAIN;
    loop {
        tokio::select! {
            change = changes.next() => {
                match change {
                    Some(Ok(change)) => {
                        pause = LOOK_AGAIN;
                        let done = take(&mut known, change);
                        if done && !complete {
                            complete = true;
                            let first = newest(known.values()).cloned();
                            // Containers that started before the reader joined are not read, except for the newest one.
                            read.extend(known.values().filter_map(begun));
                            if let Some(first) = first.filter(|pod| begun(pod).is_some()) {
                                readings.push(reading(follower.clone(), first, Some(tail), Reader::default(), Duration::ZERO));
                            }
                            continue;
                        }
                    }
                    // The namespace does not exist, or the role in it is missing: no release has run yet, or all were
                    // removed.
                    Some(Err(Fault::Forbidden(_) | Fault::NotFound(_))) => {
                        known.clear();
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(LOOK_AGAIN_MAX);
                        continue;
                    }
                    Some(Err(fault)) => return Err(fault),
                    None => return Ok(()),
                }
                if complete {
                    for pod in known.values() {
                        if let Some(id) = begun(pod) && read.insert(id) {
                            readings.push(reading(follower.clone(), pod.clone(), None, Reader::default(), Duration::ZERO));
                        }
                    }
                }
            }
            Some((pod, reader, fault)) = readings.next() => {
                if follower.sender.is_closed() {
                    return Ok(());
                }
                let name = pod.metadata.name.clone().unwrap_or_default();
                let still = known.get(&name).filter(|now| begun(now) == begun(&pod));
                let runs = still.and_then(container).and_then(|c| c.state.as_ref()).is_some_and(|s| s.running.is_some());
                if runs {
                    // The connection broke, and the container still runs.
                    readings.push(reading(follower.clone(), pod, None, reader, READ_ON));
                } else if let Err(Fault::Away(why)) = fault {
                    return Err(Fault::Away(why));
                }
            }
        }
    }
}

/// Reads a container's log to its end, after `pause`.
async fn reading(
    follower: Arc<Follower>,
    pod: Pod,
    tail: Option<u32>,
    mut reader: Reader,
    pause: Duration,
) -> (Pod, Reader, Result<(), Fault>) {
    tokio::time::sleep(pause).await;
    let name = pod.metadata.name.clone().unwrap_or_default();
    let done = reader.read(&follower.pods, &name, tail, true, Sink::Reader(&follower.sender)).await;
    (pod, reader, done)
}

/// The youngest pod of the highest release.
fn newest<'a>(pods: impl Iterator<Item = &'a Pod>) -> Option<&'a Pod> {
    pods.max_by_key(|pod| (release(pod), pod.metadata.creation_timestamp.clone()))
}
