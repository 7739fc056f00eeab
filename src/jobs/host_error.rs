//! What a service's error means for the model that called a tool.

use crate::error::{AppError, ErrorKind};
use crate::generation::HostError;

/// What the model can act on goes back to it; the rest ends the turn.
pub(super) fn host_error(error: AppError) -> HostError {
    match error.kind {
        ErrorKind::NotFound | ErrorKind::Invalid | ErrorKind::TooLarge => HostError::Refused(error.detail),
        ErrorKind::Unavailable if matches!(error.code, "busy" | "too_slow") => HostError::Refused(error.detail),
        _ => HostError::Failed(error.detail),
    }
}
