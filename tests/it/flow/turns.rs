//! Turns: live drafts, stopping a running turn, the conversation.

use serde_json::{Value, json};

use super::WIRE;
use crate::fake_claude::{Answer, FakeClaude, KEY, Reply, Wire};
use crate::support::PATIENCE;
use crate::support::builder::Builder;

async fn builder_with(script: Vec<Reply>) -> (Builder, FakeClaude) {
    let fake = FakeClaude::start(script).await;
    let builder = Builder::start_with(&WIRE.settings(&fake.base_url())).await;
    (builder, fake)
}

fn write(path: &str, content: &str) -> Value {
    json!({"path": path, "content": content})
}

#[tokio::test]
async fn the_draft_follows_the_work_tree_while_the_turn_writes() {
    let script = vec![
        Answer::new()
            .text("First the page.")
            .tool("t1", "write_file", &write("public/index.html", "<h1>Half of it</h1>\n"), 4)
            .stop("tool_use")
            .reply(),
        Answer::new()
            .tool_begun("t2", "write_file", r#"{"path": "public/more.html", "content": "<p>never"#, 4)
            .then_silence(),
    ];
    let (builder, _fake) = builder_with(script).await;
    let app = builder.create("static-site", "Drafted").await;
    let before = builder.head(&app).await;
    let job = builder.ask(&format!("/apps/{app}/turns"), &json!({"prompt": "please write it. And quickly."})).await;
    let mut events = builder.job_events(&job["id"], 0).await;
    events
        .wait("the first file", PATIENCE, |event| {
            event.name == "file" && event.data["state"] == "written" && event.data["path"] == "public/index.html"
        })
        .await;
    assert_eq!(builder.head(&app).await, before, "the turn is still running: no version yet");
    let draft = builder.open(&format!("{app}-draft"), "/").await;
    assert!(draft.text().contains("Half of it"), "{}", draft.text());
    events
        .wait("the second file is being typed", PATIENCE, |event| {
            event.name == "file" && event.data["state"] == "writing" && event.data["path"] == "public/more.html"
        })
        .await;

    // Stopped in the middle of a file: what was finished is kept, half a file is not.
    builder.post(&format!("/jobs/{}/cancel", job["id"]), &json!({})).await;
    assert_eq!(builder.ended(&job).await["state"], "cancelled");
    assert_ne!(builder.head(&app).await, before, "what was written is a version");
    let index = builder.get(&format!("/apps/{app}/files/public/index.html")).await.text();
    assert_eq!(index, "<h1>Half of it</h1>\n");
    assert_eq!(builder.get(&format!("/apps/{app}/files/public/more.html")).await.status, 404);
    let turns = builder.get(&format!("/apps/{app}/turns")).await.expect(200);
    assert_eq!(turns["turns"][0]["state"], "stopped", "{turns:#}");
    // Without a title of the model's, the message gives one.
    let versions = builder.get(&format!("/apps/{app}/versions")).await.expect(200);
    assert_eq!(versions["versions"][0]["title"], "Write it");
}

#[tokio::test]
async fn a_stopped_demo_turn_keeps_its_files() {
    let mut builder = Builder::start_with(&[("SLIPWAY_DEMO_PACE", "1")]).await;
    let app = builder.create("static-site", "Stopped early").await;
    let before = builder.head(&app).await;
    let job = builder.ask(&format!("/apps/{app}/turns"), &json!({"prompt": "A page about whales"})).await;
    let mut events = builder.job_events(&job["id"], 0).await;
    events.wait("a finished file", PATIENCE, |event| event.data["state"] == "written").await;
    builder.post(&format!("/jobs/{}/cancel", job["id"]), &json!({})).await;
    assert_eq!(builder.ended(&job).await["state"], "cancelled");
    let after = builder.head(&app).await;
    assert_ne!(after, before);
    assert!(builder.get(&format!("/apps/{app}/files/public/index.html")).await.text().contains("A page about whales"));
    let versions = builder.get(&format!("/apps/{app}/versions")).await.expect(200);
    assert_eq!(versions["versions"].as_array().map(Vec::len), Some(2));
    // The app works as before.
    builder.restart_with(&[("SLIPWAY_DEMO_PACE", "0")]).await;
    builder.turn(&app, "Change the title to Dolphins").await;
    let page = builder.get(&format!("/apps/{app}/files/public/index.html")).await.text();
    assert!(page.contains("<h1>Dolphins</h1>"), "{page}");
}

#[tokio::test]
async fn thinking_is_sent_back_unchanged() {
    let script = vec![
        Answer::new()
            .thinking("A sail, then.", Some("sig-one"))
            .text("I write it.")
            .tool("t1", "write_file", &write("public/index.html", "<h1>Sail</h1>"), 9)
            .stop("tool_use")
            .reply(),
        Answer::new().text("It is there.").stop("end_turn").reply(),
        Answer::new().text("You are welcome.").stop("end_turn").reply(),
    ];
    let (mut builder, fake) = builder_with(script).await;
    let app = builder.create("static-site", "Talks").await;
    builder.turn(&app, "A sail, please").await;
    builder.restart().await;
    let head = builder.head(&app).await;
    builder.turn(&app, "Thank you").await;
    assert_eq!(builder.head(&app).await, head, "a turn without changes creates no version");

    let requests = fake.requests();
    assert_eq!(requests.len(), 3);
    let said = requests[2].body["messages"].as_array().expect("messages");
    let roles: Vec<&str> = said.iter().filter_map(|message| message["role"].as_str()).collect();
    assert_eq!(roles, ["user", "assistant", "user", "assistant", "user"]);
    if WIRE == Wire::Messages {
        assert_eq!(said[1]["content"][0]["type"], "thinking");
        assert_eq!(said[1]["content"][0]["signature"], "sig-one", "returned as received");
    } else {
        assert!(!said[1].to_string().contains("A sail, then."), "no such server takes it back");
    }
    assert_eq!(said[2]["content"][0]["type"], "tool_result");
    assert!(said[4].to_string().contains("Thank you"));
    for request in &requests {
        assert!(!request.body.to_string().contains(KEY), "the key is only in a header");
    }

    let turns = builder.get(&format!("/apps/{app}/turns")).await.expect(200);
    let prompts: Vec<&Value> = turns["turns"].as_array().expect("a list").iter().map(|turn| &turn["prompt"]).collect();
    assert_eq!(prompts, ["Thank you", "A sail, please"], "newest first");
    let told = format!("{}{:?}", builder.log(), builder.events(&app, 0).await.so_far());
    assert!(!told.contains(KEY), "no log or event contains the key");
}

#[tokio::test]
async fn a_discussion_changes_nothing() {
    let builder = Builder::start().await;
    let app = builder.create("static-site", "Talked about").await;
    let head = builder.head(&app).await;
    let words = json!({"prompt": "What is in here?", "mode": "discuss"});
    builder.done(&format!("/apps/{app}/turns"), &words).await;
    assert_eq!(builder.head(&app).await, head);
    for bad in [json!({}), json!({"prompt": "  "}), json!({"prompt": "x", "mode": "shout"}), json!([1])] {
        let answer = builder.post(&format!("/apps/{app}/turns"), &bad).await;
        assert!(matches!(answer.status.as_u16(), 400 | 422), "{bad}: {}", answer.text());
        assert_eq!(answer.header("content-type"), "application/problem+json");
    }
}

/// Has a turn stopped once something was seen of it; the turn.
async fn stopped(builder: &Builder, app: &str, turn: &Value, seen: &str) -> Value {
    let job = builder.ask(&format!("/apps/{app}/turns"), turn).await;
    let mut events = builder.job_events(&job["id"], 0).await;
    events.wait(seen, PATIENCE, |event| event.name == seen && event.data["state"] != "writing").await;
    builder.post(&format!("/jobs/{}/cancel", job["id"]), &json!({})).await;
    builder.ended(&job).await;
    newest(builder, app).await
}

async fn newest(builder: &Builder, app: &str) -> Value {
    builder.get(&format!("/apps/{app}/turns")).await.expect(200)["turns"][0].clone()
}

#[tokio::test]
async fn deleting_a_users_files_needs_a_confirmation_but_own_files_do_not() {
    let delete = |id: &str| {
        Answer::new().tool(id, "delete_file", &json!({"path": "public/notes.txt"}), 9).stop("tool_use").reply()
    };
    let lines = |word: &str| (0..60).map(|n| format!("{word} {n}\n")).collect::<Vec<_>>().concat();
    let script = vec![
        delete("t1"),
        Answer::new().text("Gladly.").then_silence(),
        delete("t2"),
        Answer::new().text("It is gone.").stop("end_turn").reply(),
        Answer::new().tool("t3", "write_file", &write("public/long.txt", &lines("one")), 900).then_silence(),
        Answer::new().tool("t4", "write_file", &write("public/long.txt", &lines("two")), 900).stop("tool_use").reply(),
        Answer::new().text("Better so.").stop("end_turn").reply(),
    ];
    let (builder, fake) = builder_with(script).await;
    let app = builder.create("static-site", "Has notes").await;
    let notes = (0..15).map(|n| format!("note {n}\n")).collect::<Vec<_>>().concat();
    builder.write(&app, "public/notes.txt", &notes).await;
    builder.turn(&app, "Tidy up").await;
    let turn = newest(&builder, &app).await;
    assert_eq!(turn["question"]["about"], "rewrite", "{turn:#}");
    assert!(turn["question"]["text"].as_str().is_some_and(|text| text.contains("public/notes.txt")), "{turn:#}");
    assert_eq!(builder.get(&format!("/apps/{app}/files/public/notes.txt")).await.text(), notes);

    // The answer also applies to turns that continue the turn.
    let yes = json!({ "answer_id": turn["question"]["answers"][0]["id"] });
    let turn = stopped(&builder, &app, &yes, "text").await;
    assert_eq!(turn["prompt"], "Yes, continue");
    builder.done(&format!("/apps/{app}/turns/{}/continue", turn["id"]), &json!({})).await;
    assert_eq!(newest(&builder, &app).await["question"], Value::Null);
    assert_eq!(builder.get(&format!("/apps/{app}/files/public/notes.txt")).await.status, 404);

    // Files that a turn wrote before it was interrupted are still its own.
    let turn = stopped(&builder, &app, &json!({"prompt": "A long text"}), "file").await;
    builder.done(&format!("/apps/{app}/turns/{}/continue", turn["id"]), &json!({})).await;
    assert_eq!(newest(&builder, &app).await["question"], Value::Null);
    assert_eq!(builder.get(&format!("/apps/{app}/files/public/long.txt")).await.text(), lines("two"));
    assert_eq!(fake.left(), 0);
}
