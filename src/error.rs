//! The one error at the edge: what went wrong in the caller's words, with a code and a way out.
//!
//! A handler returns it; the layer around the pages or the API renders it in the caller's form
//! (page, fragment or `application/problem+json`) from the same data.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::bounded_work::WorkError;
use crate::domain::{Invalid, Refusal};
use crate::store::StoreError;

/// What kind of wrong it is; decides the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// 400: the request cannot be read.
    BadRequest,
    /// 401: no session and no token.
    Unauthorized,
    /// 403: known, and still not allowed.
    Forbidden,
    /// 404.
    NotFound,
    /// 405.
    MethodNotAllowed,
    /// 408: the request did not come in time.
    Late,
    /// 409: it does not fit the state of things.
    Conflict,
    /// 413.
    TooLarge,
    /// 415.
    UnsupportedMediaType,
    /// 422: readable, but not a value that is allowed.
    Invalid,
    /// 429.
    TooManyRequests,
    /// 500: ours.
    Internal,
    /// 502: the app answered badly.
    BadGateway,
    /// 503: something that we need does not answer.
    Unavailable,
    /// 507.
    DiskFull,
}

impl ErrorKind {
    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Late => StatusCode::REQUEST_TIMEOUT,
            Self::Conflict => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::BadGateway => StatusCode::BAD_GATEWAY,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::DiskFull => StatusCode::INSUFFICIENT_STORAGE,
        }
    }
}

/// A request's body does not arrive fast enough; see the listener for how fast that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the request's body does not arrive fast enough")]
pub struct UploadTimedOut;

impl UploadTimedOut {
    /// Whether this is why something failed.
    pub fn is_cause_of(error: &(dyn std::error::Error + 'static)) -> bool {
        std::iter::successors(Some(error), |error| error.source()).any(<dyn std::error::Error + 'static>::is::<Self>)
    }
}

impl From<UploadTimedOut> for AppError {
    fn from(_: UploadTimedOut) -> Self {
        Self::new(ErrorKind::Late, "upload_timed_out", "The request was not sent fast enough.")
            .hint("Try again over a better connection.")
    }
}

/// Result of everything that a user can ask for.
pub type AppResult<T> = Result<T, AppError>;

/// An error for the person or program that asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct AppError {
    /// Decides the status.
    pub kind: ErrorKind,
    /// A stable word for programs.
    pub code: &'static str,
    /// What happened, in a sentence.
    pub detail: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Seconds after which asking again makes sense.
    pub retry_after: Option<u64>,
}

impl AppError {
    /// An error of this kind, code and sentence.
    pub fn new(kind: ErrorKind, code: &'static str, detail: impl Into<String>) -> Self {
        Self { kind, code, detail: detail.into(), hint: None, retry_after: None }
    }

    /// With what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With a time to wait.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// 404 for a thing of this name.
    pub fn not_found(what: &str) -> Self {
        Self::new(ErrorKind::NotFound, "not_found", format!("There is no {what}."))
    }

    /// 409.
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, code, detail)
    }

    /// 422.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, "invalid", detail)
    }

    /// 400.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::BadRequest, "bad_request", detail)
    }

    /// 500. `error` goes to the log alone; who asked learns only that it is our fault.
    pub fn internal(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "internal error");
        Self::new(ErrorKind::Internal, "internal", "Something went wrong inside Slipway.")
            .hint("The server's log says more. Nothing you sent was lost.")
    }

    /// 507.
    pub fn disk_full() -> Self {
        Self::new(ErrorKind::DiskFull, "disk_full", "The server's disk is full, so nothing could be saved.")
            .hint("Free some space on the disk that holds the data directory, then try again.")
    }

    /// 503 for work that was stopped at its time limit.
    pub fn too_slow(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, "too_slow", detail)
            .hint("It may be quicker when the server has less to do. If it is not, make the text smaller or simpler.")
    }

    /// As RFC 9457 has it.
    pub fn problem(&self) -> Problem<'_> {
        let status = self.kind.status();
        Problem {
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            code: self.code,
            detail: &self.detail,
            hint: self.hint.as_deref(),
        }
    }
}

/// `application/problem+json`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Problem<'a> {
    /// The status in words.
    title: &'a str,
    /// The status.
    status: u16,
    /// A stable word for programs.
    code: &'a str,
    /// What happened, in a sentence.
    detail: &'a str,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

impl IntoResponse for AppError {
    /// Problem JSON, with the error itself as an extension: the layer around the pages makes a page of it.
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self.problem()).expect("strings and a number");
        let mut response =
            (self.kind.status(), [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.kind == ErrorKind::Unauthorized {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Invalid> for AppError {
    fn from(error: Invalid) -> Self {
        Self::invalid(error.0)
    }
}

impl From<WorkError> for AppError {
    fn from(error: WorkError) -> Self {
        match &error {
            WorkError::Busy => Self::new(ErrorKind::Unavailable, "busy", error.to_string()).retry_after(5),
            WorkError::TooSlow(_) => Self::too_slow(error.to_string()),
            WorkError::Failed(why) => Self::internal(why),
        }
    }
}

impl From<Refusal> for AppError {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal {
            Refusal::Scope(_) => "token_scope",
            Refusal::OtherApp => "token_app",
            Refusal::NeedsSession | Refusal::NeedsLogin => "needs_login",
        };
        Self::new(ErrorKind::Forbidden, code, refusal.to_string())
            .hint("Use another token, or log in: tokens are created on the settings page.")
    }
}

impl From<StoreError> for AppError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound => Self::not_found("such thing"),
            StoreError::Conflict(detail) => Self::conflict("conflict", detail),
            StoreError::QuestionClosed => Self::conflict(
                "question_closed",
                "This question is not open any more: it was answered, or something else was asked since.",
            )
            .hint("See the newest message, and say in a message of your own what you want."),
            StoreError::DiskFull => Self::disk_full(),
            StoreError::Closed => Self::new(ErrorKind::Unavailable, "stopping", "Slipway is being stopped."),
            StoreError::Sqlite(_) | StoreError::Open(_) | StoreError::Panicked(_) => Self::internal(&error),
        }
    }
}
