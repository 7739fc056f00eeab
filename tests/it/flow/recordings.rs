//! The recorded apps on the real platform: each is played into a workspace with all its follow-ups, checked after every
//! turn, and previewed at its beginning and at its end.

use serde_json::{Value, json};
use slipway::generation::demo::recordings::{self, Recording};

use super::templates::{mac, webhook_secret};
use crate::support::builder::{Builder, send};

/// A turn whose last `check` passed; the platform builds the files, compiles programs and follows a site's links.
async fn turn(builder: &Builder, app: &str, recording: &Recording, prompt: &str) {
    builder.turn(app, prompt).await;
    let turns = builder.get(&format!("/apps/{app}/turns")).await.expect(200);
    let turn = &turns["turns"][0];
    let steps = turn["steps"].as_array().expect("a list");
    let check = steps.iter().rfind(|step| step["name"] == "check");
    let check = check.unwrap_or_else(|| panic!("{}, {prompt}: no check: {turn:#}", recording.name));
    assert_eq!(check["ok"], true, "{}, {prompt}: {check:#}", recording.name);
}

/// Plays a recording. Its previews are ready when the smoke checks of its template have passed.
async fn play(builder: &Builder, recording: &Recording) -> String {
    let app = builder.create(recording.template.as_str(), &recording.description).await;
    turn(builder, &app, recording, &recording.description).await;
    builder.preview(&app).await;
    for follow_up in &recording.follow_ups {
        turn(builder, &app, recording, &follow_up.prompt).await;
    }
    builder.preview(&app).await;
    app
}

fn of_template(name: &str) -> impl Iterator<Item = &'static Recording> {
    recordings::all().iter().filter(move |recording| recording.template.as_str() == name)
}

#[tokio::test]
async fn recorded_sites_pass_every_check() {
    let builder = Builder::start().await;
    for recording in of_template("static-site") {
        let app = play(&builder, recording).await;
        for file in &recording.files {
            let path = file.path.as_str().strip_prefix("public/").expect("a site's file is public");
            let answer = builder.open(&format!("{app}-preview"), &format!("/{path}")).await;
            assert_eq!(answer.status, 200, "{}: {path}", recording.name);
        }
    }
}

#[tokio::test]
async fn recorded_apis_pass_every_check_and_do_what_they_say() {
    let builder = Builder::start().await;
    let mut asked = Vec::new();
    for recording in of_template("simple-api") {
        let app = play(&builder, recording).await;
        let host = format!("{app}-preview");
        let page = builder.open(&host, "/").await;
        assert!(page.status == 200 && page.text().starts_with("<!doctype html>"), "{}", recording.name);
        for (path, kind) in [("/page.css", "text/css"), ("/page.js", "javascript")] {
            let answer = builder.open(&host, path).await;
            assert!(answer.header("content-type").contains(kind), "{}: {path}", recording.name);
        }
        let post = async |path: &str, body: Value| {
            send(builder.http.post(builder.at(&format!("{host}.localhost"), path)).json(&body)).await
        };
        match recording.name.as_str() {
            "shortener" => {
                let link = post("/links", json!({"url": "https://example.com/a?b=c"})).await.expect(201);
                let code = link["code"].as_str().expect("a code");
                let visit = builder.open(&host, &format!("/{code}")).await;
                assert_eq!((visit.status.as_u16(), visit.header("location")), (307, "https://example.com/a?b=c"));
                assert_eq!(builder.open(&host, &format!("/links/{code}")).await.expect(200)["visits"], 1);
                assert_eq!(post("/links", json!({"url": "javascript:alert(1)"})).await.status, 422);
                let own = json!({"url": "https://example.com/", "code": "mine", "hours": 1});
                assert_eq!(post("/links", own.clone()).await.expect(201)["code"], "mine");
                assert_eq!(post("/links", own).await.status, 409);
            }
            "todo" => {
                let sent = json!({"title": " Buy milk ", "due": "2026-01-31", "priority": "high"});
                let todo = post("/todos", sent).await.expect(201);
                assert_eq!((&todo["title"], &todo["done"]), (&json!("Buy milk"), &json!(false)));
                assert_eq!(builder.open(&host, "/todos/progress").await.expect(200)["total"], 1.0);
                assert_eq!(post("/todos", json!({"title": ""})).await.status, 422);
            }
            "feedback" => {
                assert_eq!(post("/feedback", json!({"rating": 5, "comment": "=1+1"})).await.status, 201);
                assert_eq!(builder.open(&host, "/summary").await.expect(200)["average"], 5.0);
                assert!(builder.open(&host, "/feedback.csv").await.text().contains(",5,'=1+1"));
                assert_eq!(post("/feedback", json!({"rating": 9})).await.status, 422);
            }
            "booking" => {
                let days = builder.open(&host, "/days").await.expect(200);
                let free = days.as_array().expect("a list").iter().rev().find_map(|day| day["free"][0].as_str());
                let wanted = json!({"start": free.expect("a free time"), "name": "Ada"});
                let booking = post("/bookings", wanted.clone()).await.expect(201);
                assert_eq!(post("/bookings", wanted).await.status, 409, "nobody gets the same time");
                let code = booking["code"].as_str().expect("a code");
                let entry = builder.open(&host, &format!("/bookings/{code}.ics")).await;
                assert!(entry.text().contains("BEGIN:VEVENT"), "{}", entry.text());
                assert_eq!(post("/owner/bookings", json!({"key": "guessed"})).await.status, 403);
            }
            other => panic!("nothing is asked of {other}"),
        }
        asked.push(recording.name.as_str());
    }
    assert_eq!(asked, ["booking", "feedback", "shortener", "todo"]);
}

