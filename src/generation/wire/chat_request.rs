//! The same request in the format of OpenAI-compatible servers: streamed chat completions.
//!
//! Such servers differ in the parameters that they reject. [`Dialect`] is adapted to
//! a server's errors: the request is then sent again in a form that it accepts.

use serde_json::{Value, json};

use super::images::{self, Images};
use super::message::{ContentBlock, Message, Role};
use super::request::{Request, ToolSpec};
use crate::domain::Effort;

/// Prefix of failed tool results, because this format has no field for errors.
pub const ERROR_PREFIX: &str = "Error: ";

/// Deviations of a server from most others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a word of its own that a server takes or not")]
pub struct Dialect {
    /// It needs `max_completion_tokens` instead of `max_tokens`.
    pub completion_tokens: bool,
    /// It rejects a limit beyond its own, so no limit is sent.
    pub no_limit: bool,
    /// It rejects `stream_options`, so it does not report usage.
    pub no_stream_options: bool,
    /// It rejects `reasoning_effort`.
    pub no_effort: bool,
    /// It allows one tool call in each message of the model.
    pub single_calls: bool,
    /// It accepts no images, so their names are sent.
    pub no_images: bool,
}

impl Dialect {
    /// The dialect that an error suggests, if it suggests anything new.
    #[must_use]
    pub fn learn(self, refusal: &str) -> Option<Self> {
        let said = refusal.to_ascii_lowercase();
        let mut learnt = self;
        let too_large = said.contains("too large") && (said.contains("max_tokens") || said.contains("completion"));
        if too_large || said.contains("in the completion") {
            learnt.no_limit = true;
        } else if said.contains("max_completion_tokens") {
            learnt.completion_tokens = true;
        } else if said.contains("stream_options") {
            learnt.no_stream_options = true;
        } else if said.contains("reasoning_effort") {
            learnt.no_effort = true;
        } else if said.contains("single tool-call")
            || said.contains("single tool call")
            || said.contains("parallel tool")
        {
            learnt.single_calls = true;
        } else if rejects_all_images(&said) {
            learnt.no_images = true;
        }
        (learnt != self).then_some(learnt)
    }
}

/// Whether an error means that the model accepts no images, and not that one image is invalid.
fn rejects_all_images(said: &str) -> bool {
    let is_about_images = ["image", "vision", "multimodal", "multi-modal"].iter().any(|word| said.contains(word));
    let is_about_one = ["could not process", "decode", "corrupt", "too large", "exceeds", "download", "base64"];
    is_about_images && !is_about_one.iter().any(|words| said.contains(words))
}

impl Request<'_> {
    /// Whether the request contains an image.
    pub fn shows_images(&self) -> bool {
        let mut blocks = self.messages.iter().flat_map(|message| &message.content);
        blocks.any(|block| matches!(block, ContentBlock::Image { id, .. } if self.images.get(id).is_some()))
    }

    /// The body to send to an OpenAI-compatible server.
    pub fn to_chat_json(&self, dialect: Dialect) -> Value {
        let mut body = json!({
            "model": self.model,
            "stream": true,
            "messages": self.chat_messages(dialect),
        });
        if !dialect.no_limit {
            let limit = if dialect.completion_tokens { "max_completion_tokens" } else { "max_tokens" };
            body[limit] = self.max_tokens.into();
        }
        if !dialect.no_stream_options {
            body["stream_options"] = json!({ "include_usage": true });
        }
        if !self.tools.is_empty() {
            body["tools"] = self.tools.iter().map(tool_json).collect();
        }
        if let (Some(effort), false) = (self.effort, dialect.no_effort) {
            body["reasoning_effort"] = effort_word(effort).into();
        }
        body
    }

    fn chat_messages(&self, dialect: Dialect) -> Vec<Value> {
        let mut out = vec![json!({ "role": "system", "content": self.system })];
        let none = Images::default();
        let images = if dialect.no_images { &none } else { self.images };
        let mut results: Vec<Value> = Vec::new();
        for (at, message) in self.messages.iter().enumerate() {
            match message.role {
                Role::User => {
                    out.append(&mut results);
                    out.extend(
                        user_content(message, images).map(|content| json!({ "role": "user", "content": content })),
                    );
                }
                Role::Assistant => {
                    let next = self.messages.get(at + 1).filter(|next| next.role == Role::User);
                    results = next.map(tool_results).unwrap_or_default();
                    out.extend(assistant(message, dialect.single_calls, &mut results));
                }
            }
        }
        out
    }
}

