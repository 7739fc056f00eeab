use std::collections::BTreeSet;

use tokio_util::sync::CancellationToken;

use super::recordings::{FollowUp, Recording};
use super::*;
use crate::domain::{TextKind, TurnMode};
use crate::generation::ports::CheckReport;
use crate::generation::stage::{MemoryHost, MemorySink, client, input, play};
use crate::generation::{ModelError, TurnEnd, TurnError, TurnOutcome};

type TurnHistory = Vec<crate::generation::Message>;

/// An app in demo mode, with its conversation.
struct Scene {
    demo: DemoModel,
    host: MemoryHost,
    history: TurnHistory,
    _stop: tokio_util::sync::DropGuard,
}

impl Scene {
    fn with(files: &[(&str, &str)]) -> Self {
        let stop = CancellationToken::new();
        let (demo, server) = DemoModel::bind(DemoPace::new(0.0)).unwrap();
        let stopped = stop.clone();
        tokio::spawn(async move { stopped.run_until_cancelled(server.serve()).await });
        let report = CheckReport { ok: true, sentence: "It builds.".into(), lines: Vec::new() };
        let host = MemoryHost { report, ..MemoryHost::with(files) };
        Self { demo, host, history: Vec::new(), _stop: stop.drop_guard() }
    }

    /// The starter files of an embedded template, as far as the demo model reads them.
    fn of_template(name: &str) -> Self {
        let files: &[(&str, &str)] = match name {
            "static-site" => {
                &[("Dockerfile", "FROM x"), ("public/index.html", "<h1>It works. Now make it yours.</h1>")]
            }
            "simple-api" => &[("main.py", "\"It works. Describe what this API should do, and…\"\n")],
            "webhook" => &[
                ("main.py", "\"It works. Send signed calls to POST /webhook.\"\n"),
                ("verify.py", "x = 1\n"),
                ("app.toml", "signature = \"timestamped\"\n"),
            ],
            _ => &[("job.py", "print('of this day are left.')\n"), ("app.toml", "# at\nschedule = \"0 * * * *\"\n")],
        };
        Self::with(files)
    }

    async fn turn(&mut self, prompt: &str) -> (TurnOutcome, MemorySink) {
        self.turn_in(prompt, TurnMode::Build).await
    }

    async fn turn_in(&mut self, prompt: &str, mode: TurnMode) -> (TurnOutcome, MemorySink) {
        let client = client(&self.demo.base_url, self.demo.key.expose_secret());
        let mut input = input(prompt, DEMO_MODEL);
        input.mode = mode;
        input.history.clone_from(&self.history);
        let mut sink = MemorySink::default();
        let outcome = play(&client, &input, &mut self.host, &mut sink, &CancellationToken::new()).await;
        assert_eq!(outcome.end, TurnEnd::Done, "{prompt}: {:?}", outcome.note);
        self.history.extend(outcome.messages.clone());
        (outcome, sink)
    }

    /// Runs a turn that changes nothing, and returns its explanation.
    async fn unchanged(&mut self, prompt: &str) -> String {
        let files = self.host.files.clone();
        let (outcome, sink) = self.turn(prompt).await;
        assert_eq!((&self.host.files, outcome.files_touched.len()), (&files, 0), "{prompt}");
        sink.text(TextKind::Answer)
    }
}

#[tokio::test]
async fn every_recording_is_played_with_its_follow_ups_in_any_order() {
    for recording in recordings::all() {
        let mut orders: Vec<Vec<&FollowUp>> = vec![recording.follow_ups.iter().collect()];
        orders.push(orders[0].iter().rev().copied().collect());
        for order in orders {
            let mut scene = Scene::of_template(recording.template.as_str());
            let (outcome, sink) = scene.turn(&recording.description).await;
            let said = sink.text(TextKind::Answer);
            for file in &recording.files {
                assert_eq!(scene.host.text(file.path.as_str()), file.text, "{}: {}", recording.name, file.path);
                assert!(outcome.files_touched.contains_key(&file.path), "{}", file.path);
            }
            assert!(said.starts_with(&recording.before), "{}: {said}", recording.name);
            assert!(said.contains(recording.after.trim()) && !said.contains("close to a recorded"), "{said}");
            assert!(sink.tools().iter().any(|(summary, _)| summary.starts_with("Checked")), "{}", recording.name);
            for follow_up in order {
                let (outcome, sink) = scene.turn(&follow_up.prompt).await;
                let said = sink.text(TextKind::Answer);
                assert!(said.contains(follow_up.after.trim()), "{}, {}: {said}", recording.name, follow_up.prompt);
                assert!(!outcome.files_touched.is_empty() && sink.tools().iter().all(|(_, ok)| *ok), "{said}");
                let again = scene.unchanged(&follow_up.prompt).await;
                assert!(again.starts_with("That is there already"), "{}: {again}", recording.name);
            }
        }
    }
}

