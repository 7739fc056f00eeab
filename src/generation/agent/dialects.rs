//! Whole turns against OpenAI-compatible servers that differ from the one that the scripts imitate.

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{TurnEnd, TurnOutcome};
use crate::domain::{EventBody, TextKind, Usage};
use crate::generation::fake_claude::{Answer, FakeClaude, KEY, Reply};
use crate::generation::stage::{MemoryHost, MemorySink, client_over, input, play};
use crate::generation::wire::ContentBlock;
use crate::generation::wire::WireFormat;

struct Turn {
    outcome: TurnOutcome,
    host: MemoryHost,
    sink: MemorySink,
    fake: FakeClaude,
}

async fn turn(key: &str, script: impl IntoIterator<Item = Reply>) -> Turn {
    let fake = FakeClaude::start(script).await;
    let client = client_over(WireFormat::OpenAi, &fake.base_url(), key);
    let mut host = MemoryHost::with(&[("main.py", "a = 1\n")]);
    let mut sink = MemorySink::default();
    let input = input("Make a page", "local-model");
    let outcome = play(&client, &input, &mut host, &mut sink, &CancellationToken::new()).await;
    Turn { outcome, host, sink, fake }
}

/// An answer that consists only of these chunks: without a start, usage or `[DONE]`.
fn chunks(chunks: &[Value]) -> Reply {
    let bare = chunks.iter().map(|chunk| format!("data: {chunk}\n\n").into_bytes()).collect();
    let Reply::Stream { split, end, pause, .. } = Answer::new().reply() else { unreachable!("an answer is a stream") };
    Reply::Stream { events: bare, split, end, pause }
}

fn delta(delta: &Value) -> Value {
    json!({"choices": [{"index": 0, "delta": delta}]})
}

