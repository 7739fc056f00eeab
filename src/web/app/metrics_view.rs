//! Plots of an app's measurements, as SVG that the server renders. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use askama::Template;

use super::log_views::LogTabPart;
use crate::domain::{AppName, Bytes, Environment};
use crate::gateway::Counted;
use crate::services::measurements::Measured;
use crate::web::format;
use crate::web::ui;

/// Intervals that one point of a plot shows: a quarter of an hour.
const PER_POINT: usize = 3;
/// Intervals of an hour.
const PER_HOUR: usize = 12;
/// Size of a plot in its own units; it is stretched to the page.
const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 100.0;

/// The measurements of an environment.
#[derive(Template)]
#[template(path = "app/metrics.html")]
pub struct MetricsTab<'a> {
    /// The app.
    pub app: &'a AppName,
    /// The parts of the *Logs* tab.
    pub parts: Vec<LogTabPart>,
    /// The environments.
    pub environments: Vec<LogTabPart>,
    /// The current one.
    pub environment: Environment,
    /// The plots.
    pub plots: Vec<Plot>,
    /// The same as a table.
    pub hours: Vec<HourRow>,
    /// Requests do not pass the gateway.
    pub unseen: bool,
    /// Why there is nothing.
    pub nothing: Option<&'static str>,
}

/// The choice of an environment.
pub fn environment_choices(app: &AppName, current: Environment) -> Vec<LogTabPart> {
    let choice = |environment: Environment| LogTabPart {
        href: format!("/apps/{app}/metrics?environment={environment}"),
        title: environment.title(),
        is_current: environment == current,
    };
    Environment::ALL.map(choice).into()
}

/// A plot.
pub struct Plot {
    key: &'static str,
    title: &'static str,
    /// The numbers of the whole day.
    summary: String,
    /// The value at the upper edge.
    top: String,
    /// Lines and bars: the class, and the path.
    paths: Vec<(&'static str, String)>,
    /// What the lines are.
    legend: Vec<(&'static str, &'static str)>,
    is_empty: bool,
}

/// An hour in the table.
pub struct HourRow {
    machine: String,
    time: String,
    requests: String,
    errors: String,
    p50: String,
    p99: String,
    memory: String,
    cpu: String,
}

/// Some consecutive intervals.
pub struct Part {
    counted: Counted,
    memory: Option<u64>,
    cpu: Option<u64>,
}

impl Part {
    fn of(intervals: &[Measured]) -> Self {
        let mut counted = Counted::default();
        for measured in intervals {
            counted.add(&measured.counted);
        }
        let cpu: Vec<u64> = intervals.iter().filter_map(|measured| measured.cpu_millis).collect();
        Self {
            counted,
            memory: intervals.iter().filter_map(|measured| measured.memory_bytes).max(),
            cpu: (!cpu.is_empty()).then(|| cpu.iter().sum::<u64>() / cpu.len() as u64),
        }
    }

    fn took(&self, thousandths: u64) -> Option<Duration> {
        self.counted.percentile(thousandths)
    }

    /// The plots of a day.
    pub fn all(day: &[Measured], with_requests: bool) -> Vec<Plot> {
        let parts: Vec<Self> = day.chunks(PER_POINT).map(Self::of).collect();
        let whole = Self::of(day);
        let mut plots = Vec::new();
        if with_requests {
            plots.push(requests(&parts, &whole));
            plots.push(latency(&parts, &whole));
        }
        plots.push(memory(&parts, day));
        plots.push(cpu(&parts, day));
        plots
    }