#[test]
fn recordings_are_what_the_first_page_promises() {
    let all = recordings::all();
    assert!(all.len() >= 12, "{}", all.len());
    for recording in all {
        let name = &recording.name;
        assert!((2..=3).contains(&recording.follow_ups.len()), "{name}");
        assert_eq!(recordings::close_to(&recording.description).map(|found| &found.name), Some(name));
        for follow_up in &recording.follow_ups {
            let found = recording.follow_up(&follow_up.prompt).map(|found| &found.prompt);
            assert_eq!(found, Some(&follow_up.prompt), "{name}");
        }
        let main = recording.files.iter().find(|file| recordings::writer_of(file.path.as_str(), &file.text).is_some());
        assert!(main.is_some(), "{name} knows its own main file again");
        for file in recording.files.iter().chain(recording.follow_ups.iter().flat_map(|follow_up| &follow_up.files)) {
            check_file(recording, file.path.as_str(), &file.text);
        }
    }
    let templates: BTreeSet<&str> = all.iter().map(|recording| recording.template.as_str()).collect();
    assert_eq!(templates.len(), 4, "{templates:?}");
}

fn check_file(recording: &Recording, path: &str, text: &str) {
    let name = &recording.name;
    assert!(text.ends_with('\n') && !text.contains('\r') && !text.contains('\t'), "{name}: {path}");
    // Nothing is loaded from other hosts: other hosts occur only in links, namespaces and examples.
    for marker in ["src=\"http", "href=\"http", "url(http", "@import", "<iframe"] {
        assert!(!text.contains(marker), "{name}: {path} has {marker}");
    }
    if std::path::Path::new(path).extension().is_some_and(|kind| kind == "html") {
        let page = scraper::Html::parse_document(text);
        let count = |selector: &str| page.select(&scraper::Selector::parse(selector).unwrap()).count();
        assert_eq!((count("html[lang]"), count("title"), count("h1"), count("main")), (1, 1, 1, 1), "{name}: {path}");
        assert_eq!(count("[onclick], [style]"), 0, "{name}: {path}");
        assert_eq!(count("meta[name=viewport]"), 1, "{name}: {path}");
    }
}

