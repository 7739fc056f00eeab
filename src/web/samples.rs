//! Sample data for the templates, and a page that tests can query.

use jiff::Timestamp;
use scraper::{Html, Selector};

use super::app::answer_views::AnswerView;
use super::app::bar::{Chips, Next, NextView, chips_of};
use super::app::deployment::{DeployView, Strip};
use super::app::files_view::{CodeTab, FilePanel, FileView, Hold, TreeFile, source, tree};
use super::app::history_views::{
    AutoPreview, Cleaned, DiffRow, DiffView, Place, ReleaseView, ReleasesTab, SettingsTab, VersionPage, VersionView,
    VersionsTab,
};
use super::app::live_turn;
use super::app::log_views::{Address, Found, LOG_SOURCES, LogRow, LogRows, LogsTab, level_choices, log_tab_parts};
use super::app::metrics_view::{MetricsTab, Part, environment_choices};
use super::app::model::ModelForm;
use super::app::page::{AppPage, tabs};
use super::app::preview_views::{
    ApiPanel, EndpointList, EndpointView, ErrorsView, Frame, NextRun, Panel, PreviewTab, RunView, RunsPanel,
    ScheduleView, ViewLink,
};
use super::app::requests_view::{RequestFilter, RequestRow, RequestRows, RequestsTab};
use super::app::share::{LinkView, MadeLink, ShareTab};
use super::app::trouble;
use super::app::turn_view::{Block, Composer, Send, TurnArticle, Turns, answers};
use super::app::webhook_views::{CallList, CallView, WebhookPanel, reach};
use super::chrome;
use super::cost::CostView;
use super::format::When;
use super::home_view::{AppCard, Example, HomePage, Suggestion, TemplateChoice};
use super::made_with_view::MadePage;
use super::plain_pages::{CheckView, HealthPage, LoginPage, SHORTCUTS, ShortcutsPage};
use super::settings;
use crate::bounded_work::Budget;
use crate::browser_errors;
use crate::domain::{
    App, AppId, Author, Bytes, ChangeSize, DeploymentSpec, Environment, EnvironmentState, EnvironmentStatus, EventBody,
    FileChange, FileState, Job, JobId, JobState, ModelChoice, NOTICE, Probe, ProcessKind, Release, ReleaseNumber,
    ReleaseState, ResourceLimits, Run, RunId, RunState, RunTrigger, SmokeCount, Spending, TemplateKind, TextKind, Turn,
    TurnFold, TurnId, TurnMode, TurnOrigin, TurnState, Usage, Version, VersionId, VersionKind,
};
use crate::gateway::{Counted, SeenRequest};
use crate::generation::models::Price;
use crate::output::{
    self,
    needle::Needle,
    window::{Passing, Scan, Selection},
};
use crate::proof::Signature;
use crate::services::activity::Activity;
use crate::services::described::{Endpoint, Parameter, ParameterPlace, RequestBody};
use crate::services::measurements::Measured;
use crate::services::models::{ModelOffer, ModelOffers};
use crate::services::preview_access::LinkLife;
use crate::services::probing::TestAnswer;
use crate::services::spending::SpendingReport;
use crate::services::test_call::TestCall;
use crate::services::tiles::{Colour, Tile};
use crate::services::webhook_samples::Sample;
use crate::webhook_calls::{CallSource, NewCall, WebhookCall};
use std::collections::HashSet;

use askama::Template;

pub fn now() -> Timestamp {
    "2026-11-20T14:42:00Z".parse().expect("a time")
}

pub fn ago(seconds: i64) -> Timestamp {
    Timestamp::from_second(now().as_second() - seconds).expect("a time")
}

pub fn version_id(n: u32) -> VersionId {
    format!("{n:040x}").parse().expect("an id")
}

pub fn app_named(name: &str) -> App {
    App {
        id: AppId(7),
        name: name.parse().expect("a name"),
        title: None,
        template: "static-site".parse().expect("a name"),
        description:
            "A one-page site for a neighbourhood bakery: opening hours, today's breads, a map sketch, warm colours"
                .into(),
        created_at: ago(86_400 * 3),
        updated_at: ago(180),
        head: Some(version_id(12)),
        deleting: false,
        model: ModelChoice::default(),
        auto_preview: true,
        environments: [
            EnvironmentStatus {
                environment: Environment::Preview,
                state: EnvironmentState::Ready,
                release: Some(ReleaseNumber(5)),
                version: Some(version_id(11)),
                version_number: Some(11),
            },
            EnvironmentStatus {
                environment: Environment::Prod,
                state: EnvironmentState::Ready,
                release: Some(ReleaseNumber(2)),
                version: Some(version_id(9)),
                version_number: Some(9),
            },
        ],
    }
}

pub fn app() -> App {
    app_named("brisk-otter")
}

pub fn url(app: &App, environment: Environment) -> String {
    match environment {
        Environment::Preview => format!("http://{}-preview.localhost:8080", app.name),
        Environment::Prod => format!("http://{}.localhost:8080", app.name),
    }
}

