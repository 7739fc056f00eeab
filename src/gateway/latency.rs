//! How many requests there were and how long they took, in buckets. Counting takes no lock.
//!
//! A bucket is a quarter of a power of two wide, so a percentile is at most an eighth too large or too small.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

/// Each power of two has this many buckets.
const PARTS: u32 = 4;
/// The upper bound of the first bucket is 2⁷ microseconds.
const FIRST: u32 = 7;
/// Number of buckets: the last one begins above a minute.
const BUCKETS: usize = 80;

/// The numbers of one environment. 328 bytes.
#[derive(Debug)]
pub(super) struct Latencies {
    buckets: [AtomicU32; BUCKETS],
    errors: AtomicU32,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| AtomicU32::new(0)), errors: AtomicU32::new(0) }
    }
}

impl Latencies {
    pub(super) fn count(&self, took: Duration, is_error: bool) {
        self.buckets[bucket(took)].fetch_add(1, Relaxed);
        if is_error {
            self.errors.fetch_add(1, Relaxed);
        }
    }

    /// The numbers since this was last called.
    pub(super) fn take(&self) -> Counted {
        self.read(|counter| counter.swap(0, Relaxed))
    }

    /// The numbers so far.
    pub(super) fn now(&self) -> Counted {
        self.read(|counter| counter.load(Relaxed))
    }

    fn read(&self, read: impl Fn(&AtomicU32) -> u32) -> Counted {
        let errors = u64::from(read(&self.errors));
        let buckets = (0..).zip(&self.buckets).map(|(bucket, counter)| (bucket, read(counter)));
        Counted { errors, buckets: buckets.filter(|(_, count)| *count > 0).collect() }
    }
}

fn bucket(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1 << FIRST);
    let power = micros.ilog2();
    let part = u32::try_from((micros >> (power - 2)) & u64::from(PARTS - 1)).unwrap_or_default();
    (((power - FIRST) * PARTS + part) as usize).min(BUCKETS - 1)
}

/// The middle of a bucket, in microseconds.
fn middle(bucket: u8) -> u64 {
    let (power, part) = (u32::from(bucket) / PARTS + FIRST, u64::from(u32::from(bucket) % PARTS));
    let width = 1_u64 << (power - 2);
    (1 << power) + part * width + width / 2
}

/// Numbers of requests of some time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted {
    /// Number of responses with a status of 5xx.
    pub errors: u64,
    /// Numbers of requests by their time; without buckets that are empty.
    buckets: Vec<(u8, u32)>,
}

impl Counted {
    /// Number of requests.
    pub fn requests(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| u64::from(*count)).sum()
    }

    /// The time that this share of the requests, in thousandths, did not exceed. None without requests.
    pub fn percentile(&self, thousandths: u64) -> Option<Duration> {
        let wanted = (self.requests() * thousandths).div_ceil(1_000).max(1);
        let mut seen = 0;
        let found = self.buckets.iter().find(|(_, count)| {
            seen += u64::from(*count);
            seen >= wanted
        });
        found.map(|(bucket, _)| Duration::from_micros(middle(*bucket)))
    }

    /// Adds the numbers of another time.
    pub fn add(&mut self, other: &Self) {
        self.errors += other.errors;
        for (bucket, count) in &other.buckets {
            match self.buckets.binary_search_by_key(bucket, |(bucket, _)| *bucket) {
                Ok(at) => self.buckets[at].1 = self.buckets[at].1.saturating_add(*count),
                Err(at) => self.buckets.insert(at, (*bucket, *count)),
            }
        }
    }

    /// The buckets as bytes: a byte for the bucket, four for its number.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.buckets.iter().flat_map(|(bucket, count)| [*bucket].into_iter().chain(count.to_le_bytes())).collect()
    }

    /// From the bytes of [`Self::to_bytes`]. What is not a bucket is ignored.
    pub fn from_bytes(errors: u64, bytes: &[u8]) -> Self {
        let mut counted = Self { errors, buckets: Vec::new() };
        for chunk in bytes.as_chunks::<5>().0 {
            let [bucket, count @ ..] = *chunk;
            if usize::from(bucket) < BUCKETS {
                counted.add(&Self { errors: 0, buckets: vec![(bucket, u32::from_le_bytes(count))] });
            }
        }
        counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_close() {
        let latencies = Latencies::default();
        for millis in 1..=1_000 {
            latencies.count(Duration::from_millis(millis), millis > 990);
        }
        let counted = latencies.now();
        assert_eq!((counted.requests(), counted.errors), (1_000, 10));
        for (thousandths, exact) in [(1, 1.0), (500, 500.0), (990, 990.0), (1_000, 1_000.0)] {
            let millis = counted.percentile(thousandths).expect("requests").as_secs_f64() * 1_000.0;
            assert!((millis - exact).abs() <= exact / 7.0, "{thousandths}: {millis}");
        }
        assert_eq!(latencies.take(), counted);
        assert_eq!(latencies.now(), Counted::default());
        assert_eq!(Counted::default().percentile(500), None);
    }

    #[test]
    fn all_times_have_a_bucket() {
        for took in [Duration::ZERO, Duration::from_micros(127), Duration::from_hours(24), Duration::MAX] {
            assert!(bucket(took) < BUCKETS);
        }
        let mut last = 0;
        for micros in (0..2_000_000).step_by(37) {
            let now = bucket(Duration::from_micros(micros));
            assert!(now >= last, "{micros}");
            last = now;
        }
    }

    #[test]
    fn numbers_are_stored_and_added() {
        let latencies = Latencies::default();
        for micros in [100, 5_000, 5_001, 900_000] {
            latencies.count(Duration::from_micros(micros), false);
        }
        let counted = latencies.take();
        assert_eq!(Counted::from_bytes(0, &counted.to_bytes()), counted);
        let mut twice = counted.clone();
        twice.add(&counted);
        assert_eq!((twice.requests(), twice.percentile(500)), (8, counted.percentile(500)));
        assert_eq!(Counted::from_bytes(3, &[255, 1, 0, 0, 0, 7]), Counted { errors: 3, buckets: Vec::new() });
    }
}
