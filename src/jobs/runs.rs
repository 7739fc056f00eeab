//! Runs of scheduled jobs: a container to its end, its exit code and its log.
//!
//! They stand beside the queue: a run of ten minutes must not hold up a deployment of its app.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::context::Failure;
use super::rollout;
use crate::deploy::{DeployError, LeftRun, RunOutcome, RunSpec};
use crate::domain::{App, AppId, Environment, Release, Run, RunId, RunState, RunTrigger};
use crate::error::{AppError, AppResult};
use crate::platform::Platform;
use crate::store::runs::RunEnding;

/// How long one run may take.
pub const TIME_LIMIT: Duration = Duration::from_mins(15);
/// How much of what a run prints is kept, in bytes.
const LOG_MAX: usize = 256 * 1024;
/// Runs of an app that are kept.
const KEPT_RUNS: u32 = 100;

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// As it is kept.
    pub ending: RunEnding,
}

impl Ended {
    /// Exit code 0.
    pub fn succeeded(&self) -> bool {
        self.ending.state == RunState::Succeeded
    }

    /// As the failure of a job that depended on it.
    pub fn failure(&self) -> Failure {
        let message = match (&self.ending.error, self.ending.exit_code) {
            (Some(error), _) => error.clone(),
            (None, Some(code)) => format!("A run of the new version ended with exit code {code}."),
            (None, None) => "A run of the new version did not end well.".to_owned(),
        };
        let lines: Vec<String> = self.ending.log.lines().rev().take(20).map(str::to_owned).collect();
        Failure::failed("run_failed", message)
            .hint("What it printed last says why. Ask for a fix, or mend it and deploy again.")
            .lines(lines.into_iter().rev().collect())
    }
}

/// Starts a run and answers at once. Refused while another run of the same environment goes on.
pub async fn start(platform: &Arc<Platform>, app: &App, release: &Release, trigger: RunTrigger) -> AppResult<Run> {
    let open = platform.store.open_runs().await?;
    if open.iter().any(|(owner, run)| *owner == app.id && run.environment == release.environment) {
        return Err(AppError::conflict("already_running", "A run is going on already.").hint("Wait for its end."));
    }
    let run = begin(platform, app, release, trigger).await?;
    let (platform, app, release, id) = (platform.clone(), app.clone(), release.clone(), run.id);
    platform.clone().lifecycle.tasks.spawn(async move {
        // Left alone when the builder stops: its container goes on, and is attached to again.
        let stopping = platform.lifecycle.draining.clone();
        let never = CancellationToken::new();
        tokio::select! {
            () = stopping.cancelled() => {}
            ended = carry_out(&platform, &app, &release, id, &never, &|_| {}) => {
                if let Err(error) = ended {
                    tracing::warn!(app = %app.name, run = id.0, ?error, "run could not be carried out");
                }
            }
        }
    });
    Ok(run)
}

/// Runs a release to its end, as part of a job.
pub async fn run_to_end(
    platform: &Arc<Platform>,
    app: &App,
    release: &Release,
    trigger: RunTrigger,
    cancel: &CancellationToken,
    log: &(dyn Fn(String) + Send + Sync),
) -> Result<Ended, Failure> {
    let run = begin(platform, app, release, trigger).await?;
    carry_out(platform, app, release, run.id, cancel, log).await
}

async fn begin(platform: &Platform, app: &App, release: &Release, trigger: RunTrigger) -> AppResult<Run> {
    let at = platform.clock.now();
    Ok(platform.store.insert_run(app.id, release.environment, release.number, trigger, at).await?)
}

