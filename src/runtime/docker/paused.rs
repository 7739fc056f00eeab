//! The release that production ran before the current one: its container stays paused for a while, so that a roll back to
//! it starts nothing.
//!
//! A paused container keeps its memory and its address and gets no processor time. A roll back creates a new release, so
//! the container is renamed to that release before it is resumed. Paused containers are removed as soon as memory is short.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::super::{Deployment, FoundInstance, Instance, InstanceState, RuntimeError};
use super::inspect::found_instance;
use super::{DockerRuntime, container};
use crate::domain::{Environment, ReleaseNumber};
use crate::engine::{self, Fault};
use crate::gateway::RouteState;

/// Memory is short when less than this part of it is available, or less than [`RESERVE_MAX`].
const RESERVE_PART: u64 = 8;
/// More available memory than this is never short, in bytes.
const RESERVE_MAX: u64 = 2 << 30;

/// The memory of the engine's machine.
#[derive(Debug, Clone)]
pub struct HostMemory(Option<PathBuf>);

impl HostMemory {
    /// The machine that this process runs on.
    pub fn here() -> Self {
        Self(Some(PathBuf::from("/proc/meminfo")))
    }

    /// The engine is on another machine, whose memory is unknown.
    pub fn unknown() -> Self {
        Self(None)
    }

    /// Read from this file, which has the format of `/proc/meminfo`.
    #[cfg(test)]
    pub(super) fn of_file(path: PathBuf) -> Self {
        Self(Some(path))
    }

    /// Whether memory is short once another `bytes` are used. False if it is unknown.
    fn is_short(&self, bytes: u64) -> bool {
        let Some(text) = self.0.as_ref().and_then(|path| std::fs::read_to_string(path).ok()) else { return false };
        let field = |name: &str| -> Option<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
        };
        let Some((total, available)) = field("MemTotal:").zip(field("MemAvailable:")) else { return false };
        available.saturating_sub(bytes) < (total / RESERVE_PART).min(RESERVE_MAX)
    }
}

/// Ids of containers that are being stopped, so that none of them is resumed meanwhile.
#[derive(Debug, Default)]
pub(super) struct Ending(Mutex<HashSet<String>>);

impl Ending {
    fn begin(&self, id: &str) -> EndingGuard<'_> {
        self.ids().insert(id.to_owned());
        EndingGuard(self, id.to_owned())
    }

    fn has(&self, id: &str) -> bool {
        self.ids().contains(id)
    }

    fn ids(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct EndingGuard<'a>(&'a Ending, String);

impl Drop for EndingGuard<'_> {
    fn drop(&mut self) {
        self.0.ids().remove(&self.1);
    }
}

impl DockerRuntime {
    /// Stops the instances that a live release has replaced and that have no requests left. In production, the instance of
    /// the release before is paused instead, unless memory is short.
    pub(super) async fn retire(&self, live: &Deployment) -> Result<(), RuntimeError> {
        let Deployment { app, app_id, environment, .. } = live;
        let traffic = &self.inner.settings.traffic;
        let mut ending = Vec::new();
        {
            let _one_at_a_time = self.app_lock(*app_id).await;
            let containers = self.list(self.installation().app_filter(app, *app_id)).await?;
            let mut replaced: Vec<FoundInstance> = containers
                .into_iter()
                .filter_map(found_instance)
                // The instance of a later release may exist already.
                .filter(|found| found.instance.environment == *environment && found.instance.release < live.release)
                .filter(|found| !traffic.is_draining(*app_id, *environment, found.instance.release))
                .collect();
            replaced.sort_by_key(|found| std::cmp::Reverse(found.instance.release));
            // If a later release is live by now, this one is about to be replaced itself.
            let is_live = matches!(traffic.routes().state(app, *environment), Some(RouteState::Up(to)) if to.release == live.release);
            let keeps = is_live
                && self.inner.settings.keeps_replaced
                && *environment == Environment::Prod
                && !self.is_memory_short();
            for (at, found) in replaced.into_iter().enumerate() {
                let stays = keeps && at == 0 && self.pause(&found).await;
                if !stays {
                    ending.push((self.inner.ending.begin(&found.instance.id), found));
                }
            }
        }
        for (_ending, found) in ending {
            self.end_found(&found).await?;
        }
        Ok(())
    }

    /// Pauses a running instance. False if it cannot be paused: the caller then stops it.
    async fn pause(&self, found: &FoundInstance) -> bool {
        match found.state {
            InstanceState::Paused => return true,
            InstanceState::Running => {}
            InstanceState::Restarting | InstanceState::Created | InstanceState::Stopped => return false,
        }
        let pause = async {
            // Otherwise the engine would run it beside the live one after a restart of the engine.
            self.restart_when_it_ends(&found.instance.id, false).await?;
            let paused = engine::call(engine::QUICK, self.docker().pause_container(&found.instance.id)).await;
            paused.map_err(RuntimeError::from)
        };
        let paused: Result<(), RuntimeError> = pause.await;
        self.inner.paused.notify_one();
        if let Err(error) = &paused {
            tracing::warn!(app = %found.instance.app, release = found.instance.release.0, %error, "failed to pause a replaced release; it is ended");
        }
        paused.is_ok()
    }