fn finish(reason: &str) -> Value {
    json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

fn done() -> Reply {
    Answer::new().text("Done.").stop("end_turn").reply()
}

#[tokio::test]
async fn supports_a_server_without_usage_indexes_and_done() {
    let call = |name: &str, arguments: Value| json!({"function": {"name": name, "arguments": arguments}});
    let write = call("write_file", json!({"path": "a.txt", "content": "grün"}).to_string().into());
    let first = chunks(&[
        delta(&json!({"content": "I write."})),
        delta(&json!({"tool_calls": [write, call("list_files", json!({}))]})),
        finish("stop"),
    ]);
    let last = chunks(&[delta(&json!({"content": "There."})), finish("stop")]);
    let turn = turn("", [first, last]).await;
    assert_eq!(turn.outcome.end, TurnEnd::Done);
    assert_eq!(turn.host.text("a.txt"), "grün");
    assert_eq!(turn.sink.typed("a.txt").0, "grün");
    assert_eq!(turn.sink.text(TextKind::Answer), "I write.\n\nThere.");
    let requests = turn.fake.requests();
    assert_eq!(requests[0].header("authorization"), None, "no key is sent if none is set");
    let results = &requests[1].body["messages"][2]["content"];
    assert_eq!(results[1]["content"], "a.txt (5 bytes)\nmain.py (6 bytes)");
    assert_ne!(results[0]["tool_use_id"], results[1]["tool_use_id"]);
    // Missing token counts are estimated, and marked as estimates.
    let Usage { input_tokens, output_tokens, estimated: true, cost_usd: None, .. } = turn.outcome.usage else {
        panic!("{:?}", turn.outcome.usage)
    };
    assert!((10..200).contains(&input_tokens) && (10..60).contains(&output_tokens), "{:?}", turn.outcome.usage);
    assert!(turn.sink.events.contains(&EventBody::Usage(turn.outcome.usage)));
}

#[tokio::test]
async fn adapts_requests_to_a_server_that_rejects_parameters() {
    let refuse = |words: &str| Reply::error(400, "invalid_request_error", words);
    let work = Answer::new().tool("t1", "list_files", &json!({}), 5).stop("tool_use").reply();
    let turn = turn(
        KEY,
        [
            refuse("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."),
            refuse("stream_options: Extra inputs are not permitted"),
            work,
            done(),
        ],
    )
    .await;
    assert_eq!(turn.outcome.end, TurnEnd::Done);
    let requests = turn.fake.requests();
    assert_eq!(requests.len(), 4);
    let last = &requests[3].raw;
    assert_eq!((last["max_completion_tokens"].as_u64(), last.get("max_tokens")), (Some(32_000), None));
    assert_eq!(last.get("stream_options"), None);
    assert_eq!(turn.sink.tools().len(), 1, "the user does not see it: {:?}", turn.sink.tools());

    // An error that leads to no new form of the request is shown to the user.
    let twice = || refuse("stream_options: Extra inputs are not permitted");
    let turn = self::turn(KEY, [twice(), twice(), done()]).await;
    assert!(matches!(&turn.outcome.end, TurnEnd::Failed(error) if error.code() == "model_invalid_request"));
    assert_eq!(turn.fake.left(), 1);
}

#[tokio::test]
async fn a_model_without_image_input_gets_the_names_of_images() {
    let refusal = Reply::error(400, "invalid_request_error", "local-model is not a multimodal model");
    let work = Answer::new().tool("t1", "list_files", &json!({}), 5).stop("tool_use").reply();
    let fake = FakeClaude::start([refusal, work, done(), done()]).await;
    let client = client_over(WireFormat::OpenAi, &fake.base_url(), KEY);
    let mut input = input("As in the picture", "local-model");
    let image = ContentBlock::Image { id: "i".into(), media_type: "image/png".into(), name: "a.png".into() };
    input.attachments = vec![image.clone()];
    input.images = [("i".to_owned(), b"abc")].into_iter().collect();
    let (mut host, mut sink) = (MemoryHost::default(), MemorySink::default());
    let outcome = play(&client, &input, &mut host, &mut sink, &CancellationToken::new()).await;
    assert_eq!(outcome.end, TurnEnd::Done);
    assert_eq!(outcome.messages[0].content[0], image, "another model may accept images later");
    input.model = "other-model".into();
    play(&client, &input, &mut host, &mut sink, &CancellationToken::new()).await;
    let shown: Vec<bool> = fake.requests().iter().map(|request| request.raw.to_string().contains("YWJj")).collect();
    assert_eq!(shown, [true, false, false, true], "the restriction is remembered for this model");
    assert!(fake.requests()[1].raw["messages"][1]["content"].as_str().is_some_and(|text| text.contains("a.png")));
}

#[tokio::test]
async fn a_server_that_allows_single_calls_gets_one_call_per_message() {
    let work = Answer::new()
        .tool("t1", "list_files", &json!({}), 5)
        .tool("t2", "read_file", &json!({"path": "main.py"}), 5)
        .stop("tool_use");
    let refusal = Reply::error(500, "server_error", "This model only supports single tool-calls at once!");
    let turn = turn(KEY, [work.reply(), refusal, done()]).await;
    assert_eq!(turn.outcome.end, TurnEnd::Done);
    let raw = &turn.fake.requests()[2].raw;
    let roles: Vec<&str> = raw["messages"].as_array().unwrap().iter().filter_map(|m| m["role"].as_str()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool", "assistant", "tool"]);
}

#[tokio::test]
async fn errors_are_recognised_in_all_usual_formats() {
    let bare = |status, body: Value| Reply::Status { status, headers: Vec::new(), body: body.to_string() };
    for (reply, code) in [
        (Reply::error(401, "invalid_request_error", "Incorrect API key"), "model_unauthorized"),
        (bare(404, json!({"error": {"message": "model 'x' not found", "type": "api_error"}})), "model_not_found"),
        (
            bare(400, json!({"error": {"message": "too long", "code": "context_length_exceeded"}})),
            "model_context_window",
        ),
        (
            bare(400, json!({"error": {"message": "the request exceeds the available context size", "code": 400}})),
            "model_context_window",
        ),
        (
            chunks(&[delta(&json!({"content": "So"})), json!({"error": {"message": "No.", "code": "invalid_prompt"}})]),
            "model_invalid_request",
        ),
        (chunks(&[json!({"error": "it is over"})]), "model_invalid_request"),
    ] {
        let turn = turn(KEY, [reply]).await;
        let TurnEnd::Failed(error) = &turn.outcome.end else { panic!("{:?}", turn.outcome.end) };
        assert_eq!(error.code(), code, "{error}");
    }
    // A temporary error is retried.
    let busy =
        chunks(&[delta(&json!({"content": "So"})), json!({"error": {"message": "Busy", "code": "server_error"}})]);
    assert_eq!(turn(KEY, [busy, done()]).await.outcome.end, TurnEnd::Done);
    // A stream that ends without a stop reason is incomplete.
    let cut = || chunks(&[delta(&json!({"content": "So"}))]);
    assert_eq!(turn(KEY, [cut(), done()]).await.outcome.end, TurnEnd::Done);
}

#[tokio::test]
async fn a_content_filter_counts_as_a_refusal() {
    let filtered = chunks(&[delta(&json!({"content": "So"})), finish("content_filter")]);
    let turn = turn(KEY, [filtered]).await;
    assert_eq!(turn.outcome.note.as_deref(), Some("The model declined this request."));
    assert_eq!(turn.outcome.messages, []);
}

#[tokio::test]
async fn lists_of_models_in_different_formats_are_read() {
    for format in [WireFormat::Anthropic, WireFormat::OpenAi] {
        let fake = FakeClaude::start([]).await;
        let client = client_over(format, &fake.base_url(), KEY);
        let patience = std::time::Duration::from_secs(5);
        assert_eq!(client.list_models(patience).await.map_err(|error| error.code()), Err("model_not_found"));
        fake.offer(json!([
            {"id": "a-1", "display_name": "A", "max_input_tokens": 1000, "max_tokens": 64, "type": "model"},
            {"id": "not a word"},
            {"id": "lib/b:7b", "object": "model", "max_model_len": 32},
        ]));
        let listed = client.list_models(patience).await.unwrap();
        let models: Vec<_> =
            listed.iter().map(|model| (model.id.as_str(), model.title.as_deref(), model.context_tokens)).collect();
        assert_eq!(models, [("a-1", Some("A"), Some(1000)), ("lib/b:7b", None, Some(32))]);
        assert_eq!((listed[0].output_tokens, listed[1].output_tokens), (Some(64), None));
    }
}
