//! The scheduler: starts what is live in prod when its cron expression comes due.
//!
//! Sleeps until the next one is due, and looks again when a release takes over or an app goes.
//! Runs that came due while the builder was away are not made up for.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use croner::Cron;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::runs;
use crate::domain::{AppId, RunTrigger, Schedule};
use crate::error::{AppError, AppResult};
use crate::platform::Platform;

/// Longest sleep: a clock that was set is noticed by then.
const LOOK_AGAIN: Duration = Duration::from_hours(1);

/// When a five-field cron expression is due next in a time zone (UTC without one), strictly after `now`. `None`: never.
///
/// A time that the clock skips in spring comes due when it would have; one that it shows twice in autumn comes due once.
pub fn next_after(expression: &str, zone: Option<&str>, now: Timestamp) -> AppResult<Option<Timestamp>> {
    let schedule: Schedule = expression.parse()?;
    let refuse = |reason: String| AppError::invalid(format!("The schedule “{expression}” cannot be used: {reason}"));
    let cron = Cron::from_str(schedule.as_str()).map_err(|error| refuse(format!("{error}.")))?;
    let zone = match zone {
        Some(name) => TimeZone::get(name).map_err(|_| refuse(format!("the time zone “{name}” is not known here.")))?,
        None => TimeZone::UTC,
    };
    match cron.find_next_occurrence(&now.to_zoned(zone), false) {
        Ok(next) => Ok(Some(next.timestamp())),
        // Such as the 31st of February.
        Err(croner::errors::CronError::TimeSearchLimitExceeded) => Ok(None),
        Err(error) => Err(refuse(format!("{error}."))),
    }
}

/// Starts what comes due, for as long as it is polled.
pub async fn run(platform: Arc<Platform>) {
    let mut changed = platform.schedule.subscribe();
    // Due times are counted from the last look, so that none between two looks is missed.
    let mut since = platform.clock.now();
    loop {
        changed.borrow_and_update();
        let now = platform.clock.now();
        let next = match start_due(&platform, since, now).await {
            Ok(next) => next,
            Err(error) => {
                tracing::error!(%error, "failed to read the schedule");
                None
            }
        };
        since = now;
        let wait = next.map_or(LOOK_AGAIN, |next| {
            let until: Duration = next.duration_since(platform.clock.now()).try_into().unwrap_or_default();
            until.min(LOOK_AGAIN)
        });
        let _ = tokio::time::timeout(wait, changed.changed()).await;
    }
}

/// Starts what came due after `since` up to and with `now`; answers when the next one is due.
async fn start_due(platform: &Arc<Platform>, since: Timestamp, now: Timestamp) -> AppResult<Option<Timestamp>> {
    let mut next_of_all: Option<Timestamp> = None;
    for (app, release) in platform.store.scheduled_releases(runs::SCHEDULED).await? {
        let Some(expression) = &release.spec.schedule else { continue };
        let zone = release.spec.timezone.as_deref();
        if let Ok(Some(due)) = next_after(expression, zone, since)
            && due <= now
        {
            start_one(platform, app, &release).await;
        }
        if let Ok(Some(next)) = next_after(expression, zone, now) {
            next_of_all = Some(next_of_all.map_or(next, |other| other.min(next)));
        }
    }
    Ok(next_of_all)
}

async fn start_one(platform: &Arc<Platform>, app: AppId, release: &crate::domain::Release) {
    let started = async {
        let app = platform.store.app_by_id(app).await?;
        runs::start(platform, &app, release, RunTrigger::Schedule).await
    };
    match started.await {
        Ok(run) => tracing::info!(run = run.id.0, app = app.0, "scheduled run begins"),
        Err(error) => tracing::warn!(app = app.0, %error, "skipped a scheduled run"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_fields_in_utc() {
        let now: Timestamp = "2026-11-20T14:30:00Z".parse().expect("a time");
        for (expression, expected) in [
            ("0 * * * *", "2026-11-20T15:00:00Z"),
            ("30 14 * * *", "2026-11-21T14:30:00Z"),
            ("*/15 * * * *", "2026-11-20T14:45:00Z"),
            ("0 7 * * 1", "2026-11-23T07:00:00Z"),
            // Sunday by its other number, at the end of a range as well.
            ("0 7 * * 7", "2026-11-22T07:00:00Z"),
            ("0 7 * * sat-sun", "2026-11-21T07:00:00Z"),
            // Either of the two days.
            ("0 7 13 * 1", "2026-11-23T07:00:00Z"),
        ] {
            let next = next_after(expression, None, now).expect("readable").expect("some time");
            assert_eq!(next.to_string(), expected, "{expression}");
        }
        for bad in ["", "* * * *", "* * * * * *", "60 * * * *", "@daily", "a b c d e"] {
            assert!(next_after(bad, None, now).is_err(), "{bad}");
        }
    }

    #[test]
    fn time_zones_change_their_clocks() {
        let next = |zone: &str, now: &str| {
            let now: Timestamp = now.parse().expect("a time");
            next_after("30 2 * * *", Some(zone), now).expect("readable").expect("some time").to_string()
        };
        assert_eq!(next("Europe/Berlin", "2026-11-20T14:30:00Z"), "2026-11-21T01:30:00Z");
        assert_eq!(next("America/New_York", "2026-07-01T00:00:00Z"), "2026-07-01T06:30:00Z");
        // The clock goes from 2 to 3 on 29 March 2026, and from 3 back to 2 on 25 October.
        let spring = next("Europe/Berlin", "2026-03-28T12:00:00Z");
        assert!(
            ["2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"].contains(&spring.as_str()),
            "{spring}"
        );
        let autumn = next("Europe/Berlin", "2026-10-24T12:00:00Z");
        assert_eq!(autumn, "2026-10-25T00:30:00Z");
        assert_eq!(next("Europe/Berlin", &autumn), "2026-10-26T01:30:00Z", "once, though the clock shows it twice");
        assert!(next_after("0 0 * * *", Some("Mars/Olympus"), Timestamp::UNIX_EPOCH).is_err());
    }
}
