//! Runs of scheduled jobs: executes a container to its end, and records its exit code and its log.
//!
//! Runs are independent of the queue, because a run of ten minutes must not delay a deployment of its app.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::context::{Failure, JobContext};
use super::outage::retry_during_outage;
use super::release::deployment;
use crate::domain::{App, AppId, Environment, Redaction, Release, Run, RunId, RunState, RunTrigger};
use crate::error::{AppError, AppResult};
use crate::followed_runs::FollowGuard;
use crate::output::LineSink;
use crate::platform::Platform;
use crate::runtime::{LeftRun, RunOutcome, RunSpec, RuntimeError};
use crate::store::runs::RunEnding;

/// Time limit of one run.
pub const TIME_LIMIT: Duration = Duration::from_mins(15);

/// The result of a run.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The result as it is stored.
    pub ending: RunEnding,
}

impl Ended {
    /// Whether the run ended with exit code 0.
    pub fn succeeded(&self) -> bool {
        self.ending.state == RunState::Succeeded
    }

    /// The failure of a job that depends on this run.
    pub fn failure(&self) -> Failure {
        let message = match (&self.ending.error, self.ending.exit_code) {
            (Some(error), _) => error.clone(),
            (None, Some(code)) => format!("A run of the new version ended with exit code {code}."),
            (None, None) => "A run of the new version did not end well.".to_owned(),
        };
        let lines: Vec<String> = self.ending.log.lines().rev().take(20).map(str::to_owned).collect();
        Failure::failed("run_failed", message)
            .hint("The last lines show why. Ask for a fix, or edit the code and deploy again.")
            .lines(lines.into_iter().rev().collect())
    }
}

/// Starts a run and returns at once. Refused while another run of the same environment is active.
pub async fn start(platform: &Arc<Platform>, app: &App, release: &Release, trigger: RunTrigger) -> AppResult<Run> {
    let open = platform.store.open_runs().await?;
    if open.iter().any(|(owner, run)| *owner == app.id && run.environment == release.environment) {
        return Err(AppError::conflict("already_running", "A run is going on already.").hint("Wait for its end."));
    }
    let (run, followed) = begin(platform, app, release, trigger).await?;
    let (platform, app, release, id) = (platform.clone(), app.clone(), release.clone(), run.id);
    platform.clone().lifecycle.tasks.spawn(async move {
        let _followed = followed;
        // When the builder stops, the container continues to run, and the next start attaches to it.
        let stopping = platform.lifecycle.draining.clone();
        let never = CancellationToken::new();
        tokio::select! {
            () = stopping.cancelled() => {}
            ended = carry_out(&platform, &app, &release, id, &never) => {
                if let Err(error) = ended {
                    tracing::warn!(app = %app.name, run = id.0, ?error, "failed to execute a run");
                }
            }
        }
    });
    Ok(run)
}

/// Executes a run of a release to its end, as part of a job. An outage is reported in the job's log and waited out like
/// in the rest of a deployment; the run can be cancelled. A job that was resumed continues with the run that its
/// earlier attempt started.
pub async fn run_to_end(
    context: &JobContext,
    app: &App,
    release: &Release,
    trigger: RunTrigger,
    log: &dyn LineSink,
) -> Result<Ended, Failure> {
    let platform = &context.platform;
    let is_ours = |owner: AppId, run: &Run| {
        (owner, run.environment, run.release, run.trigger) == (app.id, release.environment, release.number, trigger)
    };
    let open = platform.store.open_runs().await?;
    let begun = open.into_iter().find(|(owner, run)| is_ours(*owner, run));
    let (id, _followed) = if let Some((_, begun)) = begun {
        (begun.id, platform.followed_runs.follow(begun.id))
    } else {
        let (run, followed) = begin(platform, app, release, trigger).await?;
        (run.id, followed)
    };
    let spec = spec(platform, app, release, id).await?;
    let redaction = platform.redaction(app).await?;
    let printed = Mutex::new(Printed::default());
    let keep = Told { printed: &printed, redaction: &redaction, log };
    let outcome = retry_during_outage(context, || {
        lock(&printed).begin_again();
        Box::pin(platform.runtime.runs.run(&spec, &keep, &context.cancel))
    })
    .await;
    let text = printed.into_inner().unwrap_or_else(PoisonError::into_inner).text;
    match outcome {
        Ok(outcome) => Ok(end(platform, app.id, id, Ok(outcome), text).await?),
        Err(failure) => {
            let why = match &failure {
                Failure::Cancelled => RuntimeError::Cancelled.to_string(),
                Failure::Failed(error) => error.message.clone(),
            };
            end(platform, app.id, id, Err(why), text).await?;
            clear_away(platform, &spec);
            Err(failure)
        }
    }
}

