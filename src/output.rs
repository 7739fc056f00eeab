//! The output of one build, check or run, limited in lines and bytes.
//!
//! The first part is forwarded line by line, so that a user can follow it. Of the rest, only the last part is kept and
//! forwarded at the end, because the last lines explain a failure; a line in between says how much was left out. A slow
//! sink slows down the program that writes the output, so that nothing accumulates here.

pub mod level;
pub mod lines;
pub mod needle;
pub mod outage;
pub mod window;

use std::collections::VecDeque;

use futures_util::future::BoxFuture;

/// Maximum number of lines of one output that are kept.
pub const LINES_MAX: usize = 10_000;
/// Maximum number of bytes of one output that are kept, including line breaks.
pub const BYTES_MAX: usize = 1024 * 1024;
/// Lines of these that are reserved for the end of the output.
const TAIL_LINES: usize = 2_000;
/// Bytes of these that are reserved for the end of the output.
const TAIL_BYTES: usize = 256 * 1024;

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When it was written; none if the source does not say it.
    pub at: Option<jiff::Timestamp>,
    /// The text as the program wrote it, without its end.
    pub text: String,
}

impl LogLine {
    /// Identifies a line of one log, over all readers: the nanoseconds of its time.
    pub fn id(&self) -> Option<i64> {
        self.at.and_then(|at| i64::try_from(at.as_nanosecond()).ok())
    }
}

/// Takes lines one by one. The caller waits until each line is taken.
pub trait LineSink: Send + Sync {
    /// Takes a line.
    fn line(&self, line: String) -> BoxFuture<'_, ()>;
}

/// A function as a sink. It takes each line at once.
impl<F: Fn(String) + Send + Sync> LineSink for F {
    fn line(&self, line: String) -> BoxFuture<'_, ()> {
        self(line);
        Box::pin(std::future::ready(()))
    }
}

/// A sink that drops all lines.
#[derive(Debug, Clone, Copy)]
pub struct Discard;

impl LineSink for Discard {
    fn line(&self, _: String) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// A line whose length counts.
pub trait Line {
    /// Bytes of its text.
    fn bytes(&self) -> usize;
}

impl Line for String {
    fn bytes(&self) -> usize {
        self.len()
    }
}

impl Line for LogLine {
    fn bytes(&self) -> usize {
        self.text.len()
    }
}

/// The last lines and bytes of a text of unknown length.
#[derive(Debug)]
pub struct Tail<L = String> {
    lines: VecDeque<L>,
    bytes: usize,
    lines_max: usize,
    bytes_max: usize,
    /// Number of lines and bytes that were dropped.
    dropped: (u64, u64),
}

impl<L: Line> Tail<L> {
    /// Keeps at most this many lines and bytes, including line breaks.
    pub fn new(lines_max: usize, bytes_max: usize) -> Self {
        Self { lines: VecDeque::new(), bytes: 0, lines_max, bytes_max, dropped: (0, 0) }
    }

    /// Adds a line, and drops the oldest ones beyond the limits.
    pub fn push(&mut self, line: L) {
        self.bytes += line.bytes() + 1;
        self.lines.push_back(line);
        while self.lines.len() > self.lines_max || self.bytes > self.bytes_max {
            let Some(first) = self.lines.pop_front() else { return };
            self.bytes -= first.bytes() + 1;
            self.dropped.0 += 1;
            self.dropped.1 += first.bytes() as u64 + 1;
        }
    }

    /// The kept lines, oldest first.
    pub fn into_lines(self) -> Vec<L> {
        self.lines.into()
    }
}

/// Limits one output and forwards it to its sink.
pub struct Bounded<'a> {
    sink: &'a dyn LineSink,
    lines: usize,
    bytes: usize,
    /// The output after the first part; none while the first part has room.
    rest: Option<Tail>,
    /// Whether an unknown amount of the output was lost before it arrived here.
    has_gap: bool,
}

impl<'a> Bounded<'a> {
    /// Starts with an empty output.
    pub fn new(sink: &'a dyn LineSink) -> Self {
        Self { sink, lines: 0, bytes: 0, rest: None, has_gap: false }
    }