#[test]
fn descriptions_find_their_recording_or_none() {
    for (description, name) in [
        (
            "A one-page site for a neighbourhood bakery: opening hours, today's breads, a map sketch, warm colours",
            Some("bakery"),
        ),
        ("a bakery website", Some("bakery")),
        ("Please build me a page for my bakery with opening hours", Some("bakery")),
        ("Landing page for a small village bakery", Some("bakery")),
        ("Fresh bread and cakes: a shop page", Some("bakery")),
        ("A bakery that delivers parrots to Peru by submarine", None),
        ("A florist in Lyon", None),
        ("A pomodoro timer with big buttons that remembers its settings in the browser", Some("pomodoro")),
        ("pomodoro app", Some("pomodoro")),
        ("A focus timer for study sessions", Some("pomodoro")),
        ("An egg timer", None),
        (
            "A portfolio for a photographer: a grid of placeholders that opens each picture large, and a contact section",
            Some("portfolio"),
        ),
        ("Photography portfolio", Some("portfolio")),
        ("A photo gallery", Some("portfolio")),
        ("A portfolio of an architect", None),
        (
            "A dashboard for our home's energy use: tiles, a chart by day, a table, and a choice of the period",
            Some("dashboard"),
        ),
        ("Energy dashboard", Some("dashboard")),
        ("Track the electricity consumption of my house with charts", Some("dashboard")),
        ("A dashboard for penguin sightings", None),
        (
            "A booking page for a barber: free times for the next two weeks, pick one, and nobody books the same time twice",
            Some("booking"),
        ),
        ("Appointment booking for a hair salon", Some("booking")),
        ("An online booking calendar", Some("booking")),
        ("A book about whales", None),
        (
            "An API that shortens links: POST a URL and get a code, GET the code and be redirected, with a count of visits",
            Some("shortener"),
        ),
        ("link shortener", Some("shortener")),
        ("A URL shortener with click statistics", Some("shortener")),
        ("A short story about links between people", None),
        ("A to-do API kept in memory: create, list, mark as done, delete, with clear errors", Some("todo")),
        ("a todo list", Some("todo")),
        ("Task manager API", Some("todo")),
        ("A unit converter API for length, weight and temperature, with a small page to try it", None),
        (
            "A page that collects feedback: a rating from one to five, a comment, and the average with the latest answers",
            Some("feedback"),
        ),
        ("Customer satisfaction survey with ratings", Some("feedback")),
        ("Collect feedback from visitors", Some("feedback")),
        ("Receive GitHub's push events and keep the last 50 commits on a small page", Some("github-webhook")),
        ("A GitHub webhook that shows commits", Some("github-webhook")),
        ("Take Stripe's payment events, add up today's paid invoices and show the sum at /", None),
        (
            "Every 15 minutes, check that https://example.com answers within two seconds and print how long it took",
            Some("uptime"),
        ),
        ("Check every hour whether https://slipway.example/status is online", Some("uptime")),
        ("An uptime monitor for my website", Some("uptime")),
        ("Every morning at 7, say how many days are left until the end of the quarter", Some("quarter")),
        ("Quarter countdown", Some("quarter")),
        ("How many days until the quarter ends", Some("quarter")),
        ("Each Monday, print a table of the week's public holidays in five countries, kept in the script", None),
        (
            "A sliding number game like 2048, playable with arrow keys and by swiping, that remembers the best score",
            Some("game"),
        ),
        ("2048 game", Some("game")),
        ("A chess game against the computer", None),
        ("A tide table for the harbour of Cuxhaven with a dark theme and a search field", None),
        ("An invitation to our wedding", None),
        ("A page about whales", None),
        ("Tide table for small boats", None),
        ("", None),
    ] {
        let found = recordings::close_to(description).map(|recording| recording.name.as_str());
        assert_eq!(found, name, "{description}");
    }
}

#[tokio::test]
async fn a_close_description_plays_a_recording_and_says_so() {
    let mut scene = Scene::of_template("static-site");
    let (_, sink) = scene.turn("a bakery website").await;
    let said = sink.text(TextKind::Answer);
    assert!(
        said.starts_with("This is close to a recorded example, so it plays that one: Neighbourhood bakery."),
        "{said}"
    );
    // A recording of another template does not fit the template that the user chose.
    let mut scene = Scene::of_template("simple-api");
    let (_, sink) = scene.turn("a bakery website").await;
    assert!(sink.text(TextKind::Answer).starts_with("No recorded example is close to this"));
    assert!(scene.host.text("main.py").contains("TITLE = \"Bakery website\""), "{}", scene.host.text("main.py"));
}

#[tokio::test]
async fn a_recorded_job_takes_the_address_and_the_time_from_the_description() {
    let mut scene = Scene::of_template("scheduled-job");
    scene.turn("Every 30 minutes, check that https://status.example.net/a?b=\"c is online").await;
    let job = scene.host.text("job.py");
    assert!(job.contains("ADDRESS = \"https://status.example.net/a?b=%22c\"\n"), "{job}");
    assert_eq!(scene.host.text("app.toml"), "# at\nschedule = \"*/30 * * * *\"\n");
    scene.turn("Check several addresses").await;
    assert!(scene.host.text("job.py").contains("ADDRESSES = ["));
    scene.turn("Run it every weekday at 9").await;
    assert_eq!(scene.host.text("app.toml"), "# at\nschedule = \"0 9 * * 1-5\"\n");
    // A description without a time gets the recording's schedule.
    let mut scene = Scene::of_template("scheduled-job");
    scene.turn("Quarter countdown").await;
    assert_eq!(scene.host.text("app.toml"), "# at\nschedule = \"0 7 * * *\"\n");
}

#[tokio::test]
async fn a_check_that_fails_is_told() {
    let mut scene = Scene::of_template("static-site");
    let sentence = "It does not build: no space is left.".to_owned();
    scene.host.report = CheckReport { ok: false, sentence, lines: Vec::new() };
    let (_, sink) = scene.turn("a bakery website").await;
    assert!(sink.text(TextKind::Answer).ends_with("\n\nIt does not build: no space is left."));
}

