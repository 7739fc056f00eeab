//! The cost of models.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::{Path, Query};
use crate::domain::{AppName, Spending};
use crate::error::{AppError, AppResult};
use crate::services::Services;
use crate::services::spending::SpendingReport;

/// Default number of days.
const DAYS: u16 = 30;
/// Maximum number of days.
const DAYS_MAX: u16 = 366;

/// Selects days.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UsageQuery {
    /// Number of days in UTC, including today; default 30.
    #[param(minimum = 1, maximum = 366)]
    days: Option<u16>,
}

impl UsageQuery {
    fn days(&self) -> AppResult<u16> {
        match self.days.unwrap_or(DAYS) {
            days @ 1..=DAYS_MAX => Ok(days),
            _ => Err(AppError::invalid(format!("“days” must be a number from 1 to {DAYS_MAX}."))),
        }
    }
}

/// The cost of one day.
#[derive(Serialize, ToSchema)]
pub struct DayUsage {
    /// The day in UTC.
    #[schema(example = "2026-11-20")]
    day: String,
    #[serde(flatten)]
    spent: Spending,
}

/// The cost of one app.
#[derive(Serialize, ToSchema)]
pub struct AppUsage {
    /// The app; null for all deleted apps together.
    #[schema(value_type = Option<String>)]
    app: Option<AppName>,
    #[serde(flatten)]
    spent: Spending,
}

/// The cost of one model.
#[derive(Serialize, ToSchema)]
pub struct ModelUsage {
    /// The model's id; empty if it is unknown.
    model: String,
    #[serde(flatten)]
    spent: Spending,
}

/// Tokens and money. Tokens of models without a known price are counted separately; no price is guessed.
#[derive(Serialize, ToSchema)]
#[schema(as = Usages)]
pub struct UsageJson {
    /// All time.
    total: Spending,
    /// Since midnight UTC.
    today: Spending,
    /// The requested days.
    recent: Spending,
    /// Days with usage, newest first.
    days: Vec<DayUsage>,
    /// Apps on these days, most expensive first.
    apps: Vec<AppUsage>,
    /// Models on these days, most expensive first.
    models: Vec<ModelUsage>,
}

impl From<SpendingReport> for UsageJson {
    fn from(report: SpendingReport) -> Self {
        Self {
            total: report.total,
            today: report.today,
            recent: report.recent,
            days: report.days.into_iter().map(|(day, spent)| DayUsage { day, spent }).collect(),
            apps: report.apps.into_iter().map(|(app, spent)| AppUsage { app, spent }).collect(),
            models: report.models.into_iter().map(|(model, spent)| ModelUsage { model, spent }).collect(),
        }
    }
}

/// Get the cost of all apps.
#[utoipa::path(
    get, path = "/api/v1/usage", tag = "Cost", params(UsageQuery),
    responses((status = 200, description = "Tokens and money.", body = UsageJson)),
)]
pub async fn all(
    State(services): State<Services>,
    Query(query): Query<UsageQuery>,
) -> AppResult<axum::Json<UsageJson>> {
    Ok(axum::Json(services.spending(None, query.days()?).await?.into()))
}

/// Get the cost of an app.
#[utoipa::path(
    get, path = "/api/v1/apps/{app}/usage", tag = "Cost",
    params(("app" = String, Path, description = "The app's name."), UsageQuery),
    responses((status = 200, description = "Tokens and money.", body = UsageJson)),
)]
pub async fn of_app(
    State(services): State<Services>,
    Path(name): Path<AppName>,
    Query(query): Query<UsageQuery>,
) -> AppResult<axum::Json<UsageJson>> {
    let app = services.app(&name).await?;
    Ok(axum::Json(services.spending(Some(&app), query.days()?).await?.into()))
}
