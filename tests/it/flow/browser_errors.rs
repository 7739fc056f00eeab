//! Browser errors: collected from drafts and previews, never asked for in production.

use reqwest::header::ACCEPT;
use serde_json::json;

use crate::support::builder::{Answer, Builder, send};

const TAG: &str = "<head><script src=\"/.slipway/errors.js\"></script>";

/// As a browser opens a page.
async fn browse(builder: &Builder, host: &str, path: &str) -> Answer {
    send(builder.http.get(builder.at(&format!("{host}.localhost"), path)).header(ACCEPT, "text/html,*/*;q=0.8")).await
}

#[tokio::test]
async fn drafts_and_previews_report_and_production_does_not() {
    let builder = Builder::start().await;
    let app = builder.create("static-site", "Reports").await;
    let index = "<!doctype html>\n<html lang=en><head><title>T</title></head><body><h1>Hello</h1></body></html>\n";
    builder.write(&app, "public/index.html", index).await;
    builder.preview(&app).await;
    builder.publish(&app).await;
    for host in [format!("{app}-draft"), format!("{app}-preview")] {
        let page = browse(&builder, &host, "/").await;
        assert_eq!(page.text(), index.replace("<head>", TAG), "{host}");
        assert_eq!(builder.open(&host, "/").await.text(), index, "programs get the page unchanged");
        let script = builder.open(&host, "/.slipway/errors.js").await;
        assert!(
            script.header("content-type").starts_with("text/javascript") && script.text().contains("console.error")
        );
        let url = builder.at(&format!("{host}.localhost"), "/.slipway/errors");
        let report =
            json!([{"kind": "error", "message": "x is not defined", "page": "/", "source": "/a.js", "line": 2}]);
        assert_eq!(send(builder.http.post(&url).body(report.to_string())).await.status, 204);
        assert_eq!(send(builder.http.post(&url).body("not json")).await.status, 400);
        assert_eq!(send(builder.http.post(&url).body("x".repeat(100_000))).await.status, 413);
        let foreign = builder.http.post(&url).header("Origin", "http://evil.example").body(report.to_string());
        assert_eq!(send(foreign).await.status, 403);
    }
    assert_eq!(browse(&builder, &app, "/").await.text(), index, "production is as it was built");
    assert_eq!(builder.open(&app, "/.slipway/errors.js").await.status, 404);
    for view in ["draft", "preview"] {
        let page = send(builder.http.get(builder.at("builder.localhost", &format!("/apps/{app}?view={view}")))).await;
        assert!(page.text().contains("1 browser error"), "{view}");
    }
    let page = send(builder.http.get(builder.at("builder.localhost", &format!("/apps/{app}?view=prod")))).await;
    assert!(!page.text().contains("browser error"));

    // A changed draft is another draft.
    builder.write(&app, "public/index.html", "<h1>New</h1>\n").await;
    let page = send(builder.http.get(builder.at("builder.localhost", &format!("/apps/{app}?view=draft")))).await;
    assert!(!page.text().contains("1 browser error"));
}
