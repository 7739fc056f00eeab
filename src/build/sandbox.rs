//! Runs build steps: a separate network for each build, and containers with few rights and limits on all resources.

use std::collections::HashMap;
use std::time::Duration;

use bollard::Docker;
use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptionsBuilder, ListContainersOptionsBuilder, LogsOptionsBuilder,
    RemoveContainerOptionsBuilder, WaitContainerOptionsBuilder,
};
use futures_util::StreamExt;

use super::log::Output;
use super::{BuildError, ImageBuilder};
use crate::engine::{self, Fault, seccomp, subnet};

/// Memory limit of one step in bytes, without swap.
const MEMORY_BYTES: i64 = 1024 * 1024 * 1024;
/// Cores that one step may use, in billionths.
const NANO_CPUS: i64 = 2_000_000_000;
/// Lower than the 1024 of an app's container, so that apps have priority on a busy machine.
const CPU_SHARES: i64 = 512;
/// Limit of processes and threads of one step.
const PROCESSES: i64 = 512;
/// Capabilities that `pip`, `npm` and `apt-get` need as root: to change owners of files, and to fetch as another user.
const CAPABILITIES: [&str; 6] = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "SETGID", "SETUID"];
/// Prefix of a build's objects in the engine. App names cannot contain a dot, so they never have it.
const NAME_PREFIX: &str = "slipway.build-";
/// Interval between checks of the data written by a step.
const SIZE_CHECKED_EVERY: Duration = Duration::from_secs(1);
/// How long a step's output is read after its end; normally the output ends at once.
const LOG_GRACE: Duration = Duration::from_secs(5);
/// The exit code of a process that was killed because of its memory limit.
const KILLED: i64 = 137;

/// A container of a successful step, before it is committed as an image.
pub(super) struct Ended<'a> {
    pub(super) id: String,
    room: &'a mut Room,
}

impl Ended<'_> {
    /// Removes the container.
    pub(super) async fn remove(self) -> Result<(), Fault> {
        self.room.remove_container().await
    }
}

/// The objects of a running build in the engine. They are removed in the background when this is dropped.
pub(super) struct Room {
    docker: Docker,
    container: Option<String>,
    network: Option<String>,
}

impl Room {
    pub(super) fn new(docker: Docker) -> Self {
        Self { docker, container: None, network: None }
    }

    /// Removes all of these objects.
    pub(super) async fn close(mut self) -> Result<(), Fault> {
        self.remove_container().await?;
        if let Some(network) = self.network.clone() {
            subnet::remove(&self.docker, &network).await?;
            self.network = None;
        }
        Ok(())
    }

    async fn remove_container(&mut self) -> Result<(), Fault> {
        if let Some(container) = self.container.clone() {
            remove_container(&self.docker, &container).await?;
            self.container = None;
        }
        Ok(())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let (container, network) = (self.container.take(), self.network.take());
        if container.is_none() && network.is_none() {
            return;
        }
        let docker = self.docker.clone();
        // Without a runtime, the next start removes it.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            let removed = async {
                if let Some(container) = container {
                    remove_container(&docker, &container).await?;
                }
                match network {
                    Some(network) => subnet::remove(&docker, &network).await,
                    None => Ok(()),
                }
            };
            if let Err(fault) = removed.await {
                tracing::warn!(%fault, "failed to clean up a stopped build; the next start retries");
            }
        });
    }
}

async fn remove_container(docker: &Docker, id: &str) -> Result<(), Fault> {
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    match engine::call(engine::SLOW, docker.remove_container(id, Some(options))).await {
        Ok(()) | Err(Fault::NotFound(_)) => Ok(()),
        Err(Fault::Conflict(why)) if why.contains("already in progress") => Ok(()),
        Err(fault) => Err(fault),
    }
}