    /// Takes the next line, and waits until it is forwarded or kept.
    pub async fn line(&mut self, line: String) {
        if let Some(rest) = &mut self.rest {
            return rest.push(line);
        }
        let (lines, bytes) = (self.lines + 1, self.bytes + line.len() + 1);
        if lines <= LINES_MAX - TAIL_LINES && bytes <= BYTES_MAX - TAIL_BYTES {
            (self.lines, self.bytes) = (lines, bytes);
            return self.sink.line(line).await;
        }
        let mut rest = Tail::new(TAIL_LINES, TAIL_BYTES);
        rest.push(line);
        self.rest = Some(rest);
        let notice =
            format!("[This output is long. Of the rest, the last {TAIL_LINES} lines follow when it has ended.]");
        self.sink.line(notice).await;
    }

    /// Notes that lines before the next one may be missing, because their source dropped them before they were read.
    pub fn gap(&mut self) {
        self.has_gap = true;
    }

    /// Ends the output: forwards how much was left out, and the last part. A second call does nothing.
    pub async fn end(&mut self) {
        let Some(rest) = self.rest.take() else { return };
        if rest.dropped.0 > 0 {
            self.sink.line(left_out(rest.dropped, self.has_gap)).await;
        }
        for line in rest.into_lines() {
            self.sink.line(line).await;
        }
        // Lines after the end are treated like lines after the first part.
        (self.lines, self.bytes) = (LINES_MAX, BYTES_MAX);
    }
}

fn left_out((lines, bytes): (u64, u64), has_gap: bool) -> String {
    let least = if has_gap { "At least " } else { "" };
    format!("[{least}{lines} lines ({bytes} bytes) are left out here.]")
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    async fn kept(lines: impl Iterator<Item = String>) -> Vec<String> {
        let seen = Mutex::new(Vec::new());
        let sink = |line: String| seen.lock().expect("no panic").push(line);
        let mut output = Bounded::new(&sink);
        for line in lines {
            output.line(line).await;
        }
        output.end().await;
        output.end().await;
        seen.into_inner().expect("no panic")
    }

    #[tokio::test]
    async fn what_fits_is_kept_whole() {
        let lines: Vec<String> = (0..LINES_MAX).map(|number| number.to_string()).collect();
        let mut seen = kept(lines.clone().into_iter()).await;
        let notice = seen.remove(LINES_MAX - TAIL_LINES);
        assert!(notice.contains("This output is long"), "{notice}");
        assert_eq!(seen, lines, "nothing is left out");
        assert_eq!(kept(["a".to_owned()].into_iter()).await, ["a"]);
    }

    #[tokio::test]
    async fn of_a_long_output_the_first_and_the_last_part_are_kept() {
        let seen = kept((0..100_000).map(|number| format!("line {number}"))).await;
        assert_eq!(seen.len(), LINES_MAX + 2);
        assert_eq!((seen[0].as_str(), seen[LINES_MAX + 1].as_str()), ("line 0", "line 99999"));
        let first = LINES_MAX - TAIL_LINES;
        assert_eq!(seen[first - 1], "line 7999");
        assert_eq!(seen[first + 2], "line 98000");
        let bytes: usize = (8_000..98_000).map(|number| format!("line {number}\n").len()).sum();
        assert_eq!(seen[first + 1], format!("[90000 lines ({bytes} bytes) are left out here.]"));
    }

    #[tokio::test]
    async fn long_lines_are_bounded_by_their_bytes() {
        let seen = kept((0..2_000).map(|number| format!("{number:04}").repeat(1000))).await;
        let bytes: usize = seen.iter().map(|line| line.len() + 1).sum();
        assert!(bytes <= BYTES_MAX + 300, "{bytes}");
        assert!(bytes > BYTES_MAX - 10_000, "{bytes}");
        assert!(seen.last().expect("lines").starts_with("1999"));
    }

    /// A sink that takes a line only when the test permits it.
    struct Slow(tokio::sync::Semaphore);

    impl LineSink for Slow {
        fn line(&self, _: String) -> BoxFuture<'_, ()> {
            Box::pin(async { self.0.acquire().await.expect("open").forget() })
        }
    }

    #[tokio::test]
    async fn a_slow_taker_slows_the_writer_down() {
        let slow = Slow(tokio::sync::Semaphore::new(2));
        let mut output = Bounded::new(&slow);
        output.line("one".to_owned()).await;
        output.line("two".to_owned()).await;
        let mut third = Box::pin(output.line("three".to_owned()));
        assert!(futures_util::poll!(&mut third).is_pending());
        slow.0.add_permits(1);
        third.await;
    }
}
