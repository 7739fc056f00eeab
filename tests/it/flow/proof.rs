//! Proof before "ready": a version that answers, but not as it should, never takes traffic.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::fake_claude::{Answer, FakeClaude, KEY};
use crate::support::builder::{Builder, send, word};
use crate::support::{PATIENCE, eventually};

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

    // A user may decide that the checks do not matter; the release says so, and so does what is published from it.
    let job = builder.done(&format!("/apps/{app}/previews"), &json!({"ignore_checks": true})).await;
    assert_eq!(checks(&job).iter().filter(|(_, ok)| !ok).count(), 2, "{job:#}");
    assert!(builder.open(&format!("{app}-preview"), "/").await.text().contains("<h1>New</h1>"));
    builder.publish(&app).await;
    for place in ["preview", "prod"] {
        let releases = builder.releases(&app, place).await;
        assert_eq!(
            (&releases[0]["state"], &releases[0]["ignored_checks"]),
            (&json!("ready"), &json!(2)),
            "{releases:#?}"
        );
    }

    builder.write(&app, "public/app.js", "\"use strict\";\n").await;
    builder.write(&app, "public/about.html", "<h1>About</h1><a href=/>Back</a>").await;
    builder.preview(&app).await;
    assert!(builder.open(&format!("{app}-preview"), "/").await.text().contains("<h1>New</h1>"));
    let releases = builder.releases(&app, "preview").await;
    assert_eq!(releases[0]["checks"], json!({"passed": 6, "failed": 0}), "{releases:#?}");
    assert_eq!(releases[0]["ignored_checks"], 0, "{releases:#?}");
    assert_eq!((&releases[2]["state"], &releases[2]["checks"]["failed"]), (&json!("failed"), &json!(2)));

    // Publishing uses the same image, so only its health is checked.
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
async fn a_webhook_reports_the_calls_it_refuses() {
    let builder = Builder::start().await;
    let app = builder.create("webhook", "Takes events").await;
    for (mode, kinds) in [
        (
            "timestamped",
            &["rightly signed call", "wrongly signed call", "unsigned call", "unsigned test call", "stale call"][..],
        ),
        ("github", &["rightly signed call", "wrongly signed call", "unsigned call", "unsigned test call"]),
        (
            "stripe",
            &["rightly signed call", "wrongly signed call", "unsigned call", "unsigned test call", "stale call"],
        ),
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

/// A webhook that shows its environment, in which its template leaves a copy of the secret, to everybody; what it does with events is added.
const LEAKY: &str = "import base64\nimport os\n\nfrom fastapi import FastAPI\n\napp = FastAPI()\n\
    SECRET = os.environ['COPIED_SECRET']\nprint(dict(os.environ), flush=True)\n\
    print('Authorization: Basic', base64.b64encode(f'me:{SECRET}'.encode()).decode(), flush=True)\n\n\n\
    @app.get('/health')\ndef health():\n    return {'status': 'ok'}\n\n\n\
    @app.get('/env')\ndef env():\n    return dict(os.environ)\n\n\n";
const MARK: &str = "[secret WEBHOOK_SECRET]";

/// The webhook template, but that the app gets its secret.
fn telling_template(folder: &Path) {
    let original = Path::new("app_templates/webhook");
    std::fs::create_dir_all(folder.join("files")).expect("made");
    std::fs::copy(original.join("template.toml"), folder.join("template.toml")).expect("copied");
    for file in std::fs::read_dir(original.join("files")).expect("there") {
        let file = file.expect("a file");
        let text = std::fs::read_to_string(file.path()).expect("text");
        let start = r#"CMD ["/platform/python", "-I", "-S", "/app/verify.py"]"#;
        assert!(file.file_name() != "Dockerfile" || text.contains(start));
        let telling = r#"CMD ["sh", "-c", "COPIED_SECRET=$WEBHOOK_SECRET exec /platform/python -I -S /app/verify.py"]"#;
        std::fs::write(folder.join("files").join(file.file_name()), text.replace(start, telling)).expect("written");
    }
}

#[tokio::test]
async fn printed_secrets_are_redacted_for_model_events_and_history() {
    let bad = format!("{LEAKY}def handle(event):\n    raise RuntimeError(f'no event for {{SECRET}}')\n");
    let good = format!("{LEAKY}def handle(event):\n    return {{}}\n");
    let says = |text: &str| Answer::new().text(text).stop("end_turn").reply();
    let writes = |id: &str, path: &str, text: &str| {
        Answer::new().tool(id, "write_file", &json!({"path": path, "content": text}), 400).stop("tool_use").reply()
    };
    let fake = FakeClaude::start(vec![
        Answer::new()
            .tool("t1", "preview_logs", &json!({}), 9)
            .tool("t2", "request", &json!({"method": "GET", "path": "/env"}), 9)
            .stop("tool_use")
            .reply(),
        says("I looked at it."),
        writes("t3", "notes.txt", "One\n"),
        says("Looked into."),
        writes("t4", "main.py", &format!("{bad}# Again.\n")),
        says("Written."),
        writes("t5", "main.py", &good),
        says("Fixed."),
    ])
    .await;
    let mut builder =
        Builder::start_with(&[("ANTHROPIC_API_KEY", KEY), ("ANTHROPIC_BASE_URL", &fake.base_url())]).await;
    telling_template(&builder.data().join("templates/webhook"));
    builder.restart().await;
    let app = builder.create("webhook", "Talks too much").await;
    builder.write(&app, "main.py", &good).await;
    builder.preview(&app).await;
    let page = builder.at("builder.localhost", &format!("/apps/{app}/webhook-secret?environment=preview"));
    let secret = send(builder.http.get(page)).await.text();
    assert!(secret.starts_with("whsec_"), "{secret}");
    assert!(builder.open(&format!("{app}-preview"), "/env").await.text().contains(&secret), "the app really prints it");

    // Tools, the prompt of a fix, and an automatic repair.
    builder.turn(&app, &format!("What does it print? It must not be {secret}")).await;
    builder.write(&app, "main.py", &bad).await;
    let failed = builder.failed(&format!("/apps/{app}/previews"), &json!({})).await;
    assert!(failed["error"]["lines"].to_string().contains(MARK), "{failed:#}");
    let form = builder.http.post(builder.at("builder.localhost", &format!("/apps/{app}/fix")));
    let form = form.header("Content-Type", "application/x-www-form-urlencoded");
    let sent = send(form.body(format!("job={}", word(&failed["id"])))).await;
    assert_eq!(sent.status, 303, "{}", sent.text());
    let ended = |builder: &Builder, number: i64| {
        let path = format!("/apps/{app}/turns");
        let builder_get = builder.request(reqwest::Method::GET, &path);
        async move {
            let turns = send(builder_get).await.expect(200)["turns"].clone();
            let turn = turns.as_array()?.iter().find(|turn| turn["number"] == number)?.clone();
            (turn["state"] == "done").then_some(turn)
        }
    };
    eventually("the fix has ended", PATIENCE, || ended(&builder, 2)).await;
    let change = builder.request(reqwest::Method::PATCH, &format!("/apps/{app}")).json(&json!({"auto_preview": true}));
    assert_eq!(send(change).await.status, 200);
    builder.turn(&app, "Handle events").await;
    eventually("the repair is in preview", PATIENCE, || async {
        let described = builder.app(&app).await;
        let preview = &described["environments"]["preview"];
        (preview["state"] == "ready" && preview["version"] == described["head"] && fake.left() == 0).then_some(())
    })
    .await;

    let requests: Vec<String> = fake.requests().iter().map(|request| request.raw.to_string()).collect();
    assert_eq!(requests.len(), 8);
    assert!(requests[1].matches(MARK).count() > 3, "{}", requests[1]);
    for (at, marked) in [(2, "could not be deployed"), (6, "The preview of your work failed")] {
        assert!(requests[at].contains(marked) && requests[at].contains("no event for [secret"), "{}", requests[at]);
    }
    let mut events = Vec::new();
    // Ids are the builder's own, and this builder has one app.
    for job in 1.. {
        if builder.get(&format!("/jobs/{job}")).await.status != 200 {
            break;
        }
        let told = builder.job_events(&json!(job), 0).await.read_out(PATIENCE).await;
        events.push(format!("{told:?}"));
    }
    let events = events.concat();
    assert!(events.contains(MARK), "the redacted output is in the events");
    let git = Command::new("git")
        .args(["log", "-p", "--all"])
        .current_dir(builder.data().join("workspaces").join(&app))
        .output()
        .expect("git is there");
    let history = String::from_utf8_lossy(&git.stdout).into_owned();
    assert!(history.contains("Find the cause and fix it.") && history.contains("The preview of your work failed."));
    assert!(!history.contains("no event for [secret"), "evidence is not part of it");
    let logs = builder.get(&format!("/apps/{app}/logs?environment=preview")).await.text();
    assert!(logs.contains(MARK), "{logs}");
    for (place, text) in [
        ("requests", requests.concat()),
        ("events", events),
        ("history", history),
        ("logs", logs),
        ("log", builder.log()),
    ] {
        assert!(!text.contains(&secret), "{place}");
    }
}
