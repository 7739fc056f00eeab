//! Logs of the last build and of running releases.

use std::time::Duration;

use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};

use super::Services;
use crate::bounded_work::Owner;
use crate::domain::{App, Environment, JOBS_ON_PAGES, Job, JobKind, LogStream};
use crate::error::{AppError, AppResult, ErrorKind};
use crate::output::level::Levels;
use crate::output::window::{Passing, Place, Scan, Selection, WINDOW_LINES, Window};
use crate::output::{BYTES_MAX, LINES_MAX, LogLine, Tail};
use crate::runtime::{LogRate, RuntimeError};

/// Maximum lines of a job's log that are read: enough for a build and a run, each of which is limited, and for the
/// deployment's own lines.
const JOB_LINES_MAX: usize = 2 * LINES_MAX + 1000;
/// Maximum bytes of these lines.
const JOB_BYTES_MAX: usize = 2 * BYTES_MAX + 128 * 1024;

/// Bounds of reading a whole log: an engine keeps 20 MiB of an app's log.
const WHOLE_BYTES_MAX: usize = 64 * 1024 * 1024;
const WHOLE_TIME: Duration = Duration::from_secs(20);
/// Lines that are examined together.
const TOGETHER: usize = 1_000;
/// Time limit for examining them.
const EXAMINE_TIME: Duration = Duration::from_secs(2);
/// Time limit of a download, which may be slow.
const DOWNLOAD_TIME: Duration = Duration::from_mins(10);

/// A window of a log.
#[derive(Debug)]
pub struct LogPart {
    /// The lines.
    pub window: Window,
    /// The log was read from its first line, so numbers of lines are exact.
    pub is_counted: bool,
    /// The log was not read to its end, because it is too long or was read too slowly.
    pub is_cut: bool,
}

impl Services {
    /// The last preview job and its log: the build's output and the deployment's own lines.
    pub async fn build_log(&self, app: &App) -> AppResult<Option<(Job, Vec<(LogStream, String)>)>> {
        let jobs = self.platform.store.recent_jobs(app.id, JOBS_ON_PAGES).await?;
        let Some(job) = jobs.into_iter().find(|job| matches!(job.kind, JobKind::Preview { .. })) else {
            return Ok(None);
        };
        let lines = self.job_log(&job).await?;
        Ok(Some((job, lines)))
    }

    /// A window of the log of the last preview job. Its lines are identified by their numbers.
    pub async fn build_log_window(&self, app: &App, selection: Selection, place: Place) -> AppResult<LogPart> {
        let lines = self.build_log(app).await?.map(|(_, lines)| lines).unwrap_or_default();
        let examine = move || {
            let mut scan = Scan::new(selection, place);
            for (id, (stream, text)) in (1..).zip(lines) {
                scan.push(Passing { id: Some(id), at: None, is_deploy: stream == LogStream::Deploy, text });
            }
            scan.finish()
        };
        let owner = Owner::App(app.name.clone());
        let window = self.platform.cpu_work.run("build log", owner, EXAMINE_TIME, move |_| examine()).await?;
        Ok(LogPart { window, is_counted: true, is_cut: false })
    }

    /// The log of a job; only its end if it exceeds the limits.
    pub async fn job_log(&self, job: &Job) -> AppResult<Vec<(LogStream, String)>> {
        Ok(self.platform.store.last_log_lines(job.id, JOB_LINES_MAX, JOB_BYTES_MAX).await?)
    }

