//! What was measured of an app in the last day.

use jiff::{SignedDuration, Timestamp};

use super::Services;
use crate::domain::{App, Environment};
use crate::error::AppResult;
use crate::gateway::Counted;
use crate::measuring::{INTERVAL, interval_of};

/// Number of intervals of a day.
pub const INTERVALS: usize = 24 * 12;

/// What was measured in one interval.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Measured {
    /// The start of the interval.
    pub at: Timestamp,
    /// The requests.
    pub counted: Counted,
    /// Memory in use, in bytes.
    pub memory_bytes: Option<u64>,
    /// CPU usage in thousandths of a core.
    pub cpu_millis: Option<u64>,
}

impl Services {
    /// The last 24 hours of an environment, oldest first, with an entry for each interval; the last one has not ended.
    pub async fn measurements(&self, app: &App, environment: Environment) -> AppResult<Vec<Measured>> {
        let current = interval_of(self.now());
        let step = SignedDuration::try_from(INTERVAL).unwrap_or_default();
        let back = i32::try_from(INTERVALS - 1).unwrap_or_default();
        let first = current.checked_sub(step * back).unwrap_or(current);
        let mut day: Vec<Measured> = Vec::with_capacity(INTERVALS);
        let mut at = first;
        while day.len() < INTERVALS {
            day.push(Measured { at, ..Measured::default() });
            at = at.checked_add(step).unwrap_or(at);
        }
        for row in self.platform.store.measurements(app.id, environment, first).await? {
            if let Ok(place) = day.binary_search_by_key(&row.at, |measured| measured.at) {
                let counted = Counted::from_bytes(row.errors, &row.latencies);
                day[place] = Measured { at: row.at, counted, memory_bytes: row.memory, cpu_millis: row.cpu };
            }
        }
        if let (Some(seen), Some(last)) = (self.seen(app), day.last_mut()) {
            last.counted.add(&seen.counted(environment));
        }
        Ok(day)
    }
}
