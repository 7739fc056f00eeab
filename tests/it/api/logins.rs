//! Sessions and tokens, and what other pages can do to them, through the whole guard.

use std::net::Ipv4Addr;

use axum::http::{Method, StatusCode};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use slipway::services::login_limit::Attempt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::PASSWORD;
use crate::asking::{Asked, Bench, asked, get, post};

/// Logs in; the value of `Cookie`.
async fn login(bench: &Bench, browser: &str) -> String {
    let from = Attempt { from: "192.0.2.7".parse().expect("an address"), browser: None };
    let secret = bench.services.login(PASSWORD, &from, browser).await.expect("the password");
    format!("slipway_session={}", secret.expose_secret())
}

async fn make_token(bench: &Bench, cookie: &str, body: Value) -> String {
    let made = bench.ask(post("/api/v1/tokens").with("cookie", cookie).json(&body)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    format!("Bearer {}", made.json()["token"].as_str().expect("a token"))
}

async fn make_app(bench: &Bench, cookie: &str, name: &str) {
    let body = json!({ "description": "Birds", "name": name, "template": "static-site", "auto_preview": false });
    let made = bench.ask(post("/api/v1/apps").with("cookie", cookie).json(&body)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
}

/// Every call of the document, with `geese` for its app and `job` for its job.
fn calls(document: &Value, job: &str) -> Vec<(Method, String, String)> {
    let mut calls = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        let filled = path.replace("{app}", "geese").replace("jobs/{id}", &format!("jobs/{job}"));
        let filled = filled.replace("{id}", "1").replace("{turn}", "1").replace("{path}", "x");
        assert!(!filled.contains('{'), "{filled}: add a sample for its parameter");
        for method in item.as_object().expect("operations").keys() {
            calls.push((method.to_uppercase().parse().expect("a method"), path.clone(), filled.clone()));
        }
    }
    calls
}

#[tokio::test]
async fn every_call_checks_the_scope_and_app_of_a_token() {
    let bench = Bench::with(&[("SLIPWAY_ADMIN_PASSWORD", PASSWORD)]).await;
    let cookie = login(&bench, "").await;
    make_app(&bench, &cookie, "ducks").await;
    make_app(&bench, &cookie, "geese").await;
    let job = bench.ask(post("/api/v1/apps/geese/previews").with("cookie", &cookie)).await.json()["id"].to_string();
    let read = make_token(&bench, &cookie, json!({ "name": "read" })).await;
    let admin = make_token(&bench, &cookie, json!({ "name": "admin", "scope": "admin", "no_end": true })).await;
    let ducks = make_token(&bench, &cookie, json!({ "name": "d", "scope": "write", "app": "ducks" })).await;
    let document = bench.ask(get("/api/openapi.json").with("authorization", &read)).await.json();

    let calls = calls(&document, &job);
    assert!(calls.len() > 40, "{}", calls.len());
    for (method, path, filled) in &calls {
        let ask = async |token: &str| bench.open(asked(method.clone(), filled).with("authorization", token)).await;
        let about = format!("{method} {path}");
        let is_login = path.starts_with("/api/v1/tokens") || path.starts_with("/api/v1/sessions");
        let status = ask(&read).await.status();
        if *method != Method::GET || is_login {
            assert_eq!(status, StatusCode::FORBIDDEN, "a read token: {about}");
        } else {
            assert!(!matches!(status.as_u16(), 401 | 403), "a read token: {about}: {status}");
        }

        let status = ask(&ducks).await.status();
        if path.contains("{app}") {
            assert_eq!(status, StatusCode::FORBIDDEN, "a token for ducks: {about}");
        } else if path.contains("/jobs/") {
            assert_eq!(status, StatusCode::NOT_FOUND, "a token for ducks: {about}");
        } else if *method != Method::GET || is_login {
            assert_eq!(status, StatusCode::FORBIDDEN, "a token for ducks: {about}");
        }
    }

    // Allowed calls succeed.
    let with = |asked: Asked, token: &str| bench.ask(asked.with("authorization", token));
    let list = with(get("/api/v1/apps"), &ducks).await.json();
    assert_eq!(list["apps"].as_array().map(Vec::len), Some(1), "{list}");
    assert_eq!(list["apps"][0]["name"], "ducks");
    let put = asked(Method::PUT, "/api/v1/apps/ducks/files/public/x.txt").body("x");
    assert_eq!(with(put, &ducks).await.status, StatusCode::CREATED);
    let sessions = with(get("/api/v1/sessions"), &admin).await.json();
    assert_eq!(sessions["sessions"].as_array().map(Vec::len), Some(1));
    with(post("/api/v1/tokens").json(&json!({ "name": "x" })), &admin).await.problem(403, "needs_login");
    with(post("/settings/tokens"), &admin).await.problem(403, "needs_login");
    with(post("/apps"), &admin).await.problem(403, "needs_login");

    // A token goes with its app: another one of the same name is not its own.
    let tokens = with(get("/api/v1/tokens"), &admin).await.json();
    assert_eq!(tokens["tokens"][0]["app"], "ducks");
    assert_eq!((&tokens["tokens"][1]["expires_at"], &tokens["tokens"][1]["scope"]), (&Value::Null, &json!("admin")));
    assert!(tokens["tokens"][2]["expires_at"].is_string());
    for bad in [
        json!({ "name": "x", "days": 0 }),
        json!({ "name": "x", "days": 3651 }),
        json!({ "name": "x", "days": 5, "no_end": true }),
        json!({ "name": "x", "scope": "all" }),
        json!({ "name": "x", "scope": "admin", "app": "ducks" }),
    ] {
        bench.ask(post("/api/v1/tokens").with("cookie", &cookie).json(&bad)).await.problem(422, "invalid");
    }
}

#[tokio::test]
async fn sessions_are_listed_and_ended() {
    let bench = Bench::with(&[("SLIPWAY_ADMIN_PASSWORD", PASSWORD)]).await;
    let (first, second, third) =
        (login(&bench, "Firefox/140").await, login(&bench, "Chrome/140").await, login(&bench, "").await);
    let ask = |asked: Asked, cookie: &str| bench.ask(asked.with("cookie", cookie));
    let list = ask(get("/api/v1/sessions"), &first).await.json();
    let sessions = list["sessions"].as_array().expect("a list");
    assert_eq!(sessions.len(), 3);
    let of = |browser: &str| sessions.iter().find(|session| session["browser"] == browser).expect("listed");
    assert_eq!((&of("Firefox/140")["current"], &of("Chrome/140")["current"]), (&json!(true), &json!(false)));
    assert_eq!(of("Chrome/140")["address"], "192.0.2.7");
    let page = ask(get("/settings"), &first).await.text();
    assert!(page.contains("Log out everywhere") && page.contains("192.0.2.7") && page.contains("this browser"));

    let end = |id: &Value| post(&format!("/settings/sessions/{id}/end"));
    assert_eq!(ask(end(&of("Chrome/140")["id"]), &first).await.status, StatusCode::SEE_OTHER);
    ask(get("/api/v1/apps"), &second).await.problem(401, "unauthorized");
    assert_eq!(ask(get("/api/v1/apps"), &third).await.status, StatusCode::OK);
    assert_eq!(ask(asked(Method::DELETE, "/api/v1/sessions"), &third).await.status, StatusCode::NO_CONTENT);
    for cookie in [&first, &third] {
        ask(get("/api/v1/apps"), cookie).await.problem(401, "unauthorized");
    }
}

#[tokio::test]
async fn only_a_changed_password_ends_all_sessions() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data").display().to_string();
    let start =
        async |password: &str| Bench::with(&[("SLIPWAY_DATA_DIR", &data), ("SLIPWAY_ADMIN_PASSWORD", password)]).await;
    let bench = start(PASSWORD).await;
    let cookie = login(&bench, "").await;
    let token = make_token(&bench, &cookie, json!({ "name": "CI" })).await;
    drop(bench);
    let bench = start(PASSWORD).await;
    assert_eq!(bench.ask(get("/api/v1/apps").with("cookie", &cookie)).await.status, StatusCode::OK);
    drop(bench);
    let bench = start("another one").await;
    bench.ask(get("/api/v1/apps").with("cookie", &cookie)).await.problem(401, "unauthorized");
    assert_eq!(bench.ask(get("/api/v1/apps").with("authorization", &token)).await.status, StatusCode::OK);
    drop(bench);
    let bench = start(PASSWORD).await;
    bench.ask(get("/api/v1/apps").with("cookie", &cookie)).await.problem(401, "unauthorized");
    let database = std::fs::read(folder.path().join("data/slipway.db")).expect("readable");
    assert!(!database.windows(PASSWORD.len()).any(|part| part == PASSWORD.as_bytes()));
}

