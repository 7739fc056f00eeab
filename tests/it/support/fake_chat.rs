//! The same play for an OpenAI-compatible server: answers written for the Messages API become its
//! chunks, one for each event, and its requests become the ones that the Messages API would have got.
//! So a script is written once, and what was asked is looked at in one form.

use serde_json::{Value, json};

/// Whether a request was made to such a server.
pub fn is_chat(line: &str) -> bool {
    line.ends_with("/chat/completions")
}

/// Events as chunks. Anything else stays unchanged.
pub fn events(events: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut state = Translation::default();
    let kind = |at: usize| events.get(at).and_then(|event: &Vec<u8>| read(event)).map(|event| event["type"].clone());
    let mut out = Vec::with_capacity(events.len());
    let mut held = Vec::new();
    for (at, event) in events.iter().enumerate() {
        let is_input = read(event).is_some_and(|event| event["delta"]["type"] == "input_json_delta");
        // A call is complete when its input is whole: here, at the end of its block, as over there.
        if is_input && kind(at + 1).is_some_and(|next| next == "content_block_stop") {
            held = state.event(event);
            out.push(NOTHING.as_bytes().to_vec());
        } else {
            let translated = state.event(event);
            out.push(if held.is_empty() { translated } else { std::mem::take(&mut held) });
        }
    }
    out
}

/// The data of an event.
fn read(bytes: &[u8]) -> Option<Value> {
    let text = String::from_utf8_lossy(bytes);
    let data = text.lines().find_map(|line| line.strip_prefix("data: "))?;
    serde_json::from_str(data).ok()
}

#[derive(Default)]
struct Translation {
    input: u64,
    cached: u64,
    /// The calls so far.
    calls: u64,
}

/// Default values of fields that this format does not have.
const NOTHING: &str = ": nothing\n\n";

impl Translation {
    fn event(&mut self, bytes: &[u8]) -> Vec<u8> {
        let Some(event) = read(bytes) else { return bytes.to_vec() };
        let chunks = match event["type"].as_str() {
            None => return bytes.to_vec(),
            Some("message_start") => {
                let usage = &event["message"]["usage"];
                let count = |key: &str| usage[key].as_u64().unwrap_or(0);
                self.cached = count("cache_read_input_tokens");
                self.input = count("input_tokens") + count("cache_creation_input_tokens") + self.cached;
                vec![delta(&json!({"role": "assistant", "content": ""}))]
            }
            Some("content_block_start") => self.block(&event["content_block"]),
            Some("content_block_delta") => self.delta(&event["delta"]),
            Some("message_delta") => self.stop(&event),
            Some("message_stop") => vec!["data: [DONE]\n\n".to_owned()],
            Some("error") => vec![chunk(&json!({"error": event["error"]}))],
            Some("weather") => vec![chunk(&json!({"object": "weather", "rain": true}))],
            Some(_) => vec![NOTHING.to_owned()],
        };
        chunks.concat().into_bytes()
    }

    fn block(&mut self, block: &Value) -> Vec<String> {
        if block["type"] != "tool_use" {
            return vec![NOTHING.to_owned()];
        }
        self.calls += 1;
        let call = json!({"index": self.calls - 1, "id": block["id"], "type": "function",
            "function": {"name": block["name"], "arguments": ""}});
        vec![delta(&json!({"tool_calls": [call]}))]
    }

    fn delta(&self, from: &Value) -> Vec<String> {
        let to = match from["type"].as_str() {
            Some("text_delta") => json!({"content": from["text"]}),
            Some("thinking_delta") => json!({"reasoning_content": from["thinking"]}),
            Some("input_json_delta") => {
                let call =
                    json!({"index": self.calls.saturating_sub(1), "function": {"arguments": from["partial_json"]}});
                json!({"tool_calls": [call]})
            }
            _ => return vec![NOTHING.to_owned()],
        };
        vec![delta(&to)]
    }

