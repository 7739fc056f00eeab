//! Access to drafts and previews with a password: browsers that are logged in, and those with a share link.
//! And what apps may do to the site that they share with the pages.

use reqwest::Method;
use reqwest::header::{ACCEPT, AUTHORIZATION, COOKIE};
use serde_json::json;

use crate::support::builder::{Answer, Builder, send};

const PASSWORD: &str = "seven-white-sails";
const SOURCE: &str = r#"
from fastapi import FastAPI, Request
from fastapi.responses import Response

app = FastAPI()


@app.get('/health')
def health():
    return 'ok'


@app.get('/told')
def told(request: Request):
    return dict(request.headers)


@app.get('/greedy')
def greedy():
    response = Response('here')
    for cookie in ['own=1', 'all=1; Domain=localhost', 'slipway_preview=1', '__Host-slipway_session=1; Secure; Path=/']:
        response.headers.append('Set-Cookie', cookie)
    response.headers['Clear-Site-Data'] = '"cookies", "storage"'
    return response
"#;

/// A browser that opens a page, with these cookies.
async fn browse(builder: &Builder, url: &str, cookies: &str) -> Answer {
    let request = builder.http.get(url).header(ACCEPT, "text/html,*/*;q=0.8");
    send(if cookies.is_empty() { request } else { request.header(COOKIE, cookies) }).await
}

/// The cookie that an answer sets, as a browser sends it back.
fn cookie_of(answer: &Answer) -> String {
    let cookie = answer.header("set-cookie");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    cookie.split(';').next().expect("a cookie").to_owned()
}

/// Has the builder's host hand a logged-in browser on, without opening where it leads.
async fn ticket(builder: &Builder, app: &str, place: &str, next: &str) -> String {
    let path = format!("/preview-access?app={app}&place={place}&next={next}");
    let handed = browse(builder, &builder.at("builder.localhost", &path), builder.session()).await;
    assert_eq!(handed.status, 303, "{}", handed.text());
    handed.header("location").to_owned()
}

