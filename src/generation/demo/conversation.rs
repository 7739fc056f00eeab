//! Reads a request to the demo model: the message of this turn, and the results of its tools.

use serde_json::Value;

use crate::generation::material;
use crate::generation::notes::{is_note, is_repair_note};

/// A tool call of this turn, with its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// The tool.
    pub name: String,
    /// The path of its file, if any.
    pub path: Option<String>,
    /// The result.
    pub result: String,
    /// Whether it failed.
    pub is_error: bool,
}

/// The parts of a request that the demo model needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conversation {
    /// The user's message of this turn.
    pub prompt: String,
    /// Whether an error is to be fixed: in a repair that Slipway started, or in a fix that a user requested.
    pub repair: bool,
    /// The tool calls of this turn.
    pub done: Vec<Done>,
    /// Whether there was no answer before this turn.
    pub is_first: bool,
    /// The available tools.
    pub tools: Vec<String>,
}

impl Conversation {
    /// Parses a request's body. The error is a sentence like the real API's.
    pub fn read(body: &Value) -> Result<Self, String> {
        let messages = body["messages"].as_array().filter(|messages| !messages.is_empty());
        let messages = messages.ok_or("messages: at least one message is required")?;
        check(messages)?;
        let mut conversation = Self { is_first: true, ..Self::default() };
        for (nth, message) in messages.iter().enumerate() {
            let blocks = message["content"].as_array().map_or(&[][..], Vec::as_slice);
            if message["role"] == "user" {
                conversation.results(blocks);
                let texts = || blocks.iter().filter_map(|block| block["text"].as_str());
                if let Some(text) = texts().rfind(|text| !is_note(text)) {
                    // A user sends a new message.
                    let words = material::before(text);
                    words.clone_into(&mut conversation.prompt);
                    conversation.is_first = nth == 0;
                    conversation.done.clear();
                    // A message with evidence asks for a fix.
                    conversation.repair = words.len() < text.len();
                }
                // *Continue* is a note too; the message before it still applies.
                conversation.repair |= texts().any(is_repair_note);
            } else {
                conversation.calls(blocks);
            }
        }
        let tools = body["tools"].as_array().map_or(&[][..], Vec::as_slice);
        conversation.tools = tools.iter().filter_map(|tool| tool["name"].as_str().map(str::to_owned)).collect();
        Ok(conversation)
    }

    /// Whether this tool is available.
    pub fn may(&self, tool: &str) -> bool {
        self.tools.iter().any(|name| name == tool)
    }

    fn calls(&mut self, blocks: &[Value]) {
        for block in blocks.iter().filter(|block| block["type"] == "tool_use") {
            // The id is a placeholder until the result is known.
            self.done.push(Done {
                name: block["name"].as_str().unwrap_or_default().to_owned(),
                path: block["input"]["path"].as_str().map(str::to_owned),
                result: block["id"].as_str().unwrap_or_default().to_owned(),
                is_error: false,
            });
        }
    }

    fn results(&mut self, blocks: &[Value]) {
        let results: Vec<&Value> = blocks.iter().filter(|block| block["type"] == "tool_result").collect();
        let first = self.done.len().saturating_sub(results.len());
        for (done, result) in self.done[first..].iter_mut().zip(results) {
            let content = result["content"].as_str().unwrap_or_default();
            material::unwrap(content).unwrap_or(content).clone_into(&mut done.result);
            done.is_error = result["is_error"] == true;
        }
    }

    /// The last result of a tool, optionally for one file.
    pub fn result_of(&self, name: &str, path: Option<&str>) -> Option<&Done> {
        self.done.iter().rev().find(|done| done.name == name && (path.is_none() || done.path.as_deref() == path))
    }

    /// The calls of this turn that change files, including failed ones.
    pub fn changes(&self) -> impl Iterator<Item = &Done> {
        self.done.iter().filter(|done| matches!(done.name.as_str(), "write_file" | "edit_file" | "delete_file"))
    }
}

