//! What the model has cost: in all, today, by day, app and model. Days are those of UTC.

use jiff::ToSpan;
use jiff::tz::TimeZone;

use super::Services;
use crate::domain::{App, AppName, Spending};
use crate::error::AppResult;
use crate::store::spending::SpendingFilter;

/// What was spent, on one app or on all.
#[derive(Debug, Clone)]
pub struct SpendingReport {
    /// Since the beginning.
    pub total: Spending,
    /// Since midnight.
    pub today: Spending,
    /// On the days that were asked for.
    pub recent: Spending,
    /// Each of these days that had any, written `2026-11-20`, the newest first.
    pub days: Vec<(String, Spending)>,
    /// Each app in these days, the dearest first; those that were deleted together, without a name.
    pub apps: Vec<(Option<AppName>, Spending)>,
    /// Each model in these days, the dearest first.
    pub models: Vec<(String, Spending)>,
}

impl Services {
    /// What was spent on an app, or on all, with the last `days` days apart; today is the last of them.
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
