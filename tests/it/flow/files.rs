//! Files, versions, differences, restoring, logs and the export.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::builder::Builder;
use crate::support::engine::{docker, nginx_base};
use crate::support::{PATIENCE, eventually};

fn paths(list: &Value) -> Vec<&str> {
    list["files"].as_array().expect("a list").iter().filter_map(|file| file["path"].as_str()).collect()
}

#[tokio::test]
async fn files_and_versions() {
    let builder = Builder::start().await;
    let app = builder.create("static-site", "Edited by hand").await;
    let scaffold = builder.head(&app).await;
    let files = builder.get(&format!("/apps/{app}/files")).await.expect(200);
    assert!(paths(&files).contains(&"public/index.html"), "{files:#}");

    // Written and read back, bytes as they are.
    let bytes: Vec<u8> = (0..=255).collect();
    let answer = builder.put(&format!("/apps/{app}/files/public/raw.bin"), bytes.clone()).await;
    assert!(answer.status.is_success(), "{}", answer.text());
    assert_eq!(builder.get(&format!("/apps/{app}/files/public/raw.bin")).await.bytes, bytes);
    builder.write(&app, "public/index.html", "<h1>By hand</h1>\n").await;
    let edited = builder.head(&app).await;
    builder.write(&app, "public/index.html", "<h1>By hand</h1>\n").await;
    assert_eq!(builder.head(&app).await, edited, "saving unchanged content creates no version");
    let draft = builder.open(&format!("{app}-draft"), "/").await;
    assert!(draft.text().contains("<h1>By hand</h1>"), "{}", draft.text());

    // A difference in the form that `git apply` takes.
    let diff = builder.get(&format!("/apps/{app}/versions/{edited}/diff")).await;
    assert!(diff.header("content-type").starts_with("text/plain"));
    assert!(diff.text().contains("+<h1>By hand</h1>") && diff.text().contains("-<!doctype html>"), "{}", diff.text());
    assert!(diff.text().contains("--- a/public/index.html"), "{}", diff.text());

    // Deleting is a version, and of something that is not there an error.
    let gone = builder.delete(&format!("/apps/{app}/files/public/raw.bin")).await;
    assert!(gone.status.is_success(), "{}", gone.text());
    builder.get(&format!("/apps/{app}/files/public/raw.bin")).await.expect_problem(404, "not_found");
    builder.delete(&format!("/apps/{app}/files/public/raw.bin")).await.expect_problem(404, "not_found");

    // Restoring is a new version forward.
    let restored = builder.post(&format!("/apps/{app}/versions/{scaffold}/restore"), &json!({})).await.expect(201);
    let list = builder.get(&format!("/apps/{app}/versions")).await.expect(200);
    let versions = list["versions"].as_array().expect("a list");
    assert_eq!(versions.len(), 5, "scaffold, two edits, a deletion, a restore: {list:#}");
    assert_eq!(versions[0]["id"], restored["id"]);
    assert_eq!(versions[4]["id"], scaffold.as_str(), "newest first, nothing lost");
    let index = builder.get(&format!("/apps/{app}/files/public/index.html")).await.text();
    assert!(index.contains("It works. Now make it yours."));

    // Pages of a list.
    let page = builder.get(&format!("/apps/{app}/versions?limit=2")).await.expect(200);
    assert_eq!(page["versions"].as_array().map(Vec::len), Some(2));
    let cursor = page["next"].as_str().map_or_else(|| page["next"].to_string(), str::to_owned);
    let rest = builder.get(&format!("/apps/{app}/versions?limit=9&cursor={cursor}")).await.expect(200);
    assert_eq!(rest["versions"].as_array().map(Vec::len), Some(3));
    assert!(rest["next"].is_null());
    assert_eq!(rest["versions"][0]["id"], versions[2]["id"]);
}

#[tokio::test]
async fn invalid_paths_are_refused() {
    let builder = Builder::start().await;
    let app = builder.create("static-site", "Guards its files").await;
    let head = builder.head(&app).await;
    for path in
        ["..%2F..%2Fescape.txt", "public%2F..%2F..%2Fescape", ".git/config", "a/.git/hooks/x", "%2Fetc%2Fpasswd"]
    {
        let answer = builder.put(&format!("/apps/{app}/files/{path}"), "x").await;
        assert!(matches!(answer.status.as_u16(), 400 | 403 | 404 | 422), "{path}: {} {}", answer.status, answer.text());
        assert_eq!(answer.header("content-type"), "application/problem+json", "{path}");
    }
    builder.put(&format!("/apps/{app}/files/Dockerfile"), "FROM scratch").await.expect_problem(403, "platform_file");
    builder.delete(&format!("/apps/{app}/files/nginx.conf")).await.expect_problem(403, "platform_file");
    // A link out of the workspace, as a broken tool might leave it.
    let workspace = builder.data().join("workspaces").join(&app);
    std::os::unix::fs::symlink("/etc", workspace.join("public/etc")).expect("a link");
    let through = builder.put(&format!("/apps/{app}/files/public/etc/motd"), "x").await;
    assert!(through.status.is_client_error(), "{}", through.text());
    let draft = builder.open(&format!("{app}-draft"), "/etc/passwd").await;
    assert_eq!(draft.status, 404, "{}", draft.text());
    assert_eq!(builder.head(&app).await, head, "nothing was written");

    // Names with a leading dot are hidden in a draft, as in the deployed site.
    for (path, status) in
        [(".key", 404), (".config/key.html", 404), (".well-known/security.txt", 200), ("a/.b/c.txt", 404)]
    {
        builder.write(&app, &format!("public/{path}"), "SECRET=1").await;
        let draft = builder.open(&format!("{app}-draft"), &format!("/{path}")).await;
        assert_eq!(draft.status, status, "{path}: {}", draft.text());
    }
    assert_eq!(builder.open(&format!("{app}-draft"), "/%2Ekey").await.status, 404);
    assert_eq!(builder.open(&format!("{app}-draft"), "/.config/key").await.status, 404);
}

