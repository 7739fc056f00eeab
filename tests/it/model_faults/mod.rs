//! A model that fails in every way it can, and an engine that is not there: each has its sentence,
//! nothing that was written is lost, and the app still opens.

use crate::fake_claude::Wire;
use crate::support::builder::{Builder, send};
use serde_json::json;

/// Every script is played over both wire formats: the module is there twice.
#[path = ""]
mod over_messages {
    const WIRE: super::Wire = super::Wire::Messages;
    #[path = "scripts.rs"]
    #[expect(clippy::duplicate_mod, reason = "each time with another wire format around it")]
    mod scripts;
}
#[path = ""]
mod over_chat {
    const WIRE: super::Wire = super::Wire::Chat;
    #[path = "scripts.rs"]
    #[expect(clippy::duplicate_mod, reason = "each time with another wire format around it")]
    mod scripts;
}

#[tokio::test]
async fn an_unreachable_model_is_reported() {
    for wire in [Wire::Messages, Wire::Chat] {
        let builder = Builder::start_with(&wire.settings("http://127.0.0.1:9")).await;
        let app = builder.create("static-site", "Calls into the void").await;
        let job = builder.failed(&format!("/apps/{app}/turns"), &json!({"prompt": "Hello?"})).await;
        assert_eq!(job["error"]["code"], "model_unreachable", "{job:#}");
        assert_eq!(builder.open(&format!("{app}-draft"), "/").await.status, 200);
    }
}

#[tokio::test]
async fn a_stopped_docker_engine_is_reported() {
    let mut builder = Builder::start_with(&[("DOCKER_HOST", "unix:///nowhere/docker.sock")]).await;
    let ready = send(builder.http.get(builder.at("builder.localhost", "/readyz"))).await;
    let checks = ready.expect(503).to_string();
    assert!(checks.contains("docker"), "{checks}");

    let app = builder.create("static-site", "Waits for its engine").await;
    builder.turn(&app, "Can be written meanwhile").await;
    assert!(builder.open(&format!("{app}-draft"), "/").await.text().contains("Can be written meanwhile"));
    let job = builder.failed(&format!("/apps/{app}/previews"), &json!({})).await;
    assert_eq!(job["error"]["code"], "docker_unavailable", "{job:#}");
    assert!(job["error"]["hint"].as_str().is_some_and(|hint| hint.contains("Docker")), "{job:#}");
    assert_eq!(builder.app(&app).await["environments"]["preview"]["state"], "failed");
    let logs = builder.get(&format!("/apps/{app}/logs?environment=preview")).await;
    assert!(logs.status.as_u16() < 500 || logs.status == 503, "{} {}", logs.status, logs.text());
    let export = builder.get(&format!("/apps/{app}/export")).await;
    assert_eq!(export.status, 200);
    let job = builder.delete(&format!("/apps/{app}")).await.expect(202);
    let job = builder.ended(&job).await;
    assert_eq!(
        job["error"]["code"], "docker_unavailable",
        "containers may be left, so it is not called deleted: {job:#}"
    );

    // After the outage everything works.
    builder.kill();
    builder.restart_with(&[("DOCKER_HOST", "")]).await;
    builder.preview(&app).await;
    assert_eq!(builder.open(&format!("{app}-preview"), "/").await.status, 200);
    let job = builder.delete(&format!("/apps/{app}")).await.expect(202);
    assert_eq!(builder.ended(&job).await["state"], "succeeded");
}
