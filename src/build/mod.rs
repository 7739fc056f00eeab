//! Images: from a commit's files to an image in the engine, and to the registry if there is one.
//!
//! Owns base images, image tags, build logs, and the removal of images. Independent of
//! containers of apps, git, events and the database: the input of a build is a tar, its output are lines.

mod base;
mod clean;
mod context;
mod dockerfile;
mod ledger;
mod log;
mod push;
mod registry;
mod sandbox;
mod steps;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::BuildImageOptionsBuilder;
use bytes::Bytes;
use futures_util::StreamExt;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

pub use clean::ImageDisk;
pub use ledger::Ledger;

use crate::domain::{AppId, AppName, ImageRef, VersionId};
use crate::engine::subnet::{SubnetPool, Subnets};
use crate::engine::{self, Fault};
use crate::firewall::Firewall;
use crate::output::{LineSink, outage};
use crate::ownership::Installation;

/// Repository of cached images of steps.
const STEP_REPOSITORY: &str = "slipway-step";

/// Default limit for the size of an image.
const IMAGE_MAX_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// The engine's name for no network: its own steps run nothing.
const NO_NETWORK: &str = "none";

/// Where the engine that builds images runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildEngine {
    /// On the user's machine. It runs the apps as well, and the user restarts it after a failure.
    OnMachine,
    /// In the cluster that runs the apps, which restarts it after a failure.
    InCluster,
}

/// Settings of builds.
#[derive(Debug, Clone)]
pub struct BuildSettings {
    /// The id of this builder among those that share the engine.
    pub installation: Installation,
    /// Where the engine runs.
    pub engine: BuildEngine,
    /// Configured base images by the name that templates use: `python`, `nginx`.
    pub base_images: BTreeMap<String, String>,
    /// Repository prefix of the images that `scripts/setup` built, used if the configured one is not available.
    pub fallback: String,
    /// `host:port` of the registry for pushes. Without one, images stay in the engine.
    pub registry: Option<String>,
    /// The registry's name for pulls, if it is different.
    pub registry_pull: Option<String>,
    /// The login at the registry, if it needs one.
    pub registry_login: Option<RegistryLogin>,
    /// Timeout of a build.
    pub time_limit: Duration,
    /// Maximum size of an image in bytes, including its base; also the maximum that one step may write.
    pub image_max_bytes: u64,
    /// The packet filter rules that block private addresses.
    pub firewall: Firewall,
    /// The record of built versions.
    pub ledger: Ledger,
}

/// A login at a registry.
#[derive(Debug, Clone)]
pub struct RegistryLogin {
    /// The user name.
    pub username: String,
    /// A password or a token.
    pub password: SecretString,
}

impl BuildSettings {
    /// Settings with the default limits, no registry, and no configured base images.
    pub fn new(installation: Installation, firewall: Firewall) -> Self {
        Self {
            installation,
            firewall,
            engine: BuildEngine::OnMachine,
            image_max_bytes: IMAGE_MAX_BYTES,
            base_images: BTreeMap::new(),
            fallback: "slipway.local".to_owned(),
            registry: None,
            registry_pull: None,
            registry_login: None,
            time_limit: Duration::from_mins(10),
            ledger: Ledger::default(),
        }
    }
}

/// The input of a build.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// The app's name.
    pub app: AppName,
    /// The app's id; never reused.
    pub app_id: AppId,
    /// The commit of `context`.
    pub version: VersionId,
    /// The base image's name: `python` or `nginx`.
    pub base: String,
    /// The commit's files as an uncompressed tar, with a `Dockerfile` at the top.
    pub context: Vec<u8>,
    /// Timeout of this build; `None`: the default.
    pub time_limit: Option<Duration>,
}

/// A built image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The image: `slipway/<app>@sha256:<image id>`, its name without a registry.
    pub image: ImageRef,
    /// It existed already.
    pub reused: bool,
}

/// Why a build failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The files do not build.
    #[error("{message}")]
    Failed {
        /// The failed step, in a sentence.
        message: String,
        /// About the last twenty lines of the step's output.
        lines: Vec<String>,
    },
    /// It was cancelled.
    #[error("The build was stopped.")]
    Cancelled,
    /// The engine does not answer.
    #[error("{0}")]
    Unavailable(String),
    /// The registry does not answer.
    #[error("The registry {registry} does not answer: {message}.")]
    RegistryAway {
        /// The registry.
        registry: String,
        /// The reason, where known.
        message: String,
    },
    /// No base image is available.
    #[error(
        "The base image “{wanted}” is not in the engine and cannot be pulled ({reason}), and {fallback} is not there either. Run scripts/setup, or set SLIPWAY_BASE_IMAGE_PYTHON and SLIPWAY_BASE_IMAGE_NGINX to images that can be reached."
    )]
    BaseImageMissing {
        /// The configured image.
        wanted: String,
        /// The fallback image.
        fallback: String,
        /// Why it cannot be pulled.
        reason: String,
    },
    /// The image, or the data written by a step, exceeds the limit.
    #[error(
        "The image with its base would be larger than {}. Remove files and packages that the app does not need.",
        crate::domain::Bytes(*limit)
    )]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// No space is left on the engine's disk.
    #[error(
        "The disk of the Docker engine is full. Delete apps that are not needed, or run `docker system prune`, and build again."
    )]
    DiskFull,
    /// It reached the timeout.
    #[error("The build took longer than {} minutes and was stopped.", .limit.as_secs().div_ceil(60))]
    TimedOut {
        /// The timeout.
        limit: Duration,
        /// Its last output.
        lines: Vec<String>,
    },
    /// The registry rejected a request.
    #[error("The registry {registry} refuses: {message}.")]
    Registry {
        /// The registry.
        registry: String,
        /// The text of its answer.
        message: String,
    },
    /// The registry did not accept the image.
    #[error("The image could not be pushed to {registry}: {message}")]
    Push {
        /// The registry.
        registry: String,
        /// The text of its answer.
        message: String,
    },
}