/// The output of a run. Each attempt to read it starts with the first line, but each line is forwarded only once. The
/// runtime limits its size.
#[derive(Default)]
struct Printed {
    text: String,
    told: Vec<String>,
    place: usize,
}

impl Printed {
    /// Starts again at the run's first line.
    fn begin_again(&mut self) {
        self.text.clear();
        self.place = 0;
    }

    /// Stores a line. Returns true if it was not forwarded before.
    fn take(&mut self, line: &str) -> bool {
        keep_line(&mut self.text, line);
        let is_new = self.told.get(self.place).is_none_or(|told| told != line);
        if is_new {
            self.told.truncate(self.place);
            self.told.push(line.to_owned());
        }
        self.place += 1;
        is_new
    }
}

/// Stores a run's lines, and forwards those that were not forwarded before.
struct Told<'a> {
    printed: &'a Mutex<Printed>,
    redaction: &'a Redaction,
    log: &'a dyn LineSink,
}

impl LineSink for Told<'_> {
    fn line(&self, line: String) -> BoxFuture<'_, ()> {
        let line = self.redaction.string(line);
        if lock(self.printed).take(&line) { self.log.line(line) } else { Box::pin(std::future::ready(())) }
    }
}

/// Removes, in the background, the objects of a run whose result is not needed any more.
fn clear_away(platform: &Arc<Platform>, spec: &RunSpec) {
    let (platform, app, id) = (platform.clone(), spec.app.clone(), platform.runtime.runs.id_of(spec));
    platform.clone().lifecycle.tasks.spawn(async move {
        let mut patience = Patience::default();
        let work = async {
            while let Err(error) = platform.runtime.runs.end(&app, &id).await {
                if !error.is_outage() {
                    return tracing::warn!(%app, %error, "failed to clean up a run");
                }
                patience.pause().await;
            }
        };
        tokio::select! {
            // The next start of the builder finds it.
            () = platform.lifecycle.draining.cancelled() => {}
            () = work => {}
        }
    });
}

async fn begin(
    platform: &Platform,
    app: &App,
    release: &Release,
    trigger: RunTrigger,
) -> AppResult<(Run, Option<FollowGuard>)> {
    let at = platform.clock.now();
    let _begins = platform.run_begins.read().await;
    let run = platform.store.insert_run(app.id, release.environment, release.number, trigger, at).await?;
    let followed = platform.followed_runs.follow(run.id);
    Ok((run, followed))
}

async fn spec(platform: &Platform, app: &App, release: &Release, id: RunId) -> Result<RunSpec, Failure> {
    let deployment = deployment(platform, app, release).await?;
    Ok(RunSpec {
        app: deployment.app,
        app_id: deployment.app_id,
        environment: deployment.environment,
        release: deployment.release,
        run: id,
        image: deployment.image,
        spec: deployment.spec,
        secrets: deployment.secrets,
        time_limit: TIME_LIMIT,
    })
}

async fn carry_out(
    platform: &Arc<Platform>,
    app: &App,
    release: &Release,
    id: RunId,
    cancel: &CancellationToken,
) -> Result<(), Failure> {
    let spec = spec(platform, app, release, id).await?;
    let redaction = platform.redaction(app).await?;
    let printed = Mutex::new(String::new());
    let keep = |line: String| keep_line(&mut lock(&printed), &redaction.text(&line));
    let mut patience = Patience::default();
    let outcome = loop {
        lock(&printed).clear();
        let outcome = platform.runtime.runs.run(&spec, &keep, cancel).await;
        if !patience.waits_after(&outcome).await {
            break outcome;
        }
    };
    let text = printed.into_inner().unwrap_or_else(PoisonError::into_inner);
    let is_over = outcome.is_ok();
    end(platform, app.id, id, outcome.map_err(|error| error.to_string()), text).await?;
    if !is_over {
        clear_away(platform, &spec);
    }
    Ok(())
}

