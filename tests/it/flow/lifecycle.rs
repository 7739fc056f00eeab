//! Describe, preview, publish, change, publish again, roll back, delete.

use serde_json::{Value, json};

use crate::support::builder::{Builder, is_there};
use crate::support::{PATIENCE, eventually};

/// The image of the live release of an environment, `name@sha256:…`.
async fn live_image(builder: &Builder, app: &str, environment: &str) -> String {
    let releases = builder.releases(app, environment).await;
    let live: Vec<&Value> = releases.iter().filter(|release| release["state"] == "ready").collect();
    let [live] = live[..] else { panic!("one live release in {environment}: {releases:#?}") };
    live["image"].as_str().expect("an image").to_owned()
}

fn digest(image: &str) -> &str {
    let (_, digest) = image.split_once("@sha256:").unwrap_or_else(|| panic!("{image} names no digest"));
    assert_eq!(digest.len(), 64, "{image}");
    digest
}

async fn shows(builder: &Builder, host: &str, words: &str) {
    let answer = builder.open(host, "/").await;
    assert_eq!(answer.status, 200, "{host}: {}", answer.text());
    assert!(answer.text().contains(words), "{host} does not show “{words}”: {}", answer.text());
}

/// The whole way, for a template whose app shows what was typed at `/`.
async fn whole_way(template: &str) {
    let builder = Builder::start().await;
    let app = builder.create(template, "Shows words").await;
    let bystander = builder.create("static-site", "Stays as it is").await;
    builder.preview(&bystander).await;
    let preview = format!("{app}-preview");

    let scaffold = builder.head(&app).await;
    builder.post(&format!("/apps/{app}/publish"), &json!({})).await.expect_problem(409, "nothing_to_publish");
    builder.post(&format!("/apps/{app}/rollback"), &json!({})).await.expect_problem(409, "nothing_to_roll_back");

    // The first version, all the way to production.
    let turn = builder.turn(&app, "Lighthouse opening hours").await;
    let first = builder.head(&app).await;
    assert_ne!(first, scaffold, "a turn that changed something is a version");
    assert_eq!(turn["result"]["version"], first.as_str());
    builder.preview(&app).await;
    shows(&builder, &preview, "Lighthouse opening hours").await;
    let job = builder.publish(&app).await;
    assert_eq!(job["result"]["url"], builder.at(&format!("{app}.localhost"), ""));
    shows(&builder, &app, "Lighthouse opening hours").await;
    let image = live_image(&builder, &app, "prod").await;
    assert_eq!(digest(&image), digest(&live_image(&builder, &app, "preview").await), "the same image, not a new build");

    let usage = builder.get(&format!("/apps/{app}/resources?environment=prod")).await.expect(200);
    assert_eq!((&usage["release"], &usage["ready"], &usage["wanted"]), (&json!(1), &json!(1), &json!(1)), "{usage:#}");
    assert_eq!((&usage["restarts"], &usage["memory_limit_bytes"]), (&json!(0), &json!(128 << 20)), "{usage:#}");
    assert!(usage["memory_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{usage:#}");
    assert!(usage["cpu_millis"].is_u64(), "{usage:#}");

    // A change reaches preview alone, until it is published.
    builder.turn(&app, "Change the title to Ferry timetable").await;
    let second = builder.head(&app).await;
    assert_ne!(second, first);
    builder.preview(&app).await;
    shows(&builder, &preview, "Ferry timetable").await;
    assert!(!builder.open(&app, "/").await.text().contains("Ferry timetable"), "production waits for its button");
    // Two clicks are one request.
    let path = format!("/apps/{app}/publish");
    let body = json!({});
    let (one, other) = tokio::join!(builder.post(&path, &body), builder.post(&path, &body));
    let (one, other) = (one.expect(202), other.expect(202));
    assert_eq!(one["id"], other["id"]);
    assert_eq!(builder.ended(&one).await["state"], "succeeded");
    shows(&builder, &app, "Ferry timetable").await;
    let second_image = live_image(&builder, &app, "prod").await;
    assert_ne!(digest(&second_image), digest(&image));

    // And back, without a build.
    let job = builder.done(&format!("/apps/{app}/rollback"), &json!({"environment": "prod"})).await;
    assert_eq!(job["kind"], "rollback");
    shows(&builder, &app, "Lighthouse opening hours").await;
    assert!(!builder.open(&app, "/").await.text().contains("Ferry timetable"));
    shows(&builder, &preview, "Ferry timetable").await;
    let releases = builder.releases(&app, "prod").await;
    let numbers: Vec<&Value> = releases.iter().map(|release| &release["number"]).collect();
    assert_eq!(numbers, [3, 2, 1], "newest first");
    assert_eq!(releases[0]["from_release"], 1);
    assert_eq!(releases[0]["image"], image.as_str());
    assert_eq!(releases[0]["version"], first.as_str());
    let made_by_rolling_back: Vec<&Value> = releases.iter().map(|release| &release["rolled_back"]).collect();
    assert_eq!(made_by_rolling_back, [true, false, false]);
    let preview_releases = builder.releases(&app, "preview").await;
    assert_eq!(preview_releases.len(), 2);

    // Any release can be deployed again by its number.
    builder.done(&format!("/apps/{app}/rollback"), &json!({"environment": "prod", "release": 2})).await;
    shows(&builder, &app, "Ferry timetable").await;
    builder.done(&format!("/apps/{app}/rollback"), &json!({"environment": "preview", "release": 1})).await;
    shows(&builder, &preview, "Lighthouse opening hours").await;
    let again = builder.post(&format!("/apps/{app}/rollback"), &json!({"release": 77})).await;
    again.expect_problem(404, "not_found");

    // So can the live one; and any release of preview can be published. Each release has a page with its log.
    builder.post(&format!("/apps/{app}/publish"), &json!({"release": 77})).await.expect_problem(404, "not_found");
    builder.done(&format!("/apps/{app}/publish"), &json!({"release": 2})).await;
    shows(&builder, &app, "Ferry timetable").await;
    let page = builder.open("builder", &format!("/apps/{app}/releases/prod/5")).await;
    let words = page.text();
    for expected in
        ["Redeploy", "Change the title to Ferry timetable", "by you", "Log of the deployment", "class=\"deploy\""]
    {
        assert!(words.contains(expected), "no “{expected}” in {words}");
    }
    let page = builder.open("builder", &format!("/apps/{app}/releases/preview/1")).await;
    assert!(page.text().contains("Publish this version") && page.text().contains("passed"), "{}", page.text());
    assert_eq!(builder.open("builder", &format!("/apps/{app}/releases/prod/99")).await.status, 404);

    // Old versions drain and go: what stays is what is live.
    let live = vec![format!("{app}/preview/3"), format!("{app}/prod/5"), format!("{bystander}/preview/1")];
    let mut expected = live.clone();
    expected.sort();
    eventually("old containers go", PATIENCE, || async { (builder.installation().places() == expected).then_some(()) })
        .await;

    // Deleting takes everything of this app, and nothing of the other.
    let job = builder.delete(&format!("/apps/{app}")).await.expect(202);
    let job = builder.ended(&job).await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    builder.get(&format!("/apps/{app}")).await.expect_problem(404, "not_found");
    assert_eq!(builder.installation().of_app(&app), Vec::<String>::new(), "containers, network and images are gone");
    assert!(!is_there(&builder.data().join("workspaces").join(&app)));
    for host in [app.clone(), preview.clone(), format!("{app}-draft")] {
        assert_eq!(builder.open(&host, "/").await.status, 404, "{host}");
    }
    shows(&builder, &format!("{bystander}-preview"), "It works. Now make it yours.").await;
    assert_eq!(builder.app(&bystander).await["environments"]["preview"]["state"], "ready");
    let names = builder.get("/apps").await.expect(200);
    assert_eq!(names["apps"].as_array().map(Vec::len), Some(1));

    // The name is free again, and nothing of the old app shows.
    let heir = json!({"description": "Another one", "template": template, "name": app});
    builder.post("/apps", &heir).await.expect(201);
    assert_eq!(builder.releases(&app, "prod").await.len(), 0);
    let turns = builder.get(&format!("/apps/{app}/turns")).await.expect(200);
    assert_eq!(turns["turns"], json!([]));
    let events = builder.events(&app, 0).await.so_far();
    assert!(!events.iter().any(|event| event.name == "log"), "{events:#?}");
}

#[tokio::test]
async fn a_site_from_creation_to_deletion() {
    whole_way("static-site").await;
}

#[tokio::test]
async fn an_api_from_creation_to_deletion() {
    whole_way("simple-api").await;
}

#[tokio::test]
async fn a_stop_and_a_start_change_nothing_for_visitors() {
    let mut builder = Builder::start().await;
    let app = builder.create("static-site", "Outlives the builder").await;
    builder.preview(&app).await;
    builder.publish(&app).await;
    let before = builder.installation().containers();
    assert_eq!(builder.stop().await, Some(0), "a requested stop is not a failure");
    assert_eq!(builder.installation().containers(), before, "apps outlive the builder");
    builder.restart().await;
    for host in [app.clone(), format!("{app}-preview")] {
        eventually("the app answers again", PATIENCE, || async {
            (builder.open(&host, "/").await.status == 200).then_some(())
        })
        .await;
    }
    assert_eq!(builder.installation().containers(), before, "the same containers serve it");
    builder.done(&format!("/apps/{app}/previews"), &json!({})).await;
}
