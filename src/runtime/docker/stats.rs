//! State and resource usage of a container, as the engine measures them.

use bollard::models::{ContainerCpuStats, ContainerMemoryStats, ContainerStatsResponse};
use bollard::query_parameters::StatsOptionsBuilder;
use futures_util::StreamExt;

use super::super::{InstanceState, RuntimeError, Stats};
use super::DockerRuntime;
use crate::domain::{AppId, AppName, Environment, ReleaseNumber};
use crate::engine::{self, Fault};

impl DockerRuntime {
    pub(in super::super) async fn stats(
        &self,
        app: &AppName,
        app_id: AppId,
        environment: Environment,
        release: ReleaseNumber,
    ) -> Result<Option<Stats>, RuntimeError> {
        let name = self.instance_name(app, app_id, environment, release);
        let Some(found) = self.inspect(&name).await? else { return Ok(None) };
        let is_running = found.state == InstanceState::Running;
        let stats = Stats {
            ready: u32::from(is_running),
            wanted: 1,
            restarts: found.restarts,
            memory_limit_bytes: found.memory_limit_bytes,
            ..Stats::default()
        };
        if !is_running {
            return Ok(Some(stats));
        }
        // Without `one_shot` the engine measures twice, a second apart, and returns both.
        let options = StatsOptionsBuilder::new().stream(false).one_shot(false).build();
        let mut measured = std::pin::pin!(self.docker().stats(&found.id, Some(options)));
        match engine::call(engine::QUICK, async { measured.next().await.transpose() }).await {
            Ok(Some(measured)) => Ok(Some(with_measured(stats, measured))),
            // It has exited meanwhile.
            Ok(None) | Err(Fault::NotFound(_) | Fault::Conflict(_)) => Ok(Some(Stats { ready: 0, ..stats })),
            Err(fault) => Err(fault.into()),
        }
    }
}

fn with_measured(stats: Stats, measured: ContainerStatsResponse) -> Stats {
    let cpu_millis = measured.cpu_stats.zip(measured.precpu_stats).and_then(|(now, before)| cpu_millis(&now, &before));
    Stats { memory_bytes: measured.memory_stats.and_then(memory_bytes), cpu_millis, ..stats }
}

/// Memory without the page cache, which the kernel frees on demand.
fn memory_bytes(memory: ContainerMemoryStats) -> Option<u64> {
    // The names in cgroup versions 1 and 2.
    let files = memory.stats.and_then(|s| s.get("total_inactive_file").or(s.get("inactive_file")).copied());
    Some(memory.usage?.saturating_sub(files.unwrap_or_default()))
}

/// Thousandths of a core, from two measurements of the container and of the whole machine.
fn cpu_millis(now: &ContainerCpuStats, before: &ContainerCpuStats) -> Option<u64> {
    let used = |stats: &ContainerCpuStats| stats.cpu_usage.as_ref()?.total_usage;
    let app = used(now)?.checked_sub(used(before)?)?;
    // None with the first measurement, because there is no earlier one.
    let machine = now.system_cpu_usage?.checked_sub(before.system_cpu_usage?)?;
    let cores = u128::from(now.online_cpus.unwrap_or(1));
    u64::try_from((u128::from(app) * cores * 1000).checked_div(u128::from(machine))?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn measured(value: serde_json::Value) -> ContainerStatsResponse {
        serde_json::from_value(value).expect("the engine's form")
    }

    #[test]
    fn use_is_what_grew_between_two_looks() {
        let stats = with_measured(
            Stats::default(),
            measured(json!({
                "memory_stats": { "usage": 30_000_000, "stats": { "inactive_file": 6_000_000 } },
                "precpu_stats": { "cpu_usage": { "total_usage": 5_000_000_000u64 }, "system_cpu_usage": 80_000_000_000u64 },
                "cpu_stats": {
                    "cpu_usage": { "total_usage": 5_250_000_000u64 },
                    "system_cpu_usage": 82_000_000_000u64,
                    "online_cpus": 2
                },
            })),
        );
        assert_eq!((stats.memory_bytes, stats.cpu_millis), (Some(24_000_000), Some(250)));
    }

    #[test]
    fn what_was_not_measured_is_not_guessed() {
        // The engine's answer for a container that was measured once, or that has just exited.
        let once = json!({
            "memory_stats": {},
            "precpu_stats": { "cpu_usage": { "total_usage": 0 } },
            "cpu_stats": { "cpu_usage": { "total_usage": 7 }, "system_cpu_usage": 9, "online_cpus": 2 },
        });
        for value in [once, json!({})] {
            assert_eq!(
                with_measured(Stats { wanted: 1, ..Stats::default() }, measured(value)),
                Stats { wanted: 1, ..Stats::default() }
            );
        }
    }
}
