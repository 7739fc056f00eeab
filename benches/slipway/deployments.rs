//! Preview, publish and roll back, beside the bare tools doing the same.
//!
//! The bare tools get the same files, the same base image and the same limits, and end as we do:
//! with the first answer. Turns alternate, so that a busy moment of the machine hits both.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;

use super::report::{Bound, Report, Samples};
use super::support::builder::Builder;
use super::support::engine::{docker, inspected, nginx_base};
use super::support::load::Load;
use super::support::{PATIENCE, eventually};

const PREVIEWS: usize = 7;
const ROLLOUTS: usize = 9;
/// On the images that the bare tools made, so that they can be found again.
const LABEL: &str = "slipway-bench";

pub async fn measure(report: &mut Report) {
    let builder = Builder::start().await;
    let app = builder.create("static-site", "Is changed and deployed").await;
    builder.preview(&app).await;
    builder.publish(&app).await;
    let mut bare = Bare::new(&builder, &app);
    bare.build();
    bare.run().await;

    let (mut ours, mut theirs) = (Samples::default(), Samples::default());
    for number in 0..PREVIEWS {
        let page = format!("<!doctype html><title>{number}</title><h1>Change {number}</h1>\n");
        builder.write(&app, "public/index.html", &page).await;
        ours.push_ms(until_answered(&builder, &app, "previews", &format!("{app}-preview"), &page).await);
        quiet(&builder).await;
        bare.write("public/index.html", &page);
        let begun = Instant::now();
        bare.build();
        bare.run().await;
        theirs.push_ms(begun.elapsed());
    }
    let peer = "docker build, docker run, first answer";
    let what = "preview of a changed static site, over the bare tools";
    report.ratio(what, Bound::AtMost(1.0), "ms", &ours, &theirs, peer);

    let peer = "docker run, first answer";
    let (mut publishes, mut rollbacks, mut theirs) = (Samples::default(), Samples::default(), Samples::default());
    let shown = builder.open(&format!("{app}-preview"), "/").await.text();
    for _ in 0..ROLLOUTS {
        publishes.push_ms(until_answered(&builder, &app, "publish", &app, &shown).await);
        quiet(&builder).await;
        theirs.push_ms(bare.run().await);
        rollbacks.push_ms(until_done(&builder, &app, "rollback").await);
        quiet(&builder).await;
    }
    report.ratio("publish, over the bare rollout", Bound::AtMost(1.1), "ms", &publishes, &theirs, peer);
    report.ratio("roll back, over the bare rollout", Bound::AtMost(1.1), "ms", &rollbacks, &theirs, peer);
    let details = format!("median of {}, until the job is done; nothing starts", rollbacks.len());
    report.row("roll back to the release that is paused", Bound::AtMost(150.0), "ms", rollbacks.median(), &details);

    let load = Load::start(builder.port, &app, "/", 16, 8);
    load.warm(500).await;
    for _ in 0..4 {
        until_done(&builder, &app, "publish").await;
        until_done(&builder, &app, "rollback").await;
    }
    load.warm(500).await;
    let outcome = load.end().await;
    outcome.failures.iter().take(5).for_each(|failure| super::report::say(failure));
    #[expect(clippy::cast_precision_loss, reason = "there are at most 50")]
    let failed = outcome.failures.len() as f64;
    let details = format!("of {}, from 24 clients, during 4 publishes and 4 roll backs", outcome.answered);
    report.row("failed requests during publish and roll back", Bound::AtMost(0.0), "", failed, &details);
}

/// Waits until the old container has drained and gone, so that its end is not part of what comes next.
async fn quiet(builder: &Builder) {
    eventually("two containers are left", PATIENCE, || async {
        (builder.installation().places().len() == 2).then_some(())
    })
    .await;
}

/// Time from the request of a job until its stream reports success.
async fn until_done(builder: &Builder, app: &str, call: &str) -> Duration {
    let begun = Instant::now();
    let job = builder.ask(&format!("/apps/{app}/{call}"), &json!({})).await;
    let mut events = builder.job_events(&job["id"], 0).await;
    let end = events.wait("the job's end", PATIENCE, |event| {
        event.name == "job" && matches!(event.data["state"].as_str(), Some("succeeded" | "failed"))
    });
    let end = end.await;
    assert_eq!(end.data["state"], "succeeded", "{:#}", end.data);
    begun.elapsed()
}