pub fn turn(state: TurnState) -> Turn {
    Turn {
        id: TurnId(31),
        number: 4,
        prompt: "Make the opening hours a table, and say in big letters whether we are open right now.".into(),
        origin: TurnOrigin::Person,
        evidence: None,
        answer: None,
        attachments: Vec::new(),
        mode: TurnMode::Build,
        state,
        job: Some(JobId(40)),
        version: (state == TurnState::Done).then(|| version_id(12)),
        version_number: (state == TurnState::Done).then_some(12),
        size: if state == TurnState::Done {
            ChangeSize { files: 3, additions: 120, deletions: 14 }
        } else {
            ChangeSize::default()
        },
        failed_edits: 0,
        version_title: (state == TurnState::Done).then(|| "Opening hours as a table".to_owned()),
        changes: if state == TurnState::Done {
            [("public/index.html", 80, 10), ("public/script.js", 38, 0), ("public/style.css", 2, 4)]
                .map(|(path, additions, deletions)| FileChange { path: path.into(), additions, deletions })
                .into()
        } else {
            Vec::new()
        },
        model: Some("claude-opus-5-5".parse().expect("an id")),
        usage: Usage { cost_usd: Some(0.041), ..Usage::default() },
        note: None,
        reason: None,
        question: None,
        created_at: ago(240),
        started_at: Some(ago(238)),
        finished_at: (!matches!(state, TurnState::Running | TurnState::Queued)).then(|| ago(200)),
    }
}

const HTML: &str = "<!doctype html>\n<html lang=\"en\">\n<head>\n  <meta charset=\"utf-8\">\n  <title>Crumb &amp; Crust</title>\n  <link rel=\"stylesheet\" href=\"style.css\">\n</head>\n<body>\n  <header class=\"hero\">\n    <h1>Crumb &amp; Crust</h1>\n    <p id=\"open\">We are <strong>open</strong> until 18:00</p>\n  </header>\n";

pub fn blocks() -> Vec<Block<'static>> {
    vec![
        Block::Text(
            TextKind::Thought,
            "The hours stand in a list now. A table reads better, and a small script can compare the clock with it.",
        ),
        Block::Text(
            TextKind::Answer,
            "I’ll turn the **opening hours** into a table and add a line that compares them with the clock:\n\n- `public/index.html` gets the table\n- `public/script.js` says whether you are open\n\n",
        ),
        Block::Tool { summary: "Read public/index.html", ok: true },
        Block::File { path: "public/index.html", state: FileState::Written, lines: Some(58), content: Some(HTML) },
        Block::Retry("The model is overloaded at the moment. Asking again in 4 s (attempt 3)."),
        Block::Tool { summary: "Could not edit public/script.js: the text to replace was not found", ok: false },
        Block::File {
            path: "public/style.css",
            state: FileState::Writing,
            lines: Some(9),
            content: Some(
                ".hero {\n  padding: 4rem 1.5rem;\n  background: #f6e7d2;\n}\n\n#open {\n  font-size: 2rem;\n}\n",
            ),
        },
    ]
}

/// The same blocks in a running turn.
pub fn live_blocks() -> Vec<String> {
    let text = |words: &str, kind| EventBody::Text { delta: words.to_owned(), kind };
    let events: Vec<EventBody> = blocks()
        .into_iter()
        .map(|block| match block {
            Block::Text(kind, words) => text(words, kind),
            Block::Tool { summary, ok } => EventBody::tool("edit_file", summary, ok),
            Block::Retry(summary) => EventBody::tool(NOTICE, summary, false),
            Block::File { path, state, content, .. } => {
                EventBody::File { path: path.parse().expect("a path"), state, delta: content.map(str::to_owned) }
            }
        })
        .collect();
    live_turn::rendered(&app().name, TurnId(31), &TurnFold::of(&events), &Budget::unlimited())
}

pub fn deployment(state: JobState) -> Job {
    super::app::deployment::samples::preview(state)
}

fn model_form(app: &App) -> String {
    let offer = |id: &str, title: &str, price: Option<Price>| ModelOffer {
        id: id.parse().expect("an id"),
        title: title.into(),
        price,
        context_tokens: None,
    };
    let price = Price { input_usd: 4.0, output_usd: 20.0, cache_read_factor: 0.1, cache_write_factor: 1.25 };
    let models = vec![
        offer("claude-opus-5-5", "Claude Opus 5.5", Some(price)),
        offer("claude-haiku-5-5", "claude-haiku-5-5", None),
    ];
    let offers = ModelOffers { models, is_from_provider: false };
    ModelForm::new(app, false, "claude-opus-5-5", &offers).render().expect("renders")
}

pub fn cost(by_app: bool) -> String {
    let spent = |turns: u64, cost_usd: f64| Spending {
        turns,
        input_tokens: turns * 21_400,
        output_tokens: turns * 3_100,
        cost_usd,
        ..Spending::default()
    };
    let mixed = Spending { unpriced_tokens: 24_500, estimated: true, ..spent(4, 0.61) };
    let report = SpendingReport {
        total: Spending { turns: 214, ..mixed },
        today: spent(3, 0.42),
        recent: mixed,
        days: vec![("2026-11-20".into(), spent(3, 0.42)), ("2026-11-19".into(), mixed)],
        apps: vec![(Some("brisk-otter".parse().expect("a name")), mixed), (None, spent(1, 0.002))],
        models: vec![
            ("claude-opus-5-5".into(), spent(6, 1.03)),
            ("qwen3:32b".into(), Spending { cost_usd: 0.0, ..mixed }),
        ],
    };
    CostView::new(&report, by_app).render().expect("renders")
}

fn chosen_templates() -> Vec<TemplateChoice> {
    [
        ("static-site", "Static site", "Pages, styles and scripts, served as they are."),
        ("simple-api", "Simple API", "A JSON API in Python with FastAPI."),
        ("webhook", "Webhook", "Receives signed calls."),
        ("scheduled-job", "Scheduled job", "A script that runs at set times."),
    ]
    .map(|(name, title, summary)| TemplateChoice {
        name: name.parse().expect("a name"),
        title: title.into(),
        summary: summary.into(),
    })
    .into()
}

