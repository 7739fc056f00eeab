//! The model as its user meets it, over either wire format: which one answers, what it sees, what it costs.

use crate::fake_claude::{Answer, FakeClaude, KEY, Reply};
use crate::support::builder::{Builder, binary, send};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};

/// A provider of either kind and a builder that asks it.
struct Scene {
    builder: Builder,
    fake: FakeClaude,
    app: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Wire {
    Messages,
    Chat,
}

impl Scene {
    async fn over(wire: Wire) -> Self {
        let fake = FakeClaude::start([]).await;
        let url = fake.base_url();
        let settings = match wire {
            Wire::Messages => vec![("ANTHROPIC_API_KEY", KEY), ("ANTHROPIC_BASE_URL", url.as_str())],
            // A server on one's own machine, without a key.
            Wire::Chat => vec![
                ("SLIPWAY_PROVIDER", "openai"),
                ("OPENAI_BASE_URL", url.as_str()),
                ("SLIPWAY_MODEL", "local/small"),
            ],
        };
        let builder = Builder::start_with(&settings).await;
        let app = builder.create("static-site", "Meets a model").await;
        Self { builder, fake, app }
    }

    fn path(&self, rest: &str) -> String {
        format!("/apps/{}{rest}", self.app)
    }

    /// Has a turn end well; the turn.
    async fn turn(&self, body: &Value, answer: Reply) -> Value {
        self.fake.push(answer);
        self.builder.done(&self.path("/turns"), body).await;
        self.newest().await
    }

    async fn newest(&self) -> Value {
        self.builder.get(&self.path("/turns")).await.expect(200)["turns"][0].clone()
    }

    async fn page(&self, path: &str) -> String {
        let request = self.builder.http.get(self.builder.at("builder.localhost", path));
        let page = send(request.header("Accept", "text/html")).await;
        assert_eq!(page.status, 200, "{}", page.text());
        page.text()
    }

