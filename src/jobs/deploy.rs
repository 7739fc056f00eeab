//! The jobs that deploy: a preview builds its image first; publish and rollback use an existing image.

use super::context::{Failure, JobContext};
use super::failure::BuildFault;
use super::outage::retry_during_outage;
use super::release::settings;
use super::rollout;
use crate::build::BuildRequest;
use crate::domain::{
    App, DeploymentSpec, Environment, ImageRef, JobResult, LogStream, ReleaseNumber, StepName, VersionId,
};
use crate::error::AppError;
use crate::store::releases::NewRelease;
use crate::workspace::NewFile;

/// Builds a version if it was not built before, and puts it in preview.
pub async fn preview(context: &JobContext, version: &VersionId) -> Result<JobResult, Failure> {
    let platform = &context.platform;
    let app = context.app().await?;
    let environment = Environment::Preview;
    rollout::announce(context, &app, environment).await?;
    // Until a release refers to the image, only this lock keeps the cleanup from removing it.
    let images = platform.image_locks.lock(app.id).await;
    let release = async {
        let spec = spec(context, &app, version).await?;
        // The release's environment is prepared during the build; if that fails, the start reports the error.
        let around = platform.runtime.releases.prepare(&app.name, app.id);
        let (image, _) = tokio::join!(context.step(StepName::Build, build(context, &app, version)), around);
        let image = image?;
        let image = match platform.config.registry {
            None => image,
            Some(_) => context.step(StepName::Push, push(context, &app, version, image)).await?,
        };
        let (version, job) = (version.clone(), context.job.id);
        let new = NewRelease {
            environment,
            version,
            image,
            spec,
            job,
            from_release: None,
            rolled_back: false,
            ignored_checks: 0,
        };
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

/// Deploys the image and settings of a preview release to production.
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
        ignored_checks: preview.ignored_checks,
    };
    let release = rollout::begin(context, &app, new).await?;
    rollout::roll_out(context, &app, release).await
}

/// Deploys the image and settings of an earlier release again.
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
        ignored_checks: earlier.ignored_checks,
    };
    let release = rollout::begin(context, &app, new).await?;
    rollout::roll_out(context, &app, release).await
}

/// Restarts the live release of an environment after it has stopped.
pub async fn start(context: &JobContext, environment: Environment) -> Result<JobResult, Failure> {
    let app = context.app().await?;
    let Some(number) = app.environment(environment).release else {
        return Err(Failure::failed("nothing_to_start", "There is no release to start any more."));
    };
    let release = context.platform.store.release(app.id, environment, number).await?;
    rollout::announce(context, &app, environment).await?;
    rollout::start_again(context, &app, release).await
}

/// How this version runs: the template's settings, changed by the version's `app.toml`.
async fn spec(context: &JobContext, app: &App, version: &VersionId) -> Result<DeploymentSpec, Failure> {
    let platform = &context.platform;
    let mut spec = platform.template(app)?.manifest.deployment().map_err(AppError::from)?;
    let settings = settings(platform, app, version).await?;
    if spec.process == crate::domain::ProcessKind::Job {
        spec.schedule = settings.schedule.map(String::from);
        spec.timezone = settings.timezone.map(String::from);
    }
    Ok(spec)
}

/// Builds from the commit, never from the work tree. Files that belong to the platform are added or replaced.
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
    let built = retry_during_outage(context, || {
        Box::pin(async {
            let built = platform.images.build(request.clone(), &log, &context.cancel).await;
            built.map_err(|error| BuildFault { error, engine: platform.images.engine() })
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
    retry_during_outage(context, || {
        Box::pin(async {
            let pushed = platform.images.push(&app.name, version, &image, &context.cancel).await;
            pushed.map_err(|error| BuildFault { error, engine: platform.images.engine() })
        })
    })
    .await
}