    fn stop(&self, event: &Value) -> Vec<String> {
        let mut chunks = Vec::new();
        let reason = match event["delta"]["stop_reason"].as_str() {
            Some("tool_use") => "tool_calls",
            Some("max_tokens") => "length",
            Some("refusal") => {
                chunks.push(delta(&json!({"refusal": event["delta"]["stop_details"]["explanation"]})));
                "stop"
            }
            // This format has no such stop reason: such servers report an error.
            Some("model_context_window_exceeded") => {
                let message = "This model's maximum context length is 100 tokens.";
                return vec![chunk(&json!({"error": {"message": message, "code": "context_length_exceeded"}}))];
            }
            _ => "stop",
        };
        chunks.push(chunk(&json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})));
        let usage = json!({"prompt_tokens": self.input, "completion_tokens": event["usage"]["output_tokens"],
            "prompt_tokens_details": {"cached_tokens": self.cached}});
        chunks.push(chunk(&json!({"choices": [], "usage": usage})));
        chunks
    }
}

fn delta(delta: &Value) -> String {
    chunk(&json!({"choices": [{"index": 0, "delta": delta, "finish_reason": null}]}))
}

fn chunk(data: &Value) -> String {
    format!("data: {data}\n\n")
}

/// An error's body as such a server has it.
pub fn error_body(body: &str) -> String {
    let Ok(mut value) = serde_json::from_str::<Value>(body) else { return body.to_owned() };
    if value["error"]["details"]["error_code"] == "enforced_spend_limit_reached" {
        value["error"] =
            json!({"message": value["error"]["message"], "type": "insufficient_quota", "code": "insufficient_quota"});
    }
    json!({"error": value["error"]}).to_string()
}

/// The request, converted to the format of the Messages API.
pub fn request(body: &Value) -> Value {
    let (mut system, mut messages) = (Value::Null, Vec::<Value>::new());
    for message in body["messages"].as_array().into_iter().flatten() {
        let (role, content) = match message["role"].as_str() {
            Some("system") => {
                system = json!([{"type": "text", "text": message["content"]}]);
                continue;
            }
            Some("assistant") => ("assistant", said(message)),
            Some("tool") => ("user", vec![result(message)]),
            _ => ("user", parts(&message["content"])),
        };
        match messages.last_mut() {
            Some(last) if last["role"] == role => {
                last["content"].as_array_mut().expect("made below").extend(content);
            }
            _ => messages.push(json!({"role": role, "content": content})),
        }
    }
    let tools = body["tools"].as_array().into_iter().flatten();
    let tools: Vec<Value> = tools.map(|tool| json!({"name": tool["function"]["name"]})).collect();
    let mut out = json!({"model": body["model"], "max_tokens": body["max_tokens"], "stream": body["stream"],
        "system": system, "messages": messages, "tools": tools});
    if let Some(effort) = body.get("reasoning_effort") {
        out["output_config"] = json!({ "effort": effort });
    }
    out
}

fn said(message: &Value) -> Vec<Value> {
    let mut blocks = parts(&message["content"]);
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        let arguments = call["function"]["arguments"].as_str().expect("arguments are text");
        let input: Value = serde_json::from_str(arguments).expect("arguments are JSON");
        blocks.push(json!({"type": "tool_use", "id": call["id"], "name": call["function"]["name"], "input": input}));
    }
    blocks
}

fn parts(content: &Value) -> Vec<Value> {
    match content {
        Value::String(text) => vec![json!({"type": "text", "text": text})],
        Value::Array(parts) => parts.iter().map(part).collect(),
        _ => Vec::new(),
    }
}

fn part(part: &Value) -> Value {
    let Some(url) = part["image_url"]["url"].as_str() else { return part.clone() };
    let (kind, data) = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")).expect("a data URL");
    json!({"type": "image", "source": {"type": "base64", "media_type": kind, "data": data}})
}

fn result(message: &Value) -> Value {
    let content = message["content"].as_str().expect("a result is text");
    let (content, is_error) = content.strip_prefix("Error: ").map_or((content, false), |rest| (rest, true));
    let mut result = json!({"type": "tool_result", "tool_use_id": message["tool_call_id"], "content": content});
    if is_error {
        result["is_error"] = true.into();
    }
    result
}
