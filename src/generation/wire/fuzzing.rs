//! Invariants of the parsers for arbitrary bytes; each function panics if one is violated.
//!
//! `fuzz/` runs them in a fuzzer. The tests below run them on some thousand inputs:
//! noise, and damaged recordings.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::chat_stream::ChatAssembler;
use super::partial_json::{FieldExtractor, PartialJsonError, Piece};
use super::reader::Reader;
use super::sse::SseParser;
use super::stream::{ANSWER_MAX, AnswerBlock, Assembler, BLOCKS_MAX, StopReason, StreamItem, WireUsage};
use crate::domain::attachment;

/// A stream of the Messages API.
pub fn messages_stream(data: &[u8]) {
    stream(data, || Reader::Messages(Assembler::default()));
}

/// A stream of an OpenAI-compatible server.
pub fn chat_stream(data: &[u8]) {
    stream(data, || Reader::Chat(ChatAssembler::new(100, "abcdef")));
}

/// The result of a stream.
#[derive(Debug, PartialEq)]
struct Outcome {
    items: Vec<StreamItem>,
    blocks: Vec<AnswerBlock>,
    usage: WireUsage,
    stop: Option<StopReason>,
    /// The error that ended it.
    error: Option<String>,
}

/// The result does not depend on how the bytes are split, and its size is bounded by theirs. The first bytes choose the splits.
fn stream(data: &[u8], reader: impl Fn() -> Reader) {
    let (seeds, bytes) = data.split_at(data.len().min(4));
    let whole = read(&[bytes], reader());
    let sizes: Vec<usize> = seeds.iter().map(|seed| usize::from(*seed) + 1).collect();
    for pieces in [parts(bytes, &sizes), bytes.chunks(1).collect()] {
        assert_eq!(read(&pieces, reader()), whole, "split as {sizes:?}");
    }
    let kept: usize = whole.blocks.iter().map(size).sum();
    // Invalid UTF-8 becomes a character of three bytes; generated ids have nine bytes; arguments that arrive as JSON are
    // serialized again, which may make a number longer.
    let most = 32 * bytes.len() + 64;
    assert!(kept <= most.min(ANSWER_MAX + most), "{kept} bytes are stored of {}", bytes.len());
    assert!(whole.blocks.len() <= BLOCKS_MAX);
    let ended = |item: &StreamItem| matches!(item, StreamItem::ToolEnded { .. });
    let calls = whole.blocks.iter().filter(|block| matches!(block, AnswerBlock::Call { ended: true, .. })).count();
    if whole.error.is_none() {
        assert_eq!(whole.items.iter().filter(|item| ended(item)).count(), calls, "each call ends once");
    }
}

fn size(block: &AnswerBlock) -> usize {
    match block {
        AnswerBlock::Content(block) => block.size(),
        AnswerBlock::Call { call, .. } => call.id.len() + call.name.len() + call.json.len(),
    }
}

/// The bytes in pieces of these sizes, repeatedly.
fn parts<'a>(mut bytes: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    for size in sizes.iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        let (part, rest) = bytes.split_at((*size).min(bytes.len()));
        parts.push(part);
        bytes = rest;
    }
    parts
}

fn read(pieces: &[&[u8]], mut reader: Reader) -> Outcome {
    let (mut parser, mut events, mut items) = (SseParser::default(), Vec::new(), Vec::new());
    let mut error = None;
    'all: for piece in pieces {
        let read = parser.push(piece, &mut events);
        for event in events.drain(..) {
            if let Err(refused) = reader.push(&event, &mut items) {
                error = Some(refused.to_string());
                break 'all;
            }
        }
        if let Err(refused) = read {
            error = Some(refused.to_string());
            break;
        }
    }
    if error.is_none() {
        reader.end(&mut items);
    }
    Outcome { blocks: reader.blocks(), usage: reader.usage(), stop: reader.stop_reason().cloned(), items, error }
}

const FIELDS: &[&str] = &["path", "content"];

