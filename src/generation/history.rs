//! Turns stored conversations, which may end anywhere, into valid requests.
//!
//! Pure. Stored messages are never changed: they are repaired for each request.

use std::collections::HashSet;

use super::wire::{ContentBlock, Message, Role, images};

/// The result of a tool call whose result was not stored.
const LOST_RESULT: &str = "This was interrupted before its result was kept. Look at the files before relying on it.";

/// A valid conversation for `model`: the user first, alternating roles, the result of each tool call
/// in the next message and in order, no empty parts, no thinking of another model.
pub fn repair(messages: &[Message], model: &str) -> Vec<Message> {
    let mut sides: Vec<Message> = Vec::with_capacity(messages.len());
    for message in messages {
        let same_model = message.model.as_deref() == Some(model);
        let content = message.content.iter().filter(|block| is_sendable(block, message.role, same_model)).cloned();
        match sides.last_mut() {
            Some(last) if last.role == message.role => last.content.extend(content),
            _ => sides.push(Message {
                role: message.role,
                content: content.collect(),
                model: message.model.clone(),
                answer: None,
                start: None,
            }),
        }
    }
    let last = sides.len().saturating_sub(1);
    for (at, message) in sides.iter_mut().enumerate() {
        // A finished message does not end with thinking; one that the provider paused may.
        while at != last
            && message.role == Role::Assistant
            && message.content.last().is_some_and(ContentBlock::is_thinking)
        {
            message.content.pop();
        }
    }
    let mut repaired: Vec<Message> = Vec::with_capacity(sides.len());
    let mut sides = sides.into_iter().peekable();
    while let Some(message) = sides.next() {
        if message.role == Role::User {
            // Results without a call before them are dropped.
            push(&mut repaired, Message::user(without_results(message.content)));
            continue;
        }
        if repaired.is_empty() {
            continue;
        }
        let calls = call_ids(&message);
        push(&mut repaired, message);
        if calls.is_empty() {
            continue;
        }
        let next = sides.next_if(|next| next.role == Role::User).map(|next| next.content).unwrap_or_default();
        let mut answers: Vec<ContentBlock> = calls.iter().map(|id| result_for(id, &next)).collect();
        answers.extend(without_results(next));
        push(&mut repaired, Message::user(answers));
    }
    repaired
}

/// Joins the stored parts of answers: the model's blocks in one message, the results of its tools in the next.
pub fn join_parts(messages: impl IntoIterator<Item = Message>) -> Vec<Message> {
    let mut joined: Vec<Message> = Vec::new();
    for message in messages {
        // An answer consists of two messages, so its other parts are among the last two.
        let is_same = |other: &&mut Message| {
            message.answer.is_some() && (other.answer, other.role) == (message.answer, message.role)
        };
        match joined.iter_mut().rev().take(2).find(is_same) {
            Some(same) => same.content.extend(message.content),
            None => joined.push(message),
        }
    }
    for message in &mut joined {
        message.answer = None;
    }
    joined
}

/// Replaces the images of these messages by their names; returns whether there were any.
pub fn without_images(messages: &mut [Message]) -> bool {
    let mut any = false;
    for block in messages.iter_mut().flat_map(|message| &mut message.content) {
        if let ContentBlock::Image { name, .. } = block {
            *block = ContentBlock::text(images::refused(name));
            any = true;
        }
    }
    any
}

fn is_sendable(block: &ContentBlock, role: Role, same_model: bool) -> bool {
    match block {
        ContentBlock::Text { text } => !text.trim().is_empty(),
        ContentBlock::Thinking { signature, .. } => same_model && !signature.is_empty(),
        ContentBlock::RedactedThinking { .. } => same_model,
        ContentBlock::ToolUse { .. } => role == Role::Assistant,
        ContentBlock::Image { .. } | ContentBlock::ToolResult { .. } => role == Role::User,
    }
}

/// Appends a message, and joins it with the last one if both have the same role.
fn push(messages: &mut Vec<Message>, message: Message) {
    if message.content.is_empty() {
        return;
    }
    match messages.last_mut() {
        Some(last) if last.role == message.role => last.content.extend(message.content),
        _ => messages.push(message),
    }
}

fn call_ids(message: &Message) -> Vec<String> {
    let mut seen = HashSet::new();
    let ids = message.content.iter().filter_map(|block| match block {
        ContentBlock::ToolUse { id, .. } => Some(id.clone()),
        _ => None,
    });
    ids.filter(|id| seen.insert(id.clone())).collect()
}

fn result_for(id: &str, blocks: &[ContentBlock]) -> ContentBlock {
    let found =
        blocks.iter().find(|block| matches!(block, ContentBlock::ToolResult { tool_use_id, .. } if tool_use_id == id));
    found.cloned().unwrap_or_else(|| ContentBlock::ToolResult {
        tool_use_id: id.to_owned(),
        content: LOST_RESULT.into(),
        is_error: true,
    })
}

