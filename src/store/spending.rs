//! The cost of models: by day, by app, by model. Includes deleted apps.

use rusqlite::{Connection, Row, Transaction, named_params, params};

use super::{Store, StoreError, row};
use crate::domain::{AppId, AppName, Spending};

const SUMS: &str = "coalesce(sum(turns), 0) AS turns, coalesce(sum(input_tokens), 0) AS input_tokens,
    coalesce(sum(output_tokens), 0) AS output_tokens, coalesce(sum(cache_read_tokens), 0) AS cache_read_tokens,
    coalesce(sum(cache_write_tokens), 0) AS cache_write_tokens, coalesce(sum(cost_usd), 0.0) AS cost_usd,
    coalesce(sum(unpriced_tokens), 0) AS unpriced_tokens, coalesce(max(estimated), 0) AS estimated";

/// A filter of costs.
#[derive(Debug, Clone, Default)]
pub struct SpendingFilter {
    /// Only this app.
    pub app: Option<AppId>,
    /// From this day on, as `2026-11-20`.
    pub since: Option<String>,
}

fn spending(row: &Row<'_>) -> rusqlite::Result<Spending> {
    Ok(Spending {
        turns: row::count(row, "turns")?,
        input_tokens: row::count(row, "input_tokens")?,
        output_tokens: row::count(row, "output_tokens")?,
        cache_read_tokens: row::count(row, "cache_read_tokens")?,
        cache_write_tokens: row::count(row, "cache_write_tokens")?,
        cost_usd: row.get("cost_usd")?,
        unpriced_tokens: row::count(row, "unpriced_tokens")?,
        estimated: row.get("estimated")?,
    })
}

/// Stores the usage of the app's turns before they are removed with it.
pub(super) fn keep_of_deleted(t: &Transaction<'_>, app: AppId) -> Result<(), StoreError> {
    t.execute(
        &format!(
            "INSERT INTO spent_by_deleted
             SELECT day, model, {SUMS} FROM (
                 SELECT * FROM spending WHERE app_id = ?1
                 UNION ALL
                 SELECT NULL, * FROM spent_by_deleted
                 WHERE (day, model) IN (SELECT day, model FROM spending WHERE app_id = ?1)
             ) GROUP BY day, model
             ON CONFLICT (day, model) DO UPDATE SET
                 turns = excluded.turns, input_tokens = excluded.input_tokens, output_tokens = excluded.output_tokens,
                 cache_read_tokens = excluded.cache_read_tokens, cache_write_tokens = excluded.cache_write_tokens,
                 cost_usd = excluded.cost_usd, unpriced_tokens = excluded.unpriced_tokens,
                 estimated = excluded.estimated"
        ),
        params![app.0],
    )?;
    Ok(())
}

impl Store {
    /// The sum.
    pub async fn spending(&self, filter: SpendingFilter) -> Result<Spending, StoreError> {
        let rows = self.grouped(filter, "''").await?;
        Ok(rows.into_iter().next().map(|(_, spending)| spending).unwrap_or_default())
    }

    /// By day, as `2026-11-20`, newest first, without days without turns.
    pub async fn spending_by_day(&self, filter: SpendingFilter) -> Result<Vec<(String, Spending)>, StoreError> {
        let mut days = self.grouped(filter, "day").await?;
        days.sort_by(|one, other| other.0.cmp(&one.0));
        Ok(days)
    }

    /// By model, most expensive first.
    pub async fn spending_by_model(&self, filter: SpendingFilter) -> Result<Vec<(String, Spending)>, StoreError> {
        self.grouped(filter, "model").await
    }

    /// By app, most expensive first; deleted apps are one entry without a name.
    pub async fn spending_by_app(
        &self,
        filter: SpendingFilter,
    ) -> Result<Vec<(Option<AppName>, Spending)>, StoreError> {
        let rows = self.grouped(filter, "coalesce((SELECT name FROM apps WHERE id = app_id), '')").await?;
        Ok(rows.into_iter().map(|(name, spending)| (name.parse().ok(), spending)).collect())
    }

    async fn grouped(&self, filter: SpendingFilter, by: &'static str) -> Result<Vec<(String, Spending)>, StoreError> {
        self.read(move |c| group(c, &filter, by)).await
    }
}

