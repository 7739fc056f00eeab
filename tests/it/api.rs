//! The HTTP API, the guard and the listener's split by host, on a real builder without an engine.

mod deadlines;
mod logins;

use std::collections::BTreeSet;
use std::io::Read;

use crate::asking::{Asked, Bench, HOST, PATIENCE, Stream, asked, get, post};
use axum::http::{Method, StatusCode};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use slipway::services::login_limit::Attempt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PASSWORD: &str = "correct horse";

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().expect("an object").keys().cloned().collect()
}

fn set<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

#[tokio::test]
async fn an_app_is_created_listed_and_returned() {
    let bench = Bench::new().await;
    let body = json!({ "description": "A page about ducks", "name": "ducks", "template": "static-site" });
    let made = bench.post("/api/v1/apps", body).await;
    assert_eq!(made.status, StatusCode::CREATED);
    assert_eq!(made.header("location"), "/api/v1/apps/ducks");
    let app = made.json();
    assert_eq!(
        keys(&app),
        set([
            "name",
            "title",
            "template",
            "description",
            "created_at",
            "head",
            "draft_url",
            "environments",
            "auto_preview"
        ])
    );
    assert_eq!(app["draft_url"], "http://ducks-draft.localhost:8080");
    assert!(app["created_at"].as_str().expect("a time").ends_with('Z'));
    assert_eq!(keys(&app["environments"]), set(["preview", "prod"]));
    for environment in ["preview", "prod"] {
        let environment = &app["environments"][environment];
        assert_eq!(keys(environment), set(["state", "url", "release", "version"]));
        assert_eq!(environment["state"], "none");
        assert_eq!(environment["release"], Value::Null);
    }
    assert_eq!(bench.get("/api/v1/apps/ducks").await.json(), app);
    assert_eq!(bench.get("/api/v1/apps").await.json(), json!({ "apps": [app], "next": null }));

    let guessed = bench.post("/api/v1/apps", json!({ "description": "A REST API for books" })).await.json();
    assert_eq!(guessed["template"], "simple-api");
    assert_eq!(guessed["draft_url"], Value::Null);
    bench.post("/api/v1/apps", json!({ "description": "x", "name": "ducks" })).await.problem(409, "name_taken");
    bench.post("/api/v1/apps", json!({ "description": " " })).await.problem(422, "invalid");
    bench.post("/api/v1/apps", json!({ "description": "x", "template": "nothing" })).await.problem(422, "invalid");

    let deleted = bench.ask(asked(Method::DELETE, "/api/v1/apps/ducks")).await;
    assert_eq!(deleted.status, StatusCode::ACCEPTED);
    let job = deleted.json();
    assert_eq!(
        keys(&job),
        set([
            "id",
            "app",
            "kind",
            "state",
            "created_at",
            "started_at",
            "finished_at",
            "error",
            "result",
            "steps",
            "checks"
        ])
    );
    assert_eq!((&job["app"], &job["kind"]), (&json!("ducks"), &json!("delete")));
    assert_eq!(deleted.header("location"), format!("/api/v1/jobs/{}", job["id"]));
}

#[tokio::test]
async fn lists_come_in_pages() {
    let bench = Bench::new().await;
    for name in ["one-app", "two-app", "three-app"] {
        bench.create(name, "static-site").await;
    }
    let mut names = Vec::new();
    let mut path = "/api/v1/apps?limit=2".to_owned();
    for rows in [2, 1] {
        let page = bench.get(&path).await.json();
        let apps = page["apps"].as_array().expect("a list");
        assert_eq!(apps.len(), rows);
        names.extend(apps.iter().map(|app| app["name"].as_str().expect("a name").to_owned()));
        path = format!("/api/v1/apps?limit=2&cursor={}", page["next"].as_str().unwrap_or_default());
    }
    assert_eq!(names, ["three-app", "two-app", "one-app"]);
    let found = bench.get("/api/v1/apps?search=two&limit=1000").await.json();
    assert_eq!((found["apps"].as_array().map(Vec::len), &found["next"]), (Some(1), &Value::Null));

    let mut paths = Vec::new();
    let mut next = Value::Null;
    loop {
        let cursor = next.as_str().map(|next| format!("&cursor={next}")).unwrap_or_default();
        let page = bench.get(&format!("/api/v1/apps/one-app/files?limit=3{cursor}")).await.json();
        paths.extend(page["files"].as_array().expect("a list").iter().map(|file| file["path"].to_string()));
        next = page["next"].clone();
        if next.is_null() {
            break;
        }
    }
    let whole = bench.get("/api/v1/apps/one-app/files").await.json();
    let whole: Vec<_> =
        whole["files"].as_array().expect("a list").iter().map(|file| file["path"].to_string()).collect();
    assert!(whole.len() > 3);
    assert_eq!(paths, whole);

    let templates = bench.get("/api/v1/templates?limit=3").await.json();
    assert_eq!(templates["templates"].as_array().map(Vec::len), Some(3));
    for bad in
        ["limit=0", "limit=1001", "limit=x", "limit=-1", "limit=1&limit=2", "cursor=x", "cursor=1", "wat=1", "cursor="]
    {
        bench.get(&format!("/api/v1/apps?{bad}")).await.problem(400, "bad_request");
    }
    for list in ["turns", "versions", "runs", "files"] {
        bench.get(&format!("/api/v1/apps/one-app/{list}?cursor=!")).await.problem(400, "bad_request");
    }
}