pub fn home(total: u64) -> HomePage {
    let names = [
        "brisk-otter",
        "calm-harbor",
        "invoice-hook",
        "keen-fox",
        "morning-report",
        "swift-fern",
        "velvet-moon",
        "wise-oak",
        "tidy-cove",
    ];
    let apps = names.iter().take(usize::try_from(total).expect("small")).enumerate().map(|(at, name)| {
        let mut app = app_named(name);
        app.id = AppId(i64::try_from(at).expect("small") + 1);
        app.updated_at = ago(60 * i64::pow(5, u32::try_from(at).expect("small").min(6)));
        let state = [
            EnvironmentState::Ready,
            EnvironmentState::Deploying,
            EnvironmentState::Failed,
            EnvironmentState::None,
            EnvironmentState::Stopped,
        ][at % 5];
        app.environments[1] =
            if at % 2 == 0 { EnvironmentStatus::none(Environment::Prod) } else { app.environments[1].clone() };
        app.environments[0].state = state;
        if state == EnvironmentState::None {
            app.environments[0] = EnvironmentStatus::none(Environment::Preview);
        }
        let chips =
            chips_of(&app, |environment| Some(url(&app, environment)), &HashSet::from([(app.id, Environment::Prod)]));
        let card = AppCard::new(
            &app,
            ["Static site", "Simple API", "Webhook", "Scheduled job"][at % 4].into(),
            chips,
            None,
            now(),
        );
        let colour = [Some(Colour([180, 83, 9])), Some(Colour([250, 204, 21])), None][at % 3];
        let tile = (at % 4 != 3).then(|| Tile { heading: "Crumb & Crust".into(), colour });
        let activity = [None, Some(Activity::Writing), Some(Activity::Failed), Some(Activity::Queued)][at % 4];
        card.at_work(activity).with_tile(tile, Some(TemplateKind::Job))
    });
    HomePage {
        outage: None,
        count: total.to_string(),
        chrome: chrome::sample(),
        description: String::new(),
        name: "brisk-heron".into(),
        chosen: None,
        suggestion: Suggestion { title: None, name: None }.render().expect("renders"),
        templates: chosen_templates(),
        made: super::made_with_view::tiles(crate::generation::demo::recordings::all()),
        examples: vec![
            Example::new(
                "A one-page site for a neighbourhood bakery: opening hours, today's breads, a map sketch, warm colours",
                TemplateKind::Static,
            ),
            Example::new(
                "An API that shortens links: POST a URL and get a code, GET the code and be redirected",
                TemplateKind::Service,
            ),
            Example::new(
                "Every morning at 7, say how many days are left until the end of the quarter",
                TemplateKind::Job,
            ),
        ],
        problem: None,
        total,
        searching: false,
        search: String::new(),
        filter: None,
        apps: apps.collect(),
        shows_new: true,
        after: "1.0".into(),
        next: None,
    }
}

fn app_page(
    app: &App,
    tab: &'static str,
    stage: String,
    turns: Vec<String>,
    running: bool,
    job: Option<Job>,
) -> AppPage {
    let name = app.name.clone();
    let none = turns.is_empty();
    let failed = job.as_ref().is_some_and(|job| job.state == JobState::Failed);
    AppPage {
        chrome: chrome::sample(),
        title: app.shown().to_owned(),
        chips: Chips { chips: chips_of(app, |environment| Some(url(app, environment)), &HashSet::new()) }.render().expect("renders"),
        next: Next {
            app: &name,
            step: if running { NextView::Wait("Deploying".into()) } else { NextView::Publish(Some(11)) },
            may_preview: true,
            may_publish: true,
            ask: None,
            back: Some((ReleaseNumber(1), 4)),
            failed,
        }
        .render()
        .expect("renders"),
        trouble: match job.as_ref().filter(|_| failed) {
            Some(job) => trouble::samples::card(&trouble::samples::trouble(job.clone())),
            None => String::new(),
        },
        strip: Strip {
            app: &name,
            job: job.map(|job| {
                let says = "The Kubernetes API server does not answer: connection refused. This goes on as soon as it is back.";
                DeployView::new(&job, Some(12), Some(url(app, Environment::Preview)), Some(says.into())).why(failed)
            }),
        }
        .render()
        .expect("renders"),
        turns: Turns { app: &name, turns, earlier: (!none).then(|| "30".into()), whole: true }
            .render()
            .expect("renders"),
        composer: Composer {
            app: &name,
            first: none,
            prefill: "",
            send: Send { app: &name, running: running.then_some(JobId(40)) }.render().expect("renders"),
        }
        .render()
        .expect("renders"),
        tabs: tabs(&name, tab),
        stage,
        stage_first: tab != "preview",
        after: 812,
        name: app.name.clone(),
    }
}

