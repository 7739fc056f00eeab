//! Path, query and form of a request, parsed; a parse error becomes an [`AppError`].

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::error::{AppError, ErrorKind, UploadTimedOut};

/// Parameters in the path. Invalid ones are answered with 404.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = AppError;
    #[expect(clippy::disallowed_types, reason = "the only place that converts its rejections into our errors")]
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(_) => Err(AppError::new(ErrorKind::NotFound, "not_found", "There is nothing at this address.")),
        }
    }
}

/// Parameters after the question mark.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = AppError;
    #[expect(clippy::disallowed_types, reason = "the only place that converts its rejections into our errors")]
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(error) => Err(AppError::bad_request(format!("This address cannot be read: {}.", cause(&error)))),
        }
    }
}

/// The fields of a form.
pub struct Form<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequest<S> for Form<T> {
    type Rejection = AppError;
    #[expect(clippy::disallowed_types, reason = "the only place that converts its rejections into our errors")]
    async fn from_request(request: Request, state: &S) -> Result<Self, AppError> {
        match axum::extract::Form::from_request(request, state).await {
            Ok(axum::extract::Form(value)) => Ok(Self(value)),
            Err(error) if UploadTimedOut::is_cause_of(&error) => Err(UploadTimedOut.into()),
            Err(error) => Err(match error.status() {
                StatusCode::PAYLOAD_TOO_LARGE => {
                    AppError::new(ErrorKind::TooLarge, "too_large", "The form is too large.")
                }
                StatusCode::UNSUPPORTED_MEDIA_TYPE => AppError::new(
                    ErrorKind::UnsupportedMediaType,
                    "unsupported_media_type",
                    "Send forms as application/x-www-form-urlencoded.",
                ),
                StatusCode::UNPROCESSABLE_ENTITY => {
                    AppError::invalid(format!("The form cannot be read: {}.", cause(&error)))
                }
                _ => AppError::bad_request(format!("The form cannot be read: {}.", cause(&error))),
            }),
        }
    }
}

/// The message of the innermost error, which names the field.
fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let words = innermost.to_string();
    words.trim_end_matches('.').to_owned()
}