    pub(super) async fn unpause(&self, id: &str) -> Result<(), RuntimeError> {
        match engine::call(engine::QUICK, self.docker().unpause_container(id)).await {
            // A conflict: it runs, or has ended.
            Ok(()) | Err(Fault::Conflict(_)) => Ok(()),
            Err(Fault::Other(why)) if why.contains("is not paused") => Ok(()),
            Err(fault) => Err(fault.into()),
        }
    }

    async fn end_found(&self, found: &FoundInstance) -> Result<(), RuntimeError> {
        if found.state == InstanceState::Paused {
            // A paused process does not receive SIGTERM.
            self.unpause(&found.instance.id).await?;
        }
        self.stop(&found.instance).await
    }

    /// Resumes the container of an earlier release as that of a new one with the same image and settings. None if it was
    /// removed, does not run, or has other secrets.
    pub(in super::super) async fn resume(
        &self,
        deployment: &Deployment,
        earlier: ReleaseNumber,
    ) -> Result<Option<Instance>, RuntimeError> {
        let Deployment { app, app_id, environment, release, .. } = deployment;
        let _one_at_a_time = self.app_lock(*app_id).await;
        let name = self.instance_name(app, *app_id, *environment, *release);
        let found = match self.inspect(&self.instance_name(app, *app_id, *environment, earlier)).await? {
            Some(found) if self.inner.ending.has(&found.id) => return Ok(None),
            Some(found) => {
                let wanted = container::variables(&deployment.spec, &deployment.secrets);
                let runs = matches!(found.state, InstanceState::Running | InstanceState::Paused);
                if !runs || !wanted.iter().all(|variable| found.variables.contains(variable)) {
                    return Ok(None);
                }
                let renamed = self.rename(&found.id, &name).await;
                match renamed {
                    Ok(()) => {}
                    Err(RuntimeError::Gone) => return Ok(None),
                    Err(error) => return Err(error),
                }
                found
            }
            // An earlier attempt of the same job may have renamed it already.
            None => match self.inspect(&name).await? {
                Some(found) if matches!(found.state, InstanceState::Running | InstanceState::Paused) => found,
                _ => return Ok(None),
            },
        };
        if found.state == InstanceState::Paused {
            self.unpause(&found.id).await?;
        }
        Ok(Some(Instance { release: *release, ..found.instance()? }))
    }

    async fn rename(&self, id: &str, name: &str) -> Result<(), RuntimeError> {
        let options = bollard::query_parameters::RenameContainerOptionsBuilder::new().name(name).build();
        Ok(engine::call(engine::QUICK, self.docker().rename_container(id, options)).await?)
    }

    /// Waits until an instance was paused since the last call.
    pub(in super::super) async fn next_pause(&self) {
        self.inner.paused.notified().await;
    }

    /// Paused instances.
    pub(in super::super) async fn paused(&self) -> Result<Vec<Instance>, RuntimeError> {
        let mut filter = self.installation().filter();
        filter.insert("status".to_owned(), vec!["paused".to_owned()]);
        let found = self.list(filter).await?.into_iter().filter_map(found_instance);
        Ok(found.map(|found| found.instance).collect())
    }

    /// Stops a paused instance, unless it was resumed as another release meanwhile.
    pub(in super::super) async fn end_replaced(&self, instance: &Instance) -> Result<(), RuntimeError> {
        let (found, _ending) = {
            let _one_at_a_time = self.app_lock(instance.app_id).await;
            let Some(found) = self.inspect(&instance.id).await? else { return Ok(()) };
            let state = found.state;
            let found = FoundInstance { instance: found.instance()?, state, serves: super::super::Serves::OwnRelease };
            if found.instance.release != instance.release {
                return Ok(());
            }
            (found, self.inner.ending.begin(&instance.id))
        };
        self.end_found(&found).await
    }

    pub(in super::super) fn is_memory_short(&self) -> bool {
        self.inner.settings.memory.is_short(0)
    }

    /// Before a release starts: removes paused instances while memory would be too short for it.
    pub(super) async fn make_room(&self, deployment: &Deployment) -> Result<(), RuntimeError> {
        let needed = u64::try_from(deployment.spec.limits.memory_bytes).unwrap_or_default();
        if !self.inner.settings.memory.is_short(needed) {
            return Ok(());
        }
        for instance in self.paused().await? {
            if !self.inner.settings.memory.is_short(needed) {
                break;
            }
            let _ending = self.inner.ending.begin(&instance.id);
            tracing::info!(app = %instance.app, release = instance.release.0, "memory is short: freeing a paused release");
            // Without a grace period: it has no requests, and the new release waits for its memory.
            self.remove(&instance.id).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_short_when_less_than_an_eighth_is_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("meminfo");
        let short = |total_mib: u64, available_mib: u64, bytes| {
            let text = format!(
                "MemTotal:       {} kB\nMemFree:        1 kB\nMemAvailable:   {} kB\n",
                total_mib * 1024,
                available_mib * 1024
            );
            std::fs::write(&file, text).expect("written");
            HostMemory::of_file(file.clone()).is_short(bytes)
        };
        assert!(!short(8192, 1024, 0));
        assert!(short(8192, 1023, 0));
        assert!(short(8192, 1100, 128 << 20), "with what is to be started");
        assert!(!short(256 * 1024, 3 * 1024, 0), "that is enough on any machine");
        assert!(!HostMemory::unknown().is_short(u64::MAX), "it is unknown");
    }
}