/// Checks of the real API: roles alternate, and the next message has the result of each call.
fn check(messages: &[Value]) -> Result<(), String> {
    let ids = |message: &Value, kind: &str, key: &str| -> Vec<String> {
        let blocks = message["content"].as_array().map_or(&[][..], Vec::as_slice);
        let blocks = blocks.iter().filter(|block| block["type"] == kind);
        blocks.map(|block| block[key].as_str().unwrap_or_default().to_owned()).collect()
    };
    let mut open: Vec<String> = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        let expected = if at % 2 == 0 { "user" } else { "assistant" };
        if message["role"] != expected {
            return Err(format!("messages.{at}: the role must be {expected}"));
        }
        if ids(message, "tool_result", "tool_use_id") != open {
            return Err(format!("messages.{at}: each tool_use needs its tool_result in the next message"));
        }
        open = ids(message, "tool_use", "id");
    }
    if open.is_empty() { Ok(()) } else { Err("messages: the last tool_use has no tool_result".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::notes::{CONTINUE_NOTE, DISCUSS_NOTE, REPAIR_SENTENCE, note};
    use serde_json::json;

    #[test]
    fn the_turn_starts_at_the_last_prompt() {
        let body = json!({"tools": [{"name": "read_file"}, {"name": "write_file"}], "messages": [
            {"role": "user", "content": [{"type": "text", "text": "First"}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "list_files", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "old"}, {"type": "text", "text": "Second"}, {"type": "text", "text": DISCUSS_NOTE}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "b", "name": "read_file", "input": {"path": "x"}}, {"type": "tool_use", "id": "c", "name": "write_file", "input": {"path": "y"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "b", "content": "text"}, {"type": "tool_result", "tool_use_id": "c", "content": "no", "is_error": true}]},
        ]});
        let conversation = Conversation::read(&body).unwrap();
        assert_eq!(conversation.prompt, "Second");
        assert!(conversation.may("write_file") && !conversation.may("check") && !conversation.is_first);
        assert_eq!(conversation.result_of("list_files", None), None);
        assert_eq!(conversation.result_of("read_file", Some("x")).unwrap().result, "text");
        let changes: Vec<bool> = conversation.changes().map(|done| done.is_error).collect();
        assert_eq!(changes, [true]);
    }

    #[test]
    fn a_repair_is_recognised_by_its_note() {
        let read = |text: &str| {
            let body = json!({"messages": [{"role": "user", "content": [{"type": "text", "text": text}]}]});
            Conversation::read(&body).unwrap()
        };
        assert!(read(&note(format!("{REPAIR_SENTENCE} “pip” failed."))).repair);
        let fix = format!("Version 3 failed. Fix it.\n\n{}", material::wrap("log", "add a table"));
        assert_eq!((read(&fix).repair, read(&fix).prompt.as_str()), (true, "Version 3 failed. Fix it."));
        let typed = read(REPAIR_SENTENCE);
        assert_eq!((typed.repair, typed.prompt.as_str()), (false, REPAIR_SENTENCE));
        assert_eq!(read("Go on where you stopped.").prompt, "Go on where you stopped.");
    }

    #[test]
    fn continue_resumes_the_same_request() {
        let body = json!({"messages": [
            {"role": "user", "content": [{"type": "text", "text": "First"}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "list_files", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "x"}, {"type": "text", "text": CONTINUE_NOTE}]},
        ]});
        let conversation = Conversation::read(&body).unwrap();
        assert_eq!((conversation.prompt.as_str(), conversation.done.len()), ("First", 1));
        assert!(conversation.is_first);
    }

    #[test]
    fn rejects_requests_that_the_real_api_rejects() {
        for messages in [
            json!([]),
            json!([{"role": "assistant", "content": []}]),
            json!([{"role": "user", "content": []}, {"role": "user", "content": []}]),
            json!([{"role": "user", "content": []}, {"role": "assistant", "content": [{"type": "tool_use", "id": "a"}]}]),
            json!([{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "z"}]}]),
        ] {
            assert!(Conversation::read(&json!({ "messages": messages })).is_err(), "{messages}");
        }
    }
}
