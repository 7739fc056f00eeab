//! Limits of a turn, and the threshold of compaction.

use std::time::Duration;

use super::wire::WireUsage;

/// The limits of a turn. A turn that reaches one ends, and its files are kept. Tokens and money are
/// counted between answers, so the last answer may exceed them.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnLimits {
    /// Answers of the model.
    pub steps: u32,
    /// Number of files that are written, edited or deleted.
    pub files: usize,
    /// Maximum bytes of a written file.
    pub file_bytes: usize,
    /// Input and output tokens, without those read from the cache.
    pub tokens: u64,
    /// US dollars; ignored for a model without a known price.
    pub cost_usd: f64,
    /// Time since the prompt, including waits.
    pub wall_time: Duration,
    /// The rest of the app's daily limit.
    pub day: Option<DayLimit>,
}

/// Usage of turns that share their limits: a user's turn and its repairs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Spent {
    /// Answers of the model.
    pub steps: u32,
    /// Tokens that count.
    pub tokens: u64,
    /// US dollars.
    pub usd: f64,
    /// Running time.
    pub time: Duration,
}

/// The daily limit of an app (UTC), and its rest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DayLimit {
    /// US dollars per day.
    pub usd: f64,
    /// US dollars left at the start of the turn.
    pub left_usd: f64,
}

/// The threshold and the target of compaction, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threshold {
    /// A longer conversation is compacted.
    pub at: u64,
    /// To at most this length, if possible.
    pub to: u64,
}

impl DayLimit {
    /// The sentence for the user when nothing is left.
    pub fn sentence(self) -> String {
        format!(
            "This app has reached its limit of ${:.2} for today. Changes so far are saved. Try again tomorrow (UTC), or raise \
             SLIPWAY_APP_MAX_USD_PER_DAY.",
            self.usd
        )
    }
}

impl Default for TurnLimits {
    fn default() -> Self {
        Self {
            steps: 60,
            files: 80,
            file_bytes: 512 * 1024,
            tokens: 1_500_000,
            cost_usd: 5.0,
            wall_time: Duration::from_mins(20),
            day: None,
        }
    }
}

/// The limit that a turn has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cap {
    /// [`TurnLimits::steps`]
    Steps,
    /// [`TurnLimits::files`]
    Files,
    /// [`TurnLimits::file_bytes`]
    FileBytes,
    /// [`TurnLimits::tokens`]
    Tokens,
    /// [`TurnLimits::cost_usd`]
    Cost,
    /// [`TurnLimits::wall_time`]
    WallTime,
    /// [`TurnLimits::day`]
    Day,
}

impl Cap {
    /// A stable code.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Steps => "steps",
            Self::Files => "files",
            Self::FileBytes => "file_bytes",
            Self::Tokens => "tokens",
            Self::Cost => "cost",
            Self::WallTime => "wall_time",
            Self::Day => "day",
        }
    }

    /// The limit in words.
    fn limit(self, limits: &TurnLimits) -> String {
        match self {
            Self::Steps => format!("{} steps", limits.steps),
            Self::Files => format!("{} changed files", limits.files),
            Self::FileBytes => format!("{} KiB for one file", limits.file_bytes / 1024),
            Self::Tokens => format!("{} tokens", limits.tokens),
            Self::Cost | Self::Day => format!("${:.2}", limits.cost_usd),
            Self::WallTime if limits.wall_time.as_secs() < 120 => format!("{} seconds", limits.wall_time.as_secs()),
            Self::WallTime => format!("{} minutes", limits.wall_time.as_secs() / 60),
        }
    }

    /// The sentence for the user. A repair (`shares`) shares the limit with the turn that it repairs.
    pub fn sentence(self, limits: &TurnLimits, shares: bool) -> String {
        let who = match self {
            Self::Day => return limits.day.map_or_else(String::new, DayLimit::sentence),
            // Each turn has its own limit of these.
            Self::Files | Self::FileBytes => "This turn reached its",
            _ if shares => "This turn and its repairs reached their",
            _ => "This turn reached its",
        };
        let limit = self.limit(limits);
        format!("{who} limit of {limit}. Changes so far are saved; Continue resumes from there.")
    }

    /// The sentence for the user when no repair follows.
    pub fn ends_repairs(self, limits: &TurnLimits) -> String {
        let limit = self.limit(limits);
        format!("This turn and its repairs reached their limit of {limit}, so there is no further repair.")
    }
}

