//! Faults of the job queue: results that cannot be recorded, abandoned jobs, a full disk, an outage of the
//! engine. The process recovers from each without a restart.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::builder::Builder;
use crate::support::engine::{Line, docker};
use crate::support::{PATIENCE, eventually};

fn database(builder: &Builder) -> Connection {
    let database = Connection::open(builder.data().join("slipway.db")).expect("the builder's database");
    database.busy_timeout(Duration::from_secs(20)).expect("an option of every connection");
    database
}

async fn has_logged(builder: &Builder, words: &str) {
    eventually(words, PATIENCE, || std::future::ready(builder.log().contains(words).then_some(()))).await;
}

async fn state(builder: &Builder, job: &Value) -> String {
    let job = builder.get(&format!("/jobs/{}", job["id"])).await.expect(200);
    job["state"].as_str().expect("a state").to_owned()
}

#[tokio::test]
async fn a_result_that_cannot_be_recorded_is_recorded_later() {
    let builder = Builder::start().await;
    let app = builder.create("static-site", "Ends late").await;
    let trap =
        "CREATE TRIGGER trap BEFORE UPDATE OF state ON jobs WHEN NEW.state IN ('succeeded', 'failed', 'cancelled')
                BEGIN SELECT raise(ABORT, 'there is no room'); END";
    database(&builder).execute_batch(trap).expect("made");
    let turns = format!("/apps/{app}/turns");
    let first = builder.ask(&turns, &json!({"prompt": "Tide tables"})).await;
    let second = builder.ask(&turns, &json!({"prompt": "Lamp times"})).await;
    has_logged(&builder, "failed to record the end of a job; retrying").await;
    assert_eq!(state(&builder, &first).await, "running", "its end is not known yet");
    assert_eq!(state(&builder, &second).await, "queued", "one job of an app at a time");
    database(&builder).execute_batch("DROP TRIGGER trap").expect("dropped");
    for job in [first, second] {
        let job = builder.ended(&job).await;
        assert_eq!(job["state"], "succeeded", "{job:#}");
    }
    assert_eq!(builder.log().matches("Slipway is ready").count(), 1, "it was not started again");
}

#[tokio::test]
async fn an_abandoned_job_is_ended_and_the_queue_continues() {
    let builder = Builder::start().await;
    let app = builder.create("static-site", "Abandoned").await;
    let head = builder.head(&app).await;
    let abandoned = format!(
        r#"INSERT INTO jobs (app_id, app_name, kind, payload, state, attempts, created_at, started_at)
           SELECT id, name, 'preview', '{{"kind": "preview", "version": "{head}"}}', 'running', 3, 1, 1 FROM apps"#
    );
    let id = {
        let database = database(&builder);
        database.execute(&abandoned, []).expect("inserted");
        database.last_insert_rowid()
    };
    // Of the same app, so that it waits for the other one's end.
    builder.turn(&app, "Tide tables").await;
    let job = builder.get(&format!("/jobs/{id}")).await.expect(200);
    assert_eq!((&job["state"], &job["error"]["code"]), (&json!("failed"), &json!("interrupted")), "{job:#}");
    has_logged(&builder, "found an abandoned job").await;
}

#[tokio::test]
async fn a_failed_read_of_the_queue_is_retried_without_new_jobs() {
    let builder = Builder::start().await;
    let app = builder.create("static-site", "Taken late").await;
    let trap = "CREATE TRIGGER trap BEFORE UPDATE OF state ON jobs WHEN NEW.state = 'running'
                BEGIN SELECT raise(ABORT, 'there is no room'); END";
    database(&builder).execute_batch(trap).expect("made");
    let job = builder.ask(&format!("/apps/{app}/turns"), &json!({"prompt": "Tide tables"})).await;
    has_logged(&builder, "failed to take the next job; retrying").await;
    database(&builder).execute_batch("DROP TRIGGER trap").expect("dropped");
    let job = builder.ended(&job).await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
}

/// Fills a folder's disk to its last byte.
fn fill(file: &Path) {
    let mut filler = std::fs::File::create(file).expect("there is room for a name");
    for size in [1 << 20, 1 << 12, 1] {
        while filler.write_all(&vec![b'x'; size]).is_ok() {}
    }
}

#[tokio::test]
async fn a_full_disk_fails_at_most_the_running_job() {
    // The demo model types slowly enough for the disk to be full before it has ended.
    let builder = Builder::start_on_disk(64, &[("SLIPWAY_DEMO_PACE", "0.5")]).await;
    let app = builder.create("static-site", "Finds no room").await;
    let turns = format!("/apps/{app}/turns");
    let job = builder.ask(&turns, &json!({"prompt": "Tide tables"})).await;
    let mut events = builder.job_events(&job["id"], 0).await;
    events.wait("a file is being typed", PATIENCE, |event| event.name == "file").await;
    let filler = builder.data().join("filler");
    fill(&filler);
    has_logged(&builder, "failed to write events").await;
    // Requests meanwhile get the real reason.
    let refused = builder.post(&turns, &json!({"prompt": "Lamp times"})).await;
    refused.expect_problem(507, "disk_full");
    assert_eq!(state(&builder, &job).await, "running");

    std::fs::remove_file(&filler).expect("it is there");
    let job = builder.ended(&job).await;
    match job["state"].as_str() {
        Some("succeeded") => {}
        _ => assert_eq!(job["error"]["code"], "disk_full", "{job:#}"),
    }
    let told = events.read_out(PATIENCE).await;
    assert!(told.last().is_some_and(|event| event.data["state"] == job["state"]), "its end is among its events");
    builder.turn(&app, "Lamp times").await;
    assert_eq!(builder.log().matches("Slipway is ready").count(), 1, "it was not started again");
}

#[tokio::test]
async fn a_container_that_was_removed_during_an_outage_is_restarted() {
    let mut line = Line::new();
    let builder = Builder::start_with(&[("DOCKER_HOST", &line.host())]).await;
    let app = builder.create("static-site", "Comes back").await;
    builder.preview(&app).await;
    let before = builder.installation().containers();
    let [container] = &before[..] else { panic!("one container: {before:#?}") };
    line.cut().await;
    docker(&["rm", "--force", &container.id]).expect("removed");
    line.restore();
    eventually("the app answers again", PATIENCE, || async {
        (builder.open(&format!("{app}-preview"), "/").await.status == 200).then_some(())
    })
    .await;
    assert_eq!(builder.installation().places(), [format!("{app}/preview/1")]);
    let status = eventually("it is shown as ready", PATIENCE, || async {
        let status = builder.app(&app).await["environments"]["preview"].clone();
        (status["state"] == "ready").then_some(status)
    })
    .await;
    assert_eq!(status["release"], 1, "{status:#}");
    assert_eq!(builder.log().matches("Slipway is ready").count(), 1, "it was not started again");
}