#[tokio::test]
async fn cookies_of_apps_neither_hide_the_session_nor_lock_the_browser_out() {
    let bench = Bench::with(&[("SLIPWAY_ADMIN_PASSWORD", PASSWORD)]).await;
    let cookie = login(&bench, "").await;
    let tossed = format!("slipway_session={}; ", "0".repeat(64)).repeat(100);
    let hidden = get("/api/v1/apps").with("cookie", format!("{tossed}{cookie}"));
    assert_eq!(bench.ask(hidden).await.status, StatusCode::OK);

    let large = format!("{cookie}; large={}", "x".repeat(40_000));
    for host in ["builder.localhost:8080", "ducks.localhost:8080", "ducks-draft.localhost:8080"] {
        let answer = bench.ask(get("/").at(host).with("cookie", &large)).await;
        assert_eq!(answer.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "{host}");
        assert_eq!(answer.header("clear-site-data"), "\"cookies\"", "{host}");
        let expired: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
        assert!(expired.iter().any(|value| *value == "large=; Max-Age=0; Path=/; Domain=localhost"), "{expired:?}");
    }
}

/// Sends a request for `path` with that many cookies of 4000 bytes to the builder; the answer.
async fn ask_with_cookies(stream: &mut TcpStream, path: &str, count: usize) -> String {
    let cookies: Vec<_> = (0..count).map(|n| format!("c{n}={}", "x".repeat(4000))).collect();
    let head = format!("GET {path} HTTP/1.1\r\nHost: builder.x.localhost\r\nCookie: {}\r\n\r\n", cookies.join("; "));
    stream.write_all(head.as_bytes()).await.expect("taken to its end");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.expect("a whole head"));
    }
    let answer = String::from_utf8(answer).expect("text").to_ascii_lowercase();
    let length = answer.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
    let mut body = vec![0; length.parse().expect("a number")];
    stream.read_exact(&mut body).await.expect("a whole body");
    answer + &String::from_utf8_lossy(&body)
}

