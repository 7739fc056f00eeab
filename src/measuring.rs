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
use crate::store::StoreError;
use crate::store::measurements::Measurement;

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
            let seen = platform.gateway.routes().seen(&app.name);
            for environment in Environment::ALL.into_iter().filter(has_release) {
                // Now, and not after the runtime has answered for all of them.
                let counted = seen.as_ref().map(|seen| seen.take_counted(environment)).unwrap_or_default();
                running.push((app.clone(), environment, counted));
            }
        }
    }
    let measured = stream::iter(running).map(|(app, environment, counted)| async move {
        let stats = if with_usage { usage(platform, &app, environment).await } else { None };
        let stats = stats.unwrap_or_default();
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

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::{HeaderValue, Request};
    use jiff::SignedDuration;

    use super::*;
    use crate::gateway::{ClientInfo, RouteState};
    use crate::jobs::testing::Scene;
    use crate::services::Services;
    use crate::services::measurements::INTERVALS;

    async fn ask(scene: &Scene) {
        let host = HeaderValue::from_static("tides.localhost");
        let client = ClientInfo { ip: [127, 0, 0, 1].into(), is_proxy: false, scheme: "http", host };
        let request = Request::get("/high?secret=1").body(Body::empty()).expect("a request");
        let answer = scene.platform.gateway.handle(&scene.app.name, Environment::Preview, &client, request).await;
        assert_eq!(answer.status(), 503);
    }

    #[tokio::test]
    async fn requests_and_usage_are_recorded_in_intervals() {
        let scene = Scene::of("simple-api").await;
        scene.live(Environment::Preview).await;
        let routes = scene.platform.gateway.routes();
        routes.are_known();
        let _ = routes.set_state(&scene.app.name, Environment::Preview, RouteState::Stopped);
        let stats = Stats { memory_bytes: Some(9 << 20), cpu_millis: Some(12), ..Stats::default() };
        scene.memory.with(|state| state.stats = Some(stats));
        let services = Services::new(scene.platform.clone(), scene.jobs.clone());
        let app = scene.app_now().await;
        let day = async || services.measurements(&app, Environment::Preview).await.expect("a day");

        ask(&scene).await;
        assert_eq!(day().await.iter().map(|measured| measured.counted.requests()).sum::<u64>(), 1, "not recorded yet");
        let interval = interval_of(scene.platform.clock.now());
        let before = interval - SignedDuration::try_from(INTERVAL).expect("short");
        measure(&scene.platform, before, true).await.expect("recorded");
        ask(&scene).await;
        // The builder stops and starts within an interval.
        record_rest(&scene.platform).await;
        ask(&scene).await;
        record_rest(&scene.platform).await;
        ask(&scene).await;

        let day = day().await;
        assert_eq!((day.len(), INTERVAL * 288), (INTERVALS, Duration::from_hours(24)));
        let of = |at| day.iter().find(|measured| measured.at == at).expect("an interval");
        let first = of(before);
        assert_eq!((first.counted.requests(), first.counted.errors), (1, 1));
        assert_eq!((first.memory_bytes, first.cpu_millis), (Some(9 << 20), Some(12)));
        assert_eq!(day.iter().map(|measured| measured.counted.errors).sum::<u64>(), 4);
        assert!(
            services
                .measurements(&app, Environment::Prod)
                .await
                .expect("a day")
                .iter()
                .all(|measured| { measured.counted.requests() == 0 && measured.memory_bytes.is_none() })
        );
    }
}
