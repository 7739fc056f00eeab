//! The process is killed (SIGKILL) at many points of what it does, and started again on the same
//! data: nothing that was seen may be lost, nothing may be left over, and every job finds an end.
//! Each point is a test of its own.

use std::collections::BTreeMap;

use crate::support::builder::{Builder, is_there};
use crate::support::stream::{Event, joined};
use crate::support::{PATIENCE, eventually};
use serde_json::{Value, json};

/// When the process is killed: as soon as such an event has been seen.
struct Point {
    name: &'static str,
    seen: fn(&Event) -> bool,
}

const fn point(name: &'static str, seen: fn(&Event) -> bool) -> Point {
    Point { name, seen }
}

/// One test per point: `play` is given the point with the test's name.
macro_rules! killed_at_each {
    ($play:path: $($name:ident => $seen:expr;)+) => {
        $(
            #[tokio::test]
            async fn $name() {
                $play(super::point(stringify!($name), $seen)).await;
            }
        )+
    };
}

/// State that must not be lost once it was visible.
struct Seen {
    events: Vec<Event>,
    versions: Vec<Value>,
    releases: Vec<Value>,
}

async fn all_releases(builder: &Builder, app: &str) -> Vec<Value> {
    let list = builder.get(&format!("/apps/{app}/releases?limit=1000")).await.expect(200);
    list["releases"].as_array().expect("a list").clone()
}

async fn all_versions(builder: &Builder, app: &str) -> Vec<Value> {
    let list = builder.get(&format!("/apps/{app}/versions?limit=1000")).await.expect(200);
    list["versions"].as_array().expect("a list").clone()
}

/// Asks for a job, kills the process at the point, and starts it again. What had been seen by
/// then, and the job as it was answered.
async fn killed_at(builder: &mut Builder, app: &str, path: &str, body: &Value, point: &Point) -> (Seen, Value) {
    let (versions, releases) = (all_versions(builder, app).await, all_releases(builder, app).await);
    let mut events = builder.events(app, 0).await;
    let job = builder.ask(&format!("/apps/{app}{path}"), body).await;
    let mut of_job = builder.job_events(&job["id"], 0).await;
    of_job.wait(point.name, PATIENCE, point.seen).await;
    builder.kill();
    let events = events.read_out(PATIENCE).await;
    builder.restart().await;
    (Seen { events, versions, releases }, job)
}