fn without_results(blocks: Vec<ContentBlock>) -> Vec<ContentBlock> {
    blocks.into_iter().filter(|block| !matches!(block, ContentBlock::ToolResult { .. })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng};
    use serde_json::Map;

    fn call(id: &str) -> ContentBlock {
        ContentBlock::ToolUse { id: id.into(), name: "list_files".into(), input: Map::new() }
    }
    fn result(id: &str) -> ContentBlock {
        ContentBlock::ToolResult { tool_use_id: id.into(), content: format!("of {id}"), is_error: false }
    }
    fn thinking(signature: &str) -> ContentBlock {
        ContentBlock::Thinking { thinking: "hm".into(), signature: signature.into(), extra: Map::new() }
    }
    fn text(text: &str) -> ContentBlock {
        ContentBlock::text(text)
    }
    fn user(content: &[ContentBlock]) -> Message {
        Message::user(content.to_vec())
    }
    fn model(content: &[ContentBlock]) -> Message {
        Message::assistant(content.to_vec(), "m")
    }

    fn check(messages: &[Message]) {
        let mut open: Vec<String> = Vec::new();
        for (at, message) in messages.iter().enumerate() {
            assert_eq!(message.role == Role::User, at % 2 == 0, "{messages:#?}");
            assert!(!message.content.is_empty());
            let results: Vec<String> = message
                .content
                .iter()
                .filter_map(|block| match block {
                    ContentBlock::ToolResult { tool_use_id, .. } => Some(tool_use_id.clone()),
                    _ => None,
                })
                .collect();
            assert_eq!(results, open, "{messages:#?}");
            assert!(message.content[..results.len()].iter().all(|b| matches!(b, ContentBlock::ToolResult { .. })));
            open = call_ids(message);
            assert!(at + 1 == messages.len() || !message.content.last().unwrap().is_thinking());
        }
        assert_eq!(open, Vec::<String>::new());
    }

    #[test]
    fn a_valid_conversation_stays_unchanged() {
        let sound = [
            user(&[text("a")]),
            model(&[thinking("s"), text("b"), call("1"), call("2")]),
            user(&[result("1"), result("2")]),
            model(&[thinking("t"), text("done")]),
            user(&[text("c")]),
        ];
        assert_eq!(repair(&sound, "m"), sound);
        check(&sound);
    }

    #[test]
    fn a_truncated_conversation_is_repaired() {
        let cut = [
            model(&[text("orphan")]),
            user(&[text("a")]),
            model(&[thinking(""), text(" "), call("1"), call("2")]),
            user(&[text("next"), result("2"), result("9")]),
            user(&[text("more")]),
            model(&[text("x"), thinking("s")]),
            user(&[result("7")]),
            model(&[call("3"), thinking("s")]),
            model(&[text("y")]),
            user(&[result("3"), text("z")]),
        ];
        let repaired = repair(&cut, "m");
        check(&repaired);
        assert_eq!(repaired[1], model(&[call("1"), call("2")]));
        let ContentBlock::ToolResult { content, is_error: true, .. } = &repaired[2].content[0] else { panic!() };
        assert_eq!(content, LOST_RESULT);
        assert_eq!(repaired[2].content[1..], [result("2"), text("next"), text("more")]);
        assert_eq!(repaired.last().unwrap().content, [result("3"), text("z")]);
    }

    #[test]
    fn thinking_is_dropped_when_the_model_changes() {
        let talk = [user(&[text("a")]), model(&[thinking("s"), text("b")]), user(&[text("c")])];
        assert_eq!(repair(&talk, "other")[1].content, [text("b")]);
        assert_eq!(repair(&talk, "m")[1].content.len(), 2);
    }

    #[test]
    fn any_stored_conversation_becomes_valid() {
        let mut random = StdRng::seed_from_u64(3);
        for _ in 0..3_000 {
            let messages: Vec<Message> = (0..random.random_range(1..9))
                .map(|_| {
                    let blocks: Vec<ContentBlock> = (0..random.random_range(0..5))
                        .map(|_| {
                            let id = random.random_range(0..5).to_string();
                            match random.random_range(0..5) {
                                0 => text("t"),
                                1 => text(" "),
                                2 => thinking(if id == "0" { "" } else { "s" }),
                                3 => call(&id),
                                _ => result(&id),
                            }
                        })
                        .collect();
                    if random.random() { user(&blocks) } else { model(&blocks) }
                })
                .collect();
            let mut ended = messages.clone();
            ended.push(user(&[text("prompt")]));
            let repaired = repair(&ended, "m");
            // Providers do not use an id in two messages; if it happens, results may repeat.
            check(&repaired);
            assert_eq!(repair(&repaired, "m"), repaired);
        }
    }
}
