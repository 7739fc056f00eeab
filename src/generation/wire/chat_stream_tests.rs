//! Recorded and constructed streams of different servers.

use super::super::sse::SseParser;
use super::*;

fn run(chunks: &[&[u8]]) -> Result<(Vec<StreamItem>, ChatAssembler), StreamError> {
    let (mut parser, mut assembler) = (SseParser::default(), ChatAssembler::new(25, "abcdef"));
    let (mut events, mut items) = (Vec::new(), Vec::new());
    for chunk in chunks {
        parser.push(chunk, &mut events).expect("short lines");
        for event in events.drain(..) {
            assembler.push(&event, &mut items)?;
        }
    }
    Ok((items, assembler))
}

/// Lines of data as one stream.
fn play(lines: &[&str]) -> Result<(Vec<StreamItem>, ChatAssembler), StreamError> {
    let chunks: Vec<String> = lines.iter().map(|line| format!("data: {line}\n\n")).collect();
    run(&chunks.iter().map(String::as_bytes).collect::<Vec<_>>())
}

fn calls(assembler: &ChatAssembler) -> Vec<(String, String, String, bool)> {
    let calls = assembler.blocks().into_iter().filter_map(|block| match block {
        AnswerBlock::Call { call, ended } => Some((call.id, call.name, call.json, ended)),
        AnswerBlock::Content(_) => None,
    });
    calls.collect()
}

fn ended(items: &[StreamItem]) -> Vec<&str> {
    let ended = items.iter().filter_map(|item| match item {
        StreamItem::ToolEnded { call, .. } => Some(call.id.as_str()),
        _ => None,
    });
    ended.collect()
}

const RECORDED: &str = concat!(
    ": keep-alive\n\n",
    "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}],\"usage\":null}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"Let mé\"}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"日本 \"}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"🎉\"}},{\"index\":1,\"delta\":{\"content\":\"another\"}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"call_1\",\"type\":\"function\",\"function\":{\"name\":\"write_file\",\"arguments\":\"\"}}]}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\\\"path\\\": \"}}]}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"\\\"a.txt\\\"}\"}}]}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":1,\"id\":\"call_2\",\"type\":\"function\",\"function\":{\"name\":\"list_files\",\"arguments\":\"{}\"}}]}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n",
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1200,\"completion_tokens\":77,\"prompt_tokens_details\":{\"cached_tokens\":900}}}\n\n",
    "data: [DONE]\n\n",
);