impl TurnLimits {
    /// Tokens of `used` that count.
    pub fn counted_tokens(used: WireUsage) -> u64 {
        used.input_tokens + used.output_tokens + used.cache_write_tokens
    }

    /// The limit that forbids a further step, if any. `before`: usage of other turns that share
    /// the limits; the daily limit already includes it.
    pub fn reached(&self, before: Spent, steps: u32, used: WireUsage, cost_usd: Option<f64>) -> Option<Cap> {
        let together = Spent {
            steps: before.steps.saturating_add(steps),
            tokens: before.tokens.saturating_add(Self::counted_tokens(used)),
            usd: before.usd + cost_usd.unwrap_or_default(),
            time: before.time,
        };
        if let Some(cap) = self.used_up(together) {
            return Some(cap);
        }
        let (day, cost) = self.day.zip(cost_usd)?;
        (cost >= day.left_usd && (cost > 0.0 || day.left_usd <= 0.0)).then_some(Cap::Day)
    }

    /// The limit that is used up, if any.
    pub fn used_up(&self, spent: Spent) -> Option<Cap> {
        if spent.steps >= self.steps {
            Some(Cap::Steps)
        } else if spent.tokens >= self.tokens {
            Some(Cap::Tokens)
        } else if spent.usd > 0.0 && spent.usd >= self.cost_usd {
            Some(Cap::Cost)
        } else if spent.time >= self.wall_time {
            Some(Cap::WallTime)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reached_limit_is_named() {
        let limits = TurnLimits::default();
        let spent = Spent { steps: 59, tokens: 1_499_999, usd: 4.99, time: Duration::from_mins(19) };
        assert_eq!(limits.used_up(spent), None);
        for (gone, cap, words) in [
            (Spent { steps: 60, ..spent }, Cap::Steps, "limit of 60 steps"),
            (Spent { tokens: 1_500_000, ..spent }, Cap::Tokens, "limit of 1500000 tokens"),
            (Spent { usd: 5.0, ..spent }, Cap::Cost, "limit of $5.00"),
            (Spent { time: Duration::from_mins(20), ..spent }, Cap::WallTime, "limit of 20 minutes"),
        ] {
            assert_eq!(limits.used_up(gone), Some(cap));
            assert_eq!(limits.reached(gone, 0, WireUsage::default(), None), Some(cap));
            for sentence in [cap.sentence(&limits, true), cap.ends_repairs(&limits)] {
                assert!(
                    sentence.starts_with("This turn and its repairs reached") && sentence.contains(words),
                    "{sentence}"
                );
            }
            assert!(cap.sentence(&limits, false).starts_with("This turn reached its limit"));
        }
    }

    #[test]
    fn a_repair_continues_the_count_of_its_turn() {
        let limits = TurnLimits::default();
        let before = Spent { steps: 58, tokens: 1_000_000, usd: 4.5, time: Duration::ZERO };
        let used = |tokens| WireUsage { output_tokens: tokens, ..WireUsage::default() };
        assert_eq!(limits.reached(before, 1, used(9), Some(0.4)), None);
        assert_eq!(limits.reached(before, 2, used(9), Some(0.4)), Some(Cap::Steps));
        assert_eq!(limits.reached(before, 1, used(500_000), Some(0.4)), Some(Cap::Tokens));
        assert_eq!(limits.reached(before, 1, used(9), Some(0.5)), Some(Cap::Cost));
        // The daily limit already includes the cost of the turn.
        let limits = TurnLimits { day: Some(DayLimit { usd: 20.0, left_usd: 0.3 }), ..limits };
        assert_eq!(limits.reached(before, 1, used(9), Some(0.2)), None);
        assert_eq!(limits.reached(before, 1, used(9), Some(0.3)), Some(Cap::Day));
    }
}