#[tokio::test]
async fn what_a_person_changed_by_hand_is_kept() {
    let mut scene = Scene::of_template("static-site");
    let bakery = recordings::named("bakery").unwrap();
    scene.turn(&bakery.description).await;
    let own = scene.host.text("public/index.html").replace("Hearth &amp; Crumb", "Korn &amp; Kruste");
    scene.host.files.insert("public/index.html".into(), own.into_bytes());
    // A change at another place still works, and keeps the user's change.
    scene.turn(&bakery.follow_ups[0].prompt).await;
    assert!(scene.host.text("public/index.html").contains("Korn &amp; Kruste"));
    assert!(scene.host.text("public/index.html").contains("basket.js"));
    // A change whose place was edited changes nothing at all.
    let own = scene.host.text("public/style.css").replace(".mark {\n  margin-right: auto;", ".mark {\n  margin: auto;");
    scene.host.files.insert("public/style.css".into(), own.into_bytes());
    let said = scene.unchanged(&bakery.follow_ups[1].prompt).await;
    assert!(said.starts_with("`public/style.css` was changed by hand"), "{said}");
}

#[tokio::test]
async fn a_page_is_laid_out_with_the_words_and_then_changed() {
    let mut scene = Scene::of_template("static-site");
    let (outcome, sink) = scene.turn("A guide to <b>sea</b> knots 🥐 with a dark theme").await;
    let page = scene.host.text("public/index.html");
    assert!(page.contains("<h1>Guide to &lt;b&gt;sea&lt;&#x2f;b&gt; knots 🥐</h1>"), "{page}");
    assert!(scene.host.text("public/style.css").contains("color-scheme: dark;"));
    assert_eq!(sink.typed("public/style.css").0, scene.host.text("public/style.css"));
    assert_eq!(sink.text(TextKind::Thought), "", "a script does not think");
    let said = sink.text(TextKind::Answer);
    assert!(said.contains("A script made it, not an AI"), "{said}");
    assert_eq!((outcome.usage.input_tokens, outcome.usage.output_tokens), (0, 0), "a script uses no tokens");
    assert_eq!(outcome.usage.cost_usd, Some(0.0));

    scene.turn("Make the heading red").await;
    assert!(scene.host.text("public/style.css").contains("h1 { color: light-dark(#d92d20"));
    scene.turn("Use a light theme").await;
    assert!(scene.host.text("public/style.css").ends_with("/* Light or dark */\n:root { color-scheme: light; }\n"));
    let (_, sink) = scene.turn("Change the title to “Knots & Splices”").await;
    assert!(
        scene.host.text("public/index.html").contains("<h1>Knots &amp; Splices</h1>"),
        "{}",
        sink.text(TextKind::Answer)
    );
    scene.turn("Add a table of knot, use and strength").await;
    assert!(scene.host.text("public/index.html").contains("<th scope=\"col\">Strength</th>"));
    assert!(scene.host.text("public/parts.js").contains("part-table"));
    scene.turn("Add a contact form and a counter").await;
    scene.turn("Remove the form").await;
    let page = scene.host.text("public/index.html");
    assert!(!page.contains("part-form") && page.contains("part-counter") && page.matches("parts.js").count() == 1);

    for wish in ["Show it in German", "Thank you", "Moon phases beside the tides"] {
        let said = scene.unchanged(wish).await;
        assert!(said.starts_with("Demo mode cannot do that, so nothing was changed"), "{said}");
        assert!(said.contains("colours by name"), "{said}");
    }
    let files = scene.host.files.clone();
    let (_, sink) = scene.turn_in("What is this?", TurnMode::Discuss).await;
    assert_eq!(scene.host.files, files);
    assert!(sink.text(TextKind::Answer).contains("`public/index.html`"));
}

#[tokio::test]
async fn any_change_works_on_a_recorded_page_too() {
    let mut scene = Scene::of_template("static-site");
    scene.turn(&recordings::named("bakery").unwrap().description).await;
    scene.turn("Make the headline dark blue").await;
    scene.turn("Make the background mint").await;
    scene.turn("Add a list of flour, salt and water").await;
    let style = scene.host.text("public/style.css");
    assert!(style.contains("#122a5c") && style.contains("--paper: #98e0c0;"), "{style}");
    assert!(scene.host.text("public/index.html").contains("value=\"Water\""));
    let said = scene.unchanged("Teach it to sing").await;
    assert!(said.contains("Recorded for this app: “Let people reserve breads for pick-up”"), "{said}");
}