fn tool_json(tool: &ToolSpec) -> Value {
    json!({
        "type": "function",
        "function": { "name": tool.name, "description": tool.description, "parameters": tool.input_schema },
    })
}

/// This format has three levels.
fn effort_word(effort: Effort) -> &'static str {
    match effort {
        Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High | Effort::Xhigh | Effort::Max => "high",
    }
}

fn tool_results(message: &Message) -> Vec<Value> {
    let results = message.content.iter().filter_map(|block| match block {
        ContentBlock::ToolResult { tool_use_id, content, is_error } => {
            let prefix = if *is_error { ERROR_PREFIX } else { "" };
            Some(json!({ "role": "tool", "tool_call_id": tool_use_id, "content": format!("{prefix}{content}") }))
        }
        _ => None,
    });
    results.collect()
}

/// The user's message: one text, which every server accepts, after the images, if any.
fn user_content(message: &Message, images: &Images) -> Option<Value> {
    let (mut parts, mut texts) = (Vec::new(), Vec::new());
    for block in &message.content {
        match block {
            ContentBlock::Text { text } => texts.push(text.clone()),
            ContentBlock::Image { id, media_type, name } => match images.get(id) {
                Some(data) => {
                    let url = format!("data:{media_type};base64,{data}");
                    parts.push(json!({ "type": "image_url", "image_url": { "url": url } }));
                }
                None => texts.push(images::left_out(name)),
            },
            _ => {}
        }
    }
    let text = texts.join("\n\n");
    if parts.is_empty() {
        return (!text.is_empty()).then(|| text.into());
    }
    if !text.is_empty() {
        parts.push(json!({ "type": "text", "text": text }));
    }
    Some(parts.into())
}

