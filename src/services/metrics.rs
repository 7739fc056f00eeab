//! Numbers for Prometheus.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Services;
use crate::error::{AppError, AppResult};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JobLabels {
    kind: String,
    state: String,
}

/// The numbers, filled anew each time somebody asks.
pub struct Metrics {
    registry: Registry,
    apps: Gauge<u64, AtomicU64>,
    streams: Gauge<u64, AtomicU64>,
    jobs: Family<JobLabels, Gauge<u64, AtomicU64>>,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut registry = Registry::with_prefix("slipway");
        let metrics = Self {
            apps: Gauge::default(),
            streams: Gauge::default(),
            jobs: Family::default(),
            registry: Registry::default(),
        };
        registry.register("apps", "Apps that exist", metrics.apps.clone());
        registry.register("event_streams", "Open event streams", metrics.streams.clone());
        registry.register("jobs", "Jobs by kind and state", metrics.jobs.clone());
        Self { registry, ..metrics }
    }
}

impl Services {
    /// All numbers, as Prometheus reads them.
    pub async fn metrics(&self) -> AppResult<String> {
        let metrics = &self.metrics;
        metrics.apps.set(self.platform.store.count_apps().await?);
        metrics.streams.set(self.platform.events.listeners() as u64);
        metrics.jobs.clear();
        for (kind, state, count) in self.platform.store.count_jobs().await? {
            metrics.jobs.get_or_create(&JobLabels { kind, state }).set(count);
        }
        let mut text = String::new();
        encode(&mut text, &metrics.registry).map_err(|error| AppError::internal(&error))?;
        Ok(text)
    }
}
