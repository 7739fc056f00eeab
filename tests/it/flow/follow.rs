//! Jobs that follow a turn automatically: its preview, repairs after a failure, and the end of repairs.

use serde_json::{Value, json};

use crate::fake_claude::{Answer, FakeClaude, Recorded, Reply};
use crate::support::builder::Builder;
use crate::support::{PATIENCE, eventually};

async fn builder_with(script: Vec<Reply>) -> (Builder, FakeClaude) {
    builder_set(script, &[]).await
}

async fn builder_set(script: Vec<Reply>, settings: &[(&str, &str)]) -> (Builder, FakeClaude) {
    let fake = FakeClaude::start(script).await;
    let url = fake.base_url();
    let all = [super::WIRE.settings(&url).as_slice(), settings].concat();
    (Builder::start_with(&all).await, fake)
}

fn writes(id: &str, path: &str, content: &str) -> Reply {
    let input = json!({"path": path, "content": content});
    Answer::new().tool(id, "write_file", &input, 40).stop("tool_use").reply()
}

fn uses(id: &str, tool: &str, input: &Value) -> Reply {
    Answer::new().tool(id, tool, input, 40).stop("tool_use").reply()
}

fn says(text: &str) -> Reply {
    Answer::new().text(text).stop("end_turn").reply()
}

/// The jobs of an app in order, as `kind state`, once `wanted` holds for them.
async fn jobs(builder: &Builder, app: &str, what: &str, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    eventually(what, PATIENCE, || async {
        let mut jobs = Vec::new();
        // Ids are the builder's own, and this builder has one app.
        for id in 1.. {
            let answer = builder.get(&format!("/jobs/{id}")).await;
            if answer.status != 200 {
                break;
            }
            jobs.push(answer.json());
        }
        assert!(jobs.iter().all(|job| job["app"] == app));
        let is_open = jobs.iter().any(|job| matches!(job["state"].as_str(), Some("queued" | "running")));
        (!is_open && wanted(&jobs)).then_some(jobs)
    })
    .await
}

fn kinds_and_states(jobs: &[Value]) -> Vec<String> {
    jobs.iter()
        .map(|job| format!("{} {}", job["kind"].as_str().unwrap_or(""), job["state"].as_str().unwrap_or("")))
        .collect()
}

/// The results of tools in the last message of a request.
fn results(request: &Recorded) -> String {
    let messages = request.body["messages"].as_array().expect("messages");
    messages.last().map(Value::to_string).unwrap_or_default()
}

#[tokio::test]
async fn the_preview_follows_the_demo_models_turn() {
    let builder = Builder::start().await;
    for (template, path) in [("static-site", "/"), ("webhook", "/")] {
        let app = builder.create_followed(template, "Followed").await;
        builder.turn(&app, "A page about whales").await;
        let described = eventually("the preview is ready", PATIENCE, || async {
            let app = builder.app(&app).await;
            (app["environments"]["preview"]["state"] == "ready").then_some(app)
        })
        .await;
        assert_eq!(described["environments"]["preview"]["version"], described["head"], "{described:#}");
        assert_eq!(described["auto_preview"], true);
        let page = builder.open(&format!("{app}-preview"), path).await;
        assert!(page.text().contains("whales"), "{}", page.text());
    }
}

#[tokio::test]
async fn a_failed_preview_is_repaired_by_the_model() {
    let script = vec![
        writes("t1", "public/index.html", "<h1>Whales</h1><a href=songs.html>Songs</a>\n"),
        says("There is a page now."),
        writes("t2", "public/songs.html", "<h1>Songs</h1><a href=./>Back</a>\n"),
        says("The second page was missing; it is there now."),
    ];
    let (builder, fake) = builder_with(script).await;
    let app = builder.create_followed("static-site", "Whales").await;
    builder.ask(&format!("/apps/{app}/turns"), &json!({"prompt": "A page about whales"})).await;
    let jobs = jobs(&builder, &app, "it is repaired", |jobs| jobs.len() == 4).await;
    assert_eq!(
        kinds_and_states(&jobs),
        ["generate succeeded", "preview failed", "generate succeeded", "preview succeeded"]
    );
    assert_eq!(jobs[1]["error"]["code"], "smoke_failed");
    assert!(builder.open(&format!("{app}-preview"), "/songs").await.text().contains("<h1>Songs</h1>"));

    let requests = fake.requests();
    assert_eq!(requests.len(), 4);
    let asked = results(&requests[2]);
    assert!(asked.contains("The preview of your work failed.") && asked.contains("<material-"), "{asked}");
    assert!(asked.contains("GET /songs.html (page): 404"), "{asked}");
    let turns = builder.get(&format!("/apps/{app}/turns")).await.expect(200)["turns"].clone();
    assert_eq!(turns[0]["repair"], json!({"of": turns[1]["id"], "number": 1}), "{turns:#}");
    assert_eq!(turns[1]["repair"], Value::Null);
}

