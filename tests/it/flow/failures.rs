//! Builds and starts that fail: the previous version keeps running, and the reason is reported.

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::builder::Builder;

async fn still_shows(builder: &Builder, host: &str, words: &str) {
    let answer = builder.open(host, "/hello/you").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.text().contains(words), "{}", answer.text());
}

fn has_words(job: &Value, code: &str) {
    let error = &job["error"];
    assert_eq!(error["code"], code, "{job:#}");
    assert!(error["message"].as_str().is_some_and(|text| text.ends_with(['.', '…'])), "a sentence: {job:#}");
    assert!(error["hint"].as_str().is_some_and(|text| !text.is_empty()), "what to do: {job:#}");
}

#[tokio::test]
async fn failed_deployments_keep_the_running_version() {
    let builder = Builder::start().await;
    let app = builder.create("simple-api", "Fails now and then").await;
    builder.preview(&app).await;
    let host = format!("{app}-preview");
    let previews = format!("/apps/{app}/previews");
    let good = builder.get(&format!("/apps/{app}/files/main.py")).await.text();

    // The image cannot be built.
    builder.write(&app, "requirements.txt", "fastapi==0.165.0\nno-such-package-of-ours==99.99\n").await;
    let job = builder.failed(&previews, &json!({})).await;
    has_words(&job, "build_failed");
    assert!(job["error"]["lines"].to_string().contains("no-such-package-of-ours"), "{job:#}");
    still_shows(&builder, &host, "Hello, you!").await;
    let described = builder.app(&app).await;
    assert_eq!(described["environments"]["preview"]["state"], "ready", "{described:#}");
    assert_eq!(described["environments"]["preview"]["release"], 1);

    // It is built, and does not start.
    builder.write(&app, "requirements.txt", "fastapi==0.165.0\n").await;
    builder.write(&app, "main.py", "raise RuntimeError('the tide is out')\n").await;
    let job = builder.failed(&previews, &json!({})).await;
    has_words(&job, "start_failed");
    assert!(job["error"]["lines"].to_string().contains("the tide is out"), "{job:#}");
    still_shows(&builder, &host, "Hello, you!").await;

    // Each step of the failed deployment says how far it came.
    let mut events = builder.job_events(&job["id"], 0).await;
    let events = events.read_out(crate::support::PATIENCE).await;
    let last = events.last().expect("events");
    assert!(last.is_job("failed"), "{last:?}");
    let steps = last.data["steps"].as_array().expect("steps");
    assert!(steps.iter().any(|step| step["name"] == "build" && step["state"] == "done"), "{steps:#?}");
    assert!(steps.iter().any(|step| step["state"] == "failed"), "{steps:#?}");
    assert_eq!(last.data["error"], job["error"]);

    // And nothing of it blocks the next one.
    builder.write(&app, "main.py", &good.replace("Hello", "Ahoy")).await;
    builder.preview(&app).await;
    still_shows(&builder, &host, "Ahoy, you!").await;
    let states: Vec<Value> = builder.releases(&app, "preview").await.iter().map(|r| r["state"].clone()).collect();
    assert_eq!(states.iter().filter(|state| *state == "ready").count(), 1, "{states:?}");
    assert_eq!(states.iter().filter(|state| *state == "deploying").count(), 0, "{states:?}");
}

#[tokio::test]
async fn a_first_deployment_that_fails_leaves_nothing() {
    let builder = Builder::start().await;
    let app = builder.create("simple-api", "Never answers").await;
    builder.write(&app, "main.py", "import time\ntime.sleep(1)\nraise SystemExit(4)\n").await;
    let job = builder.failed(&format!("/apps/{app}/previews"), &json!({})).await;
    has_words(&job, "start_failed");
    assert_eq!(builder.app(&app).await["environments"]["preview"]["state"], "failed");
    assert_eq!(builder.installation().places(), Vec::<String>::new());
    let page = builder.open(&format!("{app}-preview"), "/").await;
    assert!(page.status.is_client_error() || page.status == 503, "a plain page says so: {}", page.status);
    builder.post(&format!("/apps/{app}/publish"), &json!({})).await.expect_problem(409, "nothing_to_publish");
}

#[tokio::test]
async fn unreadable_settings_are_reported() {
    let builder = Builder::start().await;
    let app = builder.create("scheduled-job", "Runs at odd times").await;
    builder.write(&app, "app.toml", "schedule = \"every now and then\"\n").await;
    let job = builder.failed(&format!("/apps/{app}/previews"), &json!({})).await;
    assert!(job["error"]["message"].as_str().is_some_and(|text| text.contains("every now and then")), "{job:#}");
    builder.write(&app, "app.toml", "schedule = \n").await;
    let job = builder.failed(&format!("/apps/{app}/previews"), &json!({})).await;
    has_words(&job, "bad_settings");
}

/// Unreadable secrets cannot be redacted, so no job starts that could print them.
#[tokio::test]
async fn no_job_runs_whose_secrets_cannot_be_read() {
    let builder = Builder::start().await;
    let app = builder.create("static-site", "Has a broken secret").await;
    let database = Connection::open(builder.data().join("slipway.db")).expect("the builder's database");
    let broken = "INSERT INTO secrets SELECT id, 'preview', 'BROKEN', CAST(x'ff' AS TEXT) FROM apps";
    assert_eq!(database.execute(broken, []).expect("inserted"), 1);
    let job = builder.failed(&format!("/apps/{app}/previews"), &json!({})).await;
    has_words(&job, "secrets_unreadable");
    assert!(job["steps"].as_array().is_none_or(Vec::is_empty), "nothing was begun: {job:#}");
    assert_eq!(builder.app(&app).await["name"], app.as_str(), "the app is as it was");
    // Once they can be read, it can be tried again.
    database.execute("DELETE FROM secrets", []).expect("deleted");
    builder.preview(&app).await;
}
