//! What the engine's errors mean.

use bollard::errors::Error;

/// Why a call to the engine came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Nobody answers, or we are not let in.
    #[error("The Docker engine cannot be reached: {0}.")]
    Unavailable(String),
    /// Already gone, or never there.
    #[error("The Docker engine does not know it: {0}")]
    NotFound(String),
    /// Already there, or in a state that forbids the call.
    #[error("The Docker engine refuses: {0}")]
    Conflict(String),
    /// The engine's disk is full.
    #[error(
        "The disk of the Docker engine is full. Remove what is not needed (for example with `docker system prune`) and try again."
    )]
    DiskFull,
    /// Everything else, in the engine's words.
    #[error("The Docker engine reports: {0}")]
    Other(String),
}

impl Fault {
    /// Reads a message of the engine, whatever call it came from.
    pub fn from_message(message: &str) -> Self {
        if is_disk_full(message) { Self::DiskFull } else { Self::Other(message.trim().to_owned()) }
    }
}

/// Whether a message says that there is no space left.
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
                // A proxy or socket activation in front of an engine that is down.
                502..=504 => Self::Unavailable(message.trim().to_owned()),
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

/// The innermost cause, which is the one that says something.
fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    if let Some(io) = innermost.downcast_ref::<std::io::Error>() {
        // An error of TLS travels inside one of the line.
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
        assert!(matches!(Fault::from(Error::RequestTimeoutError), Fault::Unavailable(_)));
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        assert!(Fault::from(Error::IOError { err: refused }).to_string().contains("does not run"));
    }
}