#[tokio::test]
async fn text_is_found_and_files_are_moved() {
    let bench = Bench::new().await;
    bench.create("ducks", "static-site").await;
    for (path, text) in [("public/a b.html", "one\nNeedle <b>\n"), ("public/img/x.txt", "needle\n")] {
        let path = format!("/api/v1/apps/ducks/files/{}", path.replace(' ', "%20"));
        assert_eq!(bench.ask(asked(Method::PUT, &path).body(text)).await.status, StatusCode::CREATED);
    }
    let found = bench.get("/api/v1/apps/ducks/search?text=needle").await.json();
    let line = |path: &str, line: u32, text: &str| json!({"path": path, "line": line, "text": text});
    let both = json!([line("public/a b.html", 2, "Needle <b>"), line("public/img/x.txt", 1, "needle")]);
    assert_eq!((&found["lines"], &found["more"], &found["late"]), (&both, &json!(false), &json!(false)));
    let exact = bench.get("/api/v1/apps/ducks/search?text=Ne%2bdle&match_case=true&regex=true").await.json();
    assert_eq!(exact["lines"], json!([line("public/a b.html", 2, "Needle <b>")]));
    bench.get("/api/v1/apps/ducks/search?text=a(&regex=true").await.problem(422, "invalid");
    bench.get("/api/v1/apps/ducks/search?text=").await.problem(422, "invalid");
    bench.get("/api/v1/apps/ducks/search").await.problem(400, "bad_request");

    let moved =
        |from: &str, to: &str| asked(Method::POST, "/api/v1/apps/ducks/moves").json(&json!({"from": from, "to": to}));
    let version = bench.ask(moved("public/img", "public/pictures/old")).await.json();
    assert_eq!(version["title"], "Rename public/img to public/pictures/old");
    assert_eq!(bench.get("/api/v1/apps/ducks/files/public/pictures/old/x.txt").await.text(), "needle\n");
    bench.get("/api/v1/apps/ducks/files/public/img/x.txt").await.problem(404, "not_found");
    bench.ask(moved("public/a b.html", "public/index.html")).await.problem(409, "files_exist");
    bench.ask(moved("public/none", "public/other")).await.problem(404, "not_found");
    bench.ask(moved("public", "public/public")).await.problem(422, "invalid");
    bench.ask(moved("Dockerfile", "Dockerfile.old")).await.problem(403, "platform_file");
    bench.ask(moved("public/a b.html", "nginx.conf")).await.problem(403, "platform_file");
    bench.ask(moved("public/a b.html", "../x")).await.problem(422, "invalid");
    bench.ask(asked(Method::PUT, "/api/v1/apps/ducks/locks/public/pictures/old/x.txt")).await;
    bench.ask(moved("public/pictures", "pictures")).await.problem(409, "file_locked");
    let versions = bench.get("/api/v1/apps/ducks/versions").await.json();
    assert_eq!(versions["versions"][0]["id"], version["id"], "what is refused changes nothing");
}

