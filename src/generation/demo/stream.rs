//! An answer as events of a stream, in small pieces, with pings in between.

use serde_json::{Value, json};

use super::DEMO_MODEL;
use super::acts::Part;

/// Number of pieces between pings.
const PING_EVERY: usize = 60;

/// Maximum characters in a piece of prose, which users read while it streams.
const PROSE_PIECE: usize = 7;

/// The serialized events. `piece`: characters of code in one event.
pub fn events(parts: &[Part], piece: usize) -> Vec<String> {
    let prose = piece.min(PROSE_PIECE);
    let mut events = Events { out: Vec::new(), pieces: 0 };
    let id = format!("msg_demo_{:016x}", rand::random::<u64>());
    // A script uses no tokens.
    let usage = json!({
        "input_tokens": 0, "output_tokens": 0,
        "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
    });
    events.push(json!({"type": "message_start", "message": {
        "id": id, "type": "message", "role": "assistant", "model": DEMO_MODEL, "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": usage,
    }}));
    events.push(json!({"type": "ping"}));
    let mut has_calls = false;
    for (index, part) in parts.iter().enumerate() {
        match part {
            Part::Text(text) => {
                events.start(index, &json!({"type": "text", "text": ""}));
                events.pieces(index, text, prose, |piece| json!({"type": "text_delta", "text": piece}));
            }
            Part::Call { name, input } => {
                has_calls = true;
                let id = format!("toolu_demo_{:016x}", rand::random::<u64>());
                events.start(index, &json!({"type": "tool_use", "id": id, "name": name, "input": {}}));
                events.pieces(index, input, piece, |piece| json!({"type": "input_json_delta", "partial_json": piece}));
            }
        }
        events.push(json!({"type": "content_block_stop", "index": index}));
    }
    let reason = if has_calls { "tool_use" } else { "end_turn" };
    events.push(json!({
        "type": "message_delta",
        "delta": {"stop_reason": reason, "stop_sequence": null},
        "usage": {"output_tokens": 0},
    }));
    events.push(json!({"type": "message_stop"}));
    events.out
}

struct Events {
    out: Vec<String>,
    pieces: usize,
}

impl Events {
    #[expect(clippy::needless_pass_by_value, reason = "events are made where they are pushed")]
    fn push(&mut self, event: Value) {
        let name = event["type"].as_str().unwrap_or_default();
        self.out.push(format!("event: {name}\ndata: {event}\n\n"));
    }

    fn start(&mut self, index: usize, block: &Value) {
        self.push(json!({"type": "content_block_start", "index": index, "content_block": block}));
    }

    fn delta(&mut self, index: usize, delta: &Value) {
        self.push(json!({"type": "content_block_delta", "index": index, "delta": delta}));
    }

    fn pieces(&mut self, index: usize, text: &str, size: usize, delta: impl Fn(&str) -> Value) {
        let mut rest = text;
        while !rest.is_empty() {
            let end = rest.char_indices().nth(size.max(1)).map_or(rest.len(), |(at, _)| at);
            self.delta(index, &delta(&rest[..end]));
            rest = &rest[end..];
            self.pieces += 1;
            if self.pieces.is_multiple_of(PING_EVERY) {
                self.push(json!({"type": "ping"}));
            }
        }
    }
}
