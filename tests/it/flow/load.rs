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
