//! The response when an app cannot answer: a small page without scripts, or a line of text.

use axum::body::Body;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, Response, StatusCode};

use crate::domain::{AppName, Environment};

/// Seconds until the page about a starting app reloads.
const RELOAD_SECS: u32 = 2;
/// Maximum length of foreign text on a page, in characters.
const SHOWN_MAX: usize = 100;

/// Why an app does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Its first instance is starting.
    Starting,
    /// It has no running instance.
    Stopped,
    /// There is no such app, or it was never deployed.
    Unknown,
    /// It runs, but breaks off the connection.
    Failed,
    /// It runs, but does not answer in time.
    TimedOut,
    /// It runs, but too many requests wait for its response.
    Overloaded,
    /// The visitor sent the request too slowly.
    UploadTimedOut,
    /// It was used as a proxy.
    NoProxy,
}

impl Trouble {
    fn status(self) -> StatusCode {
        match self {
            Self::Starting | Self::Stopped | Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unknown => StatusCode::NOT_FOUND,
            Self::Failed => StatusCode::BAD_GATEWAY,
            Self::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            Self::UploadTimedOut => StatusCode::REQUEST_TIMEOUT,
            Self::NoProxy => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    /// Heading and explanation; `name` is the requested app or host.
    fn words(self, name: &str) -> (String, &'static str) {
        match self {
            Self::Starting => (format!("{name} is starting"), "This page reloads automatically in a moment."),
            Self::Stopped => (
                format!("{name} is not running"),
                "This app is stopped. Its owner can start it again in Slipway with a new deployment or a roll back.",
            ),
            Self::Unknown => (
                "There is nothing here".to_owned(),
                "No app is published at this address. Check its spelling, or ask the person who gave it to you.",
            ),
            Self::Failed => (
                format!("{name} did not answer"),
                "It broke off the connection or does not listen. Try again in a moment. If the problem persists, the app's log in Slipway shows more.",
            ),
            Self::TimedOut => (
                format!("{name} takes too long"),
                "It did not answer in time. Try again in a moment. If the problem persists, the app's log in Slipway shows more.",
            ),
            Self::Overloaded => {
                (format!("{name} is overloaded"), "Too many requests wait for its response. Try again in a moment.")
            }
            Self::UploadTimedOut => {
                ("The request took too long".to_owned(), "It was sent too slowly. Try again with a better connection.")
            }
            Self::NoProxy => ("This is not a proxy".to_owned(), "CONNECT is not supported."),
        }
    }
}

/// The response for an app that does not answer: a page for callers that accept HTML, else a line of text.
pub fn page(trouble: Trouble, app: Option<(&AppName, Environment)>, accept: Option<&HeaderValue>) -> Response<Body> {
    let name = match app {
        Some((app, Environment::Prod)) => app.to_string(),
        Some((app, Environment::Preview)) => format!("The preview of {app}"),
        None => "The app".to_owned(),
    };
    let (title, text) = trouble.words(&name);
    answer(trouble, &title, text, accept)
}

/// The response for an unknown host.
pub fn unknown_host(host: &str, accept: Option<&HeaderValue>) -> Response<Body> {
    let host: String = host.chars().filter(|c| !c.is_control()).take(SHOWN_MAX).collect();
    let (_, text) = Trouble::Unknown.words("");
    answer(Trouble::Unknown, &format!("There is nothing at {host}"), text, accept)
}

fn answer(trouble: Trouble, title: &str, text: &str, accept: Option<&HeaderValue>) -> Response<Body> {
    let wants_html = accept.and_then(|accept| accept.to_str().ok()).is_some_and(|accept| accept.contains("text/html"));
    let looks_again = trouble == Trouble::Starting;
    let (kind, body) = if wants_html {
        ("text/html; charset=utf-8", html(title, text, looks_again))
    } else {
        ("text/plain; charset=utf-8", format!("{title}. {text}\n"))
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = trouble.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors *"),
    );
    if looks_again || trouble == Trouble::Overloaded {
        headers.insert(RETRY_AFTER, HeaderValue::from(RELOAD_SECS));
    }
    response
}

fn html(title: &str, text: &str, looks_again: bool) -> String {
    let (title, text) = (escape(title), escape(text));
    let refresh =
        if looks_again { format!("<meta http-equiv=\"refresh\" content=\"{RELOAD_SECS}\">") } else { String::new() };
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">{refresh}\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{title}</title><style>\
         :root{{color-scheme:light dark}}\
         body{{margin:0;min-height:100vh;display:grid;place-items:center;\
         font:1rem/1.6 system-ui,sans-serif;background:Canvas;color:CanvasText}}\
         main{{max-width:34rem;padding:2rem;box-sizing:border-box;overflow-wrap:anywhere}}\
         h1{{font-size:1.5rem;line-height:1.25;font-weight:600;margin:0 0 .75rem}}\
         p{{margin:0;opacity:.8}}\
         </style></head><body><main><h1>{title}</h1><p>{text}</p></main></body></html>\n"
    )
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}
