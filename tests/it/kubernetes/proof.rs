//! Proof before "ready" on a cluster: what does not pass never takes traffic.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;
use slipway::domain::{App, Environment, JobState, ReleaseState};
use tokio_util::sync::CancellationToken;

use super::load::Load;
use super::stage::{self, Stage, http};

/// The responses that the preview's visitors get, until they are collected.
struct Visitors {
    seen: Arc<Mutex<BTreeSet<String>>>,
    end: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Visitors {
    /// They ask its Service over and over, as soon as there is one.
    fn of(stage: &Stage, app: &App) -> Self {
        let services = stage.objects::<Service>(app);
        let name = format!("{}-preview", app.name);
        let (seen, end) = (Arc::new(Mutex::new(BTreeSet::new())), CancellationToken::new());
        let (kept, until) = (seen.clone(), end.clone());
        let look = async move {
            loop {
                let Ok(Some(service)) = services.get_opt(&name).await else { continue };
                let address = service.spec.and_then(|spec| spec.cluster_ip).expect("an address");
                let page = match http().get(format!("http://{address}/")).send().await {
                    Ok(answer) => answer.text().await.unwrap_or_else(|error| error.to_string()),
                    Err(error) => error.to_string(),
                };
                kept.lock().expect("no panic").insert(page);
            }
        };
        let task = tokio::spawn(async move {
            tokio::select! {
                () = until.cancelled() => {}
                () = look => {}
            }
        });
        Self { seen, end, task }
    }

    /// All that they have seen.
    async fn saw(self) -> BTreeSet<String> {
        self.end.cancel();
        self.task.await.expect("no panic");
        std::mem::take(&mut *self.seen.lock().expect("no panic"))
    }
}

const BROKEN: &str = "<h1>broken</h1><a href=four.html>four</a>";

/// Deploys a site with a broken link, which fails.
async fn fails(stage: &Stage, app: &App) {
    stage.write(app, "public/index.html", BROKEN).await;
    let job = stage.preview(app).await;
    let error = job.error.expect("it fails");
    assert_eq!((job.state, error.code.as_str()), (JobState::Failed, "smoke_failed"), "{error:?}");
    assert!(error.message.contains("GET /four.html"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_with_a_broken_link_gets_no_visitors() {
    let stage = Stage::new().await;
    let app = stage.app("static-site").await;
    // Where nothing ran before, nothing is routed to it.
    let visitors = Visitors::of(&stage, &app);
    fails(&stage, &app).await;
    assert_eq!(visitors.saw().await, BTreeSet::new());

    let one = "<h1>one</h1><a href=two.html>two</a>";
    stage.write(&app, "public/index.html", one).await;
    stage.write(&app, "public/two.html", "<h1>two</h1>").await;
    let job = stage.preview(&app).await;
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);
    for page in ["/", "/two.html"] {
        assert!(job.checks.iter().any(|check| check.path == page), "{page}: {:?}", job.checks);
    }
    assert!(job.checks.iter().all(|check| check.ok));
    stage.answers(&app, Environment::Preview, "/", one).await;

    // If the migration changes something, visitors only see the new form.
    let visitors = Visitors::of(&stage, &app);
    fails(&stage, &app).await;
    stage::until("the pod that failed is gone", async || {
        let pods = stage.objects::<Pod>(&app).list(&ListParams::default()).await.ok()?;
        (pods.items.len() == 1).then_some(())
    })
    .await;
    assert_eq!(visitors.saw().await, BTreeSet::from([one.to_owned()]));
    let app = stage.services.app(&app.name).await.expect("the app");
    assert_eq!(app.environment(Environment::Preview).release.map(|release| release.0), Some(2));
    let failed = stage.services.release(&app, Environment::Preview, slipway::domain::ReleaseNumber(3)).await;
    let failed = failed.expect("a release");
    assert_eq!((failed.state, failed.checks.failed), (ReleaseState::Failed, 1));
    stage.delete(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_an_earlier_version_are_migrated_without_failed_requests() {
    // So that nothing but the deployments themselves puts it right.
    let stage = Stage::with(&[("SLIPWAY_RECONCILE_SECONDS", "3600".to_owned())]).await;
    let app = stage.app("static-site").await;
    stage.write(&app, "public/index.html", "one").await;
    assert_eq!(stage.preview(&app).await.state, JobState::Succeeded);
    let (name, services) = (format!("{}-preview", app.name), stage.objects::<Service>(&app));
    let selector = json!({"spec": {"selector": {"slipway.dev/release": null}}});
    services.patch(&name, &PatchParams::default(), &Patch::Merge(selector)).await.expect("it is changed");
    let load = Load::on(&format!("http://{}/", stage.address(&app, Environment::Preview).await));
    let visitors = Visitors::of(&stage, &app);
    fails(&stage, &app).await;
    assert_eq!(visitors.saw().await, BTreeSet::from(["one".to_owned()]));

    let selector = json!({"spec": {"selector": {"slipway.dev/release": null}}});
    services.patch(&name, &PatchParams::default(), &Patch::Merge(selector)).await.expect("it is changed");
    stage.write(&app, "public/index.html", "two").await;
    let job = stage.preview(&app).await;
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);
    stage.answers(&app, Environment::Preview, "/", "two").await;
    stage::until("the old pods are gone", async || {
        let pods = stage.objects::<Pod>(&app).list(&ListParams::default()).await.ok()?;
        (pods.items.len() == 1).then_some(())
    })
    .await;
    let outcome = load.end().await;
    assert!(outcome.failures.is_empty(), "of {}: {:?}", outcome.sent, outcome.failures);
    let service = services.get(&name).await.expect("it is there");
    assert_eq!(service.spec.and_then(|spec| spec.selector).expect("a selector")["slipway.dev/release"], "3");
    stage.delete(&app).await;
}