fn frame_tab(app: &App) -> String {
    PreviewTab {
        app: &app.name,
        views: vec![
            ViewLink { title: "Draft", about: "The files as they are", href: "?view=draft".into(), current: true },
            ViewLink { title: "Preview", about: "What runs in preview", href: "?view=preview".into(), current: false },
            ViewLink {
                title: "Production",
                about: "What runs in production",
                href: "?view=prod".into(),
                current: false,
            },
        ],
        modes: Vec::new(),
        share: Some("/apps/brisk-otter/share?place=draft".into()),
        frame: Some(Frame {
            kind: "draft",
            url: "about:blank".into(),
            src: "about:blank".into(),
            shown: "brisk-otter-draft.localhost:8080".into(),
            path: "/".into(),
            title: "Draft of brisk-otter".into(),
        }),
        note: None,
        errors: ErrorsView {
            app: &app.name,
            place: "draft",
            summary: "2 browser errors".into(),
            errors: vec![
                "/script.js:14: ReferenceError: hours is not defined (on /, 3 times)".into(),
                "/logo.png: The img could not be loaded: /logo.png (on /about)".into(),
            ],
        }
        .render()
        .expect("renders"),
        panel: Panel::Frame,
    }
    .render()
    .expect("renders")
}

fn share_tab(app: &App) -> String {
    let link = |id, place, life: i64| LinkView {
        id,
        place,
        created: When::new(ago(600), now()),
        ends: When::new(ago(-life), now()),
    };
    ShareTab {
        app: &app.name,
        place: browser_errors::Place::Draft,
        has_draft: true,
        lives: LinkLife::ALL,
        usual: LinkLife::default(),
        made: Some(MadeLink {
            url: format!(
                "http://brisk-otter-draft.localhost:8080/.slipway/enter?link={}",
                "0123456789abcdef".repeat(4)
            ),
            ends: When::new(ago(-86_400), now()),
        }),
        links: vec![link(2, browser_errors::Place::Draft, 86_400), link(1, browser_errors::Place::Preview, 604_800)],
    }
    .render()
    .expect("renders")
}

fn panel_tab(app: &App, panel: Panel) -> String {
    PreviewTab {
        app: &app.name,
        views: vec![
            ViewLink { title: "Preview", about: "What runs in preview", href: "?view=preview".into(), current: true },
            ViewLink {
                title: "Production",
                about: "What runs in production",
                href: "?view=prod".into(),
                current: false,
            },
        ],
        modes: Vec::new(),
        share: None,
        frame: None,
        note: None,
        errors: String::new(),
        panel,
    }
    .render()
    .expect("renders")
}

fn api_panel(app: &App) -> String {
    let parameter = |name: &str, place, choices: &[&str]| Parameter {
        name: name.into(),
        place,
        required: place == ParameterPlace::Path,
        example: String::new(),
        choices: choices.iter().map(|one| (*one).to_owned()).collect(),
        about: "text".into(),
        description: "As it was shortened.".into(),
    };
    let endpoint = |method: &str, path: &str, summary: &str| {
        EndpointView::new(Endpoint {
            method: method.into(),
            path: path.into(),
            summary: summary.into(),
            description: "Codes are short.\nThey last for a year.".into(),
            parameters: if method == "POST" {
                vec![parameter("X-Key", ParameterPlace::Header, &[])]
            } else {
                vec![
                    parameter("code", ParameterPlace::Path, &[]),
                    parameter("as", ParameterPlace::Query, &["html", "json"]),
                ]
            },
            body: (method == "POST").then(|| RequestBody {
                content_type: "application/json".to_owned(),
                example: "{\n  \"url\": \"text\"\n}".to_owned(),
            }),
        })
    };
    let endpoints = vec![
        endpoint("POST", "/links", "Shorten a link"),
        endpoint("GET", "/{code}", "Follow a link"),
        endpoint("DELETE", "/links/{code}", "Forget a link"),
    ];
    let endpoints = EndpointList { app: &app.name, environment: "preview", endpoints, left_out: 3, answered: true }
        .render()
        .expect("renders");
    ApiPanel { app: &app.name, environment: "preview", url: url(app, Environment::Preview), endpoints: Some(endpoints) }
        .render()
        .expect("renders")
}

fn webhook_panel(app: &App) -> String {
    let call = |id, status, source, body: &str| {
        let call = NewCall {
            environment: Environment::Preview,
            at: ago(60 * i64::try_from(id).expect("small")),
            source,
            status,
            millis: 12,
            headers: vec![
                ("user-agent".into(), "GitHub-Hookshot/044aadd".into()),
                ("x-hub-signature-256".into(), "(not kept)".into()),
            ],
            body: body.into(),
            size: if id == 3 { 40_000 } else { body.len() as u64 },
        };
        CallView::new(&WebhookCall { id, call }, now())
    };
    let client = CallSource::Client(std::net::IpAddr::from([203, 0, 113, 7]));
    let calls = CallList {
        app: &app.name,
        environment: Environment::Preview,
        records: true,
        calls: vec![
            call(1, 200, CallSource::Page, "{\"type\":\"test\"}"),
            call(2, 401, client, ""),
            call(3, 200, client, "{\"long\": …"),
        ],
        targets: Environment::ALL.to_vec(),
    };
    let url = format!("{}/webhook", url(app, Environment::Preview));
    WebhookPanel {
        app: &app.name,
        environment: Environment::Preview,
        reach: reach(&url),
        url,
        signature: Some(Signature::Timestamped),
        running: true,
        sample: Sample::Github,
        calls: calls.render().expect("renders"),
    }
    .render()
    .expect("renders")
}