#[tokio::test]
async fn the_same_error_twice_ends_the_repairs() {
    let script = vec![
        writes("t1", "public/index.html", "<h1>One</h1><img src=gone.png>\n"),
        says("Done."),
        writes("t2", "public/index.html", "<h1>Two</h1>\n<p>Better.</p>\n<img src=gone.png>\n"),
        says("Fixed."),
    ];
    let (builder, fake) = builder_with(script).await;
    let app = builder.create_followed("static-site", "Stubborn").await;
    builder.ask(&format!("/apps/{app}/turns"), &json!({"prompt": "A page with a picture"})).await;
    let jobs = jobs(&builder, &app, "the repairs end", |jobs| jobs.len() == 4).await;
    assert_eq!(
        kinds_and_states(&jobs),
        ["generate succeeded", "preview failed", "generate succeeded", "preview failed"]
    );
    let hint = jobs[3]["error"]["hint"].as_str().expect("says why it ends");
    assert!(hint.contains("same error") && hint.contains("public/index.html"), "{hint}");
    assert_eq!(fake.requests().len(), 4, "nothing further was asked");
}

#[tokio::test]
async fn repairs_end_at_the_limits_of_their_turn() {
    let script = vec![
        writes("t1", "public/index.html", "<h1>One</h1><a href=one.html>One</a>\n"),
        says("Done."),
        writes("t2", "public/index.html", "<h1>Two</h1><a href=two.html>Two</a>\n"),
        says("Not asked for any more."),
    ];
    let (builder, fake) = builder_set(script, &[("SLIPWAY_TURN_MAX_STEPS", "3")]).await;
    let app = builder.create_followed("static-site", "Bounded").await;
    builder.ask(&format!("/apps/{app}/turns"), &json!({"prompt": "A page with links"})).await;
    let jobs = jobs(&builder, &app, "the repairs end", |jobs| jobs.len() == 4).await;
    assert_eq!(
        kinds_and_states(&jobs),
        ["generate succeeded", "preview failed", "generate succeeded", "preview failed"]
    );
    let turns = builder.get(&format!("/apps/{app}/turns")).await.expect(200)["turns"].clone();
    assert_eq!((&turns[0]["reason"], &turns[0]["repair"]["number"]), (&json!("cap_steps"), &json!(1)), "{turns:#}");
    let words = "This turn and its repairs reached their limit of 3 steps";
    assert!(turns[0]["note"].as_str().is_some_and(|note| note.starts_with(words)), "{turns:#}");
    assert!(jobs[3]["error"]["hint"].as_str().is_some_and(|hint| hint.starts_with(words)), "{:#}", jobs[3]);
    assert_eq!(fake.left(), 1);
}

#[tokio::test]
async fn automatic_previews_can_be_switched_off() {
    let script = vec![
        writes("t1", "public/index.html", "<h1>One</h1>\n"),
        says("Done."),
        writes("t2", "public/index.html", "<h1>Two</h1>\n"),
        says("Done."),
    ];
    let (builder, _fake) = builder_with(script).await;
    let app = builder.create_followed("static-site", "By hand").await;
    let changed =
        builder.request(reqwest::Method::PATCH, &format!("/apps/{app}")).json(&json!({"auto_preview": false}));
    assert_eq!(crate::support::builder::send(changed).await.expect(200)["auto_preview"], false);
    builder.turn(&app, "One").await;
    assert_eq!(kinds_and_states(&jobs(&builder, &app, "the turn ends", |_| true).await), ["generate succeeded"]);

    let changed = builder.request(reqwest::Method::PATCH, &format!("/apps/{app}")).json(&json!({"auto_preview": true}));
    crate::support::builder::send(changed).await.expect(200);
    builder.turn(&app, "Two").await;
    // Asked for while it is on its way: the same job.
    let job = builder.preview(&app).await;
    let all = jobs(&builder, &app, "all ends", |_| true).await;
    assert_eq!(kinds_and_states(&all), ["generate succeeded", "generate succeeded", "preview succeeded"]);
    assert_eq!(all[2]["id"], job["id"], "{job:#}");
}

