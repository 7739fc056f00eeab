//! What was measured of apps: one row for each environment and interval.

use jiff::{SignedDuration, Timestamp};
use rusqlite::params;

use super::{Store, StoreError, row};
use crate::domain::{AppId, Environment};

/// How long measurements are kept: a day, and an hour for pages that are open.
const KEPT: SignedDuration = SignedDuration::from_hours(25);

/// What was measured of an environment in one interval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measurement {
    /// The app.
    pub app: AppId,
    /// The environment.
    pub environment: Environment,
    /// The start of the interval.
    pub at: Timestamp,
    /// Number of responses with a status of 5xx.
    pub errors: u64,
    /// Numbers of requests by their time, as bytes. Those of two parts of an interval are joined by appending them.
    pub latencies: Vec<u8>,
    /// Memory in use, in bytes.
    pub memory: Option<u64>,
    /// CPU usage in thousandths of a core.
    pub cpu: Option<u64>,
}

impl Store {
    /// Records measurements, and removes those of the same environments that are too old. Measurements of apps that
    /// were deleted meanwhile are ignored.
    pub async fn record_measurements(&self, measurements: Vec<Measurement>) -> Result<(), StoreError> {
        self.write(move |t| {
            for Measurement { app, environment, at, errors, latencies, memory, cpu } in &measurements {
                t.prepare_cached(
                    "INSERT INTO measurements (app_id, environment, at, errors, latencies, memory, cpu)
                     SELECT id, ?2, ?3, ?4, ?5, ?6, ?7 FROM apps WHERE id = ?1
                     ON CONFLICT DO UPDATE SET errors = errors + excluded.errors,
                         latencies = CAST(latencies || excluded.latencies AS BLOB),
                         memory = coalesce(excluded.memory, memory), cpu = coalesce(excluded.cpu, cpu)",
                )?
                .execute(params![
                    app.0,
                    environment.as_str(),
                    at.as_millisecond(),
                    row::integer(*errors),
                    latencies,
                    memory.map(row::integer),
                    cpu.map(row::integer),
                ])?;
                let too_old = at.checked_sub(KEPT).unwrap_or_default();
                t.prepare_cached("DELETE FROM measurements WHERE app_id = ?1 AND environment = ?2 AND at < ?3")?
                    .execute(params![app.0, environment.as_str(), too_old.as_millisecond()])?;
            }
            Ok(())
        })
        .await
    }

    /// The measurements of an environment since a time, oldest first.
    pub async fn measurements(
        &self,
        app: AppId,
        environment: Environment,
        since: Timestamp,
    ) -> Result<Vec<Measurement>, StoreError> {
        self.read(move |c| {
            let mut query = c.prepare_cached(
                "SELECT * FROM measurements WHERE app_id = ?1 AND environment = ?2 AND at >= ?3 ORDER BY at",
            )?;
            let rows = query.query_map(params![app.0, environment.as_str(), since.as_millisecond()], |r| {
                let count = |column| Ok::<_, rusqlite::Error>(r.get::<_, Option<i64>>(column)?.map(i64::unsigned_abs));
                Ok(Measurement {
                    app,
                    environment,
                    at: row::time(r, "at")?,
                    errors: row::count(r, "errors")?,
                    latencies: r.get("latencies")?,
                    memory: count("memory")?,
                    cpu: count("cpu")?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn measurements_are_joined_and_kept_for_a_day() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).await.expect("opens");
        let at = |hour: i64| Timestamp::from_second(1_795_000_000 + 3_600 * hour).expect("in range");
        let (name, template) = ("tides".parse().expect("a name"), "static-site".parse().expect("a name"));
        let app = store.insert_app(name, template, "x".into(), at(0)).await.expect("inserted").id;
        let environment = Environment::Prod;
        let one = |at, latencies: &[u8], memory| Measurement {
            app,
            environment,
            at,
            errors: 2,
            latencies: latencies.to_vec(),
            memory,
            cpu: Some(10),
        };
        let read = async || store.measurements(app, environment, at(0)).await.expect("read");
        store.record_measurements(vec![one(at(0), &[7, 0, 0, 1, 0], Some(5))]).await.expect("recorded");
        store.record_measurements(vec![one(at(0), &[0, 9, 255], None)]).await.expect("recorded");
        let joined = Measurement { errors: 4, ..one(at(0), &[7, 0, 0, 1, 0, 0, 9, 255], Some(5)) };
        assert_eq!(read().await, std::slice::from_ref(&joined));
        let preview = Measurement { environment: Environment::Preview, ..one(at(30), &[], None) };
        store.record_measurements(vec![one(at(25), &[], None), preview]).await.expect("recorded");
        assert_eq!(read().await, [joined, one(at(25), &[], None)]);
        store.record_measurements(vec![one(at(26), &[], None)]).await.expect("recorded");
        assert_eq!(read().await, [one(at(25), &[], None), one(at(26), &[], None)]);
        store.remove_app(app, None).await.expect("removed");
        store.record_measurements(vec![one(at(27), &[], None)]).await.expect("of a deleted app");
        assert!(read().await.is_empty());
    }
}
