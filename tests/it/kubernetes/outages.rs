//! What a job needs goes away, before it or in the middle: the page says what is missing, and the job goes on when
//! it is back.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use slipway::domain::{App, Environment, JobState};

use super::line::Line;
use super::load::Load;
use super::stage::{Stage, until};

/// Whether the health page names the unavailable part.
async fn is_missed(stage: &Stage, name: &str) -> bool {
    stage.services.health().await.iter().any(|check| !check.ok && check.name == name)
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_wait_for_the_end_of_a_cluster_outage() {
    let stage = Stage::new().await;
    let app = stage.app("static-site").await;
    let job = stage.preview(&app).await;
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);

    // Before the job.
    stage.cluster.cut();
    let job = stage.services.publish(&app.name).await.expect("a job");
    let said = stage.logged(&job, "does not answer").await;
    eprintln!("{said}");
    assert!(said.contains("Kubernetes"), "{said}");
    let health = stage.services.health().await;
    assert!(health.iter().any(|check| !check.ok && check.name == "kubernetes"), "{health:?}");
    stage.cluster.restore();
    let job = stage.ended(&job).await;
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);
    stage.is_served(&app, Environment::Prod, "/").await;

    // In the middle of it.
    stage.write(&app, "public/index.html", "after the outage").await;
    let job = stage.services.deploy_preview(&app.name, None).await.expect("a job");
    let name = format!("{}-preview", app.name);
    let deployments = stage.objects::<Deployment>(&app);
    until("the new version is on its way", async || {
        let deployment = deployments.get(&name).await.ok()?;
        (deployment.metadata.labels?.get("slipway.dev/release")? == "2").then_some(())
    })
    .await;
    stage.cluster.cut();
    stage.logged(&job, "does not answer").await;
    stage.cluster.restore();
    let job = stage.ended(&job).await;
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);
    stage.answers(&app, Environment::Preview, "/", "after the outage").await;
    stage.delete(&app).await;
}

/// An API that answers `word`, and takes a moment to start.
fn slow(word: &str) -> String {
    format!(
        "import time\nfrom fastapi import FastAPI\nfrom fastapi.responses import PlainTextResponse\n\ntime.sleep(3)\n\
         app = FastAPI()\n\n\n@app.get(\"/health\")\ndef health():\n    return {{}}\n\n\n\
         @app.get(\"/\", response_class=PlainTextResponse)\ndef index():\n    return \"{word}\"\n"
    )
}

/// Waits until an environment's Deployment is at a release.
async fn is_at(stage: &Stage, app: &App, environment: Environment, release: &str) {
    let deployments = stage.objects::<Deployment>(app);
    let name = format!("{}-{environment}", app.name);
    until("the rollout has begun", async || {
        let deployment = deployments.get(&name).await.ok()?;
        (deployment.metadata.labels?.get("slipway.dev/release")? == release).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_builder_resumes_a_rollout() {
    let mut stage = Stage::new().await;
    let app = stage.app("simple-api").await;
    stage.write(&app, "main.py", &slow("one")).await;
    let job = stage.preview(&app).await;
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);
    let job = stage.services.publish(&app.name).await.expect("a job");
    is_at(&stage, &app, Environment::Prod, "1").await;
    stage.restart_at_once().await;
    let job = stage.ended(&job).await;
    assert_eq!((job.state, job.attempts), (JobState::Succeeded, 2), "{:?}", job.error);
    stage.answers(&app, Environment::Prod, "/", "one").await;

    // And where something runs already, without a failed request.
    stage.write(&app, "main.py", &slow("two")).await;
    assert_eq!(stage.preview(&app).await.state, JobState::Succeeded);
    let load = Load::on(&format!("http://{}/", stage.address(&app, Environment::Prod).await));
    let job = stage.services.publish(&app.name).await.expect("a job");
    is_at(&stage, &app, Environment::Prod, "2").await;
    stage.restart_at_once().await;
    let job = stage.ended(&job).await;
    assert_eq!((job.state, job.attempts), (JobState::Succeeded, 2), "{:?}", job.error);
    stage.answers(&app, Environment::Prod, "/", "two").await;
    until("the old pods are gone", async || {
        let pods = stage.objects::<Pod>(&app).list(&ListParams::default()).await.ok()?;
        (pods.items.len() == 2).then_some(())
    })
    .await;
    let outcome = load.end().await;
    assert!(outcome.failures.is_empty(), "of {}: {:?}", outcome.sent, outcome.failures);
    stage.delete(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_jobs_that_failed_in_an_outage_are_removed_after_it() {
    let stage = Stage::new().await;
    let app = stage.app("simple-api").await;
    stage.write(&app, "main.py", &slow("one")).await;
    let job = stage.services.deploy_preview(&app.name, None).await.expect("a job");
    is_at(&stage, &app, Environment::Preview, "1").await;
    stage.cluster.cut();
    stage.logged(&job, "does not answer").await;
    stage.services.cancel(job.id).await.expect("it is cancelled");
    assert_eq!(stage.ended(&job).await.state, JobState::Cancelled);
    stage.cluster.restore();
    let deployments = stage.objects::<Deployment>(&app);
    until("nothing of it is left", async || {
        let left = deployments.list(&ListParams::default()).await.ok()?;
        left.items.is_empty().then_some(())
    })
    .await;
    stage.delete(&app).await;
}

/// Cuts a line before a preview, and restores it once the job has said that it waits.
async fn waits_out(stage: &Stage, app: &App, line: &Line, (name, said): (&str, &str), text: &str) {
    stage.write(app, "public/index.html", text).await;
    line.cut();
    let job = stage.services.deploy_preview(&app.name, None).await.expect("a job");
    let sentence = stage.logged(&job, "will resume by itself").await;
    eprintln!("{sentence}");
    assert!(sentence.contains(said), "{sentence}");
    assert!(is_missed(stage, name).await, "the health page does not miss {name}");
    line.restore();
    let job = stage.ended(&job).await;
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);
    assert!(!is_missed(stage, name).await);
    stage.answers(app, Environment::Preview, "/", text).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_wait_for_the_end_of_an_engine_or_registry_outage() {
    let stage = Stage::new().await;
    let app = stage.app("static-site").await;
    waits_out(&stage, &app, &stage.engine, ("docker", "Docker"), "after the engine's outage").await;
    waits_out(&stage, &app, &stage.registry, ("registry", "registry"), "after the registry's outage").await;
    // Deleting needs the registry too.
    stage.registry.cut();
    let job = stage.services.delete_app(&app.name).await.expect("a job");
    stage.logged(&job, "will resume by itself").await;
    stage.registry.restore();
    assert_eq!(stage.ended(&job).await.state, JobState::Succeeded);
}
