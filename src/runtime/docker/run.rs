//! Runs of jobs: executes a container to its end, reads its log and its exit code, and removes it.

use std::time::Duration;

use bollard::query_parameters::KillContainerOptionsBuilder;
use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::super::record::Record;
use super::super::{InstanceState, LeftRun, RunOutcome, RunSpec, RuntimeError};
use super::inspect::Found;
use super::logs::Reader;
use super::{DockerRuntime, container};
use crate::domain::{Clock, ReleaseNumber};
use crate::engine::{self, Fault};
use crate::output::LineSink;
use crate::ownership;

/// Timeout for reading the result of a run that has ended.
const READ_LIMIT: Duration = Duration::from_mins(1);
/// How long the log may still be read after the run has ended. Usually its stream ends right away.
const LOG_GRACE: Duration = Duration::from_secs(2);

impl DockerRuntime {
    pub(in super::super) async fn run(
        &self,
        spec: &RunSpec,
        log: &dyn LineSink,
        cancel: &CancellationToken,
    ) -> Result<RunOutcome, RuntimeError> {
        let name = self.run_name(spec);
        match self.inspect(&name).await?.and_then(left_run) {
            Some(left) if left.started_at.is_some() => self.attach_run(&left, spec.time_limit, log, cancel).await,
            _ => {
                let id = self.begin(&name, spec, cancel).await?;
                self.wait_for_exit(&id, spec.time_limit, log, cancel).await
            }
        }
    }

    pub(in super::super) fn run_name(&self, spec: &RunSpec) -> String {
        let RunSpec { app, environment, run, app_id, .. } = spec;
        format!("slipway-{app}-{environment}-run-{run}.{app_id}.{}", self.installation())
    }

    pub(in super::super) async fn end_run(&self, id: &str) -> Result<(), RuntimeError> {
        let options = KillContainerOptionsBuilder::new().signal("SIGKILL").build();
        // An error means that it does not run, which is what is needed. The removal does the rest.
        let _ = engine::call(engine::QUICK, self.docker().kill_container(id, Some(options))).await;
        self.remove(id).await
    }

    async fn begin(&self, name: &str, spec: &RunSpec, cancel: &CancellationToken) -> Result<String, RuntimeError> {
        let _one_at_a_time = self.app_lock(spec.app_id).await;
        let network = self.network(&spec.app, spec.app_id).await?;
        let (image, _) = tokio::join!(self.image(&spec.image), self.inner.settings.firewall.ensure());
        let image = image?;
        if cancel.is_cancelled() {
            return Err(RuntimeError::Cancelled);
        }
        let make =
            async |init| self.make(name, container::of_run(spec, self.installation(), &image, &network, init)).await;
        let init = !self.inner.lacks_init.load(std::sync::atomic::Ordering::Relaxed);
        match make(init).await {
            Err(RuntimeError::CannotStart(why)) if init && why.contains("docker-init") => make(false).await,
            other => other,
        }
    }

    async fn wait_for_exit(
        &self,
        id: &str,
        time_limit: Duration,
        log: &dyn LineSink,
        cancel: &CancellationToken,
    ) -> Result<RunOutcome, RuntimeError> {
        let mut record = Record::new(log);
        let ended = CancellationToken::new();
        let outcome = {
            let reading = self.record(id, &mut record, &ended);
            let waiting = async {
                let mut exit = std::pin::pin!(self.exit(id));
                let outcome = tokio::select! {
                    biased;
                    exit = &mut exit => exit.map(|exit| (exit, false)),
                    () = cancel.cancelled() => Err(RuntimeError::Cancelled),
                    () = tokio::time::sleep(time_limit) => {
                        self.end(id).await?;
                        exit.await.map(|exit| (exit, true))
                    }
                };
                ended.cancel();
                outcome
            };
            // An error ends both at once. Otherwise the log is read to its end.
            tokio::try_join!(
                async {
                    reading.await;
                    Ok(())
                },
                waiting
            )
            .map(|((), outcome)| outcome)
        };
        match outcome {
            Ok((exit, timed_out)) => {
                self.remove(id).await?;
                Ok(RunOutcome {
                    exit_code: (!timed_out).then_some(exit.code),
                    timed_out,
                    oom: exit.oom,
                    log_tail: record.end().await,
                })
            }
            Err(RuntimeError::Cancelled) => {
                record.end().await;
                if let Err(error) = self.end_run(id).await {
                    tracing::debug!(%error, container = id, "a cancelled run is still there");
                }
                Err(RuntimeError::Cancelled)
            }
            // The engine is unavailable: the run continues there, and its result can be read later.
            Err(error) => Err(error),
        }
    }

