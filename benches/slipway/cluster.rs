//! Preview, publish and roll back on a Kubernetes cluster, beside the bare tools doing the same on the same cluster.
//!
//! The bare tools get the same files, base image and pod, and end as we do: with the first answer of the new version
//! through its Service. Turns alternate, and each waits until the pods of the one before are gone.

#[path = "../../tests/it/kubernetes/line.rs"]
#[expect(dead_code, reason = "nothing is cut here")]
mod line;
#[path = "../../tests/it/kubernetes/load.rs"]
mod load;
#[path = "../../tests/it/kubernetes/stage.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod stage;

use std::path::Path;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use slipway::domain::{App, Environment, Job, JobState};

use super::deployments::copy;
use super::report::{Bound, Report, Samples};
use super::support::engine::{docker, nginx_base};
use load::Load;
use stage::{REGISTRY, Stage, http, until};

const PREVIEWS: usize = 5;
const ROLLOUTS: usize = 5;
const PAGE: &str = "public/index.html";

pub async fn measure(report: &mut Report) {
    let stage = Stage::new().await;
    let app = stage.app("static-site").await;
    stage.write(&app, PAGE, "zero").await;
    done(&stage.preview(&app).await);
    let folder = tempfile::tempdir().expect("a folder");
    let bare = Bare::new(&stage, &app, folder.path()).await;

    let (mut ours, mut theirs) = (Samples::default(), Samples::default());
    for number in 0..PREVIEWS {
        let page = format!("change {number}");
        stage.write(&app, PAGE, &page).await;
        quiet(&stage, &app, &bare, 1).await;
        let begun = Instant::now();
        done(&stage.preview(&app).await);
        answers(&stage.address(&app, Environment::Preview).await, &page).await;
        ours.push_ms(begun.elapsed());
        quiet(&stage, &app, &bare, 1).await;
        let begun = Instant::now();
        let image = bare.build(&page).await;
        bare.set(&image, &page).await;
        theirs.push_ms(begun.elapsed());
    }
    let peer = "docker build, docker push, kubectl set image, first answer";
    let what = "preview of a changed static site on Kubernetes, over the bare tools";
    report.ratio(what, Bound::AtMost(1.15), "ms", &ours, &theirs, peer);

    // Two versions that both have been in production: publish brings the one, roll back the other.
    done(&stage.publish(&app).await);
    let older = format!("change {}", PREVIEWS - 1);
    stage.write(&app, PAGE, "newer").await;
    done(&stage.preview(&app).await);
    let (one, other) = (bare.build(&older).await, bare.build("newer").await);
    let (mut publishes, mut rollbacks, mut theirs) = (Samples::default(), Samples::default(), Samples::default());
    let address = stage.address(&app, Environment::Prod).await;
    for _ in 0..ROLLOUTS {
        quiet(&stage, &app, &bare, 2).await;
        bare.set(&one, &older).await;
        quiet(&stage, &app, &bare, 2).await;
        publishes.push_ms(timed(async || done(&stage.publish(&app).await), &address, "newer").await);
        quiet(&stage, &app, &bare, 2).await;
        let begun = Instant::now();
        bare.set(&other, "newer").await;
        theirs.push_ms(begun.elapsed());
        quiet(&stage, &app, &bare, 2).await;
        rollbacks.push_ms(timed(async || done(&roll_back(&stage, &app).await), &address, &older).await);
    }
    let peer = "kubectl set image, first answer";
    report.ratio("publish on Kubernetes, over the bare rollout", Bound::AtMost(1.1), "ms", &publishes, &theirs, peer);
    report.ratio("roll back on Kubernetes, over the bare rollout", Bound::AtMost(1.1), "ms", &rollbacks, &theirs, peer);

    let load = Load::on(&format!("http://{address}/"));
    for _ in 0..2 {
        done(&stage.publish(&app).await);
        done(&roll_back(&stage, &app).await);
    }
    // Requests would fail when the last of the old pods goes.
    quiet(&stage, &app, &bare, 2).await;
    let outcome = load.end().await;
    outcome.failures.iter().take(5).for_each(|failure| super::report::say(failure));
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    let failed = outcome.failures.len() as f64;
    let details = format!("of {}, during 2 publishes and 2 roll backs", outcome.sent);
    report.row("failed requests on Kubernetes", Bound::AtMost(0.0), "", failed, &details);
    bare.end().await;
    stage.delete(&app).await;
}

fn done(job: &Job) {
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);
}

