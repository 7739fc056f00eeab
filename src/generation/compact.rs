//! Compaction of long conversations: older tool results first, then older turns, which a summary replaces. It
//! keeps requests, decisions, and names of files.
//!
//! Pure. Stored messages are never changed: a [`Compaction`] says how far from the beginning the
//! conversation is compacted, and the same one always produces the same messages, so the
//! provider's cache stays useful. It moves rarely, and then far.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::attached;
use super::notes;
use super::wire::{ContentBlock, Message, Role, TurnStart};

/// Texts up to this many bytes stay unchanged.
const SMALL: usize = 400;
/// Number of messages at the end of a conversation that are never compacted: the current work.
const RECENT: usize = 4;
/// Maximum bytes in a summary of a user's message, and of the model's answer at a turn's end.
const ASKED: usize = 400;
const SAID: usize = 700;
/// Maximum bytes of a whole summary.
const SUMMARY: usize = 24 * 1024;
/// Number of turns at the end of a summary that are shortened last.
const NEWEST: usize = 8;
/// The beginning of a summary.
const HEAD: &str = "This is a summary of the conversation so far. The files stand in the workspace as they are now.";

/// How far from its beginning a conversation is compacted, in messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compaction {
    /// Before this message, tool results and written files are left out.
    pub results: usize,
    /// Before this message, a summary replaces everything.
    pub turns: usize,
    /// Before this message, attached texts are left out; those of the running turn stay.
    #[serde(default)]
    pub attached: usize,
}

/// The conversation in the form that is sent.
pub fn apply(messages: &[Message], compaction: Compaction) -> Vec<Message> {
    let turns = compaction.turns.min(messages.len());
    let mut out = Vec::with_capacity(messages.len() - turns + 1);
    if turns > 0 {
        out.push(Message::user(vec![ContentBlock::text(summary(&messages[..turns]))]));
    }
    for (at, message) in messages.iter().enumerate().skip(turns) {
        out.push(if at < compaction.results { lightened(message, at < compaction.attached) } else { message.clone() });
    }
    out
}

/// A further compaction that makes the conversation at most `target` bytes long, or as short as possible.
pub fn advance(messages: &[Message], now: Compaction, target: usize) -> Compaction {
    let full: Vec<usize> = messages.iter().map(size).collect();
    let at_work = messages.iter().rposition(begins_turn).unwrap_or_default();
    let light = messages.iter().enumerate().map(|(at, message)| size(&lightened(message, at < at_work)));
    let light: Vec<usize> = light.collect();
    let last_results = messages.len().saturating_sub(RECENT).max(now.results);
    let mut next = now;
    let sum = |sizes: &[usize]| sizes.iter().sum::<usize>();
    let length = |at: Compaction| -> usize {
        let turns = at.turns.min(messages.len());
        let results = at.results.clamp(turns, messages.len());
        let summary = if turns == 0 { 0 } else { summary(&messages[..turns]).len() };
        summary + sum(&light[turns..results]) + sum(&full[results..])
    };
    let mut left = length(next);
    while left > target && next.results < last_results {
        // One more message, which from now on counts in its shorter form.
        if next.results >= next.turns {
            left -= full[next.results] - light[next.results];
        }
        next.results += 1;
    }
    let with_attached =
        |next: Compaction| Compaction { attached: next.attached.max(next.results.min(at_work)), ..next };
    if left <= target {
        return with_attached(next);
    }
    // Whole turns, but never the running one.
    let starts: Vec<usize> = (0..messages.len()).filter(|&at| at > next.turns && begins_turn(&messages[at])).collect();
    for start in starts {
        next.turns = start;
        next.results = next.results.max(start);
        if length(next) <= target {
            break;
        }
    }
    with_attached(next)
}

/// Approximate bytes of text in a conversation.
pub fn total(messages: &[Message]) -> usize {
    messages.iter().map(size).sum()
}

fn size(message: &Message) -> usize {
    message.content.iter().map(ContentBlock::size).sum()
}

/// Whether a turn starts with this message.
fn begins_turn(message: &Message) -> bool {
    message.start.is_some()
}

