//! Logs of containers as lines: standard output and error together, in the order in which they were written.

use std::time::Duration;

use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::super::{InstanceState, LogRate, RuntimeError};
use super::DockerRuntime;
use super::inspect::{Found, found_instance};
use super::ready::LAST_LINES;
use crate::domain::{AppId, AppName, Clock, Environment};
use crate::engine::{self, Fault};
use crate::output::LogLine;
use crate::output::lines::Lines;

/// Interval in which it is checked whether a container runs again, while a reader follows the log.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// Number of lines at the end of a log from which an app's log rate is calculated.
const RATE_LINES: u64 = 2_000;
/// Minimum number of lines per second for which a log rate is reported.
const RATE_NOTED: u64 = 200;
/// Lines that are buffered for a slow reader. While the buffer is full, nothing more is read from the engine.
const BUFFERED_LINES: usize = 256;

/// Reads the engine's log format: each frame is one message with its time in front.
#[derive(Default)]
pub(super) struct Reader {
    stdout: Lines,
    stderr: Lines,
    /// Time of the last message.
    pub(super) last: Option<Timestamp>,
    /// Messages up to this time were read before.
    pub(super) skip_to: Option<Timestamp>,
}

impl Reader {
    /// Takes a frame, and passes each line that it completes to `each`.
    pub(super) fn take(&mut self, frame: &LogOutput, each: &mut impl FnMut(LogLine)) {
        let (lines, message) = match frame {
            LogOutput::StdErr { message } => (&mut self.stderr, message),
            LogOutput::StdOut { message } | LogOutput::Console { message } | LogOutput::StdIn { message } => {
                (&mut self.stdout, message)
            }
        };
        let (mut bytes, mut at) = (&message[..], self.last);
        if let Some(space) = bytes.iter().position(|b| *b == b' ')
            && let Some(time) =
                std::str::from_utf8(&bytes[..space]).ok().and_then(|time| time.parse::<Timestamp>().ok())
        {
            if self.skip_to.is_some_and(|read| time <= read) {
                return;
            }
            at = Some(time);
            self.last = self.last.max(at);
            bytes = &bytes[space + 1..];
        }
        lines.push(bytes, &mut |text| each(LogLine { at, text }));
    }

    /// Passes the text after the last line break to `each`.
    pub(super) fn finish(&mut self, each: &mut impl FnMut(LogLine)) {
        let at = self.last;
        let mut each = |text| each(LogLine { at, text });
        self.stdout.finish(&mut each);
        self.stderr.finish(&mut each);
    }
}

impl DockerRuntime {
    /// The frames of a container's log.
    pub(super) fn frames(
        &self,
        id: &str,
        tail: &str,
        since: Option<Timestamp>,
        follow: bool,
    ) -> impl Stream<Item = Result<LogOutput, Error>> + use<> {
        let mut options =
            LogsOptionsBuilder::new().stdout(true).stderr(true).timestamps(true).follow(follow).tail(tail);
        if let Some(second) = since.and_then(|at| i32::try_from(at.as_second()).ok()) {
            options = options.since(second);
        }
        self.docker().logs(id, Some(options.build()))
    }

    /// The last lines of a container's log, for an error message; none if they cannot be read.
    pub(super) async fn last_lines(&self, id: &str) -> Vec<String> {
        let read = async {
            let (mut reader, mut lines) = (Reader::default(), Vec::new());
            let mut frames = std::pin::pin!(self.frames(id, &LAST_LINES.to_string(), None, false));
            while let Some(Ok(frame)) = frames.next().await {
                reader.take(&frame, &mut |line| lines.push(line.text));
            }
            reader.finish(&mut |line| lines.push(line.text));
            lines
        };
        tokio::time::timeout(engine::QUICK, read).await.unwrap_or_default()
    }

    /// The container of the highest release.
    async fn newest(
        &self,
        app: &AppName,
        app_id: AppId,
        environment: Environment,
    ) -> Result<Option<Found>, RuntimeError> {
        let found =
            self.list(self.installation().app_filter(app, app_id)).await?.into_iter().filter_map(found_instance);
        let newest = found.filter(|f| f.instance.environment == environment).max_by_key(|f| f.instance.release);
        match newest {
            Some(found) => self.inspect(&found.instance.id).await,
            None => Ok(None),
        }
    }