impl ImageBuilder {
    /// Runs a command in a container of `image` to its end, and forwards its output.
    pub(super) async fn run_step<'a>(
        &self,
        room: &'a mut Room,
        image: &str,
        command: Vec<String>,
        shown: &str,
        output: &mut Output<'_>,
    ) -> Result<Ended<'a>, BuildError> {
        let network = self.network(room).await?;
        let labels = self.settings.installation.own_labels();
        let name = format!("{network}-{}", hex::encode(rand::random::<[u8; 4]>()));
        let options = CreateContainerOptionsBuilder::new().name(&name).build();
        let body = container(image, command, network, labels, self.settings.image_max_bytes);
        room.container = Some(name.clone());
        let made = engine::call(engine::SLOW, self.docker.create_container(Some(options), body)).await?;
        engine::call(engine::SLOW, self.docker.start_container(&made.id, None)).await.map_err(cannot_start)?;
        let code = self.follow(&made.id, output).await?;
        match code {
            0 => Ok(Ended { id: made.id, room }),
            code => {
                let oom = self.was_killed_for_memory(&made.id).await?;
                room.remove_container().await?;
                let code = if oom { KILLED } else { code };
                let message = format!("The command '{shown}' returned a non-zero code: {code}");
                Err(output.failed(&message).await)
            }
        }
    }

    /// Reads a step's output while it runs, and checks how much it writes. Returns its exit code.
    async fn follow(&self, id: &str, output: &mut Output<'_>) -> Result<i64, BuildError> {
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true).follow(true).tail("all").build();
        let mut frames = std::pin::pin!(self.docker.logs(id, Some(options)));
        let wait = WaitContainerOptionsBuilder::new().condition("not-running").build();
        let mut wait = std::pin::pin!(self.docker.wait_container(id, Some(wait)));
        let mut size = tokio::time::interval(SIZE_CHECKED_EVERY);
        size.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        size.tick().await;
        let mut code = None;
        let mut is_read = false;
        while code.is_none() || !is_read {
            tokio::select! {
                frame = frames.next(), if !is_read => match frame {
                    Some(Ok(frame)) => output.take(&String::from_utf8_lossy(&frame.into_bytes())).await,
                    Some(Err(error)) => return Err(Fault::from(error).into()),
                    None => is_read = true,
                },
                ended = wait.next(), if code.is_none() => code = Some(exit_code(ended)?),
                _ = size.tick(), if code.is_none() => self.check_written(id).await?,
                () = tokio::time::sleep(LOG_GRACE), if code.is_some() => is_read = true,
            }
        }
        output.finish_line().await;
        self.check_written(id).await?;
        Ok(code.unwrap_or_default())
    }

    async fn check_written(&self, id: &str) -> Result<(), BuildError> {
        let options = InspectContainerOptionsBuilder::new().size(true).build();
        let found = engine::call(engine::SLOW, self.docker.inspect_container(id, Some(options))).await?;
        let written = found.size_rw.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or_default();
        let limit = self.settings.image_max_bytes;
        if written > limit { Err(BuildError::TooLarge { limit }) } else { Ok(()) }
    }

    async fn was_killed_for_memory(&self, id: &str) -> Result<bool, BuildError> {
        let found = engine::call(engine::QUICK, self.docker.inspect_container(id, None)).await?;
        Ok(found.state.and_then(|state| state.oom_killed).unwrap_or_default())
    }

    /// The build's own network, created at its first step after a check of the packet filter rules.
    async fn network<'a>(&self, room: &'a mut Room) -> Result<&'a str, BuildError> {
        if room.network.is_none() {
            let name = format!("{NAME_PREFIX}{}-{}", self.process, hex::encode(rand::random::<[u8; 4]>()));
            let (docker, installation) = (&self.docker, &self.settings.installation);
            room.network = Some(name.clone());
            let making = self.subnets.create(docker, installation, &name, installation.own_labels());
            let (made, _) = tokio::join!(making, self.settings.firewall.ensure());
            let Some(made) = made? else {
                return Err(BuildError::Failed {
                    message: "No network could be created for the build: all addresses are in use.".to_owned(),
                    lines: Vec::new(),
                });
            };
            self.settings.firewall.note_interface(&made.interface);
        }
        Ok(room.network.as_deref().unwrap_or_default())
    }

    /// Removes leftovers of an earlier process's builds from the engine. Their names identify them, because a container
    /// inherits the labels of its image.
    ///
    /// # Errors
    /// If the engine does not answer.
    pub async fn remove_leftovers(&self) -> Result<(), BuildError> {
        let own = format!("{NAME_PREFIX}{}", self.process);
        let is_left = |name: &str| name.starts_with(NAME_PREFIX) && !name.starts_with(&own);
        let filter = self.settings.installation.filter();
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filter).build();
        let containers = engine::call(engine::SLOW, self.docker.list_containers(Some(options))).await?;
        for container in containers {
            if container.names.iter().flatten().any(|name| is_left(name.trim_start_matches('/'))) {
                remove_container(&self.docker, &container.id.unwrap_or_default()).await?;
            }
        }
        for network in subnet::list(&self.docker, filter).await? {
            if is_left(&network.name.unwrap_or_default()) {
                subnet::remove(&self.docker, &network.id.unwrap_or_default()).await?;
            }
        }
        Ok(())
    }
}

