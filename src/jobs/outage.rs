//! Waits out an outage of the engine, the registry or the cluster during a job.

use std::time::Duration;

use tokio::time::Instant;

use super::context::{Failure, JobContext};
use super::failure::BuildFault;
use crate::build::BuildEngine;
use crate::domain::LogStream;
use crate::runtime::RuntimeError;

/// How long a job waits for the end of one outage.
const OUTAGE_LIMIT: Duration = Duration::from_mins(10);
/// Number of outages of one call that are waited out. More of them have another cause.
const OUTAGES_MAX: u32 = 3;
/// A call that lasted at least this long must have reached the runtime: its failure starts a new outage.
const RECOVERY_WINDOW: Duration = Duration::from_secs(30);
/// How long after an outage a cluster may still deny access to known accounts, because it loads accounts and roles
/// during its start.
const POST_OUTAGE_GRACE: Duration = Duration::from_secs(30);
/// First pause before a retry.
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause before a retry.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);

/// An error that may be an outage, in which case the job waits for its end.
pub trait Outage: std::fmt::Display + Into<Failure> {
    /// Whether it is an outage that ends without an action of this machine's user.
    fn is_waited_out(&self) -> bool;

    /// Whether it is a denial of access, as a cluster sends it to everyone right after its start.
    fn is_denial(&self) -> bool {
        false
    }
}

impl Outage for RuntimeError {
    fn is_waited_out(&self) -> bool {
        // A Docker engine that does not run has to be started by this machine's user: the job fails at once and says so.
        matches!(self, Self::ClusterUnavailable(_))
    }

    fn is_denial(&self) -> bool {
        matches!(self, Self::ClusterDenied(_))
    }
}

impl Outage for BuildFault {
    fn is_waited_out(&self) -> bool {
        self.engine == BuildEngine::InCluster && self.error.is_outage()
    }
}

/// The state of the retries of one call.
#[derive(Debug, Default)]
struct OutageRetry {
    /// When the current outage was noticed first and last.
    outage: Option<(Instant, Instant)>,
    outages: u32,
    pause: Duration,
}

impl OutageRetry {
    /// The pause before the retry of a call that started at `asked` and failed at `now`; none if the call is not
    /// retried.
    fn pause(&mut self, error: &impl Outage, asked: Instant, now: Instant) -> Option<Duration> {
        match self.outage {
            Some((_, last)) if error.is_denial() => {
                if now - last >= POST_OUTAGE_GRACE {
                    return None;
                }
            }
            _ if !error.is_waited_out() => return None,
            Some((first, _)) if now - asked < RECOVERY_WINDOW => {
                if now - first >= OUTAGE_LIMIT {
                    return None;
                }
                self.outage = Some((first, now));
            }
            _ => {
                self.outages += 1;
                if self.outages > OUTAGES_MAX {
                    return None;
                }
                self.outage = Some((now, now));
                self.pause = Duration::ZERO;
            }
        }
        self.pause = (self.pause * 2).clamp(RETRY_PAUSE, RETRY_PAUSE_MAX);
        Some(self.pause)
    }
}

/// Retries a call until the outage has ended, and reports in the job's log what it waits for.
pub async fn retry_during_outage<T, E, F>(context: &JobContext, mut ask: impl FnMut() -> F) -> Result<T, Failure>
where
    E: Outage,
    F: Future<Output = Result<T, E>>,
{
    let (mut retry, mut is_logged) = (OutageRetry::default(), false);
    loop {
        let asked = Instant::now();
        let error = match ask().await {
            Ok(answer) => {
                if is_logged {
                    context.log(LogStream::Deploy, "It is back.").await;
                }
                return Ok(answer);
            }
            Err(error) => error,
        };
        let Some(wait) = retry.pause(&error, asked, Instant::now()) else { return Err(error.into()) };
        if !is_logged {
            let error = error.to_string();
            // The message of an engine or a cluster may end without a full stop.
            let stop = if error.ends_with(['.', '…']) { "" } else { "." };
            context
                .log(LogStream::Deploy, format!("{error}{stop} Waiting for it; the job will resume by itself."))
                .await;
            is_logged = true;
        }
        tokio::select! {
            () = context.cancel.cancelled() => return Err(Failure::Cancelled),
            () = tokio::time::sleep(wait) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn away() -> RuntimeError {
        RuntimeError::ClusterUnavailable("connection refused".to_owned())
    }

    fn denied() -> RuntimeError {
        RuntimeError::ClusterDenied("pods is forbidden".to_owned())
    }

    #[test]
    fn an_outage_is_counted_from_where_it_began() {
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        let mut patience = OutageRetry::default();
        // The call ran for eleven minutes, and then the cluster became unavailable.
        assert_eq!(patience.pause(&away(), begun, after(660)), Some(RETRY_PAUSE));
        assert_eq!(patience.pause(&away(), after(661), after(661)), Some(RETRY_PAUSE * 2));
        assert_eq!(patience.pause(&away(), after(1250), after(1255)), Some(RETRY_PAUSE * 4));
        assert_eq!(patience.pause(&away(), after(1260), after(1261)), None);
        // The cluster was available for a while, so this is another outage. The number of outages is limited.
        let mut patience = OutageRetry::default();
        assert!(patience.pause(&away(), begun, after(1)).is_some());
        assert_eq!(patience.pause(&away(), after(2), after(700)), Some(RETRY_PAUSE));
        assert!(patience.pause(&away(), after(700), after(1400)).is_some());
        assert_eq!(patience.pause(&away(), after(1400), after(2100)), None);
    }

    #[test]
    fn who_is_not_known_right_after_an_outage_is_known_soon() {
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        let mut patience = OutageRetry::default();
        assert_eq!(patience.pause(&denied(), begun, begun), None, "without an outage it is meant so");
        assert!(patience.pause(&away(), begun, begun).is_some());
        assert!(patience.pause(&denied(), after(1), after(1)).is_some());
        assert!(patience.pause(&denied(), after(29), after(29)).is_some());
        assert_eq!(patience.pause(&denied(), after(30), after(31)), None);
        assert_eq!(patience.pause(&RuntimeError::Gone, after(2), after(2)), None);
    }
}
