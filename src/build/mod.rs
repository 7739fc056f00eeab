//! Images: from a commit's files to an image in the engine, and to the registry if there is one.
//!
//! Owns base images, image tags, build logs, and the removal of images. Knows nothing of
//! containers, git, events or the database: a build is handed in as a tar and hands out lines.

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

/// Repository of the images that steps become. A step that was done before on the same image is not done again.
const STEP_REPOSITORY: &str = "slipway-step";

/// Default limit for the size of an image.
const IMAGE_MAX_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// The engine's name for no network: what it does for us itself runs nothing.
const NO_NETWORK: &str = "none";

/// Where the engine runs that builds images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildEngine {
    /// On a machine of its user, who has to end an outage of it; it runs the apps as well.
    OnMachine,
    /// In the cluster that runs the apps, which ends an outage of it by itself.
    InCluster,
}

/// How images are built, and where they go.
#[derive(Debug, Clone)]
pub struct BuildSettings {
    /// This builder among those that share the engine.
    pub installation: Installation,
    /// Where the engine runs.
    pub engine: BuildEngine,
    /// Configured base images by the name that templates use: `python`, `nginx`.
    pub base_images: BTreeMap<String, String>,
    /// Repository prefix of the images that `scripts/setup` built, tried where the configured one cannot be had.
    pub fallback: String,
    /// `host:port` of the registry that images are pushed to. Without one they stay in the engine.
    pub registry: Option<String>,
    /// The name under which the registry is pulled from, when it is another.
    pub registry_pull: Option<String>,
    /// As whom the registry is spoken to; nobody in particular where it does not ask.
    pub registry_login: Option<RegistryLogin>,
    /// Longest build.
    pub time_limit: Duration,
    /// Largest image in bytes, with what it is built on; also what one step may write.
    pub image_max_bytes: u64,
    /// Keeps builds away from private addresses.
    pub firewall: Firewall,
    /// What was built before.
    pub ledger: Ledger,
}

/// A login at a registry.
#[derive(Debug, Clone)]
pub struct RegistryLogin {
    /// Who.
    pub username: String,
    /// With what: a password or a token.
    pub password: SecretString,
}

impl BuildSettings {
    /// Settings with the usual limits, no registry, and no configured base images.
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

/// What is to be built.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// Whose image.
    pub app: AppName,
    /// The app's id; never used again.
    pub app_id: AppId,
    /// The commit that `context` holds.
    pub version: VersionId,
    /// The base image's name: `python` or `nginx`.
    pub base: String,
    /// The commit's files as an uncompressed tar, a `Dockerfile` at the top.
    pub context: Vec<u8>,
    /// Longest build; the usual limit where there is none.
    pub time_limit: Option<Duration>,
}

/// A built image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The image: `slipway/<app>@sha256:<image id>`, which is what an engine without a registry knows it by.
    pub image: ImageRef,
    /// It was there already.
    pub reused: bool,
}

/// Why there is no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The files do not build. `lines` are the last of the output that say why.
    #[error("{message}")]
    Failed {
        /// Which step failed, in a sentence.
        message: String,
        /// About the last twenty lines of the step's output.
        lines: Vec<String>,
    },
    /// It was stopped on request.
    #[error("The build was stopped.")]
    Cancelled,
    /// The engine is not there.
    #[error("{0}")]
    Unavailable(String),
    /// The registry is not there.
    #[error("The registry {registry} does not answer: {message}.")]
    RegistryAway {
        /// Which registry.
        registry: String,
        /// Why, as far as can be seen.
        message: String,
    },
    /// There is nothing to build on.
    #[error(
        "The base image “{wanted}” is not in the engine and cannot be pulled ({reason}), and {fallback} is not there either. Run scripts/setup, or set SLIPWAY_BASE_IMAGE_PYTHON and SLIPWAY_BASE_IMAGE_NGINX to images that can be reached."
    )]
    BaseImageMissing {
        /// What was asked for.
        wanted: String,
        /// What should have stood in for it.
        fallback: String,
        /// Why it cannot be pulled.
        reason: String,
    },
    /// The image, or what a step wrote, is larger than it may be.
    #[error(
        "The image would be larger than {} with what it is built on. Leave out what the app does not need.",
        crate::domain::Bytes(*limit)
    )]
    TooLarge {
        /// The limit that it ran into, in bytes.
        limit: u64,
    },
    /// No space left where the engine keeps images.
    #[error(
        "The disk of the Docker engine is full. Delete apps that are not needed, or run `docker system prune`, and build again."
    )]
    DiskFull,
    /// It took too long.
    #[error("The build took longer than {} minutes and was stopped.", .limit.as_secs().div_ceil(60))]
    TimedOut {
        /// The limit that it ran into.
        limit: Duration,
        /// What it last said.
        lines: Vec<String>,
    },
    /// The registry did not do what it was asked.
    #[error("The registry {registry} refuses: {message}.")]
    Registry {
        /// Which registry.
        registry: String,
        /// Its words.
        message: String,
    },
    /// The registry did not take the image.
    #[error("The image could not be pushed to {registry}: {message}")]
    Push {
        /// Which registry.
        registry: String,
        /// Its words.
        message: String,
    },
}

impl BuildError {
    /// The last lines of the log that say why, where there are any.
    pub fn lines(&self) -> &[String] {
        match self {
            Self::Failed { lines, .. } | Self::TimedOut { lines, .. } => lines,
            _ => &[],
        }
    }

    /// The engine or the registry is away, and may come back.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::RegistryAway { .. } => true,
            // In the words of the engine, which asks the registry for us.
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
    /// This process among those that the builder has been, by which its builds are known.
    process: String,
    /// Held for reading by each build, for writing by who removes images that a build may be about to use.
    building: std::sync::Arc<tokio::sync::RwLock<()>>,
}

impl ImageBuilder {
    /// A builder over an engine. Nothing is asked of the engine yet.
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

    /// Asks the engine who it is, and the registry, if there is one, whether it is there.
    ///
    /// # Errors
    /// [`BuildError::Unavailable`] or [`BuildError::RegistryAway`] when one of them does not answer.
    pub async fn ping(&self) -> Result<engine::EngineInfo, BuildError> {
        let info = engine::ping(&self.docker).await?;
        if let Some(registry) = &self.registry {
            registry.ping().await?;
        }
        Ok(info)
    }

    /// The image of a version, if this builder built it before and the engine still has it. It is known by its id: what
    /// the engine has under the version's tag, with whatever labels, may be another.
    ///
    /// # Errors
    /// [`BuildError::Unavailable`] when the engine does not answer.
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

    /// Builds a version, or finds what was built of it before.
    ///
    /// `log` is handed one clean line after the other, bounded as [`crate::output`] says. The build ends when `cancel` fires or the
    /// time limit passes; the engine then removes what it had begun.
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

    /// Has the engine do what a Dockerfile says that runs nothing. Answers the image's id.
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

/// The tag that keeps a version's image, with the whole commit in it, so that none is taken for another.
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

/// Whether an error says that the line to the engine broke, not that the build failed.
fn is_outage(error: &Error) -> bool {
    !matches!(error, Error::DockerStreamError { .. } | Error::DockerResponseServerError { .. })
}
