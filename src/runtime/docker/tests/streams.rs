//! Tests the streams of logs and events.

use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use super::*;
use crate::domain::Clock;
use crate::domain::Environment::Preview;
use crate::engine::testing::Line;
use crate::output::LogLine;
use crate::runtime::{InstanceEvent, InstanceEventKind, RuntimeError};

/// The texts of a log; each line has its time.
fn texts(lines: BoxStream<'static, Result<LogLine, RuntimeError>>) -> BoxStream<'static, Result<String, RuntimeError>> {
    let text = |line: LogLine| {
        assert!(line.at.is_some_and(|at| at.duration_since(Clock::System.now()).abs().as_secs() < 600), "{line:?}");
        line.text
    };
    lines.map(move |line| line.map(text)).boxed()
}

async fn next<T>(stream: &mut BoxStream<'static, T>) -> T {
    tokio::time::timeout(LONG, stream.next()).await.expect("in time").expect("no end")
}

#[tokio::test]
async fn logs_continue_over_restarts_and_releases() {
    let scene = Scene::new().await;
    let (app, app_id) = scene.app.clone();
    let first = scene.serve(&scene.deployment(Preview, 1, "serve")).await;
    for word in ["a", "b", "c"] {
        get(first.address, &format!("/say/{word}")).await.expect("an answer");
    }
    // The engine records an app's output with a short delay.
    let mut log = texts(scene.runtime.logs(&app, app_id, Preview, 100, true));
    while next(&mut log).await != Ok("said c".to_owned()) {}
    let tail: Vec<_> = texts(scene.runtime.logs(&app, app_id, Preview, 2, false)).collect().await;
    assert_eq!(tail, [Ok("said b".to_owned()), Ok("said c".to_owned())]);
    let prod: Vec<_> = texts(scene.runtime.logs(&app, app_id, Environment::Prod, 10, false)).collect().await;
    assert!(prod.is_empty(), "{prod:?}");

    let mut log = texts(scene.runtime.logs(&app, app_id, Preview, 1, true));
    assert_eq!(next(&mut log).await, Ok("said c".to_owned()));
    get(first.address, "/say/d").await.expect("an answer");
    assert_eq!(next(&mut log).await, Ok("said d".to_owned()));
    let _ = get(first.address, "/crash").await;
    assert_eq!(next(&mut log).await, Ok("crashing".to_owned()));
    assert_eq!(next(&mut log).await, Ok("serving".to_owned()), "after its restart");

    let second = scene.serve(&scene.deployment(Preview, 2, "serve")).await;
    scene.runtime.stop(&first).await.expect("it stops");
    assert_eq!(next(&mut log).await, Ok("serving".to_owned()), "the next release");
    get(second.address, "/say/e").await.expect("an answer");
    assert_eq!(next(&mut log).await, Ok("said e".to_owned()));
}

#[tokio::test]
async fn an_app_that_prints_much_is_noticed() {
    let scene = Scene::new().await;
    let (app, app_id) = scene.app.clone();
    let rate = async || scene.runtime.log_rate(&app, app_id, Preview).await.expect("a look");
    assert_eq!(rate().await, None, "nothing runs");
    let quiet = scene.serve(&scene.deployment(Preview, 1, "serve")).await;
    assert_eq!(rate().await, None, "it prints one line");
    let loud = scene.serve(&scene.deployment(Preview, 2, "flood")).await;
    crate::engine::testing::eventually("it is noticed", LONG, async || {
        rate().await.is_some_and(|rate| rate.lines > 200 && rate.bytes > 100 * rate.lines)
    })
    .await;
    // The app that writes much still answers.
    assert_eq!(get(loud.address, "/health").await.expect("an answer"), "ok");
    assert_eq!(get(quiet.address, "/health").await.expect("an answer"), "ok");
}

#[tokio::test]
async fn what_happens_to_instances_is_told() {
    let scene = Scene::new().await;
    let mut events = scene.runtime.watch();
    let deployment = scene.deployment(Preview, 1, "serve");
    let started = |instance: &Instance| InstanceEvent { instance: instance.clone(), kind: InstanceEventKind::Started };
    // The request is sent to the engine only when the stream is polled.
    let (instance, event) = tokio::join!(scene.serve(&deployment), next(&mut events));
    assert_eq!(event, started(&instance));
    let _ = get(instance.address, "/crash").await;
    let mut kinds = Vec::new();
    while kinds.len() < 2 {
        let event = next(&mut events).await;
        assert_eq!(event.instance, instance);
        // The start may be reported twice: by the first list, and as an event.
        if !(kinds.is_empty() && event.kind == InstanceEventKind::Started) {
            kinds.push(event.kind);
        }
    }
    assert_eq!(kinds, [InstanceEventKind::Died { code: Some(9), oom: false }, InstanceEventKind::Started]);

    // A later subscriber receives the current state first.
    let mut later = runtime(&scene.sandbox).watch();
    assert_eq!(next(&mut later).await, started(&instance));
    let dying = scene.deployment(Preview, 2, "oom");
    let (dead, ()) = tokio::join!(scene.start(&dying), async {
        loop {
            let event = next(&mut later).await;
            if let InstanceEventKind::Died { oom, .. } = event.kind {
                assert!(oom, "{event:?}");
                break;
            }
        }
    });
    assert_eq!(dead.release, ReleaseNumber(2));
}

#[tokio::test]
async fn an_engine_that_was_away_is_found_again() {
    let scene = Scene::new().await;
    let instance = scene.serve(&scene.deployment(Preview, 1, "serve")).await;
    let mut line = Line::new().await;
    let docker = crate::engine::connect(Some(&line.host)).expect("a client");
    let installation = scene.sandbox.installation.clone();
    let firewall = firewall(&installation);
    let settings = settings(installation, firewall);
    let runtime = DockerRuntime::new(docker, settings);
    let mut events = runtime.watch();
    assert_eq!(next(&mut events).await.kind, InstanceEventKind::Started);

    line.cut().await;
    assert!(matches!(runtime.ping().await, Err(RuntimeError::Unavailable(why)) if why.contains("refused")));
    // Changes during the interruption are reported after it.
    scene.sandbox.docker.stop_container(&instance.id, None).await.expect("it stops");
    line.restore().await;
    loop {
        let event = next(&mut events).await;
        assert_eq!(event.instance.id, instance.id);
        // The start from before the interruption may be reported again.
        if matches!(event.kind, InstanceEventKind::Died { .. }) {
            break;
        }
    }
    assert!(runtime.ping().await.is_ok());
}
