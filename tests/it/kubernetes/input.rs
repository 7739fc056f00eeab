//! Bad input: kubeconfigs that lead nowhere, a registry that refuses. Each is said, and nothing is lost.

use axum::Router;
use axum::http::StatusCode;
use kube::config::Kubeconfig;
use slipway::config::Config;
use slipway::domain::{JobError, JobState};
use slipway::services::health::Check;
use slipway::startup;

use super::stage::{Stage, until};

/// How the health page shows the cluster.
async fn cluster_check(stage: &Stage) -> Check {
    let checks = stage.services.health().await;
    checks.into_iter().find(|check| check.name == "kubernetes").expect("the cluster is looked at")
}

/// A kubeconfig like the operator's, with something else in it; in the folder's file.
fn changed(folder: &tempfile::TempDir, name: &str, change: impl FnOnce(&mut serde_json::Value)) -> String {
    let file = Kubeconfig::read_from(super::stage::cluster()).expect("a kubeconfig");
    let mut value = serde_json::to_value(&file).expect("a kubeconfig");
    change(&mut value);
    let path = folder.path().join(name);
    std::fs::write(&path, value.to_string()).expect("it is written");
    path.display().to_string()
}

async fn refused(kubeconfig: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = [
        ("SLIPWAY_DATA_DIR", folder.path().join("data").display().to_string()),
        ("SLIPWAY_RUNTIME", "kubernetes".to_owned()),
        ("SLIPWAY_REGISTRY", "127.0.0.1:5000".to_owned()),
        ("KUBECONFIG", kubeconfig.to_owned()),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value));
    let config = Config::load(None, settings.into_iter(), &[]).expect("settings");
    let Err(error) = startup::start(config).await else { panic!("{kubeconfig} is taken") };
    error.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_kubeconfig_stops_the_start() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().expect("a folder");
    let garbage = folder.path().join("garbage");
    std::fs::write(&garbage, "clusters: [}").expect("it is written");
    for path in [garbage.display().to_string(), folder.path().join("missing").display().to_string()] {
        let said = refused(&path).await;
        assert!(said.starts_with("KUBECONFIG") && said.contains(&path), "{said}");
    }
    let nowhere = changed(&folder, "nowhere", |file| file["current-context"] = "elsewhere".into());
    let said = refused(&nowhere).await;
    assert!(said.contains("elsewhere"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_is_reported_and_nothing_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let expired = changed(&folder, "expired", |file| {
        for user in file["users"].as_array_mut().into_iter().flatten() {
            user["user"] = serde_json::json!({"token": "of-somebody-else"});
        }
    });
    let stage = Stage::with(&[("KUBECONFIG", expired)]).await;
    let check = cluster_check(&stage).await;
    assert!(!check.ok && check.detail.contains("expired"), "{check:?}");
    let app = stage.app("static-site").await;
    let error: JobError = stage.preview(&app).await.error.expect("an error");
    assert_eq!(error.code, "cluster_refused", "{error:?}");
    assert!(error.message.contains("expired") && error.hint.is_some(), "{error:?}");
    // Existing files are there, and turns can write more.
    stage.write(&app, "public/index.html", "still here").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_cluster_is_reported_and_its_job_can_be_cancelled() {
    let folder = tempfile::tempdir().expect("a folder");
    let away = changed(&folder, "away", |file| {
        for cluster in file["clusters"].as_array_mut().into_iter().flatten() {
            // A port without a listener.
            cluster["cluster"]["server"] = "https://127.0.0.1:9".into();
        }
    });
    let stage = Stage::with(&[("KUBECONFIG", away)]).await;
    let check = cluster_check(&stage).await;
    assert!(!check.ok && check.detail.contains("does not answer"), "{check:?}");
    let app = stage.app("static-site").await;
    let job = stage.services.deploy_preview(&app.name, None).await.expect("a job");
    stage.logged(&job, "will resume by itself").await;
    stage.services.cancel(job.id).await.expect("it is asked to stop");
    assert_eq!(stage.ended(&job).await.state, JobState::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registrys_error_is_reported() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let denied = r#"{"errors": [{"code": "DENIED", "message": "this shelf is full"}]}"#;
    let refusing = Router::new()
        .route("/v2/", axum::routing::get(StatusCode::OK))
        .fallback(move || async move { (StatusCode::FORBIDDEN, [("content-type", "application/json")], denied) });
    tokio::spawn(async move { axum::serve(listener, refusing).await });
    let stage = Stage::with(&[("SLIPWAY_REGISTRY", address.to_string())]).await;
    let app = stage.app("static-site").await;
    let error = stage.preview(&app).await.error.expect("an error");
    assert_eq!(error.code, "push_failed", "{error:?}");
    assert!(error.message.contains("this shelf is full"), "{error:?}");
    until("the page says that nothing runs", async || {
        let app = stage.services.app(&app.name).await.ok()?;
        app.environments.iter().all(|status| status.release.is_none()).then_some(())
    })
    .await;
}
