//! Responses as a page or as a fragment, depending on the caller: a browser's navigation, or htmx.

use std::convert::Infallible;

use askama::Template;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};

use super::{ui, visible};
use crate::domain::JobId;
use crate::error::{AppError, AppResult};

/// The kind of caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// A navigation: gets a whole page.
    Browser,
    /// htmx, for one element of an open page.
    Fragment,
    /// htmx, but it requests the whole page and selects from it.
    Select,
}

impl Caller {
    /// Reads the headers.
    pub fn of(headers: &HeaderMap) -> Self {
        let is = |name: &str, value: &str| headers.get(name).is_some_and(|v| v.as_bytes() == value.as_bytes());
        match (is("hx-request", "true"), is("hx-request-type", "full")) {
            (false, _) => Self::Browser,
            (true, false) => Self::Fragment,
            (true, true) => Self::Select,
        }
    }

    /// Whether it runs our scripts, so that responses can be fragments.
    pub fn is_htmx(self) -> bool {
        self != Self::Browser
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers))
    }
}

/// Renders a template. An error is an internal error.
pub fn render(template: &impl Template) -> AppResult<String> {
    template.render().map_err(|error| AppError::internal(&error))
}

/// A response with HTML, which depends on the caller and must not be cached.
pub fn html(body: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "private, no-cache"),
        (header::VARY, "hx-request, hx-request-type, cookie"),
    ];
    (headers, visible::in_html(body)).into_response()
}

/// A page.
pub fn page(template: &impl Template) -> AppResult<Response> {
    render(template).map(html)
}

/// After a form: htmx gets an empty response, because the event stream updates every open page; a browser is redirected to `to`.
pub fn done(caller: Caller, to: &str) -> Response {
    if caller.is_htmx() { StatusCode::NO_CONTENT.into_response() } else { Redirect::to(to).into_response() }
}

/// Header with the job that a request has started: the page that started it follows it.
pub const JOB: HeaderName = HeaderName::from_static("slipway-job");

/// As [`done`], after a form that has started a job.
pub fn started(caller: Caller, to: &str, job: JobId) -> Response {
    naming(done(caller, to), job)
}

/// The response with the job that the request has started.
pub fn naming(mut response: Response, job: JobId) -> Response {
    response.headers_mut().insert(JOB, HeaderValue::from(job.0));
    response
}

/// After a form that opens another page.
pub fn go(caller: Caller, to: &str) -> Response {
    if !caller.is_htmx() {
        return Redirect::to(to).into_response();
    }
    let mut response = StatusCode::OK.into_response();
    // Addresses of the builder are ASCII.
    response.headers_mut().insert("hx-redirect", HeaderValue::from_str(to).unwrap_or(HeaderValue::from_static("/")));
    response
}

/// Fragments of a page, each with its target.
#[derive(Debug, Default)]
pub struct Pieces(String);

impl Pieces {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the element with this id by `html`, which has the same id.
    #[must_use]
    pub fn replace(self, id: &str, html: &str) -> Self {
        self.piece(id, "outerHTML", html)
    }

    /// Replaces the content of the element.
    #[must_use]
    pub fn fill(self, id: &str, html: &str) -> Self {
        self.piece(id, "innerHTML", html)
    }

    /// Adds to the end of the element.
    #[must_use]
    pub fn append(self, id: &str, html: &str) -> Self {
        self.piece(id, "beforeend", html)
    }

    /// Announces a sentence to screen readers.
    #[must_use]
    pub fn announce(self, sentence: &str) -> Self {
        let mut escaped = String::new();
        super::highlight::escape_into(sentence, &mut escaped);
        self.fill("live", &escaped)
    }

    fn piece(mut self, id: &str, swap: &str, html: &str) -> Self {
        use std::fmt::Write as _;
        let _ = write!(self.0, r##"<hx-partial hx-target="#{id}" hx-swap="{swap}">{html}</hx-partial>"##);
        self
    }

    /// All of them.
    pub fn into_html(self) -> String {
        visible::in_html(self.0)
    }
}

/// A notice in the corner of the page.
#[derive(Template)]
#[template(path = "notice.html")]
pub struct Notice<'a> {
    /// It reports a failure.
    pub bad: bool,
    /// A title of a few words.
    pub title: &'a str,
    /// A sentence.
    pub detail: &'a str,
    /// What the user can do.
    pub hint: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_name_their_targets() {
        let html = Pieces::new().replace("chips", "<div id=\"chips\"></div>").announce("a < b").into_html();
        assert!(html.contains(r##"<hx-partial hx-target="#chips" hx-swap="outerHTML">"##));
        assert!(html.contains("a &lt; b"));
        assert!(Pieces::new().fill("x", "\u{1b}[31m\u{7}").into_html().contains(">␛[31m␇<"));
    }

    #[tokio::test]
    async fn pages_contain_no_control_characters() {
        let body = html("<pre>\u{1b}]0;title\u{7}\tline\n</pre>".to_owned()).into_body();
        let body = axum::body::to_bytes(body, 1024).await.expect("a body");
        assert_eq!(body, "<pre>␛]0;title␇\tline\n</pre>");
    }
}