fn group(c: &Connection, filter: &SpendingFilter, by: &str) -> Result<Vec<(String, Spending)>, StoreError> {
    let rows = c
        .prepare_cached(&format!(
            "SELECT {by} AS what, {SUMS} FROM spending
             WHERE (:app IS NULL OR app_id = :app) AND (:since IS NULL OR day >= :since)
             GROUP BY what ORDER BY cost_usd DESC, unpriced_tokens DESC, what"
        ))?
        .query_map(named_params! { ":app": filter.app.map(|app| app.0), ":since": filter.since }, |r| {
            Ok((r.get::<_, String>("what")?, spending(r)?))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::domain::{App, NewTurn, TurnMode, Usage};

    async fn app(store: &Store, name: &str) -> App {
        let (name, template) = (name.parse().expect("a name"), "static-site".parse().expect("a name"));
        store.insert_app(name, template, "x".into(), Timestamp::UNIX_EPOCH).await.expect("inserted")
    }

    async fn turn(store: &Store, app: &App, day: &str, model: &str, tokens: u64, cost_usd: Option<f64>) {
        let at: Timestamp = format!("{day}T23:30:00Z").parse().expect("a time");
        let turn = store.insert_turn(app.id, NewTurn::of_person("x", TurnMode::Build), at).await.expect("inserted");
        store.begin_turn(turn.id, None, model.parse().expect("an id"), at).await.expect("begun");
        let usage = Usage {
            input_tokens: tokens,
            output_tokens: 1,
            cache_read_tokens: 2,
            cost_usd,
            estimated: cost_usd.is_none(),
            ..Usage::default()
        };
        store.set_turn_usage(turn.id, usage).await.expect("kept");
    }

    #[tokio::test]
    async fn costs_are_summed_by_day_app_and_model_and_outlive_the_app() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).await.expect("opens");
        let (one, two) = (app(&store, "one").await, app(&store, "two").await);
        turn(&store, &one, "2026-11-18", "m", 100, Some(0.5)).await;
        turn(&store, &one, "2026-11-19", "m", 100, Some(0.25)).await;
        turn(&store, &two, "2026-11-19", "m", 10, Some(1.0)).await;
        turn(&store, &two, "2026-11-19", "free", 1000, None).await;
        // A turn without requests.
        store
            .insert_turn(one.id, NewTurn::of_person("x", TurnMode::Build), Timestamp::UNIX_EPOCH)
            .await
            .expect("inserted");

        let all = store.spending(SpendingFilter::default()).await.expect("read");
        assert_eq!((all.turns, all.input_tokens, all.tokens()), (4, 1210, 1222));
        assert_eq!((all.cost_usd, all.unpriced_tokens, all.estimated), (1.75, 1003, true));
        let of_one = SpendingFilter { app: Some(one.id), since: None };
        assert_eq!(store.spending(of_one.clone()).await.expect("read").unpriced_tokens, 0);
        let days = store.spending_by_day(of_one).await.expect("read");
        let days: Vec<_> = days.iter().map(|(day, spent)| (day.as_str(), spent.cost_usd)).collect();
        assert_eq!(days, [("2026-11-19", 0.25), ("2026-11-18", 0.5)]);
        let since = SpendingFilter { since: Some("2026-11-19".into()), app: None };
        assert_eq!(store.spending(since.clone()).await.expect("read").turns, 3);
        let none = SpendingFilter { since: Some("2027-01-01".into()), app: None };
        assert_eq!(store.spending(none).await.expect("read"), Spending::default());

        let before = store.spending_by_day(SpendingFilter::default()).await.expect("read");
        let models = store.spending_by_model(since.clone()).await.expect("read");
        assert_eq!(models.iter().map(|(model, _)| model.as_str()).collect::<Vec<_>>(), ["m", "free"]);
        for app in [&two, &one] {
            store.remove_app(app.id, None).await.expect("removed");
            assert_eq!(store.spending_by_day(SpendingFilter::default()).await.expect("read"), before);
            assert_eq!(store.spending_by_model(since.clone()).await.expect("read"), models);
        }
        let apps = store.spending_by_app(SpendingFilter::default()).await.expect("read");
        assert_eq!(apps, [(None, all)]);
    }
}
