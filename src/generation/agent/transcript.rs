//! The transcript of a turn: the messages of the next request, and those that are not stored yet.
//!
//! Stored messages are appended. An answer is stored in parts, one after each tool, because its later parts are not known yet;
//! they are joined when the conversation is read ([`history::join_parts`](crate::generation::history::join_parts)). Only messages
//! that a provider rejected are deleted, because it would reject each later request too.

use std::collections::BTreeSet;

use super::answer::{Results, to_content, to_messages};
use crate::generation::history;
use crate::generation::wire::{AnswerBlock, ContentBlock, Message, RawCall, Role};

/// A turn's messages, the opening one first.
#[derive(Debug)]
pub struct Transcript {
    messages: Vec<Message>,
    /// Number of stored messages; each part counts.
    kept: usize,
    /// Number of stored messages that stay; lower only until messages are stored the next time.
    staying: usize,
    /// Messages to store after those that stay.
    unkept: Vec<Message>,
    /// The incomplete answer, once a part of it has to be stored.
    coming: Option<Coming>,
    /// Number of answers with parts so far.
    answers: u32,
}

/// The parts of an incomplete answer.
#[derive(Debug)]
struct Coming {
    /// Number of messages before it, stored or not.
    from: usize,
    blocks: BTreeSet<usize>,
    results: BTreeSet<String>,
}

impl Transcript {
    /// Starts with this message.
    pub fn new(opening: Message) -> Self {
        let unkept = vec![opening.clone()];
        Self { messages: vec![opening], kept: 0, staying: 0, unkept, coming: None, answers: 0 }
    }

    /// All messages, with complete answers only.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// The same, at the end of the turn.
    pub fn into_messages(self) -> Vec<Message> {
        self.messages
    }

    /// Whether it contains an answer of the model.
    pub fn has_answer(&self) -> bool {
        self.messages.iter().any(|message| message.role == Role::Assistant)
    }

    /// Adds a message with the role of the user.
    pub fn push(&mut self, message: Message) {
        self.messages.push(message.clone());
        self.unkept.push(message);
    }

    /// Adds the part of an answer up to this call, which was executed.
    pub fn add_part(&mut self, blocks: &[AnswerBlock], call: &str, results: &Results, model: &str) {
        let is_it = |block: &AnswerBlock| matches!(block, AnswerBlock::Call { call: this, .. } if this.id == call);
        let until = blocks.iter().position(is_it).map_or(0, |at| at + 1);
        let is_whole = |block: &AnswerBlock| !matches!(block, AnswerBlock::Call { ended: false, .. });
        let whole = blocks[..until].iter().enumerate().filter(|(_, block)| is_whole(block));
        let results = results.of(call).cloned().into_iter().collect();
        self.add_parts(whole, results, model);
    }

    fn add_parts<'a>(
        &mut self,
        blocks: impl Iterator<Item = (usize, &'a AnswerBlock)>,
        results: Vec<ContentBlock>,
        model: &str,
    ) {
        let (from, answers) = (self.staying + self.unkept.len(), &mut self.answers);
        let coming = self.coming.get_or_insert_with(|| {
            *answers += 1;
            Coming { from, blocks: BTreeSet::new(), results: BTreeSet::new() }
        });
        let new = blocks.filter(|(at, _)| coming.blocks.insert(*at));
        let said: Vec<ContentBlock> = new.filter_map(|(_, block)| to_content(block)).collect();
        let results = results.into_iter().filter(|result| match result {
            ContentBlock::ToolResult { tool_use_id, .. } => coming.results.insert(tool_use_id.clone()),
            _ => true,
        });
        let results: Vec<ContentBlock> = results.collect();
        let parts = [Message::assistant(said, model), Message::user(results)];
        let parts = parts.into_iter().filter(|part| !part.content.is_empty());
        self.unkept.extend(parts.map(|part| Message { answer: Some(self.answers), ..part }));
    }

    /// Adds an answer that has ended or broken off. Calls without a result get the text of `explain`.
    pub fn add_answer(
        &mut self,
        blocks: &[AnswerBlock],
        results: &Results,
        model: &str,
        explain: impl Fn(&RawCall) -> String,
    ) {
        let whole = to_messages(blocks, results, model, explain);
        if self.coming.is_some() {
            let results = whole.iter().filter(|message| message.role == Role::User);
            let results = results.flat_map(|message| message.content.clone()).collect();
            self.add_parts(blocks.iter().enumerate(), results, model);
            self.coming = None;
        } else {
            self.unkept.extend(whole.iter().cloned());
        }
        self.messages.extend(whole);
    }

    /// Removes an answer that the provider refused, and the whole turn if it has no other answer.
    pub fn drop_refused(&mut self) {
        if !self.has_answer() {
            self.messages.clear();
            self.coming = None;
            return self.stay(0);
        }
        if let Some(coming) = self.coming.take() {
            self.stay(coming.from);
        }
    }

    /// Removes the images of the turn; returns whether there were any.
    pub fn drop_images(&mut self) -> bool {
        let any = history::without_images(&mut self.messages);
        if any {
            self.stay(0);
            self.unkept.clone_from(&self.messages);
        }
        any
    }

    fn stay(&mut self, count: usize) {
        self.unkept.truncate(count.saturating_sub(self.staying));
        self.staying = self.staying.min(count);
    }

