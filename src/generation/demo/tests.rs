use tokio_util::sync::CancellationToken;

use super::*;
use crate::domain::{TextKind, TurnMode};
use crate::generation::stage::{MemoryHost, MemorySink, client, input, play};
use crate::generation::{ModelError, TurnEnd, TurnError, TurnOutcome};

async fn turn(
    demo: &DemoModel,
    host: &mut MemoryHost,
    prompt: &str,
    mode: TurnMode,
    earlier: &mut TurnHistory,
) -> (TurnOutcome, MemorySink) {
    let client = client(&demo.base_url, demo.key.expose_secret());
    let mut input = input(prompt, DEMO_MODEL);
    input.mode = mode;
    input.history = earlier.clone();
    let mut sink = MemorySink::default();
    let outcome = play(&client, &input, host, &mut sink, &CancellationToken::new()).await;
    assert_eq!(outcome.end, TurnEnd::Done, "{:?}", outcome.note);
    earlier.extend(outcome.messages.clone());
    (outcome, sink)
}

fn start(stop: &CancellationToken) -> DemoModel {
    let (demo, server) = DemoModel::bind(DemoPace::new(0.0)).unwrap();
    let stop = stop.clone();
    tokio::spawn(async move { stop.run_until_cancelled(server.serve()).await });
    demo
}

type TurnHistory = Vec<crate::generation::Message>;

#[tokio::test]
async fn a_site_is_written_and_then_changed() {
    let stop = CancellationToken::new();
    let _guard = stop.clone().drop_guard();
    let demo = start(&stop);
    let mut host = MemoryHost::with(&[
        ("Dockerfile", "FROM x"),
        ("public/index.html", "<h1>It works</h1>"),
        ("public/style.css", "h1 {}"),
    ]);
    let mut history = Vec::new();
    let (outcome, sink) = turn(&demo, &mut host, "A bakery <b>page</b> 🥐", TurnMode::Build, &mut history).await;
    assert!(
        host.text("public/index.html").contains("<h1>A bakery &lt;b&gt;page&lt;&#x2f;b&gt; 🥐</h1>"),
        "{}",
        host.text("public/index.html")
    );
    assert!(host.text("public/script.js").contains("A bakery"));
    assert!(host.text("public/style.css").contains("prefers-color-scheme"));
    let touched: Vec<&str> = outcome.files_touched.keys().map(crate::domain::WorkspacePath::as_str).collect();
    assert_eq!(touched, ["public/index.html", "public/script.js", "public/style.css"]);
    assert_eq!(sink.typed("public/style.css").0, host.text("public/style.css"));
    assert!(sink.text(TextKind::Thought).contains("A bakery"));
    assert!(sink.text(TextKind::Answer).contains("I am the demo model"));
    assert_eq!(outcome.usage.cost_usd, Some(0.0));
    assert!(outcome.usage.output_tokens > 500);

    let before = host.text("public/style.css").to_owned();
    let (outcome, sink) = turn(&demo, &mut host, "Add opening hours", TurnMode::Build, &mut history).await;
    let page = host.text("public/index.html");
    assert!(page.contains("<h2 id=\"change-1\">Add opening hours</h2>") && page.contains("A bakery"));
    assert_eq!(host.text("public/style.css"), before);
    assert_eq!(outcome.files_touched.len(), 1);
    assert!(sink.tools().iter().any(|(summary, ok)| *ok && summary.starts_with("Edited public/index.html +")));

    let files = host.files.clone();
    let (_, sink) = turn(&demo, &mut host, "What is this?", TurnMode::Discuss, &mut history).await;
    assert_eq!(host.files, files);
    assert!(sink.text(TextKind::Answer).contains("`public/index.html`"));
}

#[tokio::test]
async fn programs_are_written_and_then_changed() {
    for (files, main, says) in [
        (vec![("main.py", "app = 1\n")], "main.py", "/items"),
        (vec![("main.py", "app = 1\n"), ("verify.py", "x")], "main.py", "def handle(event)"),
        (vec![("job.py", "print()\n"), ("app.toml", "# at\nschedule = \"0 * * * *\"\n")], "job.py", "def report("),
        (vec![("index.php", "<?php\n")], "NOTES.md", "# Notes"),
    ] {
        let stop = CancellationToken::new();
        let _guard = stop.clone().drop_guard();
        let demo = start(&stop);
        let (mut host, mut history) = (MemoryHost::with(&files), Vec::new());
        turn(&demo, &mut host, "Every 5 minutes: \"quotes\" & \\slashes", TurnMode::Build, &mut history).await;
        let first = host.text(main).to_owned();
        assert!(first.contains(says) && first.contains("slashes"), "{first}");
        turn(&demo, &mut host, "Second wish", TurnMode::Build, &mut history).await;
        let second = host.text(main);
        assert!(second.contains("Second wish") && second.len() < first.len() + 60, "{second}");
        if main == "job.py" {
            assert_eq!(host.text("app.toml"), "# at\nschedule = \"*/5 * * * *\"\n");
        }
    }
}

#[tokio::test]
async fn requests_without_the_key_are_rejected() {
    let stop = CancellationToken::new();
    let _guard = stop.clone().drop_guard();
    let demo = start(&stop);
    let client = client(&demo.base_url, "guessed");
    let mut host = MemoryHost::default();
    let outcome =
        play(&client, &input("Hi", DEMO_MODEL), &mut host, &mut MemorySink::default(), &CancellationToken::new()).await;
    assert_eq!(outcome.end, TurnEnd::Failed(TurnError::Model(ModelError::Unauthorized)));
}

#[tokio::test]
async fn requests_for_another_model_are_rejected() {
    let stop = CancellationToken::new();
    let _guard = stop.clone().drop_guard();
    let demo = start(&stop);
    let client = client(&demo.base_url, demo.key.expose_secret());
    let mut host = MemoryHost::default();
    let outcome =
        play(&client, &input("Hi", "other"), &mut host, &mut MemorySink::default(), &CancellationToken::new()).await;
    assert_eq!(outcome.end, TurnEnd::Failed(TurnError::Model(ModelError::NotFound { model: "other".into() })));
}

#[tokio::test]
async fn generated_programs_are_valid_python() {
    let words = "A \"quoted\" \\ back\\slash, 'single' \"\"\" {braces} %s \u{2028} 日本 🎉 # comment";
    for files in [
        vec![("main.py", "app = 1\n")],
        vec![("main.py", "app = 1\n"), ("verify.py", "x = 1\n")],
        vec![("job.py", "print()\n")],
    ] {
        let stop = CancellationToken::new();
        let _guard = stop.clone().drop_guard();
        let demo = start(&stop);
        let (mut host, mut history) = (MemoryHost::with(&files), Vec::new());
        turn(&demo, &mut host, words, TurnMode::Build, &mut history).await;
        turn(&demo, &mut host, words, TurnMode::Build, &mut history).await;
        let main = files[0].0;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(main);
        std::fs::write(&path, host.text(main)).unwrap();
        // Reads the list of requests without running the app or its imports.
        let script = "import ast,json,sys; tree=ast.parse(open(sys.argv[1],encoding='utf-8').read()); \
                      print(json.dumps(next(ast.literal_eval(n.value) for n in tree.body \
                      if isinstance(n,ast.Assign) and n.targets[0].id=='REQUESTS')))";
        let output = tokio::process::Command::new("python3").args(["-c", script]).arg(&path).output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let requests: Vec<String> = serde_json::from_slice(&output.stdout).unwrap();
        let expected = words.replace('\u{2028}', " ").split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(requests, [expected.clone(), expected]);
    }
}
