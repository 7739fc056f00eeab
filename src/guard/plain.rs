//! A small self-contained page: for unknown hosts, and for failures outside
//! of the pages.

use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use sha2::{Digest, Sha256};

const STYLE: &str = "body{margin:15vh auto;max-width:34rem;padding:0 1.25rem;font:1rem/1.6 system-ui,sans-serif;\
color-scheme:light dark;color:light-dark(#14191e,#e9edf1);background:light-dark(#f5f6f7,#0f1317)}\
h1{font-size:1.5rem;line-height:1.25}p{color:light-dark(#47515b,#b5bec8);overflow-wrap:anywhere}";

/// The style is inline and allowed only by its hash.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
    HeaderValue::try_from(format!("default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'"))
        .expect("base64 is ASCII")
});

/// A page with a title and a few sentences, which are escaped here.
pub fn plain_page(status: StatusCode, title: &str, sentences: &[&str]) -> Response {
    page(status, title, sentences, None)
}

/// The same, with a link that opens in a new tab.
pub fn linked_page(status: StatusCode, title: &str, sentences: &[&str], link: (&str, &str)) -> Response {
    page(status, title, sentences, Some(link))
}

fn page(status: StatusCode, title: &str, sentences: &[&str], link: Option<(&str, &str)>) -> Response {
    let mut body = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style></head>\
         <body><main><h1>{title}</h1>",
        title = escaped(title)
    );
    for sentence in sentences {
        let _ = write!(body, "<p>{}</p>", escaped(sentence));
    }
    if let Some((address, words)) = link {
        let (address, words) = (escaped(address), escaped(words));
        let _ = write!(body, "<p><a href=\"{address}\" target=\"_blank\" rel=\"noopener\">{words}</a></p>");
    }
    body.push_str("</main></body></html>\n");
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (CONTENT_SECURITY_POLICY, POLICY.clone()),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (status, headers, body).into_response()
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}
