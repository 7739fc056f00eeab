//! Programs that print without measure: what is kept of it, and what it costs.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;

use crate::support::builder::Builder;
use crate::support::{PATIENCE, eventually};

const MIB: u64 = 1024 * 1024;
/// Lines of one output that are kept, and the two that say what was left out. A job has some more of its build.
const KEPT: usize = 10_000 + 2;

/// The part of a log between its first and its last line.
fn assert_bounded(log: &str, first: &str, last: &str) {
    let lines: Vec<&str> = log.lines().collect();
    assert!(
        lines.len() <= KEPT + 60 && log.len() as u64 <= MIB + MIB / 10,
        "{} lines, {} bytes",
        lines.len(),
        log.len()
    );
    assert!(lines.contains(&first), "its beginning is kept: {:?}", &lines[..5]);
    assert!(lines.contains(&last), "its end is kept: {:?}", &lines[lines.len() - 5..]);
    assert!(lines.iter().any(|line| line.contains("are left out here")), "what is not kept is said");
}

#[tokio::test]
async fn endless_output_is_bounded_and_keeps_its_last_lines() {
    let builder = Builder::start().await;
    let app = builder.create("scheduled-job", "Talks a lot").await;
    // A first run, so that everything is there that a run needs.
    builder.preview(&app).await;
    let before = builder.memory();
    let lines = 400_000;
    let main = format!(
        "line = '{{}} of a line that is as long as lines are, forty and more'\n\
         for first in range(0, {lines}, 1000):\n    \
             print('\\n'.join(line.format(number) for number in range(first, first + 1000)))\n\
         print('no such harbour')\nraise SystemExit(3)\n"
    );
    builder.write(&app, "job.py", &main).await;
    let job = builder.ask(&format!("/apps/{app}/previews"), &json!({})).await;
    let highest = AtomicU64::new(before);
    let job = eventually("the check has ended", PATIENCE, || async {
        highest.fetch_max(builder.memory(), Ordering::Relaxed);
        let job = builder.job(&job["id"]).await;
        (job["state"] != "running" && job["state"] != "queued").then_some(job)
    })
    .await;
    let highest = highest.into_inner();
    assert_eq!(job["error"]["code"], "run_failed", "{job:#}");
    assert!(job["error"]["lines"].to_string().contains("no such harbour"), "{job:#}");
    assert!(highest < before + 40 * MIB, "{} MiB at rest, up to {} MiB", before / MIB, highest / MIB);

    let first = "0 of a line that is as long as lines are, forty and more";
    let log = builder.http.get(builder.at("builder.localhost", &format!("/apps/{app}/logs.txt?source=build")));
    assert_bounded(&log.send().await.expect("an answer").text().await.expect("text"), first, "no such harbour");
    let runs = builder.get(&format!("/apps/{app}/runs")).await.expect(200);
    let log = builder.get(&format!("/apps/{app}/runs/{}/log", runs["runs"][0]["id"])).await.text();
    assert_bounded(&log, first, "no such harbour");
    eventually("memory is given back", PATIENCE, || async { (builder.memory() < before + 15 * MIB).then_some(()) })
        .await;
}