    /// The hours of a day, newest first.
    pub fn hours(day: &[Measured]) -> Vec<HourRow> {
        let dash = || "–".to_owned();
        let row = |intervals: &[Measured]| {
            let part = Self::of(intervals);
            let at = intervals.first().map(|measured| measured.at).unwrap_or_default();
            HourRow {
                machine: at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
                time: at.strftime("%-d %b %H:%M:%S").to_string(),
                requests: format::grouped(part.counted.requests()),
                errors: format::grouped(part.counted.errors),
                p50: part.took(500).map_or_else(dash, millis),
                p99: part.took(990).map_or_else(dash, millis),
                memory: part.memory.map_or_else(dash, |bytes| Bytes(bytes).to_string()),
                cpu: part.cpu.map_or_else(dash, cores),
            }
        };
        day.chunks(PER_HOUR).rev().map(row).collect()
    }
}

fn millis(took: Duration) -> String {
    match u64::try_from(took.as_millis()).unwrap_or(u64::MAX) {
        0..10 => format!("{:.1} ms", took.as_secs_f64() * 1_000.0),
        millis => format::duration(millis),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a plot is not that precise")]
fn float(count: u64) -> f64 {
    count as f64
}

fn cores(millis: u64) -> String {
    format!("{}.{:03} CPU", millis / 1_000, millis % 1_000)
}

fn requests(parts: &[Part], whole: &Part) -> Plot {
    let most = parts.iter().map(|part| part.counted.requests()).max().unwrap_or_default();
    let bars = |of: fn(&Counted) -> u64| bars(parts.iter().map(|part| float(of(&part.counted))), float(most));
    let count = format::count(whole.counted.requests(), "request", "requests");
    Plot {
        key: "requests",
        title: "Requests",
        summary: format!("{count}, {} failed with 5xx", format::grouped(whole.counted.errors)),
        top: format!("{} in 15 min", format::grouped(most)),
        paths: vec![("bar", bars(Counted::requests)), ("bar bad", bars(|counted| counted.errors))],
        legend: vec![("bar", "all"), ("bar bad", "5xx")],
        is_empty: most == 0,
    }
}

fn latency(parts: &[Part], whole: &Part) -> Plot {
    let most = parts.iter().filter_map(|part| part.took(990)).max().unwrap_or_default();
    let line = |thousandths| {
        let values = parts.iter().map(|part| part.took(thousandths).map(|took| took.as_secs_f64()));
        line(values, most.as_secs_f64())
    };
    let summary = match (whole.took(500), whole.took(990)) {
        (Some(p50), Some(p99)) => format!("half within {}, 99 % within {}", millis(p50), millis(p99)),
        _ => "no requests".to_owned(),
    };
    Plot {
        key: "latency",
        title: "Time until the response began",
        summary,
        top: millis(most),
        paths: vec![("line second", line(990)), ("line", line(500))],
        legend: vec![("line", "p50"), ("line second", "p99")],
        is_empty: most.is_zero(),
    }
}

fn memory(parts: &[Part], day: &[Measured]) -> Plot {
    let most = parts.iter().filter_map(|part| part.memory).max().unwrap_or_default();
    let last = day.iter().rev().find_map(|measured| measured.memory_bytes);
    Plot {
        key: "memory",
        title: "Memory",
        summary: last
            .map_or("not measured yet".to_owned(), |last| format!("last {}, at most {}", Bytes(last), Bytes(most))),
        top: Bytes(most).to_string(),
        paths: vec![("line", line(parts.iter().map(|part| part.memory.map(float)), float(most)))],
        legend: Vec::new(),
        is_empty: last.is_none(),
    }
}

fn cpu(parts: &[Part], day: &[Measured]) -> Plot {
    let most = parts.iter().filter_map(|part| part.cpu).max().unwrap_or_default();
    let last = day.iter().rev().find_map(|measured| measured.cpu_millis);
    // An app at rest is a line at the bottom, not one at the top.
    let scale = float(most.max(50));
    Plot {
        key: "cpu",
        title: "CPU",
        summary: last
            .map_or("not measured yet".to_owned(), |last| format!("last {}, at most {}", cores(last), cores(most))),
        top: cores(most.max(50)),
        paths: vec![("line", line(parts.iter().map(|part| part.cpu.map(float)), scale))],
        legend: Vec::new(),
        is_empty: last.is_none(),
    }
}

/// Height of a value from the upper edge.
fn height(value: f64, most: f64) -> f64 {
    if most > 0.0 { HEIGHT - value / most * (HEIGHT - 4.0) } else { HEIGHT }
}

/// The path of bars from the bottom.
fn bars(values: impl ExactSizeIterator<Item = f64>, most: f64) -> String {
    let step = WIDTH / float(values.len().max(1) as u64);
    let mut path = String::new();
    for (place, value) in values.enumerate().filter(|(_, value)| *value > 0.0) {
        // At least a hair, so that one failure among thousands is seen.
        let top = height(value, most).min(HEIGHT - 2.0);
        let left = float(place as u64) * step + step * 0.1;
        let _ = write!(path, "M{left:.1} {HEIGHT}V{top:.1}h{:.1}V{HEIGHT}z", step * 0.8);
    }
    path
}

/// The path of a line, interrupted where there is no value.
fn line(values: impl ExactSizeIterator<Item = Option<f64>>, most: f64) -> String {
    let step = WIDTH / float(values.len().max(1) as u64);
    let (mut path, mut is_down) = (String::new(), false);
    for (place, value) in values.enumerate() {
        if let Some(value) = value {
            let (left, top) = (float(place as u64) * step, height(value, most));
            // A value alone is a short dash.
            let _ = write!(path, "{}{left:.1} {top:.1}h{step:.1}", if is_down { 'L' } else { 'M' });
        }
        is_down = value.is_some();
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_gaps_and_bars_have_heights() {
        let values = [Some(0.0), None, Some(50.0), Some(100.0)];
        assert_eq!(line(values.into_iter(), 100.0), "M0.0 100.0h240.0M480.0 52.0h240.0L720.0 4.0h240.0");
        assert_eq!(bars([0.0, 100.0].into_iter(), 100.0), "M528.0 100V4.0h384.0V100z");
        assert_eq!(bars([0.001, 0.0].into_iter(), 100.0), "M48.0 100V98.0h384.0V100z", "little is seen");
        assert_eq!(line([None; 3].into_iter(), 0.0), "");
    }
}
