//! Scripts, played over the wire format that the module around this one names.

use serde_json::{Value, json};

use super::WIRE;
use crate::fake_claude::{Answer, FakeClaude, KEY, Reply, Split, Wire};
use crate::support::PATIENCE;
use crate::support::builder::{Builder, send};
use crate::support::stream::Event;

struct Scene {
    builder: Builder,
    fake: FakeClaude,
    app: String,
}

impl Scene {
    async fn with(script: Vec<Reply>) -> Self {
        let fake = FakeClaude::start(script).await;
        let builder = Builder::start_with(&WIRE.settings(&fake.base_url())).await;
        let app = builder.create("static-site", "Meets a model").await;
        Self { builder, fake, app }
    }

    /// Sends a message and waits for the end: the job and its turn.
    async fn turn(&self) -> (Value, Value) {
        let path = format!("/apps/{}/turns", self.app);
        let job = self.builder.ask(&path, &json!({"prompt": "Write a page"})).await;
        let job = self.builder.ended(&job).await;
        let turns = self.builder.get(&path).await.expect(200);
        (job, turns["turns"][0].clone())
    }

    /// A turn that fails with this code, says why and what to do; afterwards everything else works.
    async fn fails_with(&self, code: &str) -> (Value, Value) {
        let (job, turn) = self.turn().await;
        assert_eq!(job["state"], "failed", "{job:#}");
        assert_eq!(job["error"]["code"], code, "{job:#}");
        assert!(job["error"]["message"].as_str().is_some_and(|text| text.len() > 20), "{job:#}");
        assert!(job["error"]["hint"].as_str().is_some_and(|text| text.len() > 10), "{job:#}");
        assert_eq!(turn["state"], "failed", "{turn:#}");
        assert!(turn["note"].as_str().is_some_and(|text| text.len() > 20), "{turn:#}");
        self.still_opens().await;
        (job, turn)
    }

    /// The app is there, its draft answers, and the next turn works.
    async fn still_opens(&self) {
        let described = self.builder.app(&self.app).await;
        assert_eq!(described["name"], self.app.as_str());
        assert_eq!(self.builder.open(&format!("{}-draft", self.app), "/").await.status, 200);
        let page = self.builder.http.get(self.builder.at("builder.localhost", &format!("/apps/{}", self.app)));
        let page = send(page.header("Accept", "text/html")).await;
        assert_eq!(page.status, 200, "{}", page.text());
        assert_eq!(self.fake.left(), 0, "the whole script was played");
        self.fake.push(Answer::new().text("Here I am again.").stop("end_turn").reply());
        let (job, turn) = self.turn().await;
        assert_eq!(job["state"], "succeeded", "{job:#}");
        assert_eq!(turn["state"], "done");
        let told = format!("{} {:?}", self.builder.log(), self.builder.events(&self.app, 0).await.so_far());
        assert!(!told.contains(KEY), "a log or event contains the key");
    }

    async fn events(&self, job: &Value) -> Vec<Event> {
        self.builder.job_events(&job["id"], 0).await.read_out(PATIENCE).await
    }

    async fn file(&self, path: &str) -> Option<String> {
        let answer = self.builder.get(&format!("/apps/{}/files/{path}", self.app)).await;
        (answer.status == 200).then(|| answer.text())
    }
}

fn write(path: &str, content: &str) -> Value {
    json!({"path": path, "content": content})
}

fn page(words: &str) -> Answer {
    Answer::new().text("I write.").tool("t1", "write_file", &write("public/index.html", words), 3)
}

fn done() -> Reply {
    Answer::new().text("Done.").stop("end_turn").reply()
}

#[tokio::test]
async fn a_rejected_key_is_reported() {
    let scene = Scene::with(vec![Reply::error(401, "authentication_error", &format!("invalid x-api-key {KEY}"))]).await;
    let (job, _) = scene.fails_with("model_unauthorized").await;
    let key = if WIRE == Wire::Chat { "OPENAI_API_KEY" } else { "ANTHROPIC_API_KEY" };
    assert!(job["error"]["hint"].as_str().is_some_and(|hint| hint.contains(key)), "{job:#}");
    assert_eq!(scene.fake.requests().len(), 2, "a wrong key is not tried again");
}

#[tokio::test]
async fn a_rate_limit_is_retried_after_its_wait() {
    let scene =
        Scene::with(vec![Reply::rate_limited("2"), page("<h1>After a while</h1>").stop("tool_use").reply(), done()])
            .await;
    let begun = tokio::time::Instant::now();
    let (job, turn) = scene.turn().await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    assert!(begun.elapsed().as_secs_f64() >= 2.0, "retry-after is honoured");
    assert_eq!(turn["state"], "done");
    assert_eq!(scene.file("public/index.html").await.as_deref(), Some("<h1>After a while</h1>"));
    scene.still_opens().await;
}

