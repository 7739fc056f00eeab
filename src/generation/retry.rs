//! Retries of requests and their backoff.
//!
//! A retry always sends the whole request with the same transcript: a broken answer is discarded.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;

use rand::RngExt as _;

use super::error::ModelError;

/// Waits between attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Before the second attempt; doubles with each further one.
    pub first: Duration,
    /// Maximum backoff.
    pub longest: Duration,
    /// Maximum wait that the provider may request. If it requests more, the error is
    /// shown at once, so that the user can decide.
    pub longest_asked: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), longest: Duration::from_secs(30), longest_asked: Duration::from_mins(5) }
    }
}

/// The wait in `retry-after`: a number of seconds, or an HTTP date.
pub fn asked_for(header: &str, now: Timestamp) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let until = rfc2822::DateTimeParser::new().parse_timestamp(header).ok()?;
    // A date in the past means no wait.
    Some(Duration::from_millis(u64::try_from(until.as_millisecond() - now.as_millisecond()).unwrap_or(0)))
}

/// The attempts of one request.
#[derive(Debug)]
pub struct Attempts {
    policy: RetryPolicy,
    made: u32,
}

impl Attempts {
    /// Before the first attempt.
    pub fn new(policy: RetryPolicy) -> Self {
        Self { policy, made: 0 }
    }

    /// Number of attempts so far.
    pub fn made(&self) -> u32 {
        self.made
    }

    /// Counts an attempt that failed with `error`. Returns the wait before the next attempt, or
    /// `None` if there is none.
    pub fn failed(&mut self, error: &ModelError) -> Option<Duration> {
        self.made += 1;
        if self.made >= error.max_attempts() {
            return None;
        }
        let doubled = self.policy.first.saturating_mul(1 << (self.made - 1).min(16)).min(self.policy.longest);
        // Jitter between half and all of it, so that clients that failed together do not retry together.
        let own = doubled.mul_f64(rand::rng().random_range(0.5..=1.0));
        match error.retry_after() {
            Some(asked) if asked > self.policy.longest_asked => None,
            Some(asked) => Some(asked.max(own)),
            None => Some(own),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backoff_grows_and_ends() {
        let mut attempts = Attempts::new(RetryPolicy::default());
        let overloaded = ModelError::Overloaded { retry_after: None };
        let waits: Vec<Duration> = std::iter::from_fn(|| attempts.failed(&overloaded)).collect();
        assert_eq!(waits.len(), 5);
        for (nth, wait) in waits.iter().enumerate() {
            let full = Duration::from_secs(1 << nth);
            assert!(*wait >= full / 2 && *wait <= full, "{nth}: {wait:?}");
        }
    }

    #[test]
    fn waits_that_the_provider_requests_are_limited() {
        let limited = |seconds| ModelError::RateLimited { retry_after: Some(Duration::from_secs(seconds)) };
        let mut attempts = Attempts::new(RetryPolicy::default());
        assert_eq!(attempts.failed(&limited(20)), Some(Duration::from_secs(20)));
        assert_eq!(attempts.failed(&limited(120)), Some(Duration::from_mins(2)));
        let failed = ModelError::Server { status: 502, retry_after: Some(Duration::from_secs(40)) };
        assert_eq!(attempts.failed(&failed), Some(Duration::from_secs(40)), "for any status");
        assert_eq!(attempts.failed(&limited(3600)), None);
        assert_eq!(Attempts::new(RetryPolicy::default()).failed(&ModelError::Unauthorized), None);
    }

    #[test]
    fn retry_after_is_read_in_both_formats() {
        let now = "2026-11-20T17:44:02Z".parse().expect("a time");
        for (header, seconds) in [
            (" 20 ", Some(20)),
            ("1.0", Some(1)),
            ("Fri, 20 Nov 2026 17:45:32 GMT", Some(90)),
            ("Fri, 20 Nov 2026 17:00:00 GMT", Some(0)),
            ("-3", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(asked_for(header, now), seconds.map(Duration::from_secs), "{header}");
        }
    }
}