/// Checks everything that holds after any death at any time.
async fn check(builder: &Builder, app: &str, point: &Point, seen: &Seen, job: &Value) -> Value {
    let at = point.name;
    let job = builder.ended(job).await;
    match job["state"].as_str() {
        Some("succeeded") => {}
        Some("failed") => {
            assert!(job["error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{at}: no reason: {job:#}");
        }
        _ => panic!("{at}: {job:#}"),
    }

    // Events: what was seen is kept, under the same ids; ids only grow.
    let mut again = builder.events(app, 0).await;
    let is_end =
        |event: &Event| event.name == "job" && event.data["id"] == job["id"] && event.data["state"] == job["state"];
    again.wait("the job's end", PATIENCE, is_end).await;
    let again = again.so_far();
    for pair in again.windows(2) {
        assert!(pair[0].id < pair[1].id, "{at}: ids only grow");
    }
    let by_id: BTreeMap<u64, &Event> = again.iter().map(|event| (event.id, event)).collect();
    for event in seen.events.iter().filter(|event| !matches!(event.name.as_str(), "text" | "file")) {
        assert_eq!(by_id.get(&event.id), Some(&event), "{at}: an event that was seen is lost or changed");
    }
    let (before, after) = (joined(&seen.events), joined(&again));
    for (position, (name, data)) in before.iter().enumerate() {
        let (kept_name, kept) = after.get(position).unwrap_or_else(|| panic!("{at}: lost {name} {data}"));
        assert_eq!(name, kept_name, "{at}: the order of events has changed");
        let is_last = position + 1 == before.len();
        match (data["delta"].as_str(), kept["delta"].as_str()) {
            // Its last pieces may have been kept without having been seen.
            (Some(seen), Some(kept)) if is_last => assert!(kept.starts_with(seen), "{at}: {seen} became {kept}"),
            _ => assert_eq!(data, kept, "{at}"),
        }
    }

    // Versions and releases: none lost, none changed in what it is.
    let (versions, releases) = (all_versions(builder, app).await, all_releases(builder, app).await);
    for version in &seen.versions {
        assert!(versions.contains(version), "{at}: a version is lost: {version:#}");
    }
    let key = |release: &Value| format!("{} {} {}", release["environment"], release["number"], release["image"]);
    for release in &seen.releases {
        assert!(releases.iter().any(|kept| key(kept) == key(release)), "{at}: a release is lost: {release:#}");
    }
    consistent(builder, app, at, &releases).await;
    job
}

/// The database, the app's page and the engine agree on what runs.
async fn consistent(builder: &Builder, app: &str, at: &str, releases: &[Value]) {
    assert!(releases.iter().all(|release| release["state"] != "deploying"), "{at}: {releases:#?}");
    let mut live = Vec::new();
    for environment in ["preview", "prod"] {
        let of_it: Vec<&Value> = releases.iter().filter(|release| release["environment"] == environment).collect();
        let numbers: Vec<u64> = of_it.iter().filter_map(|release| release["number"].as_u64()).collect();
        assert!(numbers.windows(2).all(|pair| pair[0] > pair[1]), "{at}: {numbers:?}");
        let ready: Vec<&&Value> = of_it.iter().filter(|release| release["state"] == "ready").collect();
        assert!(ready.len() <= 1, "{at}: {} live releases in {environment}", ready.len());
        let described = builder.app(app).await;
        let status = &described["environments"][environment];
        match ready.first() {
            Some(ready) => {
                assert_eq!(status["release"], ready["number"], "{at}: {status:#}");
                assert_eq!(status["version"], ready["version"], "{at}: {status:#}");
                live.push(format!("{app}/{environment}/{}", ready["number"]));
            }
            None => assert!(status["release"].is_null(), "{at}: {status:#}"),
        }
    }
    eventually(&format!("{at}: exactly the live releases have containers: {live:?}"), PATIENCE, || async {
        (builder.installation().places() == live).then_some(())
    })
    .await;
    for place in live {
        let host = if place.contains("/prod/") { app.to_owned() } else { format!("{app}-preview") };
        eventually(&format!("{at}: {host} answers"), PATIENCE, || async {
            (builder.open(&host, "/").await.status == 200).then_some(())
        })
        .await;
        let status = builder.app(app).await["environments"].clone();
        let name = if place.contains("/prod/") { "prod" } else { "preview" };
        assert_eq!(status[name]["state"], "ready", "{at}: {status:#}");
    }
}

/// A site that is live in both environments.
async fn live_site(builder: &Builder) -> String {
    let app = builder.create("static-site", "Survives").await;
    builder.preview(&app).await;
    builder.publish(&app).await;
    app
}

fn is_ready(event: &Event) -> bool {
    event.name == "environment" && event.data["state"] == "ready"
}

async fn killed_during_a_preview(point: Point) {
    let mut builder = Builder::start().await;
    let app = live_site(&builder).await;
    let words = "<h1>another preview</h1>\n";
    builder.write(&app, "public/index.html", words).await;
    let (seen, job) = killed_at(&mut builder, &app, "/previews", &json!({}), &point).await;
    let job = check(&builder, &app, &point, &seen, &job).await;
    assert_eq!(job["state"], "succeeded", "a deployment is resumed: {job:#}");
    assert_eq!(builder.open(&format!("{app}-preview"), "/").await.text(), words);
}

mod during_a_preview {
    killed_at_each! { super::killed_during_a_preview:
        queued => |event| event.is_job("queued");
        running => |event| event.is_job("running");
        environment_deploying => |event| event.name == "environment";
        build_running => |event| event.is_step("build", "running");
        first_line_of_the_build_log => |event| event.name == "log";
        build_done => |event| event.is_step("build", "done");
        start_running => |event| event.is_step("start", "running");
        start_done => |event| event.is_step("start", "done");
        check_running => |event| event.is_step("check", "running");
        check_done => |event| event.is_step("check", "done");
        switch_running => |event| event.is_step("switch", "running");
        environment_ready => super::is_ready;
        switch_done => |event| event.is_step("switch", "done");
        succeeded => |event| event.is_job("succeeded");
    }
}

async fn killed_during_a_publish(point: Point) {
    let mut builder = Builder::start().await;
    let app = live_site(&builder).await;
    let words = "<h1>published</h1>\n";
    builder.write(&app, "public/index.html", words).await;
    builder.preview(&app).await;
    let (seen, job) = killed_at(&mut builder, &app, "/publish", &json!({}), &point).await;
    let job = check(&builder, &app, &point, &seen, &job).await;
    assert_eq!(job["state"], "succeeded", "a publish is resumed: {job:#}");
    assert_eq!(builder.open(&app, "/").await.text(), words);
}

mod during_a_publish {
    killed_at_each! { super::killed_during_a_publish:
        queued => |event| event.is_job("queued");
        running => |event| event.is_job("running");
        start_running => |event| event.is_step("start", "running");
        start_done => |event| event.is_step("start", "done");
        check_running => |event| event.is_step("check", "running");
        switch_running => |event| event.is_step("switch", "running");
        environment_ready => super::is_ready;
        switch_done => |event| event.is_step("switch", "done");
        succeeded => |event| event.is_job("succeeded");
    }
}

#[tokio::test]
async fn killed_during_a_roll_back() {
    // Without a paused release, so that the roll back starts one.
    let mut builder = Builder::start_with(&[("SLIPWAY_KEEP_REPLACED_SECONDS", "0")]).await;
    let app = live_site(&builder).await;
    let first = builder.open(&app, "/").await.text();
    builder.write(&app, "public/index.html", "<h1>published</h1>\n").await;
    builder.preview(&app).await;
    builder.publish(&app).await;
    let point = point("start done", |event| event.is_step("start", "done"));
    let (seen, job) = killed_at(&mut builder, &app, "/rollback", &json!({}), &point).await;
    let job = check(&builder, &app, &point, &seen, &job).await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    assert_eq!(builder.open(&app, "/").await.text(), first);
}

async fn killed_during_a_turn(point: Point) {
    let mut builder = Builder::start_with(&[("SLIPWAY_DEMO_PACE", "0.3")]).await;
    let app = builder.create("static-site", "Written in pieces").await;
    let body = json!({"prompt": "Words of a turn"});
    let (seen, job) = killed_at(&mut builder, &app, "/turns", &body, &point).await;
    let job = check(&builder, &app, &point, &seen, &job).await;
    let turns = builder.get(&format!("/apps/{app}/turns")).await.expect(200);
    let turn = &turns["turns"][0];
    if job["state"] == "failed" {
        assert_eq!(job["error"]["code"], "interrupted", "{job:#}");
        assert_eq!(turn["state"], "interrupted", "{turn:#}");
        assert!(turn["note"].as_str().is_some_and(|note| note.contains("saved")), "{turn:#}");
    } else {
        assert_eq!(turn["state"], "done", "{turn:#}");
    }
    assert_eq!(turn["prompt"], "Words of a turn");
    // Files that were reported as written are in the newest version, and nothing is half typed.
    let head = builder.head(&app).await;
    for event in seen.events.iter().filter(|event| event.name == "file" && event.data["state"] == "written") {
        let path = event.data["path"].as_str().expect("a path");
        let file = builder.get(&format!("/apps/{app}/files/{path}")).await;
        assert_eq!(file.status, 200, "{path} at {head}");
    }
    let index = builder.get(&format!("/apps/{app}/files/public/index.html")).await.text();
    assert!(index.trim_end().ends_with("</html>"), "half a file: {index}");
    builder.turn(&app, "Change the title to The last words").await;
    let index = builder.get(&format!("/apps/{app}/files/public/index.html")).await.text();
    assert!(index.contains("The last words"));
}

mod during_a_turn {
    killed_at_each! { super::killed_during_a_turn:
        queued => |event| event.is_job("queued");
        running => |event| event.is_job("running");
        first_words => |event| event.name == "text";
        first_file_begun => |event| event.name == "file";
        a_file_half_typed => |event| event.name == "file" && event.data["delta"].is_string();
        a_file_written => |event| event.name == "file" && event.data["state"] == "written";
        usage => |event| event.name == "usage";
        succeeded => |event| event.is_job("succeeded");
    }
}

#[tokio::test]
async fn a_job_that_dies_repeatedly_fails() {
    let mut builder = Builder::start().await;
    let app = live_site(&builder).await;
    builder.write(&app, "public/index.html", "<h1>deadly</h1>\n").await;
    let running = point("start running", |event| event.is_step("start", "running"));
    let (_, job) = killed_at(&mut builder, &app, "/previews", &json!({}), &running).await;
    for _ in 0..2 {
        let begun = eventually("the job begins again", PATIENCE, || async {
            let job = builder.job(&job["id"]).await;
            matches!(job["state"].as_str(), Some("running" | "failed" | "succeeded")).then_some(job)
        })
        .await;
        if begun["state"] != "running" {
            break;
        }
        builder.restart().await;
    }
    let job = builder.ended(&job).await;
    if job["state"] == "failed" {
        assert_eq!(job["error"]["code"], "interrupted", "{job:#}");
        assert!(job["error"]["hint"].is_string(), "{job:#}");
    }
    let releases = all_releases(&builder, &app).await;
    consistent(&builder, &app, "after three deaths", &releases).await;
    builder.preview(&app).await;
    assert_eq!(builder.open(&format!("{app}-preview"), "/").await.text(), "<h1>deadly</h1>\n");
}

async fn killed_during_a_deletion(point: Point) {
    let mut builder = Builder::start().await;
    let (bystander, app) = (live_site(&builder).await, live_site(&builder).await);
    let job = builder.delete(&format!("/apps/{app}")).await.expect(202);
    let mut events = builder.job_events(&job["id"], 0).await;
    events.wait(point.name, PATIENCE, point.seen).await;
    builder.kill();
    builder.restart().await;
    assert_eq!(builder.ended(&job).await["state"], "succeeded");
    builder.get(&format!("/apps/{app}")).await.expect_problem(404, "not_found");
    assert_eq!(builder.installation().of_app(&app), Vec::<String>::new());
    assert!(!is_there(&builder.data().join("workspaces").join(&app)));
    let releases = all_releases(&builder, &bystander).await;
    consistent(&builder, &bystander, "beside a deletion", &releases).await;
}

mod during_a_deletion {
    killed_at_each! { super::killed_during_a_deletion:
        queued => |event| event.is_job("queued");
        running => |event| event.is_job("running");
        images_being_removed => |event| event.name == "log" && event.data["line"] == "Removing images.";
    }
}

#[tokio::test]
async fn a_run_outlives_the_builder() {
    let mut builder = Builder::start().await;
    let app = builder.create("scheduled-job", "Counts slowly").await;
    builder.preview(&app).await;
    let source = "import os, time\nfor n in range(6):\n    print('count', n, flush=True)\n    time.sleep(float(os.environ.get('PAUSE', '0.5')))\n";
    builder.write(&app, "job.py", source).await;
    builder.preview(&app).await;
    builder.publish(&app).await;
    let answer = builder.post(&format!("/apps/{app}/runs"), &json!({"environment": "prod"})).await;
    assert!(answer.status.is_success(), "{}", answer.text());
    eventually("its container runs", PATIENCE, || async {
        builder.installation().containers().iter().any(|container| container.state == "running").then_some(())
    })
    .await;
    builder.restart().await;
    let run = eventually("the run has its end", PATIENCE, || async {
        let list = builder.get(&format!("/apps/{app}/runs")).await.expect(200);
        (list["runs"][0]["state"] != "running").then(|| list["runs"][0].clone())
    })
    .await;
    assert_eq!((&run["state"], &run["exit_code"]), (&json!("succeeded"), &json!(0)), "{run:#}");
    let log = builder.get(&format!("/apps/{app}/runs/{}/log", run["id"])).await.text();
    let counted: Vec<&str> = log.lines().collect();
    assert_eq!(counted, ["count 0", "count 1", "count 2", "count 3", "count 4", "count 5"], "whole, and nothing twice");
    eventually("its container goes", PATIENCE, || async {
        builder.installation().containers().is_empty().then_some(())
    })
    .await;
}

/// Counts to five for three seconds.
const COUNTS: &str = "import time\nfor n in range(6):\n    print('count', n, flush=True)\n    time.sleep(0.5)\n";

/// The runs of an app, newest first, as trigger and state.
async fn all_runs(builder: &Builder, app: &str) -> Vec<(String, String)> {
    let list = builder.get(&format!("/apps/{app}/runs")).await.expect(200);
    let word = |run: &Value, key: &str| run[key].as_str().expect("a word").to_owned();
    list["runs"].as_array().expect("a list").iter().map(|run| (word(run, "trigger"), word(run, "state"))).collect()
}

/// Runs what is in preview once more, to its end.
async fn runs_now(builder: &Builder, app: &str) {
    let answer = builder.post(&format!("/apps/{app}/runs"), &json!({"environment": "preview"})).await;
    assert!(answer.status.is_success(), "{}", answer.text());
    eventually("the run that was asked for has its end", PATIENCE, || async {
        (all_runs(builder, app).await[0] == ("manual".to_owned(), "succeeded".to_owned())).then_some(())
    })
    .await;
    eventually("no container is left", PATIENCE, || async {
        builder.installation().containers().is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn killed_during_the_check_of_a_job() {
    let mut builder = Builder::start().await;
    let app = builder.create("scheduled-job", "Counts slowly").await;
    builder.write(&app, "job.py", COUNTS).await;
    let counts = point("the check's first line", |event| event.name == "log" && event.data["line"] == "count 0");
    let (_, job) = killed_at(&mut builder, &app, "/previews", &json!({}), &counts).await;
    let job = builder.ended(&job).await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    // It is the same run: it kept running, and the new process found it.
    assert_eq!(all_runs(&builder, &app).await, [("check".to_owned(), "succeeded".to_owned())]);
    let list = builder.get(&format!("/apps/{app}/runs")).await.expect(200);
    let log = builder.get(&format!("/apps/{app}/runs/{}/log", list["runs"][0]["id"])).await.text();
    assert_eq!(log.lines().count(), 6, "whole, and nothing twice: {log}");
    runs_now(&builder, &app).await;

    // A job that is not resumed leaves no run: neither a running one, nor one that is marked as running.
    builder.write(&app, "job.py", &COUNTS.replace("0.5", "20")).await;
    let job = builder.ask(&format!("/apps/{app}/previews"), &json!({})).await;
    builder.job_events(&job["id"], 0).await.wait(counts.name, PATIENCE, counts.seen).await;
    builder.kill();
    let database = rusqlite::Connection::open(builder.data().join("slipway.db")).expect("the database");
    let changed = database.execute("UPDATE jobs SET cancel_requested = 1 WHERE id = ?1", [job["id"].as_i64()]);
    assert_eq!(changed, Ok(1));
    drop(database);
    builder.restart().await;
    assert_eq!(builder.ended(&job).await["state"], "cancelled");
    eventually("the check is over", PATIENCE, || async {
        (all_runs(&builder, &app).await[0] == ("check".to_owned(), "failed".to_owned())).then_some(())
    })
    .await;
    runs_now(&builder, &app).await;
}

#[tokio::test]
async fn a_removed_container_is_restarted() {
    let mut builder = Builder::start().await;
    let app = live_site(&builder).await;
    builder.kill();
    for container in builder.installation().containers() {
        crate::support::engine::docker(&["rm", "--force", &container.id]).expect("it is removed");
    }
    builder.restart().await;
    let releases = all_releases(&builder, &app).await;
    consistent(&builder, &app, "after the engine lost them", &releases).await;
}
