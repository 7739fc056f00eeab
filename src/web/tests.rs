//! The pages as a browser without scripts and as htmx see them, on real services without an engine.

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode, header};
use futures_util::StreamExt;
use tempfile::TempDir;
use tower::ServiceExt;

use super::router;
use super::samples::{Selected, select};
use crate::bounded_work::{Budget, Owner};
use crate::config::Config;
use crate::domain::{AppName, EventId, Principal, Scope, TurnMode};
use crate::services::Services;
use crate::services::apps::CreateApp;
use crate::services::tokens::TokenCheck;
use crate::startup::{self, Builder};

struct Site {
    router: Router,
    services: Services,
    builder: Builder,
    _folder: TempDir,
}

struct Answer {
    status: StatusCode,
    headers: axum::http::HeaderMap,
    body: String,
}

impl Answer {
    fn page(&self) -> Selected {
        select(&self.body)
    }

    fn location(&self) -> &str {
        self.headers[header::LOCATION].to_str().expect("ASCII")
    }
}

impl Site {
    async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().expect("a folder");
        let nowhere = format!("unix://{}/no-engine.sock", folder.path().display());
        let variables = [
            ("SLIPWAY_DATA_DIR", folder.path().join("data").display().to_string()),
            ("SLIPWAY_DEMO_PACE", "0".to_owned()),
            ("DOCKER_HOST", nowhere),
        ];
        let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value));
        let config = Config::load(None, variables, &[]).expect("a configuration");
        let builder = startup::start(config).await.expect("starts");
        let services = builder.services.clone();
        Self {
            router: router(services.clone()).layer(axum::Extension(Principal::Anyone)),
            services,
            builder,
            _folder: folder,
        }
    }

    async fn app(&self, template: &str) -> AppName {
        let new = CreateApp {
            auto_preview: false,
            description: "Tides of the week".into(),
            template: Some(template.parse().expect("a name")),
            name: None,
        };
        self.services.create_app(new).await.expect("made").name
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response: Response<Body> = self.router.clone().oneshot(request).await.expect("never fails");
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 10 << 20).await.expect("a body");
        Answer { status: parts.status, headers: parts.headers, body: String::from_utf8(bytes.to_vec()).expect("text") }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).expect("a request")).await
    }

    async fn piece(&self, path: &str) -> Answer {
        let request = Request::get(path).header("hx-request", "true").header("hx-request-type", "partial");
        self.send(request.body(Body::empty()).expect("a request")).await
    }

    async fn post(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        self.send(posted(path, form, false)).await
    }

    async fn htmx_post(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        self.send(posted(path, form, true)).await
    }

    /// Waits for the end of the turn that was started last.
    /// Waits until the turn and what follows it by itself have ended.
    async fn turn_ended(&self, name: &AppName) {
        let app = self.services.app(name).await.expect("an app");
        let ended = async {
            loop {
                let job = self.services.recent_jobs(app.id, 1).await.expect("jobs").remove(0);
                if job.state.is_final() {
                    return;
                }
                self.services.job_events(&job, EventId(0)).for_each(async |_| ()).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_mins(1), ended).await.expect("the turn ends");
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.builder.lifecycle.draining.cancel();
        self.builder.lifecycle.aborting.cancel();
    }
}