fn runs_panel(app: &App) -> String {
    let run = |id, state, exit_code, trigger, started: i64| {
        RunView::new(
            &Run {
                id: RunId(id),
                environment: Environment::Prod,
                release: ReleaseNumber(2),
                trigger,
                state,
                exit_code,
                error: None,
                started_at: ago(started),
                finished_at: (state != RunState::Running).then(|| ago(started - 3)),
            },
            now(),
        )
    };
    RunsPanel {
        app: &app.name,
        environment: "prod",
        may_run: true,
        schedule: Some(ScheduleView::new("*/15 * * * *", Some("Europe/Berlin"))),
        next: vec![NextRun::new(ago(-180), now()), NextRun::new(ago(-1_080), now())],
        took: vec!["3.0 s".to_owned(), "2.9 s".to_owned()],
        no_next: "",
        runs: vec![
            run(9, RunState::Running, None, RunTrigger::Manual, 5),
            run(8, RunState::Succeeded, Some(0), RunTrigger::Schedule, 720),
            run(7, RunState::Failed, Some(1), RunTrigger::Schedule, 1_620),
        ],
        any_running: true,
        more: None,
    }
    .render()
    .expect("renders")
}

fn versions() -> Vec<Version> {
    let version = |n: u32, title: &str, kind, size: (u32, u32, u32)| Version {
        id: version_id(n),
        number: n,
        title: title.into(),
        kind,
        turn: None,
        size: ChangeSize { files: size.0, additions: size.1, deletions: size.2 },
        created_at: ago(i64::from(13 - n) * 3_000),
    };
    vec![
        version(
            12,
            "Make the opening hours a table, and say in big letters whether we are open right now.",
            VersionKind::Turn,
            (3, 120, 14),
        ),
        version(11, "Edit public/style.css", VersionKind::Edit, (1, 2, 2)),
        version(10, "Restore version 8", VersionKind::Restore, (4, 40, 61)),
        version(9, "Add a page about our bread with photos of every loaf", VersionKind::Turn, (5, 310, 8)),
        version(1, "Start from the static-site template", VersionKind::Scaffold, (5, 96, 0)),
    ]
}

fn version_tab(app: &App) -> String {
    let version = VersionView::new(&versions()[0], app, now());
    let row = |class, old: &str, new: &str, mark, text: &str| DiffRow {
        class,
        old: old.into(),
        new: new.into(),
        mark,
        text: text.into(),
    };
    VersionPage {
        app: &app.name,
        version,
        files: vec![
            DiffView {
                path: "public/index.html".into(),
                status: "changed",
                class: "accent",
                additions: 2,
                deletions: 1,
                open: true,
                nothing: "",
                truncated: true,
                lines: vec![
                    row(Some("hunk"), "", "", "", "@@ -8,6 +8,7 @@"),
                    row(None, "8", "8", " ", "  <header class=\"hero\">"),
                    row(Some("removed"), "9", "", "−", "    <h1>Bakery</h1>"),
                    row(Some("added"), "", "9", "+", "    <h1>Crumb &amp; Crust</h1>"),
                    row(Some("added"), "", "10", "+", "    <p id=\"open\">We are <strong>open</strong></p>"),
                    row(None, "10", "11", " ", "  </header>"),
                ],
            },
            DiffView {
                path: "public/photo.png".into(),
                status: "added",
                class: "ok",
                additions: 0,
                deletions: 0,
                open: false,
                lines: vec![],
                nothing: "This file is not text.",
                truncated: false,
            },
        ],
    }
    .render()
    .expect("renders")
}

pub fn releases_tab(app: &App) -> String {
    let release = |number, environment, state, version, from: Option<u32>| {
        ReleaseView::new(
            &Release {
                number: ReleaseNumber(number),
                environment,
                version: version_id(version),
                version_number: version,
                version_title: "Opening hours added".into(),
                author: Some(Author::Person),
                image: format!("slipway/brisk-otter@sha256:{}", "3f".repeat(32)).parse().expect("an image"),
                spec: DeploymentSpec {
                    process: ProcessKind::Service(Probe { port: 8080, path: "/".into() }),
                    limits: ResourceLimits::default(),
                    variables: std::collections::BTreeMap::default(),
                    schedule: None,
                    timezone: None,
                    is_init: false,
                },
                state,
                job: JobId(1),
                checks: SmokeCount { passed: 14, failed: 0 },
                ignored_checks: u32::from(number == 4),
                created_at: ago(i64::from(6 - number) * 4_000),
                settled_at: Some(ago(i64::from(6 - number) * 4_000 - 4)),
                from_release: from.map(ReleaseNumber),
                rolled_back: from.is_some(),
            },
            app,
            &std::collections::BTreeMap::new(),
            now(),
        )
    };
    ReleasesTab {
        app: &app.name,
        places: vec![
            Place {
                key: "prod",
                title: "Production",
                url: Some(url(app, Environment::Prod)),
                releases: vec![
                    release(2, Environment::Prod, ReleaseState::Ready, 9, None),
                    release(1, Environment::Prod, ReleaseState::Retired, 4, None),
                ],
                nothing: "",
                more: None,
            },
            Place {
                key: "preview",
                title: "Preview",
                url: Some(url(app, Environment::Preview)),
                releases: vec![
                    release(5, Environment::Preview, ReleaseState::Ready, 11, Some(3)),
                    release(4, Environment::Preview, ReleaseState::Failed, 10, None),
                    release(3, Environment::Preview, ReleaseState::Retired, 9, None),
                ],
                nothing: "",
                more: None,
            },
        ],
        cleaned: Some(Cleaned { when: When::new(ago(300), now()), freed: Bytes(180 << 20), total: Bytes(1 << 30) }),
    }
    .render()
    .expect("renders")
}