    /// The log of the app in an environment, from `tail` lines before the end. With `follow` it continues with new lines.
    pub fn app_log(
        &self,
        app: &App,
        environment: Environment,
        tail: u32,
        follow: bool,
    ) -> BoxStream<'static, AppResult<LogLine>> {
        let lines =
            self.platform.runtime.observation.logs(&app.name, app.id, environment, tail, follow).map_err(app_error);
        let (platform, app) = (self.platform.clone(), app.clone());
        let redacted = async move {
            let redaction = platform.redaction(&app).await?;
            let redact = move |line: LogLine| LogLine { text: redaction.string(line.text), ..line };
            Ok::<_, AppError>(lines.map_ok(redact))
        };
        let lines = futures_util::stream::once(redacted).try_flatten();
        lines.take_until(self.platform.lifecycle.draining.clone().cancelled_owned()).boxed()
    }

    /// How much the app prints in an environment; none if that is little or unknown.
    pub async fn app_log_rate(&self, app: &App, environment: Environment) -> Option<LogRate> {
        self.platform.runtime.observation.log_rate(&app.name, app.id, environment).await.ok().flatten()
    }

    /// A window of the app's log. Reads the whole log, unless its last lines are sufficient.
    pub async fn app_log_window(
        &self,
        app: &App,
        environment: Environment,
        selection: Selection,
        place: Place,
    ) -> AppResult<LogPart> {
        let is_counted = selection != Selection::default() || place != Place::End;
        // One more line than is shown, to know whether there are earlier ones.
        let tail = if is_counted { u32::MAX } else { u32::try_from(WINDOW_LINES + 1).unwrap_or(u32::MAX) };
        let scan = Scan::new(selection, place);
        let (scan, is_cut) = self
            .examine(app, environment, tail, scan, |scan, line| {
                scan.push(Passing { id: line.id(), at: line.at, is_deploy: false, text: line.text });
            })
            .await?;
        Ok(LogPart { window: scan.finish(), is_counted, is_cut })
    }

    /// The last lines of the app's log that the selection shows and that contain its words: at most `tail`, and no more
    /// than are kept of a run.
    pub async fn app_log_lines(
        &self,
        app: &App,
        environment: Environment,
        tail: u32,
        selection: Selection,
    ) -> AppResult<Vec<LogLine>> {
        let tail = tail.min(u32::try_from(LINES_MAX).unwrap_or(u32::MAX));
        let read = if selection == Selection::default() { tail } else { u32::MAX };
        let last = Tail::new(usize::try_from(tail).unwrap_or(LINES_MAX), BYTES_MAX);
        let state = (selection, Levels::default(), last);
        let ((_, _, last), _) = self
            .examine(app, environment, read, state, |(selection, levels, last), line| {
                let is_found = selection.needle.as_ref().is_none_or(|needle| needle.is_in(&line.text));
                if selection.shows(levels.next(&line.text)) && is_found {
                    last.push(line);
                }
            })
            .await?;
        Ok(last.into_lines())
    }

    /// The whole log of the app as text, with the time in front of each line.
    pub fn app_log_text(&self, app: &App, environment: Environment) -> BoxStream<'static, AppResult<String>> {
        let lines = self.app_log(app, environment, u32::MAX, false);
        let lines = lines.take_until(tokio::time::sleep(DOWNLOAD_TIME)).ready_chunks(TOGETHER);
        let texts = lines.map(|lines| {
            let mut text = String::new();
            for line in lines {
                let LogLine { at, text: line } = line?;
                if let Some(at) = at {
                    text.push_str(&at.to_string());
                    text.push(' ');
                }
                text.push_str(&line);
                text.push('\n');
            }
            Ok(text)
        });
        let mut bytes = 0;
        let fits = move |text: &AppResult<String>| {
            bytes += text.as_ref().map_or(0, String::len);
            std::future::ready(bytes <= WHOLE_BYTES_MAX)
        };
        texts.take_while(fits).boxed()
    }

    /// Passes each of the app's last lines to `take`, away from the threads that serve requests. Returns whether lines
    /// are missing at the end.
    async fn examine<S: Send + 'static>(
        &self,
        app: &App,
        environment: Environment,
        tail: u32,
        mut state: S,
        take: fn(&mut S, LogLine),
    ) -> AppResult<(S, bool)> {
        let deadline = tokio::time::Instant::now() + WHOLE_TIME;
        let lines = self.app_log(app, environment, tail, false).take_until(tokio::time::sleep_until(deadline));
        let mut lines = lines.chunks(TOGETHER).boxed();
        let mut bytes = 0;
        while let Some(together) = lines.next().await {
            let together = match together.into_iter().collect::<AppResult<Vec<_>>>() {
                Ok(together) => together,
                // Nothing was deployed, so there is no log.
                Err(AppError { kind: ErrorKind::NotFound, .. }) => return Ok((state, false)),
                Err(error) => return Err(error),
            };
            bytes += together.iter().map(|line| line.text.len() + 1).sum::<usize>();
            let work = move |_: &_| {
                for line in together {
                    take(&mut state, line);
                }
                state
            };
            let owner = Owner::App(app.name.clone());
            state = self.platform.cpu_work.run("log", owner, EXAMINE_TIME, work).await?;
            if bytes > WHOLE_BYTES_MAX {
                return Ok((state, true));
            }
        }
        Ok((state, tokio::time::Instant::now() >= deadline))
    }
}

fn app_error(error: RuntimeError) -> AppError {
    match error {
        RuntimeError::Gone => AppError::not_found("running version in this environment"),
        error if error.is_outage() || matches!(error, RuntimeError::ClusterRefused(_)) => {
            crate::jobs::runtime_unavailable(&error)
        }
        other => AppError::internal(&other),
    }
}
