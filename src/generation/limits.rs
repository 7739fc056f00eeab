//! How much one turn may use.

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

/// What an app may spend in a day (UTC), and how much of it is left.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DayLimit {
    /// US dollars a day.
    pub usd: f64,
    /// US dollars left when the turn begins.
    pub left_usd: f64,
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

    /// What happened, for the user.
    pub fn sentence(self, limits: &TurnLimits) -> String {
        let limit = match self {
            Self::Steps => format!("{} steps", limits.steps),
            Self::Files => format!("{} changed files", limits.files),
            Self::FileBytes => format!("{} KiB for one file", limits.file_bytes / 1024),
            Self::Tokens => format!("{} tokens", limits.tokens),
            Self::Cost => format!("${:.2}", limits.cost_usd),
            Self::WallTime if limits.wall_time.as_secs() < 120 => format!("{} seconds", limits.wall_time.as_secs()),
            Self::WallTime => format!("{} minutes", limits.wall_time.as_secs() / 60),
            Self::Day => return limits.day.map_or_else(String::new, DayLimit::sentence),
        };
        format!("This turn reached its limit of {limit}. What was written is kept; Continue goes on from there.")
    }
}

impl TurnLimits {
    /// Tokens of `used` that count.
    pub fn counted_tokens(used: WireUsage) -> u64 {
        used.input_tokens + used.output_tokens + used.cache_write_tokens
    }

    /// The cap that lets no further step begin, if any.
    pub fn reached(&self, steps: u32, used: WireUsage, cost_usd: Option<f64>) -> Option<Cap> {
        if steps >= self.steps {
            Some(Cap::Steps)
        } else if Self::counted_tokens(used) >= self.tokens {
            Some(Cap::Tokens)
        } else if cost_usd.is_some_and(|cost| cost > 0.0 && cost >= self.cost_usd) {
            Some(Cap::Cost)
        } else if let (Some(day), Some(cost)) = (self.day, cost_usd)
            && cost >= day.left_usd
            && (cost > 0.0 || day.left_usd <= 0.0)
        {
            Some(Cap::Day)
        } else {
            None
        }
    }
}
