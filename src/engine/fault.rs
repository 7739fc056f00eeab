//! Classifies the errors of the engine.

use bollard::errors::Error;

/// Why a call to the engine failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The engine does not answer, or denies access to its socket.
    #[error("The Docker engine cannot be reached: {0}.")]
    Unavailable(String),
    /// The object does not exist, or was removed.
    #[error("The Docker engine does not know it: {0}")]
    NotFound(String),
    /// The object exists already, or is in a state that does not allow the call.
    #[error("The Docker engine refuses: {0}")]
    Conflict(String),
    /// The engine's disk is full.
    #[error(
        "The disk of the Docker engine is full. Remove what is not needed (for example with `docker system prune`) and try again."
    )]
    DiskFull,
    /// Any other error, in the engine's words.
    #[error("The Docker engine reports: {0}")]
    Other(String),
}

impl Fault {
    /// Classifies an error message of the engine, independent of the call.
    pub fn from_message(message: &str) -> Self {
        if is_disk_full(message) { Self::DiskFull } else { Self::Other(message.trim().to_owned()) }
    }
}

/// Whether a message reports a full disk.
pub(super) fn is_disk_full(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    message.contains("no space left on device") || message.contains("disk quota exceeded")
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::DockerResponseServerError { status_code, message } => match status_code {
                404 => Self::NotFound(message),
                409 => Self::Conflict(message),
                // The status of a proxy or of socket activation in front of an engine that does not run.
                502..=504 => Self::Unavailable(message.trim().to_owned()),
                // Another client has removed the image, or a parent that is removed with it, during the call.
                500 if message.contains("unrecognized image ID") => Self::NotFound(message),
                _ => Self::from_message(&message),
            },
            Error::DockerStreamError { error } | Error::DockerContainerWaitError { error, .. } => {
                Self::from_message(&error)
            }
            Error::RequestTimeoutError => Self::Unavailable("it does not answer".to_owned()),
            Error::SocketNotFoundError(socket) => Self::Unavailable(format!("there is no socket at {socket}")),
            Error::HyperLegacyError { err } => Self::Unavailable(reason(&err)),
            Error::HyperResponseError { err } => Self::Unavailable(reason(&err)),
            Error::IOError { err } => {
                if is_disk_full(&err.to_string()) {
                    Self::DiskFull
                } else {
                    Self::Unavailable(reason(&err))
                }
            }
            other => Self::Other(other.to_string()),
        }
    }
}

/// The innermost source of the error, which has the useful message.
fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    if let Some(io) = innermost.downcast_ref::<std::io::Error>() {
        // A TLS error is wrapped in an I/O error of the connection.
        if let Some(tls) = io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return super::tls::explain(tls);
        }
        return match io.kind() {
            std::io::ErrorKind::NotFound => "its socket does not exist, so it does not run".to_owned(),
            std::io::ErrorKind::ConnectionRefused => "the connection is refused, so it does not run".to_owned(),
            std::io::ErrorKind::PermissionDenied => {
                "this user may not use its socket (add the user to the group `docker`)".to_owned()
            }
            _ => io.to_string(),
        };
    }
    if let Some(tls) = innermost.downcast_ref::<rustls::Error>() {
        return super::tls::explain(tls);
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outages_are_told_apart_from_answers() {
        let answer = |status_code, message: &str| {
            Fault::from(Error::DockerResponseServerError { status_code, message: message.to_owned() })
        };
        assert_eq!(answer(404, "no such container"), Fault::NotFound("no such container".to_owned()));
        assert!(matches!(answer(409, "in use"), Fault::Conflict(_)));
        assert_eq!(answer(500, "write /x: no space left on device"), Fault::DiskFull);
        assert!(matches!(answer(500, "odd"), Fault::Other(_)));
        assert!(matches!(answer(500, "unrecognized image ID sha256:9452"), Fault::NotFound(_)));
        assert!(matches!(Fault::from(Error::RequestTimeoutError), Fault::Unavailable(_)));
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        assert!(Fault::from(Error::IOError { err: refused }).to_string().contains("does not run"));
    }
}
