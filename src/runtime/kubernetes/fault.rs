//! Classifies the errors of the API server: unavailable, refused, not found.

use kube::runtime::watcher;

use super::super::RuntimeError;

/// Why a request to the cluster failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// The cluster does not answer, or not at the moment: the caller may retry.
    Away(String),
    /// There is no such object, or no such kind of object.
    NotFound(String),
    /// The object exists already, or was changed meanwhile.
    Conflict(String),
    /// The cluster does not accept the client's identity (401).
    Unknown(String),
    /// The client lacks the permission (403).
    Forbidden(String),
    /// Every other refusal.
    Refused(String),
}

impl From<kube::Error> for Fault {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => of_status(&status),
            kube::Error::Service(source) => Self::Away(root(&*source)),
            kube::Error::HyperError(source) => Self::Away(root(&source)),
            kube::Error::ReadEvents(source) => Self::Away(root(&source)),
            kube::Error::Auth(source) => {
                Self::Refused(format!("the credentials in the kubeconfig cannot be used: {source}"))
            }
            other => Self::Refused(other.to_string()),
        }
    }
}

impl From<watcher::Error> for Fault {
    fn from(error: watcher::Error) -> Self {
        match error {
            watcher::Error::InitialListFailed(error)
            | watcher::Error::WatchStartFailed(error)
            | watcher::Error::WatchFailed(error) => error.into(),
            watcher::Error::WatchError(status) => of_status(&status),
            watcher::Error::NoResourceVersion => Self::Refused("it cannot be watched".to_owned()),
        }
    }
}

fn of_status(status: &kube::core::Status) -> Fault {
    let message = if status.message.is_empty() { status.reason.clone() } else { status.message.clone() };
    match status.code {
        401 => Fault::Unknown(
            "it does not know who we are: the token or certificate has expired, or belongs to another cluster"
                .to_owned(),
        ),
        403 => Fault::Forbidden(message),
        404 => Fault::NotFound(message),
        409 => Fault::Conflict(message),
        // The server is overloaded, starting or stopping.
        429 | 500 | 502 | 503 | 504 => Fault::Away(message),
        _ => Fault::Refused(message),
    }
}

impl From<Fault> for RuntimeError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Away(why) => Self::ClusterUnavailable(why),
            Fault::NotFound(_) => Self::Gone,
            Fault::Unknown(why) | Fault::Forbidden(why) => Self::ClusterDenied(why),
            Fault::Conflict(why) | Fault::Refused(why) => Self::ClusterRefused(why),
        }
    }
}

/// The innermost source of an error. The errors around it only reflect the layers of the client libraries.
fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