    /// Reads a run's log to its end. If a log is rotated faster than it is read, the engine stops sending it to the
    /// follower: the rest is read once the run has `ended`.
    async fn record(&self, id: &str, record: &mut Record<'_>, ended: &CancellationToken) {
        let mut reader = Reader::default();
        let is_whole = self.read_run(id, &mut reader, record, Some(ended)).await;
        ended.cancelled().await;
        if !is_whole {
            record.gap();
        }
        reader.skip_to = reader.last;
        self.read_run(id, &mut reader, record, None).await;
        let mut lines = Vec::new();
        reader.finish(&mut |line| lines.push(line.text));
        for line in lines {
            record.line(line).await;
        }
    }

    /// Continues to read a run's log: if `ended` is given, until the run has ended and nothing more arrives; otherwise
    /// what is in the log now. Returns `false` if the end of the log was not reached.
    async fn read_run(
        &self,
        id: &str,
        reader: &mut Reader,
        record: &mut Record<'_>,
        ended: Option<&CancellationToken>,
    ) -> bool {
        let mut frames = std::pin::pin!(self.frames(id, "all", reader.last, ended.is_some()));
        let mut lines = Vec::new();
        loop {
            let silence = async {
                match ended {
                    Some(ended) => {
                        ended.cancelled().await;
                        tokio::time::sleep(LOG_GRACE).await;
                    }
                    None => tokio::time::sleep(engine::QUICK).await,
                }
            };
            let frame = tokio::select! {
                biased;
                frame = frames.next() => frame,
                () = silence => return false,
            };
            match frame {
                Some(Ok(frame)) => reader.take(&frame, &mut |line| lines.push(line.text)),
                Some(Err(error)) => {
                    let fault = Fault::from(error);
                    tracing::debug!(%fault, container = id, "a run's log broke off");
                    return false;
                }
                None => return true,
            }
            for line in lines.drain(..) {
                record.line(line).await;
            }
        }
    }

    pub(in super::super) async fn runs(&self) -> Result<Vec<LeftRun>, RuntimeError> {
        let mut filter = self.installation().filter();
        if let Some(labels) = filter.get_mut("label") {
            labels.push(ownership::RUN.to_owned());
        }
        let mut runs = Vec::new();
        for container in self.list(filter).await? {
            if let Some(found) = self.inspect(&container.id.unwrap_or_default()).await? {
                runs.extend(left_run(found));
            }
        }
        Ok(runs)
    }

    pub(in super::super) async fn attach_run(
        &self,
        left: &LeftRun,
        time_limit: Duration,
        log: &dyn LineSink,
        cancel: &CancellationToken,
    ) -> Result<RunOutcome, RuntimeError> {
        let Some(started_at) = left.started_at else {
            // The builder died between creating and starting it: the run has not started.
            self.remove(&left.id).await?;
            return Err(RuntimeError::Gone);
        };
        let gone_by = Clock::System.now().duration_since(started_at).max(SignedDuration::ZERO);
        // A run that has ended is not timed out, however late its result is read.
        let rest = if left.running { time_limit.saturating_sub(gone_by.unsigned_abs()) } else { READ_LIMIT };
        self.wait_for_exit(&left.id, rest, log, cancel).await
    }
}

fn left_run(found: Found) -> Option<LeftRun> {
    let labels = &found.labels;
    Some(LeftRun {
        app: labels.get(ownership::APP)?.parse().ok()?,
        app_id: labels.get(ownership::APP_ID)?.parse().ok()?,
        environment: labels.get(ownership::ENVIRONMENT)?.parse().ok()?,
        release: ReleaseNumber(labels.get(ownership::RELEASE)?.parse().ok()?),
        run: labels.get(ownership::RUN)?.parse().ok()?,
        started_at: found
            .started_at
            .and_then(|at| at.parse::<Timestamp>().ok())
            .filter(|_| found.state != InstanceState::Created),
        running: matches!(found.state, InstanceState::Running | InstanceState::Restarting | InstanceState::Paused),
        id: found.id,
    })
}
