//! Putting a release in place: the one way for preview, publish and roll back.
//!
//! Start, check, switch. Until the new release has answered and proved itself nothing changes for those who
//! use the app, on either runtime; afterwards the old one drains and is removed in the background. Every part can
//! be done again: a job that is taken up after a crash goes through here a second time.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::context::{Failure, JobContext};
use super::outage::retry_during_outage;
use super::release::{START_LIMIT, deployment};
use super::{runs, smoke};
use crate::domain::{
    App, Bytes, Environment, EnvironmentState, JobKind, JobResult, LogStream, Probe, ProcessKind, Release,
    ReleaseState, RunTrigger, Step, StepName, StepState,
};
use crate::gateway::RouteState;
use crate::platform::Platform;
use crate::runtime::{Deployment, Instance, RuntimeError};
use crate::store::releases::NewRelease;

/// How long a release that was paused may take to answer. It answered a moment ago.
const RESUME_LIMIT: Duration = Duration::from_secs(3);

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
            let live = deployment(platform, app, &release).await?;
            if let Err(error) = Box::pin(platform.runtime.releases.finish(&live)).await {
                tracing::warn!(app = %app.name, %error, "failed to remove the previous release; the next reconcile retries");
            }
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

/// Starts the live release again, whose instance has stopped. It is the same release, so nothing is recorded of it but its
/// environment's state.
pub async fn start_again(context: &JobContext, app: &App, release: Release) -> Result<JobResult, Failure> {
    let platform = &context.platform;
    let started = async {
        let ProcessKind::Service(probe) = &release.spec.process else {
            return Err(Failure::failed(
                "nothing_to_start",
                "A scheduled job runs at its times and has nothing to start.",
            ));
        };
        let deployment = deployment(platform, app, &release).await?;
        let instance = Box::pin(start(context, app, &release, &deployment, probe)).await?;
        let switch = switch_to(context, app, &release, &deployment, &instance, probe);
        context.step(StepName::Switch, switch).await
    };
    if let Err(failure) = Box::pin(started).await {
        platform.gateway.routes().set_state(&app.name, release.environment, RouteState::Stopped);
        set_state(context, app, release.environment, EnvironmentState::Stopped).await?;
        return Err(failure);
    }
    Ok(JobResult {
        environment: Some(release.environment),
        release: Some(release.number),
        url: platform.environment_url(app, release.environment),
        version: Some(release.version),
    })
}

/// Records the state of an environment, and tells of it.
async fn set_state(
    context: &JobContext,
    app: &App,
    environment: Environment,
    state: EnvironmentState,
) -> Result<(), Failure> {
    let platform = &context.platform;
    let live = platform.store.app_by_id(app.id).await?.environment(environment).clone();
    let event = platform.environment_event(app, Some(&context.job), environment, state, live.release.zip(live.version));
    let id = app.id;
    let record = move |t: &rusqlite::Transaction<'_>| {
        crate::store::apps::set_environment_state(t, id, environment, state)?;
        Ok(((), vec![event]))
    };
    platform.events.commit(record).await?;
    Ok(())
}

async fn deploy(context: &JobContext, app: &App, release: &Release) -> Result<(), Failure> {
    match &release.spec.process {
        ProcessKind::Service(probe) => {
            let deployment = deployment(&context.platform, app, release).await?;
            let instance = match Box::pin(resume(context, release, &deployment, probe)).await? {
                Some(instance) => instance,
                None => Box::pin(start(context, app, release, &deployment, probe)).await?,
            };
            let switch = switch_to(context, app, release, &deployment, &instance, probe);
            context.step(StepName::Switch, switch).await
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
                if let Some(schedules) = &context.platform.runtime.schedules
                    && release.environment == runs::SCHEDULED
                {
                    let deployment = deployment(&context.platform, app, release).await?;
                    retry_during_outage(context, || Box::pin(schedules.keep(&deployment))).await?;
                }
                take_over(context, app, release).await?;
                // Nothing will answer at its address, which the announcement of the deployment said is starting.
                context.platform.gateway.routes().remove(&app.name, release.environment);
                Ok(())
            };
            context.step(StepName::Switch, work).await
        }
    }
}

/// Switches traffic to a release that is ready, and records that it is live.
async fn switch_to(
    context: &JobContext,
    app: &App,
    release: &Release,
    deployment: &Deployment,
    instance: &Instance,
    probe: &Probe,
) -> Result<(), Failure> {
    let releases = &context.platform.runtime.releases;
    let tell = context.lines(LogStream::Deploy);
    let switched = retry_during_outage(context, || {
        Box::pin(releases.switch(deployment, instance, probe, START_LIMIT, &tell, &context.cancel))
    })
    .await?;
    // Until it is recorded that the release is live, this undoes the switch where it is dropped.
    take_over(context, app, release).await?;
    switched.keep().await;
    Ok(())
}

