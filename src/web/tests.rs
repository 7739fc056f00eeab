//! Tests of the pages as a browser without scripts and as htmx, on real services without an engine.

mod code_tab;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode, header};
use futures_util::StreamExt;
use tempfile::TempDir;
use tower::ServiceExt;

use super::app::feed::{BACKLOG, Feeds};
use super::live_page::LivePage;
use super::router;
use super::samples::{Selected, select};
use crate::bounded_work::{Budget, Owner};
use crate::config::Config;
use crate::domain::{AppName, EventId, Principal, Scope, TurnMode};
use crate::services::Services;
use crate::services::apps::CreateApp;
use crate::services::tokens::TokenCheck;
use crate::startup::{self, Builder};

mod workbench;

struct Site {
    router: Router,
    services: Services,
    builder: Builder,
    folder: TempDir,
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
        Self::start_at_pace("0").await
    }

    async fn start_at_pace(pace: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().expect("a folder");
        let nowhere = format!("unix://{}/no-engine.sock", folder.path().display());
        let variables = [
            ("SLIPWAY_DATA_DIR", folder.path().join("data").display().to_string()),
            ("SLIPWAY_DEMO_PACE", pace.to_owned()),
            ("DOCKER_HOST", nowhere),
        ];
        let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value));
        let config = Config::load(None, variables, &[]).expect("a configuration");
        let builder = startup::start(config).await.expect("starts");
        let services = builder.services.clone();
        Self { router: router(services.clone()).layer(axum::Extension(Principal::Anyone)), services, builder, folder }
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

    async fn last_event(&self, name: &AppName) -> i64 {
        let app = self.services.app(name).await.expect("an app");
        self.services.last_event_id(app.id).await.expect("an id").0
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
    /// Waits until the turn and the jobs that follow it have ended.
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
async fn an_app_is_created_and_changed_without_scripts() {
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
    assert_eq!(shown.text(".user-message"), "A page about <tides>");
    assert!(shown.text(".version-card header").starts_with("v2"), "{}", shown.text(".version-card"));
    assert_eq!(shown.attribute("iframe", "src"), "http://blue-tide-draft.localhost:8080/");
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
            "/logs?source=preview&q=tide&level=warn&at=7",
            "/requests",
            "/requests?q=tide&status=5&environment=prod",
            "/metrics",
            "/metrics?environment=preview",
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
async fn invalid_input_is_answered_in_the_callers_format() {
    let site = Site::start().await;
    let name = site.app("static-site").await;
    for (path, status) in [
        ("/nowhere", 404),
        ("/apps/nobody-here", 404),
        ("/apps/Bad_Name", 404),
        ("/apps/x", 404),
        (&format!("/apps/{name}/code/Dockerfile?edit=1"), 403),
        (&format!("/apps/{name}/versions/HEAD"), 404),
        (&format!("/apps/{name}/versions/{}", "0".repeat(40)), 404),
        (&format!("/apps/{name}/versions?cursor=zzz"), 422),
        (&format!("/apps/{name}/logs?source=everything"), 400),
        (&format!("/apps/{name}/logs?level=loud"), 400),
        (&format!("/apps/{name}/logs?at=yesterday"), 400),
        (&format!("/apps/{name}/requests?status=9"), 400),
        (&format!("/apps/{name}/metrics?environment=moon"), 400),
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
    // The page contains the typed text.
    let again = site.post("/apps", &[("description", "Tell the time"), ("name", "Bad Name")]).await.page();
    assert_eq!(again.text("#description"), "Tell the time");
    assert_eq!(again.attribute("#name", "value"), "Bad Name");
    assert!(again.text("#problem").contains("lowercase"));
    let put = Request::builder().method(Method::PUT).uri("/settings").body(Body::empty()).expect("a request");
    assert_eq!(site.send(put).await.status, StatusCode::METHOD_NOT_ALLOWED);
}

/// Several pages follow a turn: two from the beginning, and one whose connection breaks repeatedly.
#[tokio::test(flavor = "multi_thread")]
async fn pages_that_follow_a_turn_equal_a_page_that_is_loaded_later() {
    let site = Site::start_at_pace("0.2").await;
    let name = site.app("static-site").await;
    let address = format!("/apps/{name}");
    let before = site.last_event(&name).await;
    let opened = LivePage::new(&site.get(&address).await.body);
    let pages = || async {
        let mut page = Following::open(&site, &name, opened.clone(), before).await;
        page.read_to_end_of_turn().await;
        page
    };
    let broken = async {
        let mut page = Following::open(&site, &name, opened.clone(), before).await;
        // The connection breaks after each event.
        while !page.next().await {
            if page.messages.last().is_some_and(|message| message.id.is_some()) {
                page = Following::open(&site, &name, page.page, page.last).await.after(page.states);
            }
        }
        page
    };
    let (turn, one, two, broken) = tokio::join!(
        site.services.start_turn(&name, "Say **when** it is high tide", TurnMode::Build),
        pages(),
        pages(),
        broken
    );
    let id = format!("turn-{}", turn.expect("started").0.id);

    // Once both have joined, both pages get the same bytes.
    let is_work = |message: &&Message| message.name == "operations";
    let joined = |page: &Following| page.messages.iter().find(is_work).and_then(|message| message.id).expect("a turn");
    let from = joined(&one).max(joined(&two));
    let operations_of = |page: &Following| -> Vec<String> {
        let shared = page.messages.iter().filter(|message| message.id.is_some_and(|id| id >= from));
        shared.map(|message| message.text.clone()).collect()
    };
    assert_eq!(operations_of(&one), operations_of(&two));
    assert!(operations_of(&one).len() > 10, "a turn is sent in many messages");

    // Each page went through the same states, and a page that is loaded now shows the last.
    let mut compared = 0;
    for (at, mut state) in broken.states {
        let Some((_, same)) = one.states.iter().find(|(id, _)| *id == at) else { continue };
        assert_eq!(state.part(&id), same.clone().part(&id), "after {at}");
        compared += 1;
    }
    assert!(compared > 5, "{compared} states");
    let mut loaded = LivePage::new(&site.get(&address).await.body);
    let last = |page: &Following| page.states.last().expect("a state").1.clone().part(&id);
    assert_eq!(last(&one), loaded.part(&id));
    assert_eq!(last(&two), loaded.part(&id));

    // A page that reconnects after the end, from any position, gets only the end.
    let [.., (end, _)] = &one.states[..] else { panic!("no states") };
    for (at, state) in one.states.iter().filter(|(at, _)| at < end) {
        let mut late = Following::open(&site, &name, state.clone(), *at).await;
        late.read_to(*end).await;
        assert!(late.messages.iter().filter_map(|message| message.id).all(|id| id > *at));
        assert_eq!(last(&late), loaded.part(&id), "from {at}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_stream_sends_each_event_once() {
    let site = Site::start().await;
    let name = site.app("static-site").await;
    let before = site.last_event(&name).await;
    site.services.start_turn(&name, "Say **when** it is high tide", TurnMode::Build).await.expect("started");
    site.turn_ended(&name).await;
    let empty = LivePage::new(r#"<ol id="turns"></ol>"#);
    let mut whole = Following::open(&site, &name, empty.clone(), before).await;
    let newest = site.last_event(&name).await;
    whole.read_to(newest).await;
    let ids: Vec<i64> = whole.messages.iter().filter_map(|message| message.id).collect();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "each event once, in order");
    for at in [0, ids.len() / 2, ids.len() - 2] {
        let mut rest = Following::open(&site, &name, empty.clone(), ids[at]).await;
        rest.read_to(newest).await;
        let received: Vec<i64> = rest.messages.iter().filter_map(|message| message.id).collect();
        assert_eq!(received, ids[at + 1..], "from {at}");
    }
    for bad in ["abc", "-4", "1.5"] {
        let request = Request::get(format!("/apps/{name}/stream")).header("last-event-id", bad);
        let answer = site.send(request.body(Body::empty()).expect("a request")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_ends_with_its_last_reader() {
    let site = Site::start().await;
    let name = site.app("static-site").await;
    let app = site.services.app(&name).await.expect("an app");
    let feeds = Feeds::new(site.services.clone());
    let now = site.services.last_event_id(app.id).await.expect("an id");
    let [first, second] =
        [feeds.join(&app, now).await, feeds.join(&app, now).await].map(|joined| joined.expect("joined"));
    assert_eq!((first.position, second.position, feeds.open()), (now, now, 1));
    // Both readers get the same message.
    let (mut first, mut second) = (first.messages, second.messages);
    site.services.start_turn(&name, "A page", TurnMode::Discuss).await.expect("a turn");
    let messages = [first.recv().await.expect("a message").bytes, second.recv().await.expect("a message").bytes];
    assert_eq!(messages[0].as_ptr(), messages[1].as_ptr(), "the same bytes");
    site.turn_ended(&name).await;
    drop(first);
    assert_eq!(feeds.open(), 1);
    drop(second);
    let ended = async {
        while feeds.open() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), ended).await.expect("the feed ends");
    // A later reader starts a new feed at the end of the event log.
    let again = feeds.join(&app, now).await.expect("joined");
    assert_eq!((again.position.0, feeds.open()), (site.last_event(&name).await, 1));
}

/// A page that does not read for a while loses no events.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_falls_behind_catches_up() {
    let site = Site::start_at_pace("0.3").await;
    let name = site.app("static-site").await;
    let address = format!("/apps/{name}");
    let page = LivePage::new(&site.get(&address).await.body);
    let before = site.last_event(&name).await;
    let mut quick = Following::open(&site, &name, page.clone(), before).await;
    let mut slow = Following::open(&site, &name, page, before).await;
    site.services.start_turn(&name, "A bakery", TurnMode::Build).await.expect("a turn");
    slow.next().await;
    quick.read_to_end_of_turn().await;
    // All messages of the second turn have left the feed's backlog before the slow reader continues.
    let mut second_ended = None;
    while second_ended.is_none_or(|messages| quick.messages.len() < messages + 2 * BACKLOG) {
        site.turn_ended(&name).await;
        quick.states.clear();
        site.services.start_turn(&name, "Another page", TurnMode::Build).await.expect("a turn");
        quick.read_to_end_of_turn().await;
        second_ended.get_or_insert(quick.messages.len());
    }
    site.turn_ended(&name).await;
    slow.read_to(site.last_event(&name).await).await;
    let mut loaded = LivePage::new(&site.get(&address).await.body);
    assert_eq!(slow.page.part("turns"), loaded.part("turns"));
    // For turns that have ended meanwhile it gets only the end.
    let operations_in = |page: &Following| page.messages.iter().filter(|message| message.name == "operations").count();
    assert!(operations_in(&slow) < operations_in(&quick), "{} and {}", operations_in(&slow), operations_in(&quick));
}

struct Message {
    id: Option<i64>,
    name: String,
    data: String,
    /// The raw bytes.
    text: String,
}

/// A page that is open and follows its stream.
struct Following {
    page: LivePage,
    /// The last event that it received.
    last: i64,
    messages: Vec<Message>,
    /// The state of the page after each event that it received.
    states: Vec<(i64, LivePage)>,
    body: axum::body::BodyDataStream,
    read: String,
}

impl Following {
    async fn open(site: &Site, name: &AppName, page: LivePage, last: i64) -> Self {
        let request = Request::get(format!("/apps/{name}/stream")).header("last-event-id", last);
        let request = request.body(Body::empty()).expect("a request");
        let response = site.router.clone().oneshot(request).await.expect("never fails");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
        let body = response.into_body().into_data_stream();
        Self { page, last, messages: Vec::new(), states: Vec::new(), body, read: String::new() }
    }

    /// With the states of the page before its connection broke.
    fn after(mut self, states: Vec<(i64, LivePage)>) -> Self {
        self.states = states;
        self
    }

    /// Applies the next message. `true`: it shows a turn that has ended.
    async fn next(&mut self) -> bool {
        let message = tokio::time::timeout(std::time::Duration::from_secs(30), self.message());
        let message = message.await.expect("the stream continues");
        let data = || serde_json::from_str::<serde_json::Value>(&message.data).expect("JSON");
        let mut has_ended = false;
        match message.name.as_str() {
            "operations" => self.page.operate(&data()),
            "turn" => {
                self.page.put_turn(&data());
                has_ended = data()["ended"] == true;
            }
            _ => {}
        }
        if let Some(id) = message.id {
            self.last = id;
            self.states.push((id, self.page.clone()));
        }
        self.messages.push(message);
        has_ended
    }

    async fn message(&mut self) -> Message {
        loop {
            if let Some((one, rest)) = self.read.split_once("\n\n") {
                let mut message = Message { id: None, name: String::new(), data: String::new(), text: one.to_owned() };
                for line in one.lines() {
                    match line.split_once(": ") {
                        Some(("id", id)) => message.id = id.parse().ok(),
                        Some(("event", name)) => message.name = name.into(),
                        Some(("data", data)) => message.data.push_str(data),
                        _ => {}
                    }
                }
                self.read = rest.to_owned();
                return message;
            }
            let chunk = self.body.next().await.expect("the stream continues").expect("a chunk");
            self.read.push_str(std::str::from_utf8(&chunk).expect("text"));
        }
    }

    async fn read_to_end_of_turn(&mut self) {
        while !self.next().await {}
    }

    async fn read_to(&mut self, event: i64) {
        while self.last < event {
            self.next().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_cannot_start_says_what_to_do() {
    let site = Site::start().await;
    let name = site.app("simple-api").await;
    let sent = site.htmx_post(&format!("/apps/{name}/previews"), &[]).await;
    assert_eq!(sent.status, StatusCode::NO_CONTENT);
    site.turn_ended(&name).await;
    let page = site.get(&format!("/apps/{name}")).await.page();
    assert!(page.text("#trouble h2").starts_with("Not deployed. The Docker engine"), "{}", page.text("#trouble"));
    assert_eq!(page.texts("#trouble .button.primary"), ["Try again"]);
    assert_eq!(page.count("#next .primary, #stage .primary, #strip .primary"), 0, "one primary button for the failure");
    assert_eq!(page.text("#next > form button"), "Deploy preview");
    // A newer version supersedes it.
    site.services.write_file(&name, &"new.py".parse().expect("a path"), b"1\n".to_vec(), None).await.expect("saved");
    let page = site.get(&format!("/apps/{name}")).await.page();
    assert_eq!((page.count("#trouble .failure"), page.count("#next > form .primary")), (0, 1));
    let health = site.get("/health").await.page();
    assert_eq!(health.text("h1"), "Something needs attention");
    assert_eq!(health.count(".checks .not"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn theme_and_tokens_are_stored() {
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
    assert_eq!(made.status, StatusCode::SEE_OTHER, "a reload of the next page creates no second token");
    let to = made.location().split('#').next().expect("an address").to_owned();
    let shown = site.get(&to).await;
    assert_eq!(shown.headers[header::CACHE_CONTROL], "no-store");
    let token = shown.page().text(".copyable code");
    assert!(!site.get(&to).await.body.contains(&token), "it is shown once");
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
async fn browser_errors_are_shown_and_sent_to_the_model() {
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
    assert!(
        page.text(".user-message").contains("reported this error")
            && !page.text(".user-message").contains("<material-")
    );
    assert_eq!(page.count("#browser-errors details"), 0, "the fix removes the errors");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_setting_of_automatic_previews_is_stored() {
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

/// Occupies all slots for work on text until the sender is dropped.
fn busy(services: &Services) -> std::sync::mpsc::Sender<()> {
    let (hold, end) = std::sync::mpsc::channel::<()>();
    let end = std::sync::Arc::new(std::sync::Mutex::new(end));
    for owner in 0..64 {
        let (pool, end) = (services.cpu_work().clone(), end.clone());
        let owner = Owner::App(format!("other-{owner}").parse().expect("a name"));
        tokio::spawn(async move {
            let wait = move |_: &Budget| end.lock().expect("the lock is not poisoned").recv().is_ok();
            drop(pool.run("blocked by a test", owner, std::time::Duration::from_mins(1), wait).await);
        });
    }
    hold
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_text_does_not_delay_other_pages() {
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
    tokio::time::timeout(std::time::Duration::from_secs(20), full).await.expect("all slots are in use");
    // Requests that render text wait; all others are answered.
    let page = format!("/apps/{name}");
    let mut talk = Box::pin(site.get(&page));
    for path in ["/shortcuts", "/settings", &format!("/apps/{name}/versions"), "/"] {
        // A tab without the conversation.
        tokio::select! {
            biased;
            _ = &mut talk => panic!("it was rendered without a slot"),
            answer = site.piece(path) => assert_eq!(answer.status, StatusCode::OK, "{path}"),
        }
    }
    drop(hold);
    let talk = talk.await;
    assert_eq!(talk.status, StatusCode::OK);
    let turn = talk.page().attribute("li.turn", "data-turn");
    let text = site.get(&format!("/apps/{name}/turns/{turn}/text")).await;
    assert!(text.headers[header::CONTENT_TYPE].to_str().expect("ASCII").starts_with("text/plain"));
    assert!(text.body.trim().len() > 20, "{}", text.body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_streams_while_no_text_can_be_rendered() {
    let site = Site::start_at_pace("0.2").await;
    let name = site.app("static-site").await;
    let page = LivePage::new(&site.get(&format!("/apps/{name}")).await.body);
    let mut page = Following::open(&site, &name, page, site.last_event(&name).await).await;
    let hold = busy(&site.services);
    let full = async {
        while site.services.cpu_work().numbers().waiting == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), full).await.expect("all slots are in use");
    let refused = site.services.cpu_work().numbers().refused;
    site.services.start_turn(&name, "A page", TurnMode::Build).await.expect("a turn");
    // The first text stays unrendered until the end, although a file follows it.
    while !page.messages.iter().any(|message| message.data.contains("data-path")) {
        assert!(!page.next().await, "it is still running");
    }
    let words = page.messages.iter().filter(|message| message.name == "operations").map(|message| &message.data);
    assert!(words.into_iter().any(|data| data.contains("data-block=\\\"answer\\\"")));
    assert_eq!(site.services.cpu_work().numbers().refused, refused, "no request waited until it was rejected");
    drop(hold);
    page.read_to_end_of_turn().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_added_in_the_page_and_used_without_a_restart() {
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    use crate::generation::fake_claude::{Answer as Said, FakeClaude, KEY, Reply};
    let site = Site::start().await;
    let name = site.app("static-site").await;
    let file = site.folder.path().join("data").join(crate::model_key::FILE);
    let ready = || Said::new().text("ready").stop("end_turn").reply();
    let first = FakeClaude::start([Reply::error(401, "authentication_error", KEY), ready()]).await;
    let add = async |fake: &FakeClaude, key: &str| {
        let address = fake.base_url();
        let form = [("provider", "anthropic"), ("key", key), ("address", address.as_str()), ("model", "")];
        site.post("/settings/model-key", &form).await
    };

    // A key that does not answer is not kept, and what the provider says of it does not repeat it.
    let refused = add(&first, KEY).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.page().text("#key-problem").contains("does not accept the API key"), "{}", refused.body);
    assert!(!refused.body.contains(KEY) && !file.exists() && site.services.model().0);
    assert!(refused.body.contains(&first.base_url()), "what was typed besides the key is kept");

    let added = add(&first, KEY).await;
    assert_eq!((added.status, added.location()), (StatusCode::SEE_OTHER, "/settings?key=added#model"));
    assert_eq!(file.metadata().expect("it is kept").permissions().mode() & 0o7777, 0o600);
    let test = first.requests().pop().expect("it was tested");
    assert_eq!((test.line.as_str(), test.header("x-api-key")), ("POST /v1/messages", Some(KEY)));
    assert_eq!(test.body["model"], "claude-opus-5-5");
    let page = site.get("/settings?key=added").await;
    assert!(page.body.contains("Build it again with claude-opus-5-5") && page.body.contains("Tides of the week"));
    assert!(!page.body.contains(KEY));
    assert!(site.get("/health").await.body.contains("claude-opus-5-5 answered a test."));

    // A turn that runs ends with the model that it began with; the next one asks the new one.
    let slow = Said::new().text("From the first one, word by word, slowly to its end.").stop("end_turn").reply();
    first.push(slow.slowly(Duration::from_millis(60)));
    let prompt = format!("Which key is {KEY}?");
    site.services.start_turn(&name, &prompt, TurnMode::Discuss).await.expect("queued");
    let begun = async {
        while first.requests().len() < 3 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), begun).await.expect("the turn asks the first one");
    let second = FakeClaude::start([ready()]).await;
    assert_eq!(add(&second, "sk-second-9b1c").await.status, StatusCode::SEE_OTHER);
    site.turn_ended(&name).await;
    assert!(site.get(&format!("/apps/{name}")).await.body.contains("slowly to its end."));
    let asked = first.requests().pop().expect("a turn").raw.to_string();
    assert!(!asked.contains(KEY) && asked.contains("[secret model key]"), "{asked}");
    second.push(Said::new().text("From the second one.").stop("end_turn").reply());
    site.services.start_turn(&name, "And now?", TurnMode::Discuss).await.expect("queued");
    site.turn_ended(&name).await;
    assert!(site.get(&format!("/apps/{name}")).await.body.contains("From the second one."));
    assert_eq!(second.requests().pop().expect("a turn").header("x-api-key"), Some("sk-second-9b1c"));
    assert!(site.get("/health").await.body.contains("answered a turn."));

    // A test that fails is said on the health page, with its time.
    second.push(Reply::error(401, "authentication_error", "no"));
    tokio::time::sleep(Duration::from_millis(5100)).await;
    assert_eq!(site.post("/health/model-test", &[]).await.location(), "/health");
    assert!(site.get("/health").await.body.contains("did not answer a test."));

    assert_eq!(site.post("/settings/model-key/remove", &[]).await.location(), "/settings#model");
    assert!(!file.exists() && site.services.model().0, "the demo model answers again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_deleted_without_scripts_only_after_a_question() {
    let site = Site::start().await;
    let name = site.app("static-site").await;
    let file = format!("/apps/{name}/code/public/index.html");
    let asked = site.post(&format!("/apps/{name}/delete-file/public/index.html"), &[]).await;
    assert_eq!(asked.page().text("h1"), "Delete public/index.html?");
    assert_eq!(site.get(&file).await.status, StatusCode::OK, "it is still there");
    let action = asked.page().attribute("main form", "action");
    assert_eq!(site.post(&action, &[("confirmed", "yes")]).await.status, StatusCode::SEE_OTHER);
    assert_eq!(site.get(&file).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_path_for_a_new_file_is_said_beside_the_field() {
    let site = Site::start().await;
    let name = site.app("static-site").await;
    let page = site.get(&format!("/apps/{name}/code?new=../secret")).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    let shown = page.page();
    assert_eq!(shown.attribute("#new-path", "value"), "../secret");
    assert!(shown.count("#new-problem") == 1 && shown.count(".tree a") > 2, "{}", page.body);
}

/// Messages of the list's stream, until one holds.
async fn read_list(messages: &mut axum::body::BodyDataStream, holds: impl Fn(&str) -> bool) -> String {
    let read = async {
        loop {
            let bytes = messages.next().await.expect("it goes on").expect("no error");
            let text = String::from_utf8(bytes.to_vec()).expect("text");
            if holds(&text) {
                return text;
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_mins(1), read).await.expect("it comes")
}

#[tokio::test]
async fn the_cards_of_the_first_page_are_live() {
    // Slow enough that the card is rendered while the turn runs.
    let site = Site::start_at_pace("0.5").await;
    let name = site.app("static-site").await;
    let id = site.services.app(&name).await.expect("an app").id;
    let page = site.get("/").await.page();
    let after = page.attribute("#apps", "data-after");
    assert_eq!(page.count(&format!("#app-{id}")), 1);
    let open = async |after: &str| {
        let request = Request::get(format!("/stream?after={after}")).body(Body::empty()).expect("a request");
        site.router.clone().oneshot(request).await.expect("never fails").into_body().into_data_stream()
    };
    let mut messages = open(&after).await;
    // The heading of the page is read in the background.
    read_list(&mut messages, |text| text.contains("class=\\\"cut\\\">It works")).await;
    site.services.start_turn(&name, "Tides of the week", TurnMode::Build).await.expect("started");
    read_list(&mut messages, |text| text.contains("Writing…")).await;
    site.turn_ended(&name).await;
    let last = read_list(&mut messages, |text| text.contains("event: card") && !text.contains("Writing…")).await;
    let position = last.lines().next().and_then(|line| line.strip_prefix("id: ")).expect("a position").to_owned();

    // A page that was away gets what it missed; one that was away too long reads the list again.
    drop(messages);
    let other = site.app("simple-api").await;
    read_list(&mut open(&position).await, |text| text.contains(other.as_str())).await;
    read_list(&mut open("1.5").await, |text| text.contains("event: stale")).await;
}

#[tokio::test]
async fn an_app_is_renamed_and_duplicated_without_scripts() {
    let site = Site::start().await;
    let name = site.app("static-site").await;
    let at = |action: &str| format!("/apps/{name}/{action}");
    let page = site.get("/").await.page();
    assert_eq!(page.attribute(".app-card .sheet a:first-of-type", "href"), at("rename"));
    assert_eq!(page.attribute(".app-card .sheet a:last-of-type", "href"), at("duplicate"));

    assert_eq!(site.get(&at("rename")).await.page().attribute("#title", "value"), name.as_str());
    let refused = site.post(&at("rename"), &[("title", &"x".repeat(61))]).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.page().text("#title-problem").contains("at most 60"));
    assert_eq!(site.post(&at("rename"), &[("title", "Tides & more")]).await.location(), "/");
    assert_eq!(site.get("/").await.page().text(".app-card h3"), "Tides & more");
    let settings = site.get(&at("settings")).await.page();
    assert_eq!(
        (settings.text("h1"), settings.attribute("#title", "value")),
        ("Tides & more".into(), "Tides & more".into())
    );
    let form = [("settings", "true"), ("title", name.as_str())];
    assert_eq!(site.post(&at("rename"), &form).await.location(), at("settings"));
    assert_eq!(site.services.app(&name).await.expect("an app").title, None, "its name is no title");

    let suggested = site.get(&at("duplicate")).await.page().attribute("#name", "value");
    assert_eq!(suggested, format!("{name}-2"));
    let taken = site.post(&at("duplicate"), &[("name", name.as_str())]).await;
    assert_eq!(taken.status, StatusCode::CONFLICT);
    let taken = taken.page();
    assert!(taken.text("#name-problem").contains("Choose another name."));
    assert_eq!(taken.attribute("#name", "value"), name.as_str());
    assert_eq!(site.post(&at("duplicate"), &[("name", "low-tides")]).await.location(), "/apps/low-tides");
    assert_eq!(site.services.count_apps().await.expect("a number"), 2);
}