/// The model's message. Thinking is left out, because no such server accepts it. With `single_calls` each
/// call is a separate message, followed by its result.
fn assistant(message: &Message, single_calls: bool, results: &mut Vec<Value>) -> Vec<Value> {
    let text = message.text();
    let calls: Vec<Value> = message
        .content
        .iter()
        .filter_map(|block| match block {
            ContentBlock::ToolUse { id, name, input } => Some(json!({
                "id": id, "type": "function",
                "function": { "name": name, "arguments": Value::Object(input.clone()).to_string() },
            })),
            _ => None,
        })
        .collect();
    let content = if text.is_empty() && !calls.is_empty() { Value::Null } else { text.clone().into() };
    if calls.is_empty() {
        return if text.is_empty() { Vec::new() } else { vec![json!({ "role": "assistant", "content": content })] };
    }
    if !single_calls || calls.len() == 1 {
        return vec![json!({ "role": "assistant", "content": content, "tool_calls": calls })];
    }
    let mut out = Vec::new();
    for (at, call) in calls.into_iter().enumerate() {
        let content = if at == 0 { content.clone() } else { Value::Null };
        let result = results.iter().position(|result| result["tool_call_id"] == call["id"]);
        out.push(json!({ "role": "assistant", "content": content, "tool_calls": [call] }));
        out.extend(result.map(|at| results.remove(at)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Map;

    fn messages() -> Vec<Message> {
        let call = |id: &str| ContentBlock::ToolUse {
            id: id.into(),
            name: "read_file".into(),
            input: [("path".to_owned(), "a".into())].into_iter().collect(),
        };
        let result = |id: &str, is_error| ContentBlock::ToolResult {
            tool_use_id: id.into(),
            content: format!("of {id}"),
            is_error,
        };
        let thinking = ContentBlock::Thinking { thinking: "hm".into(), signature: "s".into(), extra: Map::new() };
        vec![
            Message::user(vec![ContentBlock::text("one"), ContentBlock::text("two")]),
            Message::assistant(vec![thinking, ContentBlock::text("Looking."), call("a"), call("b")], "m"),
            Message::user(vec![result("a", false), result("b", true), ContentBlock::text("go on")]),
        ]
    }

    fn body(dialect: Dialect) -> Value {
        let tools = [ToolSpec {
            name: "read_file",
            description: "Reads.",
            input_schema: json!({"type": "object"}),
            streams_input: true,
        }];
        let messages = messages();
        let request = Request {
            model: "local",
            max_tokens: 100,
            system: "be good",
            messages: &messages,
            images: &Images::default(),
            tools: &tools,
            effort: Some(Effort::Xhigh),
        };
        request.to_chat_json(dialect)
    }

    #[test]
    fn the_body_has_the_format_of_such_servers() {
        let arguments = r#"{"path":"a"}"#;
        let call =
            |id: &str| json!({"id": id, "type": "function", "function": {"name": "read_file", "arguments": arguments}});
        assert_eq!(
            body(Dialect::default()),
            json!({
                "model": "local",
                "stream": true,
                "max_tokens": 100,
                "stream_options": {"include_usage": true},
                "reasoning_effort": "high",
                "tools": [{"type": "function", "function": {"name": "read_file", "description": "Reads.", "parameters": {"type": "object"}}}],
                "messages": [
                    {"role": "system", "content": "be good"},
                    {"role": "user", "content": "one\n\ntwo"},
                    {"role": "assistant", "content": "Looking.", "tool_calls": [call("a"), call("b")]},
                    {"role": "tool", "tool_call_id": "a", "content": "of a"},
                    {"role": "tool", "tool_call_id": "b", "content": "Error: of b"},
                    {"role": "user", "content": "go on"},
                ],
            })
        );
    }

    #[test]
    fn an_error_changes_the_dialect() {
        let learnt = |said: &str| Dialect::default().learn(said).expect("something new");
        let other = body(learnt("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."));
        assert_eq!((&other["max_completion_tokens"], other.get("max_tokens")), (&json!(100), None));
        assert_eq!(body(learnt("extra fields not permitted: stream_options")).get("stream_options"), None);
        assert_eq!(body(learnt("Unrecognized request argument: reasoning_effort")).get("reasoning_effort"), None);

        let single = body(learnt("This model only supports single tool-calls at once!"));
        let roles: Vec<&str> =
            single["messages"].as_array().expect("messages").iter().filter_map(|m| m["role"].as_str()).collect();
        assert_eq!(roles, ["system", "user", "assistant", "tool", "assistant", "tool", "user"]);
        assert_eq!(single["messages"][3]["tool_call_id"], single["messages"][2]["tool_calls"][0]["id"]);
        assert_eq!(single["messages"][5]["tool_call_id"], "b");

        for beyond in [
            "'max_tokens' or 'max_completion_tokens' is too large: 32000. This model's maximum context length is 16384",
            "max_tokens is too large: 32000. This model supports at most 16384 completion tokens.",
            "maximum context length is 4096 tokens. However, you requested 33000 tokens (1000 in the messages, 32000 in the completion).",
        ] {
            let body = body(learnt(beyond));
            assert_eq!((body.get("max_tokens"), body.get("max_completion_tokens")), (None, None), "{beyond}");
        }

        for blind in [
            "Invalid content type. image_url is only supported by certain models.",
            "local is not a multimodal model",
            "image input is not supported - hint: you may need to provide the mmproj",
            "This model has no vision.",
        ] {
            assert!(learnt(blind).no_images, "{blind}");
        }
        assert_eq!(
            Dialect::default().learn("Could not process image: it is too large"),
            None,
            "another image may be accepted"
        );
        assert_eq!(Dialect::default().learn("the prompt is too long"), None);
        assert_eq!(learnt("no stream_options").learn("no stream_options"), None, "the dialect already has it");
    }
}
