//! Handles requests whose heads are larger than the HTTP library reads.
//!
//! A browser sends up to 700 KB of cookies, which an app on a neighbouring host may have set. The library would end
//! such a request with an empty 431, and the browser would be locked out of the builder and of all apps. Therefore the
//! socket counts the bytes of each head. When one grows too large, the library gets no more of it: the rest is read
//! here, and the response makes the browser clear its cookies. Only the head's path, its host and the names of its
//! cookies are kept.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::response::Response;
use futures_util::FutureExt as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::guard;

/// Maximum size in bytes of a head that the library reads.
pub(super) const HEAD_MAX: usize = 64 * 1024;
/// Maximum size in bytes of a head that is read to its end to answer it. Also the number of bytes that are read and
/// dropped after the response.
const READ_MAX: usize = 1024 * 1024;
/// Maximum size in bytes of the cookies' names that are kept.
const NAMES_MAX: usize = 64 * 1024;
/// Maximum length in bytes of a host and of a path that is kept.
const PART_MAX: usize = 262;
/// Length in bytes of the longest header name that is looked for (`cookie`).
const LINE_NAME_MAX: usize = 6;
/// Size of one read in bytes.
const PIECE: usize = 8 * 1024;

/// Parses a head byte by byte, and keeps only the parts that matter.
#[derive(Default)]
pub(super) struct Scan {
    at: At,
    /// Bytes of the head so far.
    bytes: usize,
    /// Bytes of the current line so far, without its line break. An empty line ends the head.
    line_bytes: usize,
    /// The name of the current header line, in lower case.
    line: Vec<u8>,
    path: Vec<u8>,
    host: Vec<u8>,
    /// Names of cookies, separated by `;`.
    names: Vec<u8>,
    is_over: bool,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum At {
    /// In the method.
    #[default]
    Method,
    Path,
    /// In the name of a header line.
    Line,
    /// In an irrelevant part, up to the end of the line.
    Rest,
    Host,
    /// In a cookie's name.
    Name,
    /// In a cookie's value.
    Value,
}

impl Scan {
    /// Takes the next bytes of the head. Bytes after its end are ignored.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes.iter().copied() {
            if self.is_over {
                return;
            }
            self.bytes += 1;
            match byte {
                b'\r' => {}
                b'\n' => self.end_line(),
                byte => {
                    self.line_bytes += 1;
                    self.take(byte);
                }
            }
        }
    }

    /// Whether the head is complete.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether the head is larger than the library reads.
    pub(super) fn is_too_large(&self) -> bool {
        self.bytes > HEAD_MAX
    }

    fn end_line(&mut self) {
        self.is_over = self.line_bytes == 0;
        self.line_bytes = 0;
        self.at = At::Line;
        self.line.clear();
        self.separate();
    }

    fn take(&mut self, byte: u8) {
        match (self.at, byte) {
            (At::Method, b' ') => self.at = At::Path,
            (At::Path, b' ' | b'?') => self.at = At::Rest,
            (At::Path, _) => keep(&mut self.path, byte, PART_MAX),
            (At::Line, b':') => {
                self.at = match self.line.as_slice() {
                    b"host" => At::Host,
                    b"cookie" => At::Name,
                    _ => At::Rest,
                };
            }
            (At::Line, _) if self.line.len() > LINE_NAME_MAX => self.at = At::Rest,
            (At::Line, _) => self.line.push(byte.to_ascii_lowercase()),
            (At::Host, b' ') | (At::Method | At::Rest, _) => {}
            (At::Host, _) => keep(&mut self.host, byte, PART_MAX),
            (At::Name, b'=') => self.at = At::Value,
            (At::Name | At::Value, b';') => {
                self.at = At::Name;
                self.separate();
            }
            (At::Name, _) => keep(&mut self.names, byte, NAMES_MAX),
            (At::Value, _) => {}
        }
    }

    fn separate(&mut self) {
        if self.names.last().is_some_and(|last| *last != b';') {
            keep(&mut self.names, b';', NAMES_MAX);
        }
    }

    fn answer(&self, is_https: bool) -> Vec<u8> {
        written(guard::head_too_large(
            &self.names,
            &String::from_utf8_lossy(&self.host),
            &String::from_utf8_lossy(&self.path),
            is_https,
        ))
    }
}

fn keep(bytes: &mut Vec<u8>, byte: u8, most: usize) {
    if bytes.len() < most {
        bytes.push(byte);
    }
}