#[tokio::test]
async fn previews_and_drafts_need_the_login_or_a_link() {
    let mut builder = Builder::start_with(&[("SLIPWAY_ADMIN_PASSWORD", PASSWORD)]).await;
    builder.log_in(PASSWORD).await;
    let app = builder.create("simple-api", "Behind the log-in").await;
    builder.write(&app, "main.py", SOURCE).await;
    builder.preview(&app).await;
    builder.publish(&app).await;
    let (preview, at) = (format!("{app}-preview.localhost"), |host: &str, path: &str| builder.at(host, path));

    // Without a pass: a browser is sent to the builder's host, everything else is refused, in the caller's form.
    let sent = browse(&builder, &at(&preview, "/told?a=1"), "").await;
    let wanted = at("builder.localhost", &format!("/preview-access?app={app}&place=preview&next=%2Ftold%3Fa%3D1"));
    assert_eq!((sent.status.as_u16(), sent.header("location")), (303, wanted.as_str()));
    let login = browse(&builder, sent.header("location"), "").await;
    assert!(login.header("location").starts_with("/login?to=/preview-access%3F"), "{}", login.header("location"));
    assert_eq!(browse(&builder, &at(&preview, "/told"), builder.session()).await.status, 303, "the builder's cookie");
    let token = builder.post("/tokens", &json!({"name": "a program"})).await.expect(201);
    let bearer = format!("Bearer {}", token["token"].as_str().expect("a token"));
    let program = builder.http.get(at(&preview, "/told"));
    assert_eq!(send(program.header(AUTHORIZATION, bearer)).await.status, 401, "a token is for the builder alone");
    let call = builder.http.get(at(&preview, "/told")).header(ACCEPT, "application/json");
    send(call).await.expect_problem(401, "unauthorized");
    for method in [Method::POST, Method::HEAD, Method::OPTIONS] {
        assert_eq!(send(builder.http.request(method.clone(), at(&preview, "/told"))).await.status, 401, "{method}");
    }
    assert_eq!(send(builder.http.post(at(&preview, "/.slipway/errors")).body("[]")).await.status, 401);
    let published = builder.open(&app, "/told").await;
    assert_eq!(published.status, 200, "production is open to all: {}", published.text());
    assert_eq!(
        browse(&builder, &at("nobody-here-preview.localhost", "/"), "").await.status,
        303,
        "the response does not reveal whether an app exists"
    );

    // A ticket is for one host and one use.
    let other = builder.create("static-site", "Another one").await;
    let draft = format!("{other}-draft.localhost");
    let stray = ticket(&builder, &app, "preview", "/").await;
    let elsewhere = stray.replace(&preview, &draft);
    assert_ne!(elsewhere, stray);
    for address in [&elsewhere, &stray] {
        let refused = browse(&builder, address, "").await;
        assert_eq!((refused.status.as_u16(), refused.header("set-cookie")), (403, ""), "{address}");
    }
    let address = ticket(&builder, &app, "preview", "/told%3Fa%3D1").await;
    let entered = browse(&builder, &address, "").await;
    let pass = cookie_of(&entered);
    assert_eq!(browse(&builder, &address, "").await.status, 403, "a second time");
    assert_eq!(browse(&builder, &address, &pass).await.status, 303, "its own browser is led on");
    assert_eq!(entered.header("location"), "/.slipway/entered?next=%2Ftold%3Fa%3D1");
    let without = browse(&builder, &at(&preview, entered.header("location")), "").await;
    assert!(without.status == 403 && without.text().contains("cookie"), "{}", without.text());
    let kept = browse(&builder, &at(&preview, entered.header("location")), &pass).await;
    assert_eq!((kept.status.as_u16(), kept.header("location")), (303, "/told?a=1"));
    for bad in ["//evil.test", "https://evil.test", "/\\evil.test"] {
        let away = browse(&builder, &at(&preview, &format!("/.slipway/entered?next={bad}")), &pass).await;
        assert_eq!((away.status.as_u16(), away.header("location")), (303, "/"), "{bad}");
    }

    // The app sees who asks, and none of our cookies; it sets cookies for itself and clears nothing.
    let session = builder.session();
    let told = browse(&builder, &at(&preview, "/told"), &format!("a=1; {session}; {pass}; b=2")).await.expect(200);
    assert_eq!(told["cookie"], "a=1; b=2");
    let greedy = browse(&builder, &at(&preview, "/greedy"), &pass).await;
    let cookies: Vec<_> = greedy.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["own=1"]);
    assert!(!greedy.headers.contains_key("clear-site-data"));

    // A pass is for its host alone, and reports of errors come with it.
    assert_eq!(browse(&builder, &at(&draft, "/"), &pass).await.status, 303);
    let report = builder.http.post(at(&preview, "/.slipway/errors")).header(COOKIE, &pass).body("[]");
    assert_eq!(send(report).await.status, 204);
    assert_eq!(browse(&builder, &at(&preview, "/.slipway/errors.js"), &pass).await.status, 200);

    // The page shows the preview in a frame by an address that hands it on.
    let page = browse(&builder, &at("builder.localhost", &format!("/apps/{other}?view=draft")), session).await;
    assert!(
        page.text().contains(&format!("src=\"/preview-access?app={other}&#38;place=draft&#38;next=/\"")),
        "{}",
        page.text()
    );

    // Senders of webhooks sign their calls and cannot log in.
    let hook = builder.create("webhook", "Signed calls").await;
    let called = async |host: &str, path: &str| {
        send(builder.http.post(at(&format!("{host}-preview.localhost"), path))).await.status.as_u16()
    };
    assert_eq!(called(&hook, "/webhook").await, 404, "nothing is deployed, and nothing else is in the way");
    assert_eq!((called(&hook, "/").await, called(&app, "/webhook").await), (401, 401));

    share_links(&builder, &app, &preview).await;

    // With the session, its passes end.
    assert_eq!(browse(&builder, &at(&preview, "/told"), &pass).await.status, 200);
    let logout = builder.http.post(at("builder.localhost", "/logout")).header(COOKIE, session);
    assert_eq!(send(logout).await.status, 303);
    assert_eq!(browse(&builder, &at(&preview, "/told"), &pass).await.status, 303);
    let stale = browse(&builder, &wanted, session).await;
    assert!(stale.header("location").starts_with("/login"), "{}", stale.header("location"));

    builder.restart_with(&[("SLIPWAY_PREVIEW_ACCESS", "open")]).await;
    assert_eq!(builder.open(&format!("{other}-draft"), "/").await.status, 200, "open where the operator says so");
}