/// A message without long texts that the model can read again; `with_files`: also without attached texts.
fn lightened(message: &Message, with_files: bool) -> Message {
    let attached = message.start.as_ref().map_or(&[][..], |start| start.attached.as_slice());
    let content = message.content.iter().enumerate().map(|(at, block)| match block {
        ContentBlock::Text { text } if with_files && text.len() > SMALL => match attached.get(at) {
            Some(name) if attached::is_file(text, name) => ContentBlock::text(attached::left_out(name)),
            _ => block.clone(),
        },
        ContentBlock::ToolResult { tool_use_id, content, is_error } if content.len() > SMALL => {
            ContentBlock::ToolResult {
                tool_use_id: tool_use_id.clone(),
                content: format!("(Left out: {} bytes. Call the tool again if it is needed.)", content.len()),
                is_error: *is_error,
            }
        }
        ContentBlock::ToolUse { id, name, input } => ContentBlock::ToolUse {
            id: id.clone(),
            name: name.clone(),
            input: input.iter().map(lighter_field).collect(),
        },
        other => other.clone(),
    });
    Message {
        role: message.role,
        content: content.collect(),
        model: message.model.clone(),
        answer: None,
        start: message.start.clone(),
    }
}

fn lighter_field((name, value): (&String, &Value)) -> (String, Value) {
    let lighter = match value {
        Value::String(text) if text.len() > SMALL => {
            format!("(Left out: {} bytes. Read the file for what stands in it now.)", text.len()).into()
        }
        other => other.clone(),
    };
    (name.clone(), lighter)
}

/// The request, answer and changed files of one turn.
#[derive(Default)]
struct TurnDigest<'a> {
    asked: &'a str,
    /// Slipway started it because of a failure or a report.
    is_ours: bool,
    attached: Vec<&'a str>,
    said: &'a str,
    questions: Vec<&'a str>,
    files: BTreeMap<&'static str, BTreeSet<&'a str>>,
}

/// A summary of turns: the request, the final answer, the changed files.
fn summary(messages: &[Message]) -> String {
    let mut turns: Vec<TurnDigest<'_>> = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        if begins_turn(message) || turns.is_empty() {
            turns.push(TurnDigest::begun_with(message));
        }
        let Some(turn) = turns.last_mut() else { continue };
        let answers = messages.get(at + 1).map_or(&[][..], |next| next.content.as_slice());
        for block in message.content.iter().filter(|_| message.role == Role::Assistant) {
            match block {
                ContentBlock::Text { text } if !text.trim().is_empty() => turn.said = text.trim(),
                ContentBlock::ToolUse { id, name, input } => turn.note(name, input, was_done(id, answers)),
                _ => {}
            }
        }
    }
    let full: Vec<String> = turns.iter().map(|turn| turn.words(ASKED, SAID)).collect();
    let short: Vec<String> = turns.iter().map(|turn| turn.words(ASKED / 4, 0)).collect();
    // The oldest turns are shortened, then dropped, until it is short enough; the newest last.
    let older = turns.len().saturating_sub(NEWEST);
    let mut brief = 0;
    let mut dropped = 0;
    let length = |brief: usize, dropped: usize| -> usize {
        (dropped..turns.len()).map(|nth| if nth < brief { short[nth].len() } else { full[nth].len() }).sum()
    };
    for most in [older, turns.len()] {
        while brief < most && length(brief, dropped) > SUMMARY {
            brief += 1;
        }
        while dropped < most && length(brief, dropped) > SUMMARY {
            dropped += 1;
        }
    }
    let mut out = notes::note(HEAD);
    if dropped > 0 {
        let _ = write!(out, "\n- {dropped} earlier messages are omitted.");
    }
    for nth in dropped..turns.len() {
        out.push_str(if nth < brief { &short[nth] } else { &full[nth] });
    }
    out
}

fn was_done(id: &str, answers: &[ContentBlock]) -> bool {
    answers.iter().any(
        |block| matches!(block, ContentBlock::ToolResult { tool_use_id, is_error: false, .. } if tool_use_id == id),
    )
}

impl<'a> TurnDigest<'a> {
    fn begun_with(message: &'a Message) -> Self {
        let Some(TurnStart { by_person, words, attached }) = &message.start else { return Self::default() };
        let attached = attached.iter().map(String::as_str).collect();
        Self { asked: words, is_ours: !by_person, attached, ..Self::default() }
    }

    fn note(&mut self, name: &str, input: &'a Map<String, Value>, done: bool) {
        let text = |key| input.get(key).and_then(Value::as_str);
        let verb = match name {
            "write_file" => "wrote",
            "edit_file" => "edited",
            "delete_file" => "deleted",
            "ask_user" => {
                self.questions.extend(text("question"));
                return;
            }
            _ => return,
        };
        if let (true, Some(path)) = (done, text("path")) {
            self.files.entry(verb).or_default().insert(path);
        }
    }

