//! How much one turn may use, and how long a conversation may get.

use std::time::Duration;

use super::wire::WireUsage;

/// The caps of a turn. Reaching one ends it cleanly, with what was written. Tokens and money are
/// counted between answers, so that the last answer may go beyond them.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnLimits {
    /// Answers of the model.
    pub steps: u32,
    /// Different files written, edited or deleted.
    pub files: usize,
    /// Bytes of any file written.
    pub file_bytes: usize,
    /// Tokens read and written, those read from the cache left out.
    pub tokens: u64,
    /// US dollars; of no effect with a model whose price is not known.
    pub cost_usd: f64,
    /// Time from the prompt on, waiting included.
    pub wall_time: Duration,
    /// What the app may still spend today.
    pub day: Option<DayLimit>,
}

/// What turns that share their limits have used together: one of a person, and those that repair it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Spent {
    /// Answers of the model.
    pub steps: u32,
    /// Tokens that count.
    pub tokens: u64,
    /// US dollars.
    pub usd: f64,
    /// Time at work.
    pub time: Duration,
}

/// What an app may spend in a day (UTC), and how much of it is left.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DayLimit {
    /// US dollars a day.
    pub usd: f64,
    /// US dollars left when the turn begins.
    pub left_usd: f64,
}

/// When a conversation is made shorter, and how short, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threshold {
    /// Longer than this it is made shorter.
    pub at: u64,
    /// To at most this, where that is possible.
    pub to: u64,
}

impl DayLimit {
    /// What happened when nothing is left, for the user.
    pub fn sentence(self) -> String {
        format!(
            "This app has used its ${:.2} of today. What was written is kept; go on tomorrow (UTC), or raise \
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

/// Which of a turn's limits was reached.
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
    /// A stable word for programs.
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

    /// The limit itself, in words.
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

    /// What happened, for the user. A repair (`shares`) reaches it together with the turn that it belongs to.
    pub fn sentence(self, limits: &TurnLimits, shares: bool) -> String {
        let who = match self {
            Self::Day => return limits.day.map_or_else(String::new, DayLimit::sentence),
            // These are each turn's own.
            Self::Files | Self::FileBytes => "This turn reached its",
            _ if shares => "This turn and its repairs reached their",
            _ => "This turn reached its",
        };
        let limit = self.limit(limits);
        format!("{who} limit of {limit}. What was written is kept; Continue goes on from there.")
    }

    /// Why no repair follows, for the user.
    pub fn ends_repairs(self, limits: &TurnLimits) -> String {
        let limit = self.limit(limits);
        format!("This turn and its repairs reached their limit of {limit}, so no further repair is tried.")
    }
}

impl TurnLimits {
    /// Tokens of `used` that count.
    pub fn counted_tokens(used: WireUsage) -> u64 {
        used.input_tokens + used.output_tokens + used.cache_write_tokens
    }

    /// The cap that lets no further step begin, if any. `before` is what other turns have used that share
    /// the limits; the day knows of them already.
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
    fn what_is_used_up_names_itself() {
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
            for told in [cap.sentence(&limits, true), cap.ends_repairs(&limits)] {
                assert!(told.starts_with("This turn and its repairs reached") && told.contains(words), "{told}");
            }
            assert!(cap.sentence(&limits, false).starts_with("This turn reached its limit"));
        }
    }

    #[test]
    fn a_repair_counts_on_from_the_turn() {
        let limits = TurnLimits::default();
        let before = Spent { steps: 58, tokens: 1_000_000, usd: 4.5, time: Duration::ZERO };
        let used = |tokens| WireUsage { output_tokens: tokens, ..WireUsage::default() };
        assert_eq!(limits.reached(before, 1, used(9), Some(0.4)), None);
        assert_eq!(limits.reached(before, 2, used(9), Some(0.4)), Some(Cap::Steps));
        assert_eq!(limits.reached(before, 1, used(500_000), Some(0.4)), Some(Cap::Tokens));
        assert_eq!(limits.reached(before, 1, used(9), Some(0.5)), Some(Cap::Cost));
        // What the turn has cost is gone from the day already.
        let limits = TurnLimits { day: Some(DayLimit { usd: 20.0, left_usd: 0.3 }), ..limits };
        assert_eq!(limits.reached(before, 1, used(9), Some(0.2)), None);
        assert_eq!(limits.reached(before, 1, used(9), Some(0.3)), Some(Cap::Day));
    }
}
