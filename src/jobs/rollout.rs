//! Putting a release in place: the one way for preview, publish and roll back.
//!
//! Start, check, switch. Until the new release has answered and proved itself nothing changes for those who
//! use the app, on either runtime; afterwards the old one is drained and removed behind the job's back. Every part can
//! be done again: a job that is taken up after a crash goes through here a second time.

use std::sync::Arc;
use std::time::Duration;

use super::context::{Failure, JobContext};
use super::outage::retry_during_outage;
use super::release::{START_LIMIT, deployment, keeps_running};
use super::{runs, smoke};
use crate::domain::{
    App, Bytes, Environment, EnvironmentState, JobResult, LogStream, ProcessKind, Release, ReleaseState, RunTrigger,
    StepName,
};
use crate::gateway::{RouteState, Upstream};
use crate::platform::Platform;
use crate::runtime::{Deployment, FoundInstance, Instance, RuntimeError};
use crate::store::releases::NewRelease;

/// How long requests in flight may keep an old version alive.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);

/// The release that a job deploys: made at its first attempt, found again at a later one.
pub async fn begin(context: &JobContext, app: &App, new: NewRelease) -> Result<Release, Failure> {
    let platform = &context.platform;
    Ok(platform.store.release_for_job(app.id, new, platform.clock.now()).await?)
}

/// Deploys a release, or goes on where an earlier attempt of the same job left off.
pub async fn roll_out(context: &JobContext, app: &App, release: Release) -> Result<JobResult, Failure> {
    let platform = &context.platform;
    let environment = release.environment;
    if release.state == ReleaseState::Ready {
        // The process died between the take-over and the end of the job.
        settle(context, app, environment, None).await?;
        if let ProcessKind::Service(_) = release.spec.process {
            make_way(context, app, &deployment(platform, app, &release).await?).await;
        }
    } else {
        // On the heap: it holds all of the engine's calls.
        let deployed = Box::pin(deploy(context, app, &release)).await;
        if let Err(failure) = deployed {
            let failure = Box::pin(give_up(context, app, &release, failure)).await?;
            platform.lifecycle.tasks.spawn(clean_up(platform.clone(), app.clone()));
            return Err(failure);
        }
    }
    platform.lifecycle.tasks.spawn(clean_up(platform.clone(), app.clone()));
    Ok(JobResult {
        environment: Some(environment),
        release: Some(release.number),
        version: Some(release.version),
        url: platform.environment_url(app, environment),
    })
}

async fn deploy(context: &JobContext, app: &App, release: &Release) -> Result<(), Failure> {
    match &release.spec.process {
        ProcessKind::Service(probe) => {
            let deployment = deployment(&context.platform, app, release).await?;
            let runtime = &context.platform.runtime;
            let tell = context.lines(LogStream::Deploy);
            let start = retry_during_outage(context, || Box::pin(runtime.start(&deployment, &tell, &context.cancel)));
            let instance = context.step(StepName::Start, start).await?;
            context
                .step(StepName::Check, async {
                    let answered = retry_during_outage(context, || {
                        Box::pin(runtime.wait_ready(&instance, probe, START_LIMIT, &tell, &context.cancel))
                    })
                    .await?;
                    context
                        .log(LogStream::Deploy, format!("{} answered after {} ms.", probe.path, answered.millis))
                        .await;
                    if smoke::is_due(release) {
                        Box::pin(smoke::prove(context, app, release, probe, &instance)).await?;
                    }
                    Ok(())
                })
                .await?;
            let lead = async {
                let instance = retry_during_outage(context, || {
                    Box::pin(runtime.switch_traffic(
                        &deployment,
                        instance.clone(),
                        probe,
                        START_LIMIT,
                        &tell,
                        &context.cancel,
                    ))
                })
                .await?;
                switch(context, app, release, Some(&instance)).await?;
                make_way(context, app, &deployment).await;
                Ok(())
            };
            context.step(StepName::Switch, lead).await
        }
        ProcessKind::Job => {
            // A job proves itself by one run to its end, before anybody relies on it. What goes to
            // prod has done so in preview.
            if release.environment == Environment::Preview {
                context.step(StepName::Check, Box::pin(check_run(context, app, release))).await?;
            } else {
                context.skip(StepName::Check).await?;
            }
            let work = async {
                if release.environment == runs::SCHEDULED {
                    let deployment = deployment(&context.platform, app, release).await?;
                    retry_during_outage(context, || Box::pin(context.platform.runtime.schedule(&deployment))).await?;
                }
                switch(context, app, release, None).await
            };
            context.step(StepName::Switch, work).await
        }
    }
}

