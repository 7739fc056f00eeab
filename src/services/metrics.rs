//! Metrics for Prometheus.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Services;
use crate::bounded_work::BoundedWork;
use crate::error::{AppError, AppResult};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JobLabels {
    kind: String,
    state: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PoolLabels {
    pool: &'static str,
}

/// The metrics, updated on each request.
pub struct Metrics {
    registry: Registry,
    apps: Gauge<u64, AtomicU64>,
    streams: Gauge<u64, AtomicU64>,
    jobs: Family<JobLabels, Gauge<u64, AtomicU64>>,
    paused: Gauge<u64, AtomicU64>,
    work: WorkMetrics,
}

/// Metrics of the pools for work on foreign text.
#[derive(Default, Clone)]
struct WorkMetrics {
    running: Family<PoolLabels, Gauge<u64, AtomicU64>>,
    waiting: Family<PoolLabels, Gauge<u64, AtomicU64>>,
    refused: Family<PoolLabels, Counter>,
    stopped: Family<PoolLabels, Counter>,
}

impl WorkMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register("work_running", "Running work on foreign text", self.running.clone());
        registry.register("work_waiting", "Queued work on foreign text", self.waiting.clone());
        registry.register(
            "work_refused",
            "Work on foreign text that was rejected because the queue was full",
            self.refused.clone(),
        );
        registry.register("work_stopped", "Work on foreign text that reached its deadline", self.stopped.clone());
    }

    fn set(&self, pool: &BoundedWork) {
        let (labels, numbers) = (PoolLabels { pool: pool.name() }, pool.numbers());
        self.running.get_or_create(&labels).set(numbers.running);
        self.waiting.get_or_create(&labels).set(numbers.waiting);
        self.refused.get_or_create(&labels).inner().store(numbers.refused, Ordering::Relaxed);
        self.stopped.get_or_create(&labels).inner().store(numbers.stopped, Ordering::Relaxed);
    }
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut registry = Registry::with_prefix("slipway");
        let metrics = Self {
            apps: Gauge::default(),
            streams: Gauge::default(),
            jobs: Family::default(),
            paused: Gauge::default(),
            work: WorkMetrics::default(),
            registry: Registry::default(),
        };
        registry.register("apps", "Apps that exist", metrics.apps.clone());
        registry.register("event_streams", "Open event streams", metrics.streams.clone());
        registry.register("jobs", "Jobs by kind and state", metrics.jobs.clone());
        registry.register(
            "paused_releases",
            "Releases that were just replaced and stay paused; they serve no requests",
            metrics.paused.clone(),
        );
        metrics.work.register(&mut registry);
        Self { registry, ..metrics }
    }
}

impl Services {
    /// All metrics in the `OpenMetrics` text format.
    pub async fn metrics(&self) -> AppResult<String> {
        let metrics = &self.metrics;
        metrics.apps.set(self.platform.store.count_apps().await?);
        metrics.streams.set(self.platform.events.open_streams() as u64);
        metrics.jobs.clear();
        for (kind, state, count) in self.platform.store.count_jobs().await? {
            metrics.jobs.get_or_create(&JobLabels { kind, state }).set(count);
        }
        // While the runtime does not answer, the last number stands.
        if let Some(standby) = &self.platform.runtime.standby
            && let Ok(paused) = standby.paused().await
        {
            metrics.paused.set(paused.len() as u64);
        }
        metrics.work.set(&self.platform.cpu_work);
        metrics.work.set(&self.platform.workspace_work);
        metrics.work.set(&self.platform.export_work);
        let mut text = String::new();
        encode(&mut text, &metrics.registry).map_err(|error| AppError::internal(&error))?;
        Ok(text)
    }
}
