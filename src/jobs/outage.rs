//! Waiting out an outage of the engine, the registry or the cluster in the middle of a job.

use std::time::Duration;

use tokio::time::Instant;

use super::context::{Failure, JobContext};
use super::failure::BuildFault;
use crate::build::BuildEngine;
use crate::domain::LogStream;
use crate::runtime::RuntimeError;

/// How long one outage of a runtime is waited out in the middle of a job.
const OUTAGE_LIMIT: Duration = Duration::from_mins(10);
/// Outages of one call that are waited out; more of them have another cause.
const OUTAGES_MAX: u32 = 3;
/// A call that lasted at least this long got through in between: its failure begins another outage.
const RECOVERY_WINDOW: Duration = Duration::from_secs(30);
/// How long after an outage a cluster may still refuse known accounts: it loads accounts and roles as it starts.
const POST_OUTAGE_GRACE: Duration = Duration::from_secs(30);
/// First pause before a retry.
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause before a retry.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);

/// An error that may be an outage, which a job waits out.
pub trait Outage: std::fmt::Display + Into<Failure> {
    /// Whether it is an outage that ends without an action of this machine's user.
    fn is_waited_out(&self) -> bool;

    /// Whether it is what a cluster answers to everyone right after its start.
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

/// Retries during one call's outages.
#[derive(Debug, Default)]
struct OutageRetry {
    /// When the current outage was first and last seen.
    outage: Option<(Instant, Instant)>,
    outages: u32,
    pause: Duration,
}

impl OutageRetry {
    /// The pause before a call that began at `asked` and failed `now` is retried; none when it is given up.
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

/// Retries a call until the outage is over, and says in the job's log what it waits for.
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
            // The words of an engine or a cluster may end without a full stop.
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
        // What was asked went on for eleven minutes, and then the cluster went away.
        assert_eq!(patience.pause(&away(), begun, after(660)), Some(RETRY_PAUSE));
        assert_eq!(patience.pause(&away(), after(661), after(661)), Some(RETRY_PAUSE * 2));
        assert_eq!(patience.pause(&away(), after(1250), after(1255)), Some(RETRY_PAUSE * 4));
        assert_eq!(patience.pause(&away(), after(1260), after(1261)), None);
        // It was back for a while, so this is another outage. The number of outages is bounded.
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
