//! The JSON of a request, with the provider's cache points.

use serde_json::{Value, json};

use super::images::{self, Images};
use super::message::{ContentBlock, Message, Role};
use crate::domain::Effort;

/// The specification of a tool.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolSpec {
    /// Its name.
    pub name: &'static str,
    /// When and how to use it.
    pub description: &'static str,
    /// JSON schema of its input.
    pub input_schema: Value,
    /// Its input is streamed while it is written, unvalidated.
    pub streams_input: bool,
}

impl ToolSpec {
    fn to_json(&self) -> Value {
        let mut tool = json!({ "name": self.name, "description": self.description, "input_schema": self.input_schema });
        if self.streams_input {
            tool["eager_input_streaming"] = true.into();
        }
        tool
    }
}

/// One request.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The model.
    pub model: &'a str,
    /// Maximum tokens of the answer, including thinking.
    pub max_tokens: u32,
    /// The system prompt, which is the same in the whole conversation.
    pub system: &'a str,
    /// The conversation, the user first.
    pub messages: &'a [Message],
    /// The images that the messages refer to.
    pub images: &'a Images,
    /// The available tools.
    pub tools: &'a [ToolSpec],
    /// How much the model thinks; `None`: the model's default.
    pub effort: Option<Effort>,
}

impl Request<'_> {
    /// The body to send.
    ///
    /// Cache points: the end of the system prompt (tools come before it and are covered), and the
    /// end of the last two user messages. The next request reads the cache of the last one; this
    /// request reads that of the one before, regardless of the number of blocks in between.
    pub fn to_json(&self) -> Value {
        let mut body = json!({
            "model": self.model,
            "max_tokens": self.max_tokens,
            "stream": true,
            "system": [{ "type": "text", "text": self.system, "cache_control": { "type": "ephemeral" } }],
            "messages": self.messages_json(),
            // Without a summary, thinking between tool calls would be empty.
            "thinking": { "type": "adaptive", "display": "summarized" },
        });
        if !self.tools.is_empty() {
            body["tools"] = self.tools.iter().map(ToolSpec::to_json).collect();
        }
        if let Some(effort) = self.effort {
            body["output_config"] = json!({ "effort": effort });
        }
        body
    }

    fn block_json(&self, block: &ContentBlock) -> Value {
        let mut json = match block {
            ContentBlock::Image { id, media_type, name } => match self.images.get(id) {
                Some(data) => {
                    json!({ "type": "image", "source": { "type": "base64", "media_type": media_type, "data": data } })
                }
                None => json!({ "type": "text", "text": images::left_out(name) }),
            },
            other => json!(other),
        };
        let id = match block {
            ContentBlock::ToolUse { .. } => "id",
            ContentBlock::ToolResult { .. } => "tool_use_id",
            _ => return json,
        };
        // Earlier ids, of a provider that allows other characters in them.
        let is_taken = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if let Some(given) = json[id].as_str().filter(|given| !given.chars().all(is_taken)) {
            json[id] = given.replace(|c| !is_taken(c), "_").into();
        }
        json
    }

    fn messages_json(&self) -> Vec<Value> {
        let content =
            |message: &Message| message.content.iter().map(|block| self.block_json(block)).collect::<Vec<Value>>();
        let mut messages: Vec<Value> =
            self.messages.iter().map(|message| json!({ "role": message.role, "content": content(message) })).collect();
        let users = self.messages.iter().enumerate().rev().filter(|(_, message)| message.role == Role::User);
        for (at, _) in users.take(2) {
            if let Some(block) = messages[at]["content"].as_array_mut().and_then(|blocks| blocks.last_mut()) {
                block["cache_control"] = json!({ "type": "ephemeral" });
            }
        }
        messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_has_three_cache_points_and_no_forbidden_fields() {
        let messages = [
            Message::user(vec![ContentBlock::text("one")]),
            Message::assistant(vec![ContentBlock::text("two")], "m"),
            Message::user(vec![ContentBlock::text("three")]),
            Message::assistant(vec![ContentBlock::text("four")], "m"),
            Message::user(vec![ContentBlock::text("five"), ContentBlock::text("six")]),
        ];
        let tools = [ToolSpec {
            name: "write_file",
            description: "Writes.",
            input_schema: json!({"type": "object"}),
            streams_input: true,
        }];
        let request = Request {
            model: "m",
            max_tokens: 100,
            system: "be good",
            messages: &messages,
            images: &Images::default(),
            tools: &tools,
            effort: Some(Effort::Xhigh),
        };
        let body = request.to_json();
        let point = json!({"type": "ephemeral"});
        assert_eq!(body["system"][0]["cache_control"], point);
        assert_eq!(body["messages"][2]["content"][0]["cache_control"], point);
        assert_eq!(body["messages"][4]["content"][1]["cache_control"], point);
        assert_eq!(body.to_string().matches("cache_control").count(), 3);
        assert_eq!(body["tools"][0]["eager_input_streaming"], true);
        assert_eq!(body["output_config"], json!({"effort": "xhigh"}));
        assert_eq!(body["thinking"], json!({"type": "adaptive", "display": "summarized"}));
        assert_eq!(body["stream"], true);
        assert_eq!(body["messages"][1], json!({"role": "assistant", "content": [{"type": "text", "text": "two"}]}));
        for forbidden in ["temperature", "top_p", "top_k", "tool_choice"] {
            assert!(body.get(forbidden).is_none(), "{forbidden}");
        }
    }

    #[test]
    fn calls_of_another_provider_keep_their_results() {
        let call = ContentBlock::ToolUse {
            id: "functions.list_files:0".into(),
            name: "list_files".into(),
            input: serde_json::Map::new(),
        };
        let result = ContentBlock::ToolResult {
            tool_use_id: "functions.list_files:0".into(),
            content: "none".into(),
            is_error: false,
        };
        let messages = [Message::assistant(vec![call], "m"), Message::user(vec![result])];
        let request = Request {
            model: "m",
            max_tokens: 1,
            system: "s",
            messages: &messages,
            images: &Images::default(),
            tools: &[],
            effort: None,
        };
        let messages = &request.to_json()["messages"];
        assert_eq!(messages[0]["content"][0]["id"], "functions_list_files_0");
        assert_eq!(messages[1]["content"][0]["tool_use_id"], "functions_list_files_0");
    }

    #[test]
    fn existing_images_are_sent_and_others_named() {
        let image =
            |id: &str| ContentBlock::Image { id: id.into(), media_type: "image/png".into(), name: "a.png".into() };
        let messages = [Message::user(vec![image("1"), image("2"), ContentBlock::text("like this")])];
        let images: Images = [("1".to_owned(), b"abc")].into_iter().collect();
        let request = Request {
            model: "m",
            max_tokens: 1,
            system: "s",
            messages: &messages,
            images: &images,
            tools: &[],
            effort: None,
        };
        let content = &request.to_json()["messages"][0]["content"];
        assert_eq!(content[0]["source"], json!({"type": "base64", "media_type": "image/png", "data": "YWJj"}));
        assert_eq!(content[1]["text"], images::left_out("a.png"));
        let content = &request.to_chat_json(crate::generation::wire::Dialect::default())["messages"][1]["content"];
        assert_eq!(content[0]["image_url"]["url"], "data:image/png;base64,YWJj");
        assert_eq!(content[1], json!({"type": "text", "text": format!("{}\n\nlike this", images::left_out("a.png"))}));
    }
}