async fn roll_back(stage: &Stage, app: &App) -> Job {
    let job = stage.services.rollback(&app.name, Environment::Prod, None).await.expect("a job");
    stage.ended(&job).await
}

/// How long something takes until its page is answered.
async fn timed(work: impl AsyncFnOnce(), address: &str, page: &str) -> Duration {
    let begun = Instant::now();
    work().await;
    answers(address, page).await;
    begun.elapsed()
}

/// Waits until a Service answers with a page.
async fn answers(address: &str, page: &str) {
    let client = http();
    loop {
        let answer = client.get(format!("http://{address}/")).send().await;
        if let Ok(answer) = answer
            && answer.text().await.is_ok_and(|text| text == page)
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Waits until no pod is terminating.
async fn quiet(stage: &Stage, app: &App, bare: &Bare, pods: usize) {
    until("old pods are gone", async || {
        let ours = stage.objects::<Pod>(app).list(&ListParams::default()).await.ok()?.items.len();
        let theirs = bare.objects::<Pod>().list(&ListParams::default()).await.ok()?.items.len();
        (ours == pods && theirs == 1).then_some(())
    })
    .await;
}

/// The bare tools, with a namespace, a Deployment and a Service of their own.
struct Bare {
    client: kube::Client,
    namespace: String,
    repository: String,
    folder: std::path::PathBuf,
    address: String,
}

impl Bare {
    /// A Deployment with the very pod that our preview has.
    async fn new(stage: &Stage, app: &App, folder: &Path) -> Self {
        let namespace = format!("bench-{}", app.name);
        let client = stage.operator.clone();
        let made: Namespace = serde_json::from_value(json!({"metadata": {"name": namespace}})).expect("a namespace");
        stage.namespaces().create(&PostParams::default(), &made).await.expect("it is made");
        let ours = stage.objects::<Deployment>(app).get(&format!("{}-preview", app.name)).await.expect("it is there");
        let mut spec = serde_json::to_value(ours.spec).expect("a spec");
        let labels = json!({"app": "bare"});
        spec["selector"] = json!({"matchLabels": labels});
        spec["template"]["metadata"] = json!({"labels": labels});
        let deployment = json!({"metadata": {"name": "bare"}, "spec": spec});
        let service = json!({
            "metadata": {"name": "bare"},
            "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": "http", "protocol": "TCP"}]},
        });
        let mut bare = Self {
            client,
            repository: format!("{REGISTRY}/bench/{}", app.name),
            namespace,
            folder: folder.to_owned(),
            address: String::new(),
        };
        let parameters = PostParams::default();
        let deployment: Deployment = serde_json::from_value(deployment).expect("a Deployment");
        bare.objects().create(&parameters, &deployment).await.expect("it is made");
        let service: Service = serde_json::from_value(service).expect("a Service");
        let service = bare.objects::<Service>().create(&parameters, &service).await.expect("it is made");
        bare.address = service.spec.and_then(|spec| spec.cluster_ip).expect("an address");
        copy(&stage.data().join("workspaces").join(app.name.as_str()), folder);
        answers(&bare.address, "zero").await;
        bare
    }

    fn objects<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Builds and pushes the site with another page; answers its name by digest.
    async fn build(&self, page: &str) -> String {
        std::fs::write(self.folder.join(PAGE), page).expect("it is written");
        let (base, folder) = (format!("BASE_IMAGE={}", nginx_base()), self.folder.to_string_lossy().into_owned());
        let work = {
            let repository = self.repository.clone();
            move || {
                docker(&["build", "--quiet", "--tag", &repository, "--build-arg", &base, &folder]).expect("it builds");
                docker(&["push", "--quiet", &repository]).expect("it is pushed");
                let digests = ["image", "inspect", "--format", "{{index .RepoDigests 0}}", &repository];
                docker(&digests).expect("a digest").trim().to_owned()
            }
        };
        tokio::task::spawn_blocking(work).await.expect("no panic")
    }

    /// What `kubectl set image` sends, and the first answer of the new version.
    async fn set(&self, image: &str, page: &str) {
        let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": image}]}}}});
        let deployments = self.objects::<Deployment>();
        deployments.patch("bare", &PatchParams::default(), &Patch::Strategic(patch)).await.expect("it is patched");
        answers(&self.address, page).await;
    }

    /// Removes all of it.
    async fn end(self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces.delete(&self.namespace, &DeleteParams::default()).await.expect("it goes");
        let images = docker(&["images", "--quiet", "--no-trunc", &self.repository]).unwrap_or_default();
        for image in images.split_whitespace() {
            let _ = docker(&["rmi", "--force", image]);
        }
    }
}
