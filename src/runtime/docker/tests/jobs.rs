//! Tests runs of jobs.

use std::sync::Mutex;

use super::*;
use crate::domain::Environment::Prod;
use crate::domain::RunId;
use crate::engine::testing::eventually;
use crate::runtime::{RunOutcome, RunSpec};

fn run_spec(scene: &Scene, run: i64, mode: &str) -> RunSpec {
    RunSpec {
        app: scene.app.0.clone(),
        app_id: scene.app.1,
        environment: Prod,
        release: ReleaseNumber(1),
        run: RunId(run),
        image: scene.image.clone(),
        spec: spec(ProcessKind::Job, mode),
        secrets: BTreeMap::new(),
        time_limit: LONG,
    }
}

async fn run(scene: &Scene, spec: &RunSpec) -> (RunOutcome, Vec<String>) {
    let log = Mutex::new(Vec::new());
    let keep = |line: String| log.lock().expect("no panic").push(line);
    let outcome = scene.runtime.run(spec, &keep, &CancellationToken::new()).await.expect("it runs");
    (outcome, log.into_inner().expect("no panic"))
}

#[tokio::test]
async fn a_run_tells_its_exit_code_and_leaves_nothing() {
    let scene = Scene::new().await;
    for (n, mode, code) in [(1, "job0", 0), (2, "job3", 3)] {
        let (outcome, log) = run(&scene, &run_spec(&scene, n, mode)).await;
        assert_eq!((outcome.exit_code, outcome.timed_out, outcome.oom), (Some(code), false, false));
        assert_eq!(log.iter().filter(|line| line.starts_with("step")).count(), 3, "{log:?}");
        assert!(log.contains(&"to stderr".to_owned()));
        assert_eq!(outcome.log_tail, log);
    }
    let (outcome, _) = run(&scene, &run_spec(&scene, 3, "oom")).await;
    assert!(outcome.oom && outcome.exit_code != Some(0), "{outcome:?}");
    let (outcome, log) = run(&scene, &run_spec(&scene, 4, "chatter")).await;
    assert_eq!(outcome.exit_code, Some(0));
    assert!(log.len() <= 10_002 && log.iter().any(|line| line.contains("are left out here")), "{}", log.len());
    assert_eq!(log.last(), outcome.log_tail.last(), "its end is kept");
    assert_eq!(scene.runtime.runs().await, Ok(Vec::new()));
    assert_eq!(scene.runtime.instances().await, Ok(Vec::new()));
}

#[tokio::test]
async fn a_run_ends_at_its_time_limit_or_when_it_is_stopped() {
    let scene = Scene::new().await;
    let mut spec = run_spec(&scene, 1, "hang");
    spec.time_limit = Duration::from_secs(1);
    let (outcome, log) = run(&scene, &spec).await;
    assert!(outcome.timed_out && outcome.exit_code.is_none(), "{outcome:?}");
    assert_eq!(log, ["hanging"]);

    let cancel = CancellationToken::new();
    let stop = |_| cancel.cancel();
    let stopped = scene.runtime.run(&run_spec(&scene, 2, "hang"), &stop, &cancel).await;
    assert_eq!(stopped, Err(RuntimeError::Cancelled));
    assert_eq!(scene.runtime.runs().await, Ok(Vec::new()));
}

#[tokio::test]
async fn a_run_outlives_its_builder() {
    let scene = Scene::new().await;
    let mut spec = run_spec(&scene, 7, "hang");
    {
        let begun = tokio::sync::Notify::new();
        let log = |_| begun.notify_one();
        let cancel = CancellationToken::new();
        // The future is dropped during the run, as when the builder's process ends.
        tokio::select! {
            ended = scene.runtime.run(&spec, &log, &cancel) => panic!("{ended:?}"),
            () = begun.notified() => {}
        }
    }
    let builder = runtime(&scene.sandbox);
    let left = builder.runs().await.expect("a list");
    assert_eq!(left.len(), 1);
    assert_eq!((left[0].run, left[0].running, &left[0].app), (RunId(7), true, &scene.app.0));
    assert_eq!(builder.instances().await, Ok(Vec::new()), "a run is no instance");

    // The short time limit counts from the start of the run.
    let log = Mutex::new(Vec::new());
    let keep = |line: String| log.lock().expect("no panic").push(line);
    let cancel = CancellationToken::new();
    let outcome = builder.attach_run(&left[0], Duration::from_millis(100), &keep, &cancel).await.expect("it ends");
    assert!(outcome.timed_out, "{outcome:?}");
    assert_eq!(*log.lock().expect("no panic"), ["hanging"]);
    assert_eq!(builder.runs().await, Ok(Vec::new()));

    // A second call for the same run attaches to it.
    spec.run = RunId(8);
    spec.spec.variables.insert("MODE".to_owned(), "job3".to_owned());
    let container = "the run is there";
    let begun = tokio::sync::Notify::new();
    let signal = |_| begun.notify_one();
    tokio::select! {
        _ = scene.runtime.run(&spec, &signal, &cancel) => {}
        () = begun.notified() => {}
    }
    eventually(container, LONG, async || !builder.runs().await.expect("a list").iter().any(|left| left.running)).await;
    // The time limit has passed long ago, but the run had ended before it.
    spec.time_limit = Duration::ZERO;
    let (outcome, lines) = run(&scene, &spec).await;
    assert_eq!((outcome.exit_code, outcome.timed_out), (Some(3), false));
    assert!(lines.contains(&"step 0".to_owned()), "from its first line");
}
