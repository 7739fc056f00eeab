//! The view of model costs: of one app in its settings, of all apps in the settings of Slipway.

use askama::Template;

use super::format;
use crate::domain::Spending;
use crate::services::spending::SpendingReport;

/// Number of days that are listed separately.
pub const DAYS: u16 = 14;
/// Maximum number of listed apps and models.
const ROWS: usize = 20;

/// Three sums, and tables of days, apps and models.
#[derive(Template)]
#[template(path = "cost.html")]
pub struct CostView {
    /// Titles and sums.
    sums: Vec<(&'static str, Amount)>,
    tables: Vec<CostTable>,
    /// Some models have no known price.
    has_unpriced: bool,
    /// Some servers do not report token counts.
    has_estimates: bool,
    /// No model has used anything: the demo model never does.
    is_nothing: bool,
}

struct CostTable {
    /// The heading of its first column.
    title: &'static str,
    rows: Vec<CostRow>,
}

struct CostRow {
    what: String,
    href: Option<String>,
    turns: String,
    amount: Amount,
}

/// Cost and tokens.
struct Amount {
    money: String,
    tokens: u64,
    /// The tokens are estimated.
    about: bool,
}

impl Amount {
    fn new(spent: &Spending) -> Self {
        Self { money: money(spent), tokens: spent.tokens(), about: spent.estimated }
    }

    /// Tokens as a number in a column of tokens.
    fn number(&self) -> String {
        format!("{}{}", if self.about { "about " } else { "" }, format::grouped(self.tokens))
    }

    /// Tokens in words.
    fn words(&self) -> String {
        let unit = if self.tokens == 1 { "token" } else { "tokens" };
        format!("{} {unit}", self.number())
    }
}

/// The known cost: with *about* if tokens are estimated, empty if there is no price.
fn money(spent: &Spending) -> String {
    let known_cost = || format::money_about(spent.cost_usd, spent.estimated);
    match (spent.cost_usd > 0.0, spent.unpriced_tokens > 0) {
        (false, true) => "no price".to_owned(),
        (true, true) => format!("{} and more", known_cost()),
        (_, false) => known_cost(),
    }
}

/// `2026-11-26` as *26 November 2026*; days are those of UTC.
fn day_in_words(day: &str) -> String {
    day.parse::<jiff::civil::Date>().map_or_else(|_| day.to_owned(), |date| date.strftime("%-d %B %Y").to_string())
}

impl CostView {
    /// `by_app`: lists all apps.
    pub fn new(report: &SpendingReport, by_app: bool) -> Self {
        let row = |what: String, href: Option<String>, spent: &Spending| CostRow {
            what,
            href,
            turns: format::grouped(spent.turns),
            amount: Amount::new(spent),
        };
        let days = report.days.iter().map(|(day, spent)| row(day_in_words(day), None, spent)).collect();
        let mut tables = vec![CostTable { title: "Day", rows: days }];
        if by_app {
            let apps = report.apps.iter().take(ROWS).map(|(app, spent)| match app {
                Some(app) => row(app.to_string(), Some(format!("/apps/{app}/settings")), spent),
                None => row("Deleted apps".to_owned(), None, spent),
            });
            tables.push(CostTable { title: "App", rows: apps.collect() });
        }
        let models = report.models.iter().take(ROWS).map(|(model, spent)| {
            row(if model.is_empty() { "Unknown".to_owned() } else { model.clone() }, None, spent)
        });
        tables.push(CostTable { title: "Model", rows: models.collect() });
        Self {
            sums: vec![
                ("Today", Amount::new(&report.today)),
                ("Last 14 days", Amount::new(&report.recent)),
                ("Total", Amount::new(&report.total)),
            ],
            tables: if report.days.is_empty() { Vec::new() } else { tables },
            has_unpriced: report.total.unpriced_tokens > 0,
            has_estimates: report.total.estimated,
            is_nothing: report.total.tokens() == 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_written_in_words() {
        assert_eq!(day_in_words("2026-11-06"), "6 November 2026");
        assert_eq!(day_in_words("no day"), "no day");
    }

    #[test]
    fn estimated_and_partial_costs_say_so() {
        let spent = Spending { cost_usd: 1.5, ..Spending::default() };
        assert_eq!(money(&spent), "$1.50");
        assert_eq!(money(&Spending { unpriced_tokens: 3, ..spent }), "$1.50 and more");
        assert_eq!(money(&Spending { estimated: true, ..spent }), "about $1.50");
        assert_eq!(money(&Spending { unpriced_tokens: 3, ..Spending::default() }), "no price");
        assert_eq!(money(&Spending::default()), "$0.00");
    }
}
