//! Each of the four templates: built and answering as scaffolded, before any model touched it.

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::builder::{Answer, Builder, send};
use crate::support::engine::inspected;
use crate::support::{PATIENCE, eventually};

#[tokio::test]
async fn a_static_site_answers_as_scaffolded() {
    let builder = Builder::start().await;
    let app = builder.create("static-site", "A page for a bakery").await;
    let described = builder.app(&app).await;
    assert_eq!(described["template"], "static-site");
    assert_eq!(described["description"], "A page for a bakery");
    assert_eq!(described["environments"]["preview"]["state"], "none");
    assert_eq!(described["environments"]["prod"]["state"], "none");
    assert_eq!(described["draft_url"], builder.at(&format!("{app}-draft.localhost"), ""));

    let draft = builder.open(&format!("{app}-draft"), "/").await;
    assert_eq!(draft.status, 200, "the draft is there before anything is built");
    assert!(draft.text().contains("It works. Now make it yours."));

    let job = builder.preview(&app).await;
    assert_eq!(job["kind"], "preview");
    assert_eq!(job["result"]["release"], 1);
    let preview = builder.open(&format!("{app}-preview"), "/").await;
    assert_eq!(preview.status, 200);
    assert!(preview.text().contains("It works. Now make it yours."));
    assert!(preview.header("content-type").starts_with("text/html"));
    assert!(builder.open(&format!("{app}-preview"), "/style.css").await.header("content-type").contains("css"));
    assert_eq!(builder.open(&format!("{app}-preview"), "/no-such-page").await.status, 404);
    assert_eq!(builder.open(&app, "/").await.status, 404, "nothing is published yet");

    let described = builder.app(&app).await;
    let preview = &described["environments"]["preview"];
    assert_eq!(preview["state"], "ready", "{described:#}");
    assert_eq!(preview["release"], 1);
    assert_eq!(preview["version"], described["head"]);
    assert_eq!(preview["url"], builder.at(&format!("{app}-preview.localhost"), ""));
}

#[tokio::test]
async fn containers_run_under_the_deployment_rules() {
    let builder = Builder::start().await;
    let app = builder.create("simple-api", "Counts things").await;
    builder.preview(&app).await;
    let containers = builder.installation().containers();
    let [container] = &containers[..] else { panic!("one container: {containers:#?}") };
    assert_eq!(container.place(), format!("{app}/preview/1"));
    assert_eq!(container.labels["app.kubernetes.io/managed-by"], "slipway");

    let facts = inspected(&container.id);
    let host = &facts["HostConfig"];
    assert_eq!(facts["Config"]["User"], "10001:10001", "not root");
    assert_eq!(host["CapDrop"], json!(["ALL"]));
    assert_eq!(host["CapAdd"], Value::Null);
    assert_eq!(host["Privileged"], false);
    assert_eq!(host["ReadonlyRootfs"], true);
    assert_eq!(host["Memory"], 128 * 1024 * 1024);
    assert_eq!(host["NanoCpus"], 500_000_000);
    assert_eq!(host["PidsLimit"], 128);
    let options = host["SecurityOpt"].as_array().expect("security options");
    assert!(options.iter().any(|option| option.as_str().is_some_and(|text| text.starts_with("no-new-privileges"))));
    assert!(!options.iter().any(|option| option.as_str().is_some_and(|text| text.contains("unconfined"))));
    assert!(host["Tmpfs"]["/tmp"].is_string(), "{host:#}");
    assert_eq!(host["Binds"], Value::Null, "nothing of the machine is mounted");
    assert_eq!(facts["Mounts"].as_array().map(Vec::len), Some(0), "{:#}", facts["Mounts"]);
}

#[tokio::test]
async fn an_api_answers_as_scaffolded() {
    let builder = Builder::start().await;
    let app = builder.create("simple-api", "A to-do API").await;
    builder.preview(&app).await;
    let host = format!("{app}-preview");
    assert_eq!(builder.open(&host, "/health").await.expect(200), json!({"status": "ok"}));
    assert_eq!(builder.open(&host, "/hello/you").await.expect(200), json!({"message": "Hello, you!"}));
    assert_eq!(builder.open(&host, "/openapi.json").await.expect(200)["info"]["title"], "A new API");
    assert_eq!(builder.open(&host, "/no/such/path").await.status, 404);
}

