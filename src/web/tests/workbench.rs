//! Calls to a running app from its page.

use std::net::SocketAddr;

use axum::Router;
use axum::http::{HeaderMap, Method, Uri};
use axum::routing::get;

use super::Site;
use crate::domain::{AppName, Environment, ReleaseNumber};
use crate::gateway::Upstream;

/// As FastAPI describes an app.
const DOCUMENT: &str = r##"{"openapi":"3.1.0","paths":{
    "/items/{item_id}":{"put":{"summary":"Change an item","description":"Replaces <b>all</b> of it.",
        "parameters":[
            {"name":"item_id","in":"path","required":true,"schema":{"type":"integer"}},
            {"name":"unit","in":"query","schema":{"enum":["kg","lb"],"default":"lb"}},
            {"name":"X-Key","in":"header","required":true,"schema":{"type":"string"}}],
        "requestBody":{"content":{"application/json":{"schema":{"$ref":"#/components/schemas/Item"}}}}}},
    "/health":{"get":{"summary":"Health"}}},
    "components":{"schemas":{"Item":{"type":"object","properties":{
        "name":{"type":"string","examples":["rope"]},"length":{"type":"number","default":1.5},
        "part":{"$ref":"#/components/schemas/Item"}}}}}}"##;

/// An app that repeats what it gets. Its document stands at `/openapi.json`.
pub(super) async fn echo(document: &'static str) -> SocketAddr {
    let repeat = |method: Method, uri: Uri, headers: HeaderMap, body: String| async move {
        let header = |name: &str| headers.get(name).map(|value| value.to_str().expect("ASCII").to_owned());
        let signature = ["x-hub-signature-256", "stripe-signature", "x-signature-256"].map(header);
        let said = serde_json::json!({
            "z": format!("{method} {uri}"), "key": header("x-key"), "type": header("content-type"), "body": body,
            "signature": signature, "timestamp": header("x-timestamp"),
        });
        said.to_string()
    };
    let router = Router::new().route("/openapi.json", get(move || async move { document })).fallback(repeat);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await.expect("serves") });
    address
}

impl Site {
    /// Routes an environment's requests to this address.
    pub(super) fn route(&self, app: &AppName, environment: Environment, address: SocketAddr) {
        let upstream = Upstream { address, release: ReleaseNumber(1) };
        assert!(self.services.gateway().routes().set(app, environment, upstream).is_none());
    }
}