#[tokio::test]
async fn a_manual_preview_is_repaired_too() {
    let script = vec![
        writes("t1", "public/index.html", "<h1>Tides</h1><a href=table.html>Table</a>\n"),
        says("There is a page now."),
        writes("t2", "public/table.html", "<h1>Table</h1>\n"),
        says("The table was missing; it is there now."),
    ];
    let (builder, fake) = builder_with(script).await;
    let app = builder.create("static-site", "Tides").await;
    builder.turn(&app, "A page about tides").await;
    // If automatic previews are off, no job follows.
    builder.failed(&format!("/apps/{app}/previews"), &json!({})).await;
    let change = builder.request(reqwest::Method::PATCH, &format!("/apps/{app}")).json(&json!({"auto_preview": true}));
    crate::support::builder::send(change).await.expect(200);
    builder.failed(&format!("/apps/{app}/previews"), &json!({})).await;
    let jobs = jobs(&builder, &app, "it is repaired", |jobs| jobs.len() == 5).await;
    let expected =
        ["generate succeeded", "preview failed", "preview failed", "generate succeeded", "preview succeeded"];
    assert_eq!(kinds_and_states(&jobs), expected);
    assert!(builder.open(&format!("{app}-preview"), "/table").await.text().contains("<h1>Table</h1>"));
    assert_eq!(fake.left(), 0);
}

#[tokio::test]
async fn the_model_can_check_its_app() {
    let script = vec![
        writes("t1", "main.py", "from fastapi import FastAPI\n\napp = FastAPI(\n"),
        uses("t2", "check", &json!({})),
        writes("t3", "main.py", "from fastapi import FastAPI\nimport nosuch\n\napp = FastAPI()\n"),
        uses("t4", "check", &json!({})),
        writes(
            "t5",
            "main.py",
            "from fastapi import FastAPI\n\napp = FastAPI()\n\n\n@app.get('/health')\ndef health():\n    print('asked how it is')\n    return {'status': 'ok'}\n",
        ),
        uses("t6", "check", &json!({})),
        uses("t7", "request", &json!({"method": "GET", "path": "/hello/you"})),
        // The engine may still be writing down the line of the request before.
        uses("t8", "request", &json!({"method": "GET", "path": "/hello/me"})),
        uses("t9", "preview_logs", &json!({})),
        says("It works."),
    ];
    let (builder, fake) = builder_with(script).await;
    let app = builder.create("simple-api", "Checked").await;
    builder.preview(&app).await;
    builder.turn(&app, "Write it anew").await;
    let requests = fake.requests();
    assert_eq!(requests.len(), 10);
    let (syntax, import, good) = (results(&requests[2]), results(&requests[4]), results(&requests[6]));
    assert!(syntax.contains("main.py:3: SyntaxError") && syntax.contains("\"is_error\":true"), "{syntax}");
    assert!(import.contains("ModuleNotFoundError: No module named 'nosuch'"), "{import}");
    assert!(!import.contains("Collecting") && import.len() < 2_000, "the error, not the log: {import}");
    assert!(good.contains("It builds.") && !good.contains("is_error\":true"), "{good}");
    let answered = results(&requests[7]);
    assert!(
        answered.contains("Hello, you!") && answered.contains("<material-"),
        "what runs is what was deployed: {answered}"
    );
    assert!(results(&requests[9]).contains("/hello/you"), "{}", results(&requests[9]));
    assert_eq!(builder.releases(&app, "preview").await.len(), 1, "nothing was deployed");
}

#[tokio::test]
async fn a_restarted_builder_continues_with_the_next_job() {
    let script = vec![
        writes("t1", "public/index.html", "<h1>Reefs</h1><a href=map.html>Map</a>\n"),
        says("There is a page now."),
        writes("t2", "public/map.html", "<h1>Map</h1>\n"),
        says("And the map."),
    ];
    let (mut builder, fake) = builder_with(script).await;
    let app = builder.create_followed("static-site", "Reefs").await;
    let mut events = builder.events(&app, 0).await;
    builder.ask(&format!("/apps/{app}/turns"), &json!({"prompt": "A page about reefs"})).await;
    // During the automatic preview.
    events.wait("the preview begins", PATIENCE, |event| event.is_step("build", "running")).await;
    builder.restart().await;
    let jobs = jobs(&builder, &app, "it is repaired all the same", |jobs| jobs.len() == 4).await;
    assert_eq!(
        kinds_and_states(&jobs),
        ["generate succeeded", "preview failed", "generate succeeded", "preview succeeded"]
    );
    assert_eq!(fake.requests().len(), 4, "nothing was asked twice");
    assert!(builder.open(&format!("{app}-preview"), "/map").await.text().contains("<h1>Map</h1>"));
}