#[tokio::test]
async fn does_not_retry_after_a_spending_limit() {
    let scene = Scene::with(vec![Reply::spend_limit()]).await;
    scene.fails_with("model_spend_limit").await;
}

#[tokio::test]
async fn an_overloaded_model_is_retried() {
    let overloaded = || Reply::error(529, "overloaded_error", "Overloaded");
    let scene =
        Scene::with(vec![overloaded(), overloaded(), page("<h1>At last</h1>").stop("tool_use").reply(), done()]).await;
    let (job, _) = scene.turn().await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    assert_eq!(scene.file("public/index.html").await.as_deref(), Some("<h1>At last</h1>"));

    for _ in 0..6 {
        scene.fake.push(overloaded());
    }
    scene.fails_with("model_overloaded").await;
}

#[tokio::test]
async fn an_error_in_mid_stream_repeats_the_whole_request() {
    let half = r#"{"path": "public/index.html", "content": "<h1>Half"#;
    let broken = Answer::new().text("I write.").tool_begun("t1", "write_file", half, 3);
    let script = vec![
        broken.error("overloaded_error", "Overloaded").reply(),
        page("<h1>Whole</h1>").stop("tool_use").reply(),
        done(),
    ];
    let scene = Scene::with(script).await;
    let (job, _) = scene.turn().await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    assert_eq!(scene.file("public/index.html").await.as_deref(), Some("<h1>Whole</h1>"));
    let requests = scene.fake.requests();
    assert_eq!(requests[0].body["messages"], requests[1].body["messages"], "the same transcript");
    scene.still_opens().await;
}

#[tokio::test]
async fn an_error_after_a_tool_continues_after_its_effect() {
    // The call is complete when the next one begins, at the latest.
    let broken = page("<h1>Done already</h1>")
        .tool_begun("t2", "read_file", "{", 1)
        .error("overloaded_error", "Overloaded")
        .reply();
    let scene = Scene::with(vec![broken, done()]).await;
    let (job, _) = scene.turn().await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    assert_eq!(scene.file("public/index.html").await.as_deref(), Some("<h1>Done already</h1>"));
    let requests = scene.fake.requests();
    let told = requests[1].body["messages"].to_string();
    assert!(told.contains("Done already") && told.contains("tool_result"), "the model knows what was done: {told}");
    scene.still_opens().await;
}

#[tokio::test]
async fn broken_connections_are_retried() {
    let scene = Scene::with(vec![
        Reply::HangUp,
        page("<h1>Lost</h1>").disconnect_after(6, 11),
        page("<h1>Kept</h1>").stop("tool_use").split(Split::Bytes(7)),
        done(),
    ])
    .await;
    let (job, _) = scene.turn().await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    assert_eq!(scene.file("public/index.html").await.as_deref(), Some("<h1>Kept</h1>"));
    scene.still_opens().await;
}

#[tokio::test]
async fn files_written_before_a_failure_are_kept() {
    let mut script = vec![page("<h1>Before the storm</h1>").stop("tool_use").reply()];
    script.push(Reply::error(403, "permission_error", "Not any more"));
    let scene = Scene::with(script).await;
    let before = scene.builder.head(&scene.app).await;
    let (job, turn) = scene.fails_with("model_forbidden").await;
    assert_ne!(scene.builder.head(&scene.app).await, before);
    assert_eq!(scene.file("public/index.html").await.as_deref(), Some("<h1>Before the storm</h1>"));
    assert!(turn["version"].is_string(), "{turn:#}");
    let events = scene.events(&job).await;
    assert!(events.last().is_some_and(|event| event.is_job("failed")), "{events:#?}");
}