/// Has a release that is still paused go on, if a roll back leads to it. None when there is none or it does not answer at once:
/// then it is started.
async fn resume(
    context: &JobContext,
    release: &Release,
    deployment: &Deployment,
    probe: &Probe,
) -> Result<Option<Instance>, Failure> {
    let runtime = &context.platform.runtime;
    let (Some(standby), Some(earlier)) = (&runtime.standby, release.from_release.filter(|_| release.rolled_back))
    else {
        return Ok(None);
    };
    let begun = Instant::now();
    let resumed = retry_during_outage(context, || Box::pin(standby.resume(deployment, earlier))).await?;
    let Some(instance) = resumed else { return Ok(None) };
    let tell = context.lines(LogStream::Deploy);
    let ready = runtime.releases.wait_ready(&instance, probe, RESUME_LIMIT, &tell, &context.cancel);
    match Box::pin(ready).await {
        Ok(answered) => {
            let millis = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            let step = |name, state, millis| Step { name, state, millis };
            let steps =
                vec![step(StepName::Start, StepState::Skipped, 0), step(StepName::Check, StepState::Done, millis)];
            context.note_steps(steps).await?;
            let line =
                format!("Release {earlier} was still there; {} answered after {} ms.", probe.path, answered.millis);
            context.log(LogStream::Deploy, line).await;
            Ok(Some(instance))
        }
        Err(RuntimeError::Cancelled) => Err(Failure::Cancelled),
        Err(error) => {
            let line = format!("Release {earlier} was still there, but did not go on, so it is started again: {error}");
            context.log(LogStream::Deploy, line).await;
            retry_during_outage(context, || Box::pin(standby.end(&instance))).await?;
            Ok(None)
        }
    }
}

/// Starts a release, and waits until it has answered and proved itself.
async fn start(
    context: &JobContext,
    app: &App,
    release: &Release,
    deployment: &Deployment,
    probe: &Probe,
) -> Result<Instance, Failure> {
    let releases = &context.platform.runtime.releases;
    let tell = context.lines(LogStream::Deploy);
    let start = retry_during_outage(context, || Box::pin(releases.start(deployment, &tell, &context.cancel)));
    let instance = context.step(StepName::Start, start).await?;
    let check = async {
        let answered = retry_during_outage(context, || {
            Box::pin(releases.wait_ready(&instance, probe, START_LIMIT, &tell, &context.cancel))
        })
        .await?;
        context.log(LogStream::Deploy, format!("{} answered after {} ms.", probe.path, answered.millis)).await;
        if smoke::is_due(release) && !matches!(context.job.kind, JobKind::Start { .. }) {
            Box::pin(smoke::prove(context, app, release, probe, &instance)).await?;
        }
        Ok(())
    };
    context.step(StepName::Check, check).await?;
    Ok(instance)
}

async fn check_run(context: &JobContext, app: &App, release: &Release) -> Result<(), Failure> {
    let log = context.lines(LogStream::App);
    let outcome = runs::run_to_end(context, app, release, RunTrigger::Check, &log).await?;
    if outcome.succeeded() { Ok(()) } else { Err(outcome.failure()) }
}

/// Records that the release is live, and tells of it.
async fn take_over(context: &JobContext, app: &App, release: &Release) -> Result<(), Failure> {
    context.check_cancelled()?;
    let platform = &context.platform;
    let (id, environment, number) = (app.id, release.environment, release.number);
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
    platform.schedule_changed();
    Ok(())
}

/// The release never took traffic: what ran before goes on, and the page says so.
async fn give_up(context: &JobContext, app: &App, release: &Release, failure: Failure) -> Result<Failure, Failure> {
    let (id, environment, number) = (app.id, release.environment, release.number);
    if let Err(error) = put_back(context, app, release).await {
        tracing::warn!(app = %app.name, %environment, ?error, "failed to restore the previous release; the next reconcile retries");
    }
    settle(context, app, environment, Some(number)).await?;
    tracing::info!(app = %app.name, app_id = id.0, %environment, release = number.0, "the release failed; traffic was not switched");
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
    Ok(Box::pin(platform.runtime.releases.abandon(&failed, previous.as_ref())).await?)
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
