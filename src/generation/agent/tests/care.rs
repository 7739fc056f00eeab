//! Tests of a turn's safeguards: disconnects, loops, rewrites, questions, long conversations.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::{MODEL, Play, Played, WIRE, done, write};
use crate::domain::{EventBody, NOTICE, QuestionKind, RepairEnd, RepairFailure, TurnMode};
use crate::generation::agent::{TurnEnd, TurnError};
use crate::generation::fake_claude::{Answer, FakeClaude, Reply};
use crate::generation::notes::ANSWER_CUT_NOTE;
use crate::generation::stage::{MemoryHost, Predicate};
use crate::generation::wire::{ContentBlock, Message};
use crate::generation::{
    Cap, CheckReport, Compaction, DayLimit, HostError, ModelError, ModelTable, Spent, Threshold, TurnLimits, WireFormat,
};

fn edit(path: &str, old: &str, new: &str) -> serde_json::Value {
    json!({ "path": path, "old_text": old, "new_text": new })
}

/// The first answer of a recorded turn, from its nth call on, and the ends of its calls.
fn recorded(from: usize) -> (Answer, Vec<usize>) {
    let calls = [
        ("t0", "write_file", write("a.txt", "one\ntwo\n")),
        ("t1", "edit_file", edit("main.py", "b = 2", "b = 2 + 2")),
        ("t2", "edit_file", edit("a.txt", "two", "two and two")),
        ("t3", "delete_file", json!({"path": "old.txt"})),
        ("t4", "list_files", json!({})),
    ];
    let mut answer = Answer::new().thinking("Hm", Some("s")).text("Four things.");
    let mut ends = Vec::new();
    for (id, name, input) in &calls[from..] {
        answer = answer.tool(&format!("{id}-{from}"), name, input, 12);
        ends.push(answer.len());
    }
    (answer.stop("tool_use"), ends)
}

fn second() -> Reply {
    Answer::new().tool("u1", "edit_file", &edit("a.txt", "two and two", "2"), 9).stop("tool_use").reply()
}

fn stage() -> Play {
    let mut play = Play::new();
    play.host.files.insert("old.txt".into(), b"old\n".to_vec());
    play
}

#[tokio::test]
async fn a_disconnect_at_any_event_leads_to_the_same_files() {
    let undisturbed = stage().against([recorded(0).0.reply(), second(), done()]).await;
    assert_eq!(undisturbed.outcome.end, TurnEnd::Done);
    let expected: BTreeMap<String, Vec<u8>> = undisturbed.host.files.clone();
    assert_eq!(undisturbed.host.text("a.txt"), "one\n2\n");
    assert!(!expected.contains_key("old.txt"));

    let (answer, ends) = recorded(0);
    for events in 0..=answer.len() {
        for bytes in [0, 11] {
            let complete = ends.iter().filter(|end| **end <= events).count();
            // Like a model: calls without a result are repeated in the next answer.
            let mut script = vec![recorded(0).0.disconnect_after(events, bytes)];
            if complete < ends.len() {
                script.push(recorded(complete).0.reply());
            }
            script.extend([second(), done()]);
            let played = stage().against(script).await;
            let at = format!("after {events} events and {bytes} bytes");
            assert_eq!(played.outcome.end, TurnEnd::Done, "{at}: {:?}", played.sink.tools());
            assert_eq!(played.host.files, expected, "{at}");
            assert_eq!(played.left, 0, "{at}");
            played.is_valid_history();
            // No effect was applied twice: a repeated edit would not match.
            let edits = played.sink.tools().into_iter().filter(|(summary, _)| summary.starts_with("Edited"));
            assert_eq!(edits.count(), 3, "{at}: {:?}", played.sink.tools());
        }
    }
}

#[tokio::test]
async fn survives_two_disconnects_in_a_row() {
    let (_, ends) = recorded(0);
    let script = [
        recorded(0).0.disconnect_after(ends[1], 0),
        Reply::HangUp,
        recorded(2).0.disconnect_after(3, 4),
        recorded(2).0.reply(),
        second(),
        done(),
    ];
    let played = stage().against(script).await;
    assert_eq!(played.outcome.end, TurnEnd::Done);
    assert_eq!(played.host.text("a.txt"), "one\n2\n");
    assert_eq!(played.left, 0);
    played.is_valid_history();
}