#[tokio::test]
async fn logs_are_shown_and_followed() {
    let builder = Builder::start().await;
    let app = builder.create("simple-api", "Prints").await;
    builder
        .write(
            &app,
            "main.py",
            "from fastapi import FastAPI\napp = FastAPI()\nprint('began <b>now</b>')\n\
         @app.get('/health')\ndef health():\n    return 'ok'\n\
         @app.get('/say/{word}')\ndef say(word: str):\n    print('said', word)\n    return word\n",
        )
        .await;
    builder.preview(&app).await;
    let logs = builder.get(&format!("/apps/{app}/logs?environment=preview")).await;
    assert_eq!(logs.status, 200);
    assert!(logs.header("content-type").starts_with("text/plain"), "{}", logs.header("content-type"));
    assert!(logs.text().contains("began <b>now</b>"), "{}", logs.text());
    let follow =
        builder.request(reqwest::Method::GET, &format!("/apps/{app}/logs?environment=preview&follow=true&tail=5"));
    let mut follow = crate::support::stream::Stream::open(follow, 0).await;
    builder.open(&format!("{app}-preview"), "/say/boat").await.expect(200);
    follow.wait("the line arrives", PATIENCE, |event| event.data.to_string().contains("said boat")).await;
    eventually("the line is kept", PATIENCE, || async {
        let logs = builder.get(&format!("/apps/{app}/logs?environment=preview&tail=3")).await.text();
        (logs.contains("said boat") && logs.lines().count() <= 3).then_some(())
    })
    .await;
    let found = builder.get(&format!("/apps/{app}/logs?environment=preview&q=SAID+Boat&timestamps=true")).await.text();
    let (time, line) = found.trim_end().split_once(' ').expect("a time and a line");
    assert!(time.parse::<jiff::Timestamp>().is_ok() && line == "said boat", "{found}");
    assert!(!builder.get(&format!("/apps/{app}/logs?environment=preview&level=error")).await.text().contains("boat"));

    // The gateway has seen the request.
    let page = builder.open("builder", &format!("/apps/{app}/requests?q=%2Fsay&status=2")).await.text();
    assert!(page.contains(r#"<td class="path">/say/boat</td><td><b>200</b></td>"#), "{page}");
    let metrics = builder.get(&format!("/apps/{app}/metrics?environment=preview")).await.json();
    assert!(metrics["total"]["requests"].as_u64() >= Some(1), "{metrics}");
    assert_eq!(metrics["intervals"].as_array().map(Vec::len), Some(288));
}

#[tokio::test]
async fn an_export_runs_without_slipway() {
    let builder = Builder::start().await;
    let app = builder.create("static-site", "Moves out").await;
    builder.turn(&app, "A house with a garden").await;
    let archive = builder.get(&format!("/apps/{app}/export")).await;
    assert_eq!(archive.status, 200);
    assert!(archive.header("content-disposition").contains(".tar.gz"), "{:?}", archive.headers);
    let folder = tempfile::tempdir().expect("a folder");
    tar::Archive::new(flate2::read::GzDecoder::new(&archive.bytes[..])).unpack(folder.path()).expect("an archive");
    let tops: Vec<_> = std::fs::read_dir(folder.path()).expect("a folder").flatten().collect();
    let root = match &tops[..] {
        [only] if only.path().is_dir() => only.path(),
        _ => folder.path().to_path_buf(),
    };
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(&root).args(arguments).output().expect("git is there");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let log = git(&["log", "--format=%s"]);
    assert_eq!(log.lines().count(), 2, "{log}");
    assert!(log.contains("A house with a garden"), "a version says what was asked: {log}");
    // The Dockerfile alone differs from what was committed: it names the base image, so that it builds as it is.
    assert_eq!(git(&["status", "--porcelain", "--untracked-files=no"]).trim(), "M Dockerfile");
    assert!(git(&["fsck"]).is_empty());
    assert!(root.join("Dockerfile").is_file());
    let is_manifest = |path: &String| std::path::Path::new(path).extension().is_some_and(|kind| kind == "yaml");
    assert!(walk(&root).iter().any(is_manifest), "Kubernetes manifests are there: {:?}", walk(&root));

    let tag = format!("slipway-test-export:{}", builder.installation().0);
    let base = format!("BASE_IMAGE={}", nginx_base());
    let built = docker(&["build", "--quiet", "--build-arg", &base, "--tag", &tag, &root.to_string_lossy()]);
    let _ = docker(&["rmi", "--force", &tag]);
    built.expect("the exported Dockerfile builds");
}

fn walk(folder: &std::path::Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() && !path.ends_with(".git") {
                open.push(path);
            } else {
                all.push(path.to_string_lossy().into_owned());
            }
        }
    }
    all
}
