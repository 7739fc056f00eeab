//! Start-ups that must be refused, in words, and the password that opens everything else.

use std::process::{Command, Output};

use serde_json::json;

use crate::support::builder::{Builder, binary, send};
use crate::support::{PATIENCE, eventually};

/// Runs the binary to its end.
fn refused(settings: &[(&str, &str)], arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(binary());
    command.args(arguments).current_dir(folder.path()).env_remove("SLIPWAY_ADMIN_PASSWORD");
    let output = command.envs(settings.iter().copied()).output().expect("the binary starts");
    assert!(!output.status.success(), "it must not start with {settings:?} {arguments:?}");
    output
}

fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test]
async fn invalid_settings_are_rejected_by_name() {
    let open = refused(&[("SLIPWAY_LISTEN", "0.0.0.0:0")], &["serve"]);
    assert!(words(&open).contains("SLIPWAY_ADMIN_PASSWORD"), "{}", words(&open));
    let bad = refused(&[("SLIPWAY_DEMO_PACE", "fast")], &["serve"]);
    assert!(words(&bad).contains("demo_pace") && words(&bad).contains("SLIPWAY_DEMO_PACE"), "{}", words(&bad));
    let builder = Builder::start().await;
    let data = builder.data().to_string_lossy().into_owned();
    let second = refused(&[("SLIPWAY_DATA_DIR", &data), ("SLIPWAY_LISTEN", "127.0.0.1:0")], &["serve"]);
    assert!(words(&second).contains("another Slipway"), "{}", words(&second));
    let port = refused(&[("SLIPWAY_LISTEN", &format!("127.0.0.1:{}", builder.port))], &["serve"]);
    assert!(words(&port).contains("cannot listen on"), "{}", words(&port));
    assert_eq!(builder.get("/apps").await.status, 200, "the one that runs is not disturbed");
    for output in [open, bad, second, port] {
        assert!(!words(&output).contains("panicked"), "{}", words(&output));
    }
}

#[tokio::test]
async fn an_existing_data_directory_becomes_private() {
    use std::os::unix::fs::PermissionsExt;
    let mut builder = Builder::start().await;
    builder.stop().await;
    let data = builder.data();
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o755)).expect("opened");
    builder.restart().await;
    let app = builder.create("static-site", "Nobody else's").await;
    builder.write(&app, "site/new.txt", "hello").await;
    let (mut open, mut folders) = (Vec::new(), vec![data.clone()]);
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path());
        for path in entries.chain([folder.clone()]) {
            let found = path.symlink_metadata().expect("it is there");
            seen += 1;
            if found.permissions().mode() & 0o077 != 0 {
                open.push(path.clone());
            }
            if found.is_dir() && path != folder {
                folders.push(path);
            }
        }
    }
    assert!(seen > 20, "{seen} files");
    assert!(open.is_empty(), "others may read {open:?}");
    assert!(builder.log().contains("was open to others (mode 0755)"), "{}", builder.log());
}

#[tokio::test]
async fn an_engine_that_comes_later_is_used_without_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("docker.sock");
    let engine = format!("unix://{}", socket.display());
    let builder = Builder::start_with(&[("DOCKER_HOST", &engine)]).await;
    let home = async || builder.open("builder", "/").await.text();
    let outage = "Apps cannot be deployed at the moment.";
    let page = eventually("the page says so", PATIENCE, || async {
        let page = home().await;
        page.contains(outage).then_some(page)
    })
    .await;
    assert!(page.contains("its socket does not exist") && page.contains("Start Docker"), "{page}");
    // Everything that needs no engine works.
    let app = builder.create("static-site", "A tide table for Cuxhaven").await;
    let turn = builder.turn(&app, "A tide table for Cuxhaven").await;
    assert_eq!(turn["state"], "succeeded", "{turn}");
    let draft = builder.open(&format!("{app}-draft"), "/").await;
    assert_eq!(draft.status, 200);
    let refused = builder.failed(&format!("/apps/{app}/previews"), &json!({})).await;
    assert_eq!(refused["error"]["code"], "docker_unavailable", "{refused}");
    assert!(refused["error"]["hint"].as_str().expect("a hint").contains("Start Docker"), "{refused}");
    // The engine is started.
    std::os::unix::fs::symlink("/var/run/docker.sock", &socket).expect("linked");
    eventually("the page stops saying so", PATIENCE, || async { (!home().await.contains(outage)).then_some(()) }).await;
    builder.preview(&app).await;
    let shown = builder.open(&format!("{app}-preview"), "/").await;
    assert_eq!(shown.status, 200);
    assert!(shown.text().contains("Cuxhaven"), "{}", shown.text());
}

/// The login form, sent as a browser sends it.
fn form(builder: &Builder, fields: &str) -> reqwest::RequestBuilder {
    let login = builder.http.post(builder.at("builder.localhost", "/login"));
    login.header("Content-Type", "application/x-www-form-urlencoded").body(fields.to_owned())
}

#[tokio::test]
async fn with_a_password_nothing_is_open() {
    let builder = Builder::start_with(&[("SLIPWAY_ADMIN_PASSWORD", "seven-white-sails")]).await;
    builder.get("/apps").await.expect_problem(401, "unauthorized");
    let page = send(builder.http.get(builder.at("builder.localhost", "/")).header("Accept", "text/html")).await;
    assert_eq!(page.status, 303, "{}", page.text());
    assert!(page.header("location").starts_with("/login"), "{}", page.header("location"));

    let wrong = send(form(&builder, "password=guess&to=%2F")).await;
    assert!(wrong.status.is_client_error(), "{}", wrong.status);
    assert_eq!(wrong.header("set-cookie"), "", "no session for a guess");
    let right = send(form(&builder, "password=seven-white-sails&to=%2F")).await;
    assert_eq!(right.status, 303, "{}", right.text());
    let cookie = right.header("set-cookie").to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite"), "{cookie}");
    let session = cookie.split(';').next().expect("a cookie").to_owned();
    let home = send(builder.http.get(builder.at("builder.localhost", "/")).header("Cookie", &session)).await;
    assert_eq!(home.status, 200);

    let token = builder.request(reqwest::Method::POST, "/tokens").header("Cookie", &session);
    let token = send(token.json(&json!({"name": "a program", "scope": "admin"}))).await.expect(201);
    let secret = token["token"].as_str().expect("a token").to_owned();
    let list = builder.request(reqwest::Method::GET, "/apps");
    assert_eq!(send(list.bearer_auth(&secret)).await.status, 200);
    let id = &token["id"];
    let revoke = builder.request(reqwest::Method::DELETE, &format!("/tokens/{id}")).bearer_auth(&secret);
    assert!(send(revoke).await.status.is_success());
    let list = builder.request(reqwest::Method::GET, "/apps");
    assert_eq!(send(list.bearer_auth(&secret)).await.status, 401, "revoked is revoked");

    // Guessing is slowed down, and says so.
    let mut slowed = false;
    for number in 0..12 {
        let guess = send(form(&builder, &format!("password=guess-{number}"))).await;
        slowed |= guess.status == 429;
    }
    assert!(slowed, "guessing is never limited");
    assert!(!builder.log().contains("seven-white-sails"), "the log does not contain the password");
}