fn code_tab(app: &App, many: bool, edit: bool) -> String {
    let mut paths: Vec<String> =
        ["Dockerfile", "app.toml", "nginx.conf", "public/index.html", "public/script.js", "public/style.css"]
            .map(str::to_owned)
            .into();
    if many {
        paths.extend((0..300).map(|n| format!("public/pages/chapter-{}/page-{n}.html", n / 20)));
    }
    let files: Vec<TreeFile<'_>> = paths
        .iter()
        .map(|path| TreeFile {
            path,
            hold: if path == "Dockerfile" || path == "nginx.conf" { Hold::Platform } else { Hold::None },
            changed: path.ends_with("index.html"),
        })
        .collect();
    let path = "public/index.html";
    let view = if edit {
        FileView::Edit { text: HTML.into(), head: version_id(12).to_string(), new: false }
    } else {
        source(path, HTML, &Budget::unlimited())
    };
    CodeTab {
        new_problem: None,
        folder: "",
        upload_problem: None,
        file_bytes: 1 << 20,
        files_max: 10,
        bytes_max: 1024,
        app: &app.name,
        count: files.len(),
        current: Some(path),
        tree: tree(&app.name, &files, Some(path)),
        file: FilePanel::new(&app.name, path, Hold::None, "12 lines · 412 B".into(), view).render().expect("renders"),
    }
    .render()
    .expect("renders")
}

fn logs_tab(app: &App) -> String {
    let selection = Selection { needle: Needle::new("tide"), level: None };
    let mut scan = Scan::new(selection.clone(), output::window::Place::LastFound);
    for n in 0..40 {
        let text = match n % 8 {
            0 => format!("INFO:     172.18.0.1:5{n:04} - \"GET /tides/hanstholm HTTP/1.1\" 200 OK"),
            5 => "WARNING the tide gauge answers slowly".to_owned(),
            6 => "Traceback (most recent call last):".to_owned(),
            7 => format!("  File \"main.py\", line {n}, in <module>"),
            _ => format!("Step {n} of 40"),
        };
        scan.push(Passing { id: Some(i64::from(n) + 1), at: Some(ago(400 - i64::from(n))), is_deploy: false, text });
    }
    let text = "Deployed release 5".into();
    scan.push(Passing { id: Some(41), at: None, is_deploy: true, text });
    let window = scan.finish();
    let address = Address { app: &app.name, source: LOG_SOURCES[1], selection: &selection };
    LogsTab {
        app: &app.name,
        parts: log_tab_parts(&app.name, "Preview"),
        source: LOG_SOURCES[1],
        rows: LogRows { address: &address, rows: LogRow::of_window(&window, selection.needle.as_ref(), now()) },
        words: "tide",
        levels: level_choices(None),
        found: Some(Found::new(&window, &address)),
        earlier: Some(("48,000 earlier lines are".into(), address.line(1))),
        later: Some(("1 later line is".into(), address.line(41))),
        stream: None,
        end: Some(address.end()),
        has_usage: true,
        notice: Some("This app prints about 12,000 lines (1.4 MiB) a second.".into()),
        nothing: "",
    }
    .render()
    .expect("renders")
}

fn requests_tab(app: &App) -> String {
    let filter = RequestFilter { words: "tides".into(), class: None, environment: Some(Environment::Preview) };
    let row = |number: u16| {
        let request = SeenRequest {
            number: number.into(),
            at: ago(number.into()),
            environment: Environment::Preview,
            method: axum::http::Method::GET,
            path: format!("/tides/hanstholm/{number}").into(),
            status: axum::http::StatusCode::from_u16([200, 304, 404, 502][usize::from(number % 4)]).expect("a status"),
            took: std::time::Duration::from_millis(u64::from(number) * 7),
        };
        RequestRow::new(&request, now())
    };
    RequestsTab {
        app: &app.name,
        parts: log_tab_parts(&app.name, "Requests"),
        filter: &filter,
        classes: filter.classes(),
        environments: filter.environments(),
        rows: RequestRows { rows: (0..40).map(row).collect() },
        stream: Some(filter.stream(&app.name, 40)),
        unseen: Some("Requests for production reach the app through the cluster's Ingress."),
        kept: 250,
        nothing: "",
    }
    .render()
    .expect("renders")
}

fn metrics_tab(app: &App) -> String {
    let day: Vec<Measured> = (0..288_u16)
        .map(|number| {
            let mut counted = Counted::default();
            for part in 0..(number % 50) {
                let bucket = u8::try_from(30 + part).expect("it is small");
                counted.add(&Counted::from_bytes(u64::from(number % 50 == 49 && part == 0), &[bucket, 1, 0, 0, 0]));
            }
            Measured {
                at: ago((288 - i64::from(number)) * 300),
                counted,
                memory_bytes: (number > 60).then_some((20 + u64::from(number / 20)) << 20),
                cpu_millis: (number > 60).then_some(u64::from(number % 40)),
            }
        })
        .collect();
    MetricsTab {
        app: &app.name,
        parts: log_tab_parts(&app.name, "Metrics"),
        environments: environment_choices(&app.name, Environment::Prod),
        environment: Environment::Prod,
        plots: Part::all(&day, true),
        hours: Part::hours(&day),
        unseen: true,
        nothing: None,
    }
    .render()
    .expect("renders")
}