impl BuildError {
    /// The last lines of the log that explain the failure, if there are any.
    pub fn lines(&self) -> &[String] {
        match self {
            Self::Failed { lines, .. } | Self::TimedOut { lines, .. } => lines,
            _ => &[],
        }
    }

    /// The engine or the registry is unavailable, possibly only for a while.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::RegistryAway { .. } => true,
            // The message comes from the engine, which sends the requests to the registry.
            Self::Push { message, .. } => outage::is_outage(message),
            _ => false,
        }
    }
}

impl From<Fault> for BuildError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unavailable(_) => Self::Unavailable(fault.to_string()),
            Fault::DiskFull => Self::DiskFull,
            Fault::NotFound(message) | Fault::Conflict(message) | Fault::Other(message) => {
                Self::Failed { message, lines: Vec::new() }
            }
        }
    }
}

/// Builds images.
#[derive(Debug, Clone)]
pub struct ImageBuilder {
    docker: Docker,
    settings: std::sync::Arc<BuildSettings>,
    bases: base::Bases,
    registry: Option<registry::Registry>,
    subnets: std::sync::Arc<Subnets>,
    /// The id of this process, which marks its builds.
    process: String,
    /// Held for reading by builds, and for writing by the removal of images that a build may be about to use.
    building: std::sync::Arc<tokio::sync::RwLock<()>>,
}

impl ImageBuilder {
    /// A builder for an engine. Sends no requests yet.
    pub fn new(docker: Docker, settings: BuildSettings) -> Self {
        let login = settings.registry_login.as_ref();
        let registry = settings.registry.as_deref().map(|host| registry::Registry::new(host, login));
        Self {
            docker,
            settings: std::sync::Arc::new(settings),
            bases: base::Bases::default(),
            registry,
            subnets: std::sync::Arc::new(Subnets::new(SubnetPool::BUILDS)),
            process: hex::encode(rand::random::<[u8; 8]>()),
            building: std::sync::Arc::default(),
        }
    }

    /// Where the engine runs.
    pub fn engine(&self) -> BuildEngine {
        self.settings.engine
    }

    /// Checks the engine and the registry, if there is one.
    ///
    /// # Errors
    /// [`BuildError::Unavailable`] or [`BuildError::RegistryAway`] if one of them does not answer.
    pub async fn ping(&self) -> Result<engine::EngineInfo, BuildError> {
        let info = engine::ping(&self.docker).await?;
        if let Some(registry) = &self.registry {
            registry.ping().await?;
        }
        Ok(info)
    }

    /// The image of a version, if this builder built it before and the engine still has it. It is identified by its id,
    /// because the version's tag and labels may be on another image.
    ///
    /// # Errors
    /// [`BuildError::Unavailable`] if the engine does not answer.
    pub async fn find(
        &self,
        app: &AppName,
        app_id: AppId,
        version: &VersionId,
    ) -> Result<Option<ImageRef>, BuildError> {
        let Some(built) = self.settings.ledger.find(app_id, version) else { return Ok(None) };
        match engine::call(engine::QUICK, self.docker.inspect_image(&built.image)).await {
            Ok(image) => Ok(image.id.and_then(|id| image_ref(app, &id))),
            Err(Fault::NotFound(_)) => Ok(None),
            Err(fault) => Err(fault.into()),
        }
    }