/// Follows a run that continued while the builder was stopped.
pub async fn take_up(platform: &Platform, left: &LeftRun) -> AppResult<()> {
    let redaction = platform.redaction(&platform.store.app_by_id(left.app_id).await?).await?;
    let printed = Mutex::new(String::new());
    let never = CancellationToken::new();
    let mut patience = Patience::default();
    let outcome = loop {
        lock(&printed).clear();
        let keep = |line: String| keep_line(&mut lock(&printed), &redaction.text(&line));
        let outcome = platform.runtime.runs.attach(left, TIME_LIMIT, &keep, &never).await;
        if !patience.waits_after(&outcome).await {
            break outcome;
        }
    };
    let text = printed.into_inner().unwrap_or_else(PoisonError::into_inner);
    end(platform, left.app_id, left.run, outcome.map_err(|error| error.to_string()), text).await?;
    Ok(())
}

/// Records the failure of a run whose objects disappeared before its end was seen.
pub async fn lost(platform: &Platform, app: AppId, run: RunId) -> AppResult<()> {
    end(platform, app, run, Err(RuntimeError::Gone.to_string()), String::new()).await?;
    Ok(())
}

/// Records that a run was stopped, because the job to which it belonged has ended.
pub async fn stopped(platform: &Platform, app: AppId, run: RunId) -> AppResult<()> {
    end(platform, app, run, Err(RuntimeError::Cancelled.to_string()), String::new()).await?;
    Ok(())
}

/// The growing pause between requests to an unavailable cluster. The run itself continues meanwhile.
struct Patience(Duration);

impl Default for Patience {
    fn default() -> Self {
        Self(Duration::from_millis(250))
    }
}

impl Patience {
    /// Pauses after an outage and returns `true`; returns `false` at once after any other result.
    async fn waits_after(&mut self, outcome: &Result<RunOutcome, RuntimeError>) -> bool {
        let Err(RuntimeError::ClusterUnavailable(why)) = outcome else { return false };
        tracing::warn!(why, "the cluster is unreachable; waiting for a run");
        self.pause().await;
        true
    }

    async fn pause(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(Duration::from_secs(5));
    }
}

fn lock<T>(printed: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    printed.lock().unwrap_or_else(PoisonError::into_inner)
}

fn keep_line(printed: &mut String, line: &str) {
    printed.push_str(line);
    printed.push('\n');
}

async fn end(
    platform: &Platform,
    app: AppId,
    id: RunId,
    outcome: Result<RunOutcome, String>,
    log: String,
) -> AppResult<Ended> {
    let (state, exit_code, error) = match outcome {
        Ok(outcome) => {
            let error = if outcome.timed_out {
                Some(format!("It took longer than {} minutes and was stopped.", TIME_LIMIT.as_secs() / 60))
            } else if outcome.oom {
                Some("It needed more memory than it may have and was stopped.".to_owned())
            } else {
                None
            };
            let well = error.is_none() && outcome.exit_code == Some(0);
            (if well { RunState::Succeeded } else { RunState::Failed }, outcome.exit_code, error)
        }
        Err(why) => (RunState::Failed, None, Some(why)),
    };
    let ending = RunEnding { state, exit_code, error, log };
    platform.store.end_run(id, ending.clone(), platform.clock.now()).await?;
    platform.store.forget_runs(app, platform.config.retention.runs).await?;
    tracing::info!(run = id.0, state = state.as_str(), exit_code, "run ended");
    Ok(Ended { ending })
}

/// The environment in which schedules run.
pub const SCHEDULED: Environment = Environment::Prod;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_come_again_are_told_once() {
        let mut printed = Printed::default();
        let mut told = Vec::new();
        let mut read = |lines: &[&str]| {
            printed.begin_again();
            told.extend(lines.iter().filter(|line| printed.take(line)).map(|line| (*line).to_owned()));
            printed.text.clone()
        };
        read(&["one", "two"]);
        let text = read(&["one", "two", "two", "three"]);
        assert_eq!(text, "one\ntwo\ntwo\nthree\n", "kept whole");
        assert_eq!(told, ["one", "two", "two", "three"]);
    }
}
