//! Views of the requests of an app. Pure.

use askama::Template;
use form_urlencoded::Serializer;
use jiff::Timestamp;

use super::log_views::{LogTabPart, clock};
use crate::domain::{AppName, Environment};
use crate::gateway::SeenRequest;
use crate::web::format;
use crate::web::ui;

/// The last requests.
#[derive(Template)]
#[template(path = "app/requests.html")]
pub struct RequestsTab<'a> {
    /// The app.
    pub app: &'a AppName,
    /// The parts of the *Logs* tab.
    pub parts: Vec<LogTabPart>,
    /// What is selected.
    pub filter: &'a RequestFilter,
    /// The choices of the filter for the status.
    pub classes: Vec<Choice>,
    /// The choices of the filter for the environment.
    pub environments: Vec<Choice>,
    /// The requests, newest first.
    pub rows: RequestRows,
    /// The address of the stream of new requests; none if nothing is deployed.
    pub stream: Option<String>,
    /// Which requests are not seen, and why.
    pub unseen: Option<&'static str>,
    /// How many requests are kept.
    pub kept: usize,
    /// The text if there are no requests.
    pub nothing: &'static str,
}

/// Requests: of a page, or of a message to an open page.
#[derive(Template)]
#[template(path = "app/request_rows.html")]
pub struct RequestRows {
    /// Newest first.
    pub rows: Vec<RequestRow>,
}

/// A request.
pub struct RequestRow {
    machine: String,
    time: String,
    method: String,
    path: String,
    status: u16,
    class: &'static str,
    took: String,
    environment: &'static str,
}

impl RequestRow {
    /// `request`, at `now`.
    pub fn new(request: &SeenRequest, now: Timestamp) -> Self {
        Self {
            machine: request.at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string(),
            time: clock(request.at, now),
            method: request.method.to_string(),
            path: request.path.to_string(),
            status: request.status.as_u16(),
            class: match request.status.as_u16() {
                400..=499 => "warn",
                500.. => "bad",
                _ => "",
            },
            took: format::duration(u64::try_from(request.took.as_millis()).unwrap_or(u64::MAX)),
            environment: request.environment.title(),
        }
    }
}

/// A choice of a filter.
pub struct Choice {
    key: &'static str,
    title: &'static str,
    is_chosen: bool,
}

/// Selects requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestFilter {
    /// A part of the method or the path, in lower case.
    pub words: String,
    /// The first digit of the status.
    pub class: Option<u16>,
    /// The environment.
    pub environment: Option<Environment>,
}

impl RequestFilter {
    /// Whether a request is selected.
    pub fn shows(&self, request: &SeenRequest) -> bool {
        let says = || format!("{} {}", request.method, request.path).to_lowercase();
        self.class.is_none_or(|class| request.status.as_u16() / 100 == class)
            && self.environment.is_none_or(|environment| request.environment == environment)
            && (self.words.is_empty() || says().contains(&self.words))
    }

    /// It selects all requests.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The choices for the status.
    pub fn classes(&self) -> Vec<Choice> {
        let class = |class, key, title| Choice { key, title, is_chosen: self.class == class };
        vec![
            class(None, "", "Every status"),
            class(Some(2), "2", "2xx: successful"),
            class(Some(3), "3", "3xx: redirected"),
            class(Some(4), "4", "4xx: rejected"),
            class(Some(5), "5", "5xx: failed"),
        ]
    }

    /// The choices for the environment.
    pub fn environments(&self) -> Vec<Choice> {
        let one = |environment: Option<Environment>, key, title| Choice {
            key,
            title,
            is_chosen: self.environment == environment,
        };
        vec![
            one(None, "", "Preview and production"),
            one(Some(Environment::Preview), "preview", "Preview"),
            one(Some(Environment::Prod), "prod", "Production"),
        ]
    }

    /// The address of the stream of the requests after a number.
    pub fn stream(&self, app: &AppName, after: u64) -> String {
        let mut query = Serializer::new(String::new());
        query.append_pair("after", &after.to_string());
        if !self.words.is_empty() {
            query.append_pair("q", &self.words);
        }
        if let Some(class) = self.class {
            query.append_pair("status", &class.to_string());
        }
        if let Some(environment) = self.environment {
            query.append_pair("environment", environment.as_str());
        }
        format!("/apps/{app}/requests/stream?{}", query.finish())
    }
}
