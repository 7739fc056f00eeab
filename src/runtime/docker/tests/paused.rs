//! Tests how the previous release of production is paused, resumed and stopped.

use bollard::models::ContainerStateStatusEnum;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::domain::Environment::{Preview, Prod};
use crate::engine::testing::eventually;
use crate::runtime::{InstanceState, Runtime};

/// Switches traffic to a release, and waits until the one before it was paused or removed.
async fn go_live(scene: &Scene, deployment: &Deployment, instance: &Instance) {
    let runtime = Runtime::from(scene.runtime.clone());
    let (probe, never) = (probe("/health"), CancellationToken::new());
    let switched = runtime.releases.switch(deployment, instance, &probe, LONG, &crate::output::Discard, &never);
    switched.await.expect("it is switched").keep().await;
    scene.runtime.inner.settings.tasks.close();
    scene.runtime.inner.settings.tasks.wait().await;
    scene.runtime.inner.settings.tasks.reopen();
}

/// Releases 1 and 2 of production, one after the other: the first is paused.
async fn two_releases(scene: &Scene) {
    for release in 1..3 {
        let deployment = scene.deployment(Prod, release, "serve");
        let instance = scene.serve(&deployment).await;
        go_live(scene, &deployment, &instance).await;
    }
}

/// The state of each release, sorted.
async fn states(scene: &Scene) -> Vec<(u32, InstanceState)> {
    let found = scene.runtime.instances().await.expect("a list");
    let mut states: Vec<_> = found.into_iter().map(|found| (found.instance.release.0, found.state)).collect();
    states.sort_by_key(|(release, _)| *release);
    states
}

#[tokio::test]
async fn a_replaced_release_is_paused_and_goes_on_as_the_roll_back() {
    let scene = Scene::new().await;
    let (first, second) = (scene.deployment(Prod, 1, "serve"), scene.deployment(Prod, 2, "serve"));
    let one = scene.serve(&first).await;
    go_live(&scene, &first, &one).await;
    let two = scene.serve(&second).await;
    go_live(&scene, &second, &two).await;
    assert_eq!(states(&scene).await, [(1, InstanceState::Paused), (2, InstanceState::Running)]);
    let paused = scene.runtime.paused().await.expect("a list");
    assert_eq!(paused, std::slice::from_ref(&one), "and another builder on the same data sees it, too");
    assert_eq!(runtime(&scene.sandbox).paused().await.expect("a list"), paused);

    // It resumes with the number of the new release, at its own address.
    let third = scene.deployment(Prod, 3, "serve");
    let three = scene.runtime.resume(&third, ReleaseNumber(1)).await.expect("asked").expect("it is there");
    assert_eq!((three.release, &three.id, three.address), (ReleaseNumber(3), &one.id, one.address));
    scene.ready(&three, "/health", LONG).await.expect("it answers");
    go_live(&scene, &third, &three).await;
    assert_eq!(states(&scene).await, [(2, InstanceState::Paused), (3, InstanceState::Running)]);
    let stats = scene.runtime.stats(&scene.app.0, scene.app.1, Prod, ReleaseNumber(3)).await.expect("stats");
    assert_eq!(stats.map(|stats| (stats.ready, stats.wanted)), Some((1, 1)));
    let policy = scene.sandbox.docker.inspect_container(&three.id, None).await.expect("a container");
    let policy = policy.host_config.and_then(|host| host.restart_policy?.name);
    assert_eq!(policy, Some(bollard::models::RestartPolicyNameEnum::UNLESS_STOPPED), "it is the live one again");
    // A job that is restarted finds it.
    assert_eq!(scene.runtime.resume(&third, ReleaseNumber(1)).await, Ok(Some(three.clone())));
    assert_eq!(scene.start(&third).await, three);

    // With other secrets it would differ from a newly started instance.
    let mut fourth = scene.deployment(Prod, 4, "serve");
    fourth.secrets.insert("WORD".to_owned(), "another".to_owned().into());
    assert_eq!(scene.runtime.resume(&fourth, ReleaseNumber(2)).await, Ok(None));

    // The next paused release replaces it: there is at most one.
    let four = scene.serve(&scene.deployment(Prod, 4, "serve")).await;
    go_live(&scene, &scene.deployment(Prod, 4, "serve"), &four).await;
    assert_eq!(states(&scene).await, [(3, InstanceState::Paused), (4, InstanceState::Running)]);

    // A stopped release cannot be resumed, and a resumed release is not stopped.
    let late = three.clone();
    let fifth = scene.deployment(Prod, 5, "serve");
    let five = scene.runtime.resume(&fifth, ReleaseNumber(3)).await.expect("asked").expect("it is there");
    scene.runtime.end_replaced(&late).await.expect("nothing to do");
    scene.ready(&five, "/health", LONG).await.expect("it still answers");
    scene.runtime.end_replaced(&five).await.expect("it ends");
    assert_eq!(scene.runtime.resume(&fifth, ReleaseNumber(3)).await, Ok(None));
}