#[tokio::test]
async fn the_recorded_webhook_takes_githubs_calls() {
    let builder = Builder::start().await;
    let recording = recordings::named("github-webhook").expect("it is recorded");
    let app = play(&builder, recording).await;
    let secret = webhook_secret(&builder, &format!("{app}/preview/2"));
    let body = r#"{"ref": "refs/heads/main", "repository": {"full_name": "a/b", "default_branch": "main"}, "commits": [{"message": "Light <the> lamp", "author": {"name": "Ada"}, "timestamp": "2026-11-27T08:00:00Z"}]}"#;
    let call = async |signature: String| {
        let url = builder.at(&format!("{app}-preview.localhost"), "/webhook");
        let request = builder.http.post(url).header("x-github-event", "push").header("x-github-delivery", "1");
        send(request.header("x-hub-signature-256", signature).body(body)).await
    };
    assert_eq!(call("sha256=00".to_owned()).await.status, 401);
    for answer in [json!({"received": "push", "recorded": 1}), json!({"received": "push", "repeated": true})] {
        assert_eq!(call(format!("sha256={}", mac(&secret, body))).await.expect(200), answer);
    }
    let told = builder.open(&format!("{app}-preview"), "/").await.expect(200);
    assert_eq!((&told["entries"][0]["title"], &told["authors"]["Ada"]), (&json!("Light <the> lamp"), &json!(1)));
    let page = builder.http.get(builder.at(&format!("{app}-preview.localhost"), "/")).header("accept", "text/html");
    let page = send(page).await.text();
    assert!(page.contains("Light &lt;the&gt; lamp") && page.contains("All branches"), "{page}");
}

#[tokio::test]
async fn recorded_jobs_run_to_their_end() {
    let builder = Builder::start().await;
    for recording in of_template("scheduled-job") {
        let app = play(&builder, recording).await;
        let runs = builder.get(&format!("/apps/{app}/runs")).await.expect(200)["runs"].clone();
        let log = builder.get(&format!("/apps/{app}/runs/{}/log", runs[0]["id"])).await.text();
        let says = match recording.name.as_str() {
            "quarter" => "Days left",
            "uptime" => "Uptime of 2 addresses",
            other => panic!("nothing is expected of {other}"),
        };
        assert!(log.contains(says), "{}: {log}", recording.name);
        assert_eq!(runs[0]["exit_code"], 0, "{runs:#}");
    }
}
