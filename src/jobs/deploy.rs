//! The jobs that deploy: preview builds first, publish and roll back take an image that is there.

use super::context::{Failure, JobContext};
use super::rollout;
use crate::build::{BuildError, BuildRequest};
use crate::domain::{
    App, AppSettings, DeploymentSpec, Environment, ImageRef, JobResult, LogStream, ReleaseNumber, StepName, VersionId,
    WorkspacePath,
};
use crate::error::AppError;
use crate::platform::Platform;
use crate::store::releases::NewRelease;
use crate::workspace::{NewFile, WorkspaceError};

/// Builds a version if it was not built before, and puts it in preview.
pub async fn preview(context: &JobContext, version: &VersionId) -> Result<JobResult, Failure> {
    let platform = &context.platform;
    let app = context.app().await?;
    let environment = Environment::Preview;
    rollout::announce(context, &app, environment).await?;
    // Until a release names the image, nothing but this lock keeps it from being cleared away.
    let images = platform.image_locks.lock(app.id).await;
    let release = async {
        let spec = spec(context, &app, version).await?;
        // What the release needs around it is made meanwhile; if that fails, the start says why.
        let around = platform.runtime.prepare(&app.name, app.id);
        let (image, _) = tokio::join!(context.step(StepName::Build, build(context, &app, version)), around);
        let image = image?;
        let image = match platform.config.registry {
            None => image,
            Some(_) => context.step(StepName::Push, push(context, &app, version, image)).await?,
        };
        let (version, job) = (version.clone(), context.job.id);
        let new = NewRelease { environment, version, image, spec, job, from_release: None, rolled_back: false };
        rollout::begin(context, &app, new).await
    };
    let release = release.await;
    drop(images);
    match release {
        Ok(release) => rollout::roll_out(context, &app, release).await,
        Err(failure) => {
            rollout::settle(context, &app, environment, None).await?;
            Err(failure)
        }
    }
}

/// Puts the image and settings of a preview release into prod.
pub async fn publish(context: &JobContext, release: ReleaseNumber) -> Result<JobResult, Failure> {
    let app = context.app().await?;
    let preview = context.platform.store.release(app.id, Environment::Preview, release).await?;
    rollout::announce(context, &app, Environment::Prod).await?;
    let new = NewRelease {
        environment: Environment::Prod,
        version: preview.version,
        image: preview.image,
        spec: preview.spec,
        job: context.job.id,
        from_release: Some(preview.number),
        rolled_back: false,
    };
    let release = rollout::begin(context, &app, new).await?;
    rollout::roll_out(context, &app, release).await
}

/// Puts the image and settings of an earlier release back.
pub async fn rollback(
    context: &JobContext,
    environment: Environment,
    release: ReleaseNumber,
) -> Result<JobResult, Failure> {
    let app = context.app().await?;
    let earlier = context.platform.store.release(app.id, environment, release).await?;
    rollout::announce(context, &app, environment).await?;
    let new = NewRelease {
        environment,
        version: earlier.version,
        image: earlier.image,
        spec: earlier.spec,
        job: context.job.id,
        from_release: Some(earlier.number),
        rolled_back: true,
    };
    let release = rollout::begin(context, &app, new).await?;
    rollout::roll_out(context, &app, release).await
}

/// How this version is to run: the template's settings with what its `app.toml` says.
async fn spec(context: &JobContext, app: &App, version: &VersionId) -> Result<DeploymentSpec, Failure> {
    let platform = &context.platform;
    let mut spec = platform.template(app)?.manifest.deployment().map_err(AppError::from)?;
    let settings = settings(platform, app, version).await?;
    if spec.process == crate::domain::ProcessKind::Job {
        spec.schedule = settings.schedule.map(String::from);
    }
    Ok(spec)
}

/// What the `app.toml` of a version says; the defaults where there is none.
pub async fn settings(platform: &Platform, app: &App, version: &VersionId) -> Result<AppSettings, Failure> {
    let path: WorkspacePath = "app.toml".parse().map_err(AppError::from)?;
    let version = version.clone();
    let read = platform.read_workspace(&app.name, move |workspace| match workspace.read_at(&version, &path) {
        Err(WorkspaceError::NotFound(_)) => Ok(Vec::new()),
        other => other,
    });
    AppSettings::parse(&String::from_utf8_lossy(&read.await?))
        .map_err(|error| Failure::failed("bad_settings", error.to_string()).hint("Mend app.toml and deploy again."))
}