fn exit_code(
    ended: Option<Result<bollard::models::ContainerWaitResponse, bollard::errors::Error>>,
) -> Result<i64, BuildError> {
    match ended {
        Some(Ok(answer)) => Ok(answer.status_code),
        // Any code other than 0 is reported as an error.
        Some(Err(bollard::errors::Error::DockerContainerWaitError { code, .. })) => Ok(code),
        Some(Err(error)) => Err(Fault::from(error).into()),
        None => Err(Fault::Unavailable("it closed the line".to_owned()).into()),
    }
}

/// The engine's reason for not starting a step, without the runtime's internals.
fn cannot_start(fault: Fault) -> BuildError {
    match fault {
        Fault::NotFound(why) | Fault::Conflict(why) | Fault::Other(why) => {
            let why = why.rsplit_once("unable to start container process: ").map_or(why.as_str(), |(_, end)| end);
            let message =
                format!("A step of the build cannot be started: {}", why.trim_end_matches(": unknown").trim());
            BuildError::Failed { message, lines: Vec::new() }
        }
        outage => outage.into(),
    }
}

fn container(
    image: &str,
    command: Vec<String>,
    network: &str,
    labels: HashMap<String, String>,
    image_max_bytes: u64,
) -> ContainerCreateBody {
    let limit =
        |name: &str, value: i64| ResourcesUlimits { name: Some(name.to_owned()), soft: Some(value), hard: Some(value) };
    let log = [("max-size", "10m"), ("max-file", "2"), ("compress", "false")];
    let host = HostConfig {
        memory: Some(MEMORY_BYTES),
        memory_swap: Some(MEMORY_BYTES),
        nano_cpus: Some(NANO_CPUS),
        cpu_shares: Some(CPU_SHARES),
        pids_limit: Some(PROCESSES),
        // Only lower limits: on some machines the engine cannot raise any.
        ulimits: Some(vec![limit("core", 0), limit("fsize", i64::try_from(image_max_bytes).unwrap_or(i64::MAX))]),
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(CAPABILITIES.map(str::to_owned).into()),
        security_opt: Some(seccomp::security_options()),
        privileged: Some(false),
        ipc_mode: Some("private".to_owned()),
        restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None }),
        log_config: Some(HostConfigLogConfig {
            typ: Some("local".to_owned()),
            config: Some(log.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
        }),
        network_mode: Some(network.to_owned()),
        publish_all_ports: Some(false),
        ..Default::default()
    };
    ContainerCreateBody {
        hostname: Some("build".to_owned()),
        image: Some(image.to_owned()),
        // The whole command: the image's entrypoint is not used.
        entrypoint: Some(command),
        labels: Some(labels),
        host_config: Some(host),
        ..Default::default()
    }
}
