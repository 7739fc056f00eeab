//! The queue: one job of an app at a time, others wait in order, each can be cancelled.

use serde_json::json;

use crate::support::builder::Builder;
use crate::support::stream::Event;
use crate::support::{PATIENCE, eventually};

#[tokio::test]
async fn jobs_of_an_app_run_one_after_the_other() {
    // The demo model types slowly, so that a turn is still running when the rest is asked for.
    let builder = Builder::start_with(&[("SLIPWAY_DEMO_PACE", "1")]).await;
    let app = builder.create("static-site", "Busy").await;
    let turn = builder.ask(&format!("/apps/{app}/turns"), &json!({"prompt": "A page"})).await;
    let mut events = builder.events(&app, 0).await;
    events.wait("the turn runs", PATIENCE, |event| event.is_job("running")).await;
    let preview = builder.ask(&format!("/apps/{app}/previews"), &json!({})).await;
    let doomed = builder.ask(&format!("/apps/{app}/turns"), &json!({"prompt": "Never mind"})).await;
    for job in [&preview, &doomed] {
        assert_eq!(builder.job(&job["id"]).await["state"], "queued");
    }

    // A queued one is withdrawn at once.
    let withdrawn = builder.post(&format!("/jobs/{}/cancel", doomed["id"]), &json!({})).await;
    assert!(withdrawn.status.is_success(), "{}", withdrawn.text());
    assert_eq!(builder.job(&doomed["id"]).await["state"], "cancelled");
    assert_eq!(builder.job(&turn["id"]).await["state"], "running", "the others keep running");

    // A running one stops, and what was queued behind it begins.
    builder.post(&format!("/jobs/{}/cancel", turn["id"]), &json!({})).await;
    assert_eq!(builder.ended(&turn).await["state"], "cancelled");
    assert_eq!(builder.ended(&preview).await["state"], "succeeded");
    let ended = builder.post(&format!("/jobs/{}/cancel", preview["id"]), &json!({})).await;
    assert!(ended.status.is_success() || ended.status == 409, "{}", ended.text());
    assert_eq!(builder.job(&preview["id"]).await["state"], "succeeded", "an ended job stays as it ended");

    // By their events: never two at once.
    let (last, kind) = (preview["id"].clone(), "succeeded");
    events.wait("the preview's end", PATIENCE, |event| event.is_job(kind) && event.data["id"] == last).await;
    assert_one_at_a_time(&events.so_far());
}

/// No job of the app runs while another one does.
fn assert_one_at_a_time(events: &[Event]) {
    let mut running = None;
    for event in events.iter().filter(|event| event.name == "job") {
        let (id, state) = (&event.data["id"], event.data["state"].as_str().unwrap_or_default());
        match state {
            "running" => {
                assert!(running.is_none_or(|other| other == id), "{id} runs beside {running:?}");
                running = Some(id);
            }
            "succeeded" | "failed" | "cancelled" if running == Some(id) => running = None,
            _ => {}
        }
    }
}

#[tokio::test]
async fn jobs_of_different_apps_run_concurrently() {
    let builder = Builder::start_with(&[("SLIPWAY_DEMO_PACE", "1")]).await;
    let slow = builder.create("static-site", "Types for a while").await;
    let quick = builder.create("static-site", "Deploys meanwhile").await;
    let turn = builder.ask(&format!("/apps/{slow}/turns"), &json!({"prompt": "A long page"})).await;
    let mut events = builder.events(&slow, 0).await;
    events.wait("the turn runs", PATIENCE, |event| event.is_job("running")).await;
    builder.preview(&quick).await;
    builder.post(&format!("/jobs/{}/cancel", turn["id"]), &json!({})).await;
    builder.ended(&turn).await;
}

#[tokio::test]
async fn a_running_deployment_can_be_stopped() {
    let builder = Builder::start().await;
    let app = builder.create("simple-api", "Takes its time").await;
    builder.preview(&app).await;
    // Starts, and does not answer for a long while.
    builder.write(&app, "main.py", "import time\ntime.sleep(50)\n").await;
    let job = builder.ask(&format!("/apps/{app}/previews"), &json!({})).await;
    let mut events = builder.job_events(&job["id"], 0).await;
    events.wait("the check runs", PATIENCE, |event| event.is_step("check", "running")).await;
    builder.post(&format!("/jobs/{}/cancel", job["id"]), &json!({})).await;
    assert_eq!(builder.ended(&job).await["state"], "cancelled");
    assert_eq!(
        builder.open(&format!("{app}-preview"), "/health").await.status,
        200,
        "the previous version keeps running"
    );
    assert_eq!(builder.app(&app).await["environments"]["preview"]["state"], "ready");
    eventually("the new container goes", PATIENCE, || async {
        (builder.installation().places() == [format!("{app}/preview/1")]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn missing_jobs_are_not_found() {
    let builder = Builder::start().await;
    builder.get("/jobs/4711").await.expect_problem(404, "not_found");
    builder.post("/jobs/4711/cancel", &json!({})).await.expect_problem(404, "not_found");
    builder.get("/jobs/4711/events").await.expect_problem(404, "not_found");
    let odd = builder.get("/jobs/..%2F..").await;
    assert!(odd.status.is_client_error(), "{}", odd.status);
    builder.get("/apps/nobody-here").await.expect_problem(404, "not_found");
    builder.post("/apps/nobody-here/previews", &json!({})).await.expect_problem(404, "not_found");
}