fn finished_turns(app: &App) -> Vec<String> {
    let render = |turn: &Turn, blocks: &[Block<'_>]| {
        TurnArticle::new(&app.name, turn, answers(blocks, "", &Budget::unlimited()), now()).render().expect("renders")
    };
    let mut first = turn(TurnState::Done);
    first.id = TurnId(28);
    first.prompt = app.description.clone();
    let mut stopped = turn(TurnState::Stopped);
    stopped.id = TurnId(29);
    stopped.note = Some("Stopped. What was written until then is version 10.".into());
    stopped.size = ChangeSize { files: 1, additions: 8, deletions: 0 };
    let mut failed = turn(TurnState::Failed);
    failed.id = TurnId(30);
    failed.note = Some("The model is overloaded and did not answer after five attempts.".into());
    vec![
        render(
            &first,
            &[Block::Text(
                TextKind::Answer,
                "Here is **Crumb & Crust**: one page, in warm colours.\n\n1. The hours stand right below the name.\n2. *Today’s breads* is a list you can edit in `public/index.html`.\n\n```html\n<ul class=\"breads\">\n  <li>Sourdough</li>\n</ul>\n```\n\nSay if you would like photos.",
            )],
        ),
        render(&stopped, &[Block::Text(TextKind::Answer, "I’ll add the photos one by one.")]),
        render(&failed, &[]),
    ]
}

/// All pages with sample content, by file name.
pub fn pages() -> Vec<(&'static str, String)> {
    let app = app();
    let mut live = finished_turns(&app);
    live.push(TurnArticle::new(&app.name, &turn(TurnState::Running), live_blocks(), now()).render().expect("renders"));
    let mut done = finished_turns(&app);
    done.truncate(1);
    done.push(
        TurnArticle::new(&app.name, &turn(TurnState::Done), answers(&blocks(), "", &Budget::unlimited()), now())
            .with_steps(super::app::turn_view::steps(&blocks()))
            .render()
            .expect("renders"),
    );
    let long = format!(
        "## A long answer\n\n{}",
        "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor.\n\n".repeat(330)
    );
    let long_turn = TurnArticle::new(
        &app.name,
        &turn(TurnState::Done),
        answers(&[Block::Text(TextKind::Answer, &long)], "", &Budget::unlimited()),
        now(),
    )
    .render()
    .expect("renders");
    let page = |tab, stage| app_page(&app, tab, stage, done.clone(), false, None);
    let show = |page: AppPage| page.render().expect("renders");
    let mut demo = home(0);
    demo.chrome.demo = true;
    let made = crate::generation::demo::recordings::named("bakery").expect("it is recorded");
    let made = MadePage::new(chrome::sample(), made, "Static site".into());
    let mut noted = app_page(&app, "preview", frame_tab(&app), vec![], false, None);
    noted.chrome.demo_note = true;
    let call = TestCall { method: "POST".into(), path: "/links".into(), ..TestCall::default() };
    let answered = TestAnswer {
        status: 201,
        headers: vec![("content-type".into(), "application/json".into())],
        body: r#"{"code":"k3x","visits":0}"#.into(),
        truncated: false,
        size: Some(25),
        millis: 12,
    };
    let answer = AnswerView::new(&call, Environment::Preview, answered).render().expect("renders");
    let api = api_panel(&app).replacen(
        r#"<div class="try-answer" aria-live="polite"></div>"#,
        &format!(r#"<div class="try-answer">{answer}</div>"#),
        1,
    );
    let problem = crate::error::AppError::internal(&"sample");
    let error = super::error_page::sample(&problem);
    vec![
        ("home", home(9).render().expect("renders")),
        ("home-empty", demo.render().expect("renders")),
        ("made-with", made.render().expect("renders")),
        ("app-demo", show(noted)),
        ("app-live", show(app_page(&app, "preview", frame_tab(&app), live, true, Some(deployment(JobState::Running))))),
        ("app-done", show(app_page(&app, "preview", frame_tab(&app), done.clone(), false, Some(deployment(JobState::Succeeded))))),
        ("app-failed", show(app_page(&app, "preview", frame_tab(&app), done.clone(), false, Some(deployment(JobState::Failed))))),
        ("app-new", show(app_page(&app, "preview", panel_tab(&app, Panel::Empty { words: "Nothing is in preview yet. Deploying builds version 12 and says ready when it has answered.".into(), deploy: true }), vec![], false, None))),
        ("app-long", show(app_page(&app, "code", code_tab(&app, true, false), vec![long_turn], false, None))),
        ("app-api", show(page("preview", panel_tab(&app, Panel::Api(api))))),
        ("app-webhook", show(page("preview", panel_tab(&app, Panel::Webhook(webhook_panel(&app)))))),
        ("app-job", show(page("preview", panel_tab(&app, Panel::Job(runs_panel(&app)))))),
        ("app-share", show(page("preview", share_tab(&app)))),
        ("app-code", show(page("code", code_tab(&app, false, false)))),
        ("app-edit", show(page("code", code_tab(&app, false, true)))),
        ("app-versions", show(page("versions", VersionsTab { app: &app.name, versions: versions().iter().map(|version| VersionView::new(version, &app, now())).collect(), more: Some("/apps/brisk-otter/versions?cursor=1".into()) }.render().expect("renders")))),
        ("app-version", show(page("versions", version_tab(&app)))),
        ("app-releases", show(page("releases", releases_tab(&app)))),
        ("app-logs", show(page("logs", logs_tab(&app)))),
        ("app-requests", show(page("logs", requests_tab(&app)))),
        ("app-metrics", show(page("logs", metrics_tab(&app)))),
        ("app-settings", show(page("settings", SettingsTab { app: &app.name, title: "", description: &app.description, template: "Static site".into(), created: When::new(app.created_at, now()), addresses: vec![("Draft", "http://brisk-otter-draft.localhost:8080".into()), ("Preview", url(&app, Environment::Preview)), ("Production", url(&app, Environment::Prod))], model: model_form(&app), cost: cost(false), auto_preview: AutoPreview { app: &app.name, on: true, drafts_only: true, saved: true }.render().expect("renders"), problem: None }.render().expect("renders")))),
        ("login", LoginPage { chrome: chrome::sample(), to: "/".into(), problem: Some("This is not the password.".into()) }.render().expect("renders")),
        ("health", HealthPage { chrome: chrome::sample(), title: "Something needs attention", checked: When::new(now(), now()), checks: vec![
            CheckView { name: "Database".into(), ok: true, warning: false, detail: "The database answers.".into(), hint: None, at: None, untested: false },
            CheckView { name: "Network".into(), ok: true, warning: true, detail: "Apps and builds can reach private networks: the program iptables is not installed.".into(), hint: Some("Run scripts/setup --network-rules.".into()), at: None, untested: false },
            CheckView { name: "Docker".into(), ok: false, warning: false, detail: "The Docker engine does not answer.".into(), hint: Some("Start Docker (for example with sudo systemctl start docker).".into()), at: None, untested: false },
        ] }.render().expect("renders")),
        ("settings", settings::sample().render().expect("renders")),
        ("shortcuts", ShortcutsPage { chrome: chrome::sample(), keys: SHORTCUTS }.render().expect("renders")),
        ("error", error),
    ]
}

/// A page that can be queried with selectors.
pub struct Selected(Html);

pub fn select(html: &str) -> Selected {
    Selected(Html::parse_document(html))
}

impl Selected {
    fn all(&self, selector: &str) -> Vec<scraper::ElementRef<'_>> {
        self.0.select(&Selector::parse(selector).expect("a selector")).collect()
    }

    pub fn count(&self, selector: &str) -> usize {
        self.all(selector).len()
    }

    pub fn texts(&self, selector: &str) -> Vec<String> {
        let words = |element: &scraper::ElementRef<'_>| {
            element.text().collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
        };
        self.all(selector).iter().map(words).collect()
    }

    pub fn text(&self, selector: &str) -> String {
        self.texts(selector).first().unwrap_or_else(|| panic!("nothing matches {selector}")).clone()
    }

    pub fn attribute(&self, selector: &str, name: &str) -> String {
        let all = self.all(selector);
        let first = all.first().unwrap_or_else(|| panic!("nothing matches {selector}"));
        first.value().attr(name).unwrap_or_else(|| panic!("{selector} has no {name}")).to_owned()
    }
}