#[test]
fn a_recorded_stream_reads_the_same_at_every_split() {
    let bytes = RECORDED.as_bytes();
    let (items, assembler) = run(&[bytes]).expect("readable");
    assert!(assembler.is_ended());
    assert_eq!(assembler.stop_reason(), Some(&StopReason::ToolUse));
    let usage = WireUsage { input_tokens: 300, output_tokens: 77, cache_read_tokens: 900, ..WireUsage::default() };
    assert_eq!((assembler.usage(), items.last()), (usage, Some(&StreamItem::Usage(usage))));
    let blocks = assembler.blocks();
    assert_eq!(blocks[1], AnswerBlock::Content(ContentBlock::text("日本 🎉")));
    assert!(matches!(&blocks[0], AnswerBlock::Content(ContentBlock::Thinking { thinking, signature, .. })
        if thinking == "Let mé" && signature.is_empty()));
    assert_eq!(
        calls(&assembler),
        [
            ("call_1".into(), "write_file".into(), r#"{"path": "a.txt"}"#.into(), true),
            ("call_2".into(), "list_files".into(), "{}".into(), true)
        ]
    );
    // The first call is complete as soon as its input is, not at the end of the answer.
    let first_end = items.iter().position(|item| matches!(item, StreamItem::ToolEnded { index: 2, .. }));
    let second = items.iter().position(|item| matches!(item, StreamItem::ToolStarted { index: 3, .. }));
    assert!(first_end < second);
    for at in 0..=bytes.len() {
        let (split, again) = run(&[&bytes[..at], &bytes[at..]]).expect("readable");
        assert_eq!(split, items, "split at {at}");
        assert_eq!(again.blocks(), blocks);
    }
    assert_eq!(run(&bytes.chunks(1).collect::<Vec<_>>()).expect("readable").0, items);
}

#[test]
fn calls_may_arrive_whole_without_ids_or_all_under_one_index() {
    // Whole, in one chunk, with an object as input, no ids, no indexes, and the stop reason `stop`.
    let (items, whole) = play(&[
        r#"{"choices":[{"delta":{"tool_calls":[{"function":{"name":"a","arguments":{"k":1}}},{"function":{"name":"b","arguments":"{}"}}]},"finish_reason":"stop"}]}"#,
    ])
    .expect("readable");
    assert_eq!(
        calls(&whole),
        [
            ("abcdef000".into(), "a".into(), r#"{"k":1}"#.into(), true),
            ("abcdef001".into(), "b".into(), "{}".into(), true)
        ]
    );
    assert_eq!((whole.stop_reason(), ended(&items).len()), (Some(&StopReason::ToolUse), 2));

    // All with index 0, distinguished by their ids, or because the one before is complete.
    for (first, second) in [(r#""id":"x","#, r#""id":"y","#), ("", "")] {
        let (_, same) = play(&[
            &format!(r#"{{"choices":[{{"delta":{{"tool_calls":[{{"index":0,{first}"function":{{"name":"a","arguments":"{{}}"}}}}]}}}}]}}"#),
            &format!(r#"{{"choices":[{{"delta":{{"tool_calls":[{{"index":0,{second}"function":{{"name":"a","arguments":"{{\"k\":"}}}}]}}}}]}}"#),
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"2}"}}]}}]}"#,
            "[DONE]",
        ])
        .expect("readable");
        let inputs: Vec<String> = calls(&same).into_iter().map(|call| call.2).collect();
        assert_eq!(inputs, ["{}", r#"{"k":2}"#], "{first}");
        assert_ne!(calls(&same)[0].0, calls(&same)[1].0);
    }

    // A repeated id becomes two ids; a name that is repeated with each piece starts no new call.
    let (_, twice) = play(&[
        r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"a","arguments":"{\"k\""}}]}}]}"#,
        r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"a","arguments":":1}"}}]}}]}"#,
        r#"{"choices":[{"delta":{"tool_calls":[{"index":1,"id":"c","function":{"name":"a","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}"#,
    ])
    .expect("readable");
    assert_eq!(calls(&twice).iter().map(|call| call.0.as_str()).collect::<Vec<_>>(), ["c", "abcdef001"]);
    assert_eq!(calls(&twice)[0].2, r#"{"k":1}"#);

    // Interleaved pieces find their calls.
    let (_, woven) = play(&[
        r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"p","function":{"name":"a","arguments":"{\"k\""}},{"index":1,"id":"q","function":{"name":"b","arguments":"{\"l\""}}]}}]}"#,
        r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":":1}"}},{"index":1,"function":{"arguments":":2}"}}]}}]}"#,
        r#"{"choices":[{"delta":{"tool_calls":[{"index":7,"function":{"arguments":"nobody's"}}]},"finish_reason":"tool_calls"}]}"#,
    ])
    .expect("readable");
    let inputs: Vec<String> = calls(&woven).into_iter().map(|call| call.2).collect();
    assert_eq!(inputs, [r#"{"k":1}"#, r#"{"l":2}"#]);
}

#[test]
fn usage_that_the_server_does_not_report_is_estimated_and_marked() {
    let (items, silent) = play(&[
        r#"{"choices":[{"delta":{"content":"twelve chars"}}],"usage":{"prompt_tokens":0,"completion_tokens":0}}"#,
        r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#,
        "[DONE]",
    ])
    .expect("readable");
    let usage = WireUsage { input_tokens: 25, output_tokens: 3, is_estimated: true, ..WireUsage::default() };
    assert_eq!((silent.usage(), items.last()), (usage, Some(&StreamItem::Usage(usage))));

    // Usage in every chunk is reported when it changes.
    let (items, chatty) = play(&[
        r#"{"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":9,"completion_tokens":1}}"#,
        r#"{"choices":[{"delta":{"content":""}}],"usage":{"prompt_tokens":9,"completion_tokens":1}}"#,
        r#"{"choices":[{"delta":{"content":"b"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":2}}"#,
        "[DONE]",
        r#"{"choices":[{"delta":{"content":"after the end"}}]}"#,
    ])
    .expect("readable");
    assert_eq!(items.iter().filter(|item| matches!(item, StreamItem::Usage(_))).count(), 2);
    assert_eq!((chatty.usage().output_tokens, chatty.usage().is_estimated), (2, false));
    assert_eq!(chatty.blocks(), [AnswerBlock::Content(ContentBlock::text("ab"))]);
}

#[test]
fn reasons_to_stop_are_read() {
    let cut = r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"w","arguments":"{\"path\""}}]}}]}"#;
    let whole =
        r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"w","arguments":"{}"}}]}}]}"#;
    let said = r#"{"choices":[{"delta":{"content":"Hi","refusal":null}}]}"#;
    let refusal = r#"{"choices":[{"delta":{"refusal":"Not this."}}]}"#;
    let finish = |reason: &str| format!(r#"{{"choices":[{{"delta":{{}},"finish_reason":"{reason}"}}]}}"#);
    for (first, reason, expected, ends) in [
        (said, "stop", StopReason::EndTurn, 0),
        (said, "eos_token", StopReason::EndTurn, 0),
        (said, "length", StopReason::MaxTokens, 0),
        (cut, "length", StopReason::MaxTokens, 0),
        (whole, "length", StopReason::MaxTokens, 1),
        (cut, "tool_calls", StopReason::ToolUse, 1),
        (said, "content_filter", StopReason::Refusal(None), 0),
        (refusal, "stop", StopReason::Refusal(Some("Not this.".into())), 0),
    ] {
        let (items, assembler) = play(&[first, &finish(reason)]).expect("readable");
        assert_eq!(assembler.stop_reason(), Some(&expected), "{reason}");
        assert_eq!(ended(&items).len(), ends, "{reason}");
        assert!(!assembler.is_ended(), "usage may follow");
    }
    // Neither a stop reason nor a complete call: only complete calls count.
    for (first, ends) in [(cut, 0), (whole, 1)] {
        let (items, assembler) = play(&[first, "[DONE]"]).expect("readable");
        assert_eq!((assembler.stop_reason(), ended(&items).len()), (Some(&StopReason::ToolUse), ends));
    }
}