async fn check_run(context: &JobContext, app: &App, release: &Release) -> Result<(), Failure> {
    let log = context.lines(LogStream::App);
    let outcome = runs::run_to_end(context, app, release, RunTrigger::Check, &log).await?;
    if outcome.succeeded() { Ok(()) } else { Err(outcome.failure()) }
}

/// Leads traffic to the new release and says so; then sees the old one off.
async fn switch(
    context: &JobContext,
    app: &App,
    release: &Release,
    instance: Option<&Instance>,
) -> Result<(), Failure> {
    context.check_cancelled()?;
    let platform = &context.platform;
    let (id, environment, number) = (app.id, release.environment, release.number);
    let alone = platform.route_locks.lock(id).await;
    let replaced = instance.and_then(|instance| instance.address).and_then(|address| {
        let replaced = platform.gateway.routes().set(&app.name, environment, Upstream { address, release: number })?;
        Some((platform.draining.begin(id, environment, replaced.upstream().release), replaced))
    });
    let event = platform.environment_event(
        app,
        Some(&context.job),
        environment,
        EnvironmentState::Ready,
        Some((number, release.version.clone())),
    );
    let at = platform.clock.now();
    platform
        .events
        .commit(move |t| {
            crate::store::releases::took_over(t, id, environment, number, at)?;
            Ok(((), vec![event]))
        })
        .await?;
    drop(alone);
    platform.schedule_changed();
    let (platform, app) = (platform.clone(), app.clone());
    platform.clone().lifecycle.tasks.spawn(async move {
        if let Some((draining, replaced)) = replaced {
            replaced.drained(DRAIN_LIMIT).await;
            drop(draining);
        }
        remove_others(&platform, &app, environment).await;
    });
    Ok(())
}

/// Lets what ran before a release that has taken over make way. The release is live, whatever comes of this: what
/// is left to do, the next look does.
async fn make_way(context: &JobContext, app: &App, deployment: &Deployment) {
    if let Err(error) = Box::pin(context.platform.runtime.finish_rollout(deployment)).await {
        tracing::warn!(app = %app.name, %error, "failed to scale down the previous release; the next reconcile retries");
    }
}

/// Removes the containers of an environment that are neither live, nor on their way, nor at
/// the end of requests that they were given before another release took over.
pub async fn remove_others(platform: &Platform, app: &App, environment: Environment) {
    // There is but one of each environment: the release before it is gone as soon as this one is there.
    if platform.runtime.replaces_in_place() {
        return;
    }
    let removed = async {
        let instances = platform.runtime.instances().await?;
        for FoundInstance { instance, .. } in instances {
            let is_draining = platform.draining.contains(app.id, environment, instance.release);
            if instance.app_id != app.id || instance.environment != environment || is_draining {
                continue;
            }
            // Looked up anew for each: a deployment may have begun meanwhile.
            let state =
                platform.store.release(app.id, environment, instance.release).await.map(|release| release.state);
            let is_needed = matches!(state, Ok(ReleaseState::Ready | ReleaseState::Deploying));
            if !is_needed && !keeps_running(platform, &instance).await {
                platform.runtime.stop(&instance).await?;
            }
        }
        Ok::<_, RuntimeError>(())
    };
    if let Err(error) = removed.await {
        tracing::warn!(app = %app.name, %environment, %error, "failed to remove an old container; the next start retries");
    }
}

/// Removes what no release needs and a job that failed could not remove, for want of a cluster that answered.
/// Leaves alone the apps that a job is at work on.
pub async fn remove_unneeded(platform: &Platform) -> Result<(), RuntimeError> {
    for FoundInstance { instance, .. } in platform.runtime.instances().await? {
        let Some(_alone) = platform.rollout_locks.try_lock(instance.app_id) else { continue };
        let release = platform.store.release(instance.app_id, instance.environment, instance.release).await;
        let failed = release.is_ok_and(|release| release.state == ReleaseState::Failed);
        if failed && !keeps_running(platform, &instance).await {
            tracing::info!(app = %instance.app, release = instance.release.0, "removing a release that failed");
            platform.runtime.stop(&instance).await?;
        }
    }
    Ok(())
}

