//! Each way in which a rollout comes to nothing, provoked for real: said in words, soon, and with the
//! old version serving on.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Node, ResourceQuota};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use slipway::domain::{App, Environment, Job, JobError, JobState};

use super::stage::{REGISTRY, Stage, http, until};

/// An API whose health is `health`, and which begins with `first`.
fn api(first: &str, health: &str) -> String {
    format!(
        "from fastapi import FastAPI, Response\n{first}\napp = FastAPI()\n\n\
         @app.get('/health')\ndef health(response: Response):\n    {health}\n    return {{}}\n\n\
         @app.get('/')\ndef index():\n    return 'well'\n"
    )
}

const WELL: &str = "response.status_code = 200";

/// The error of a job that has to have failed.
fn failed(job: &Job, code: &str) -> JobError {
    assert_eq!(job.state, JobState::Failed, "{job:?}");
    let error = job.error.clone().expect("an error");
    eprintln!("{code}: {} {:?}", error.message, error.lines.last());
    assert_eq!(error.code, code, "{error:?}");
    error
}

async fn serves(stage: &Stage, app: &App) {
    stage.answers(app, Environment::Preview, "/", "\"well\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_the_app_are_reported_and_the_old_version_keeps_serving() {
    let stage = Stage::new().await;
    let app = stage.app("simple-api").await;
    stage.write(&app, "main.py", &api("", WELL)).await;
    let job = stage.preview(&app).await;
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);
    serves(&stage, &app).await;

    stage.write(&app, "main.py", &api("raise SystemExit('no such luck')", WELL)).await;
    let error = failed(&stage.preview(&app).await, "start_failed");
    assert!(error.lines.iter().any(|line| line.contains("no such luck")), "{:?}", error.lines);
    serves(&stage, &app).await;

    let hungry = "hoard = bytearray(400 * 1024 * 1024)";
    stage.write(&app, "main.py", &api(hungry, WELL)).await;
    let error = failed(&stage.preview(&app).await, "start_failed");
    assert!(error.message.contains("memory"), "{}", error.message);
    serves(&stage, &app).await;

    stage.write(&app, "main.py", &api("", "response.status_code = 503")).await;
    let error = failed(&stage.preview(&app).await, "health_check_failed");
    assert!(error.message.contains("503"), "{}", error.message);
    serves(&stage, &app).await;

    // The failed release is not live, and the cluster runs the live one.
    let status = stage.services.app(&app.name).await.expect("the app").environment(Environment::Preview).clone();
    assert_eq!(status.release.map(|release| release.0), Some(1));
    let deployment =
        stage.objects::<Deployment>(&app).get(&format!("{}-preview", app.name)).await.expect("it is there");
    assert_eq!(deployment.metadata.labels.expect("labels")["slipway.dev/release"], "1");
    stage.delete(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_the_cluster_are_reported_and_the_old_version_keeps_serving() {
    let stage = Stage::new().await;
    let app = stage.app("simple-api").await;
    stage.write(&app, "main.py", &api("", WELL)).await;
    let job = stage.preview(&app).await;
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);

    // No room in the quota, which an operator made too small.
    let quotas = stage.objects::<ResourceQuota>(&app);
    let pods = |count: &str| json!({"spec": {"hard": {"pods": count}}});
    quotas.patch("slipway", &PatchParams::default(), &Patch::Merge(pods("1"))).await.expect("a smaller quota");
    // The builder puts it back: so this quota is another one.
    let small: ResourceQuota = serde_json::from_value(json!({
        "metadata": {"name": "small"}, "spec": {"hard": {"pods": "1"}},
    }))
    .expect("a quota");
    quotas.create(&PostParams::default(), &small).await.expect("a quota");
    until("the quota counts", async || quotas.get("small").await.ok()?.status?.used?.get("pods").cloned()).await;
    stage.write(&app, "main.py", &api("# 2", WELL)).await;
    let error = failed(&stage.preview(&app).await, "no_room");
    assert!(error.message.contains("quota") && error.message.contains("pods=1"), "{}", error.message);
    serves(&stage, &app).await;
    quotas.delete("small", &DeleteParams::default()).await.expect("it goes");

    // No node takes it.
    let nodes: Api<Node> = Api::all(stage.operator.clone());
    let all = nodes.list(&ListParams::default()).await.expect("nodes").items;
    let cordon = async |closed: bool| {
        for node in &all {
            let name = node.metadata.name.as_deref().expect("a name");
            let patch = json!({"spec": {"unschedulable": closed}});
            nodes.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.expect("it is changed");
        }
    };
    cordon(true).await;
    stage.write(&app, "main.py", &api("# 3", WELL)).await;
    let job = stage.preview(&app).await;
    cordon(false).await;
    let error = failed(&job, "no_room");
    assert!(error.message.contains("node"), "{}", error.message);
    serves(&stage, &app).await;

    // The image is gone from the registry and from the node when an earlier release is to run again.
    stage.write(&app, "main.py", &api("# 4", WELL)).await;
    let job = stage.preview(&app).await;
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);
    let first =
        stage.services.release(&app, Environment::Preview, slipway::domain::ReleaseNumber(1)).await.expect("it");
    let digest = first.image.digest();
    until("the old pod is gone, and with it the node's use of the image", async || {
        let pods = stage.objects::<k8s_openapi::api::core::v1::Pod>(&app).list(&ListParams::default()).await.ok()?;
        (pods.items.len() == 1).then_some(())
    })
    .await;
    let url = format!("http://{REGISTRY}/v2/slipway/{}/manifests/{digest}", app.name);
    let answer = http().delete(url).send().await.expect("an answer");
    assert!(answer.status().is_success(), "{answer:?}");
    // By its id: it has the name under which it was pushed as well.
    let docker = |arguments: &[&str]| {
        let done = std::process::Command::new("docker").args(arguments).output().expect("docker runs");
        assert!(done.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    };
    let id = docker(&["image", "inspect", "--format", "{{.Id}}", first.image.as_str()]);
    docker(&["rmi", "-f", &id]);
    let job = stage.services.rollback(&app.name, Environment::Preview, Some(first.number)).await.expect("a job");
    let error = failed(&stage.ended(&job).await, "image_pull_failed");
    assert!(error.message.contains("pull"), "{}", error.message);
    serves(&stage, &app).await;
    stage.delete(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_namespace_stays_unchanged() {
    let stage = Stage::new().await;
    let app = stage.app("static-site").await;
    let name = format!("app-{}", app.name);
    let foreign: Namespace =
        serde_json::from_value(json!({"metadata": {"name": name, "labels": {"team": "somebody"}}}))
            .expect("a namespace");
    let before = stage.namespaces().create(&PostParams::default(), &foreign).await.expect("it is made");
    let job = stage.preview(&app).await;
    let error = job.error.expect("an error");
    assert_eq!(error.code, "namespace_taken", "{error:?}");
    assert!(error.message.contains(&name), "{}", error.message);
    // Nothing in it was made, and nothing of it changed; deleting the app leaves it as it is.
    let deployments = stage.objects::<Deployment>(&app).list(&ListParams::default()).await.expect("an answer");
    assert!(deployments.items.is_empty());
    let job = stage.services.delete_app(&app.name).await.expect("a job");
    let ended = stage.ended(&job).await;
    assert_eq!(ended.state, JobState::Succeeded, "{:?}", ended.error);
    let after = stage.namespaces().get(&name).await.expect("it is still there");
    assert_eq!(after.metadata.labels, before.metadata.labels);
    assert!(after.metadata.deletion_timestamp.is_none());
    stage.namespaces().delete(&name, &DeleteParams::default()).await.expect("it goes");
}