/// Builds from the commit, never from the work tree, with the platform's own files in their place.
async fn build(context: &JobContext, app: &App, version: &VersionId) -> Result<ImageRef, Failure> {
    let platform = &context.platform;
    let template = platform.template(app)?;
    let owned: Vec<NewFile> =
        template.platform_files().map(|(path, bytes)| NewFile { path: path.clone(), bytes: bytes.clone() }).collect();
    let wanted = version.clone();
    let archive = platform.read_workspace(&app.name, move |workspace| workspace.archive(&wanted, &owned)).await?;
    let request = BuildRequest {
        app: app.name.clone(),
        app_id: app.id,
        version: version.clone(),
        base: template.manifest.base.clone(),
        context: archive,
        time_limit: None,
    };
    let log = context.lines(LogStream::Build);
    let built = rollout::patiently(context, || {
        Box::pin(async {
            let built = platform.images.build(request.clone(), &log, &context.cancel).await;
            built.map_err(|error| Building { error, in_cluster: platform.runtime.replaces_in_place() })
        })
    })
    .await?;
    Ok(built.image)
}

async fn push(context: &JobContext, app: &App, version: &VersionId, image: ImageRef) -> Result<ImageRef, Failure> {
    let platform = &context.platform;
    if let Some(registry) = &platform.config.registry {
        context.log(LogStream::Build, format!("Pushing to {registry}.")).await;
    }
    rollout::patiently(context, || {
        Box::pin(async {
            let pushed = platform.images.push(&app.name, version, &image, &context.cancel).await;
            pushed.map_err(|error| Building { error, in_cluster: platform.runtime.replaces_in_place() })
        })
    })
    .await
}

/// A build's error, and whether what it needs runs in the cluster, where an outage passes.
#[derive(Debug)]
pub(super) struct Building {
    pub(super) error: BuildError,
    pub(super) in_cluster: bool,
}

impl std::fmt::Display for Building {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

impl From<Building> for Failure {
    fn from(building: Building) -> Self {
        let is_engine_away = matches!(building.error, BuildError::Unavailable(_));
        let failure = Self::from(building.error);
        if building.in_cluster && is_engine_away {
            return failure.hint(
                "See that the engine that DOCKER_HOST leads to runs (`kubectl -n builder-engine get pods` where it is in the \
                 cluster), then try again.",
            );
        }
        failure
    }
}

impl rollout::Outage for Building {
    fn is_waited_out(&self) -> bool {
        self.in_cluster && self.error.is_outage()
    }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        let (message, lines) = (error.to_string(), error.lines().to_vec());
        match error {
            BuildError::Cancelled => Self::Cancelled,
            BuildError::Failed { .. } => Self::failed("build_failed", message)
                .hint("The log's last lines say why. Ask for a fix, or mend it and deploy again.")
                .lines(lines),
            BuildError::TimedOut { .. } => Self::failed("build_timed_out", message).lines(lines),
            BuildError::Unavailable(_) => Self::failed("docker_unavailable", message)
                .hint("Start Docker (for example with `sudo systemctl start docker`), then try again."),
            BuildError::RegistryAway { .. } => Self::failed("registry_unavailable", message).hint(
                "See that the registry runs and that the builder reaches it under SLIPWAY_REGISTRY, then try again.",
            ),
            BuildError::BaseImageMissing { .. } => {
                Self::failed("base_image_missing", message).hint("Run scripts/setup on the server, then try again.")
            }
            BuildError::TooLarge { .. } => Self::failed("image_too_large", message),
            BuildError::DiskFull => {
                Self::failed("disk_full", message).hint("Free some space on the engine's disk, then try again.")
            }
            BuildError::Registry { .. } => {
                Self::failed("registry_refused", message).hint("See how the registry is set up, then try again.")
            }
            BuildError::Push { .. } => Self::failed("push_failed", message)
                .hint("See that the registry runs and can be reached, then try again."),
        }
    }
}