#[test]
fn errors_are_distinguished() {
    let error = |line: &str| play(&[line]).err().expect("an error");
    let reported = |kind: &str, message: &str| StreamError::Reported { kind: kind.into(), message: message.into() };
    assert_eq!(
        error(r#"{"error":{"message":"Slow down","type":"requests","code":"rate_limit_exceeded"}}"#),
        reported("rate_limit_exceeded", "Slow down")
    );
    assert_eq!(
        error(r#"{"error":{"message":"Busy","type":"overloaded_error","code":503}}"#),
        reported("overloaded_error", "Busy")
    );
    assert_eq!(error(r#"{"error":"out of memory"}"#), reported("", "out of memory"));
    assert_eq!(
        error(r#"{"object":"error","message":"Bad","type":"BadRequestError"}"#),
        reported("BadRequestError", "Bad")
    );
    assert_eq!(
        error(r#"{"choices":[{"delta":{},"finish_reason":"error"}]}"#).to_string().split(':').next(),
        Some("server_error")
    );
    assert_eq!(error("{"), StreamError::Malformed("message".into()));
    assert_eq!(error(r#"{"choices":3}"#), StreamError::Malformed("message".into()));
    assert!(play(&[r#"{"error":null,"choices":[]}"#, r#"{"object":"weather","rain":true}"#]).is_ok());

    let call = |n: usize| {
        format!(
            r#"{{"choices":[{{"delta":{{"tool_calls":[{{"index":{n},"function":{{"name":"a","arguments":"{{}}"}}}}]}}}}]}}"#
        )
    };
    let many: Vec<String> = (0..=BLOCKS_MAX).map(call).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(play(&many).err(), Some(StreamError::TooLarge));
}