/// Runs a command for curl as a user does who has copied it, but that it connects to `address`. Returns the response's body.
pub(super) fn run_in_shell(command: &str, address: SocketAddr) -> String {
    let command = command.replacen("curl ", &format!("curl --silent --connect-to ::{address} "), 1);
    let output = std::process::Command::new("sh").args(["-c", &command]).output().expect("a shell");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    text.split_once("\r\n\r\n").expect("a head and a body").1.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_have_forms_and_calls_are_sent_or_copied_as_they_stand_there() {
    let site = Site::start().await;
    let name = site.app("simple-api").await;
    let address = echo(DOCUMENT).await;
    site.route(&name, Environment::Preview, address);

    let page = site.piece(&format!("/apps/{name}/endpoints?environment=preview")).await;
    let shown = page.page();
    assert_eq!(shown.texts("summary code"), ["/items/{item_id}", "/health"], "in the order of the document");
    assert!(shown.texts(".about").contains(&"Replaces <b>all</b> of it.".to_owned()), "{}", page.body);
    assert!(page.body.contains(r#"name="path.item_id" value="" required"#), "{}", page.body);
    assert!(page.body.contains(r#"name="header.X-Key" value="" required"#), "{}", page.body);
    assert!(page.body.contains("<option selected>lb</option>"), "{}", page.body);
    let example = shown.texts("textarea[name=body]").remove(0);
    assert_eq!(example, r#"{ "name": "rope", "length": 1.5 }"#);

    let body = "{\"it's\": \"$HOME `id`\",\r\n \"n\": 1}";
    let form = [
        ("environment", "preview"),
        ("method", "PUT"),
        ("path", "/items/{item_id}"),
        ("path.item_id", "7/8 ü"),
        ("query.unit", "a&b"),
        ("query.other", ""),
        ("header.X-Key", "it's \"quoted\""),
        ("content_type", "application/json"),
        ("headers", "Accept: text/plain"),
        ("body", body),
    ];
    let wanted = serde_json::json!({
        "z": "PUT /items/7%2F8%20%C3%BC?unit=a%26b", "key": "it's \"quoted\"", "type": "application/json",
        "body": body.replace('\r', ""), "signature": [null, null, null], "timestamp": null,
    });
    let answer = site.htmx_post(&format!("/apps/{name}/try"), &form).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let shown = answer.page();
    let said: serde_json::Value = serde_json::from_str(&shown.texts("pre")[0]).expect("JSON");
    assert_eq!(said, wanted);
    assert!(shown.texts(".answer .end")[0].contains(" · "), "how long it took, and its size");
    assert!(answer.body.contains("data-request=\"PUT /items/7%2F8%20%C3%BC?unit=a%26b\""), "{}", answer.body);

    // The command says the same, in the page and as the answer to a form without scripts.
    let plain = site.post(&format!("/apps/{name}/try/curl"), &form).await;
    assert_eq!(plain.headers["cache-control"], "no-store");
    let shown = site.htmx_post(&format!("/apps/{name}/try/curl"), &form).await.page().texts("pre").remove(0);
    assert_eq!(shown, plain.body.split_whitespace().collect::<Vec<_>>().join(" "));
    let said = tokio::task::spawn_blocking(move || run_in_shell(&plain.body, address)).await.expect("ran");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&said).expect("JSON"), wanted);

    // A part of the path that is missing is asked for, and nothing is sent.
    for to in ["try", "try/curl"] {
        let form = [("environment", "preview"), ("method", "PUT"), ("path", "/items/{item_id}"), ("path.item_id", " ")];
        let answer = site.htmx_post(&format!("/apps/{name}/{to}"), &form).await;
        assert_eq!(answer.status, 422, "{}", answer.body);
        assert!(answer.body.contains("Fill in “item_id”"), "{}", answer.body);
    }
    for (to, wrong) in [("try", "no slash"), ("try/curl", "no slash")] {
        let form = [("environment", "preview"), ("method", "GET"), ("path", wrong)];
        assert_eq!(site.post(&format!("/apps/{name}/{to}"), &form).await.status, 422);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn webhook_calls_are_sent_kept_and_sent_again() {
    let site = Site::start().await;
    let name = site.app("webhook").await;
    let address = echo("{}").await;
    site.route(&name, Environment::Preview, address);
    let secret = |environment: &str| {
        let path = format!("/apps/{name}/webhook-secret?environment={environment}");
        let site = &site;
        async move { site.get(&path).await }
    };
    let before = secret("preview").await.body;

    // Each sample has its sender's headers, and a signature as this app checks it.
    let body = r#"{"type": "it's a test"}"#;
    for (sample, agent) in [("slipway", None), ("github", Some("GitHub-Hookshot")), ("stripe", Some("Stripe/1.0"))] {
        let form = [("environment", "preview"), ("sample", sample), ("body", body)];
        let answer = site.htmx_post(&format!("/apps/{name}/webhook-test"), &form).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.headers["hx-trigger"]),
            (200, &"slipway:called".parse().expect("a header"))
        );
        let said: serde_json::Value = serde_json::from_str(&answer.page().texts("pre")[0]).expect("JSON");
        assert_eq!((said["z"].as_str(), said["body"].as_str()), (Some("POST /webhook"), Some(body)));
        let time = said["timestamp"].as_str().expect("a timestamp").parse().expect("a number");
        let signed = crate::proof::sign(crate::proof::Signature::Timestamped, &before, time, body);
        assert_eq!(said["signature"][2], signed[1].1);
        let list = site.piece(&format!("/apps/{name}/webhook-calls?environment=preview")).await;
        let newest = list.page().texts("details.call").remove(0);
        assert!(newest.contains("200") && newest.contains("sent from this page") && newest.contains(body), "{newest}");
        assert!(newest.contains("x-signature-256: (not kept)") && !list.body.contains(&signed[1].1), "{newest}");
        assert_eq!(agent.is_some_and(|agent| newest.contains(agent)), agent.is_some(), "{newest}");
    }
    assert!(site.piece(&format!("/apps/{name}/webhook-calls?environment=prod")).await.body.contains("No calls"));

    // The command carries the same call, and the secret only in its signature.
    let form = [("environment", "preview"), ("sample", "github"), ("body", body)];
    let command = site.post(&format!("/apps/{name}/webhook-test/curl"), &form).await.body;
    assert!(!command.contains(&before));
    let said = tokio::task::spawn_blocking(move || run_in_shell(&command, address)).await.expect("ran");
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let time = said["timestamp"].as_str().expect("a timestamp").parse().expect("a number");
    let signed = crate::proof::sign(crate::proof::Signature::Timestamped, &before, time, body);
    assert_eq!((said["signature"][2].as_str(), said["body"].as_str()), (Some(signed[1].1.as_str()), Some(body)));

    // A kept call is sent again to where something runs, signed with the secret of that environment.
    let again = |id: &str, to: &'static str| {
        let path = format!("/apps/{name}/webhook-calls/{id}/again");
        let site = &site;
        async move { site.htmx_post(&path, &[("to", to)]).await }
    };
    let answer = again("1", "preview").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(answer.body.contains("it&#39;s a test") || answer.body.contains("it's a test"), "{}", answer.body);
    assert_eq!(again("1", "prod").await.status, 409, "nothing runs there");
    assert_eq!(again("99", "preview").await.status, 404);

    // Nothing is deployed, so a new secret needs no job.
    let answer = site.post(&format!("/apps/{name}/webhook-secret/rotate"), &[("environment", "preview")]).await;
    assert_eq!(answer.status, 303, "{}", answer.body);
    let after = secret("preview").await.body;
    assert!(after.starts_with("whsec_") && after != before);
    let prod = secret("prod").await.body;
    assert!(prod != after && prod != before);
}
