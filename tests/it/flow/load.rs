//! Publish and roll back while visitors come and go: not one request may fail.

use serde_json::json;

use crate::support::builder::{Builder, send};
use crate::support::load::Load;
use crate::support::{PATIENCE, eventually};

async fn page(builder: &Builder, app: &str, words: &str) {
    builder.write(app, "public/index.html", &format!("<h1>{words}</h1>\n")).await;
    builder.preview(app).await;
}

#[tokio::test]
async fn no_request_fails_during_publish_and_roll_back() {
    let builder = Builder::start().await;
    let app = builder.create("static-site", "Busy harbour").await;
    page(&builder, &app, "one").await;
    builder.publish(&app).await;
    page(&builder, &app, "two").await;

    let load = Load::start(builder.port, &app, "/", 6, 3);
    load.warm(200).await;
    builder.publish(&app).await;
    load.warm(200).await;
    builder.done(&format!("/apps/{app}/rollback"), &json!({})).await;
    load.warm(200).await;
    // Under load still when the last old container has drained and gone.
    let live = vec![format!("{app}/preview/2"), format!("{app}/prod/3")];
    eventually("old containers go", PATIENCE, || async { (builder.installation().places() == live).then_some(()) })
        .await;
    load.warm(50).await;
    let outcome = load.end().await;
    assert_eq!(outcome.failures, Vec::<String>::new(), "of {} requests", outcome.answered);
    assert_eq!(outcome.bodies, ["<h1>one</h1>\n", "<h1>two</h1>\n"], "no page of the builder came in between");
    assert!(outcome.answered >= 650);
}

#[tokio::test]
async fn undo_needs_no_start_and_no_request_fails_meanwhile() {
    let builder = Builder::start().await;
    let app = builder.create("static-site", "Undone").await;
    page(&builder, &app, "one").await;
    builder.publish(&app).await;
    page(&builder, &app, "two").await;
    builder.publish(&app).await;
    eventually("the first is paused", PATIENCE, || async {
        (builder.installation().paused() == [format!("{app}/prod/1")]).then_some(())
    })
    .await;
    let containers = builder.installation().containers();

    let load = Load::start(builder.port, &app, "/", 4, 2);
    load.warm(100).await;
    // There and back, several times.
    for (live, back_to) in (3..9).zip(1..) {
        let body = json!({"environment": "prod", "release": back_to});
        let job = builder.done(&format!("/apps/{app}/rollback"), &body).await;
        assert_eq!(job["steps"][0], json!({"name": "start", "state": "skipped", "millis": 0}), "{job:#}");
        let paused = [format!("{app}/prod/{}", live - 1)];
        eventually("the other is paused", PATIENCE, || async {
            (builder.installation().paused() == paused).then_some(())
        })
        .await;
        assert!(builder.installation().places().contains(&format!("{app}/prod/{live}")));
        load.warm(50).await;
    }
    let outcome = load.end().await;
    assert_eq!(outcome.failures, Vec::<String>::new(), "of {} requests", outcome.answered);
    let ids = |containers: &[crate::support::engine::Container]| {
        containers.iter().map(|container| container.id.clone()).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(ids(&builder.installation().containers()), ids(&containers), "nothing was started");
    // The usage is that of the live one, and the paused one is counted apart.
    let usage = builder.get(&format!("/apps/{app}/resources?environment=prod")).await.expect(200);
    assert_eq!((&usage["release"], &usage["ready"]), (&json!(8), &json!(1)), "{usage:#}");
    let metrics = send(builder.http.get(builder.at("builder.localhost", "/metrics"))).await.text();
    assert!(metrics.contains("slipway_paused_releases 1\n"), "{metrics}");
}

#[tokio::test]
async fn a_paused_release_outlives_the_builder_and_ends_in_time() {
    let mut builder = Builder::start_with(&[("SLIPWAY_KEEP_REPLACED_SECONDS", "600")]).await;
    let app = builder.create("static-site", "Waits").await;
    page(&builder, &app, "one").await;
    builder.publish(&app).await;
    page(&builder, &app, "two").await;
    builder.publish(&app).await;
    let paused = [format!("{app}/prod/1")];
    let is_paused = || async { (builder.installation().paused() == paused).then_some(()) };
    eventually("the first is paused", PATIENCE, is_paused).await;
    builder.kill();
    builder.restart().await;
    eventually("the reconcile is done", PATIENCE, || async {
        (builder.open(&app, "/").await.status == 200).then_some(())
    })
    .await;
    let job = builder.done(&format!("/apps/{app}/rollback"), &json!({"environment": "prod"})).await;
    assert_eq!(job["steps"][0]["state"], "skipped", "it was still there: {job:#}");
    assert_eq!(builder.open(&app, "/").await.text(), "<h1>one</h1>\n");

    // The time counts from the switch, whoever is at work when it is over.
    builder.restart_with(&[("SLIPWAY_KEEP_REPLACED_SECONDS", "2")]).await;
    eventually("it has ended", PATIENCE, || async { builder.installation().paused().is_empty().then_some(()) }).await;
    assert_eq!(builder.open(&app, "/").await.text(), "<h1>one</h1>\n");
    // Without it, a roll back starts as it always did.
    let job = builder.done(&format!("/apps/{app}/rollback"), &json!({"environment": "prod", "release": 2})).await;
    assert_eq!(job["steps"][0]["state"], "done", "{job:#}");
    assert_eq!(builder.open(&app, "/").await.text(), "<h1>two</h1>\n");
    // The builder that is at work ends it, too.
    eventually("the last one has ended", PATIENCE, || async {
        let containers = builder.installation().containers();
        (!containers.iter().any(|container| container.place() == format!("{app}/prod/3"))).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_slow_response_is_finished_by_its_release() {
    let builder = Builder::start().await;
    let app = builder.create("simple-api", "Answers slowly").await;
    let source = |words: &str| {
        format!(
            "import asyncio\nfrom fastapi import FastAPI\nfrom fastapi.responses import StreamingResponse\napp = FastAPI()\n\
             @app.get('/health')\ndef health():\n    return 'ok'\n\
             @app.get('/')\ndef index():\n    return '{words}'\n\
             @app.get('/slow')\nasync def slow():\n    async def lines():\n        for n in range(8):\n            \
             yield f'{words} {{n}}\\n'\n            await asyncio.sleep(0.5)\n    return StreamingResponse(lines())\n"
        )
    };
    builder.write(&app, "main.py", &source("old")).await;
    builder.preview(&app).await;
    builder.publish(&app).await;
    builder.write(&app, "main.py", &source("new")).await;
    builder.preview(&app).await;
    let slow = tokio::spawn(send(builder.http.get(builder.at(&format!("{app}.localhost"), "/slow"))));
    builder.publish(&app).await;
    assert_eq!(builder.open(&app, "/").await.text(), "\"new\"");
    let slow = slow.await.expect("no panic");
    assert_eq!(slow.status, 200);
    assert_eq!(slow.text().lines().count(), 8, "{}", slow.text());
    assert!(slow.text().contains("old 7"), "{}", slow.text());
}
