//! Samples, and the table that is made of them.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

/// Says what is going on, beside the table.
pub fn say(words: &str) {
    let _ = writeln!(std::io::stderr(), "== {words}");
}

/// Measurements of one kind.
#[derive(Debug, Default, Clone)]
pub struct Samples(Vec<f64>);

impl Samples {
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub fn push_ms(&mut self, time: Duration) {
        self.0.push(time.as_secs_f64() * 1000.0);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The value below which a share (0 to 1) of the samples lies.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "there are far fewer samples than 2^52"
    )]
    pub fn quantile(&self, share: f64) -> f64 {
        assert!(!self.0.is_empty(), "nothing was measured");
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted[rank.clamp(1, sorted.len()) - 1]
    }

    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The median of what was measured in pairs, one over the other: what slowed the machine down for
    /// a while slowed both of a pair.
    pub fn median_over(&self, other: &Self) -> f64 {
        assert_eq!(self.len(), other.len(), "measured in pairs");
        Self(self.0.iter().zip(&other.0).map(|(one, other)| one / other).collect()).median()
    }
}

/// What a row must be to hold.
#[derive(Debug, Clone, Copy)]
pub enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

struct Row {
    what: String,
    bound: String,
    measured: String,
    beside: String,
    /// None where there is nothing to hold to.
    holds: Option<bool>,
}

/// The rows so far.
#[derive(Default)]
pub struct Report(Vec<Row>);

impl Report {
    /// A row of a value with a bound; `unit` follows every number.
    pub fn row(&mut self, what: &str, bound: Bound, unit: &str, value: f64, details: &str) {
        self.add(what, bound, unit, value, &shown(value, unit, details), "");
    }

    /// A row of a value without a bound.
    pub fn unbounded(&mut self, what: &str, unit: &str, value: f64, details: &str) {
        let measured = shown(value, unit, details);
        say(&format!("{what}: {measured}"));
        let (what, bound) = (what.to_owned(), "—".to_owned());
        self.0.push(Row { what, bound, measured, beside: String::new(), holds: None });
    }

    /// A row of our time over that of the bare tools.
    pub fn ratio(&mut self, what: &str, bound: Bound, unit: &str, ours: &Samples, theirs: &Samples, peer: &str) {
        let ratio = ours.median_over(theirs);
        let measured = format!("{ratio:.2}× ({})", shown(ours.median(), unit, ""));
        self.add(what, bound, "×", ratio, &measured, &format!("{} ({peer})", shown(theirs.median(), unit, "")));
    }

    fn add(&mut self, what: &str, bound: Bound, unit: &str, value: f64, measured: &str, beside: &str) {
        let (holds, bound) = match bound {
            Bound::AtMost(most) => (value <= most, format!("at most {}", shown(most, unit, ""))),
            Bound::AtLeast(least) => (value >= least, format!("at least {}", shown(least, unit, ""))),
        };
        say(&format!("{what}: {measured} {beside}"));
        let (what, measured, beside) = (what.to_owned(), measured.to_owned(), beside.to_owned());
        self.0.push(Row { what, bound, measured, beside, holds: Some(holds) });
    }

    /// Whether every row does.
    pub fn holds(&self) -> bool {
        self.0.iter().all(|row| row.holds != Some(false))
    }

    /// As Markdown.
    pub fn table(&self) -> String {
        let mut table = String::from("| what | bound | measured | beside it | holds |\n|---|---|---|---|---|\n");
        for row in &self.0 {
            let holds = match row.holds {
                Some(true) => "yes",
                Some(false) => "**no**",
                None => "—",
            };
            let _ = writeln!(
                table,
                "| {} | {} | {} | {} | {holds} |",
                row.what,
                row.bound,
                row.measured,
                if row.beside.is_empty() { "—" } else { &row.beside }
            );
        }
        table
    }
}

fn shown(value: f64, unit: &str, details: &str) -> String {
    let number = match value.abs() {
        0.0 => "0".to_owned(),
        above if above >= 100.0 => format!("{value:.0}"),
        above if above >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    };
    let gap = if unit.is_empty() || unit == "×" { "" } else { " " };
    let details = if details.is_empty() { String::new() } else { format!(" ({details})") };
    format!("{number}{gap}{unit}{details}")
}