#[tokio::test]
async fn files_are_read_and_written_as_versions() {
    let bench = Bench::new().await;
    let app = bench.create("ducks", "static-site").await;
    let file = "/api/v1/apps/ducks/files/public/new%20page.html";
    bench.get(file).await.problem(404, "not_found");
    let html = "<script>alert('ü')</script>";
    let made = bench.ask(asked(Method::PUT, file).body(html)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    let version = made.json();
    assert_eq!(keys(&version), set(["id", "number", "title", "kind", "turn", "size", "created_at"]));
    assert_eq!((&version["number"], &version["kind"]), (&json!(2), &json!("edit")));

    let read = bench.get(file).await;
    assert_eq!(read.text(), html);
    assert_eq!(read.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(read.header("x-content-type-options"), "nosniff");
    let tag = read.header("etag").to_owned();
    assert_eq!(tag, format!("\"{}\"", version["id"].as_str().expect("an id")));
    let head = bench.ask(asked(Method::HEAD, file)).await;
    assert_eq!((head.status, head.bytes.len()), (StatusCode::OK, 0));

    // Unchanged content creates no version; binary content stays unchanged.
    let same = bench.ask(asked(Method::PUT, file).body(html)).await;
    assert_eq!((same.status, same.json()["id"].clone()), (StatusCode::OK, version["id"].clone()));
    bench.ask(asked(Method::PUT, "/api/v1/apps/ducks/files/public/x.bin").body(vec![0, 255, 1])).await;
    let binary = bench.get("/api/v1/apps/ducks/files/public/x.bin").await;
    assert_eq!((binary.header("content-type"), &binary.bytes[..]), ("application/octet-stream", &[0, 255, 1][..]));

    // By now the app is at another version.
    let stale = bench.ask(asked(Method::PUT, file).with("if-match", &tag).body("late")).await;
    stale.problem(409, "version_changed");
    bench.ask(asked(Method::DELETE, file).with("if-match", &tag)).await.problem(409, "version_changed");
    let now = bench.get(file).await;
    let saved = bench.ask(asked(Method::PUT, file).with("if-match", now.header("etag")).body("in time")).await;
    assert_eq!(saved.status, StatusCode::OK);
    for bad in ["W/\"x\"", "\"1\", \"2\"", "", "head"] {
        bench.ask(asked(Method::PUT, file).with("if-match", bad).body("x")).await.problem(400, "bad_request");
    }

    let gone = bench.ask(asked(Method::DELETE, file).with("if-match", "*")).await;
    assert_eq!(gone.status, StatusCode::OK);
    bench.ask(asked(Method::DELETE, file)).await.problem(404, "not_found");

    for path in ["Dockerfile", "nginx.conf"] {
        let path = format!("/api/v1/apps/ducks/files/{path}");
        bench.ask(asked(Method::PUT, &path).body("FROM scratch")).await.problem(403, "platform_file");
    }
    for path in ["%2e%2e/x", "a/%2e%2e/%2e%2e/x", "%2Fetc/passwd", ".git/config", "a%00b", "a%5Cb", "a//b", "a/"] {
        let path = format!("/api/v1/apps/ducks/files/{path}");
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            let answer = bench.ask(asked(method.clone(), &path).body("x")).await;
            assert!(answer.status.is_client_error(), "{method} {path}: {}", answer.text());
            assert_eq!(answer.header("content-type"), "application/problem+json", "{method} {path}");
        }
    }
    bench.get("/api/v1/apps/ducks/files/%ff").await.problem(400, "bad_request");
    let large = vec![b'x'; 1024 * 1024 + 1];
    bench.ask(asked(Method::PUT, file).body(large)).await.problem(413, "too_large");
    let huge = vec![b'x'; 3 * 1024 * 1024];
    bench.ask(asked(Method::PUT, file).body(huge)).await.problem(413, "too_large");

    let versions = bench.get("/api/v1/apps/ducks/versions").await.json();
    let versions = versions["versions"].as_array().expect("a list");
    assert_eq!(versions.len(), 5);
    let diff = bench.get(&format!("/api/v1/apps/ducks/versions/{}/diff", version["id"].as_str().expect("an id"))).await;
    assert_eq!(diff.header("content-type"), "text/plain; charset=utf-8");
    assert!(diff.text().contains("+<script>alert('ü')</script>"), "{}", diff.text());
    let first = app["head"].as_str().expect("an id");
    let restored = bench.ask(post(&format!("/api/v1/apps/ducks/versions/{first}/restore"))).await;
    assert_eq!((restored.status, &restored.json()["kind"]), (StatusCode::CREATED, &json!("restore")));
    bench.ask(post(&format!("/api/v1/apps/ducks/versions/{first}/restore"))).await.problem(409, "nothing_to_restore");
    let unknown = "0".repeat(40);
    bench.get(&format!("/api/v1/apps/ducks/versions/{unknown}/diff")).await.problem(404, "not_found");
    bench.get("/api/v1/apps/ducks/versions/HEAD/diff").await.problem(404, "not_found");
}

#[tokio::test]
async fn automatic_previews_are_a_setting() {
    let bench = Bench::new().await;
    let made = bench.post("/api/v1/apps", json!({ "description": "Ducks", "name": "ducks" })).await.json();
    assert_eq!(made["auto_preview"], true, "it is on by default");
    let turn = bench.post("/api/v1/apps/ducks/turns", json!({ "prompt": "A page about ducks" })).await.json();
    bench.follow(&turn).await;
    let next = turn["id"].as_i64().expect("a number") + 1;
    let preview = bench.get(&format!("/api/v1/jobs/{next}")).await.json();
    assert_eq!(preview["kind"], "preview", "{preview}");
    bench.follow(&preview).await;
    let preview = bench.get(&format!("/api/v1/jobs/{next}")).await.json();
    assert_eq!(preview["error"]["code"], "docker_unavailable", "nothing that a model could fix");
    bench.get(&format!("/api/v1/jobs/{}", next + 1)).await.problem(404, "not_found");

    let change = |body: &str| {
        asked(Method::PATCH, "/api/v1/apps/ducks").with("content-type", "application/json").body(body.to_owned())
    };
    let changed = bench.ask(change(r#"{"auto_preview": false}"#)).await.json();
    assert_eq!(changed["auto_preview"], false);
    assert_eq!(bench.ask(change("{}")).await.json(), changed, "what is left out stays");
    bench.ask(change(r#"{"name": "geese"}"#)).await.problem(422, "invalid");
    let turn = bench.post("/api/v1/apps/ducks/turns", json!({ "prompt": "And geese" })).await.json();
    bench.follow(&turn).await;
    bench.get(&format!("/api/v1/jobs/{}", next + 2)).await.problem(404, "not_found");
}

#[tokio::test]
async fn an_app_gets_a_title_and_is_duplicated() {
    let bench = Bench::new().await;
    bench.create("ducks", "static-site").await;
    let change = |body: Value| asked(Method::PATCH, "/api/v1/apps/ducks").json(&body);
    let renamed = bench.ask(change(json!({ "title": " All about ducks " }))).await.json();
    assert_eq!((&renamed["name"], &renamed["title"]), (&json!("ducks"), &json!("All about ducks")));
    for bad in ["x".repeat(61), "a\nb".to_owned()] {
        bench.ask(change(json!({ "title": bad, "auto_preview": false }))).await.problem(422, "invalid");
    }
    assert_eq!(bench.get("/api/v1/apps/ducks").await.json(), renamed, "a refused change changes nothing");
    let found = bench.get("/api/v1/apps?search=about+ducks").await.json();
    assert_eq!(found["apps"][0]["name"], "ducks");

    bench.ask(change(json!({ "auto_preview": false }))).await.json();
    bench.ask(asked(Method::PUT, "/api/v1/apps/ducks/files/public/index.html").body("<h1>Ducks</h1>")).await;
    let copy = bench.ask(post("/api/v1/apps/ducks/duplicate")).await;
    assert_eq!((copy.status, copy.header("location")), (StatusCode::CREATED, "/api/v1/apps/ducks-2"));
    let copy = copy.json();
    assert_eq!(copy["title"], "All about ducks (copy)");
    assert_eq!((&copy["template"], &copy["auto_preview"]), (&renamed["template"], &json!(false)));
    assert_eq!(copy["description"], renamed["description"]);
    assert_eq!(bench.get("/api/v1/apps/ducks-2/files/public/index.html").await.text(), "<h1>Ducks</h1>");
    let versions = bench.get("/api/v1/apps/ducks-2/versions").await.json();
    assert_eq!(versions["versions"].as_array().map(Vec::len), Some(1));
    assert_eq!(versions["versions"][0]["title"], "Start as a copy of ducks, version 2");
    let ducks = bench.services.app(&"ducks".parse().expect("a name")).await.expect("an app");
    assert!(bench.services.recent_jobs(ducks.id, 5).await.expect("jobs").is_empty());

    // A copy of a copy, and automatic previews.
    let again =
        bench.ask(asked(Method::PATCH, "/api/v1/apps/ducks-2").json(&json!({ "auto_preview": true, "title": "" })));
    assert_eq!(again.await.json()["title"], Value::Null);
    let again = bench.post("/api/v1/apps/ducks-2/duplicate", json!({})).await.json();
    assert_eq!((&again["name"], &again["title"]), (&json!("ducks-3"), &Value::Null));
    let third = bench.services.app(&"ducks-3".parse().expect("a name")).await.expect("an app");
    let jobs = bench.services.recent_jobs(third.id, 5).await.expect("jobs");
    assert_eq!(jobs.iter().map(|job| job.kind.as_str()).collect::<Vec<_>>(), ["preview"]);

    // What fails leaves nothing.
    let refused = bench.post("/api/v1/apps/ducks/duplicate", json!({ "name": "ducks-2" })).await;
    refused.problem(409, "name_taken");
    bench.post("/api/v1/apps/ducks/duplicate", json!({ "name": "No name" })).await.problem(422, "invalid");
    bench.post("/api/v1/apps/geese/duplicate", json!({})).await.problem(404, "not_found");
    assert_eq!(bench.services.count_apps().await.expect("a number"), 3);
}

#[tokio::test]
async fn a_turns_stream_can_be_followed_and_resumed() {
    let bench = Bench::new().await;
    bench.create("ducks", "static-site").await;
    let asked =
        bench.post("/api/v1/apps/ducks/turns", json!({ "prompt": "A page about ducks", "mode": "build" })).await;
    assert_eq!(asked.status, StatusCode::ACCEPTED, "{}", asked.text());
    let job = asked.json();
    assert_eq!(job["kind"], "generate");
    let events = bench.follow(&job).await;
    let names: BTreeSet<_> = events.iter().map(|event| event.name.as_str()).collect();
    assert!(["job", "text", "file", "usage"].iter().all(|name| names.contains(name)), "{names:?}");
    let ids: Vec<i64> = events.iter().map(|event| event.id.expect("an id")).collect();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
    let end = events.last().expect("one").json();
    assert_eq!((&end["id"], &end["state"]), (&job["id"], &json!("succeeded")), "{end}");
    let done = bench.get(&format!("/api/v1/jobs/{}", job["id"])).await.json();
    assert_eq!(done["state"], "succeeded");
    let cancelled = bench.ask(post(&format!("/api/v1/jobs/{}/cancel", job["id"]))).await;
    assert_eq!((cancelled.status, cancelled.json()), (StatusCode::OK, done), "an ended job stays as it is");

    // Resumed in the middle: each piece of text arrives once, however the pieces are joined by now.
    let path = format!("/api/v1/jobs/{}/events", job["id"]);
    let said = |events: &[crate::asking::Sse]| -> String {
        events
            .iter()
            .filter(|event| event.name == "text")
            .map(|event| event.json()["delta"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    let whole = said(&events);
    for at in [0, events.len() / 3, events.len() / 2, events.len() - 2] {
        let seen = events[at].id.expect("an id");
        let before = said(&events[..=at]);
        let rest = Stream::of(bench.open(get(&path).with("last-event-id", seen.to_string())).await).rest().await;
        assert!(rest.iter().all(|event| event.id > Some(seen)));
        assert_eq!(before + &said(&rest), whole, "after {seen}");
        let by_query = Stream::of(bench.open(get(&format!("{path}?after={seen}"))).await).rest().await;
        assert_eq!(by_query, rest);
    }
    let last = ids.last().expect("one").to_string();
    let over = bench.ask(get(&path).with("last-event-id", &last)).await;
    assert_eq!((over.status, over.bytes.len()), (StatusCode::NO_CONTENT, 0));

    // The app's stream contains all of it too, and continues.
    let mut stream = Stream::of(bench.open(get("/api/v1/apps/ducks/events")).await);
    loop {
        let event = stream.next().await.expect("it has no end");
        if event.id == events.last().expect("one").id {
            break;
        }
    }
    let another = bench.post("/api/v1/apps/ducks/turns", json!({ "prompt": "And geese" })).await.json();
    let told = stream.next().await.expect("it continues").json();
    assert_eq!(told["id"], another["id"]);
    for (header, value) in [("last-event-id", "x"), ("last-event-id", "-1"), ("last-event-id", "9223372036854775807")] {
        bench.ask(get("/api/v1/apps/ducks/events").with(header, value)).await.problem(400, "bad_request");
        bench.ask(get(&path).with(header, value)).await.problem(400, "bad_request");
    }
    bench.get("/api/v1/apps/ducks/events?after=x").await.problem(400, "bad_request");

    bench.follow(&another).await;
    let turns = bench.get("/api/v1/apps/ducks/turns").await.json();
    let turns = turns["turns"].as_array().expect("a list");
    assert_eq!(turns.len(), 2);
    assert_eq!((&turns[1]["number"], &turns[1]["prompt"]), (&json!(1), &json!("A page about ducks")));
    assert_eq!((&turns[1]["state"], &turns[1]["job"]), (&json!("done"), &job["id"]));
    assert!(turns[1]["answer"].as_str().is_some_and(|answer| !answer.is_empty()));
    assert!(turns[1]["steps"].as_array().expect("a list").iter().any(|step| step["type"] == "file"), "{}", turns[1]);
    bench.post("/api/v1/apps/ducks/turns", json!({ "prompt": "" })).await.problem(422, "invalid");
    bench.post("/api/v1/apps/ducks/turns", json!({ "prompt": "x", "mode": "shout" })).await.problem(422, "invalid");
}

#[tokio::test]
async fn deployments_without_an_engine_say_so() {
    let bench = Bench::new().await;
    bench.create("ducks", "static-site").await;
    bench.ask(post("/api/v1/apps/ducks/publish")).await.problem(409, "nothing_to_publish");
    bench.ask(post("/api/v1/apps/ducks/rollback")).await.problem(409, "nothing_to_roll_back");
    bench
        .post("/api/v1/apps/ducks/rollback", json!({ "environment": "preview" }))
        .await
        .problem(409, "nothing_to_roll_back");
    bench.post("/api/v1/apps/ducks/rollback", json!({ "release": 7 })).await.problem(404, "not_found");
    bench.post("/api/v1/apps/ducks/rollback", json!({ "environment": "moon" })).await.problem(422, "invalid");
    bench.post("/api/v1/apps/ducks/previews", json!({ "version": "HEAD" })).await.problem(422, "invalid");
    bench.post("/api/v1/apps/ducks/previews", json!({ "version": "0".repeat(40) })).await.problem(404, "not_found");
    let empty = json!({ "releases": [], "next": null });
    assert_eq!(bench.get("/api/v1/apps/ducks/releases").await.json(), empty);
    assert_eq!(bench.get("/api/v1/apps/ducks/releases?environment=prod&limit=1").await.json(), empty);
    bench.get("/api/v1/apps/ducks/releases?environment=moon").await.problem(400, "bad_request");

    let accepted = bench.ask(post("/api/v1/apps/ducks/previews")).await;
    assert_eq!(accepted.status, StatusCode::ACCEPTED, "{}", accepted.text());
    let events = bench.follow(&accepted.json()).await;
    let end = events.last().expect("one").json();
    assert_eq!((&end["state"], &end["error"]["code"]), (&json!("failed"), &json!("docker_unavailable")), "{end}");
    let job = bench.get(&format!("/api/v1/jobs/{}", accepted.json()["id"])).await.json();
    assert!(job["error"]["hint"].as_str().is_some(), "{job}");

    for path in ["logs", "logs?environment=preview&tail=5", "logs?follow=true"] {
        let answer = bench.get(&format!("/api/v1/apps/ducks/{path}")).await;
        answer.problem(503, "docker_unavailable");
    }
    for bad in ["tail=x", "tail=-1", "tail=10001", "environment=moon", "follow=maybe", "wat=1"] {
        bench.get(&format!("/api/v1/apps/ducks/logs?{bad}")).await.problem(400, "bad_request");
    }
    // Nothing is to run: the engine need not be asked.
    let usage = bench.get("/api/v1/apps/ducks/resources").await.json();
    let nothing = json!({
        "environment": "prod", "release": null, "ready": 0, "wanted": 0, "restarts": 0,
        "memory_bytes": null, "memory_limit_bytes": null, "cpu_millis": null,
    });
    assert_eq!(usage, nothing);
    bench.get("/api/v1/apps/ducks/resources?environment=moon").await.problem(400, "bad_request");
    bench.get("/api/v1/apps/nobody/resources").await.problem(404, "not_found");
    bench.ask(post("/api/v1/apps/ducks/runs")).await.problem(409, "not_a_job");
    bench.create("daily-job", "scheduled-job").await;
    bench.post("/api/v1/apps/daily-job/runs", json!({ "environment": "preview" })).await.problem(409, "nothing_to_run");
    assert_eq!(bench.get("/api/v1/apps/daily-job/runs").await.json(), json!({ "runs": [], "next": null }));
    bench.get("/api/v1/apps/daily-job/runs/7/log").await.problem(404, "not_found");
}

#[tokio::test]
async fn every_invalid_request_gets_problem_json() {
    let bench = Bench::new().await;
    bench.create("ducks", "static-site").await;
    let json_kind = ("content-type", "application/json");
    for path in
        ["/api", "/api/", "/api/v1", "/api/v2/apps", "/api/v1/nothing", "/api/v1/apps/ducks/nothing", "/api/v1/apps/"]
    {
        bench.get(path).await.problem(404, "not_found");
    }
    for path in [
        "/api/v1/apps/geese",
        "/api/v1/apps/UPPER",
        "/api/v1/apps/%2e%2e",
        "/api/v1/apps/a%2Fb",
        "/api/v1/jobs/x",
        "/api/v1/jobs/9",
        "/api/v1/jobs/-1",
        "/api/v1/apps/geese/events",
    ] {
        bench.get(path).await.problem(404, "not_found");
    }
    for (method, path, allowed) in [
        (Method::PUT, "/api/v1/apps", ["GET", "POST"]),
        (Method::PUT, "/api/v1/apps/ducks", ["GET", "DELETE"]),
        (Method::DELETE, "/healthz", ["GET", "HEAD"]),
        (Method::POST, "/api/openapi.json", ["GET", "HEAD"]),
    ] {
        let answer = bench.ask(asked(method, path)).await;
        answer.problem(405, "method_not_allowed");
        let allow = answer.header("allow").to_owned();
        assert!(allowed.iter().all(|method| allow.contains(method)), "{path}: {allow}");
    }
    let apps = || post("/api/v1/apps");
    let wrong: Vec<(Asked, u16, &str, &str)> = vec![
        (apps(), 400, "bad_request", "empty"),
        (apps().body("{}"), 415, "unsupported_media_type", ""),
        (apps().with("content-type", "text/plain").body("{}"), 415, "unsupported_media_type", ""),
        (apps().with("content-type", b"\xff").body("{}"), 415, "unsupported_media_type", ""),
        (apps().with(json_kind.0, json_kind.1).body("{"), 400, "bad_request", "line 1, column 1"),
        (apps().with(json_kind.0, json_kind.1).body("{\"description\": \"\u{7}\"}"), 400, "bad_request", "line 1"),
        (apps().with(json_kind.0, json_kind.1).body(&b"{\"description\": \"\xff\"}"[..]), 400, "bad_request", ""),
        (apps().with(json_kind.0, json_kind.1).body("[\"x\", null, null]"), 422, "invalid", "object"),
        (apps().with(json_kind.0, json_kind.1).body("null"), 422, "invalid", ""),
        (apps().json(&json!({})), 422, "invalid", "`description`"),
        (apps().json(&json!({ "description": 7 })), 422, "invalid", "string"),
        (apps().json(&json!({ "description": "x", "colour": "red" })), 422, "invalid", "`colour`"),
        (apps().json(&json!({ "description": "x", "name": "No Name" })), 422, "invalid", "app name"),
        (apps().json(&json!({ "description": "x", "name": "builder" })), 422, "invalid", "builder"),
        (
            apps().with(json_kind.0, json_kind.1).body("{\"description\":\"x\",\"description\":\"y\"}"),
            422,
            "invalid",
            "duplicate",
        ),
        (apps().with(json_kind.0, json_kind.1).body(format!("{}1", "[".repeat(5000))), 400, "bad_request", ""),
        (apps().json(&json!({ "description": "x".repeat(3 * 1024 * 1024) })), 413, "too_large", ""),
        (post("/api/v1/tokens").json(&json!({ "name": "" })), 422, "invalid", "token"),
        (asked(Method::DELETE, "/api/v1/tokens/x"), 404, "not_found", "number"),
        (
            post("/api/v1/apps/ducks/rollback").with(json_kind.0, json_kind.1).body("{\"release\": -1}"),
            422,
            "invalid",
            "",
        ),
    ];
    for (request, status, code, said) in wrong {
        let shown = format!("{} {:?}", request.0.uri(), request.0.headers());
        let problem = bench.ask(request).await.problem(status, code);
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(said)), "{shown}: {problem}");
    }
    // JSON by another name is JSON.
    let named = apps().with("content-type", "Application/JSON; charset=utf-8").body("{\"description\":\"x\"}");
    assert_eq!(bench.ask(named).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn health_readiness_and_metrics_are_reported() {
    let bench = Bench::new().await;
    let health = bench.get("/healthz").await;
    assert_eq!((health.status, health.text().as_str()), (StatusCode::OK, "ok"));
    let ready = bench.get("/readyz").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    let ready = ready.json();
    let checks = ready["checks"].as_array().expect("a list");
    let failed: Vec<_> = checks.iter().filter(|check| check["ok"] == false).collect();
    assert_eq!(failed.len(), 1, "{ready}");
    assert_eq!(failed[0]["name"], "docker");
    assert!(failed[0]["hint"].as_str().is_some_and(|hint| hint.contains("Docker")));
    let metrics = bench.get("/metrics").await;
    assert!(metrics.text().contains("slipway_apps 0"), "{}", metrics.text());
    let document = bench.get("/api/openapi.json").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    let docs = bench.get("/docs").await;
    assert_eq!((docs.status, docs.header("content-type")), (StatusCode::OK, "text/html; charset=utf-8"));
    assert!(docs.header("content-security-policy").contains("default-src 'none'"));
    assert_eq!(bench.get("/docs/style.css").await.header("content-type"), "text/css; charset=utf-8");
    let first = bench.get("/healthz").await;
    assert_eq!(first.header("x-request-id").len(), 16);
    assert_ne!(first.header("x-request-id"), health.header("x-request-id"));
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
    ] {
        for path in ["/", "/api/v1/apps", "/api/v1/nothing", "/nothing"] {
            let answer = bench.get(path).await;
            assert_eq!(answer.header(name), value, "{path}");
            let policy = answer.header("content-security-policy");
            assert!(
                policy.contains("frame-src 'self' http://*.localhost:8080;")
                    && policy.contains("frame-ancestors 'none'"),
                "{path}: {policy}"
            );
            assert!(!policy.contains("unsafe"));
        }
    }
}

#[tokio::test]
async fn an_export_is_a_repository_with_manifests() {
    let bench = Bench::new().await;
    bench.create("pay-hook", "webhook").await;
    let archive = bench.get("/api/v1/apps/pay-hook/export").await;
    assert_eq!(archive.status, StatusCode::OK);
    assert_eq!(archive.header("content-type"), "application/gzip");
    assert_eq!(archive.header("content-disposition"), "attachment; filename=\"pay-hook.tar.gz\"");
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(&archive.bytes[..]));
    let mut files = std::collections::BTreeMap::new();
    for entry in tar.entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        let path = entry.path().expect("a path").display().to_string();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("whole");
        files.insert(path, bytes);
    }
    let text = |path: &str| {
        let bytes = files.get(&format!("pay-hook/{path}")).unwrap_or_else(|| panic!("{path} in {:?}", files.keys()));
        String::from_utf8(bytes.clone()).expect("text")
    };
    assert!(text("Dockerfile").contains("\nARG BASE_IMAGE=python:3.13-slim\n"));
    assert!(text("main.py").contains("handle"));
    assert!(text(".git/HEAD").starts_with("ref: refs/heads/"));
    assert!(text("k8s/20-app.yaml").contains("secretKeyRef"));
    assert!(text("README-EXPORT.md").contains("kubectl apply -f k8s/"));
    let app = bench.services.app(&"pay-hook".parse().expect("a name")).await.expect("there");
    let secret = bench.services.webhook_secret(&app, slipway::domain::Environment::Prod).await.expect("there");
    for (path, bytes) in &files {
        assert!(!String::from_utf8_lossy(bytes).contains(secret.expose_secret()), "{path} holds the secret");
    }
    bench.get("/api/v1/apps/geese/export").await.problem(404, "not_found");
}

#[tokio::test]
async fn with_a_password_only_public_addresses_are_open() {
    let bench = Bench::with(&[("SLIPWAY_ADMIN_PASSWORD", PASSWORD)]).await;
    for path in ["/api/v1/apps", "/api/openapi.json", "/metrics", "/api/nothing"] {
        let answer = bench.get(path).await;
        answer.problem(401, "unauthorized");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
    bench.post("/api/v1/apps", json!({ "description": "x" })).await.problem(401, "unauthorized");
    for (path, to) in [
        ("/", "/login"),
        ("/docs", "/login?to=/docs"),
        ("/apps/x?tab=a&b", "/login?to=/apps/x%3Ftab%3Da%26b"),
        ("//evil.test", "/login"),
        ("/nothing", "/login?to=/nothing"),
    ] {
        let answer = bench.get(path).await;
        assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, to), "{path}");
    }
    let form = bench.ask(post("/apps")).await;
    assert_eq!((form.status, form.header("location")), (StatusCode::SEE_OTHER, "/login"));
    let fragment =
        get("/suggest").with("hx-request", "true").with("hx-current-url", format!("http://{HOST}/apps/ducks"));
    let fragment = bench.ask(fragment).await;
    assert_eq!((fragment.status, fragment.header("hx-redirect")), (StatusCode::UNAUTHORIZED, "/login?to=/apps/ducks"));

    assert_eq!(bench.get("/healthz").await.status, StatusCode::OK);
    assert_eq!(bench.get("/login").await.status, StatusCode::OK);
    assert_ne!(bench.get("/static/x/css/base.css").await.status, StatusCode::SEE_OTHER);
    let ready = bench.get("/readyz").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!ready.text().contains("detail") && !ready.text().contains("hint"), "{}", ready.text());

    for garbage in
        [&b"Bearer"[..], b"Bearer ", b"Bearer slipway_0", b"Basic YTpi", b"\xff\xfe", b"Bearer \xc3\xbc", b""]
    {
        bench.ask(get("/api/v1/apps").with("authorization", garbage)).await.problem(401, "unauthorized");
    }
    for garbage in [
        &b"slipway_session"[..],
        b"slipway_session=",
        b"slipway_session=00ff",
        b"\xff=\xff; slipway_session=\xff",
        b";;=;",
    ] {
        bench.ask(get("/api/v1/apps").with("cookie", garbage)).await.problem(401, "unauthorized");
    }

    let from = Attempt { from: "192.0.2.1".parse().expect("an address"), browser: None };
    let session = bench.services.login(PASSWORD, &from, "").await.expect("the password");
    let cookie = format!("a=b; slipway_session=bad; slipway_session={}", session.expose_secret());
    assert_eq!(bench.ask(get("/api/v1/apps").with("cookie", &cookie)).await.status, StatusCode::OK);
    assert_eq!(bench.ask(get("/docs").with("cookie", &cookie)).await.status, StatusCode::OK);
    let made = bench
        .ask(post("/api/v1/tokens").with("cookie", &cookie).json(&json!({ "name": "CI", "scope": "admin" })))
        .await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    let made = made.json();
    assert_eq!(keys(&made), set(["id", "name", "scope", "app", "created_at", "expires_at", "last_used_at", "token"]));
    let bearer = format!("Bearer {}", made["token"].as_str().expect("a token"));
    let tokens = bench.ask(get("/api/v1/tokens").with("authorization", &bearer)).await;
    assert_eq!(tokens.status, StatusCode::OK);
    assert!(!tokens.text().contains(made["token"].as_str().expect("a token")));
    assert!(bench.ask(get("/readyz").with("authorization", &bearer)).await.text().contains("hint"));
    // A bad token is not made good by a session.
    let both = get("/api/v1/apps").with("cookie", &cookie).with("authorization", "Bearer slipway_no");
    bench.ask(both).await.problem(401, "unauthorized");
    let revoked =
        bench.ask(asked(Method::DELETE, &format!("/api/v1/tokens/{}", made["id"])).with("cookie", &cookie)).await;
    assert_eq!(revoked.status, StatusCode::NO_CONTENT);
    bench.ask(get("/api/v1/apps").with("authorization", &bearer)).await.problem(401, "unauthorized");

    bench.services.logout(vec![session.expose_secret()]).await.expect("ended");
    bench.ask(get("/api/v1/apps").with("cookie", &cookie)).await.problem(401, "unauthorized");
}

#[tokio::test]
async fn the_login_page_starts_and_ends_a_session() {
    let bench = Bench::with(&[
        ("SLIPWAY_ADMIN_PASSWORD", PASSWORD),
        ("SLIPWAY_PUBLIC_URL", "https://{host}"),
        ("SLIPWAY_LISTEN", "0.0.0.0:8080"),
    ])
    .await;
    let form = |password: &str, to: &str| {
        let body = format!("password={}&to={to}", password.replace(' ', "+"));
        post("/login").with("content-type", "application/x-www-form-urlencoded").body(body)
    };
    let wrong = bench.ask(form("wrong", "/")).await;
    assert_eq!((wrong.status, wrong.header("set-cookie")), (StatusCode::FORBIDDEN, ""));
    let away = bench.ask(form(PASSWORD, "//evil.test")).await;
    assert_eq!((away.status, away.header("location")), (StatusCode::SEE_OTHER, "/"));
    let right = bench.ask(form(PASSWORD, "/settings")).await;
    assert_eq!((right.status, right.header("location")), (StatusCode::SEE_OTHER, "/settings"));
    let cookie = right.header("set-cookie").to_owned();
    assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax; Max-Age=2592000; Secure"), "{cookie}");
    let cookie = cookie.split(';').next().expect("one").to_owned();
    let page = bench.ask(get("/").with("cookie", &cookie)).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text().contains("action=\"/logout\""), "a way out is offered");
    // Not even with a session does another origin's page do anything.
    bench
        .ask(post("/logout").with("cookie", &cookie).with("origin", "https://ducks.localhost"))
        .await
        .problem(403, "cross_origin");
    let out = bench.ask(post("/logout").with("cookie", &cookie)).await;
    assert!(
        out.header("set-cookie").starts_with("__Host-slipway_session=; ")
            && out.header("set-cookie").contains("Max-Age=0")
    );
    assert_eq!(bench.ask(get("/").with("cookie", &cookie)).await.status, StatusCode::SEE_OTHER);
    for _ in 0..3 {
        bench.ask(form("wrong", "/")).await;
    }
    let limited = bench.ask(form(PASSWORD, "/")).await;
    assert_eq!(limited.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(!limited.header("retry-after").is_empty());
    // Off loopback the bare address is nobody's, and says no more than whether the builder is well.
    assert_eq!(bench.ask(get("/login").at("127.0.0.1:8080")).await.status, StatusCode::NOT_FOUND);
    assert_eq!(bench.ask(get("/healthz").at("127.0.0.1:8080")).await.text(), "ok");
    let ready = bench.ask(get("/readyz").at("127.0.0.1:8080")).await;
    assert!(ready.text().contains("\"checks\":[") && !ready.text().contains("\"detail\":\""), "{}", ready.text());
}

#[tokio::test]
async fn passwords_cannot_be_guessed_quickly() {
    let bench = Bench::with(&[("SLIPWAY_ADMIN_PASSWORD", PASSWORD)]).await;
    let from = |address: &str| Attempt { from: address.parse().expect("an address"), browser: None };
    let (one, other) = (from("192.0.2.1"), from("192.0.2.2"));
    let mut codes = Vec::new();
    for _ in 0..7 {
        codes.push(bench.services.login("guess", &one, "").await.expect_err("refused").code);
    }
    assert_eq!(codes[..5], ["wrong_password"; 5]);
    assert_eq!(codes[5..], ["too_many_logins"; 2]);
    // Not even the right one, then; but from elsewhere.
    let error = bench.services.login(PASSWORD, &one, "").await.expect_err("refused");
    assert!(error.retry_after.is_some_and(|seconds| (1..=60).contains(&seconds)));
    assert!(bench.services.login(PASSWORD, &other, "").await.is_ok());
}

#[tokio::test]
async fn strangers_cannot_lock_out_a_known_browser() {
    let bench = Bench::with(&[("SLIPWAY_ADMIN_PASSWORD", PASSWORD)]).await;
    let form = |password: &str| {
        let form = post("/login").with("content-type", "application/x-www-form-urlencoded");
        form.body(format!("password={}", password.replace(' ', "+")))
    };
    let first = bench.ask(form(PASSWORD)).await;
    let cookies = first.headers.get_all("set-cookie").iter().filter_map(|cookie| cookie.to_str().ok());
    let browser =
        cookies.filter_map(|cookie| cookie.split(';').next()).find(|pair| pair.starts_with("slipway_browser="));
    let browser = browser.expect("the browser is marked").to_owned();
    // Somebody guesses from the same address, as all do where a proxy hides theirs.
    for _ in 0..20 {
        bench.ask(form("guess")).await;
    }
    assert_eq!(bench.ask(form(PASSWORD)).await.status, StatusCode::TOO_MANY_REQUESTS);
    let forged = format!("{}0", &browser[..browser.len() - 1]);
    let forged = if forged == browser { format!("{}1", &browser[..browser.len() - 1]) } else { forged };
    assert_eq!(bench.ask(form(PASSWORD).with("cookie", &forged)).await.status, StatusCode::TOO_MANY_REQUESTS);
    let tossed = format!("slipway_browser=1.2.3; {forged}; {browser}");
    assert_eq!(bench.ask(form(PASSWORD).with("cookie", &tossed)).await.status, StatusCode::SEE_OTHER);
    // It may not guess without end either, and opens nothing by itself.
    for _ in 0..5 {
        bench.ask(form("guess").with("cookie", &browser)).await;
    }
    assert_eq!(bench.ask(form(PASSWORD).with("cookie", &browser)).await.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(bench.ask(get("/").with("cookie", &browser)).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn only_the_operators_proxies_are_trusted() {
    // Requests of a test come from this machine.
    for (trust, last) in [("192.0.2.0/24", StatusCode::TOO_MANY_REQUESTS), ("127.0.0.0/8", StatusCode::FORBIDDEN)] {
        let bench = Bench::with(&[("SLIPWAY_ADMIN_PASSWORD", PASSWORD), ("SLIPWAY_TRUST_PROXY", trust)]).await;
        let form = |from: &str| {
            let form = post("/login").with("content-type", "application/x-www-form-urlencoded").body("password=wrong");
            form.with("x-forwarded-for", from)
        };
        for _ in 0..5 {
            assert_eq!(bench.ask(form("192.0.2.1")).await.status, StatusCode::FORBIDDEN);
        }
        assert_eq!(bench.ask(form("192.0.2.1")).await.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(bench.ask(form("192.0.2.1, 192.0.2.2")).await.status, last, "{trust}");
        assert_eq!(bench.ask(form("192.0.2.9, 192.0.2.1")).await.status, StatusCode::TOO_MANY_REQUESTS, "{trust}");
    }
}

#[tokio::test]
async fn only_our_own_origin_and_hosts_are_served() {
    let bench = Bench::new().await;
    let own = format!("http://{HOST}");
    let create = || post("/api/v1/apps").json(&json!({ "description": "x" }));
    for good in [
        create().with("origin", &own),
        create().with("sec-fetch-site", "same-origin"),
        create().with("sec-fetch-site", "none"),
        create(),
    ] {
        assert_eq!(bench.ask(good).await.status, StatusCode::CREATED);
    }
    for (name, value) in [
        ("origin", "null"),
        ("origin", "http://ducks.localhost:8080"),
        ("origin", "http://builder.localhost"),
        ("origin", "https://evil.test"),
        ("sec-fetch-site", "same-site"),
        ("sec-fetch-site", "cross-site"),
    ] {
        bench.ask(create().with(name, value)).await.problem(403, "cross_origin");
        bench.ask(create().with("origin", &own).with(name, value)).await.problem(403, "cross_origin");
        // Nor is anything looked at for another page.
        bench.ask(get("/api/v1/apps").with(name, value)).await.problem(403, "cross_origin");
    }
    let page = bench.ask(post("/apps").with("origin", "null").with("accept", "text/html")).await;
    assert_eq!((page.status, page.header("content-type")), (StatusCode::FORBIDDEN, "text/html; charset=utf-8"));

    for host in [
        "builder.localhost",
        "BUILDER.localhost:8080",
        "builder.localhost.",
        "localhost:8080",
        "127.0.0.1:8080",
        "[::1]:8080",
    ] {
        assert_eq!(bench.ask(get("/healthz").at(host)).await.text(), "ok", "{host}");
    }
    for host in [
        "evil.test",
        "localhost",
        "127.0.0.1:81",
        "builder.localhost.evil.test",
        "a.b.localhost",
        "xlocalhost",
        "registry.localhost",
        "x.localhost",
    ] {
        let answer = bench.ask(get("/settings").at(host)).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{host}");
        assert!(
            answer.header("content-type").starts_with("text/html") && answer.text().contains("There is nothing here"),
            "{host}"
        );
    }
    assert_eq!(bench.ask(get("/healthz").at("evil.test")).await.text(), "ok");
    assert_eq!(bench.ask(post("/readyz").at("evil.test")).await.status, StatusCode::METHOD_NOT_ALLOWED);
    // No password is set here; a page whose name leads here is told no more for that.
    let ready = bench.ask(get("/readyz").at("evil.test")).await.text();
    assert!(ready.contains("\"checks\":[") && !ready.contains("\"detail\":\""), "{ready}");
    let shown = bench.ask(get("/").at("a-b.test")).await.text();
    assert!(shown.contains("There is no app at a-b.test on this server") && shown.contains("builder.localhost:8080"));
    for host in ["", "a b", "a/b", "<script>.localhost", "user@builder.localhost", ":8080", "builder.localhost:x"] {
        let answer = bench.ask(get("/healthz").at(host)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{host:?}");
        assert!(!answer.text().contains("<script>"));
    }
    assert_eq!(bench.ask(get("/healthz").with("host", HOST)).await.status, StatusCode::BAD_REQUEST);
    let other = bench.ask(get("http://evil.test/healthz")).await;
    assert_eq!(other.status, StatusCode::BAD_REQUEST);
    assert_eq!(bench.ask(get(&format!("http://{HOST}/healthz"))).await.text(), "ok");
    // An app's host is never the builder's, whatever the path.
    let app = bench.ask(get("/api/v1/apps").at("ducks.localhost:8080")).await;
    assert!(app.status != StatusCode::OK && !app.text().contains("\"apps\""), "{}", app.text());
}

#[tokio::test]
async fn a_draft_serves_the_current_files() {
    let bench = Bench::new().await;
    bench.create("ducks", "static-site").await;
    let draft = |path: &str| get(path).at("ducks-draft.localhost:8080");
    let page = bench.ask(draft("/")).await;
    assert_eq!((page.status, page.header("content-type")), (StatusCode::OK, "text/html; charset=utf-8"));
    assert_eq!((page.header("cache-control"), page.header("x-content-type-options")), ("no-store", "nosniff"));
    assert!(page.header("x-frame-options").is_empty() && page.header("content-security-policy").is_empty());
    for (path, kind) in [
        ("/style.css", "text/css; charset=utf-8"),
        ("/script.js", "text/javascript; charset=utf-8"),
        ("/favicon.svg", "image/svg+xml"),
    ] {
        let answer = bench.ask(draft(path)).await;
        assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, kind), "{path}");
    }
    let put = asked(Method::PUT, "/api/v1/apps/ducks/files/public/docs/index.html").body("docs ü");
    assert_eq!(bench.ask(put).await.status, StatusCode::CREATED);
    assert_eq!(bench.ask(draft("/docs/")).await.text(), "docs ü");
    let short = bench.ask(draft("/docs?x=1")).await;
    assert_eq!((short.status, short.header("location")), (StatusCode::FOUND, "/docs/?x=1"));
    assert_eq!(bench.ask(draft("/d%6fcs/index.html")).await.text(), "docs ü");
    for path in ["/nothing", "/../app.toml", "/%2e%2e/app.toml", "/%2e%2e%2fapp.toml", "/.git/config", "/%00", "/a%5cb"]
    {
        let answer = bench.ask(draft(path)).await;
        assert!(answer.status.is_client_error(), "{path}");
        assert!(!answer.text().contains("schedule"), "{path}");
    }
    assert_eq!(bench.ask(draft("/%ff")).await.status, StatusCode::BAD_REQUEST);
    let posted = bench.ask(post("/").at("ducks-draft.localhost")).await;
    assert_eq!((posted.status, posted.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, "GET, HEAD"));
    assert_eq!(bench.ask(get("/").at("geese-draft.localhost")).await.status, StatusCode::NOT_FOUND);
    bench.create("an-api", "simple-api").await;
    let none = bench.ask(get("/").at("an-api-draft.localhost")).await;
    assert_eq!(none.status, StatusCode::NOT_FOUND);
    assert!(none.text().contains("only static sites"), "{}", none.text());
}

/// Sends bytes, reads the answer until the other side is silent or gone.
async fn raw(address: std::net::SocketAddr, bytes: &[u8]) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("connected");
    stream.write_all(bytes).await.expect("sent");
    stream.shutdown().await.expect("half closed");
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    // A reset after the answer is fine: not all that was sent was read.
    let _ = tokio::time::timeout(PATIENCE, read).await.expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn the_listener_survives_garbage_and_stops_with_streams_open() {
    let bench = Bench::new().await;
    bench.create("ducks", "static-site").await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let serving = tokio::spawn(slipway::server::serve(listener, bench.app.clone(), bench.lifecycle()));
    for (bytes, status) in [
        (&b"GET /healthz HTTP/1.1\r\nHost: builder.localhost\r\nConnection: close\r\n\r\n"[..], "200"),
        (b"GET / HTTP/1.1\r\nHost: builder.localhost\r\nConnection: close\r\n\r\n", "200"),
        (b"GET /healthz HTTP/1.0\r\n\r\n", "400"),
        (b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n", "400"),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n", "400"),
        (b"GET /healthz HTTP/1.1\r\nHost: \xff\xfe\r\nConnection: close\r\n\r\n", "400"),
        (b"GET http://evil.test/ HTTP/1.1\r\nHost: builder.localhost\r\nConnection: close\r\n\r\n", "400"),
        (b"CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\nConnection: close\r\n\r\n", "405"),
        (b"OPTIONS * HTTP/1.1\r\nHost: builder.localhost\r\nConnection: close\r\n\r\n", "4"),
        (b"\x16\x03\x01\x02\x00\x01\x00", "400"),
        (b"GET / HTTP/9.9\r\n\r\n", ""),
    ] {
        let answer = raw(address, bytes).await;
        let shown = String::from_utf8_lossy(bytes);
        if status.is_empty() {
            assert!(!answer.contains(" 200 ") && !answer.contains(" 500 "), "{shown}: {answer}");
        } else {
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status}")) || answer.starts_with(&format!("HTTP/1.0 {status}")),
                "{shown}: {answer}"
            );
        }
    }

    let mut open = tokio::net::TcpStream::connect(address).await.expect("connected");
    open.write_all(b"GET /api/v1/apps/ducks/events HTTP/1.1\r\nHost: builder.localhost\r\n\r\n").await.expect("sent");
    let mut head = vec![0; 15];
    open.read_exact(&mut head).await.expect("an answer");
    assert_eq!(head, b"HTTP/1.1 200 OK");
    // A connection that waits for its next request is closed as well.
    let idle = tokio::net::TcpStream::connect(address).await.expect("connected");
    let lifecycle = bench.lifecycle();
    lifecycle.draining.cancel();
    tokio::time::timeout(PATIENCE, serving).await.expect("ends").expect("no panic").expect("well");
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, open.read_to_end(&mut rest)).await.expect("the stream ends").expect("whole");
    assert!(rest.ends_with(b"0\r\n\r\n"), "the stream ends as it should");
    drop(idle);
    lifecycle.tasks.close();
    tokio::time::timeout(PATIENCE, lifecycle.tasks.wait()).await.expect("nothing is left at work");
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody listens any more");
}
