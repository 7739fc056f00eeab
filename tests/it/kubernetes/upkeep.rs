//! Recovery from manual changes of objects, and from outages of the API server and the builder.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, LimitRange, Pod, ResourceQuota, Secret, Service};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Resource, ResourceExt};
use serde_json::json;
use slipway::domain::{App, Environment, JobState};
use slipway::output::window::Selection;

use super::stage::{Stage, until};

/// Resource versions of what we apply, by kind and name; a Deployment's generation, since its status changes.
async fn versions(stage: &Stage, app: &App) -> BTreeMap<String, String> {
    async fn of<K>(stage: &Stage, app: &App, all: &mut BTreeMap<String, String>)
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
        K::DynamicType: Default,
    {
        let ours = ListParams::default().labels("app.kubernetes.io/managed-by=slipway");
        for object in stage.objects::<K>(app).list(&ours).await.expect("objects") {
            let kind = K::kind(&K::DynamicType::default()).into_owned();
            let version = match kind.as_str() {
                "Deployment" => object.meta().generation.unwrap_or(0).to_string(),
                _ => object.resource_version().unwrap_or_default(),
            };
            all.insert(format!("{kind} {}", object.name_any()), version);
        }
    }
    let mut all = BTreeMap::new();
    of::<RoleBinding>(stage, app, &mut all).await;
    of::<LimitRange>(stage, app, &mut all).await;
    of::<NetworkPolicy>(stage, app, &mut all).await;
    of::<Secret>(stage, app, &mut all).await;
    of::<Service>(stage, app, &mut all).await;
    of::<Deployment>(stage, app, &mut all).await;
    of::<Ingress>(stage, app, &mut all).await;
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_reverted_and_nothing_else_changes() {
    let stage = Stage::new().await;
    // A webhook has a Secret as well.
    let app = stage.app("webhook").await;
    let job = stage.preview(&app).await;
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);
    let name = format!("{}-preview", app.name);
    let secret = stage.objects::<Secret>(&app).get(&name).await.expect("a Secret");
    assert!(secret.data.is_some_and(|data| data.contains_key("WEBHOOK_SECRET")));

    let before = versions(&stage, &app).await;
    assert!(before.len() >= 10, "{before:?}");
    let replicas = json!({"spec": {"replicas": 2}});
    let deployments = stage.objects::<Deployment>(&app);
    deployments.patch(&name, &PatchParams::default(), &Patch::Merge(replicas)).await.expect("it is changed");
    let wide = json!({"spec": {"egress": [{}]}});
    let policies = stage.objects::<NetworkPolicy>(&app);
    policies.patch("to-dns", &PatchParams::default(), &Patch::Merge(wide)).await.expect("it is changed");
    stage.objects::<Ingress>(&app).delete(&name, &DeleteParams::default()).await.expect("it goes");
    stage.objects::<ResourceQuota>(&app).delete("slipway", &DeleteParams::default()).await.expect("it goes");

    until("all objects are restored", async || {
        let deployment = deployments.get(&name).await.ok()?;
        let policy = policies.get("to-dns").await.ok()?;
        let ports = policy.spec?.egress?.first()?.ports.clone()?;
        stage.objects::<Ingress>(&app).get(&name).await.ok()?;
        stage.objects::<ResourceQuota>(&app).get("slipway").await.ok()?;
        (deployment.spec?.replicas == Some(1) && ports.len() == 2).then_some(())
    })
    .await;
    // The builder has applied all objects several times by now: unchanged ones are untouched.
    let after = versions(&stage, &app).await;
    for (object, version) in &before {
        let touched = ["NetworkPolicy to-dns", "Ingress", "Deployment"].iter().any(|word| object.starts_with(word));
        assert!(touched || after.get(object) == Some(version), "{object}: {version} then {:?}", after.get(object));
    }

    // Additions to our objects are removed too.
    let variable = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "app", "env": [{"name": "ADDED", "value": "by hand"}]},
    ]}}}});
    deployments.patch(&name, &PatchParams::default(), &Patch::Strategic(variable)).await.expect("it is changed");
    let quotas = stage.objects::<ResourceQuota>(&app);
    let hard = json!({"spec": {"hard": {"count/configmaps": "5"}}});
    quotas.patch("slipway", &PatchParams::default(), &Patch::Merge(hard)).await.expect("it is changed");
    let open: NetworkPolicy = serde_json::from_value(json!({
        "metadata": {"name": "open-to-all"}, "spec": {"podSelector": {}, "ingress": [{}], "egress": [{}]},
    }))
    .expect("a policy");
    policies.create(&PostParams::default(), &open).await.expect("it is made");
    let own: ResourceQuota = serde_json::from_value(json!({
        "metadata": {"name": "the-operators"}, "spec": {"hard": {"pods": "5"}},
    }))
    .expect("a quota");
    quotas.create(&PostParams::default(), &own).await.expect("it is made");
    until("nothing of it is left", async || {
        let deployment = deployments.get(&name).await.ok()?;
        let pod = deployment.spec?.template.spec?;
        let names: Vec<String> = pod.containers[0].env.iter().flatten().map(|variable| variable.name.clone()).collect();
        let hard = quotas.get("slipway").await.ok()?.spec?.hard?;
        (!names.contains(&"ADDED".to_owned()) && !hard.contains_key("count/configmaps")).then_some(names)
    })
    .await;
    quotas.get("the-operators").await.expect("what is not ours is left alone");
    policies.get("open-to-all").await.expect("what is not ours is left alone");
    stage.is_served(&app, Environment::Preview, "/health").await;
    stage.delete(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_was_scaled_to_zero_is_restored_at_once() {
    // No regular look comes in the time of this test.
    let stage = Stage::with(&[("SLIPWAY_RECONCILE_SECONDS", "3600".to_owned())]).await;
    let app = stage.app("static-site").await;
    let job = stage.preview(&app).await;
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);
    let name = format!("{}-preview", app.name);
    let deployments = stage.objects::<Deployment>(&app);
    let nothing = json!({"spec": {"replicas": 0}});
    deployments.patch_scale(&name, &PatchParams::default(), &Patch::Merge(nothing)).await.expect("it is scaled");
    until("its pod is back", async || {
        let deployment = deployments.get(&name).await.ok()?;
        let available = deployment.status?.available_replicas.unwrap_or(0);
        (deployment.spec?.replicas == Some(1) && available == 1).then_some(())
    })
    .await;
    deployments.delete(&name, &DeleteParams::default()).await.expect("it goes");
    stage.is_served(&app, Environment::Preview, "/").await;
    stage.delete(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_namespace_does_not_block_other_apps() {
    let stage = Stage::new().await;
    let (stuck, other) = (stage.app("static-site").await, stage.app("static-site").await);
    for app in [&stuck, &other] {
        let job = stage.preview(app).await;
        assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);
    }
    let held: ConfigMap = serde_json::from_value(json!({
        "metadata": {"name": "held", "finalizers": ["example.com/somebody-is-not-done"]},
    }))
    .expect("a ConfigMap");
    let maps = stage.objects::<ConfigMap>(&stuck);
    maps.create(&PostParams::default(), &held).await.expect("it is made");
    stage.namespaces().delete(&format!("app-{}", stuck.name), &DeleteParams::default()).await.expect("it is to go");
    // Twice: the second time, all of the first look is over.
    for _ in 0..2 {
        let deployments = stage.objects::<Deployment>(&other);
        let name = format!("{}-preview", other.name);
        let replicas = json!({"spec": {"replicas": 2}});
        deployments.patch(&name, &PatchParams::default(), &Patch::Merge(replicas)).await.expect("it is changed");
        until("it is restored", async || (deployments.get(&name).await.ok()?.spec?.replicas == Some(1)).then_some(()))
            .await;
    }
    let free = json!({"metadata": {"finalizers": null}});
    maps.patch("held", &PatchParams::default(), &Patch::Merge(free)).await.expect("it is let go");
    stage.delete(&stuck).await;
    stage.delete(&other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_namespace_is_shown_with_its_finalizer() {
    let stage = Stage::new().await;
    let app = stage.app("scheduled-job").await;
    let job = stage.preview(&app).await;
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);
    let held: ConfigMap = serde_json::from_value(json!({
        "metadata": {"name": "held", "finalizers": ["example.com/somebody-is-not-done"]},
    }))
    .expect("a ConfigMap");
    let maps = stage.objects::<ConfigMap>(&app);
    maps.create(&PostParams::default(), &held).await.expect("it is made");
    let job = stage.services.delete_app(&app.name).await.expect("a job");
    let said = stage.logged(&job, "somebody-is-not-done").await;
    eprintln!("{said}");
    assert!(said.contains(&format!("app-{}", app.name)), "{said}");
    let free = json!({"metadata": {"finalizers": null}});
    maps.patch("held", &PatchParams::default(), &Patch::Merge(free)).await.expect("it is let go");
    assert_eq!(stage.ended(&job).await.state, JobState::Succeeded);
    assert!(stage.namespaces().get_opt(&format!("app-{}", app.name)).await.expect("an answer").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_continue_over_restarts_and_releases() {
    let stage = Stage::new().await;
    let app = stage.app("simple-api").await;
    let text = |word: &str| {
        format!(
            "import os\nfrom fastapi import FastAPI\nprint('{word} begins', flush=True)\napp = FastAPI()\n\n\
             @app.get('/health')\ndef health():\n    return {{}}\n\n@app.get('/end', include_in_schema=False)\ndef end():\n    os._exit(3)\n"
        )
    };
    stage.write(&app, "main.py", &text("first")).await;
    // Read before there is anything to read, and before there is a namespace.
    let mut lines = stage.services.app_log(&app, Environment::Preview, 100, true);
    let deployed = stage.services.deploy_preview(&app.name, None).await.expect("a job");
    let begun = async {
        while let Some(line) = lines.next().await {
            if line.expect("a line").text.contains("first begins") {
                return;
            }
        }
        panic!("the log ended before it began");
    };
    let (begun, job) = tokio::join!(tokio::time::timeout(super::stage::PATIENCE, begun), stage.ended(&deployed));
    assert!(begun.is_ok(), "nothing was read");
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);
    let mut next = async |words: &str| {
        let found = async {
            while let Some(line) = lines.next().await {
                if line.expect("a line").text.contains(words) {
                    return;
                }
            }
            panic!("the log ended before “{words}”");
        };
        tokio::time::timeout(super::stage::PATIENCE, found).await.unwrap_or_else(|_| panic!("never: {words}"));
    };
    // It ends itself, by a call that no smoke check finds: the cluster starts it again, and the log continues.
    let url = format!("http://{}/end", stage.address(&app, Environment::Preview).await);
    assert!(super::stage::http().get(url).send().await.is_err(), "it ends before it answers");
    next("first begins").await;
    stage.write(&app, "main.py", &text("second")).await;
    assert_eq!(stage.preview(&app).await.state, JobState::Succeeded);
    next("second begins").await;
    let tail = stage.services.app_log_lines(&app, Environment::Preview, 50, Selection::default()).await.expect("lines");
    assert!(tail.iter().any(|line| line.text.contains("second begins")), "{tail:?}");
    stage.delete(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_apps_do_not_see_each_other() {
    let stage = Stage::new().await;
    let (one, two) = (stage.app("webhook").await, stage.app("webhook").await);
    for app in [&one, &two] {
        let job = stage.preview(app).await;
        assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);
    }
    let secret = async |app: &App| {
        let secret = stage.objects::<Secret>(app).get(&format!("{}-preview", app.name)).await.expect("a Secret");
        secret.data.expect("data")["WEBHOOK_SECRET"].0.clone()
    };
    assert_ne!(secret(&one).await, secret(&two).await);
    // Nothing of the cluster's API is in a pod, and no policy lets another app's pods in.
    for app in [&one, &two] {
        let pods = stage.objects::<Pod>(app).list(&ListParams::default()).await.expect("pods");
        for pod in &pods.items {
            let spec = pod.spec.as_ref().expect("a spec");
            assert_eq!(spec.automount_service_account_token, Some(false));
            let token =
                |volume: &k8s_openapi::api::core::v1::Volume| volume.projected.is_some() || volume.secret.is_some();
            assert!(!spec.volumes.iter().flatten().any(token));
        }
        for policy in stage.objects::<NetworkPolicy>(app).list(&ListParams::default()).await.expect("policies") {
            let sources = policy.spec.into_iter().flat_map(|spec| spec.ingress.unwrap_or_default());
            for peer in sources.flat_map(|rule| rule.from.unwrap_or_default()) {
                let namespaces = peer.namespace_selector.expect("a namespace").match_labels.expect("labels");
                let name = &namespaces["kubernetes.io/metadata.name"];
                assert!(!name.starts_with("app-"), "{name}");
            }
        }
    }
    // The builder's account may look into the apps' namespaces, and into no other.
    let builder = stage.as_builder().await;
    let theirs: Api<Secret> = Api::namespaced(builder.clone(), "kube-system");
    let refused = theirs.list(&ListParams::default()).await.expect_err("it may not");
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 403));
    let ours: Api<Secret> = Api::namespaced(builder, &format!("app-{}", one.name));
    ours.list(&ListParams::default()).await.expect("it may");
    stage.delete(&one).await;
    stage.is_served(&two, Environment::Preview, "/health").await;
    stage.delete(&two).await;
}