/// Partial JSON: the result does not depend on splits, and equals that of a real parser if the text is an object.
pub fn partial_json(data: &[u8]) {
    let (seeds, bytes) = data.split_at(data.len().min(4));
    let text = String::from_utf8_lossy(bytes);
    let whole = fields(&[&text]);
    let sizes: Vec<usize> = seeds.iter().map(|seed| usize::from(*seed) + 1).collect();
    let characters: Vec<&str> = text.split_inclusive(|_: char| true).collect();
    let mut grouped = Vec::new();
    let mut rest = characters.as_slice();
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (part, after) = rest.split_at((*size).min(rest.len()));
        grouped.push(part.concat());
        rest = after;
    }
    assert_eq!(fields(&grouped.iter().map(String::as_str).collect::<Vec<_>>()), whole);
    assert_eq!(fields(&characters), whole);
    let given: usize = whole.0.values().map(|(text, _)| text.len()).sum();
    assert!(given <= text.len(), "the output is longer than the input");

    let Ok(parsed) = serde_json::from_str::<Map<String, Value>>(&text) else { return };
    match whole.1 {
        // A real parser accepts repeated fields and deeper nesting, this one does not.
        Some(PartialJsonError::Twice | PartialJsonError::TooDeep) => {}
        Some(error) => panic!("{error} in valid JSON"),
        None => {
            for field in FIELDS {
                let expected = parsed.get(*field).and_then(Value::as_str);
                let found = whole.0.get(field).map(|(text, is_whole)| {
                    assert!(is_whole, "{field} has an end");
                    text.as_str()
                });
                assert_eq!(found, expected, "{field}");
            }
        }
    }
}