/// The same, and until its page has been read.
async fn until_answered(builder: &Builder, app: &str, call: &str, host: &str, page: &str) -> Duration {
    let begun = Instant::now();
    until_done(builder, app, call).await;
    assert_eq!(builder.open(host, "/").await.text(), page, "ready is said only when the new version answers");
    begun.elapsed()
}

/// The bare tools with the same files; their objects are removed when this is dropped.
struct Bare {
    folder: tempfile::TempDir,
    name: String,
    http: reqwest::Client,
    runs: usize,
}

impl Bare {
    fn new(builder: &Builder, app: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        copy(&builder.data().join("workspaces").join(app), folder.path());
        let name = format!("slipway-bench-{}", builder.installation().0);
        // Apps have a network of their own, and joining one takes the engine a while.
        docker(&["network", "create", &name]).expect("a network");
        Self { folder, name, http: builder.http.clone(), runs: 0 }
    }

    fn write(&self, path: &str, text: &str) {
        std::fs::write(self.folder.path().join(path), text).expect("it is written");
    }

    fn build(&self) {
        let folder = self.folder.path().to_string_lossy().into_owned();
        let (base, label) = (format!("BASE_IMAGE={}", nginx_base()), format!("{LABEL}={}", self.name));
        docker(&["build", "--quiet", "--tag", &self.name, "--label", &label, "--build-arg", &base, &folder])
            .expect("it builds");
    }

    /// Starts the image with the limits that apps have, waits for its first answer, and removes
    /// the one before, which is not counted.
    async fn run(&mut self) -> Duration {
        let before = (self.runs > 0).then(|| format!("{}-{}", self.name, self.runs));
        self.runs += 1;
        let name = format!("{}-{}", self.name, self.runs);
        let begun = Instant::now();
        docker(&[
            "run",
            "--detach",
            "--name",
            &name,
            "--network",
            &self.name,
            "--read-only",
            "--tmpfs",
            "/tmp",
            "--cap-drop",
            "ALL",
            "--security-opt",
            "no-new-privileges",
            "--memory",
            "128m",
            "--cpus",
            "0.5",
            "--pids-limit",
            "128",
            "--user",
            "10001:10001",
            &self.name,
        ])
        .expect("it runs");
        let address = address(&name);
        while self.http.get(format!("http://{address}:8080/")).send().await.is_err() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let took = begun.elapsed();
        if let Some(before) = before {
            docker(&["rm", "--force", &before]).expect("it is removed");
        }
        took
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = docker(&["rm", "--force", &format!("{}-{}", self.name, self.runs)]);
        let _ = docker(&["network", "rm", &self.name]);
        let filter = format!("label={LABEL}={}", self.name);
        let images = docker(&["images", "--quiet", "--no-trunc", "--filter", &filter]).unwrap_or_default();
        for image in images.split_whitespace() {
            let _ = docker(&["rmi", "--force", image]);
        }
    }
}

/// A container's address in the engine's network.
pub fn address(container: &str) -> String {
    let inspected = inspected(container);
    let networks = inspected["NetworkSettings"]["Networks"].as_object().expect("networks");
    let address = networks.values().filter_map(|network| network["IPAddress"].as_str()).find(|text| !text.is_empty());
    address.unwrap_or_else(|| panic!("{container} has no address: {}", inspected["State"])).to_owned()
}

/// A folder's files, without its history. Everybody may read them, as in a checkout: the builder's own are its alone.
pub fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        let (source, target): (PathBuf, PathBuf) = (entry.path(), to.join(entry.file_name()));
        if entry.file_name() == ".git" {
            continue;
        }
        if source.is_dir() {
            std::fs::create_dir_all(&target).expect("a folder");
            copy(&source, &target);
        } else {
            std::fs::copy(&source, &target).expect("a file");
            std::fs::set_permissions(&target, Permissions::from_mode(0o644)).expect("it is ours");
        }
    }
}