#[test]
fn every_page_is_valid_and_accessible() {
    let folder = std::env::var_os("SLIPWAY_SAMPLE_PAGES").map(std::path::PathBuf::from);
    for (name, html) in pages() {
        if let Some(folder) = &folder {
            std::fs::write(folder.join(format!("{name}.html")), &html).expect("written");
        }
        let page = select(&html);
        assert_eq!(page.count("h1"), 1, "{name} has one main heading");
        assert_eq!(page.count("main"), 1, "{name} has one main element");
        assert!(page.attribute("html", "lang") == "en" && !page.text("title").is_empty(), "{name}");
        // The content security policy blocks all of these.
        let inline = page.all("script:not([src]), style, [style], [onclick]");
        let inline: Vec<String> = inline.iter().map(|element| element.text().collect()).collect();
        assert_eq!(inline, [crate::boot_script::source()], "{name} has one inline script and no inline styles");
        let mut ids: Vec<String> =
            page.all("[id]").iter().filter_map(|e| e.value().attr("id").map(str::to_owned)).collect();
        let before = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), before, "{name} has an id twice");
        for label in page.all("label[for]") {
            let id = label.value().attr("for").expect("selected by it");
            assert!(ids.iter().any(|known| known == id), "{name} has a label for {id}, which is not there");
        }
        for form in page.all("form") {
            assert!(
                form.value().attr("action").is_some_and(|action| action.starts_with('/')),
                "{name}: a form works without scripts"
            );
        }
        for target in page.all("[src], [href]") {
            let address = target.value().attr("src").or(target.value().attr("href")).unwrap_or_default();
            let ours = address.starts_with('/')
                || address.starts_with('#')
                || address.starts_with('?')
                || address.contains(".localhost:8080")
                || address.starts_with("about:blank");
            assert!(ours, "{name} leads to {address}");
        }
    }
}

#[test]
fn pages_are_small() {
    use std::io::Write;
    let weight = |bytes: &[u8]| {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
        packer.write_all(bytes).expect("packed");
        packer.finish().expect("packed").len()
    };
    for (name, html) in pages() {
        let assets: usize = super::assets::named_in(&html).iter().map(|bytes| weight(bytes)).sum();
        assert!(assets > 20_000, "{name} has its styles and scripts");
        // The editor is loaded beside the page, when editing begins, and then comes from the browser's cache.
        let editor = if html.contains("data-editor") { weight(&super::assets::file("built/editor.js")) } else { 0 };
        assert!(editor < 220_000, "the editor has {editor} bytes");
        let total = assets - editor + weight(html.as_bytes());
        assert!(total <= 100_000, "{name} has {total} bytes");
    }
}