/// The text of each field, whether it is complete, and the error that ended it.
type Fields = (BTreeMap<&'static str, (String, bool)>, Option<PartialJsonError>);

fn fields(pieces: &[&str]) -> Fields {
    let (mut extractor, mut found) = (FieldExtractor::new(FIELDS), Vec::new());
    let error = pieces.iter().find_map(|piece| extractor.push(piece, &mut found).err());
    let mut texts = BTreeMap::<&'static str, (String, bool)>::new();
    for piece in found {
        match piece {
            Piece::Text(field, text) => texts.entry(field).or_default().0.push_str(&text),
            Piece::End(field) => texts.entry(field).or_default().1 = true,
        }
    }
    (texts, error)
}

/// Attached bytes: recognised or rejected.
pub fn attached(data: &[u8]) {
    if let Ok((kind, size)) = attachment::recognise(data) {
        assert_eq!(kind.is_image(), size.is_some());
        assert!(size.is_none_or(|(width, height)| width.max(height) <= attachment::IMAGE_SIDE_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng};

    /// Tokens of streams and texts, for noise that reaches deeper code than random bytes.
    const WORDS: &[&str] = &[
        "data: ",
        "event: error\n",
        "\n",
        "\r\n",
        "\n\n",
        "\r",
        ":",
        " ",
        "\u{feff}",
        "[DONE]",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "\\",
        "\\u",
        "\\ud83d",
        "\\ude00",
        "\\n",
        ",",
        "null",
        "true",
        "1e308",
        "-0",
        "1.5",
        "\"type\":",
        "\"index\":0",
        "\"message_start\"",
        "\"content_block_start\"",
        "\"content_block_delta\"",
        "\"content_block_stop\"",
        "\"message_delta\"",
        "\"message_stop\"",
        "\"tool_use\"",
        "\"text_delta\"",
        "\"input_json_delta\"",
        "\"choices\":[",
        "\"delta\":{",
        "\"tool_calls\":[",
        "\"function\":{",
        "\"name\":\"a\"",
        "\"arguments\":",
        "\"finish_reason\":\"stop\"",
        "\"usage\":{\"prompt_tokens\":3}",
        "\"error\":",
        "\"path\":",
        "\"content\":",
        "é",
        "🎉",
        "\0",
    ];

    fn noise(random: &mut StdRng) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..random.random_range(0..60) {
            if random.random_ratio(1, 8) {
                bytes.push(random.random());
            } else {
                bytes.extend_from_slice(WORDS[random.random_range(0..WORDS.len())].as_bytes());
            }
        }
        bytes
    }

    /// A recorded input with some bytes changed, duplicated, removed, or truncated.
    fn damaged(recorded: &[u8], random: &mut StdRng) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..4).map(|_| random.random()).collect();
        bytes.extend_from_slice(recorded);
        for _ in 0..random.random_range(0..6) {
            let at = random.random_range(0..bytes.len());
            let to = bytes.len().min(at + random.random_range(1..40));
            match random.random_range(0..5) {
                0 => bytes[at] = random.random(),
                1 => bytes.truncate(at.max(5)),
                2 => drop(bytes.drain(at..to.max(at)).collect::<Vec<_>>()),
                3 => {
                    let part = bytes[at..to].to_vec();
                    bytes.splice(at..at, part);
                }
                _ => {
                    let word = WORDS[random.random_range(0..WORDS.len())];
                    bytes.splice(at..at, word.bytes());
                }
            }
            if bytes.is_empty() {
                bytes.push(0);
            }
        }
        bytes
    }

    fn thousands(property: fn(&[u8]), recorded: &[&str]) {
        let mut random = StdRng::seed_from_u64(7);
        for _ in 0..2_000 {
            property(&noise(&mut random));
            property(&damaged(recorded[random.random_range(0..recorded.len())].as_bytes(), &mut random));
        }
    }

    const MESSAGES: &str = include_str!("../../../fuzz/seeds/messages_stream/turn.txt");
    const CHAT: &[&str] = &[
        include_str!("../../../fuzz/seeds/chat_stream/turn.txt"),
        include_str!("../../../fuzz/seeds/chat_stream/dialects.txt"),
    ];
    const JSON: &str = include_str!("../../../fuzz/seeds/partial_json/write_file.txt");

    #[test]
    fn any_messages_stream_reads_the_same_at_every_split() {
        thousands(messages_stream, &[MESSAGES]);
    }

    #[test]
    fn any_chat_stream_reads_the_same_at_every_split() {
        thousands(chat_stream, CHAT);
    }

    #[test]
    fn any_partial_json_is_read_like_a_real_parser_does() {
        thousands(partial_json, &[JSON]);
    }

    #[test]
    fn any_bytes_are_recognised_or_rejected() {
        let jpeg = "\u{ff}\u{d8}\u{ff}\u{e0}";
        thousands(attached, &["GIF89a\u{10}\0\u{20}\u{1}", "RIFF\0\0\0\0WEBPVP8X\0\0\0\0\0\0\0\0cc\0\u{31}\0\0", jpeg]);
        let mut random = StdRng::seed_from_u64(9);
        for _ in 0..4_000 {
            let mut bytes = b"\xff\xd8\xff".to_vec();
            bytes.extend(
                (0..random.random_range(0..40)).map(|_| if random.random() { 0xff } else { random.random::<u8>() }),
            );
            attached(&bytes);
        }
    }

    #[test]
    fn the_seeds_are_valid() {
        // If they were invalid, the fuzzer would start from nothing.
        for (seed, reader) in [
            (MESSAGES, Reader::Messages(Assembler::default())),
            (CHAT[0], Reader::Chat(ChatAssembler::new(1, "abcdef"))),
            (CHAT[1], Reader::Chat(ChatAssembler::new(1, "abcdef"))),
        ] {
            let outcome = read(&[&seed.as_bytes()[4..]], reader);
            assert_eq!((outcome.error, outcome.stop), (None, Some(StopReason::ToolUse)));
            assert!(outcome.blocks.iter().any(|block| matches!(block, AnswerBlock::Call { ended: true, .. })));
        }
        let (texts, error) = fields(&[&JSON[4..]]);
        assert_eq!((error, texts.len()), (None, 2));
    }
}