#[tokio::test]
async fn a_stop_reaches_the_provider_within_a_second() {
    let cases: [(Reply, Predicate); 3] = [
        (Answer::new().then_silence(), |event| matches!(event, EventBody::Usage(_))),
        (Answer::new().text_begun("I was about to").then_silence(), |event| matches!(event, EventBody::Text { .. })),
        (
            Answer::new().tool_begun("t1", "write_file", r#"{"path":"b.txt","content":"half"#, 3).then_silence(),
            |event| matches!(event, EventBody::File { delta: Some(_), .. }),
        ),
    ];
    // The other format reports no usage before the end, so the first case does not exist there.
    for (reply, predicate) in cases.into_iter().skip(usize::from(WIRE == WireFormat::OpenAi)) {
        let mut fake = FakeClaude::start([reply]).await;
        let played = Play::new().stopping_at(predicate).with(&fake).await;
        assert_eq!(played.outcome.end, TurnEnd::Stopped);
        fake.until_hung_up().await;
        let took = played.sink.cancelled.expect("it was stopped").elapsed();
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
}

#[tokio::test]
async fn a_stop_while_a_tool_runs_reaches_the_provider() {
    for (name, input) in [("check", json!({})), ("write_file", write("main.py", "whole"))] {
        let answer = Answer::new().tool("t1", name, &input, 9).tool_begun("t2", "list_files", "{", 1);
        let mut fake = FakeClaude::start([answer.then_silence(), done()]).await;
        let mut play = Play::new();
        play.host.stopped_by = Some(play.cancel.clone());
        let begun = std::time::Instant::now();
        let played = play.with(&fake).await;
        assert_eq!(played.outcome.end, TurnEnd::Stopped, "{name}");
        fake.until_hung_up().await;
        assert!(begun.elapsed() < Duration::from_secs(1), "{name}: {:?}", begun.elapsed());
        assert_eq!(played.left, 1, "no further request is sent");
        // A writing tool finishes, a read-only tool is cancelled.
        let main = if name == "check" { "a = 1\nb = 2\nc = 3\n" } else { "whole" };
        assert_eq!(played.host.text("main.py"), main);
        played.is_valid_history();
    }
}

#[tokio::test]
async fn a_repeated_error_ends_the_turn() {
    let wrong = |id: &str| {
        Answer::new().tool(id, "edit_file", &edit("main.py", "nothing like it", "x"), 9).stop("tool_use").reply()
    };
    let played = Play::new().against([wrong("t1"), wrong("t2"), wrong("t3"), done()]).await;
    let TurnEnd::Loop { sentence, .. } = &played.outcome.end else { panic!("{:?}", played.outcome.end) };
    assert!(sentence.contains("3 times") && sentence.contains("occurs 0 times in main.py"), "{sentence}");
    assert_eq!(played.outcome.end.reason().as_deref(), Some("same_error"));
    assert_eq!(played.left, 1, "no further request is sent");
    assert_eq!(played.results().len(), 1);
    assert!(played.results()[0].0.contains("same error as before"), "the model was warned: {:?}", played.results());
    played.is_valid_history();

    // Successful calls in between do not reset the count, but other errors are counted separately.
    let other = Answer::new().tool("t2", "edit_file", &edit("main.py", "b = 9", "x"), 9).stop("tool_use").reply();
    let played = Play::new().against([wrong("t1"), other, wrong("t3"), done()]).await;
    assert_eq!(played.outcome.end, TurnEnd::Done);
}

fn check(id: usize) -> Reply {
    let id = format!("t{id}");
    Answer::new()
        .tool(&format!("{id}w"), "write_file", &write("main.py", &id), 9)
        .tool(&id, "check", &json!({}), 9)
        .stop("tool_use")
        .reply()
}

fn found(error: &str) -> CheckReport {
    CheckReport { ok: false, sentence: "It does not build.".into(), lines: vec![error.into()] }
}

#[tokio::test]
async fn a_check_that_fails_twice_with_the_same_error_ends_the_turn() {
    let mut play = Play::new();
    play.host.checks = [found("main.py:3: SyntaxError"), found("main.py:4: SyntaxError")].map(Ok).into();
    let played = play.against([check(1), check(2), done()]).await;
    let TurnEnd::Loop { end: RepairEnd::SameError, sentence } = &played.outcome.end else {
        panic!("{:?}", played.outcome.end)
    };
    assert!(sentence.contains("after “It does not build.” it changed main.py"), "{sentence}");
    assert_eq!((played.left, played.host.text("main.py")), (1, "t2"));
    played.is_valid_history();
}

#[tokio::test]
async fn a_fourth_error_ends_the_repairs() {
    let errors = ["A is missing", "B is missing", "C is missing", "D is missing"];
    let mut play = Play::new();
    play.host.checks = errors.map(found).map(Ok).into();
    let played = play.against((1..6).map(check)).await;
    let TurnEnd::Loop { end: RepairEnd::Spent, sentence } = &played.outcome.end else {
        panic!("{:?}", played.outcome.end)
    };
    assert!(sentence.starts_with("The repairs of this turn are used up."), "{sentence}");
    assert_eq!((played.left, played.outcome.end.reason().as_deref()), (1, Some("repairs_spent")));

    // A check that could not run does not count, and a repair continues the budget of its turn.
    let unavailable = || Err(HostError::Refused("It could not be checked now. Docker does not answer.".into()));
    let mut play = Play::new();
    play.host.checks =
        [Ok(found(errors[0])), unavailable(), unavailable(), unavailable(), unavailable()].into_iter().collect();
    play.host.report.ok = true;
    let played = play.against((1..7).map(check).chain([done()])).await;
    assert_eq!((&played.outcome.end, played.left), (&TurnEnd::Done, 0));
    let mut repairs = played.outcome.repairs;
    assert_eq!(repairs.used(), 1);
    for error in &errors[1..3] {
        repairs.failed(RepairFailure::new("It did not start.", &[(*error).to_owned()]));
        repairs.tried(["main.py"]);
    }
    let mut play = Play::new();
    play.input.repairs = repairs;
    play.host.checks = [Ok(found(errors[3]))].into();
    let played = play.against([check(1), done()]).await;
    assert!(matches!(played.outcome.end, TurnEnd::Loop { end: RepairEnd::Spent, .. }), "{:?}", played.outcome.end);
    assert_eq!(played.left, 1);
}

#[tokio::test]
async fn a_repair_shares_the_limits_of_its_turn() {
    let work = |nth: usize| {
        let id = format!("t{nth}");
        Answer::new().tool(&id, "write_file", &write(&format!("f{nth}.txt"), "x"), 9).stop("tool_use").reply()
    };
    let limits = TurnLimits { steps: 10, tokens: 2_000, cost_usd: 0.02, ..TurnLimits::default() };
    let before = Spent { steps: 1, tokens: 100, usd: 0.001, time: Duration::from_secs(1) };
    let (whole, wall) = (limits.tokens, limits.wall_time);
    for (spent, cap, files) in [
        (Spent { steps: 8, ..before }, Cap::Steps, 2),
        (Spent { tokens: whole - 300, ..before }, Cap::Tokens, 2),
        (Spent { usd: 0.0186, ..before }, Cap::Cost, 1),
        (Spent { steps: 10, ..before }, Cap::Steps, 0),
        (Spent { tokens: whole, ..before }, Cap::Tokens, 0),
        (Spent { usd: 0.02, ..before }, Cap::Cost, 0),
        (Spent { time: wall, ..before }, Cap::WallTime, 0),
    ] {
        let mut play = Play::new();
        play.input.limits = limits.clone();
        play.input.spent = Some(spent);
        let played = play.against((0..6).map(work)).await;
        assert_eq!(played.outcome.end, TurnEnd::Cap(cap), "{spent:?}");
        assert_eq!((played.outcome.files_touched.len(), played.requests.len()), (files, files), "{spent:?}");
        // The note names the whole limit, not the remaining part.
        assert_eq!(played.outcome.note, Some(cap.sentence(&limits, true)));
    }
}

#[tokio::test]
async fn a_failed_edit_names_the_nearest_match() {
    let wrong = Answer::new()
        .tool("t1", "edit_file", &edit("main.py", "a = 1\n  b = 2", "x"), 9)
        .tool("t2", "edit_file", &edit("main.py", " = ", "x"), 9)
        .stop("tool_use");
    let played = Play::new().against([wrong.reply(), done()]).await;
    let results = played.results();
    assert!(results[0].1 && results[0].0.contains("lines 1–2; only white space differs"), "{results:?}");
    assert!(results[1].1 && results[1].0.contains("3 times in main.py, beginning at lines 1, 2, 3"), "{results:?}");
    assert_eq!(played.host.text("main.py"), "a = 1\nb = 2\nc = 3\n");
}

/// An app with two files of a user.
fn app_of_a_user() -> Play {
    let mut play = Play::new();
    let lines =
        |name: &str, count: usize| (0..count).map(|n| format!("{name} line {n}")).collect::<Vec<_>>().join("\n");
    play.host = MemoryHost::with(&[("one.txt", &lines("one", 60)), ("two.txt", &lines("two", 40))]);
    play
}

#[tokio::test]
async fn deleting_most_of_an_app_needs_a_confirmation() {
    let rewrite = || {
        Answer::new()
            .text("I begin anew.")
            .tool("t1", "delete_file", &json!({"path": "two.txt"}), 9)
            .tool("t2", "write_file", &write("one.txt", "all new\n"), 9)
            .tool("t3", "write_file", &write("three.txt", "x"), 9)
            .stop("tool_use")
            .reply()
    };
    let played = app_of_a_user().against([rewrite(), done()]).await;
    let TurnEnd::Asked(question) = &played.outcome.end else { panic!("{:?}", played.outcome.end) };
    assert_eq!(question.about, QuestionKind::Rewrite);
    assert!(question.text.contains("100 of 100 lines, in one.txt (60 of 60), two.txt (40 of 40)"), "{}", question.text);
    // Changes within the limit were made, the others were not, and neither were later calls.
    assert!(!played.host.files.contains_key("two.txt") && !played.host.files.contains_key("three.txt"));
    assert!(played.host.text("one.txt").starts_with("one line 0"));
    assert_eq!(played.sink.tools().last().unwrap().0, "Did not write a file: waiting for your answer");
    assert_eq!(played.left, 1);
    played.is_valid_history();
    let ContentBlock::ToolResult { content, is_error: true, .. } = &played.outcome.messages[2].content[1] else {
        panic!("{:?}", played.outcome.messages)
    };
    assert!(content.contains("asked first"), "{content}");

    // After a confirmation it continues.
    let mut again = app_of_a_user();
    again.input.may_rewrite = question.allows_rewrite(1);
    assert!(!question.allows_rewrite(2) && !question.allows_rewrite(0));
    let played = again.against([rewrite(), done()]).await;
    assert_eq!(played.outcome.end, TurnEnd::Done);
    assert_eq!(played.host.text("one.txt"), "all new\n");
}

#[tokio::test]
async fn a_question_ends_the_turn_until_it_is_answered() {
    let ask = Answer::new()
        .text("One thing first.")
        .tool("t1", "ask_user", &json!({"question": "Which colour?", "choices": ["Red", "Green"]}), 9)
        .tool("t2", "write_file", &write("a.txt", "x"), 9)
        .tool("t3", "ask_user", &json!({"question": "Which size?"}), 9)
        .stop("tool_use");
    let fake = FakeClaude::start([ask.reply(), done()]).await;
    let played = Play::new().with(&fake).await;
    let TurnEnd::Asked(question) = &played.outcome.end else { panic!("{:?}", played.outcome.end) };
    assert_eq!((question.text.as_str(), question.choices.len()), ("Which colour?", 2));
    assert_eq!((played.outcome.note.as_deref(), played.left), (None, 1));
    assert!(played.sink.tools().contains(&("Asked: Which colour?".into(), true)));
    assert!(!played.host.files.contains_key("a.txt"), "calls after the question are not executed");
    let refused = |result: &ContentBlock| {
        let ContentBlock::ToolResult { content, is_error: true, .. } = result else { return false };
        content.contains("a question to the person is open")
    };
    assert_eq!(played.outcome.messages[2].content.iter().filter(|result| refused(result)).count(), 2);
    let shown = ("Did not write a file: a question is open".to_owned(), false);
    assert!(played.sink.tools().contains(&shown), "{:?}", played.sink.tools());
    played.is_valid_history();

    // The next turn continues in one valid conversation.
    let mut next = Play::new();
    next.input.history = played.outcome.messages;
    next.input.prompt = "Green".into();
    let played = next.with(&fake).await;
    let messages = played.requests.last().unwrap().body["messages"].as_array().unwrap().clone();
    assert_eq!(messages.len(), 3);
    let kinds: Vec<&str> =
        messages[2]["content"].as_array().unwrap().iter().map(|b| b["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["tool_result", "tool_result", "tool_result", "text"]);

    // A discussion can ask too, and a disconnect after the question does not undo it.
    let ask = Answer::new().tool("t1", "ask_user", &json!({"question": "Why?"}), 9);
    let cut = ask.len();
    let mut talk = Play::new();
    talk.input.mode = TurnMode::Discuss;
    let played = talk.against([ask.stop("tool_use").disconnect_after(cut, 0), done()]).await;
    assert!(matches!(played.outcome.end, TurnEnd::Asked(_)));
    assert_eq!(played.left, 1);
}

#[tokio::test]
async fn the_daily_limit_ends_a_turn() {
    let work = |nth: usize| {
        Answer::new()
            .tool(&format!("t{nth}"), "write_file", &write(&format!("f{nth}.txt"), "x"), 9)
            .stop("tool_use")
            .reply()
    };
    let mut play = Play::new();
    play.input.limits.day = Some(DayLimit { usd: 2.0, left_usd: 0.002 });
    let played = play.against((0..6).map(work)).await;
    assert_eq!(played.outcome.end, TurnEnd::Cap(Cap::Day));
    assert_eq!(played.outcome.files_touched.len(), 2);
    assert!(played.outcome.note.unwrap().starts_with("This app has reached its limit of $2.00 for today."));

    let mut play = Play::new();
    play.input.limits.day = Some(DayLimit { usd: 2.0, left_usd: 0.0 });
    let played = play.against([done()]).await;
    assert_eq!((played.outcome.end, played.left), (TurnEnd::Cap(Cap::Day), 1), "no request is sent");
}

#[tokio::test]
async fn answers_that_break_off_count_as_usage() {
    let broken = || {
        let answer = Answer::new().text(&"word ".repeat(800));
        let events = answer.len();
        answer.stop("end_turn").disconnect_after(events, 0)
    };
    let played = Play::new().against([broken(), broken(), done()]).await;
    assert_eq!(played.outcome.end, TurnEnd::Done);
    let usage = played.outcome.usage;
    assert!((2_050..2_100).contains(&usage.output_tokens) && usage.estimated, "{usage:?}");

    // So the limits include them: there is no third attempt.
    let mut play = Play::new();
    play.input.limits.tokens = 2_000;
    let played = play.against([broken(), broken(), done()]).await;
    assert_eq!((&played.outcome.end, played.left), (&TurnEnd::Cap(Cap::Tokens), 1));
}

/// A conversation of turns with long reads and writes.
fn long_history(turns: usize) -> Vec<Message> {
    let turn = |n: usize| {
        let id = format!("h{n}");
        let input = json!({"path": format!("page{n}.html"), "content": "x".repeat(4_000)});
        let serde_json::Value::Object(input) = input else { unreachable!() };
        [
            Message::user(vec![ContentBlock::text(format!("Make page {n}"))]),
            Message::assistant(vec![ContentBlock::ToolUse { id: id.clone(), name: "write_file".into(), input }], MODEL),
            Message::user(vec![ContentBlock::ToolResult {
                tool_use_id: id,
                content: "y".repeat(2_000),
                is_error: false,
            }]),
            Message::assistant(vec![ContentBlock::text(format!("Page {n} is blue."))], MODEL),
        ]
    };
    (0..turns).flat_map(turn).collect()
}

fn sent(played: &Played, request: usize) -> String {
    played.requests[request].body["messages"].to_string()
}

#[tokio::test]
async fn a_long_conversation_is_compacted() {
    let mut play = Play::new();
    play.input.history = long_history(12);
    // 72 kB at 0.3 tokens a byte are some 22,000.
    play.input.threshold = Threshold { at: 10_000, to: 4_000 };
    let work = || Answer::new().tool("t1", "list_files", &json!({}), 5).stop("tool_use").reply();
    let played = play.against([work(), done()]).await;
    assert_eq!(played.outcome.end, TurnEnd::Done);
    assert!(played.outcome.compaction.results > 0, "{:?}", played.outcome.compaction);
    assert!(sent(&played, 0).len() < 25_000 && sent(&played, 0).contains("Left out"), "{}", sent(&played, 0).len());
    assert!(sent(&played, 0).contains("Page 0 is blue") && sent(&played, 0).contains("page0.html"));
    let notices = played.sink.tools().iter().filter(|(words, _)| words.contains("is long")).count();
    assert_eq!(notices, 1);
    // The second request extends the first, so the provider's cache is used.
    let (first, second) = (&played.requests[0].body["messages"], &played.requests[1].body["messages"]);
    let plain =
        |messages: &serde_json::Value| messages.to_string().replace(r#""cache_control":{"type":"ephemeral"},"#, "");
    assert!(plain(second).starts_with(plain(first).trim_end_matches(']')));

    // So does the next turn, which continues after this one.
    let mut next = Play::new();
    next.input.history = [long_history(12), played.outcome.messages.clone()].concat();
    next.input.compaction = played.outcome.compaction;
    next.input.threshold = Threshold { at: 10_000, to: 4_000 };
    let after = next.against([done()]).await;
    assert_eq!(after.outcome.compaction, played.outcome.compaction);
    assert!(plain(&after.requests[0].body["messages"]).starts_with(plain(first).trim_end_matches(']')));

    let mut tight = Play::new();
    tight.input.history = long_history(12);
    tight.input.threshold = Threshold { at: 1_000, to: 300 };
    let played = tight.against([done()]).await;
    assert!(played.outcome.compaction.turns > 0);
    let request = sent(&played, 0);
    assert!(request.contains("summary of the conversation") && request.contains("You wrote: page0.html"), "{request}");
    assert!(request.contains("Make a page"), "the current message stays");
}

#[tokio::test]
async fn nothing_is_removed_before_the_providers_count_is_too_high() {
    // 396 kB at 0.2 tokens a byte fit easily into the 200,000 tokens of a model without an entry.
    let mut play = Play::new();
    play.input.model = "plain-text".into();
    play.input.models = ModelTable::embedded();
    play.input.threshold = play.input.models.compaction("plain-text");
    play.input.history = long_history(64);
    let usage = json!({"input_tokens": 80_000, "output_tokens": 1});
    play.host.files.insert("long.txt".into(), "x\n".repeat(15_000).into_bytes());
    let work =
        Answer::with_usage(usage).tool("t1", "read_file", &json!({"path": "long.txt"}), 5).stop("tool_use").reply();
    let played = play.against([work, done()]).await;
    assert_eq!(played.outcome.end, TurnEnd::Done);
    assert!(sent(&played, 1).len() > 400_000, "{}", sent(&played, 1).len());
    assert!(sent(&played, 1).contains("Make page 0") && sent(&played, 1).contains("Page 0 is blue"));
    assert_eq!(played.outcome.compaction, Compaction::default());
}

#[tokio::test]
async fn a_full_window_is_compacted_once() {
    let full = || Reply::error(400, "invalid_request_error", "prompt is too long: 1200000 tokens > 1000000 maximum");
    let mut play = Play::new();
    play.input.history = long_history(8);
    let played = play.against([full(), done()]).await;
    assert_eq!(played.outcome.end, TurnEnd::Done);
    assert!(sent(&played, 1).len() < sent(&played, 0).len() / 4);
    assert!(sent(&played, 1).contains("You wrote: page0.html"));

    // A second failure in a row cannot be fixed.
    let mut play = Play::new();
    play.input.history = long_history(8);
    let played = play.against([full(), full(), done()]).await;
    assert_eq!(played.outcome.end, TurnEnd::Failed(TurnError::Model(ModelError::ContextWindow)));
    assert_eq!(played.left, 1);

    if WIRE == WireFormat::OpenAi {
        // In the other format it is an error, and the text before it is discarded.
        return;
    }
    // In the middle of an answer: its text is kept, and the turn continues.
    let cut = || Answer::new().text("So far").stop("model_context_window_exceeded").reply();
    let mut play = Play::new();
    play.input.history = long_history(8);
    let played = play.against([cut(), done()]).await;
    assert_eq!(played.outcome.end, TurnEnd::Done);
    assert!(sent(&played, 1).contains("So far") && sent(&played, 1).contains(ANSWER_CUT_NOTE));
    assert!(played.sink.events.iter().any(|event| matches!(event, EventBody::Tool { name, .. } if name == NOTICE)));
}

#[test]
fn thresholds_come_from_the_table() {
    let known = ModelTable::embedded().compaction(MODEL);
    assert!(known.at < ModelTable::embedded().context_tokens(MODEL) && known.to < known.at);
    let unknown = ModelTable::embedded().compaction("no-such-model");
    assert!(unknown.at < ModelTable::embedded().context_tokens("no-such-model") && unknown.at <= known.at);
}
