//! A parser of server-sent events; the bytes may be split anywhere.
//!
//! Independent of the content of events. Memory is bounded: a line or an event
//! beyond its limit is a permanent error.

/// Maximum length of a line in bytes.
pub const LINE_MAX: usize = 1024 * 1024;
/// Maximum size of an event (all its data lines) in bytes.
pub const EVENT_MAX: usize = 2 * 1024 * 1024;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SseEvent {
    /// Its name; `message` if the stream contains none.
    pub name: String,
    /// Its data lines, joined by newlines.
    pub data: String,
}

/// A permanent error of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    /// A line beyond [`LINE_MAX`].
    #[error("a line of the stream is longer than {LINE_MAX} bytes")]
    LineTooLong,
    /// An event beyond [`EVENT_MAX`].
    #[error("an event of the stream is larger than {EVENT_MAX} bytes")]
    EventTooLarge,
}

/// Parses bytes into events.
#[derive(Debug, Default)]
pub struct SseParser {
    line: Vec<u8>,
    name: String,
    data: String,
    has_data: bool,
    /// The last byte was a CR, so a following LF belongs to it.
    after_cr: bool,
    /// A line was read, so no byte order mark can follow.
    begun: bool,
    broken: Option<SseError>,
}

impl SseParser {
    /// Reads more bytes and appends complete events.
    pub fn push(&mut self, bytes: &[u8], events: &mut Vec<SseEvent>) -> Result<(), SseError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        self.read(bytes, events).inspect_err(|error| {
            self.broken = Some(*error);
            self.line = Vec::new();
            self.data = String::new();
        })
    }

    fn read(&mut self, mut bytes: &[u8], events: &mut Vec<SseEvent>) -> Result<(), SseError> {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_cr) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let part = &bytes[..end.unwrap_or(bytes.len())];
            if self.line.len() + part.len() > LINE_MAX {
                return Err(SseError::LineTooLong);
            }
            self.line.extend_from_slice(part);
            let Some(end) = end else { return Ok(()) };
            self.after_cr = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            self.end_line(events)?;
        }
        Ok(())
    }

    fn end_line(&mut self, events: &mut Vec<SseEvent>) -> Result<(), SseError> {
        let line = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&line);
        let mut text: &str = &text;
        if !std::mem::replace(&mut self.begun, true) {
            text = text.strip_prefix('\u{feff}').unwrap_or(text);
        }
        if text.is_empty() {
            self.dispatch(events);
        } else {
            let (field, value) = text.split_once(':').unwrap_or((text, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut self.name),
                "data" => {
                    if self.data.len() + value.len() + 1 > EVENT_MAX {
                        return Err(SseError::EventTooLarge);
                    }
                    if std::mem::replace(&mut self.has_data, true) {
                        self.data.push('\n');
                    }
                    self.data.push_str(value);
                }
                // Comments (an empty field), ids and retry times are ignored.
                _ => {}
            }
        }
        // Keep the buffer's memory for the next line, unless the line was unusually long.
        if line.capacity() <= 64 * 1024 {
            self.line = line;
            self.line.clear();
        }
        Ok(())
    }

    fn dispatch(&mut self, events: &mut Vec<SseEvent>) {
        let name = std::mem::take(&mut self.name);
        let data = std::mem::take(&mut self.data);
        if std::mem::take(&mut self.has_data) {
            events.push(SseEvent { name: if name.is_empty() { "message".into() } else { name }, data });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(chunks: &[&[u8]]) -> Vec<SseEvent> {
        let (mut parser, mut events) = (SseParser::default(), Vec::new());
        for chunk in chunks {
            parser.push(chunk, &mut events).unwrap();
        }
        events
    }

    fn event(name: &str, data: &str) -> SseEvent {
        SseEvent { name: name.into(), data: data.into() }
    }

    const STREAM: &str = "\u{feff}event: a\r\ndata: één\r\n\r\n: comment\n\nevent:b\ndata: 1\ndata:\ndata:  2\nid: 7\n\n\
                          data: 日本🎉\r\rnonsense\ndata\n\nevent: lost\ndata: never ended\n";

    #[test]
    fn every_split_reads_the_same() {
        let whole = parse(&[STREAM.as_bytes()]);
        assert_eq!(whole, [event("a", "één"), event("b", "1\n\n 2"), event("message", "日本🎉"), event("message", "")]);
        let bytes = STREAM.as_bytes();
        for first in 0..=bytes.len() {
            assert_eq!(parse(&[&bytes[..first], &bytes[first..]]), whole, "split at {first}");
            for second in first..=bytes.len() {
                assert_eq!(parse(&[&bytes[..first], &bytes[first..second], &bytes[second..]]), whole);
            }
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(parse(&single), whole);
    }

    #[test]
    fn invalid_utf8_does_not_stop_the_parser() {
        assert_eq!(parse(&[b"data: a\xff\xfeb\n\n"]), [event("message", "a\u{fffd}\u{fffd}b")]);
    }

    #[test]
    fn endless_lines_and_events_are_a_permanent_error() {
        let mut parser = SseParser::default();
        let mut events = Vec::new();
        let chunk = vec![b'x'; LINE_MAX / 2 + 1];
        assert_eq!(parser.push(&chunk, &mut events), Ok(()));
        assert_eq!(parser.push(&chunk, &mut events), Err(SseError::LineTooLong));
        assert_eq!(parser.push(b"\n\ndata: x\n\n", &mut events), Err(SseError::LineTooLong));

        let mut parser = SseParser::default();
        let line = [b"data:", vec![b'y'; LINE_MAX / 2].as_slice(), b"\n"].concat();
        let outcome = (0..8).find_map(|_| parser.push(&line, &mut events).err());
        assert_eq!(outcome, Some(SseError::EventTooLarge));
        assert_eq!(events, []);
    }
}