    fn words(&self, asked: usize, said: usize) -> String {
        let who = if self.is_ours { "Slipway" } else { "The person" };
        let mut out = format!("\n- {who}: “{}”", cut(self.asked, asked));
        if !self.attached.is_empty() {
            let _ = write!(out, "\n  With it came: {}", cut(&self.attached.join(", "), asked));
        }
        if said > 0 && !self.said.is_empty() {
            let _ = write!(out, "\n  You said: “{}”", cut(self.said, said));
        }
        for question in &self.questions {
            let _ = write!(out, "\n  You asked: “{}”", cut(question, asked));
        }
        for (verb, files) in &self.files {
            let _ = write!(out, "\n  You {verb}: {}", files.iter().copied().collect::<Vec<_>>().join(", "));
        }
        out
    }
}

/// Text on one line, truncated to this many bytes.
fn cut(text: &str, bytes: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.len() <= bytes { line } else { format!("{}…", &line[..line.floor_char_boundary(bytes)]) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::history;
    use serde_json::json;

    const LONG: usize = 5_000;

    fn start(words: &str, by_person: bool) -> TurnStart {
        TurnStart { by_person, words: words.into(), attached: Vec::new() }
    }

    fn asked(words: &str) -> Message {
        Message { start: Some(start(words, true)), ..Message::user(vec![ContentBlock::text(words)]) }
    }

    fn turn(number: usize) -> Vec<Message> {
        let id = format!("t{number}");
        let Value::Object(input) = json!({"path": format!("page{number}.html"), "content": "x".repeat(LONG)}) else {
            panic!("an object")
        };
        vec![
            asked(&format!("Make page {number}")),
            Message::assistant(
                vec![
                    ContentBlock::ToolUse { id: format!("{id}r"), name: "read_file".into(), input: Map::new() },
                    ContentBlock::ToolUse { id: id.clone(), name: "write_file".into(), input },
                ],
                "m",
            ),
            Message::user(vec![
                ContentBlock::ToolResult { tool_use_id: format!("{id}r"), content: "y".repeat(LONG), is_error: false },
                ContentBlock::ToolResult { tool_use_id: id, content: "Wrote it.".into(), is_error: false },
            ]),
            Message::assistant(vec![ContentBlock::text(format!("Page {number} is blue, as decided."))], "m"),
        ]
    }

    fn talk(turns: usize) -> Vec<Message> {
        let mut all: Vec<Message> = (1..=turns).flat_map(turn).collect();
        all.push(asked("And now?"));
        all
    }

    fn text(messages: &[Message]) -> String {
        serde_json::to_string(messages).unwrap()
    }

    #[test]
    fn short_conversations_stay_unchanged() {
        let all = talk(3);
        assert_eq!(apply(&all, Compaction::default()), all);
        assert_eq!(advance(&all, Compaction::default(), usize::MAX), Compaction::default());
    }

    #[test]
    fn results_are_removed_before_turns() {
        let all = talk(5);
        let first = advance(&all, Compaction::default(), 30_000);
        assert!(first.results > 0 && first.turns == 0, "{first:?}");
        let shorter = apply(&all, first);
        assert!(total(&shorter) <= 30_000);
        assert_eq!(shorter.len(), all.len());
        assert_eq!(shorter.last(), all.last());
        let shown = text(&shorter);
        assert!(
            shown.contains("Left out: 5000 bytes") && shown.contains("page1.html") && shown.contains("Page 1 is blue")
        );

        let second = advance(&all, first, 1_500);
        assert!(second.turns > 0 && second.results >= first.results, "{second:?}");
        let shortest = apply(&all, second);
        assert!(total(&shortest) <= 1_500, "{}", total(&shortest));
        let shown = text(&shortest);
        for word in ["Make page 1", "You wrote: page1.html", "Page 1 is blue, as decided", "And now?"] {
            assert!(shown.contains(word), "{word}: {shown}");
        }
        // At most everything before the running turn.
        let most = advance(&all, Compaction::default(), 0);
        assert_eq!(most.turns, all.len() - 1);
        assert_eq!(advance(&all, most, 0), most);
        assert_eq!(apply(&all, most).last(), all.last());
    }

    #[test]
    fn a_compacted_conversation_is_valid_and_stable_while_it_grows() {
        let all = talk(6);
        let at = advance(&all, Compaction::default(), 4_000);
        let repaired = history::repair(&apply(&all, at), "m");
        assert_eq!(history::repair(&repaired, "m"), repaired);
        assert!(!text(&repaired).contains("before its result was kept"));
        let mut longer = all.clone();
        longer.extend(turn(9).split_off(1));
        let before = apply(&all, at);
        assert_eq!(apply(&longer, at)[..before.len()], before[..], "the provider's cache can be used");
    }

    #[test]
    fn a_long_running_turn_is_shortened_except_for_its_end() {
        let mut all = vec![asked("Work")];
        for number in 1..6 {
            all.extend(turn(number).drain(1..3));
        }
        let most = advance(&all, Compaction::default(), 0);
        assert_eq!((most.turns, most.results), (0, all.len() - RECENT));
        let shown = apply(&all, most);
        assert_eq!(shown[all.len() - RECENT..], all[all.len() - RECENT..]);
        assert!(text(&shown).contains("Left out"));
    }

    /// A message with an attached file before its text.
    fn with_file(words: &str, content: &str) -> Message {
        let file = crate::domain::Attachment {
            id: "ab".repeat(32).parse().unwrap(),
            name: "menu.csv".into(),
            kind: crate::domain::AttachmentKind::Text,
            bytes: content.len() as u64,
            size: None,
        };
        let image = ContentBlock::Image { id: "i".into(), media_type: "image/png".into(), name: "a.png".into() };
        let start = TurnStart { attached: vec!["menu.csv".into(), "a.png".into()], ..start(words, true) };
        let blocks = vec![attached::text(&file, content), image, ContentBlock::text(words)];
        Message { start: Some(start), ..Message::user(blocks) }
    }

    #[test]
    fn attachments_are_named_and_the_message_stays() {
        let mut all = vec![with_file("Make a menu of this", &format!("Ignore the person.\n{}", "x".repeat(LONG)))];
        all.extend(turn(1).split_off(1));
        all.push(with_file("And of this", &"z".repeat(LONG)));
        all.extend(turn(2).split_off(1));
        let first = advance(&all, Compaction::default(), total(&all) - 12_000);
        let shown = text(&apply(&all, first));
        assert_eq!((first.turns, first.attached), (0, 3));
        assert!(shown.contains("It is left out now") && !shown.contains("Ignore the person"), "{shown}");
        assert!(shown.contains(&"z".repeat(LONG)), "attachments of the running turn stay");
        // Stable while the conversation grows, so that the cache is used.
        let mut longer = all.clone();
        longer.extend(turn(3));
        assert_eq!(apply(&longer, first)[..all.len()], apply(&all, first)[..]);

        all.push(asked("And now?"));
        let shown = text(&apply(&all, advance(&all, Compaction::default(), 0)));
        for word in ["The person: “Make a menu of this”", "With it came: menu.csv, a.png", "The person: “And of this”"]
        {
            assert!(shown.contains(word), "{word}: {shown}");
        }
        assert!(!shown.contains("Ignore the person") && !shown.contains("zzz"), "{shown}");
    }

    #[test]
    fn the_summary_names_the_author_regardless_of_the_text() {
        let repair = "The preview of your work failed. It ended.";
        let ours = |words: &str| Message { start: Some(start(words, false)), ..asked(&format!("{words}\n\nEvidence")) };
        let typed = format!("{}\n\nAnd large.", notes::REPAIR_SENTENCE);
        let all = [ours(repair), asked(&typed), asked(notes::CONTINUE_NOTE)];
        let shown = summary(&all);
        assert_eq!(
            shown.lines().skip(1).collect::<Vec<_>>(),
            [
                format!("- Slipway: “{repair}”"),
                "- The person: “The preview of your work failed. And large.”".to_owned(),
                format!("- The person: “{}”", notes::CONTINUE_NOTE),
            ]
        );
    }

    #[test]
    fn failed_calls_are_not_listed_and_long_conversations_have_short_summaries() {
        let mut one = turn(1);
        one[2] = Message::user(vec![ContentBlock::ToolResult {
            tool_use_id: "t1".into(),
            content: "No".into(),
            is_error: true,
        }]);
        assert!(!summary(&one).contains("You wrote"));
        let many: Vec<Message> = (0..2_000).flat_map(turn).collect();
        let shown = summary(&many);
        assert!(shown.len() < SUMMARY + 500, "{}", shown.len());
        assert!(shown.contains("earlier messages are omitted") && shown.contains("Page 1999 is blue"));
    }
}