#[tokio::test]
async fn somebody_elses_page_is_changed_in_place_and_never_replaced() {
    let mut scene = Scene::of_template("static-site");
    scene.turn("A page about ducks").await;
    scene.host.files.insert("public/index.html".into(), b"<title>Mine</title>\n<h1>Mine</h1>\n".to_vec());
    scene.host.files.insert("public/style.css".into(), b"h1 { margin: 0 }".to_vec());
    let said = scene.unchanged("A page about geese").await;
    assert!(said.starts_with("Demo mode cannot do that"), "{said}");
    scene.turn("Make the heading green").await;
    assert!(scene.host.text("public/style.css").starts_with("h1 { margin: 0 }\n\n/* Heading colour */\n"));
    let said = scene.unchanged("Add a counter").await;
    assert!(said.contains("no single main part"), "{said}");
}

#[tokio::test]
async fn programs_are_laid_out_and_say_what_they_cannot() {
    for (template, main, says) in [
        ("simple-api", "main.py", "/items"),
        ("webhook", "main.py", "def handle(event)"),
        ("scheduled-job", "job.py", "def report("),
    ] {
        let mut scene = Scene::of_template(template);
        scene.turn("Every 5 minutes: \"quotes\" & \\slashes").await;
        let first = scene.host.text(main).to_owned();
        assert!(first.contains(says) && first.contains("slashes"), "{first}");
        scene.unchanged("Second wish").await;
        scene.turn("Change the title to “Third \\ wish”").await;
        assert!(scene.host.text(main).contains("TITLE = \"Third \\\\ wish\"\n"), "{}", scene.host.text(main));
        if main == "job.py" {
            assert_eq!(scene.host.text("app.toml"), "# at\nschedule = \"*/5 * * * *\"\n");
        }
        if template == "simple-api" {
            scene.turn("Make the heading green").await;
            assert!(scene.host.text("page.css").contains("/* Heading colour */"));
            let said = scene.unchanged("Add a counter").await;
            assert!(said.contains("static sites only"), "{said}");
        }
    }
    let mut scene = Scene::with(&[("index.php", "<?php\n")]);
    scene.turn("A shop").await;
    assert_eq!(scene.host.text("NOTES.md"), "# Notes\n\n- A shop\n");
}

#[tokio::test]
async fn others_on_the_machine_are_kept_out() {
    let scene = Scene::with(&[]);
    let client = client(&scene.demo.base_url, "guessed");
    let mut host = MemoryHost::default();
    let outcome =
        play(&client, &input("Hi", DEMO_MODEL), &mut host, &mut MemorySink::default(), &CancellationToken::new()).await;
    assert_eq!(outcome.end, TurnEnd::Failed(TurnError::Model(ModelError::Unauthorized)));
}

#[tokio::test]
async fn it_answers_for_no_other_model() {
    let scene = Scene::with(&[]);
    let client = client(&scene.demo.base_url, scene.demo.key.expose_secret());
    let mut host = MemoryHost::default();
    let outcome =
        play(&client, &input("Hi", "other"), &mut host, &mut MemorySink::default(), &CancellationToken::new()).await;
    assert_eq!(outcome.end, TurnEnd::Failed(TurnError::Model(ModelError::NotFound { model: "other".into() })));
}

#[tokio::test]
async fn what_is_written_is_python() {
    let words = "A \"quoted\" \\ back\\slash, 'single' \"\"\" {braces} %s \u{2028} 日本 🎉 # comment";
    for template in ["simple-api", "webhook", "scheduled-job"] {
        let mut scene = Scene::of_template(template);
        scene.turn(words).await;
        let main = if template == "scheduled-job" { "job.py" } else { "main.py" };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(main);
        std::fs::write(&path, scene.host.text(main)).unwrap();
        // Reads the requested text without running the app or its imports.
        let script = "import ast,json,sys; tree=ast.parse(open(sys.argv[1],encoding='utf-8').read()); \
                      print(json.dumps(next(ast.literal_eval(n.value) for n in tree.body \
                      if isinstance(n,ast.Assign) and n.targets[0].id=='ASKED')))";
        let output = tokio::process::Command::new("python3").args(["-c", script]).arg(&path).output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let asked: String = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(asked, words.replace('\u{2028}', " ").split_whitespace().collect::<Vec<_>>().join(" "));
    }
}
