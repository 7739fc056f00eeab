//! Proof before "ready": a version that answers, but not as it should, never takes traffic.

use serde_json::{Value, json};

use crate::support::builder::Builder;

fn checks(job: &Value) -> Vec<(String, bool)> {
    let checks = job["checks"].as_array().expect("a list of checks");
    let name =
        |check: &Value| format!("{} {}", check["method"].as_str().unwrap_or(""), check["path"].as_str().unwrap_or(""));
    checks.iter().map(|check| (name(check), check["ok"] == true)).collect()
}

#[tokio::test]
async fn a_site_with_a_broken_link_does_not_take_traffic() {
    let builder = Builder::start().await;
    let app = builder.create("static-site", "Linked").await;
    let job = builder.preview(&app).await;
    let passed = checks(&job);
    for path in ["GET /", "GET /style.css", "GET /script.js", "GET /favicon.svg"] {
        assert!(passed.contains(&(path.to_owned(), true)), "{path}: {job:#}");
    }

    builder
        .write(&app, "public/index.html", "<h1>New</h1><a href=about.html>About</a><script src=app.js></script>")
        .await;
    builder.write(&app, "public/about.html", "<h1>About</h1><img src=/no/picture.png>").await;
    let job = builder.failed(&format!("/apps/{app}/previews"), &json!({})).await;
    let error = &job["error"];
    assert_eq!(error["code"], "smoke_failed", "{job:#}");
    assert!(error["message"].as_str().is_some_and(|text| text.contains("2 of")), "{error:#}");
    assert!(error["hint"].as_str().is_some_and(|text| !text.is_empty()));
    assert!(error["lines"].to_string().contains("/about.html refers to it"), "{error:#}");
    let failed: Vec<String> = checks(&job).into_iter().filter(|(_, ok)| !ok).map(|(path, _)| path).collect();
    assert_eq!(failed, ["GET /app.js", "GET /no/picture.png"]);
    let preview = builder.open(&format!("{app}-preview"), "/").await;
    assert!(preview.text().contains("It works. Now make it yours."), "the old version serves on");
    let described = builder.app(&app).await;
    assert_eq!(described["environments"]["preview"]["release"], 1, "{described:#}");

    builder.write(&app, "public/app.js", "\"use strict\";\n").await;
    builder.write(&app, "public/about.html", "<h1>About</h1><a href=/>Back</a>").await;
    builder.preview(&app).await;
    assert!(builder.open(&format!("{app}-preview"), "/").await.text().contains("<h1>New</h1>"));
    let releases = builder.releases(&app, "preview").await;
    assert_eq!(releases[0]["checks"], json!({"passed": 3, "failed": 0}), "{releases:#?}");
    assert_eq!((&releases[1]["state"], &releases[1]["checks"]["failed"]), (&json!("failed"), &json!(2)));

    // What goes on from there is the same image: its health is asked, and no more.
    let published = builder.publish(&app).await;
    assert_eq!(published["checks"], json!([]));
}

#[tokio::test]
async fn an_api_whose_calls_fail_does_not_take_traffic() {
    let builder = Builder::start().await;
    let app = builder.create("simple-api", "Counts").await;
    let job = builder.preview(&app).await;
    assert!(checks(&job).contains(&("GET /openapi.json".to_owned(), true)), "{job:#}");
    let good = builder.get(&format!("/apps/{app}/files/main.py")).await.text();
    let bad = "\n\n@app.get(\"/stars\")\ndef stars() -> int:\n    return 1 // 0\n\n\
               @app.get(\"/forever\")\nasync def forever():\n    import asyncio\n    from fastapi.responses import StreamingResponse\n    \
               async def ticks():\n        while True:\n            yield b'tick'\n            await asyncio.sleep(0.05)\n    \
               return StreamingResponse(ticks())\n";
    builder.write(&app, "main.py", &format!("{good}{bad}")).await;
    let job = builder.failed(&format!("/apps/{app}/previews"), &json!({})).await;
    let error = &job["error"];
    assert_eq!(error["code"], "smoke_failed", "{job:#}");
    assert!(error["message"].as_str().is_some_and(|text| text.contains("GET /stars")), "{error:#}");
    assert!(error["lines"].to_string().contains("ZeroDivisionError"), "the app's own words: {error:#}");
    assert!(checks(&job).contains(&("GET /forever".to_owned(), true)), "a stream without an end answers too");
    assert_eq!(builder.open(&format!("{app}-preview"), "/hello/you").await.status, 200, "the old version serves on");
}

#[tokio::test]
async fn a_webhook_shows_whom_it_refuses() {
    let builder = Builder::start().await;
    let app = builder.create("webhook", "Takes events").await;
    for (mode, kinds) in [
        ("timestamped", &["rightly signed call", "wrongly signed call", "unsigned call", "stale call"][..]),
        ("github", &["rightly signed call", "wrongly signed call", "unsigned call"]),
        ("stripe", &["rightly signed call", "wrongly signed call", "unsigned call", "stale call"]),
    ] {
        builder.write(&app, "app.toml", &format!("signature = \"{mode}\"\n")).await;
        let job = builder.preview(&app).await;
        let calls: Vec<&Value> =
            job["checks"].as_array().expect("checks").iter().filter(|check| check["method"] == "POST").collect();
        let asked: Vec<&str> = calls.iter().filter_map(|check| check["what"].as_str()).collect();
        assert_eq!(asked, kinds, "{mode}");
        assert!(calls.iter().all(|check| check["ok"] == true), "{job:#}");
        let statuses: Vec<&Value> = calls.iter().map(|check| &check["status"]).collect();
        assert_eq!(statuses[0], 200);
        assert!(statuses[1..].iter().all(|status| **status == 401), "{job:#}");
    }

    // One that fails on what it does not know is found before a sender does.
    let good = builder.get(&format!("/apps/{app}/files/main.py")).await.text();
    let at = good.find("def handle(event)").expect("the starter handles events");
    let bad = format!("{}def handle(event):\n    return event[\"amount\"] + 1\n", &good[..at]);
    builder.write(&app, "main.py", &bad).await;
    let job = builder.failed(&format!("/apps/{app}/previews"), &json!({})).await;
    assert_eq!(job["error"]["code"], "smoke_failed", "{job:#}");
    assert!(job["error"]["lines"].to_string().contains("KeyError"), "{job:#}");
}