async fn share_links(builder: &Builder, app: &str, preview: &str) {
    let at = |path: &str| builder.at(preview, path);
    let links = format!("/apps/{app}/preview-links");
    let opened = async |url: &str| {
        let entered = browse(builder, url, "").await;
        (cookie_of(&entered), entered.header("location").to_owned())
    };
    let made = builder.post(&links, &json!({"lasts": "1h"})).await.expect(201);
    let url = made["url"].as_str().expect("an address").to_owned();
    let (pass, next) = opened(&url).await;
    assert_eq!(next, "/.slipway/entered?next=%2F");
    assert_eq!(browse(builder, &at("/told"), &pass).await.status, 200);
    // As often as its holder likes, and nowhere else.
    let (second, _) = opened(&url).await;
    assert_ne!(pass, second);
    let (host, elsewhere) = (preview.trim_end_matches("-preview.localhost"), "nobody-here");
    assert_eq!(browse(builder, &url.replace(host, elsewhere), "").await.status, 410);
    let listed = builder.get(&links).await.expect(200);
    assert_eq!((&listed["preview_links"][0]["id"], &listed["next"]), (&made["id"], &json!(null)));
    assert!(!listed.to_string().contains("link="), "the address is returned only once: {listed}");

    // Taken back, both browsers are out.
    assert_eq!(builder.delete(&format!("{links}/{}", made["id"])).await.status, 204);
    for pass in [&pass, &second] {
        assert_eq!(browse(builder, &at("/told"), pass).await.status, 303);
    }

    // An hour later.
    let made = builder.post(&links, &json!({"lasts": "1h", "place": "preview"})).await.expect(201);
    let url = made["url"].as_str().expect("an address").to_owned();
    let (pass, _) = opened(&url).await;
    let database = rusqlite::Connection::open(builder.data().join("slipway.db")).expect("the database");
    database.busy_timeout(std::time::Duration::from_secs(5)).expect("set");
    let aged = database.execute("UPDATE preview_links SET expires_at = 1, created_at = 0", []).expect("written");
    assert_eq!(aged, 1);
    let ended = browse(builder, &url, "").await;
    assert_eq!((ended.status.as_u16(), ended.header("set-cookie")), (410, ""));
    assert!(ended.text().contains("is no longer valid"), "{}", ended.text());
    assert_eq!(browse(builder, &at("/told"), &pass).await.status, 303, "and its visitors lose access");

    builder.post(&links, &json!({"lasts": "1y"})).await.expect_problem(422, "invalid");
    builder.post(&links, &json!({"place": "draft"})).await.expect_problem(409, "nothing_to_share");
}

#[tokio::test]
async fn apps_use_a_separate_domain_if_it_is_set() {
    let builder = Builder::start_with(&[("SLIPWAY_APPS_DOMAIN", "apps.test")]).await;
    let app = builder.create("static-site", "On another site").await;
    let draft = builder.at(&format!("{app}-draft.apps.test"), "");
    assert_eq!(builder.app(&app).await["draft_url"], draft.as_str());
    assert_eq!(browse(&builder, &draft, "").await.status, 200);
    let old = browse(&builder, &builder.at(&format!("{app}-draft.localhost"), "/"), "").await;
    assert!(old.status == 404 && old.text().contains(".apps.test"), "{}", old.text());
    assert_eq!(browse(&builder, &builder.at("builder.apps.test", "/"), "").await.status, 404);
    let page = browse(&builder, &builder.at("builder.localhost", &format!("/apps/{app}")), "").await;
    let policy = page.header("content-security-policy");
    assert!(policy.contains(&format!("frame-src 'self' http://*.apps.test:{};", builder.port)), "{policy}");
    assert!(page.text().contains(&format!("<iframe src=\"{draft}/\"")), "{}", page.text());
    let answer = builder.post(&format!("/apps/{app}/preview-links"), &json!({})).await;
    answer.expect_problem(409, "previews_are_open");
}