    /// How much the newest instance prints; none if that is little, or if nothing runs.
    pub(in super::super) async fn log_rate(
        &self,
        app: &AppName,
        app_id: AppId,
        environment: Environment,
    ) -> Result<Option<LogRate>, RuntimeError> {
        let Some(newest) = self.newest(app, app_id, environment).await? else { return Ok(None) };
        let (mut reader, mut first, mut lines, mut bytes) = (Reader::default(), None, 0_u64, 0_u64);
        let read = async {
            let mut frames = std::pin::pin!(self.frames(&newest.id, &RATE_LINES.to_string(), None, false));
            while let Some(Ok(frame)) = frames.next().await {
                reader.take(&frame, &mut |line| {
                    lines += 1;
                    bytes += line.text.len() as u64 + 1;
                });
                first = first.or(reader.last);
            }
        };
        if tokio::time::timeout(engine::QUICK, read).await.is_err() {
            return Ok(None);
        }
        let Some(first) = first.filter(|_| lines >= RATE_LINES / 2) else { return Ok(None) };
        // Measured up to now and not up to the last line, so that the rate of an app that has stopped printing
        // decreases.
        let millis = u64::try_from(Clock::System.now().duration_since(first).as_millis()).unwrap_or(1).max(1);
        let per_second = |count: u64| count.saturating_mul(1000) / millis;
        let rate = LogRate { lines: per_second(lines), bytes: per_second(bytes) };
        Ok((rate.lines >= RATE_NOTED).then_some(rate))
    }

    pub(in super::super) fn logs(
        &self,
        app: &AppName,
        app_id: AppId,
        environment: Environment,
        tail: u32,
        follow: bool,
    ) -> BoxStream<'static, Result<LogLine, RuntimeError>> {
        let (sender, receiver) = mpsc::channel(BUFFERED_LINES);
        let follower =
            Follower { runtime: self.clone(), app: app.clone(), app_id, environment, follow, sender: sender.clone() };
        let work = async move {
            if let Err(error) = follower.follow(tail).await {
                let _ = sender.send(Err(error)).await;
            }
        };
        driven_by(receiver, work)
    }
}

/// A stream of what arrives. `work` runs while the stream is read, and ends with it.
pub(super) fn driven_by<T: Send + 'static>(
    receiver: mpsc::Receiver<T>,
    work: impl Future<Output = ()> + Send + 'static,
) -> BoxStream<'static, T> {
    let arriving = tokio_stream::wrappers::ReceiverStream::new(receiver);
    // There is no separate task: when the reader drops the stream, the work is dropped with it.
    let work = futures_util::stream::once(work).filter_map(async |()| None);
    futures_util::stream::select(arriving, work).boxed()
}

/// Follows the log of an environment from one container to the next.
struct Follower {
    runtime: DockerRuntime,
    app: AppName,
    app_id: AppId,
    environment: Environment,
    follow: bool,
    sender: mpsc::Sender<Result<LogLine, RuntimeError>>,
}

impl Follower {
    async fn follow(self, tail: u32) -> Result<(), RuntimeError> {
        // Every line, if there are that many: the engine looks for the start of the tail otherwise.
        let mut tail = if tail == u32::MAX { "all".to_owned() } else { tail.to_string() };
        let mut read: Option<(Found, Reader)> = None;
        loop {
            if let Some(newest) = self.runtime.newest(&self.app, self.app_id, self.environment).await? {
                let (mut reader, is_over) = match read.take() {
                    Some((before, reader)) if before.id == newest.id => {
                        // If it was restarted since or still runs, there may be more lines.
                        let unchanged = before.started_at == newest.started_at;
                        (reader, unchanged && newest.state != InstanceState::Running)
                    }
                    _ => (Reader::default(), false),
                };
                if !is_over {
                    self.read(&newest.id, &tail, &mut reader).await?;
                }
                read = Some((newest, reader));
            }
            // From now on, each container's log is read from its beginning.
            "all".clone_into(&mut tail);
            if !self.follow || self.sender.is_closed() {
                return Ok(());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Reads to the end of a container's log. With `follow`, that is when the container ends.
    async fn read(&self, id: &str, tail: &str, reader: &mut Reader) -> Result<(), RuntimeError> {
        reader.skip_to = reader.last;
        let mut frames = std::pin::pin!(self.runtime.frames(id, tail, reader.last, self.follow));
        let (mut lines, mut ended) = (Vec::new(), false);
        while !ended {
            match frames.next().await {
                Some(Ok(frame)) => reader.take(&frame, &mut |line| lines.push(line)),
                Some(Err(error)) => match Fault::from(error) {
                    Fault::NotFound(_) => return Ok(()),
                    fault => return Err(fault.into()),
                },
                None => {
                    reader.finish(&mut |line| lines.push(line));
                    ended = true;
                }
            }
            for line in lines.drain(..) {
                if self.sender.send(Ok(line)).await.is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
