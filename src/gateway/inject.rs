//! Injects a script into pages of drafts and previews: it reports errors of the page to the builder, and where the reader is
//! to the builder's page that shows it in a frame. Production gets none.
//!
//! Only into documents that a browser opens, and only as a reference to the page's own host, so the
//! app's content security policy applies to it; if that forbids it, nothing is
//! reported. The body is streamed: only its beginning is inspected.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RANGE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use bytes::{Bytes, BytesMut};
use hyper::body::{Body as HttpBody, Frame};

/// Path prefix of the script and its reports, on the host of a draft or a preview.
pub const PREFIX: &str = "/.slipway/";
/// Its parts.
const PARTS: [&str; 2] = [include_str!("place.js"), include_str!("errors.js")];
/// Stands in them for the origins of the builder's pages.
const ORIGINS: &str = "BUILDER_ORIGINS";
/// The injected tag.
const TAG: &[u8] = b"<script src=\"/.slipway/errors.js\"></script>";
/// Maximum bytes of a page that are searched for the position.
const SEARCHED: usize = 16 * 1024;

const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
const X_REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");
const HX_REQUEST: HeaderName = HeaderName::from_static("hx-request");

/// The script for builder's pages of these origins, the only ones that it talks to.
pub fn script(builders: &[String]) -> String {
    let parts = PARTS.concat().replacen(ORIGINS, &serde_json::json!(builders).to_string(), 1);
    format!(
        "// Slipway adds this script to drafts and previews, never to production.\n\
         (() => {{\n  \"use strict\";\n  const mine = document.currentScript;\n  if (mine) mine.remove();\n{parts}}})();\n"
    )
}

/// Whether a browser opens a page with the request, and not a script or a program.
pub fn opens_page(method: &Method, headers: &HeaderMap) -> bool {
    if *method != Method::GET || headers.contains_key(RANGE) {
        return false;
    }
    if let Some(dest) = headers.get(SEC_FETCH_DEST) {
        return matches!(dest.as_bytes(), b"document" | b"iframe" | b"frame");
    }
    // Browsers omit it on untrusted connections.
    let accepts = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    accepts.contains("text/html") && !headers.contains_key(X_REQUESTED_WITH) && !headers.contains_key(HX_REQUEST)
}

/// Requests an uncompressed response.
pub(super) fn ask_plain(headers: &mut HeaderMap) {
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
}

/// The response with the script, if it is a page that may be changed.
pub(super) fn into_answer(response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    let has = |name: HeaderName, word: &str| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|text| text.to_ascii_lowercase().contains(word))
    };
    let is_page = parts.headers.get(CONTENT_TYPE).is_some_and(is_html);
    let is_plain = parts.headers.get(CONTENT_ENCODING).is_none_or(|coding| coding == "identity");
    let has_body =
        !matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::PARTIAL_CONTENT);
    if !is_page || !is_plain || !has_body || has(CACHE_CONTROL, "no-transform") || body.is_end_stream() {
        return Response::from_parts(parts, body);
    }
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.remove(ACCEPT_RANGES);
    Response::from_parts(parts, Body::new(Injected { inner: body, start: Some(BytesMut::new()) }))
}

/// Whether a `Content-Type` is that of a page.
pub fn is_html(kind: &HeaderValue) -> bool {
    let kind = kind.as_bytes();
    kind.get(..9).is_some_and(|start| start.eq_ignore_ascii_case(b"text/html"))
        && kind.get(9).is_none_or(|next| matches!(next, b';' | b' '))
}

/// A whole page with the script.
pub fn into_page(page: Vec<u8>) -> Vec<u8> {
    match place(&page, true) {
        Some(at) if !page.is_empty() => [&page[..at], TAG, &page[at..]].concat(),
        _ => page,
    }
}