/// The release never took traffic: what ran before goes on, and the page says so.
async fn give_up(context: &JobContext, app: &App, release: &Release, failure: Failure) -> Result<Failure, Failure> {
    let platform = &context.platform;
    let (id, environment, number) = (app.id, release.environment, release.number);
    if let Err(error) = put_back(context, app, release).await {
        tracing::warn!(app = %app.name, %environment, ?error, "failed to restore the previous release; the next reconcile retries");
    }
    settle(context, app, environment, Some(number)).await?;
    tracing::info!(app = %app.name, app_id = id.0, %environment, release = number.0, "the release failed; traffic was not switched");
    remove_others(platform, app, environment).await;
    Ok(failure)
}

/// Has the runtime end the release that did not come up, and go on with what ran before.
async fn put_back(context: &JobContext, app: &App, release: &Release) -> Result<(), Failure> {
    if matches!(release.spec.process, ProcessKind::Job) && release.environment != runs::SCHEDULED {
        return Ok(());
    }
    let platform = &context.platform;
    let failed = deployment(platform, app, release).await?;
    let live = platform.store.app_by_id(app.id).await?.environment(release.environment).release;
    let previous = match live.filter(|live| *live != release.number) {
        Some(number) => {
            let previous = platform.store.release(app.id, release.environment, number).await?;
            Some(deployment(platform, app, &previous).await?)
        }
        None => None,
    };
    Ok(Box::pin(platform.runtime.abandon(&failed, previous.as_ref())).await?)
}

/// Puts an environment's state back to what runs, after a deployment that came to nothing.
pub async fn settle(
    context: &JobContext,
    app: &App,
    environment: Environment,
    failed: Option<crate::domain::ReleaseNumber>,
) -> Result<(), Failure> {
    let platform = &context.platform;
    let live = platform.store.app_by_id(app.id).await?.environment(environment).clone();
    let state = if live.release.is_some() { EnvironmentState::Ready } else { EnvironmentState::Failed };
    if live.release.is_none() {
        platform.gateway.routes().remove(&app.name, environment);
    }
    let event = platform.environment_event(app, Some(&context.job), environment, state, live.release.zip(live.version));
    let (id, at) = (app.id, platform.clock.now());
    platform
        .events
        .commit(move |t| {
            if let Some(number) = failed {
                crate::store::releases::failed(t, id, environment, number, at)?;
            }
            crate::store::apps::set_environment_state(t, id, environment, state)?;
            Ok(((), vec![event]))
        })
        .await?;
    Ok(())
}

/// Says that a deployment is on its way.
pub async fn announce(context: &JobContext, app: &App, environment: Environment) -> Result<(), Failure> {
    let platform = &context.platform;
    let now = app.environment(environment);
    if now.release.is_none() {
        platform.gateway.routes().set_state(&app.name, environment, RouteState::Starting);
    }
    let event = platform.environment_event(
        app,
        Some(&context.job),
        environment,
        EnvironmentState::Deploying,
        now.release.zip(now.version.clone()),
    );
    let id = app.id;
    platform
        .events
        .commit(move |t| {
            crate::store::apps::set_environment_state(t, id, environment, EnvironmentState::Deploying)?;
            Ok(((), vec![event]))
        })
        .await?;
    Ok(())
}

/// Frees the disk of images that no kept release needs.
async fn clean_up(platform: Arc<Platform>, app: App) {
    let _alone = platform.image_locks.lock(app.id).await;
    let keep = match platform.store.images_to_keep(app.id, platform.config.retention.releases).await {
        Ok(keep) => keep,
        Err(error) => return tracing::warn!(app = %app.name, %error, "failed to list old images"),
    };
    match platform.images.prune(&app.name, app.id, &keep).await {
        Ok(0) => {}
        Ok(freed_bytes) => {
            tracing::info!(app = %app.name, freed_bytes, "old images removed");
            let freed = Bytes(freed_bytes);
            if let Err(error) = platform.store.note_clean_up(app.id, freed, platform.clock.now()).await {
                tracing::warn!(app = %app.name, %error, "failed to record freed disk space");
            }
            let line = format!("Old images were removed: {freed} freed.");
            platform.events.emit(app.id, None, crate::domain::EventBody::Log { stream: LogStream::Deploy, line }).await;
        }
        Err(error) => tracing::warn!(app = %app.name, %error, "failed to remove old images"),
    }
}
