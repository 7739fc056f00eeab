//! The usage of an environment in one line: a fragment of the *Logs* and *Releases* tabs with its own request,
//! so that a slow runtime does not slow down the page.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

use super::deployment::with_code;
use crate::domain::{AppName, Bytes, Environment};
use crate::error::{AppResult, ErrorKind};
use crate::services::Services;
use crate::services::usage::EnvironmentUsage;
use crate::web::Web;
use crate::web::extract::{Path, Query};
use crate::web::format::{self, Html};
use crate::web::reply;
use crate::web::ui;

/// The line.
#[derive(Template)]
#[template(path = "app/usage.html")]
pub struct UsageLine {
    icon: &'static str,
    class: &'static str,
    parts: Vec<Html>,
}

impl UsageLine {
    /// In words.
    pub fn new(usage: &EnvironmentUsage) -> Self {
        let stats = &usage.stats;
        if stats.wanted == 0 {
            let nothing = format!("Nothing runs in {}.", usage.environment.title().to_lowercase());
            return Self { icon: "circle", class: "", parts: vec![with_code(&nothing)] };
        }
        let mut parts = vec![
            format!("{} of {} running", stats.ready, stats.wanted),
            match stats.restarts {
                0 => "no restarts".to_owned(),
                n => format::count(n.into(), "restart", "restarts"),
            },
        ];
        match (stats.memory_bytes, stats.memory_limit_bytes) {
            (Some(used), Some(limit)) => parts.push(of_limit(used, limit)),
            (Some(used), None) => parts.push(Bytes(used).to_string()),
            (None, _) => {}
        }
        parts.extend(stats.cpu_millis.map(cores));
        let (icon, class) = match stats.ready {
            0 => ("warning", "bad"),
            n if n < stats.wanted => ("warning", "warn"),
            _ => ("check", "ok"),
        };
        Self { icon, class, parts: parts.iter().map(|part| with_code(part)).collect() }
    }

    /// The reason why the usage is unknown.
    pub fn unknown(sentence: &str) -> Self {
        Self { icon: "info", class: "", parts: vec![with_code(sentence)] }
    }
}

/// `23 of 128 MiB`: the unit once if both are equal.
fn of_limit(used: u64, limit: u64) -> String {
    let (used, limit) = (Bytes(used).to_string(), Bytes(limit).to_string());
    match (used.split_once(' '), limit.split_once(' ')) {
        (Some((number, unit)), Some((_, same))) if unit == same => format!("{number} of {limit}"),
        _ => format!("{used} of {limit}"),
    }
}

fn cores(millis: u64) -> String {
    match millis {
        0..10 => "under 0.01 CPU".to_owned(),
        _ => format!("{}.{:02} CPU", millis / 1000, millis % 1000 / 10),
    }
}

/// The query parameters.
#[derive(Deserialize)]
pub struct UsageQuery {
    environment: Environment,
}

/// `GET /apps/{app}/usage`
pub async fn line(
    State(web): State<Web>,
    Path(name): Path<AppName>,
    Query(query): Query<UsageQuery>,
) -> AppResult<Response> {
    reply::page(&usage_line(&web.services, &name, query.environment).await?)
}

async fn usage_line(services: &Services, name: &AppName, environment: Environment) -> AppResult<UsageLine> {
    let app = services.app(name).await?;
    match services.usage(&app, environment).await {
        Ok(usage) => Ok(UsageLine::new(&usage)),
        // A failure of this request must not break the page.
        Err(error) if error.kind == ErrorKind::Unavailable => Ok(UsageLine::unknown(&error.detail)),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Stats;
    use crate::web::samples;

    fn words(stats: Stats) -> String {
        let usage = EnvironmentUsage { environment: Environment::Prod, release: None, stats };
        let html = UsageLine::new(&usage).render().expect("renders");
        samples::select(&html).texts(".facts-line span").join(" · ")
    }

    #[test]
    fn the_line_shows_known_values_only() {
        let running = Stats { ready: 1, wanted: 1, ..Stats::default() };
        let measured = Stats {
            restarts: 2,
            memory_bytes: Some(23 << 20),
            memory_limit_bytes: Some(128 << 20),
            cpu_millis: Some(12),
            ..running
        };
        assert_eq!(words(measured), "1 of 1 running · 2 restarts · 23 of 128 MiB · 0.01 CPU");
        // A cluster without a metrics API: the limit alone is not useful.
        let unmeasured = Stats { memory_limit_bytes: Some(128 << 20), ..running };
        assert_eq!(words(unmeasured), "1 of 1 running · no restarts");
        let small = Stats { memory_bytes: Some(3_500), memory_limit_bytes: Some(128 << 20), restarts: 1, ..running };
        assert_eq!(words(small), "1 of 1 running · 1 restart · 3.4 KiB of 128 MiB");
        assert_eq!(words(Stats { cpu_millis: Some(1_250), ..running }), "1 of 1 running · no restarts · 1.25 CPU");
        assert_eq!(words(Stats::default()), "Nothing runs in production.");
    }

    #[test]
    fn an_outage_is_shown_as_a_sentence() {
        let html = UsageLine::unknown("The engine is unavailable: <it>. Try `docker info`.").render().expect("renders");
        assert!(html.contains("&lt;it&gt;. Try <code>docker info</code>."), "{html}");
    }

    #[test]
    fn a_stopped_environment_is_marked_by_more_than_colour() {
        let stats = Stats { wanted: 1, restarts: 7, ..Stats::default() };
        let html = UsageLine::new(&EnvironmentUsage { environment: Environment::Preview, release: None, stats })
            .render()
            .expect("renders");
        let page = samples::select(&html);
        assert_eq!(page.count(".usage-line.bad svg"), 1);
        assert_eq!(page.texts(".facts-line span"), ["0 of 1 running", "7 restarts"]);
    }
}