pub(super) fn mac(secret: &str, message: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length will do");
    mac.update(message.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

/// The webhook's secret as its container has it.
pub(super) fn webhook_secret(builder: &Builder, place: &str) -> String {
    let containers = builder.installation().containers();
    let container = containers.iter().find(|container| container.place() == place).expect("it runs");
    let environment = inspected(&container.id)["Config"]["Env"].clone();
    let variables = environment.as_array().expect("a list of variables");
    let secret = variables.iter().filter_map(Value::as_str).find_map(|text| text.strip_prefix("WEBHOOK_SECRET="));
    secret.expect("a webhook has a secret").to_owned()
}

async fn call(builder: &Builder, host: &str, headers: &[(&str, String)], body: &str) -> Answer {
    let mut request = builder.http.post(builder.at(&format!("{host}.localhost"), "/webhook")).body(body.to_owned());
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    send(request.header("Content-Type", "application/json")).await
}

fn now() -> i64 {
    slipway::domain::Clock::System.now().as_second()
}

#[tokio::test]
async fn a_webhook_accepts_only_signed_calls() {
    let builder = Builder::start().await;
    let app = builder.create("webhook", "Takes events").await;
    builder.preview(&app).await;
    let host = format!("{app}-preview");
    assert_eq!(builder.open(&host, "/health").await.status, 200);
    let secret = webhook_secret(&builder, &format!("{app}/preview/1"));
    assert!(secret.len() >= 32, "a secret that cannot be guessed");

    let body = r#"{"type": "order.paid", "amount": 3}"#;
    let signed = |at: i64, secret: &str| {
        [
            ("X-Timestamp", at.to_string()),
            ("X-Signature-256", format!("sha256={}", mac(secret, &format!("{at}.{body}")))),
        ]
    };
    assert_eq!(
        call(&builder, &host, &signed(now(), &secret), body).await.expect(200),
        json!({"received": "order.paid"})
    );
    assert_eq!(call(&builder, &host, &[], body).await.status, 401, "unsigned");
    assert_eq!(call(&builder, &host, &signed(now(), "guessed"), body).await.status, 401, "another secret");
    assert_eq!(call(&builder, &host, &signed(now() - 900, &secret), body).await.status, 401, "long ago");
    let headers = signed(now(), &secret);
    assert_eq!(call(&builder, &host, &headers, r#"{"type": "order.free"}"#).await.status, 401, "another body");
    assert_eq!(builder.open(&host, "/").await.expect(200)["recent"], json!(["order.paid"]), "the others never arrived");

    // The way of signing is the user's to choose.
    builder.write(&app, "app.toml", "signature = \"github\"\n").await;
    builder.preview(&app).await;
    let github = [("X-Hub-Signature-256", format!("sha256={}", mac(&secret, body)))];
    assert_eq!(call(&builder, &host, &github, body).await.status, 200, "the secret outlives the release");
    assert_eq!(call(&builder, &host, &signed(now(), &secret), body).await.status, 401, "no longer asked for");

    // Each environment has its own, and no place where it could leak says it.
    builder.publish(&app).await;
    let prod = webhook_secret(&builder, &format!("{app}/prod/1"));
    assert_ne!(prod, secret);
    assert_eq!(call(&builder, &app, &github, body).await.status, 401, "preview's secret in production");
    let mut events = builder.events(&app, 0).await;
    events
        .wait("the end of the publish", PATIENCE, |event| {
            event.name == "job" && event.data["kind"] == "publish" && event.data["state"] == "succeeded"
        })
        .await;
    let told =
        format!("{:?}{}{}", events.so_far(), builder.log(), builder.get(&format!("/apps/{app}/logs")).await.text());
    for secret in [&secret, &prod] {
        assert!(!told.contains(secret.as_str()), "a secret was told");
    }
}

#[tokio::test]
async fn a_job_runs_once_in_preview_and_on_demand() {
    let builder = Builder::start().await;
    let app = builder.create("scheduled-job", "Says what day it is").await;
    let job = builder.preview(&app).await;
    assert!(job["result"]["url"].is_null(), "a job answers nowhere: {job:#}");
    assert_eq!(builder.open(&format!("{app}-preview"), "/").await.status, 404, "its address is not starting");
    let runs = runs(&builder, &app).await;
    let [run] = &runs[..] else { panic!("a preview runs it once: {runs:#?}") };
    assert_eq!((&run["state"], &run["exit_code"], &run["trigger"]), (&json!("succeeded"), &json!(0), &json!("check")));
    assert!(run_log(&builder, &app, run).await.contains("of this day are left"), "{run:#}");

    builder.publish(&app).await;
    let started = builder.post(&format!("/apps/{app}/runs"), &json!({"environment": "prod"})).await;
    assert!(started.status.is_success(), "{}", started.text());
    let run = ended_run(&builder, &app, 2).await;
    assert_eq!((&run["state"], &run["exit_code"], &run["trigger"]), (&json!("succeeded"), &json!(0), &json!("manual")));
    assert_eq!(run["environment"], "prod");
    assert!(builder.installation().containers().is_empty(), "nothing stays behind");

    // A run that fails says so, with its code and what it printed.
    builder.write(&app, "job.py", "import sys\nprint('no disk left on the moon')\nsys.exit(3)\n").await;
    let job = builder.failed(&format!("/apps/{app}/previews"), &json!({})).await;
    assert_eq!(job["error"]["code"], "run_failed", "{job:#}");
    assert!(job["error"]["message"].as_str().is_some_and(|text| text.contains("exit code 3")), "{job:#}");
    assert!(job["error"]["lines"].to_string().contains("no disk left on the moon"), "{job:#}");
    let described = builder.app(&app).await;
    assert_eq!(described["environments"]["preview"]["release"], 1, "the old release stays");
    assert_eq!(described["environments"]["preview"]["state"], "ready");
    assert_eq!(described["environments"]["prod"]["release"], 1);
    let run = ended_run(&builder, &app, 3).await;
    assert_eq!((&run["state"], &run["exit_code"]), (&json!("failed"), &json!(3)));
}

async fn runs(builder: &Builder, app: &str) -> Vec<Value> {
    let list = builder.get(&format!("/apps/{app}/runs")).await.expect(200);
    list["runs"].as_array().expect("a list").clone()
}

/// Waits until there are so many runs and the newest has ended.
async fn ended_run(builder: &Builder, app: &str, count: usize) -> Value {
    eventually("a run ends", PATIENCE, || async {
        let runs = runs(builder, app).await;
        (runs.len() == count && runs[0]["state"] != "running").then(|| runs[0].clone())
    })
    .await
}

async fn run_log(builder: &Builder, app: &str, run: &Value) -> String {
    let answer = builder.get(&format!("/apps/{app}/runs/{}/log", run["id"])).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text()
}
