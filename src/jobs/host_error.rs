//! Converts errors of services into results of tool calls.

use crate::error::{AppError, ErrorKind};
use crate::generation::HostError;

/// Errors that the model can act on are returned to it; others end the turn.
pub(super) fn host_error(error: AppError) -> HostError {
    match error.kind {
        ErrorKind::NotFound | ErrorKind::Invalid | ErrorKind::TooLarge => HostError::Refused(error.detail),
        ErrorKind::Unavailable if matches!(error.code, "busy" | "too_slow") => HostError::Refused(error.detail),
        _ => HostError::Failed(error.detail),
    }
}