    /// The messages to store, and how many stored messages stay. `None` if everything is stored.
    pub fn unkept(&self) -> Option<(usize, &[Message])> {
        let all_kept = self.unkept.is_empty() && self.staying == self.kept;
        (!all_kept).then_some((self.staying, self.unkept.as_slice()))
    }

    /// Records that these messages are stored.
    pub fn now_kept(&mut self) {
        self.staying += self.unkept.len();
        self.kept = self.staying;
        self.unkept.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Map;

    fn text(text: &str) -> AnswerBlock {
        AnswerBlock::Content(ContentBlock::text(text))
    }

    fn call(id: &str, json: &str, ended: bool) -> AnswerBlock {
        let call = RawCall { id: id.into(), name: "list_files".into(), json: json.into() };
        AnswerBlock::Call { call, ended }
    }

    /// A transcript, and its rows in a database.
    struct Bench {
        transcript: Transcript,
        rows: Vec<Message>,
        results: Results,
    }

    impl Bench {
        fn new() -> Self {
            let opening = Message::user(vec![ContentBlock::text("Make a page")]);
            let mut bench =
                Self { transcript: Transcript::new(opening), rows: Vec::new(), results: Results::default() };
            assert_eq!(bench.keep(), Some((0, 1)));
            bench
        }

        /// Stores new messages: returns from which row on, and how many rows.
        fn keep(&mut self) -> Option<(usize, usize)> {
            let (from, messages) = self.transcript.unkept()?;
            self.rows.truncate(from);
            self.rows.extend(messages.iter().map(|message| {
                let json = serde_json::to_string(message).expect("JSON");
                serde_json::from_str::<Message>(&json).expect("comes back")
            }));
            let count = messages.len();
            self.transcript.now_kept();
            Some((from, count))
        }

        fn ran(&mut self, blocks: &[AnswerBlock], id: &str) {
            self.results.add(id, format!("of {id}"), false);
            self.transcript.add_part(blocks, id, &self.results, "m");
        }

        fn ended(&mut self, blocks: &[AnswerBlock]) {
            let results = std::mem::take(&mut self.results);
            self.transcript.add_answer(blocks, &results, "m", |_| "not done".into());
        }

        fn is_whole(&self) {
            assert_eq!(history::join_parts(self.rows.clone()), self.transcript.messages());
        }
    }

    #[test]
    fn parts_are_appended_and_come_back_as_one_answer() {
        let mut bench = Bench::new();
        let blocks = [
            text("One."),
            call("a", "{}", true),
            text("Two."),
            call("x", "{", true),
            call("b", "{}", true),
            text("End"),
        ];
        bench.ran(&blocks[..2], "a");
        assert_eq!(bench.keep(), Some((1, 2)));
        assert_eq!(history::join_parts(bench.rows.clone()).len(), 3, "the rows after a crash can be read");
        bench.ran(&blocks[..5], "b");
        assert_eq!(bench.keep(), Some((3, 2)));
        bench.ended(&blocks);
        assert_eq!(bench.keep(), Some((5, 2)));
        assert_eq!(bench.keep(), None, "nothing is stored twice");
        // Results are sent in the order of the calls, regardless of the order of execution.
        let joined = history::join_parts(bench.rows.clone());
        assert_eq!(joined.len(), 3);
        assert_eq!(joined[1], bench.transcript.messages()[1]);
        assert_eq!(history::repair(&joined, "m"), history::repair(bench.transcript.messages(), "m"));
        // The next answer is a separate one.
        let next = [text("Again."), call("c", "{}", true)];
        bench.ran(&next, "c");
        bench.ended(&next);
        assert_eq!(bench.keep(), Some((7, 2)));
        assert_eq!(history::join_parts(bench.rows.clone()).len(), 5);
    }

    #[test]
    fn an_answer_without_tools_is_stored_whole() {
        let mut bench = Bench::new();
        let thinking = ContentBlock::Thinking { thinking: "hm".into(), signature: "s".into(), extra: Map::new() };
        bench.ended(&[AnswerBlock::Content(thinking.clone())]);
        assert_eq!(bench.keep(), None, "thinking alone is not a message");
        bench.ended(&[AnswerBlock::Content(thinking), text("Done.")]);
        assert_eq!(bench.keep(), Some((1, 1)));
        bench.transcript.push(Message::user(vec![ContentBlock::text("Go on")]));
        assert_eq!(bench.keep(), Some((2, 1)));
        bench.is_whole();
    }

    #[test]
    fn rejected_messages_are_removed() {
        let mut bench = Bench::new();
        let first = [call("a", "{}", true)];
        bench.ran(&first, "a");
        bench.ended(&first);
        bench.keep();
        let refused = [text("No."), call("b", "{}", true)];
        bench.ran(&refused, "b");
        assert_eq!(bench.keep(), Some((3, 2)));
        bench.transcript.drop_refused();
        assert_eq!(bench.keep(), Some((3, 0)));
        bench.is_whole();
        // Without an answer the opening message is removed too, whether or not it is stored yet.
        let mut bench = Bench::new();
        bench.ran(&refused, "b");
        bench.transcript.drop_refused();
        assert_eq!(bench.keep(), Some((0, 0)));
        assert_eq!((bench.rows.len(), bench.transcript.messages().len()), (0, 0));
    }
}
