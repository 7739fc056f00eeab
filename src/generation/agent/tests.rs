//! Scripts, played over the wire format that the module around this one names.

#[path = "tests/care.rs"]
#[expect(clippy::duplicate_mod, reason = "as this module itself")]
mod care;

use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::domain::{EventBody, NOTICE, TextKind};
use crate::generation::fake_claude::{Answer, FakeClaude, KEY, Recorded, Reply, Split};
use crate::generation::notes::ANSWER_CUT_NOTE;
use crate::generation::stage::{MemoryHost, MemorySink, client_over, input, play};
use crate::generation::wire::Role;
use crate::generation::{history, material};

const MODEL: &str = "claude-opus-5-5";

fn client(base_url: &str, key: &str) -> ModelClient {
    client_over(WIRE, base_url, key)
}

/// A turn that was played.
struct Played {
    outcome: TurnOutcome,
    host: MemoryHost,
    sink: MemorySink,
    requests: Vec<Recorded>,
    left: usize,
}

struct Play {
    input: TurnInput,
    host: MemoryHost,
    sink: MemorySink,
    cancel: CancellationToken,
}

impl Play {
    fn new() -> Self {
        Self {
            input: input("Make a page", MODEL),
            host: MemoryHost::with(&[("main.py", "a = 1\nb = 2\nc = 3\n"), ("Dockerfile", "FROM x\n")]),
            sink: MemorySink::default(),
            cancel: CancellationToken::new(),
        }
    }

    fn stopping_at(mut self, predicate: fn(&EventBody) -> bool) -> Self {
        self.sink.cancel_at = Some((self.cancel.clone(), predicate));
        self
    }

    async fn against(self, script: impl IntoIterator<Item = Reply>) -> Played {
        let fake = FakeClaude::start(script).await;
        self.with(&fake).await
    }

    async fn with(mut self, fake: &FakeClaude) -> Played {
        let client = client(&fake.base_url(), KEY);
        let outcome = play(&client, &self.input, &mut self.host, &mut self.sink, &self.cancel).await;
        Played { outcome, host: self.host, sink: self.sink, requests: fake.requests(), left: fake.left() }
    }
}

impl Played {
    /// The tool results in the last request: content and whether it is an error.
    fn results(&self) -> Vec<(String, bool)> {
        let body = &self.requests.last().expect("a request").body;
        let last = body["messages"].as_array().and_then(|messages| messages.last()).expect("a message");
        let results = last["content"].as_array().expect("blocks").iter().filter(|block| block["type"] == "tool_result");
        let text = |block: &Value| {
            let text = block["content"].as_str().unwrap();
            material::unwrap(text).unwrap_or(text).to_owned()
        };
        results.map(|block| (text(block), block["is_error"] == true)).collect()
    }

    fn is_valid_history(&self) {
        let mut next = self.outcome.messages.clone();
        next.push(Message::user(vec![ContentBlock::text("next")]));
        let repaired = history::repair(&next, MODEL);
        // No result had to be made up: each call has a result of this turn.
        let text = serde_json::to_string(&repaired).unwrap();
        assert!(!text.contains("before its result was kept"), "{text}");
        assert_eq!(repaired.last().map(|message| message.role), Some(Role::User));
        let calls = |messages: &[Message]| {
            let blocks = messages.iter().flat_map(|message| &message.content);
            blocks.filter(|block| matches!(block, ContentBlock::ToolUse { .. })).count()
        };
        assert_eq!(calls(&repaired), calls(&self.outcome.messages));
    }
}

fn write(path: &str, content: &str) -> Value {
    json!({ "path": path, "content": content })
}

fn done() -> Reply {
    Answer::new().text("Done.").stop("end_turn").reply()
}