    async fn put(&self, path: &str, body: &Value) -> crate::support::builder::Answer {
        send(self.builder.request(Method::PUT, path).json(body)).await
    }
}

fn done() -> Reply {
    Answer::new().thinking("Hm", Some("sig-7f3a")).text("Done.").stop("end_turn").reply()
}

fn gif() -> Vec<u8> {
    b"GIF89a\x03\0\x02\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\x03\0\x02\0\0\x02\x03L\0\x01\0;".to_vec()
}

#[tokio::test]
async fn an_app_has_its_own_model_and_costs() {
    for wire in [Wire::Messages, Wire::Chat] {
        let mut scene = Scene::over(wire).await;
        let default = if wire == Wire::Chat { "local/small" } else { "claude-opus-5-5" };
        let model = scene.builder.get(&scene.path("/model")).await.expect(200);
        assert_eq!(model, json!({"model": null, "effort": null, "answers": default}));
        let turn = scene.turn(&json!({"prompt": "Say hello"}), done()).await;
        assert_eq!(turn["model"], default);
        // An unknown model has tokens and no price.
        let cost = &turn["usage"]["cost_usd"];
        assert_eq!(cost.is_null(), wire == Wire::Chat, "{turn:#}");

        // Another model is given a price by the operator, and answers from the next turn on.
        let table = "[[models]]\nid = 'lib/other:7b'\ninput_usd = 10\noutput_usd = 100\n";
        std::fs::write(scene.builder.data().join("models.toml"), table).unwrap();
        scene.builder.restart().await;
        let choice = json!({"model": "lib/other:7b", "effort": "low"});
        let chosen = scene.put(&scene.path("/model"), &choice).await.expect(200);
        assert_eq!(chosen, json!({"model": "lib/other:7b", "effort": "low", "answers": "lib/other:7b"}));
        let turn = scene.turn(&json!({"prompt": "Say hello again"}), done()).await;
        assert_eq!(turn["model"], "lib/other:7b");
        let asked = scene.fake.requests().last().cloned().unwrap();
        assert_eq!(
            (&asked.body["model"], &asked.body["output_config"]["effort"]),
            (&json!("lib/other:7b"), &json!("low"))
        );
        assert!(!asked.raw.to_string().contains("sig-7f3a"), "what another model thought is its own");
        assert!(asked.raw.to_string().contains("Done."), "what it said is not");
        // 100 + 20 + 40 input tokens (cached ones at the full price by default), 50 output tokens.
        let cost = turn["usage"]["cost_usd"].as_f64().unwrap();
        assert!((cost - (160.0 * 10.0 + 50.0 * 100.0) / 1e6).abs() < 1e-9, "{turn:#}");

        let usage = scene.builder.get(&scene.path("/usage")).await.expect(200);
        assert_eq!((&usage["total"]["turns"], &usage["today"]["turns"]), (&json!(2), &json!(2)));
        assert_eq!(usage["days"].as_array().unwrap().len(), 1);
        let unpriced = if wire == Wire::Chat { 210 } else { 0 };
        assert_eq!(usage["total"]["unpriced_tokens"], unpriced, "{usage:#}");
        let all = scene.builder.get("/usage?days=1").await.expect(200);
        assert_eq!(all["apps"][0]["app"], scene.app.as_str());
        assert_eq!(all["models"][0]["model"], "lib/other:7b", "the dearest first");
        scene.builder.get("/usage?days=0").await.expect_problem(422, "invalid");

        let settings = scene.page(&format!("/apps/{}/settings", scene.app)).await;
        assert!(settings.contains(r#"value="lib/other:7b""#) && settings.contains("By day"), "{settings}");
        assert!(scene.page("/settings").await.contains(&format!("/apps/{}/settings", scene.app)));

        // Money that was spent stays counted when the app goes.
        let job = scene.builder.delete(&scene.path("")).await.expect(202);
        assert_eq!(scene.builder.ended(&job).await["state"], "succeeded");
        let after = scene.builder.get("/usage?days=1").await.expect(200);
        assert_eq!((&after["total"], &after["apps"][0]["app"]), (&all["total"], &Value::Null));
    }
}

#[tokio::test]
async fn models_come_from_the_providers_list() {
    let scene = Scene::over(Wire::Messages).await;
    let known = scene.builder.get("/models").await.expect(200);
    assert_eq!((&known["source"], &known["default"]), (&json!("table"), &json!("claude-opus-5-5")));
    let ids: Vec<&str> = known["models"].as_array().unwrap().iter().filter_map(|model| model["id"].as_str()).collect();
    assert!(ids.contains(&"claude-sonnet-5-5") && !ids.contains(&"slipway-demo"), "{ids:?}");

    let scene = {
        let scene = Scene::over(Wire::Chat).await;
        scene.fake.offer(json!([{"id": "local/small", "object": "model"}, {"id": "local/large", "object": "model"}]));
        scene
    };
    let listed = scene.builder.get("/models").await.expect(200);
    assert_eq!(listed["source"], "provider");
    assert_eq!(listed["models"][1]["id"], "local/large");
    assert!(scene.page(&format!("/apps/{}/settings", scene.app)).await.contains("local/large"));

    scene.put(&scene.path("/model"), &json!({"model": "two words"})).await.expect_problem(422, "invalid");
    scene.put(&scene.path("/model"), &json!({"effort": "immense"})).await.expect_problem(422, "invalid");
    scene.put("/apps/nobody-here/model", &json!({})).await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn limits_of_the_providers_list_apply() {
    for (wire, id) in [(Wire::Messages, "claude-opus-5-5"), (Wire::Chat, "local/small")] {
        let scene = Scene::over(wire).await;
        scene.fake.offer(json!([{"id": id, "max_input_tokens": 200_000, "max_tokens": 4_096}]));
        scene.turn(&json!({"prompt": "A page"}), done()).await;
        assert_eq!(scene.fake.requests()[0].raw["max_tokens"], 4_096);
    }
}

#[tokio::test]
async fn an_invalid_price_table_is_reported_at_start() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("models.toml"), "[[models]]\nid = 'a'\ninput_usd = 'free'\n").unwrap();
    let mut command = std::process::Command::new(binary());
    command.arg("serve").env("SLIPWAY_DATA_DIR", folder.path()).env("SLIPWAY_LISTEN", "127.0.0.1:0");
    command.env("SLIPWAY_PROVIDER", "demo").current_dir(folder.path());
    let ended = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let words = String::from_utf8_lossy(&ended.stderr).into_owned() + &String::from_utf8_lossy(&ended.stdout);
    assert!(!ended.status.success());
    assert!(words.contains("models.toml") && words.contains("`models[0].input_usd`: expected a number"), "{words}");
}

#[tokio::test]
async fn attachments_are_sent_to_the_model_and_stored_with_the_turn() {
    for wire in [Wire::Messages, Wire::Chat] {
        let scene = Scene::over(wire).await;
        let body = json!({"prompt": "Like this, with these prices", "attachments": [
            {"name": "C:\\pictures\\sketch.gif", "data": STANDARD.encode(gif())},
            {"name": "prices.csv", "data": STANDARD.encode("bread,3\n")},
        ]});
        let turn = scene.turn(&body, done()).await;
        let files = &turn["attachments"];
        assert_eq!(
            (&files[0]["name"], &files[0]["kind"], &files[0]["width"]),
            (&json!("sketch.gif"), &json!("gif"), &json!(3))
        );
        assert_eq!((&files[1]["kind"], &files[1]["bytes"]), (&json!("text"), &json!(8)));
        let content = scene.fake.requests()[0].body["messages"][0]["content"].clone();
        assert_eq!(content[0]["source"]["data"], STANDARD.encode(gif()), "{content:#}");
        assert!(content.to_string().contains("bread,3") && content.to_string().contains("not instructions"));

        // It is shown with the turn, and cannot do anything where it is served.
        let page = scene.page(&format!("/apps/{}", scene.app)).await;
        let at = format!("/apps/{}/attachments/{}", scene.app, files[0]["id"].as_str().unwrap());
        assert!(page.contains(&format!(r#"<img src="{at}" alt="sketch.gif""#)), "{page}");
        let image = send(scene.builder.http.get(scene.builder.at("builder.localhost", &at))).await;
        assert_eq!((image.header("content-type"), &image.bytes), ("image/gif", &gif()));
        assert!(image.header("content-security-policy").contains("sandbox"));
        let id = files[1]["id"].as_str().unwrap();
        let text = scene.builder.get(&scene.path(&format!("/attachments/{id}"))).await;
        assert_eq!((text.header("content-type"), text.text().as_str()), ("text/plain; charset=utf-8", "bread,3\n"));

        // Another app's are its own, and what is nothing of the kind leads nowhere.
        let other = scene.builder.create("static-site", "Another").await;
        scene.builder.get(&format!("/apps/{other}/attachments/{id}")).await.expect_problem(404, "not_found");
        scene.builder.get(&scene.path("/attachments/..%2f..%2flock")).await.expect_problem(404, "not_found");

        // The next turn still sees the image.
        scene.turn(&json!({"prompt": "And larger"}), done()).await;
        let later = scene.fake.requests().last().cloned().unwrap();
        assert!(later.raw.to_string().contains(&STANDARD.encode(gif())));

        // Attachments are deleted with the app.
        let uploads = scene.builder.data().join("uploads");
        assert_eq!(std::fs::read_dir(&uploads).unwrap().count(), 1);
        let job = scene.builder.delete(&scene.path("")).await.expect(202);
        scene.builder.ended(&job).await;
        assert_eq!(std::fs::read_dir(&uploads).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn forms_without_scripts_upload_files_and_a_retry_sends_them_again() {
    let scene = Scene::over(Wire::Messages).await;
    let form = |parts: &[(&str, Option<&str>, &[u8])]| {
        let mut body = Vec::new();
        for (name, file, bytes) in parts {
            let file = file.map_or(String::new(), |file| format!("; filename=\"{file}\""));
            body.extend_from_slice(
                format!("--sep\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").as_bytes(),
            );
            body.extend_from_slice(bytes);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--sep--\r\n");
        let url = scene.builder.at("builder.localhost", &format!("/apps/{}/turns", scene.app));
        let request = scene.builder.http.post(url).header("Content-Type", "multipart/form-data; boundary=sep");
        send(request.header("Accept", "text/html").body(body))
    };
    scene.fake.push(Reply::error(401, "authentication_error", "no"));
    let sent = form(&[("prompt", None, b"Look"), ("mode", None, b"build"), ("files", Some("a.gif"), &gif())]).await;
    assert_eq!(sent.status, 303, "{}", sent.text());
    let failed = crate::support::eventually("the turn fails", crate::support::PATIENCE, || async {
        Some(scene.newest().await).filter(|turn| turn["state"] == "failed")
    })
    .await;
    assert_eq!(failed["attachments"][0]["name"], "a.gif");
    assert!(
        scene
            .page(&format!("/apps/{}", scene.app))
            .await
            .contains(&format!(r#"name="again" value="{}""#, failed["id"]))
    );

    scene.fake.push(done());
    let again = failed["id"].to_string();
    // A field for files that was left empty is none.
    let sent = form(&[("prompt", None, b"Look"), ("again", None, again.as_bytes()), ("files", Some(""), b"")]).await;
    assert_eq!(sent.status, 303, "{}", sent.text());
    let done = crate::support::eventually("the turn ends", crate::support::PATIENCE, || async {
        Some(scene.newest().await).filter(|turn| turn["state"] == "done")
    })
    .await;
    assert_eq!(done["attachments"], failed["attachments"]);

    // A message with an invalid attachment is rejected with a sentence.
    let refused = form(&[("prompt", None, b"Look"), ("files", Some("x.pdf"), b"%PDF\xff")]).await;
    assert_eq!(refused.status, 422);
    assert!(refused.text().contains("x.pdf") && refused.text().contains("neither an image"), "{}", refused.text());
    let many: Vec<(&str, Option<&str>, &[u8])> = (0..9).map(|_| ("files", Some("a.txt"), b"x".as_slice())).collect();
    assert_eq!(form(&[vec![("prompt", None, b"Look".as_slice())], many].concat()).await.status, 422);
    let body = json!({"prompt": "Look", "attachments": [{"name": "a", "data": "no base64"}]});
    scene.builder.post(&scene.path("/turns"), &body).await.expect_problem(422, "invalid");
    assert_eq!(scene.newest().await["id"], done["id"], "no turn was begun");
}
