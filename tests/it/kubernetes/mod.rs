//! The whole flow on a real cluster: through the real jobs, with the builder's own account.
//!
//! Needs a cluster, a Docker engine and a registry: `scripts/test kubernetes` brings all of them.

mod faults;
mod images;
mod input;
mod jobs;
mod line;
mod load;
mod outages;
mod preview_access;
mod proof;
mod stage;
mod upkeep;

use std::time::Instant;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::ListParams;
use load::Load;
use slipway::domain::{App, Environment, JobState};
use stage::Stage;

/// The image that an environment's Deployment runs.
async fn image(stage: &Stage, app: &App, environment: Environment) -> String {
    let name = format!("{}-{environment}", app.name);
    let deployment = stage.objects::<Deployment>(app).get(&name).await.expect("a Deployment");
    let pod = deployment.spec.expect("a spec").template.spec.expect("a pod");
    pod.containers[0].image.clone().expect("an image")
}

/// An API that answers `word`.
fn api(word: &str) -> String {
    format!(
        "from fastapi import FastAPI\nfrom fastapi.responses import PlainTextResponse\n\napp = FastAPI()\n\n\n\
         @app.get(\"/health\")\ndef health():\n    return {{}}\n\n\n\
         @app.get(\"/\", response_class=PlainTextResponse)\ndef index():\n    return \"{word}\"\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_from_its_first_preview_to_its_deletion() {
    whole_life("static-site", "public/index.html", str::to_owned).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_from_its_first_preview_to_its_deletion() {
    whole_life("simple-api", "main.py", api).await;
}

/// Create, preview, change, preview, publish, publish another and roll back under load, delete.
async fn whole_life(template: &str, file: &str, text: impl Fn(&str) -> String) {
    let stage = Stage::new().await;
    let app = stage.app(template).await;
    stage.write(&app, file, &text("one")).await;
    let begun = Instant::now();
    let job = stage.preview(&app).await;
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);
    eprintln!("first preview: {:?}; {:?}", begun.elapsed(), job.steps);
    stage.answers(&app, Environment::Preview, "/", "one").await;

    // The other objects of the app.
    let namespace = stage.namespaces().get(&format!("app-{}", app.name)).await.expect("a namespace");
    let labels = namespace.metadata.labels.expect("labels");
    assert_eq!(labels["pod-security.kubernetes.io/enforce"], "restricted");
    assert_eq!(labels["app.kubernetes.io/managed-by"], "slipway");
    let quotas = stage.objects::<ResourceQuota>(&app).list(&ListParams::default()).await.expect("quotas");
    assert_eq!(quotas.items.len(), 1);
    let policies = stage.objects::<NetworkPolicy>(&app).list(&ListParams::default()).await.expect("policies");
    assert_eq!(policies.items.len(), 4);
    let pods = stage.objects::<Pod>(&app).list(&ListParams::default()).await.expect("pods");
    let pod = pods.items[0].spec.clone().expect("a pod");
    assert_eq!(pod.automount_service_account_token, Some(false));
    assert!(pod.containers[0].image.as_ref().is_some_and(|image| image.contains("@sha256:")));

    stage.write(&app, file, &text("two")).await;
    let begun = Instant::now();
    let job = stage.preview(&app).await;
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);
    eprintln!("changed preview: {:?}; {:?}", begun.elapsed(), job.steps);
    stage.answers(&app, Environment::Preview, "/", "two").await;

    let job = stage.publish(&app).await;
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);
    assert_eq!(image(&stage, &app, Environment::Prod).await, image(&stage, &app, Environment::Preview).await);
    stage.answers(&app, Environment::Prod, "/", "two").await;

    stage.write(&app, file, &text("three")).await;
    assert_eq!(stage.preview(&app).await.state, JobState::Succeeded);
    let address = stage.address(&app, Environment::Prod).await;
    let load = Load::on(&format!("http://{address}/"));
    stage::until("visitors come", async || (load.sent() > 20).then_some(())).await;
    let begun = Instant::now();
    let job = stage.publish(&app).await;
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);
    eprintln!("publish under load: {:?}; {:?}", begun.elapsed(), job.steps);
    stage.answers(&app, Environment::Prod, "/", "three").await;
    let begun = Instant::now();
    let job = stage.services.rollback(&app.name, Environment::Prod, None).await.expect("a job");
    let job = stage.ended(&job).await;
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);
    eprintln!("roll back under load: {:?}; {:?}", begun.elapsed(), job.steps);
    stage.answers(&app, Environment::Prod, "/", "two").await;
    // Until the last of the old pods is gone: that is when requests would fail.
    stage::until("the old pods are gone", async || {
        let pods = stage.objects::<Pod>(&app).list(&ListParams::default()).await.ok()?;
        (pods.items.len() == 2).then_some(())
    })
    .await;
    let outcome = load.end().await;
    assert!(outcome.failures.is_empty(), "of {}: {:?}", outcome.sent, outcome.failures);
    eprintln!("{} requests, none failed", outcome.sent);
    stage.delete(&app).await;
}