/// A response in the form in which it is sent.
fn written(response: Response) -> Vec<u8> {
    let (parts, body) = response.into_parts();
    // The page is in memory, so that the body is available without waiting.
    let body = axum::body::to_bytes(body, READ_MAX).now_or_never().and_then(Result::ok).unwrap_or_default();
    let reason = parts.status.canonical_reason().unwrap_or_default();
    let mut bytes =
        format!("HTTP/1.1 {} {reason}\r\ncontent-length: {}\r\n", parts.status.as_u16(), body.len()).into_bytes();
    for (name, value) in &parts.headers {
        // The length was written above.
        if name != axum::http::header::CONTENT_LENGTH {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                bytes.extend_from_slice(part);
            }
        }
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&body);
    bytes
}

/// Answers a request whose head is too large.
pub(super) struct LargeHead {
    stage: Stage,
    is_https: bool,
}

enum Stage {
    /// Reads the rest of the head.
    Reading(Box<Scan>),
    Writing {
        answer: Vec<u8>,
        sent: usize,
    },
    /// Reads what the client still sends: to close a connection with unread bytes would reset it, and the client would
    /// lose the response.
    Draining {
        left: usize,
    },
}

impl LargeHead {
    /// `is_https`: browsers reach the builder over https.
    pub(super) fn new(scan: Box<Scan>, is_https: bool) -> Self {
        Self { stage: Stage::Reading(scan), is_https }
    }

    /// Continues; ready when the connection should be closed.
    pub(super) fn poll<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut piece = [0; PIECE];
        loop {
            match &mut self.stage {
                Stage::Reading(scan) if scan.is_over || scan.bytes > READ_MAX => {
                    self.stage = Stage::Writing { answer: scan.answer(self.is_https), sent: 0 };
                }
                Stage::Reading(scan) => {
                    let mut buf = ReadBuf::new(&mut piece);
                    ready!(Pin::new(&mut *stream).poll_read(cx, &mut buf))?;
                    if buf.filled().is_empty() {
                        return Poll::Ready(Ok(()));
                    }
                    scan.feed(buf.filled());
                }
                Stage::Writing { answer, sent } if *sent < answer.len() => {
                    let count = ready!(Pin::new(&mut *stream).poll_write(cx, &answer[*sent..]))?;
                    if count == 0 {
                        return Poll::Ready(Ok(()));
                    }
                    *sent += count;
                }
                Stage::Writing { .. } => {
                    ready!(Pin::new(&mut *stream).poll_shutdown(cx))?;
                    self.stage = Stage::Draining { left: READ_MAX };
                }
                Stage::Draining { left } => {
                    let mut buf = ReadBuf::new(&mut piece);
                    ready!(Pin::new(&mut *stream).poll_read(cx, &mut buf))?;
                    *left = left.saturating_sub(buf.filled().len());
                    if buf.filled().is_empty() || *left == 0 {
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_path_and_host_are_found_however_the_bytes_arrive() {
        let head = "GET /apps/tides?x=1 HTTP/1.1\r\nX: cookie: no=1\r\nHOST:  a.x.test\r\nCookies: no=2\r\n\
                    Cookie: a=1=2; bb;cc=; =d\r\nCookie: e=5\r\n\r\nCookie: no=3\r\n\r\n";
        for size in [1, 2, 7, head.len()] {
            let mut scan = Scan::default();
            for piece in head.as_bytes().chunks(size) {
                scan.feed(piece);
            }
            assert!(scan.is_over() && !scan.is_too_large());
            assert_eq!((scan.path.as_slice(), scan.host.as_slice()), (&b"/apps/tides"[..], &b"a.x.test"[..]), "{size}");
            let names = std::str::from_utf8(&scan.names).expect("text").split(';').map(str::trim);
            assert_eq!(names.filter(|name| !name.is_empty()).collect::<Vec<_>>(), ["a", "bb", "cc", "e"], "{size}");
        }
    }

    #[test]
    fn what_is_kept_of_a_head_is_bounded() {
        let mut scan = Scan::default();
        scan.feed(format!("GET /{} HTTP/1.1\r\nHost: {}\r\n", "p".repeat(9000), "h".repeat(9000)).as_bytes());
        for _ in 0..300 {
            scan.feed(format!("Cookie: {}=1\r\n{}: 1\r\n", "n".repeat(4000), "l".repeat(4000)).as_bytes());
        }
        assert!(scan.is_too_large() && !scan.is_over());
        assert_eq!((scan.path.len(), scan.host.len(), scan.names.len()), (PART_MAX, PART_MAX, NAMES_MAX));
        assert!(scan.line.capacity() <= 64);
    }
}
