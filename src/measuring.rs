//! Measures running apps: their requests as the gateway counts them, and memory and CPU as the runtime reports them.
//!
//! Every five minutes there is a row for each environment that runs. Rows instead of memory, because a day of a hundred
//! apps takes some megabytes, and because it survives a restart.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use jiff::Timestamp;

use crate::domain::{App, Environment, TemplateKind};
use crate::platform::Platform;
use crate::runtime::Stats;
use crate::store::measurements::Measurement;
use crate::store::StoreError;

/// Length of an interval.
pub const INTERVAL: Duration = Duration::from_mins(5);
/// Number of environments that are measured at the same time. An engine takes a second for each.
const TOGETHER: usize = 2;
/// Timeout for one environment.
const LIMIT: Duration = Duration::from_secs(10);

/// The start of the interval that contains a time.
pub fn interval_of(at: Timestamp) -> Timestamp {
    let seconds = i64::try_from(INTERVAL.as_secs()).unwrap_or(1);
    Timestamp::from_second(at.as_second() - at.as_second().rem_euclid(seconds)).unwrap_or(at)
}

/// Measures at the end of each interval.
pub async fn run(platform: Arc<Platform>) {
    loop {
        let now = platform.clock.now();
        let interval = interval_of(now);
        let passed = Duration::try_from(now.duration_since(interval)).unwrap_or_default();
        tokio::time::sleep(INTERVAL.saturating_sub(passed)).await;
        if let Err(error) = measure(&platform, interval, true).await {
            tracing::warn!(%error, "failed to record measurements");
        }
    }
}

/// Records the requests of the current interval, before the builder stops.
pub async fn record_rest(platform: &Platform) {
    if let Err(error) = measure(platform, interval_of(platform.clock.now()), false).await {
        tracing::warn!(%error, "failed to record the last measurements");
    }
}

/// Records an interval. `with_usage`: asks the runtime.
pub async fn measure(platform: &Platform, interval: Timestamp, with_usage: bool) -> Result<(), StoreError> {
    let mut running = Vec::new();
    for (id, _) in platform.store.app_names().await? {
        // It may be deleted meanwhile.
        let Ok(app) = platform.store.app_by_id(id).await else { continue };
        if platform.template(&app).is_ok_and(|template| template.manifest.kind != TemplateKind::Job) {
            let has_release = |environment: &Environment| app.environment(*environment).release.is_some();
            running.extend(Environment::ALL.into_iter().filter(has_release).map(|one| (app.clone(), one)));
        }
    }
    let measured = stream::iter(running).map(|(app, environment)| async move {
        let stats = if with_usage { usage(platform, &app, environment).await } else { None };
        let stats = stats.unwrap_or_default();
        let seen = platform.gateway.routes().seen(&app.name);
        let counted = seen.map(|seen| seen.take_counted(environment)).unwrap_or_default();
        let is_something = counted.requests() > 0 || stats.memory_bytes.is_some() || stats.cpu_millis.is_some();
        is_something.then(|| Measurement {
            app: app.id,
            environment,
            at: interval,
            errors: counted.errors,
            latencies: counted.to_bytes(),
            memory: stats.memory_bytes,
            cpu: stats.cpu_millis,
        })
    });
    let measured: Vec<_> = measured.buffer_unordered(TOGETHER).filter_map(std::future::ready).collect().await;
    if measured.is_empty() { Ok(()) } else { platform.store.record_measurements(measured).await }
}

async fn usage(platform: &Platform, app: &App, environment: Environment) -> Option<Stats> {
    let release = app.environment(environment).release?;
    let stats = platform.runtime.observation.stats(&app.name, app.id, environment, release);
    tokio::time::timeout(LIMIT, stats).await.ok()?.ok()?
}