/// The position of the script: after `<head>`, else before the first content that is not white space, a
/// comment, a doctype or `<html>`. `None`: more bytes are needed, or there is no position.
fn place(page: &[u8], ended: bool) -> Option<usize> {
    let mut at = if page.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    loop {
        at += page[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let rest = &page[at..];
        if rest.is_empty() {
            return ended.then_some(at);
        }
        if rest.starts_with(b"<!--") {
            at += 4 + find(&rest[4..], b"-->")? + 3;
        } else if rest.starts_with(b"<!") || rest.starts_with(b"<?") {
            at += find(rest, b">")? + 1;
        } else if is_tag(rest, b"html") {
            at += tag_end(rest)?;
        } else if is_tag(rest, b"head") {
            return tag_end(rest).map(|end| at + end);
        } else if !ended && rest.len() < 6 && rest[0] == b'<' {
            return None;
        } else {
            return Some(at);
        }
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|part| part == wanted)
}

fn is_tag(text: &[u8], name: &[u8]) -> bool {
    text[0] == b'<'
        && text.get(1..=name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
        && text.get(name.len() + 1).is_some_and(|next| next.is_ascii_whitespace() || matches!(next, b'>' | b'/'))
}

/// The position after the `>` of the tag at the beginning of `text`, ignoring quoted ones.
fn tag_end(text: &[u8]) -> Option<usize> {
    let mut quote = None;
    for (at, byte) in text.iter().enumerate() {
        match (quote, byte) {
            (None, b'>') => return Some(at + 1),
            (None, b'"' | b'\'') => quote = Some(*byte),
            (Some(open), byte) if open == *byte => quote = None,
            _ => {}
        }
    }
    None
}

/// A streamed response body.
struct Injected {
    inner: Body,
    /// The beginning, until the position is found.
    start: Option<BytesMut>,
}

impl HttpBody for Injected {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            let frame = match std::task::ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
                Some(Ok(frame)) => Some(frame),
                Some(Err(error)) => return Poll::Ready(Some(Err(io::Error::other(error)))),
                None => None,
            };
            let Some(mut start) = self.start.take() else { return Poll::Ready(frame.map(Ok)) };
            let ended = match frame.map(Frame::into_data) {
                Some(Ok(data)) => {
                    start.extend_from_slice(&data);
                    false
                }
                // Trailers end the body; browsers ignore them.
                Some(Err(_)) | None => true,
            };
            match place(&start, ended) {
                Some(at) if !start.is_empty() => {
                    let rest = start.split_off(at);
                    start.extend_from_slice(TAG);
                    start.extend_from_slice(&rest);
                }
                None if !ended && start.len() < SEARCHED => {
                    self.start = Some(start);
                    continue;
                }
                _ => {}
            }
            if start.is_empty() {
                return Poll::Ready(None);
            }
            return Poll::Ready(Some(Ok(Frame::data(start.freeze()))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.start.is_none() && self.inner.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt;

    const MARK: &str = "<script src=\"/.slipway/errors.js\"></script>";

    #[test]
    fn the_script_precedes_all_other_scripts() {
        for (page, expected) in [
            (
                "<!doctype html><html lang='>'><head a=\">\"><title>",
                "<!doctype html><html lang='>'><head a=\">\">@<title>",
            ),
            ("\u{feff}\n<!-- <head> -->\n<HTML>\n<HEAD>\n", "\u{feff}\n<!-- <head> -->\n<HTML>\n<HEAD>@\n"),
            ("<!doctype html><h1>x", "<!doctype html>@<h1>x"),
            ("<html><body>", "<html>@<body>"),
            ("<header>", "@<header>"),
            ("words", "@words"),
            ("<script>", "@<script>"),
            ("<!-- never closed <head>", "<!-- never closed <head>"),
            ("<head", "@<head"),
            ("", ""),
        ] {
            let into = String::from_utf8(into_page(page.as_bytes().to_vec())).expect("text");
            assert_eq!(into, expected.replace('@', MARK), "{page}");
        }
    }

    async fn streamed(pieces: Vec<Vec<u8>>, headers: &[(&str, &str)]) -> (HeaderMap, String) {
        let mut response = Response::builder();
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let stream = futures_util::stream::iter(pieces.into_iter().map(|piece| Ok::<_, io::Error>(Bytes::from(piece))));
        let response = into_answer(response.body(Body::from_stream(stream)).expect("a response"));
        let (parts, body) = response.into_parts();
        let bytes: Vec<Bytes> = body.into_data_stream().map(|piece| piece.expect("no error")).collect().await;
        (parts.headers, String::from_utf8(bytes.concat()).expect("text"))
    }

    #[tokio::test]
    async fn a_page_may_arrive_in_pieces_of_any_size() {
        let page = "<!doctype html>\n<!-- c --><html lang=en>\n<head >\n<title>T</title></head><body>ü</body></html>";
        let expected = page.replace("<head >", &format!("<head >{MARK}"));
        for size in [1, 2, 3, 7, 1_000] {
            let pieces = page.as_bytes().chunks(size).map(<[u8]>::to_vec).collect();
            let (headers, text) =
                streamed(pieces, &[("content-type", "Text/HTML; charset=utf-8"), ("content-length", "7")]).await;
            assert_eq!(text, expected, "in pieces of {size}");
            assert!(!headers.contains_key(CONTENT_LENGTH));
        }
        // A beginning without a position passes through unchanged.
        let long = format!("<!-- {}", "x".repeat(SEARCHED * 2));
        let pieces = long.as_bytes().chunks(1_000).map(<[u8]>::to_vec).collect();
        assert_eq!(streamed(pieces, &[("content-type", "text/html")]).await.1, long);
    }

    #[tokio::test]
    async fn other_responses_stay_unchanged() {
        for headers in [
            &[("content-type", "application/json")][..],
            &[("content-type", "text/html5")],
            &[],
            &[("content-type", "text/html"), ("content-encoding", "gzip")],
            &[("content-type", "text/html"), ("cache-control", "public, no-transform")],
        ] {
            assert_eq!(streamed(vec![b"<head>".to_vec()], headers).await.1, "<head>", "{headers:?}");
        }
        assert_eq!(streamed(vec![], &[("content-type", "text/html")]).await.1, "");
    }

    #[test]
    fn the_script_names_the_builders_pages_and_no_others() {
        let origins = ["http://builder.localhost:8080".to_owned(), "http://127.0.0.1:8080".to_owned()];
        let script = script(&origins);
        let named = r#"const builders = ["http://builder.localhost:8080","http://127.0.0.1:8080"];"#;
        assert!(script.contains(named) && !script.contains(ORIGINS), "{script}");
        // Nothing is sent to a page of another origin.
        assert_eq!(script.matches("postMessage(").count(), 1);
        assert!(script.contains("parent.postMessage(message, builder)"));
    }

    #[test]
    fn requests_of_pages_differ_from_those_of_scripts_and_programs() {
        let opens = |method: Method, headers: &[(&'static str, &'static str)]| {
            let map =
                headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            opens_page(&method, &map.collect())
        };
        assert!(opens(Method::GET, &[("sec-fetch-dest", "document")]));
        assert!(opens(Method::GET, &[("sec-fetch-dest", "iframe"), ("accept", "*/*")]));
        assert!(opens(Method::GET, &[("accept", "text/html,application/xhtml+xml")]));
        for (method, headers) in [
            (Method::GET, &[("sec-fetch-dest", "empty"), ("accept", "text/html")][..]),
            (Method::GET, &[("accept", "*/*")]),
            (Method::GET, &[("accept", "text/html"), ("hx-request", "true")]),
            (Method::GET, &[("accept", "text/html"), ("range", "bytes=0-1")]),
            (Method::POST, &[("sec-fetch-dest", "document")]),
        ] {
            assert!(!opens(method, headers), "{headers:?}");
        }
    }
}
