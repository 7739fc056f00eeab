//! Previews that need a login: they have no Ingress, and the builder forwards authorised requests.

use axum::body::Body;
use axum::http::header::{ACCEPT, COOKIE, HOST, LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, Request, StatusCode};
use k8s_openapi::api::networking::v1::Ingress;
use kube::ResourceExt;
use kube::api::ListParams;
use slipway::domain::{App, JobState};
use slipway::services::login_limit::Attempt;
use slipway::{server, web};

use super::stage::{Stage, until};

const PASSWORD: &str = "seven-white-sails";

async fn ingresses(stage: &Stage, app: &App) -> Vec<String> {
    let list = stage.objects::<Ingress>(app).list(&ListParams::default()).await.expect("ingresses");
    list.items.iter().map(ResourceExt::name_any).collect()
}

/// The response of the builder's listener to a browser.
async fn browse(stage: &Stage, host: &str, path: &str, cookies: &str) -> (StatusCode, HeaderMap, String) {
    let app = server::app(stage.services.clone(), web::router(stage.services.clone()));
    let request = Request::get(path).header(HOST, host).header(ACCEPT, "text/html").header(COOKIE, cookies);
    let (parts, body) = app.answer(request.body(Body::empty()).expect("a request")).await.into_parts();
    let bytes = axum::body::to_bytes(body, 1 << 20).await.expect("a body");
    (parts.status, parts.headers, String::from_utf8(bytes.to_vec()).expect("text"))
}

fn text(headers: &HeaderMap, name: axum::http::HeaderName) -> String {
    headers.get(name).expect("a header").to_str().expect("text").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_is_reachable_only_through_the_builder() {
    let settings = [
        ("SLIPWAY_ADMIN_PASSWORD", PASSWORD.to_owned()),
        ("SLIPWAY_PREVIEW_ACCESS", "open".to_owned()),
        ("SLIPWAY_PUBLIC_URL", "http://{host}".to_owned()),
    ];
    let mut stage = Stage::with(&settings).await;
    let app = stage.app("static-site").await;
    stage.write(&app, "public/index.html", "<head></head>one").await;
    let job = stage.preview(&app).await;
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);
    assert_eq!(stage.publish(&app).await.state, JobState::Succeeded);
    let (preview, prod) = (format!("{}-preview", app.name), format!("{}-prod", app.name));
    assert_eq!(ingresses(&stage, &app).await, [preview.clone(), prod.clone()]);

    // The log-in is switched on: the way past it goes at the next look, production's stays.
    stage.restart_with(&[("SLIPWAY_PREVIEW_ACCESS", "login".to_owned())]).await;
    until("the preview's Ingress is gone", async || (ingresses(&stage, &app).await == [prod.clone()]).then_some(()))
        .await;
    let host = format!("{preview}.localhost");
    let (status, headers, _) = browse(&stage, &host, "/", "").await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    assert!(text(&headers, LOCATION).starts_with("http://builder.localhost/preview-access?"), "{headers:?}");

    let attempt = Attempt { from: "192.0.2.1".parse().expect("an address"), browser: None };
    let session = stage.services.login(PASSWORD, &attempt, "").await.expect("a session");
    let session = format!("slipway_session={}", secrecy::ExposeSecret::expose_secret(&session));
    let address = format!("/preview-access?app={}&place=preview", app.name);
    let (_, headers, said) = browse(&stage, "builder.localhost", &address, &session).await;
    let ticket = headers.get(LOCATION).unwrap_or_else(|| panic!("{said}")).to_str().expect("text");
    let enter = ticket.strip_prefix(&format!("http://{host}")).expect("the preview's host");
    let (_, headers, said) = browse(&stage, &host, enter, "").await;
    let pass = headers.get(SET_COOKIE).unwrap_or_else(|| panic!("{said}")).to_str().expect("text");
    let pass = pass.split(';').next().expect("a cookie");
    // The gateway has its route as soon as the cluster was looked at, and pages report their errors.
    until("the builder hands the preview on", async || {
        let (status, _, page) = browse(&stage, &host, "/", pass).await;
        (status == StatusCode::OK && page == "<head><script src=\"/.slipway/errors.js\"></script></head>one")
            .then_some(())
    })
    .await;

    // A new version has no Ingress either.
    stage.write(&app, "public/index.html", "<head></head>two").await;
    assert_eq!(stage.preview(&app).await.state, JobState::Succeeded);
    assert_eq!(ingresses(&stage, &app).await, [prod]);
    // The node's proxy learns a moment later than the Service that it leads to other pods.
    until("the builder forwards to the new version", async || {
        let (_, _, page) = browse(&stage, &host, "/", pass).await;
        page.ends_with("two").then_some(())
    })
    .await;
    stage.delete(&app).await;
}