#[tokio::test]
async fn a_turn_reads_writes_and_ends() {
    let content = "<h1>Grüße 🎉</h1>\n<p>\"x\"</p>\n";
    let first = Answer::new()
        .thinking("Let me look…", Some("c2ln+/="))
        .redacted("opaque")
        .text("I write it now.")
        .unknown_event()
        .unknown_block()
        .tool("t1", "list_files", &json!({}), 3)
        .tool("t2", "write_file", &write("public/index.html", content), 4)
        .tool("t3", "edit_file", &json!({"path": "main.py", "old_text": "b = 2\n", "new_text": "b = 3\nd = 4\n"}), 6)
        .tool("t4", "read_file", &json!({"path": "main.py", "from_line": 2, "to_line": 3}), 6)
        .tool("t5", "search", &json!({"pattern": "^[bd] ="}), 6)
        .tool("t6", "delete_file", &json!({"path": "nothing.txt"}), 6)
        .tool("t7", "write_file", &write("Dockerfile", "FROM y"), 6)
        .stop("tool_use");
    let played = Play::new().against([first.split(Split::Bytes(1)), done()]).await;

    assert_eq!(played.outcome.end, TurnEnd::Done);
    assert_eq!(played.outcome.note, None);
    assert_eq!(played.host.text("public/index.html"), content);
    assert_eq!(played.host.text("main.py"), "a = 1\nb = 3\nd = 4\nc = 3\n");
    assert_eq!(
        played.sink.typed("public/index.html"),
        (content.to_owned(), vec![FileState::Writing, FileState::Written])
    );
    assert_eq!(played.sink.text(TextKind::Thought), "Let me look…");
    assert_eq!(played.sink.text(TextKind::Answer), "I write it now.\n\nDone.");
    let expected = [
        ("Listed 2 files", true),
        ("Wrote public/index.html · 2 lines", true),
        ("Edited main.py +2 −1", true),
        ("Read main.py · lines 2–3 of 4", true),
        ("Searched “^[bd] =” · 2 lines in 1 file", true),
        ("Could not delete nothing.txt: there is no file nothing.txt", false),
        ("Could not write Dockerfile: Dockerfile belongs to the platform", false),
    ];
    assert_eq!(played.sink.tools(), expected.map(|(summary, ok)| (summary.to_owned(), ok)));
    let touched: Vec<&str> = played.outcome.files_touched.keys().map(WorkspacePath::as_str).collect();
    assert_eq!(touched, ["main.py", "public/index.html"]);

    // The second request: the model's blocks unchanged, all results in one message and in order.
    assert_eq!(played.requests.len(), 2);
    let messages = played.requests[1].body["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 3);
    let said = messages[1]["content"].as_array().unwrap();
    let is_thinking = |block: &Value| block["type"].as_str().is_some_and(|kind| kind.ends_with("thinking"));
    let thought: Vec<&Value> = said.iter().filter(|block| is_thinking(block)).collect();
    match WIRE {
        WireFormat::Anthropic => {
            assert_eq!(thought[0], &json!({"type": "thinking", "thinking": "Let me look…", "signature": "c2ln+/="}));
            assert_eq!(thought[1], &json!({"type": "redacted_thinking", "data": "opaque"}));
        }
        WireFormat::OpenAi => assert_eq!(thought.len(), 0),
    }
    let call = said.iter().find(|block| block["id"] == "t2").unwrap();
    assert_eq!(call["input"], write("public/index.html", content));
    let ids: Vec<&str> =
        messages[2]["content"].as_array().unwrap().iter().map(|b| b["tool_use_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["t1", "t2", "t3", "t4", "t5", "t6", "t7"]);
    let results = played.results();
    assert_eq!(results[0].0, "Dockerfile (7 bytes)\nmain.py (18 bytes)");
    assert_eq!(results[3].0, "b = 3\nd = 4\n");
    assert_eq!(results[4].0, "main.py:2: b = 3\nmain.py:3: d = 4\n");
    assert!(results[6].1 && results[6].0.contains("belongs to the platform"));

    // The requests have no forbidden parameters, and the key is only in its header.
    for request in &played.requests {
        let body = &request.body;
        for forbidden in ["temperature", "top_p", "top_k", "tool_choice"] {
            assert!(request.raw.get(forbidden).is_none());
        }
        assert_eq!((&body["stream"], &body["max_tokens"]), (&json!(true), &json!(32_000)));
        assert!(body["messages"].as_array().unwrap().iter().all(|message| message.get("model").is_none()));
        match WIRE {
            WireFormat::Anthropic => {
                assert_eq!(request.line, "POST /v1/messages");
                assert_eq!(request.header("x-api-key"), Some(KEY));
                assert_eq!(request.header("anthropic-version"), Some("2023-06-01"));
                assert_eq!(body["system"][0]["cache_control"]["type"], "ephemeral");
            }
            WireFormat::OpenAi => {
                assert_eq!(request.line, "POST /v1/chat/completions");
                assert_eq!(request.header("authorization"), Some(format!("Bearer {KEY}").as_str()));
                assert_eq!(request.raw["stream_options"], json!({"include_usage": true}));
            }
        }
    }
    if WIRE == WireFormat::Anthropic {
        // Cache points after the stable part and at the ends of both user messages.
        assert_eq!(messages[2]["content"][6]["cache_control"]["type"], "ephemeral");
        assert_eq!(messages[0]["content"][0]["cache_control"]["type"], "ephemeral");
        assert_eq!(played.requests[1].body.to_string().matches("cache_control").count(), 3);
    }

    // Two answers of 100 + 50 tokens each, 40 read from and 20 written to the cache, which only one format reports.
    let usage = played.outcome.usage;
    let (full, written) = if WIRE == WireFormat::Anthropic { (200_u32, 40_u32) } else { (240, 0) };
    assert_eq!((usage.output_tokens, usage.cache_read_tokens, usage.estimated), (100, 80, false));
    assert_eq!((usage.input_tokens, usage.cache_write_tokens), (full.into(), written.into()));
    let (full, written) = (f64::from(full), f64::from(written));
    let cost = (full * 4.0 + 8.0 * 4.0 + written * 1.25 * 4.0 + 100.0 * 20.0) / 1e6;
    assert!((usage.cost_usd.unwrap() - cost).abs() < 1e-9);
    assert!(played.sink.events.contains(&EventBody::Usage(usage)));
    played.is_valid_history();
    assert_eq!(played.sink.kept.last(), Some(&played.outcome.messages));
    // Stored after the prompt, each of the seven tools, and the answer that has more than tools: each message once.
    assert_eq!((played.sink.kept.len(), played.sink.appended), (9, true));
    let blocks = |messages: &[Message]| messages.iter().map(|message| message.content.len()).sum::<usize>();
    assert_eq!(blocks(&played.sink.rows), blocks(&played.outcome.messages), "no block is stored twice");
}

#[tokio::test]
async fn every_packet_size_gives_the_same_turn() {
    let script = || {
        Answer::new()
            .thinking("Hmm, żółć", Some("s"))
            .tool("t1", "write_file", &write("a.txt", "日本\n🎉"), 2)
            .stop("tool_use")
    };
    for split in [Split::Whole, Split::Bytes(1), Split::Bytes(2), Split::Bytes(3), Split::Bytes(7), Split::Bytes(61)] {
        let played = Play::new().against([script().split(split), done()]).await;
        assert_eq!(played.outcome.end, TurnEnd::Done, "{split:?}");
        assert_eq!(played.host.text("a.txt"), "日本\n🎉");
        assert_eq!(played.sink.typed("a.txt").0, "日本\n🎉");
        assert_eq!(played.sink.text(TextKind::Thought), "Hmm, żółć");
    }
}

#[tokio::test]
async fn permanent_errors_end_the_turn_with_a_sentence() {
    for (reply, error) in [
        (Reply::error(401, "authentication_error", &format!("invalid x-api-key {KEY}")), ModelError::Unauthorized),
        (Reply::error(402, "billing_error", "pay"), ModelError::Billing),
        (Reply::error(403, "permission_error", "no"), ModelError::Forbidden),
        (Reply::error(404, "not_found_error", "no"), ModelError::NotFound { model: MODEL.into() }),
        (Reply::error(413, "request_too_large", "no"), ModelError::TooLarge),
        (Reply::spend_limit(), ModelError::SpendLimit),
        (
            Reply::error(400, "invalid_request_error", &format!("bad {KEY} field")),
            ModelError::Invalid("bad … field.".into()),
        ),
        (Reply::rate_limited("7200"), ModelError::RateLimited { retry_after: Some(Duration::from_hours(2)) }),
    ] {
        let played = Play::new().against([reply, done()]).await;
        assert_eq!(played.outcome.end, TurnEnd::Failed(TurnError::Model(error.clone())));
        assert_eq!(played.requests.len(), 1, "{error}");
        assert_eq!(played.outcome.note, Some(error.message()));
        assert!(!format!("{:?}{:?}", played.outcome, played.sink.events).contains(KEY));
        played.is_valid_history();
    }
}

#[tokio::test]
async fn temporary_errors_are_retried_and_shown() {
    let played = Play::new()
        .against([
            Reply::error(529, "overloaded_error", "Overloaded"),
            Reply::rate_limited("0"),
            Reply::error(500, "api_error", "Internal"),
            Reply::Status { status: 502, headers: Vec::new(), body: "<html>".into() },
            Reply::HangUp,
            done(),
        ])
        .await;
    assert_eq!(played.outcome.end, TurnEnd::Done);
    assert_eq!(played.requests.len(), 6);
    assert!(played.requests.iter().all(|request| request.body == played.requests[0].body));
    let tools = played.sink.tools();
    assert_eq!(tools[0], ("The model is overloaded at the moment. Asking again.".into(), false));
    assert_eq!(tools.len(), 5);

    // The number of retries is bounded.
    let always = || Reply::error(529, "overloaded_error", "Overloaded");
    let played = Play::new().against((0..10).map(|_| always())).await;
    assert_eq!(played.outcome.end, TurnEnd::Failed(TurnError::Model(ModelError::Overloaded { retry_after: None })));
    assert_eq!((played.requests.len(), played.left), (6, 4));
}

#[tokio::test]
async fn retries_wait_for_retry_after() {
    let start = std::time::Instant::now();
    let played = Play::new().against([Reply::rate_limited("1"), done()]).await;
    assert_eq!(played.outcome.end, TurnEnd::Done);
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn an_answer_that_breaks_off_before_any_tool_is_discarded() {
    let answer = || {
        Answer::new()
            .thinking("Hm", Some("s"))
            .text("Half a sentence")
            .tool("t1", "write_file", &write("a.txt", "whole"), 5)
            .stop("tool_use")
    };
    // Up to the event that completes the call, which is one of the last four events.
    let until_call = answer().len() - 3;
    for events in 0..=until_call {
        for bytes in [0, 9] {
            let broken = answer().disconnect_after(events, bytes);
            let played = Play::new().against([broken, answer().reply(), done()]).await;
            assert_eq!(played.outcome.end, TurnEnd::Done, "after {events} events");
            assert_eq!(played.requests.len(), 3);
            assert_eq!(played.requests[0].body, played.requests[1].body);
            assert_eq!(played.host.text("a.txt"), "whole");
            assert_eq!(played.outcome.messages.len(), 4);
            let notices = played.sink.tools().iter().filter(|(_, ok)| !ok).count();
            assert_eq!(notices, 1);
        }
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_after_a_tool_continues_from_there() {
    let answer = || {
        Answer::new()
            .thinking("Hm", Some("s"))
            .tool("t1", "edit_file", &json!({"path": "main.py", "old_text": "b = 2", "new_text": "b = 2 + 2"}), 50)
            .tool("t2", "write_file", &write("b.txt", "never finished"), 9)
            .stop("tool_use")
    };
    let played = Play::new().against([answer().disconnect_after(answer().len() - 4, 0), done()]).await;
    assert_eq!(played.outcome.end, TurnEnd::Done);
    // The edit was applied once: it would not have matched twice.
    assert_eq!(played.host.text("main.py"), "a = 1\nb = 2 + 2\nc = 3\n");
    let results = played.results();
    assert_eq!((results[0].0.as_str(), results[0].1), ("Edited main.py +1 −1.", false));
    assert!(results[1].1 && results[1].0.contains("connection broke off"), "{results:?}");
    assert!(!played.host.files.contains_key("b.txt"));
    let said = played.requests[1].body["messages"][1]["content"].as_array().unwrap();
    assert_eq!(said[0]["signature"] == "s", WIRE == WireFormat::Anthropic);
    assert_eq!(said.last().unwrap()["input"], json!({}));
    played.is_valid_history();
}

#[tokio::test]
async fn an_error_in_mid_stream_is_retried_or_shown() {
    let broken = |kind: &str| Answer::new().text_begun("I was about").error(kind, "Overloaded").reply();
    let played = Play::new().against([broken("overloaded_error"), done()]).await;
    assert_eq!(played.outcome.end, TurnEnd::Done);
    assert_eq!(played.sink.text(TextKind::Answer), "I was about\n\nDone.");
    assert!(played.sink.tools()[0].0.ends_with("The unfinished answer was discarded."));
    assert_eq!(played.outcome.messages.len(), 2);

    let played = Play::new().against([broken("invalid_request_error"), done()]).await;
    assert_eq!(played.outcome.end, TurnEnd::Failed(TurnError::Model(ModelError::Invalid("Overloaded.".into()))));
}

#[tokio::test]
async fn a_server_without_the_messages_api_is_reported() {
    let html = || Reply::Status { status: 200, headers: Vec::new(), body: "<html>".into() };
    let played = Play::new().against([html(), html(), html()]).await;
    let TurnEnd::Failed(error) = &played.outcome.end else { panic!("{:?}", played.outcome.end) };
    assert_eq!(error.code(), "model_malformed");
    assert!(error.hint(WIRE).contains(WIRE.base_url_variable()));

    let line = vec![b'x'; crate::generation::wire::sse::LINE_MAX + 1];
    let huge = || Answer::new().raw(line.clone()).reply();
    let played = Play::new().against([huge(), huge(), huge()]).await;
    let TurnEnd::Failed(TurnError::Model(ModelError::Malformed(why))) = &played.outcome.end else { panic!() };
    assert!(why.contains("longer than"), "{why}");

    let redirect =
        Reply::Status { status: 302, headers: vec![("location", "http://127.0.0.1:1/".into())], body: String::new() };
    let played = Play::new().against([redirect]).await;
    assert!(matches!(played.outcome.end, TurnEnd::Failed(TurnError::Model(ModelError::Invalid(_)))));
}

#[tokio::test]
async fn an_unreachable_server_is_named() {
    let nowhere = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = nowhere.local_addr().unwrap();
    drop(nowhere);
    let mut stage = Play::new();
    let client = client(&format!("http://user:secret@{address}/base"), KEY);
    let outcome = play(&client, &stage.input, &mut stage.host, &mut stage.sink, &stage.cancel).await;
    let TurnEnd::Failed(error) = &outcome.end else { panic!() };
    assert_eq!(error.message(), format!("The model's server at http://{address} cannot be reached."));
}

#[tokio::test]
async fn invalid_json_input_is_returned_to_the_model() {
    let bad = Answer::new()
        .tool_text("t1", "write_file", r#"{"path": "a.txt", "content": "x"y}"#, 5)
        .tool("t2", "write_file", &write("b.txt", "fine"), 5)
        .stop("tool_use");
    let played = Play::new().against([bad.reply(), done()]).await;
    assert_eq!(played.outcome.end, TurnEnd::Done);
    let results = played.results();
    assert!(
        results[0].1 && results[0].0.contains("not a JSON object") && results[0].0.contains(r#""x"y}"#),
        "{results:?}"
    );
    assert_eq!(results[1], ("Wrote b.txt · 1 line.".into(), false));
    assert_eq!(played.requests[1].body["messages"][1]["content"][0]["input"], json!({}));
    assert!(!played.host.files.contains_key("a.txt"));
    assert!(played.sink.tools().contains(&("Did not write a file: its input is not valid JSON".into(), false)));
}

#[tokio::test]
async fn max_tokens_in_a_tool_input_executes_nothing_and_continues() {
    let cut = || {
        Answer::new()
            .tool_begun("t1", "write_file", r#"{"path": "a.txt", "content": "so far"#, 5)
            .stop("max_tokens")
            .reply()
    };
    let played = Play::new().against([cut(), done()]).await;
    assert_eq!(played.outcome.end, TurnEnd::Done);
    let results = played.results();
    assert!(results[0].1 && results[0].0.contains("32000 tokens"), "{results:?}");
    assert!(!played.host.files.contains_key("a.txt"));
    played.is_valid_history();

    // The provider may also close the block properly.
    let closed =
        Answer::new().tool_text("t1", "write_file", r#"{"path": "a.txt", "conte"#, 5).stop("max_tokens").reply();
    let played = Play::new().against([closed, done()]).await;
    assert!(played.results()[0].0.contains("limit of 32000 tokens"));

    let played = Play::new().against([cut(), cut(), cut(), done()]).await;
    assert_eq!(played.outcome.end, TurnEnd::Failed(TurnError::Model(ModelError::Unusable { times: 3 })));
    assert_eq!(played.left, 1);
}

#[tokio::test]
async fn max_tokens_in_text_and_pauses_continue() {
    let cut = Answer::new().text("First half").stop("max_tokens").reply();
    let played = Play::new().against([cut, done()]).await;
    assert_eq!(played.outcome.end, TurnEnd::Done);
    let messages = &played.requests[1].body["messages"];
    assert_eq!(messages[1]["content"][0]["text"], "First half");
    assert_eq!(messages[2]["content"][0]["text"], ANSWER_CUT_NOTE);

    // Any number of times: only the turn's limits end it.
    let cut = |n: u32| Answer::new().text(&format!("Part {n}.")).stop("max_tokens").reply();
    let played = Play::new().against((1..=6).map(cut).chain([done()])).await;
    assert_eq!((played.outcome.end.clone(), played.requests.len()), (TurnEnd::Done, 7));
    assert!(played.sink.text(TextKind::Answer).contains("Part 6."));
    // Answers that add nothing are not requested indefinitely.
    let empty = || Answer::new().thinking("Hm…", Some("s")).stop("max_tokens").reply();
    let played = Play::new().against([empty(), empty(), empty(), done()]).await;
    assert_eq!(played.outcome.end, TurnEnd::Failed(TurnError::Model(ModelError::Unusable { times: 3 })));

    if WIRE == WireFormat::OpenAi {
        // OpenAI-compatible servers do not pause.
        return;
    }
    let pause = Answer::new().text("Wait").stop("pause_turn").reply();
    let played = Play::new().against([pause, done()]).await;
    assert_eq!(played.outcome.end, TurnEnd::Done);
    let messages = played.requests[1].body["messages"].as_array().unwrap();
    assert_eq!((messages.len(), &messages[1]["role"]), (2, &json!("assistant")));
    played.is_valid_history();
}

#[tokio::test]
async fn refusals_and_full_windows_end_with_a_sentence() {
    let refusal = || Answer::new().stop_with("refusal", &json!({"explanation": "Not this."})).reply();
    let played = Play::new().against([refusal()]).await;
    assert_eq!(played.outcome.note.as_deref(), Some("The model declined this request: Not this."));
    assert_eq!(played.outcome.messages, []);

    let work = Answer::new().tool("t1", "list_files", &json!({}), 5).stop("tool_use").reply();
    let played = Play::new().against([work, refusal()]).await;
    assert_eq!(played.outcome.messages.len(), 3);
    played.is_valid_history();

    let full = Answer::new().text("So").stop("model_context_window_exceeded").reply();
    let played = Play::new().against([full]).await;
    assert_eq!(played.outcome.end, TurnEnd::Failed(TurnError::Model(ModelError::ContextWindow)));
    played.is_valid_history();
}

#[tokio::test]
async fn a_stop_in_mid_file_keeps_finished_files_and_a_valid_transcript() {
    let answer = Answer::new()
        .thinking("Hm", Some("s"))
        .text("Two files.")
        .tool("t1", "write_file", &write("a.txt", "finished"), 5)
        .tool_begun("t2", "write_file", r#"{"path":"b.txt","content":"half a fi"#, 3)
        .then_silence();
    let mut fake = FakeClaude::start([answer]).await;
    let played = Play::new()
        .stopping_at(|event| matches!(event, EventBody::File { path, delta: Some(delta), .. } if path.as_str() == "b.txt" && delta.contains("fi")))
        .with(&fake)
        .await;
    assert_eq!(played.outcome.end, TurnEnd::Stopped);
    assert_eq!(played.outcome.note.as_deref(), Some("Stopped. Changes so far are saved."));
    assert_eq!(played.host.text("a.txt"), "finished");
    assert!(!played.host.files.contains_key("b.txt"));
    assert_eq!(played.sink.tools().last(), Some(&("Did not write a file: stopped".into(), false)));
    assert_eq!(played.outcome.messages.len(), 3);
    let ContentBlock::ToolResult { content, is_error: true, .. } = &played.outcome.messages[2].content[1] else {
        panic!()
    };
    assert!(content.contains("user stopped you"));
    played.is_valid_history();
    assert_eq!(played.sink.kept.last(), Some(&played.outcome.messages));
    fake.until_hung_up().await;
}

#[tokio::test]
async fn a_stop_in_thinking_or_text_keeps_what_can_be_kept() {
    let fake = FakeClaude::start([Answer::new().thinking("Let me think about", None).then_silence()]).await;
    let played = Play::new()
        .stopping_at(|event| matches!(event, EventBody::Text { kind: TextKind::Thought, .. }))
        .with(&fake)
        .await;
    assert_eq!(played.outcome.end, TurnEnd::Stopped);
    assert_eq!(played.outcome.messages.len(), 1);
    played.is_valid_history();

    fake.push(Answer::new().thinking("Well", Some("s")).text_begun("I would").then_silence());
    let played = Play::new()
        .stopping_at(|event| matches!(event, EventBody::Text { kind: TextKind::Answer, delta } if delta.contains("ld")))
        .with(&fake)
        .await;
    assert_eq!(played.outcome.messages[1].text(), "I would");
    played.is_valid_history();

    let play = Play::new();
    play.cancel.cancel();
    let played = play.with(&fake).await;
    assert_eq!((played.outcome.end, played.outcome.messages.len()), (TurnEnd::Stopped, 1));
}

#[tokio::test]
async fn a_stop_during_the_backoff_ends_the_turn() {
    let played = Play::new()
        .stopping_at(|event| matches!(event, EventBody::Tool { name, .. } if name == NOTICE))
        .against([Reply::rate_limited("2")])
        .await;
    assert_eq!(played.outcome.end, TurnEnd::Stopped);
}

type Limit = fn(&mut TurnLimits);

#[tokio::test]
async fn limits_end_the_turn_and_keep_the_files() {
    let steps = |n: usize| {
        (0..n).map(|nth| {
            let id = format!("t{nth}");
            Answer::new().tool(&id, "write_file", &write(&format!("f{nth}.txt"), "x"), 9).stop("tool_use").reply()
        })
    };
    let cases: [(Limit, Cap, usize); 4] = [
        (|limits| limits.steps = 2, Cap::Steps, 2),
        (|limits| limits.files = 3, Cap::Files, 3),
        (|limits| limits.tokens = 500, Cap::Tokens, 3),
        (|limits| limits.cost_usd = 0.002, Cap::Cost, 2),
    ];
    for (limit, cap, files) in cases {
        let mut play = Play::new();
        limit(&mut play.input.limits);
        let limits = play.input.limits.clone();
        let played = play.against(steps(6)).await;
        assert_eq!(played.outcome.end, TurnEnd::Cap(cap));
        assert_eq!(played.outcome.note, Some(cap.sentence(&limits, false)));
        assert_eq!(played.outcome.files_touched.len(), files, "{cap:?}");
        assert_eq!(played.host.files.len(), 2 + files);
        played.is_valid_history();
    }
}

#[tokio::test]
async fn a_file_beyond_its_limit_ends_the_turn_while_it_is_written() {
    let mut play = Play::new();
    play.input.limits.file_bytes = 100;
    let endless = format!(r#"{{"path":"big.txt","content":"{}"#, "x".repeat(400));
    let answer =
        Answer::new().tool("t1", "write_file", &write("ok.txt", "x"), 9).tool_begun("t2", "write_file", &endless, 10);
    let mut fake = FakeClaude::start([answer.then_silence()]).await;
    let played = play.with(&fake).await;
    assert_eq!(played.outcome.end, TurnEnd::Cap(Cap::FileBytes));
    assert_eq!(played.host.text("ok.txt"), "x");
    assert!(!played.host.files.contains_key("big.txt"));
    assert!(played.sink.typed("big.txt").0.len() <= 110);
    played.is_valid_history();
    fake.until_hung_up().await;

    let mut play = Play::new();
    play.input.limits.file_bytes = 20;
    let edit = json!({"path": "main.py", "old_text": "b = 2", "new_text": "b = 2222222222"});
    let played = play.against([Answer::new().tool("t1", "edit_file", &edit, 9).stop("tool_use").reply()]).await;
    assert_eq!(played.outcome.end, TurnEnd::Cap(Cap::FileBytes));
    assert_eq!(played.host.text("main.py").len(), 18);
}

#[tokio::test]
async fn wall_time_ends_a_slow_stream_and_a_silent_one() {
    for reply in [
        Answer::new().text(&"drip ".repeat(200)).stop("end_turn").reply().slowly(Duration::from_millis(20)),
        Answer::new().text("Hm").then_silence(),
    ] {
        let mut play = Play::new();
        play.input.limits.wall_time = Duration::from_millis(300);
        let played = play.against([reply]).await;
        assert_eq!(played.outcome.end, TurnEnd::Cap(Cap::WallTime));
        played.is_valid_history();
    }
}

#[tokio::test]
async fn a_silent_stream_reaches_a_timeout() {
    let silent = || Answer::new().then_silence();
    let fake = FakeClaude::start([silent(), silent(), silent(), silent()]).await;
    let provider = crate::generation::Provider { format: WIRE, base_url: fake.base_url(), key: KEY.into() };
    // Makes sure that a TLS provider is installed.
    let quick = client(&fake.base_url(), KEY);
    let timeouts = crate::generation::Timeouts { connect: Duration::from_secs(1), idle: Duration::from_millis(400) };
    let client = ModelClient::new(provider, timeouts, quick.retry_policy()).unwrap();
    let mut stage = Play::new();
    let outcome = play(&client, &stage.input, &mut stage.host, &mut stage.sink, &stage.cancel).await;
    assert_eq!(
        outcome.end,
        TurnEnd::Failed(TurnError::Model(ModelError::Timeout { after: Duration::from_millis(400) }))
    );
    assert_eq!(fake.left(), 0);
}

#[tokio::test]
async fn a_failed_workspace_ends_the_turn() {
    let full = Answer::new().tool("t1", "write_file", &write("full.txt", "x"), 9).stop("tool_use").reply();
    let played = Play::new().against([full]).await;
    assert_eq!(played.outcome.end, TurnEnd::Failed(TurnError::Workspace("The disk is full.".into())));
    played.is_valid_history();

    let mut play = Play::new();
    play.sink.keeps_left = Some(1);
    let played = play.against([done()]).await;
    assert_eq!(played.outcome.end, TurnEnd::Failed(TurnError::Transcript("The disk is full.".into())));
}

#[tokio::test]
async fn a_conversation_continues_after_an_interruption_and_with_another_model() {
    let first = Answer::new()
        .thinking("Hm", Some("s1"))
        .text("Here.")
        .tool("t1", "write_file", &write("a.txt", "x"), 9)
        .tool_begun("t2", "read_file", r#"{"path":"#, 9)
        .then_silence();
    let fake = FakeClaude::start([first, done()]).await;
    let stopped = Play::new().stopping_at(|event| matches!(event, EventBody::Tool { ok: true, .. })).with(&fake).await;
    assert_eq!(stopped.outcome.end, TurnEnd::Stopped);

    let mut again = Play::new();
    again.input.history = stopped.outcome.messages.clone();
    again.input.prompt = "Go on".into();
    again.input.model = "claude-sonnet-5-5".into();
    again.input.mode = TurnMode::Discuss;
    let played = again.with(&fake).await;
    assert_eq!(played.outcome.end, TurnEnd::Done);
    let body = &played.requests.last().unwrap().body;
    let messages = body["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 3);
    assert!(!body.to_string().contains("s1"), "thinking of another model is not sent");
    let last: Vec<&str> =
        messages[2]["content"].as_array().unwrap().iter().map(|b| b["type"].as_str().unwrap()).collect();
    assert_eq!(last[0], "tool_result");
    assert_eq!(last.last(), Some(&"text"));
    let text = messages[2]["content"].to_string();
    assert!(text.contains("Go on") && text.contains("no files"));
    let tools: Vec<&str> =
        body["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(tools, ["list_files", "read_file", "search", "ask_user", "preview_logs"]);
}

#[tokio::test]
async fn a_model_without_a_price_has_no_cost_and_no_cost_cap() {
    let mut play = Play::new();
    play.input.model = "some-other-model".into();
    play.input.limits.cost_usd = 0.000_001;
    let work = Answer::new().tool("t1", "list_files", &json!({}), 5).stop("tool_use").reply();
    let played = play.against([work, done()]).await;
    assert_eq!(played.outcome.end, TurnEnd::Done);
    assert_eq!(played.outcome.usage.cost_usd, None);
}

#[tokio::test]
async fn an_invalid_base_url_is_reported() {
    let quick = client("http://127.0.0.1:1", KEY);
    for base_url in ["", "api.example.com", "ftp://example.com", "http://"] {
        let provider = crate::generation::Provider { format: WIRE, base_url: base_url.into(), key: KEY.into() };
        let made = ModelClient::new(provider, crate::generation::Timeouts::default(), quick.retry_policy());
        assert_eq!(made.err().map(|error| error.code()), Some("model_setup"), "{base_url}");
    }
}

#[tokio::test]
async fn keys_that_are_invalid_in_a_header_are_reported() {
    let fake = FakeClaude::start([done()]).await;
    let mut stage = Play::new();
    let client = client(&fake.base_url(), "line\nbreak");
    let outcome = play(&client, &stage.input, &mut stage.host, &mut stage.sink, &stage.cancel).await;
    assert_eq!(outcome.end, TurnEnd::Failed(TurnError::Model(ModelError::Unauthorized)));
    assert!(!format!("{client:?}").contains("break"), "a client does not print its key");
}

#[tokio::test]
async fn attached_images_are_sent_now_and_later() {
    let image = ContentBlock::Image { id: "i".into(), media_type: "image/png".into(), name: "a.png".into() };
    let mut play = Play::new();
    play.input.attachments = vec![image.clone()];
    play.input.images = [("i".to_owned(), b"abc")].into_iter().collect();
    let first = play.against([done()]).await;
    assert_eq!(first.outcome.messages[0].content, [image, ContentBlock::text("Make a page")]);
    let sent = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "YWJj"}});
    assert_eq!(first.requests[0].body["messages"][0]["content"][0], sent);
    assert!(
        !serde_json::to_string(&first.outcome.messages).unwrap().contains("YWJj"),
        "messages do not contain the bytes"
    );

    let mut play = Play::new();
    play.input.history = first.outcome.messages.clone();
    let later = play.against([done()]).await;
    assert!(later.requests[0].body["messages"][0]["content"][0]["text"].as_str().unwrap().contains("a.png"));
}

#[tokio::test]
async fn a_rejected_image_is_not_sent_again() {
    let refused = || Reply::error(400, "invalid_request_error", "Could not process image");
    let image = ContentBlock::Image { id: "i".into(), media_type: "image/png".into(), name: "a.png".into() };
    let images = || [("i".to_owned(), b"abc")].into_iter().collect();
    let mut play = Play::new();
    play.input.attachments = vec![image.clone()];
    play.input.images = images();
    let first = play.against([refused(), done()]).await;
    assert!(matches!(&first.outcome.end, TurnEnd::Failed(error) if error.code() == "model_invalid_request"));
    assert_eq!(first.left, 1, "the user decides how to continue without it");
    let kept = serde_json::to_string(&first.outcome.messages).unwrap();
    assert!(kept.contains("Make a page") && kept.contains("the image “a.png”") && !kept.contains(r#""type":"image""#));
    assert_eq!(first.sink.kept.last(), Some(&first.outcome.messages));
    let mut play = Play::new();
    play.input.history = first.outcome.messages.clone();
    play.input.images = images();
    let later = play.against([done()]).await;
    assert_eq!(later.outcome.end, TurnEnd::Done);
    assert!(!later.requests[0].raw.to_string().contains("YWJj"));

    // An image of an earlier turn is left out once it is rejected.
    let mut play = Play::new();
    play.input.history = vec![Message::user(vec![image, ContentBlock::text("As here")])];
    play.input.images = images();
    let played = play.against([refused(), done()]).await;
    assert_eq!(played.outcome.end, TurnEnd::Done);
    assert!(
        played.requests[0].raw.to_string().contains("YWJj") && !played.requests[1].raw.to_string().contains("YWJj")
    );
    assert!(played.requests[1].body["messages"].to_string().contains("a.png"));
    assert_eq!(played.sink.tools().len(), 1, "{:?}", played.sink.tools());
}