#[tokio::test]
async fn too_many_cookies_are_cleared() {
    let bench = Bench::with(&[("SLIPWAY_DOMAIN", "x.localhost"), ("SLIPWAY_CLIENT_TIMEOUT_SECONDS", "10")]).await;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(slipway::server::serve(listener, bench.app.clone(), bench.lifecycle()));
    // The largest amount is what browsers keep of one domain; and the connection may have been used before.
    for (count, used_before) in [(10, false), (16, false), (175, false), (175, true)] {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        if used_before {
            let answer = ask_with_cookies(&mut stream, "/healthz", 0).await;
            assert!(answer.starts_with("http/1.1 200 "), "{answer}");
        }
        let answer = ask_with_cookies(&mut stream, "/healthz", count).await;
        assert!(answer.starts_with("http/1.1 431 "), "{count}: {answer}");
        assert!(answer.contains("\r\nclear-site-data: \"cookies\"\r\n") && answer.contains("Too many cookies"));
        for n in [0, count / 2, count - 1] {
            for path in ["/", "/healthz"] {
                let expiry = format!("\r\nset-cookie: c{n}=; max-age=0; path={path}; domain=x.localhost\r\n");
                assert!(answer.contains(&expiry), "{count}: {expiry}");
            }
        }
        assert_eq!(stream.read(&mut [0]).await.expect("an orderly end"), 0, "the connection is closed");
    }
    let mut stream = TcpStream::connect(address).await.expect("connected");
    for _ in 0..20 {
        // Each head has a limit, but the connection as a whole has none.
        let answer = ask_with_cookies(&mut stream, "/healthz", 7).await;
        assert!(answer.starts_with("http/1.1 200 "), "{answer}");
    }
}

#[tokio::test]
async fn jobs_record_the_token_that_requested_them() {
    let bench = Bench::with(&[("SLIPWAY_ADMIN_PASSWORD", PASSWORD)]).await;
    let cookie = login(&bench, "").await;
    make_app(&bench, &cookie, "ducks").await;
    let token = make_token(&bench, &cookie, json!({ "name": "w", "scope": "write" })).await;
    let app = bench.services.app(&"ducks".parse().expect("a name")).await.expect("an app");
    let newest = async || bench.services.recent_jobs(app.id, 1).await.expect("jobs").remove(0);
    let turn = post("/api/v1/apps/ducks/turns").with("authorization", &token).json(&json!({ "prompt": "Ducks" }));
    let id = bench.ask(turn).await.json()["id"].as_i64().expect("a number");
    let job = bench.services.job(slipway::domain::JobId(id)).await.expect("a job");
    assert!(matches!(job.author, Some(slipway::domain::Author::Token(_))), "{:?}", job.author);
    bench.ask(asked(Method::DELETE, "/api/v1/apps/ducks").with("authorization", &token)).await;
    let job = newest().await;
    assert_eq!(job.kind, slipway::domain::JobKind::Delete);
    assert!(matches!(job.author, Some(slipway::domain::Author::Token(_))), "{:?}", job.author);
}
