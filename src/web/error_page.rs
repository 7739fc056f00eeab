//! Errors for browsers: a page, or a notice in an open page.
//!
//! Handlers return [`AppError`]; the layer here renders it in the caller's format, from the
//! same data that the API writes as problem JSON.

use askama::Template;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};

use super::Web;
use super::chrome::Chrome;
use super::reply::{Caller, Notice, html, render};
use super::ui;
use crate::error::{AppError, ErrorKind};
use crate::guard::PasswordSet;

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    chrome: Chrome,
    problem: Shown,
}

struct Link {
    href: String,
    words: &'static str,
}

struct Shown {
    status: u16,
    title: &'static str,
    detail: String,
    hint: Option<String>,
    links: Vec<Link>,
}

impl Shown {
    fn of(error: &AppError, here: &str) -> Self {
        let title = match error.kind {
            ErrorKind::NotFound => "Not found",
            ErrorKind::Unauthorized => "Log in first",
            ErrorKind::Forbidden => "Not allowed",
            ErrorKind::Late => "The request took too long",
            ErrorKind::Conflict => "Not possible in the current state",
            ErrorKind::TooManyRequests => "Too many attempts",
            ErrorKind::Internal => "Something went wrong",
            ErrorKind::BadGateway => "The app did not answer",
            ErrorKind::Unavailable => "Not available right now",
            ErrorKind::DiskFull => "The disk is full",
            ErrorKind::TooLarge => "Too large",
            ErrorKind::MethodNotAllowed => "Method not allowed",
            ErrorKind::BadRequest | ErrorKind::Invalid | ErrorKind::UnsupportedMediaType => "Invalid input",
        };
        let mut links = Vec::new();
        let mut link = |href: &str, words| links.push(Link { href: href.to_owned(), words });
        if let Some(app) = here.strip_prefix("/apps/").and_then(|rest| rest.split('/').next())
            && error.kind != ErrorKind::NotFound
        {
            link(&format!("/apps/{app}"), "Back to the app");
        }
        link("/", "All apps");
        if matches!(error.kind, ErrorKind::Internal | ErrorKind::Unavailable | ErrorKind::DiskFull) {
            link("/health", "Health");
        }
        Self {
            status: error.kind.status().as_u16(),
            title,
            detail: error.detail.clone(),
            hint: error.hint.clone(),
            links,
        }
    }
}

/// The layer around all pages.
pub async fn layer(State(web): State<Web>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let caller = Caller::of(&parts.headers);
    let here = parts.uri.path().to_owned();
    let password = parts.extensions.get::<PasswordSet>().is_some_and(|set| set.0);
    let chrome = web.chrome(&parts.headers, password);
    let wants_page = parts.headers.get(header::ACCEPT).is_none_or(|accept| {
        let accept = accept.to_str().unwrap_or_default();
        accept.contains("text/html") || accept.contains("*/*")
    });
    let response = next.run(Request::from_parts(parts, body)).await;
    let Some(error) = response.extensions().get::<AppError>().cloned() else { return response };
    if !wants_page {
        return response;
    }
    let retry_after = response.headers().get(header::RETRY_AFTER).cloned();
    let mut shown = form(&error, caller, &here, chrome);
    if let Some(value) = retry_after {
        shown.headers_mut().insert(header::RETRY_AFTER, value);
    }
    shown
}

/// The error in the caller's format.
pub fn form(error: &AppError, caller: Caller, here: &str, chrome: Chrome) -> Response {
    if error.kind == ErrorKind::Unauthorized {
        let to = format!("/login?to={}", super::format::encode_path(here, true));
        if caller == Caller::Browser {
            return Redirect::to(&to).into_response();
        }
        let mut response = StatusCode::UNAUTHORIZED.into_response();
        response
            .headers_mut()
            .insert("hx-redirect", HeaderValue::from_str(&to).unwrap_or(HeaderValue::from_static("/login")));
        return response;
    }
    let problem = Shown::of(error, here);
    let status = error.kind.status();
    let rendered = if caller.is_htmx() {
        render(&Notice { bad: true, title: problem.title, detail: &problem.detail, hint: problem.hint.as_deref() })
    } else {
        render(&ErrorPage { chrome, problem })
    };
    let mut response = match rendered {
        Ok(body) => (status, html(body)).into_response(),
        Err(_) => (status, error.detail.clone()).into_response(),
    };
    *response.status_mut() = status;
    if caller.is_htmx() {
        let headers = response.headers_mut();
        headers.insert("hx-retarget", HeaderValue::from_static("#notices"));
        headers.insert("hx-reswap", HeaderValue::from_static("beforeend"));
        headers.insert("hx-push-url", HeaderValue::from_static("false"));
    }
    response
}

/// The handler for unknown addresses.
pub async fn not_found() -> AppError {
    AppError::new(ErrorKind::NotFound, "not_found", "There is nothing at this address.")
}

/// The handler for a method that an address does not support.
pub async fn method_not_allowed() -> AppError {
    AppError::new(ErrorKind::MethodNotAllowed, "method_not_allowed", "This address does not support that method.")
}

#[cfg(test)]
pub(super) fn sample(error: &AppError) -> String {
    let page = ErrorPage { chrome: super::chrome::sample(), problem: Shown::of(error, "/apps/brisk-otter") };
    page.render().expect("renders")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::chrome;

    #[test]
    fn an_error_has_the_callers_format() {
        let error = AppError::conflict("busy", "A deployment is running.").hint("Wait until it ends.");
        let page = form(&error, Caller::Browser, "/apps/brisk-otter/publish", chrome::sample());
        assert_eq!(page.status(), StatusCode::CONFLICT);
        assert!(!page.headers().contains_key("hx-retarget"));
        let notice = form(&error, Caller::Fragment, "/apps/brisk-otter/publish", chrome::sample());
        assert_eq!(notice.headers()["hx-retarget"], "#notices");
        let login = form(
            &AppError::new(ErrorKind::Unauthorized, "unauthorized", "Log in."),
            Caller::Browser,
            "/apps/a b",
            chrome::sample(),
        );
        assert_eq!(login.headers()[header::LOCATION], "/login?to=/apps/a%20b");
    }
}