#[tokio::test]
async fn invalid_json_in_tool_input_is_returned_to_the_model() {
    let bad = || {
        Answer::new()
            .tool_text("t1", "write_file", r#"{"path": "public/index.html", "content": "<h1>oh"#, 4)
            .stop("tool_use")
            .reply()
    };
    let scene = Scene::with(vec![bad(), page("<h1>Fixed</h1>").stop("tool_use").reply(), done()]).await;
    let (job, _) = scene.turn().await;
    assert_eq!(job["state"], "succeeded", "the model gets the error and fixes it: {job:#}");
    assert_eq!(scene.file("public/index.html").await.as_deref(), Some("<h1>Fixed</h1>"));
    let told = scene.fake.requests()[1].body["messages"].to_string();
    assert!(told.contains(r#""is_error":true"#), "{told}");
    scene.still_opens().await;
}

#[tokio::test]
async fn an_answer_that_ends_inside_a_tool_call_is_continued() {
    let cut = Answer::new()
        .text("A long page.")
        .tool_begun("t1", "write_file", r#"{"path": "public/index.html", "content": "<h1>never end"#, 6)
        .stop("max_tokens")
        .reply();
    let scene = Scene::with(vec![cut, page("<h1>Shorter</h1>").stop("tool_use").reply(), done()]).await;
    let (job, _) = scene.turn().await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    assert_eq!(
        scene.file("public/index.html").await.as_deref(),
        Some("<h1>Shorter</h1>"),
        "an incomplete file is not written"
    );
    scene.still_opens().await;
}

#[tokio::test]
async fn several_tools_in_one_answer_are_executed() {
    let several = Answer::new()
        .thinking("Three things at once.", Some("sig"))
        .redacted("c2VjcmV0")
        .unknown_block()
        .unknown_event()
        .tool("t1", "write_file", &write("public/one.html", "1"), 2)
        .tool("t2", "read_file", &json!({"path": "public/absent.html"}), 5)
        .tool("t3", "write_file", &write("../outside.html", "3"), 5)
        .tool("t4", "write_file", &write("Dockerfile", "FROM scratch"), 5)
        .tool("t5", "delete_file", &json!({"path": "public/script.js"}), 5)
        .tool("t6", "no_such_tool", &json!({}), 5)
        .stop("tool_use")
        .split(Split::Bytes(3));
    let scene = Scene::with(vec![several, done()]).await;
    let (job, turn) = scene.turn().await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    assert_eq!(scene.file("public/one.html").await.as_deref(), Some("1"));
    assert_eq!(scene.file("public/script.js").await, None);
    assert!(scene.file("Dockerfile").await.is_some_and(|text| text.contains("BASE_IMAGE")), "the platform's own");
    assert!(!scene.builder.data().join("workspaces/outside.html").exists());
    let requests = scene.fake.requests();
    let messages = requests[1].body["messages"].as_array().expect("messages");
    let said = messages[1]["content"].as_array().expect("blocks");
    let kinds: Vec<&str> = said.iter().filter_map(|block| block["type"].as_str()).collect();
    match WIRE {
        Wire::Messages => assert_eq!(&kinds[..2], ["thinking", "redacted_thinking"], "{kinds:?}"),
        Wire::Chat => assert_eq!(kinds, ["tool_use"; 6]),
    }
    let results = messages[2]["content"].as_array().expect("results");
    let ids: Vec<&str> = results.iter().filter_map(|result| result["tool_use_id"].as_str()).collect();
    assert_eq!(ids, ["t1", "t2", "t3", "t4", "t5", "t6"], "all in one message, in order");
    let failed: Vec<bool> = results.iter().map(|result| result["is_error"] == true).collect();
    assert_eq!(failed, [false, true, true, true, false, true], "{results:#?}");
    assert!(turn["usage"]["output_tokens"].as_u64().is_some_and(|tokens| tokens >= 100), "{turn:#}");
    scene.still_opens().await;
}

#[tokio::test]
async fn a_refusal_of_the_model_is_shown() {
    let declined =
        Answer::new().text("I would rather").stop_with("refusal", &json!({"explanation": "Not this."})).reply();
    let scene = Scene::with(vec![declined]).await;
    scene.fails_with("model_refused").await;
}

#[tokio::test]
async fn a_limit_ends_a_turn_cleanly() {
    let fake = FakeClaude::start(vec![
        page("<h1>One step</h1>").stop("tool_use").reply(),
        Answer::new().tool("t2", "list_files", &json!({}), 5).stop("tool_use").reply(),
    ])
    .await;
    let url = fake.base_url();
    let settings = [WIRE.settings(&url), vec![("SLIPWAY_TURN_MAX_STEPS", "2")]].concat();
    let builder = Builder::start_with(&settings).await;
    let app = builder.create("static-site", "Has its limits").await;
    builder.turn(&app, "Go on without end").await;
    let turns = builder.get(&format!("/apps/{app}/turns")).await.expect(200);
    assert_eq!(turns["turns"][0]["state"], "done", "{turns:#}");
    assert!(turns["turns"][0]["note"].as_str().is_some_and(|note| note.contains('2')), "{turns:#}");
    assert_eq!(builder.get(&format!("/apps/{app}/files/public/index.html")).await.text(), "<h1>One step</h1>");
}
