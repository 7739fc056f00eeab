//! Parses path, query and body of a request; a parse error becomes an [`AppError`].
//!
//! The framework's own extractors answer errors in plain text, so clippy forbids them
//! everywhere else.

use std::error::Error;

use axum::extract::path::ErrorKind as PathErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::error::{AppError, AppResult, ErrorKind, UploadTimedOut};

/// Parameters in the path. An invalid name is answered with 404 and the reason.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = AppError;

    #[expect(clippy::disallowed_types, reason = "the one place that turns its refusals into ours")]
    async fn from_request_parts(parts: &mut Parts, state: &S) -> AppResult<Self> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(PathRejection::FailedToDeserializePathParams(error)) => Err(match error.into_kind() {
                PathErrorKind::InvalidUtf8InPathParam { .. } => {
                    AppError::bad_request("The address contains percent-encoded bytes that are not UTF-8.")
                }
                PathErrorKind::DeserializeError { message, .. } | PathErrorKind::Message(message) => AppError::new(
                    ErrorKind::NotFound,
                    "not_found",
                    format!("There is nothing at this address. {message}"),
                ),
                other => AppError::new(
                    ErrorKind::NotFound,
                    "not_found",
                    format!("There is nothing at this address: {other}."),
                ),
            }),
            Err(error) => Err(AppError::internal(&error)),
        }
    }
}

/// Query parameters. Unknown parameters are rejected by name.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = AppError;

    #[expect(clippy::disallowed_types, reason = "the one place that turns its refusals into ours")]
    async fn from_request_parts(parts: &mut Parts, state: &S) -> AppResult<Self> {
        match axum::extract::Query::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(error) => Err(AppError::bad_request(format!("The query cannot be read: {}.", innermost(&error)))),
        }
    }
}

/// A JSON body.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = AppError;

    async fn from_request(request: Request, state: &S) -> AppResult<Self> {
        let is_json = is_json(request.headers());
        let bytes = body(request, state).await?;
        if bytes.is_empty() {
            return Err(AppError::bad_request("The body is empty. This call needs a JSON object."));
        }
        if is_json { parse(&bytes).map(Self) } else { Err(not_json()) }
    }
}

/// An optional JSON body, for types whose fields are all optional.
pub struct OptionalJson<T>(pub T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalJson<T> {
    type Rejection = AppError;

    async fn from_request(request: Request, state: &S) -> AppResult<Self> {
        let is_json = is_json(request.headers());
        let bytes = body(request, state).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        if is_json { parse(&bytes).map(Self) } else { Err(not_json()) }
    }
}

/// A raw body, up to the router's limit.
pub struct Raw(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for Raw {
    type Rejection = AppError;

    async fn from_request(request: Request, state: &S) -> AppResult<Self> {
        body(request, state).await.map(Self)
    }
}

async fn body<S: Send + Sync>(request: Request, state: &S) -> AppResult<Bytes> {
    Bytes::from_request(request, state).await.map_err(|error| {
        if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
            AppError::new(ErrorKind::TooLarge, "too_large", "The body is larger than the limit of this call.")
        } else if UploadTimedOut::is_cause_of(&error) {
            UploadTimedOut.into()
        } else {
            AppError::bad_request("The body is incomplete.")
        }
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()) else { return false };
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

fn not_json() -> AppError {
    AppError::new(
        ErrorKind::UnsupportedMediaType,
        "unsupported_media_type",
        "The content type of the body is not JSON.",
    )
    .hint("Send it with “Content-Type: application/json”.")
}

/// Invalid JSON is a bad request (400); JSON with other fields or types is invalid input (422). Both errors name the position.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> AppResult<T> {
    // Serde would accept a list as the fields in their order.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        serde_json::from_slice::<IgnoredAny>(bytes).map_err(|error| refusal(&error))?;
        return Err(AppError::invalid("The body is JSON, but not an object."));
    }
    serde_json::from_slice(bytes).map_err(|error| refusal(&error))
}

fn refusal(error: &serde_json::Error) -> AppError {
    let said = error.to_string();
    let said = said.split(" at line ").next().unwrap_or_default();
    let place = format!("line {}, column {}", error.line(), error.column());
    match error.classify() {
        serde_json::error::Category::Data => {
            AppError::invalid(format!("The JSON does not match this call: {said} ({place})."))
        }
        _ => AppError::bad_request(format!("The body is not JSON: {said} ({place}).")),
    }
}

/// The innermost error, which names the field; the framework wraps it in other text.
fn innermost(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string().trim_end_matches('.').to_owned()
}