#[tokio::test]
async fn previews_and_crashed_releases_are_not_kept() {
    let scene = Scene::new().await;
    for release in 1..3 {
        let deployment = scene.deployment(Preview, release, "serve");
        let instance = scene.serve(&deployment).await;
        go_live(&scene, &deployment, &instance).await;
    }
    assert_eq!(states(&scene).await, [(2, InstanceState::Running)]);

    let first = scene.deployment(Prod, 1, "serve");
    let one = scene.serve(&first).await;
    go_live(&scene, &first, &one).await;
    scene.sandbox.docker.stop_container(&one.id, None).await.expect("it stops");
    let second = scene.deployment(Prod, 2, "serve");
    let two = scene.serve(&second).await;
    go_live(&scene, &second, &two).await;
    assert_eq!(states(&scene).await, [(2, InstanceState::Running), (2, InstanceState::Running)]);
}

#[tokio::test]
async fn what_is_paused_is_freed_first_when_memory_is_short() {
    let scene = Scene::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("meminfo");
    let available = |mib: u64| {
        let text = format!("MemTotal: {} kB\nMemAvailable: {} kB\n", 8 << 20, mib * 1024);
        std::fs::write(&file, text).expect("written");
    };
    available(4096);
    let memory = HostMemory::of_file(file.clone());
    let settings = DockerSettings {
        memory,
        ..settings(scene.sandbox.installation.clone(), firewall(&scene.sandbox.installation))
    };
    let scene = Scene { runtime: DockerRuntime::new(scene.sandbox.docker.clone(), settings), ..scene };
    two_releases(&scene).await;
    assert_eq!(states(&scene).await, [(1, InstanceState::Paused), (2, InstanceState::Running)]);
    // 1,100 MiB are enough now, but not for 128 MiB more of a new release.
    available(1100);
    assert!(!scene.runtime.is_memory_short());
    scene.serve(&scene.deployment(Preview, 1, "serve")).await;
    assert_eq!(states(&scene).await, [(1, InstanceState::Running), (2, InstanceState::Running)]);
    // No release is paused while memory is short.
    available(900);
    let third = scene.deployment(Prod, 3, "serve");
    let three = scene.serve(&third).await;
    go_live(&scene, &third, &three).await;
    assert_eq!(states(&scene).await, [(1, InstanceState::Running), (3, InstanceState::Running)]);
}

#[tokio::test]
async fn a_paused_release_does_not_come_back_with_the_engine_and_can_be_removed() {
    let scene = Scene::new().await;
    two_releases(&scene).await;
    let paused = scene.runtime.paused().await.expect("a list").pop().expect("one");
    let container = scene.sandbox.docker.inspect_container(&paused.id, None).await.expect("a container");
    let state = container.state.and_then(|state| state.status);
    assert_eq!(state, Some(ContainerStateStatusEnum::PAUSED));
    let policy = container.host_config.and_then(|host| host.restart_policy?.name);
    assert_eq!(policy, Some(bollard::models::RestartPolicyNameEnum::NO));
    scene.runtime.remove_app(&scene.app.0, scene.app.1).await.expect("all goes");
    eventually("nothing is left", LONG, async || {
        let found = scene.runtime.instances().await.expect("a list");
        found.is_empty()
    })
    .await;
}
