//! What the API server's errors mean: away, refused, gone.

use kube::runtime::watcher;

use super::super::RuntimeError;

/// What a call came to, other than what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nobody answers, or not now: to be tried again.
    Away(String),
    /// There is no such object, or no such kind of object.
    NotFound(String),
    /// It is there already, or was changed meanwhile.
    Conflict(String),
    /// It does not know us.
    Unknown(String),
    /// We may not.
    Forbidden(String),
    /// All else that the cluster says no to.
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
        // Overloaded, starting or stopping.
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

/// The innermost reason: what lies around it is how the libraries are stacked.
fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
