//! A registry that will not: what is pushed there stays, and an app goes all the same.

use std::sync::{Arc, Mutex};

use axum::extract::Request;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::support::PATIENCE;
use crate::support::builder::Builder;

/// A fake registry with one image in each repository, and the number of its delete requests.
#[derive(Default)]
struct Registry {
    allows_deletion: bool,
    wants_login: bool,
    asked: Mutex<u32>,
}

impl Registry {
    fn answer(&self, request: &Request) -> Response {
        let login = request.headers().get(header::AUTHORIZATION).is_some_and(|login| login == "Basic YnVpbGRlcjpodXNo");
        if self.wants_login && !login {
            return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Basic realm=\"a test\"")]).into_response();
        }
        let path = request.uri().path();
        if path.ends_with("/tags/list") {
            return json!({"tags": ["one"]}).to_string().into_response();
        }
        if request.method() == Method::DELETE {
            *self.asked.lock().expect("no panic") += 1;
            let status = if self.allows_deletion { StatusCode::ACCEPTED } else { StatusCode::METHOD_NOT_ALLOWED };
            return status.into_response();
        }
        let digest = format!("sha256:{}", "a".repeat(64));
        let manifest = json!({"config": {"digest": "sha256:c"}, "layers": []});
        ([("docker-content-digest", digest)], manifest.to_string()).into_response()
    }
}

/// Starts a registry; where it listens.
async fn serve(registry: Registry) -> (Arc<Registry>, String) {
    let registry = Arc::new(registry);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let answers = registry.clone();
    let router = axum::Router::new().fallback(async move |request: Request| answers.answer(&request));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (registry, address)
}

/// Deletes a new app, which succeeds; what the job said.
async fn deleted(builder: &Builder) -> String {
    let app = builder.create("static-site", "Soon gone").await;
    let job = builder.delete(&format!("/apps/{app}")).await.expect(202);
    let ended = builder.ended(&job).await;
    assert_eq!(ended["state"], "succeeded", "{ended:#}");
    builder.get(&format!("/apps/{app}")).await.expect_problem(404, "not_found");
    let events = builder.job_events(&job["id"], 0).await.read_out(PATIENCE).await;
    let lines = events.iter().filter(|event| event.name == "log").filter_map(|event| event.data["line"].as_str());
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn deletes_an_app_when_its_registry_fails() {
    let (registry, address) = serve(Registry::default()).await;
    let mut builder = Builder::start_with(&[("SLIPWAY_REGISTRY", &address)]).await;
    let said = deleted(&builder).await;
    assert_eq!(*registry.asked.lock().expect("no panic"), 1);
    assert!(said.contains("does not allow images to be deleted") && said.contains("stay there"), "{said}");

    let (registry, address) = serve(Registry { allows_deletion: true, wants_login: true, ..Registry::default() }).await;
    builder.restart_with(&[("SLIPWAY_REGISTRY", &address)]).await;
    let said = deleted(&builder).await;
    assert!(said.contains("set SLIPWAY_REGISTRY_USERNAME") && said.contains("stay there"), "{said}");
    let login = [("SLIPWAY_REGISTRY_USERNAME", "builder"), ("SLIPWAY_REGISTRY_PASSWORD", "hush")];
    builder.restart_with(&login).await;
    let said = deleted(&builder).await;
    assert_eq!(*registry.asked.lock().expect("no panic"), 1, "{said}");
    assert!(!said.contains("stay there"), "{said}");
    assert!(!builder.log().contains("hush"), "the password is in the log");
}
