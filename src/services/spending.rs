//! The cost of models: total, today, by day, app and model. Days are in UTC.

use jiff::ToSpan;
use jiff::tz::TimeZone;

use super::Services;
use crate::domain::{App, AppName, Spending};
use crate::error::AppResult;
use crate::store::spending::SpendingFilter;

/// The cost of one app or of all apps.
#[derive(Debug, Clone)]
pub struct SpendingReport {
    /// All time.
    pub total: Spending,
    /// Since midnight UTC.
    pub today: Spending,
    /// The requested days.
    pub recent: Spending,
    /// Days with usage, as `2026-11-20`, newest first.
    pub days: Vec<(String, Spending)>,
    /// Apps on these days, most expensive first; deleted apps are one entry without a name.
    pub apps: Vec<(Option<AppName>, Spending)>,
    /// Models on these days, most expensive first.
    pub models: Vec<(String, Spending)>,
}

impl Services {
    /// The cost of one app, or of all apps, with details of the last `days` days including today.
    pub async fn spending(&self, app: Option<&App>, days: u16) -> AppResult<SpendingReport> {
        let today = self.now().to_zoned(TimeZone::UTC).date();
        let first = today.saturating_sub(i64::from(days.max(1) - 1).days());
        let app = app.map(|app| app.id);
        let since = |day: jiff::civil::Date| SpendingFilter { app, since: Some(day.to_string()) };
        let store = &self.platform.store;
        Ok(SpendingReport {
            total: store.spending(SpendingFilter { app, since: None }).await?,
            today: store.spending(since(today)).await?,
            recent: store.spending(since(first)).await?,
            days: store.spending_by_day(since(first)).await?,
            apps: store.spending_by_app(since(first)).await?,
            models: store.spending_by_model(since(first)).await?,
        })
    }
}