    /// Builds a version, or finds its existing image.
    ///
    /// `log` receives clean lines one after the other, limited as described in [`crate::output`]. The build ends when
    /// `cancel` is cancelled or the time limit has passed; the engine then removes unfinished objects.
    ///
    /// # Errors
    /// See [`BuildError`]; each displays as a sentence for the user.
    pub async fn build(
        &self,
        request: BuildRequest,
        log: &dyn LineSink,
        cancel: &CancellationToken,
    ) -> Result<Built, BuildError> {
        if let Some(image) = self.find(&request.app, request.app_id, &request.version).await? {
            log.line(format!("Version {} was built before: its image is used again.", request.version.short())).await;
            return Ok(Built { image, reused: true });
        }
        let limit = request.time_limit.unwrap_or(self.settings.time_limit);
        let mut output = log::Output::new(log);
        let work = async {
            let base = self.bases.resolve(&self.docker, &self.settings, &request.base, &mut output).await?;
            output.say(format!("The base image is {} ({}).", base.name, base.id)).await;
            let (app_id, version) = (request.app_id, request.version.clone());
            let image = Box::pin(self.run(request, base.id.clone(), &mut output)).await?;
            let entry = ledger::Entry { image: image.digest().to_owned(), base: base.id };
            self.settings.ledger.record(app_id, &version, entry);
            Ok(image)
        };
        let building = self.building.read().await;
        let ended = tokio::select! {
            biased;
            () = cancel.cancelled() => Some(Err(BuildError::Cancelled)),
            ended = tokio::time::timeout(limit, work) => ended.ok(),
        };
        drop(building);
        output.end().await;
        let ended = match ended {
            Some(result) => result.map(|image| Built { image, reused: false }),
            None => Err(BuildError::TimedOut { limit, lines: output.last_lines() }),
        };
        if ended.is_err() {
            self.prune_unfinished_later();
        }
        ended
    }

    async fn run(
        &self,
        request: BuildRequest,
        base: String,
        output: &mut log::Output<'_>,
    ) -> Result<ImageRef, BuildError> {
        let BuildRequest { app, app_id, version, context, .. } = request;
        let tag = tag(&app, &version);
        let labels = self.settings.installation.labels(&app, app_id);
        let given = BTreeMap::from([("BASE_IMAGE".to_owned(), base)]);
        let refused = |message| BuildError::Failed { message, lines: Vec::new() };
        let Some(text) = context::dockerfile(&context) else {
            return Err(refused("There is no Dockerfile at the top of the app's files.".to_owned()));
        };
        let plan = dockerfile::Plan::read(&text).map_err(refused)?;
        let steps = steps::Steps { builder: self, plan: &plan, tag: &tag, given };
        let id = if plan.runs {
            let mut room = sandbox::Room::new(self.docker.clone());
            let built = Box::pin(steps.run(context, labels, &mut room, output)).await;
            room.close().await?;
            built?
        } else {
            steps.check(output).await?;
            let own = self.settings.installation.own_labels();
            let (context, rest) = context::labelled(context, &own, labels);
            self.engine_build(context, Some(&tag), &steps.given, rest, output).await?
        };
        self.check_size(&id).await?;
        image_ref(&app, &id).ok_or_else(|| refused("The engine ended the build without naming an image.".to_owned()))
    }

    /// Lets the engine execute instructions that run nothing. Returns the image's id.
    async fn engine_build(
        &self,
        context: Vec<u8>,
        tag: Option<&str>,
        given: &BTreeMap<String, String>,
        labels: HashMap<String, String>,
        output: &mut log::Output<'_>,
    ) -> Result<String, BuildError> {
        let given: HashMap<_, _> = given.clone().into_iter().collect();
        let mut options = BuildImageOptionsBuilder::new()
            .dockerfile(context::DOCKERFILE)
            .rm(true)
            .forcerm(true)
            .networkmode(NO_NETWORK)
            .buildargs(&given);
        if let Some(tag) = tag {
            options = options.t(tag);
        }
        if !labels.is_empty() {
            options = options.labels(&labels);
        }
        let body = bollard::body_full(Bytes::from(context));
        let mut stream = std::pin::pin!(self.docker.build_image(options.build(), None, Some(body)));
        let mut id = None;
        while let Some(step) = stream.next().await {
            match step {
                Ok(info) => {
                    if let Some(text) = info.stream.or(info.status) {
                        output.take(&text).await;
                    }
                    id = info.aux.and_then(|aux| aux.id).or(id);
                }
                Err(error) => return Err(output.failure(error).await),
            }
        }
        output.finish_line().await;
        let id = match (id, tag) {
            (None, Some(tag)) => engine::call(engine::QUICK, self.docker.inspect_image(tag)).await?.id,
            (id, _) => id,
        };
        id.ok_or_else(|| BuildError::Failed {
            message: "The engine ended the build without naming an image.".to_owned(),
            lines: output.last_lines(),
        })
    }

    /// Removes an image that is too large.
    async fn check_size(&self, id: &str) -> Result<(), BuildError> {
        let limit = self.settings.image_max_bytes;
        let image = engine::call(engine::QUICK, self.docker.inspect_image(id)).await?;
        if image.size.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or_default() <= limit {
            return Ok(());
        }
        self.remove(id).await?;
        Err(BuildError::TooLarge { limit })
    }
}

/// The tag of a version's image, with the whole commit id, so that tags are unique.
fn tag(app: &AppName, version: &VersionId) -> String {
    format!("{}:{version}", repository(app))
}

/// The repository of an app's images.
pub fn repository(app: &AppName) -> String {
    format!("slipway/{app}")
}

/// `slipway/<app>@sha256:<image id>`.
fn image_ref(app: &AppName, id: &str) -> Option<ImageRef> {
    format!("{}@{id}", repository(app)).parse().ok()
}

/// Whether an error means that the connection to the engine broke, not that the build failed.
fn is_outage(error: &Error) -> bool {
    !matches!(error, Error::DockerStreamError { .. } | Error::DockerResponseServerError { .. })
}
