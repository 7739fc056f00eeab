//! Deadline and cancellation of work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The deadline of work, which is also cancelled when its caller stops waiting. Clones share both.
#[derive(Debug, Clone, Default)]
pub struct Budget {
    deadline: Option<Instant>,
    cancelled: Arc<AtomicBool>,
}

/// The error for work whose budget is used up, so that it has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the work took too long, or was cancelled")]
pub struct Spent;

impl Budget {
    /// A budget of this much time from now on.
    pub fn of(time: Duration) -> Self {
        Self { deadline: Instant::now().checked_add(time), cancelled: Arc::default() }
    }

    /// A budget that only [`Self::cancel`] ends: for work whose cost is limited otherwise.
    pub fn unlimited() -> Self {
        Self::default()
    }

    /// A budget that ends with this one, and after `time` at the latest.
    #[must_use]
    pub fn at_most(&self, time: Duration) -> Self {
        let deadline = Instant::now().checked_add(time);
        let deadline = match (self.deadline, deadline) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Self { deadline, cancelled: self.cancelled.clone() }
    }

    /// Cancels it, for all clones.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Whether the work has to end.
    pub fn is_spent(&self) -> bool {
        self.is_cancelled() || self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Fails if the work has to end.
    pub fn check(&self) -> Result<(), Spent> {
        if self.is_spent() { Err(Spent) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_ends_at_its_deadline_or_when_it_is_cancelled() {
        assert_eq!(Budget::unlimited().check(), Ok(()));
        assert_eq!(Budget::of(Duration::ZERO).check(), Err(Spent));
        assert_eq!(Budget::of(Duration::from_mins(10)).check(), Ok(()));
        let budget = Budget::of(Duration::from_mins(10));
        let clone = budget.at_most(Duration::from_mins(1));
        assert!(budget.at_most(Duration::ZERO).is_spent() && !budget.is_spent());
        budget.cancel();
        assert!(clone.is_spent() && clone.is_cancelled());
        assert!(Budget::of(Duration::ZERO).at_most(Duration::from_mins(1)).is_spent());
    }
}
