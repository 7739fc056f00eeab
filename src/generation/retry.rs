//! When a request is made again, and after how long.
//!
//! A request is always repeated whole, with the same transcript: what a broken answer said is void.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;

use rand::RngExt as _;

use super::error::ModelError;

/// How long is waited between attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Before the second attempt; doubles with each further one.
    pub first: Duration,
    /// Longest wait of our own choosing.
    pub longest: Duration,
    /// Longest wait that is done because the provider asks for it. Asked for more, the error is
    /// shown at once, so that its user can decide.
    pub longest_asked: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), longest: Duration::from_secs(30), longest_asked: Duration::from_mins(5) }
    }
}

/// What `retry-after` asks for: a number of seconds, or a date in HTTP's own form.
pub fn asked_for(header: &str, now: Timestamp) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let until = rfc2822::DateTimeParser::new().parse_timestamp(header).ok()?;
    // What is past need not be waited for.
    Some(Duration::from_millis(u64::try_from(until.as_millisecond() - now.as_millisecond()).unwrap_or(0)))
}

/// The attempts at one request.
#[derive(Debug)]
pub struct Attempts {
    policy: RetryPolicy,
    made: u32,
}

impl Attempts {
    /// Before the first.
    pub fn new(policy: RetryPolicy) -> Self {
        Self { policy, made: 0 }
    }

    /// How many were made.
    pub fn made(&self) -> u32 {
        self.made
    }

    /// Counts an attempt that ended in `error`. Says how long to wait before the next one, or
    /// that there is none.
    pub fn failed(&mut self, error: &ModelError) -> Option<Duration> {
        self.made += 1;
        if self.made >= error.max_attempts() {
            return None;
        }
        let doubled = self.policy.first.saturating_mul(1 << (self.made - 1).min(16)).min(self.policy.longest);
        // Between half and all of it, so that many who failed together do not come back together.
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
    fn waits_grow_and_end() {
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
    fn the_provider_is_obeyed_up_to_a_limit() {
        let limited = |seconds| ModelError::RateLimited { retry_after: Some(Duration::from_secs(seconds)) };
        let mut attempts = Attempts::new(RetryPolicy::default());
        assert_eq!(attempts.failed(&limited(20)), Some(Duration::from_secs(20)));
        assert_eq!(attempts.failed(&limited(120)), Some(Duration::from_mins(2)));
        let failed = ModelError::Server { status: 502, retry_after: Some(Duration::from_secs(40)) };
        assert_eq!(attempts.failed(&failed), Some(Duration::from_secs(40)), "by whatever status it asks");
        assert_eq!(attempts.failed(&limited(3600)), None);
        assert_eq!(Attempts::new(RetryPolicy::default()).failed(&ModelError::Unauthorized), None);
    }

    #[test]
    fn what_it_asks_for_is_read_in_either_form() {
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