async fn carry_out(
    platform: &Platform,
    app: &App,
    release: &Release,
    id: RunId,
    cancel: &CancellationToken,
    log: &(dyn Fn(String) + Send + Sync),
) -> Result<Ended, Failure> {
    let deployment = rollout::deployment(platform, app, release).await?;
    let spec = RunSpec {
        app: deployment.app,
        app_id: deployment.app_id,
        environment: deployment.environment,
        release: deployment.release,
        run: id,
        image: deployment.image,
        spec: deployment.spec,
        secrets: deployment.secrets,
        time_limit: TIME_LIMIT,
    };
    let redaction = platform.redaction(app).await?;
    let printed = Mutex::new(String::new());
    let keep = |line: String| {
        let line = redaction.string(line);
        keep_line(&printed, &line);
        log(line);
    };
    let mut patience = Patience::default();
    let outcome = loop {
        lock(&printed).clear();
        let outcome = platform.runtime.run(&spec, &keep, cancel).await;
        if !patience.waits_after(&outcome).await {
            break outcome;
        }
    };
    let text = printed.into_inner().unwrap_or_else(PoisonError::into_inner);
    let was_cancelled = matches!(outcome, Err(DeployError::Cancelled));
    let ended = end(platform, app.id, id, outcome, text).await?;
    if was_cancelled { Err(Failure::Cancelled) } else { Ok(ended) }
}

/// Goes on with a run that an earlier builder left behind.
pub async fn take_up(platform: &Platform, left: &LeftRun) -> AppResult<()> {
    let redaction = platform.redaction(&platform.store.app_by_id(left.app_id).await?).await?;
    let printed = Mutex::new(String::new());
    let never = CancellationToken::new();
    let mut patience = Patience::default();
    let outcome = loop {
        lock(&printed).clear();
        let keep = |line: String| keep_line(&printed, &redaction.text(&line));
        let outcome = platform.runtime.attach_run(left, TIME_LIMIT, &keep, &never).await;
        if !patience.waits_after(&outcome).await {
            break outcome;
        }
    };
    let text = printed.into_inner().unwrap_or_else(PoisonError::into_inner);
    end(platform, left.app_id, left.run, outcome, text).await?;
    Ok(())
}

/// Says that nothing is left of a run whose end nobody saw.
pub async fn lost(platform: &Platform, app: AppId, run: RunId) -> AppResult<()> {
    end(platform, app, run, Err(DeployError::Gone), String::new()).await?;
    Ok(())
}

/// Pauses between questions to a cluster that is away: the run itself goes on without it.
struct Patience(Duration);

impl Default for Patience {
    fn default() -> Self {
        Self(Duration::from_millis(250))
    }
}

impl Patience {
    /// Pauses after an outage; `false` at once after all else.
    async fn waits_after(&mut self, outcome: &Result<RunOutcome, DeployError>) -> bool {
        let Err(DeployError::ClusterUnavailable(why)) = outcome else { return false };
        tracing::warn!(why, "the cluster is away; a run is waited for");
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(Duration::from_secs(5));
        true
    }
}

fn lock(printed: &Mutex<String>) -> std::sync::MutexGuard<'_, String> {
    printed.lock().unwrap_or_else(PoisonError::into_inner)
}

fn keep_line(printed: &Mutex<String>, line: &str) {
    let mut printed = lock(printed);
    if printed.len() + line.len() < LOG_MAX {
        printed.push_str(line);
        printed.push('\n');
    }
}

async fn end(
    platform: &Platform,
    app: AppId,
    id: RunId,
    outcome: Result<RunOutcome, DeployError>,
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
        Err(DeployError::Cancelled) => (RunState::Failed, None, Some("It was stopped.".to_owned())),
        Err(error) => (RunState::Failed, None, Some(error.to_string())),
    };
    let ending = RunEnding { state, exit_code, error, log };
    platform.store.end_run(id, ending.clone(), platform.clock.now()).await?;
    platform.store.forget_runs(app, KEPT_RUNS).await?;
    tracing::info!(run = id.0, state = state.as_str(), exit_code, "run ended");
    Ok(Ended { ending })
}

/// The environment that the schedule drives.
pub const SCHEDULED: Environment = Environment::Prod;
