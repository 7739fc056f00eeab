//! Tests of the *Code* tab: finding, uploading, renaming, changes, folders, images, and bad paths.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};

use super::{Answer, Site};
use crate::domain::AppName;

const BOUNDARY: &str = "------part";
/// An image of 3 × 2 pixels, as far as its head says.
const PICTURE: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x03\0\0\0\x02\x08\x06\0\0\0";

/// A part of a form: a field, or a file with its name.
type Part<'a> = (&'a str, Option<&'a str>, &'a [u8]);

async fn upload(site: &Site, name: &AppName, parts: &[Part<'_>], htmx: bool) -> Answer {
    let mut body = Vec::new();
    for (field, file, bytes) in parts {
        let file = file.map(|file| format!("; filename=\"{file}\"")).unwrap_or_default();
        let head = format!("--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{field}\"{file}\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    let mut request = Request::post(format!("/apps/{name}/upload")).header(header::CONTENT_TYPE, kind);
    if htmx {
        request = request.header("hx-request", "true").header(header::ACCEPT, "application/json");
    }
    site.send(request.body(Body::from(body)).expect("a request")).await
}

async fn versions(site: &Site, name: &AppName) -> Vec<String> {
    site.get(&format!("/apps/{name}/versions")).await.page().texts(".history a.title")
}

#[tokio::test(flavor = "multi_thread")]
async fn text_is_found_in_all_files() {
    let site = Site::start().await;
    let name = site.app("static-site").await;
    let file = format!("/apps/{name}/code/public/tides.html");
    site.post(&file, &[("content", "first\nHigh <Tide> & low\nlast\n")]).await;
    let found = site.get(&format!("/apps/{name}/code?find=%3Ctide%3E")).await;
    let page = found.page();
    assert_eq!((found.status, page.text("mark")), (StatusCode::OK, "<Tide>".to_owned()));
    assert_eq!(page.attribute(".found .match a", "href"), format!("{file}#L2"));
    assert_eq!(page.count(".found li"), 3, "with the lines around it");
    assert_eq!(site.get(&file).await.page().count("#L2"), 1, "the address names a line");
    let none = site.get(&format!("/apps/{name}/code?find=%3Ctide%3E&case=1")).await.page();
    assert!(none.text(".find-summary").starts_with("Nothing was found in "), "{}", none.text(".find-summary"));
    let bad = site.get(&format!("/apps/{name}/code?find=a(&regex=1")).await;
    assert_eq!(bad.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(bad.page().text("#find-problem").contains("unclosed group") && bad.page().count(".tree-files a") > 2);
    assert_eq!(site.get(&format!("/apps/{name}/code?find=")).await.page().count("#find-text"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_uploaded_as_one_version() {
    let site = Site::start().await;
    let name = site.app("static-site").await;
    let before = versions(&site, &name).await.len();
    let parts: [Part<'_>; 3] = [
        ("folder", None, b"public/img/"),
        ("files", Some("logo.png"), PICTURE),
        ("files", Some("C:\\x\\a.txt"), b"a\n"),
    ];
    let saved = upload(&site, &name, &parts, false).await;
    assert_eq!(saved.location(), format!("/apps/{name}/code/public/img/logo.png"));
    assert_eq!(versions(&site, &name).await.len(), before + 1);
    let page = site.get(saved.location()).await.page();
    let picture = page.attribute(".file-picture img", "src");
    assert_eq!(page.attribute(".file-picture img", "width"), "3");
    let shown = site.builder.services.clone();
    assert_eq!(shown.files(&shown.app(&name).await.expect("an app")).await.expect("files").len(), 11);
    assert!(picture.starts_with(&format!("/apps/{name}/pictures/public/img/logo.png?version=")));
    assert_eq!(site.get(&format!("/apps/{name}/pictures/public/index.html")).await.status, StatusCode::NOT_FOUND);
    assert_eq!(site.get(&format!("/apps/{name}/code/public/img/a.txt")).await.page().text(".source code"), "a");

    // What exists is replaced only if that was chosen.
    let again: [Part<'_>; 2] = [("folder", None, b"public/img"), ("files", Some("a.txt"), b"b\n")];
    let refused = upload(&site, &name, &again, false).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    let problem = refused.page().text("#upload-problem");
    assert!(problem.contains("“public/img/a.txt” exists already."), "{problem}");
    assert_eq!(refused.page().attribute("#upload-folder", "value"), "public/img");
    let script = upload(&site, &name, &again, true).await;
    assert!(script.status == StatusCode::CONFLICT && script.body.contains("files_exist"), "{}", script.body);
    let replace: [Part<'_>; 3] = [("replace", None, b"1"), again[0], again[1]];
    assert_eq!(upload(&site, &name, &replace, false).await.status, StatusCode::SEE_OTHER);

    // A script sends paths, and keeps an open editor.
    let dropped: [Part<'_>; 4] = [
        ("folder", None, b""),
        ("stay", None, b"1"),
        ("path", None, b"notes/deep/n.txt"),
        ("files", Some("n.txt"), b"n"),
    ];
    let pieces = upload(&site, &name, &dropped, true).await;
    assert_eq!(pieces.status, StatusCode::OK);
    assert!(pieces.body.contains("notes/deep/n.txt") && !pieces.body.contains("id=\"file\""), "{}", pieces.body);

    // Hostile names, files that may not change, and limits: nothing is saved.
    let count = versions(&site, &name).await.len();
    site.post(&format!("/apps/{name}/lock-file/public/style.css"), &[]).await;
    let huge = vec![b'x'; (1 << 20) + 1];
    let many: Vec<Part<'_>> = (0..201).map(|_| ("files", Some("x.txt"), &b"x"[..])).collect();
    let file = |path: &'static str| -> Vec<Part<'static>> {
        vec![("replace", None, b"1"), ("path", None, path.as_bytes()), ("files", Some("x"), b"x")]
    };
    for (parts, status) in [
        (file("../x"), 422),
        (file("/etc/passwd"), 422),
        (file("a/.git/hooks/x"), 422),
        (file("a\0b"), 422),
        (file("Dockerfile"), 403),
        (file("public/style.css"), 409),
        (file("public/index.html/x"), 422),
        (vec![("files", Some("big.bin"), &huge[..])], 413),
        (many, 422),
        (vec![("folder", None, b"../.."), ("files", Some("x"), b"x")], 422),
        (vec![("path", None, b"a"), ("path", None, b"b"), ("files", Some("x"), b"x")], 400),
        (vec![("folder", None, b"public")], 422),
        (vec![("files", Some("same.txt"), b"1"), ("files", Some("same.txt"), b"2")], 422),
    ] {
        let answer = upload(&site, &name, &parts, true).await;
        assert_eq!(answer.status.as_u16(), status, "{:?}: {}", parts[0], answer.body);
        assert!(answer.body.contains("\"detail\""), "{}", answer.body);
    }
    assert_eq!(versions(&site, &name).await.len(), count);
    let plain = site.post(&format!("/apps/{name}/upload"), &[("folder", "x")]).await;
    assert_eq!(plain.status, StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_folders_are_renamed() {
    let site = Site::start().await;
    let name = site.app("static-site").await;
    let at = |path: &str| format!("/apps/{name}/code/{path}");
    let rename = |path: &str| format!("/apps/{name}/rename-file/{path}");
    let form = site.get(&at("public/style.css?rename=1")).await.page();
    assert_eq!(form.attribute("#rename-to", "value"), "public/style.css");
    assert_eq!(form.attribute("form.file-bar", "action"), rename("public/style.css"));
    let moved = site.post(&rename("public/style.css"), &[("to", "public/css/main.css")]).await;
    assert_eq!(moved.location(), at("public/css/main.css"));
    assert_eq!(site.get(&at("public/style.css")).await.status, StatusCode::NOT_FOUND);
    assert_eq!(versions(&site, &name).await[0], "Rename public/style.css to public/css/main.css");

    let folder = site.get(&at("public")).await.page();
    assert!(folder.texts(".folder-list .cut").contains(&"css/main.css".to_owned()));
    let moved = site.htmx_post(&rename("public/css"), &[("to", "public/styles/")]).await;
    assert_eq!(moved.headers["hx-push-url"], at("public/styles"));
    assert_eq!(moved.page().texts(".folder-list .cut"), ["main.css"]);

    for (path, to, status) in [
        ("public/script.js", "public/index.html", 409),
        ("public/script.js", "public/script.js", 422),
        ("public/script.js", "../../x.js", 422),
        ("public", "public/inner", 422),
        ("public/script.js", "Dockerfile", 403),
        ("Dockerfile", "Dockerfile.txt", 403),
    ] {
        let answer = site.post(&rename(path), &[("to", to)]).await;
        assert_eq!(answer.status.as_u16(), status, "{path} to {to}: {}", answer.body);
        let page = answer.page();
        assert_eq!((page.count("#rename-problem"), page.attribute("#rename-to", "value")), (1, to.to_owned()));
    }
    assert_eq!(site.post(&rename("none.txt"), &[("to", "x.txt")]).await.status, StatusCode::NOT_FOUND);
    site.post(&format!("/apps/{name}/lock-file/public/styles/main.css"), &[]).await;
    let locked = site.post(&rename("public"), &[("to", "site")]).await;
    assert!(locked.status == StatusCode::CONFLICT && locked.page().text("#rename-problem").contains("locked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_save_conflicts_only_with_changes_of_the_same_file() {
    let site = Site::start().await;
    let name = site.app("static-site").await;
    let at = |path: &str| format!("/apps/{name}/code/{path}");
    let head = site.get(&at("public/index.html?edit=1")).await.page().attribute("input[name=head]", "value");
    site.post(&at("public/other.html"), &[("content", "<p>other</p>\n")]).await;
    let saved =
        site.htmx_post(&at("public/index.html"), &[("content", "mine\n"), ("head", &head), ("stay", "1")]).await;
    assert_eq!(saved.status, StatusCode::OK, "{}", saved.body);
    // The editor stays: the answer has only what is around it.
    assert_eq!(saved.headers["hx-push-url"], format!("{}?edit=1", at("public/index.html")));
    let pieces = saved.page();
    assert!(
        pieces.count("textarea") == 0 && pieces.count("#editor-head") == 1 && saved.body.contains("Saved as version")
    );
    let late = site.htmx_post(&at("public/index.html"), &[("content", "late\n"), ("head", &head), ("stay", "1")]).await;
    assert_eq!(late.status, StatusCode::CONFLICT);
    assert!(late.page().text("textarea.editor") == "late" && late.page().count("[data-unsaved]") == 1);
    let foreign = site.post(&at("public/index.html"), &[("content", "x"), ("head", &"0".repeat(40))]).await;
    assert_eq!(foreign.status, StatusCode::NOT_FOUND);
    let plain = site.post(&at("public/index.html"), &[("content", "plain\n"), ("stay", "1")]).await;
    assert_eq!(plain.location(), format!("{}?edit=1", at("public/index.html")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_changes_of_a_file_are_shown_in_its_place() {
    let site = Site::start().await;
    let name = site.app("static-site").await;
    let at = |path: &str| format!("/apps/{name}/code/{path}");
    site.post(&at("notes.txt"), &[("content", "one\ntwo\n")]).await;
    site.post(&at("notes.txt"), &[("content", "one\nthree\n")]).await;
    site.post(&at("other.txt"), &[("content", "x\n")]).await;
    let page = site.get(&at("notes.txt?changes=1")).await.page();
    assert_eq!(
        (page.text("tr.added td:last-child"), page.text("tr.removed td:last-child")),
        ("three".into(), "two".into())
    );
    assert!(page.text(".frame-note").starts_with("Version 3, compared"), "{}", page.text(".frame-note"));
    assert_eq!(page.attribute("#changes-toggle", "href"), at("notes.txt"));
    let newest = site.get(&at("other.txt?changes=1")).await.page();
    assert!(newest.text(".frame-note").starts_with("Version 4, the newest one"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_path_is_answered_beside_the_tree() {
    let site = Site::start().await;
    let name = site.app("static-site").await;
    for (path, status, create) in [
        ("none%20here.txt", 404, 1),
        ("none.txt?edit=1", 404, 1),
        ("..%2f..%2fetc%2fpasswd", 422, 0),
        (".git/config", 422, 0),
    ] {
        let path = format!("/apps/{name}/code/{path}");
        for answer in [site.get(&path).await, site.piece(&path).await] {
            assert_eq!(answer.status.as_u16(), status, "{path}");
            let page = answer.page();
            assert_eq!((page.count("#file [role=alert]"), page.count("#file .empty a")), (1, create), "{path}");
            assert!(page.count(".tree-files a") > 2, "{path}");
        }
    }
    let missing = site.get(&format!("/apps/{name}/code/a/b%26c.txt")).await.page();
    assert_eq!(missing.attribute("#file .empty a", "href"), format!("/apps/{name}/code?new=a%2Fb%26c.txt"));
}
