//! Limits: resources of the machine, costs of the model, and retention.

use std::time::Duration;

use super::source::{ConfigError, Key, Sources, key};
use crate::domain::JOBS_ON_PAGES;

pub(super) const KEYS: &[Key] = &[
    key("turn_max_steps", "SLIPWAY_TURN_MAX_STEPS", "60", "Answers of the model in one turn."),
    key(
        "turn_max_tokens",
        "SLIPWAY_TURN_MAX_TOKENS",
        "1500000",
        "Tokens read and written in one turn; those read from the cache do not count.",
    ),
    key("turn_max_usd", "SLIPWAY_TURN_MAX_USD", "5", "US dollars in one turn."),
    key(
        "app_max_usd_per_day",
        "SLIPWAY_APP_MAX_USD_PER_DAY",
        "20",
        "US dollars that one app's turns may cost in a day (UTC), where the model's price is known.",
    ),
    key("turn_max_minutes", "SLIPWAY_TURN_MAX_MINUTES", "30", "Minutes in one turn."),
    key("build_workers", "SLIPWAY_BUILD_WORKERS", "2", "Builds and deployments at once."),
    key(
        "kept_jobs",
        "SLIPWAY_KEPT_JOBS",
        "200",
        "Newest jobs of each app whose logs are kept. Conversations are kept whole.",
    ),
    key(
        "kept_job_records",
        "SLIPWAY_KEPT_JOB_RECORDS",
        "1000",
        "Newest ended jobs of each app whose state and error are kept. Jobs of messages and releases are kept with these.",
    ),
    key("kept_runs", "SLIPWAY_KEPT_RUNS", "100", "Newest runs of each app that are kept, with their output."),
    key(
        "kept_releases",
        "SLIPWAY_KEPT_RELEASES",
        "10",
        "Newest releases of each environment whose images are kept, so that one can go back to them.",
    ),
];

/// The limits of one turn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TurnCaps {
    /// Number of responses of the model.
    pub steps: u32,
    /// Input and output tokens, without those read from the cache.
    pub tokens: u64,
    /// US dollars, if the model's price is known.
    pub usd: f64,
    /// Wall time.
    pub time: Duration,
    /// US dollars per day for one app.
    pub app_usd_per_day: f64,
}

/// What is retained of each app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Number of newest jobs whose events are kept.
    pub jobs: u32,
    /// Number of newest ended jobs whose rows are kept, in addition to those that a turn or a release refers to.
    pub job_records: u32,
    /// Number of newest runs that are kept.
    pub runs: u32,
    /// Number of newest releases of each environment whose images are kept, in addition to the live ones.
    pub releases: u32,
}

/// Reads the limits of turns.
pub(super) fn turn_caps(sources: &Sources) -> Result<TurnCaps, ConfigError> {
    let above_zero = |name: &'static str| -> Result<f64, ConfigError> {
        let usd: f64 = sources.parse(name, "a number")?;
        if usd.is_finite() && usd > 0.0 { Ok(usd) } else { Err(sources.bad(name, "expected a number above 0")) }
    };
    Ok(TurnCaps {
        steps: sources.positive("turn_max_steps")?,
        tokens: sources.positive("turn_max_tokens")?,
        usd: above_zero("turn_max_usd")?,
        time: Duration::try_from_secs_f64(60.0 * above_zero("turn_max_minutes")?).unwrap_or(Duration::MAX),
        app_usd_per_day: above_zero("app_max_usd_per_day")?,
    })
}

pub(super) fn build_workers(sources: &Sources) -> Result<usize, ConfigError> {
    Ok(sources.positive::<u16>("build_workers")?.into())
}

pub(super) fn retention(sources: &Sources) -> Result<Retention, ConfigError> {
    Ok(Retention {
        jobs: sources.positive("kept_jobs")?,
        job_records: kept_job_records(sources)?,
        runs: sources.positive("kept_runs")?,
        releases: sources.positive("kept_releases")?,
    })
}

/// Pages show the newest jobs and those with logs, so at least these are kept.
fn kept_job_records(sources: &Sources) -> Result<u32, ConfigError> {
    let number: u32 = sources.parse("kept_job_records", "a number")?;
    if number < JOBS_ON_PAGES {
        return Err(sources.bad("kept_job_records", format!("expected a number from {JOBS_ON_PAGES}")));
    }
    Ok(number.max(sources.positive("kept_jobs")?))
}