fn posted(path: &str, form: &[(&str, &str)], htmx: bool) -> Request<Body> {
    let encode = |text: &str| super::format::encode_path(text, false);
    let body: Vec<String> = form.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    let mut request = Request::post(path).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    if htmx {
        request = request.header("hx-request", "true").header("hx-request-type", "partial");
    }
    request.body(Body::from(body.join("&"))).expect("a request")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_is_made_and_changed_without_scripts() {
    let site = Site::start().await;
    assert_eq!(site.get("/").await.page().count("#apps"), 0);
    let made = site
        .post("/apps", &[("description", "A page about <tides>"), ("template", "static-site"), ("name", "blue-tide")])
        .await;
    assert_eq!((made.status, made.location()), (StatusCode::SEE_OTHER, "/apps/blue-tide"));
    let name: AppName = "blue-tide".parse().expect("a name");
    site.turn_ended(&name).await;

    let page = site.get("/apps/blue-tide").await;
    assert_eq!(page.status, StatusCode::OK);
    let shown = page.page();
    assert_eq!(shown.text(".said"), "A page about <tides>");
    assert!(shown.text(".summary summary").contains("version 2"));
    assert_eq!(shown.attribute("iframe", "src"), "http://blue-tide-draft.localhost:8080");
    assert_eq!(shown.attribute("#next form", "action"), "/apps/blue-tide/previews");
    assert_eq!(site.get("/").await.page().text(".app-card h3"), "blue-tide");

    let turns = site.get("/apps/blue-tide?steps=1").await;
    assert!(turns.page().count("[data-block=file]") > 0);

    let code = site.get("/apps/blue-tide/code/public/index.html?edit=1").await.page();
    let head = code.attribute("input[name=head]", "value");
    let saved = site
        .post("/apps/blue-tide/code/public/index.html", &[("content", "<p>one\r\ntwo</p>\r\n"), ("head", &head)])
        .await;
    assert_eq!(saved.location(), "/apps/blue-tide/code/public/index.html");
    assert_eq!(site.get("/apps/blue-tide/code/public/index.html").await.page().text(".source code"), "<p>one two</p>");
    let late = site.post("/apps/blue-tide/code/public/index.html", &[("content", "mine"), ("head", &head)]).await;
    assert_eq!(late.status, StatusCode::CONFLICT);
    assert_eq!(late.page().text("textarea.editor"), "mine");

    let versions = site.get("/apps/blue-tide/versions").await.page();
    assert_eq!(versions.texts(".history .no"), ["3", "2", "1"]);
    let first = versions.attribute(".history li:last-child a.title", "href");
    assert!(site.get(&first).await.page().count(".diff") > 3);
    let restored = site.post(&format!("{first}/restore"), &[]).await;
    assert_eq!(restored.location(), "/apps/blue-tide/versions");
    assert_eq!(site.get("/apps/blue-tide/versions").await.page().text(".history .no"), "4");

    let refused = site.post("/apps/blue-tide/delete", &[("confirmation", "blue")]).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.page().text("#delete-problem").starts_with("Nothing was deleted"));
    assert_eq!(site.post("/apps/blue-tide/delete", &[("confirmation", "blue-tide")]).await.location(), "/");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_tab_opens_for_every_kind_of_app() {
    let site = Site::start().await;
    for template in ["static-site", "simple-api", "webhook", "scheduled-job"] {
        let name = site.app(template).await;
        for part in [
            "",
            "?view=preview",
            "?view=prod",
            "/code",
            "/code/app.toml",
            "/code?new=notes.txt",
            "/versions",
            "/releases",
            "/logs",
            "/logs?source=preview",
            "/logs?source=prod",
            "/settings",
        ] {
            let path = format!("/apps/{name}{part}");
            let page = site.get(&path).await;
            assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.body);
            assert_eq!(page.page().count("#stream"), 1, "{path}");
            let piece = site.piece(&path).await;
            assert_eq!(piece.status, StatusCode::OK, "{path}");
            assert!(
                !piece.body.contains("<html")
                    && piece.headers[header::VARY].to_str().expect("ASCII").contains("hx-request")
            );
        }
        assert_eq!(site.get(&format!("/apps/{name}/logs.txt")).await.status, StatusCode::OK);
    }
    for path in ["/health", "/settings", "/shortcuts", "/?search=tide&kind=webhook", "/?description=x"] {
        assert_eq!(site.get(path).await.status, StatusCode::OK, "{path}");
    }
    assert_eq!(site.get("/login").await.location(), "/");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_answered_in_the_callers_form() {
    let site = Site::start().await;
    let name = site.app("static-site").await;
    for (path, status) in [
        ("/nowhere", 404),
        ("/apps/nobody-here", 404),
        ("/apps/Bad_Name", 404),
        ("/apps/x", 404),
        (&format!("/apps/{name}/code/..%2f..%2fetc%2fpasswd"), 422),
        (&format!("/apps/{name}/code/.git/config"), 422),
        (&format!("/apps/{name}/code/none.txt"), 404),
        (&format!("/apps/{name}/code/Dockerfile?edit=1"), 403),
        (&format!("/apps/{name}/versions/HEAD"), 404),
        (&format!("/apps/{name}/versions/{}", "0".repeat(40)), 404),
        (&format!("/apps/{name}/versions?cursor=zzz"), 422),
        (&format!("/apps/{name}/logs?source=everything"), 400),
        (&format!("/apps/{name}?view=nothing"), 400),
        (&format!("/apps/{name}/stream?after=-1"), 400),
        (&format!("/apps/{name}/runs/99"), 404),
        (&format!("/apps/{name}/turns/99/steps"), 303),
        (&format!("/apps/{name}/webhook-secret?environment=prod"), 404),
        ("/?kind=NO", 422),
    ] {
        let page = site.get(path).await;
        assert_eq!(page.status.as_u16(), status, "{path}");
        if status != 303 {
            assert_eq!(page.page().count("main h1"), 1, "{path} is a page");
        }
        let piece = site.piece(path).await;
        assert!(piece.status.is_client_error(), "{path}");
        assert_eq!(piece.headers["hx-retarget"], "#notices", "{path}");
        assert_eq!(piece.page().count(".notice.bad"), 1, "{path}");
    }
    for (path, form, status) in [
        ("/apps".to_owned(), vec![("description", "")], 422),
        ("/apps".to_owned(), vec![("description", "x"), ("name", "Builder")], 422),
        ("/apps".to_owned(), vec![("description", "x"), ("name", name.as_str())], 409),
        ("/apps".to_owned(), vec![("description", "x"), ("template", "none-such")], 422),
        (format!("/apps/{name}/turns"), vec![("prompt", "   ")], 422),
        (format!("/apps/{name}/turns"), vec![("prompt", "x"), ("mode", "destroy")], 422),
        (format!("/apps/{name}/turns"), vec![], 422),
        (format!("/apps/{name}/publish"), vec![], 409),
        (format!("/apps/{name}/rollback"), vec![("environment", "prod")], 409),
        (format!("/apps/{name}/rollback"), vec![("environment", "moon")], 422),
        (format!("/apps/{name}/previews"), vec![("version", "HEAD")], 422),
        (format!("/apps/{name}/runs"), vec![("environment", "prod")], 409),
        (format!("/apps/{name}/try"), vec![("environment", "prod"), ("method", "GET"), ("path", "/")], 409),
        (format!("/apps/{name}/code/Dockerfile"), vec![("content", "FROM evil")], 403),
        (format!("/apps/{name}/code/a%00b"), vec![("content", "x")], 422),
        ("/jobs/77/cancel".to_owned(), vec![], 404),
        ("/jobs/abc/cancel".to_owned(), vec![], 404),
        ("/theme".to_owned(), vec![("theme", "pink")], 422),
    ] {
        let answer = site.post(&path, &form).await;
        assert_eq!(answer.status.as_u16(), status, "{path} {form:?}: {}", answer.body);
        assert_eq!(answer.page().count("main h1"), 1, "{path} is a page");
        assert_eq!(site.htmx_post(&path, &form).await.status.as_u16(), status, "{path} {form:?}");
    }
    // What was typed comes back.
    let again = site.post("/apps", &[("description", "Tell the time"), ("name", "Bad Name")]).await.page();
    assert_eq!(again.text("#description"), "Tell the time");
    assert_eq!(again.attribute("#name", "value"), "Bad Name");
    assert!(again.text("#problem").contains("lowercase"));
    let put = Request::builder().method(Method::PUT).uri("/settings").body(Body::empty()).expect("a request");
    assert_eq!(site.send(put).await.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_taken_up_again_tells_nothing_twice_and_loses_nothing() {
    let site = Site::start().await;
    let name = site.app("static-site").await;
    let app = site.services.app(&name).await.expect("an app");
    let before = site.services.last_event_id(app.id).await.expect("an id");
    site.services.start_turn(&name, "Say **when** it is high tide", TurnMode::Build).await.expect("started");
    site.turn_ended(&name).await;
    let whole = told(&site, &name, before.0, None).await;
    assert!(whole.iter().any(|message| message.name == "text") && whole.iter().any(|message| message.name == "file"));
    let ended = whole.iter().rfind(|message| message.name == "turn").expect("the turn's end");
    assert!(ended.data.contains(r#""ended":true"#) && ended.data.contains("summary"));
    let ids: Vec<i64> = whole.iter().filter_map(|message| message.id).collect();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "each event once, in order");
    // What was typed, whatever pieces it came in: those of a turn that has ended are kept as one.
    let typed = |messages: &[Message]| {
        let deltas = messages.iter().filter(|message| matches!(message.name.as_str(), "text" | "file"));
        deltas
            .filter_map(|message| {
                let data: serde_json::Value = serde_json::from_str(&message.data).expect("JSON");
                data["delta"].as_str().map(str::to_owned)
            })
            .collect::<String>()
    };
    for at in [0, ids.len() / 2, ids.len() - 2] {
        let rest = told(&site, &name, before.0, Some(ids[at])).await;
        assert!(rest.iter().filter_map(|message| message.id).all(|id| id > ids[at]));
        assert!(typed(&whole).ends_with(&typed(&rest)), "from {at}");
        assert_eq!(rest.iter().rfind(|message| message.name == "turn").expect("an end").id, ended.id);
        if at == 0 {
            assert_eq!(typed(&rest), typed(&whole));
        }
    }
    for bad in ["abc", "-4", "1.5"] {
        let request = Request::get(format!("/apps/{name}/stream")).header("last-event-id", bad);
        let answer = site.send(request.body(Body::empty()).expect("a request")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{bad}");
    }
}

struct Message {
    id: Option<i64>,
    name: String,
    data: String,
}

/// What the stream tells until the turn's end.
async fn told(site: &Site, name: &AppName, after: i64, last: Option<i64>) -> Vec<Message> {
    let mut request = Request::get(format!("/apps/{name}/stream?after={after}"));
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    let request = request.body(Body::empty()).expect("a request");
    let response = site.router.clone().oneshot(request).await.expect("never fails");
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
    let mut body = response.into_body().into_data_stream();
    let mut text = String::new();
    let mut messages = Vec::new();
    let read = async {
        while let Some(chunk) = body.next().await {
            text.push_str(std::str::from_utf8(&chunk.expect("a chunk")).expect("text"));
            while let Some((one, rest)) = text.split_once("\n\n") {
                let mut message = Message { id: None, name: String::new(), data: String::new() };
                for line in one.lines() {
                    match line.split_once(": ") {
                        Some(("id", id)) => message.id = id.parse().ok(),
                        Some(("event", name)) => message.name = name.into(),
                        Some(("data", data)) => message.data.push_str(data),
                        _ => {}
                    }
                }
                text = rest.to_owned();
                messages.push(message);
                let last_job = messages.iter().rfind(|message| message.name == "turn");
                let settled = messages.iter().filter(|message| message.name == "turn").count();
                if last_job.is_some_and(|message| message.data.contains(r#""ended":true"#))
                    && (settled > 1 || last.is_some())
                {
                    let newest = site
                        .services
                        .last_event_id(site.services.app(name).await.expect("an app").id)
                        .await
                        .expect("an id");
                    if messages.iter().any(|message| message.id == Some(newest.0)) {
                        return;
                    }
                }
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), read).await.expect("the stream goes on");
    messages
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_cannot_begin_says_what_to_do() {
    let site = Site::start().await;
    let name = site.app("simple-api").await;
    let sent = site.htmx_post(&format!("/apps/{name}/previews"), &[]).await;
    assert_eq!(sent.status, StatusCode::NO_CONTENT);
    site.turn_ended(&name).await;
    let page = site.get(&format!("/apps/{name}")).await.page();
    assert!(page.text("#strip .failure").contains("Docker"), "{}", page.text("#strip .failure"));
    assert!(page.texts("#strip .button").contains(&"Try again".to_owned()));
    let health = site.get("/health").await.page();
    assert_eq!(health.text("h1"), "Something needs attention");
    assert_eq!(health.count(".checks .not"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn look_and_tokens_are_kept() {
    let site = Site::start().await;
    let theme = site.post("/theme", &[("theme", "dark"), ("to", "//evil.test")]).await;
    assert_eq!(theme.location(), "/");
    let cookie = theme.headers[header::SET_COOKIE].to_str().expect("ASCII").to_owned();
    let request = Request::get("/settings").header(header::COOKIE, cookie.split(';').next().expect("a pair"));
    let page = site.send(request.body(Body::empty()).expect("a request")).await.page();
    assert_eq!(page.attribute("html", "data-theme"), "dark");
    assert_eq!(page.text("[aria-pressed=true]"), "Dark");

    let name = site.app("static-site").await;
    let form = [("name", "CI <x>"), ("scope", "write"), ("app", name.as_str()), ("end", "7")];
    let made = site.post("/settings/tokens", &form).await;
    assert_eq!(made.headers[header::CACHE_CONTROL], "no-store");
    let token = made.page().text(".copyable code");
    let check = async || site.services.check_token(&token).await.expect("asked");
    let TokenCheck::Good(good) = check().await else { panic!("the token is good") };
    assert_eq!((good.scope, good.app.as_ref()), (Scope::Write, Some(&name)));
    let list = site.get("/settings").await;
    assert!(!list.body.contains(&token) && list.page().text("#token-list td").contains("CI <x>"));
    assert!(
        list.page().texts("#token-list td").iter().any(|text| text == "in 6 days" || text == "in 7 days"),
        "{:?}",
        list.page().texts("td")
    );
    let revoke = list.page().attribute("#token-list form", "action");
    assert_eq!(site.post(&revoke, &[]).await.status, StatusCode::SEE_OTHER);
    assert_eq!(check().await, TokenCheck::Unknown);
    for bad in [("scope", "all"), ("end", "0"), ("end", "soon"), ("app", "no-such-app")] {
        let refused = site.post("/settings/tokens", &[("name", "x"), bad]).await;
        assert!(refused.status.is_client_error(), "{bad:?}");
    }
    assert!(site.get("/settings").await.page().text("#sessions + p").contains("No password is set"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_browsers_report_is_shown_and_handed_to_the_model() {
    use crate::browser_errors::{BrowserError, ErrorKind, Place};
    let site = Site::start().await;
    let name = site.app("static-site").await;
    let tab = format!("/apps/{name}?view=draft");
    assert_eq!(site.get(&tab).await.page().count("#browser-errors details"), 0);
    let nothing = site.post(&format!("/apps/{name}/browser-errors"), &[("place", "draft")]).await;
    assert_eq!(nothing.status, StatusCode::CONFLICT);

    let error = BrowserError {
        kind: ErrorKind::Error,
        message: "<b>hours</b> is not defined".into(),
        page: "/".into(),
        source: "/script.js".into(),
        line: 3,
        count: 0,
    };
    let reported = site.services.report_browser_errors(&name, Place::Draft, vec![error]).await;
    assert!(reported.expect("taken in"));
    let page = site.get(&tab).await.page();
    assert_eq!(page.text("#browser-errors summary"), "1 browser error");
    assert_eq!(page.text("#browser-errors li"), "/script.js:3: <b>hours</b> is not defined (on /)");

    let fixed = site.post(&format!("/apps/{name}/browser-errors"), &[("place", "draft")]).await;
    assert_eq!(fixed.status, StatusCode::SEE_OTHER);
    site.turn_ended(&name).await;
    let page = site.get(&tab).await.page();
    assert!(page.text(".said").contains("reported this error") && !page.text(".said").contains("<material-"));
    assert_eq!(page.count("#browser-errors details"), 0, "taken care of");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_preview_follows_turns_as_its_user_wants() {
    let site = Site::start().await;
    let name = site.app("static-site").await;
    let settings = format!("/apps/{name}/settings");
    let ticked = async || site.get(&settings).await.page().count("#auto-preview-form input[checked]");
    assert_eq!(ticked().await, 0);
    let saved = site.post(&format!("/apps/{name}/auto-preview"), &[("auto_preview", "on")]).await;
    assert_eq!(saved.location(), settings);
    assert_eq!(ticked().await, 1);
    site.post(&format!("/apps/{name}/auto-preview"), &[]).await;
    assert_eq!(ticked().await, 0);
}

/// Takes every place for work on text until the sender is dropped.
fn busy(services: &Services) -> std::sync::mpsc::Sender<()> {
    let (hold, end) = std::sync::mpsc::channel::<()>();
    let end = std::sync::Arc::new(std::sync::Mutex::new(end));
    for owner in 0..64 {
        let (pool, end) = (services.cpu_work().clone(), end.clone());
        let owner = Owner::App(format!("other-{owner}").parse().expect("a name"));
        tokio::spawn(async move {
            let wait = move |_: &Budget| end.lock().expect("nobody panics").recv().is_ok();
            drop(pool.run("held by a test", owner, std::time::Duration::from_mins(1), wait).await);
        });
    }
    hold
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_that_takes_long_keeps_nobody_else_waiting() {
    let site = Site::start().await;
    let name = site.app("static-site").await;
    site.services.start_turn(&name, "A page", TurnMode::Discuss).await.expect("a turn");
    site.turn_ended(&name).await;
    let hold = busy(&site.services);
    let full = async {
        while site.services.cpu_work().numbers().waiting == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), full).await.expect("all places are taken");
    // What has text to render waits; everything else answers.
    let hostile = format!("{}a", "- ".repeat(12_000));
    let markdown = site.send(Request::post("/markdown").body(Body::from(hostile)).expect("a request"));
    let page = format!("/apps/{name}");
    let talk = site.get(&page);
    let (mut markdown, mut talk) = (Box::pin(markdown), Box::pin(talk));
    for path in ["/shortcuts", "/settings", &format!("/apps/{name}/versions"), "/"] {
        // A tab alone, without the conversation beside it.
        tokio::select! {
            biased;
            _ = &mut markdown => panic!("it was rendered without a place"),
            _ = &mut talk => panic!("it was rendered without a place"),
            answer = site.piece(path) => assert_eq!(answer.status, StatusCode::OK, "{path}"),
        }
    }
    drop(hold);
    let (markdown, talk) = tokio::join!(markdown, talk);
    assert_eq!((markdown.status, talk.status), (StatusCode::OK, StatusCode::OK));
    assert_eq!(markdown.body.matches("<ul>").count(), 20);
    let turn = talk.page().attribute("li.turn", "data-turn");
    let text = site.get(&format!("/apps/{name}/turns/{turn}/text")).await;
    assert!(text.headers[header::CONTENT_TYPE].to_str().expect("ASCII").starts_with("text/plain"));
    assert!(text.body.trim().len() > 20, "{}", text.body);
}

#[tokio::test]
async fn a_long_text_says_that_there_is_more() {
    let site = Site::start().await;
    let long = "A line of words.\n\n".repeat(20_000);
    let answer = site.send(Request::post("/markdown").body(Body::from(long)).expect("a request")).await;
    assert!(answer.page().text(".note").starts_with("This text is longer: "), "{}", answer.page().text(".note"));
}
