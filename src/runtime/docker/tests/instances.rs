//! Tests how instances start, become ready, are hardened and isolated, and are removed.

use bollard::models::RestartPolicyNameEnum;
use serde_json::Value;
use tokio::time::Instant;

use super::*;
use crate::domain::Environment::{Preview, Prod};
use crate::engine::testing::eventually;
use crate::gateway::RouteState;
use crate::runtime::{InstanceState, Runtime};

#[tokio::test]
async fn the_deployment_rules_hold_outside_and_inside() {
    let scene = Scene::new().await;
    let instance = scene.serve(&scene.deployment(Preview, 1, "serve")).await;

    let container = scene.sandbox.docker.inspect_container(&instance.id, None).await.expect("a container");
    let host = container.host_config.expect("a host config");
    assert_eq!(host.memory, Some(128 << 20));
    assert_eq!(host.memory_swap, host.memory, "no swap");
    assert_eq!(host.nano_cpus, Some(500_000_000));
    assert_eq!(host.pids_limit, Some(128));
    assert_eq!(host.cap_drop, Some(vec!["ALL".to_owned()]));
    assert_eq!(host.cap_add, None);
    assert_eq!(host.security_opt, Some(crate::engine::seccomp::security_options()));
    assert_eq!((host.privileged, host.readonly_rootfs, host.init), (Some(false), Some(true), Some(true)));
    assert!(host.binds.is_none() && host.port_bindings.unwrap_or_default().is_empty());
    assert_eq!(
        host.restart_policy.and_then(|policy| policy.name),
        Some(RestartPolicyNameEnum::UNLESS_STOPPED),
        "it has answered"
    );
    let log = host.log_config.expect("a log config");
    let options = log.config.expect("options");
    assert_eq!(log.typ.as_deref(), Some("local"));
    assert_eq!((options["mode"].as_str(), options["max-size"].as_str()), ("non-blocking", "10m"));
    assert!(container.mounts.unwrap_or_default().is_empty(), "a volume of the image is no place to write");
    let labels = container.config.expect("a config").labels.expect("labels");
    assert_eq!(labels["app.kubernetes.io/managed-by"], "slipway");
    assert_eq!(labels["slipway.dev/app"], scene.app.0.as_str());
    assert_eq!((labels["slipway.dev/environment"].as_str(), labels["slipway.dev/release"].as_str()), ("preview", "1"));

    let report: Value =
        serde_json::from_str(&get(instance.address, "/self").await.expect("an answer")).expect("a report");
    assert_eq!((&report["uid"], &report["gid"]), (&10001.into(), &10001.into()));
    for set in report["capabilities"].as_array().expect("sets") {
        assert_eq!(set, "0000000000000000");
    }
    assert_eq!((&report["no_new_privileges"], &report["seccomp"]), (&"1".into(), &"2".into()));
    assert_eq!(report["write_root"], "Read-only file system");
    assert_eq!(report["write_app"], "Read-only file system");
    assert_eq!(report["write_tmp"], "ok");
    assert_eq!(report["fill_tmp"], "No space left on device");
    assert_eq!(report["fill_data"], "No space left on device");
    assert_eq!(report["chown"], "Operation not permitted");
    assert_eq!((&report["hostname"], &report["first_process"]), (&"app".into(), &"docker-init".into()));
    assert_eq!(report["docker_socket"], false);
    assert_eq!(report["io_uring"], "Operation not permitted");
    assert_eq!((&report["word"], &report["port"]), (&"only the app knows".into(), &"8080".into()));
}

#[tokio::test]
async fn how_a_release_runs_is_measured() {
    let scene = Scene::new().await;
    let deployment = scene.deployment(Preview, 1, "serve");
    let stats = async |release| {
        scene.runtime.stats(&scene.app.0, scene.app.1, Preview, ReleaseNumber(release)).await.expect("stats")
    };
    assert_eq!(stats(1).await, None, "nothing is there");

    let instance = scene.serve(&deployment).await;
    let running = stats(1).await.expect("it is there");
    assert_eq!((running.ready, running.wanted, running.restarts), (1, 1, 0));
    assert_eq!(running.memory_limit_bytes, Some(128 << 20));
    assert!(running.memory_bytes.is_some_and(|bytes| (1..128 << 20).contains(&bytes)), "{running:?}");
    assert!(running.cpu_millis.is_some_and(|millis| millis <= 2_000), "{running:?}");
    assert_eq!(stats(2).await, None, "that is another release");

    // The app crashes: the engine restarts it and counts the restart.
    let _ = get(instance.address, "/crash").await;
    eventually("it runs again", LONG, async || {
        stats(1).await.is_some_and(|stats| (stats.ready, stats.restarts) == (1, 1))
    })
    .await;

    scene.sandbox.docker.stop_container(&instance.id, None).await.expect("it stops");
    let stopped = stats(1).await.expect("it is there");
    assert_eq!((stopped.ready, stopped.wanted, stopped.memory_bytes, stopped.cpu_millis), (0, 1, None, None));
}

#[tokio::test]
async fn starting_twice_is_starting_once() {
    let scene = Scene::new().await;
    let deployment = scene.deployment(Preview, 3, "serve");
    let first = scene.serve(&deployment).await;
    assert_eq!(scene.start(&deployment).await, first);
    // Another builder with the same data directory finds it as well.
    assert_eq!(runtime(&scene.sandbox).start(&deployment, &CancellationToken::new()).await, Ok(first.clone()));

    // A stopped container is replaced.
    scene.sandbox.docker.kill_container(&first.id, None).await.expect("it dies");
    let second = scene.serve(&deployment).await;
    assert_ne!(second.id, first.id);
    assert_eq!(get(second.address, "/health").await.expect("an answer"), "ok");

    let cancelled = CancellationToken::new();
    cancelled.cancel();
    let stopped = scene.runtime.start(&scene.deployment(Preview, 4, "serve"), &cancelled).await;
    assert_eq!(stopped, Err(RuntimeError::Cancelled));
    let found = scene.runtime.instances().await.expect("a list");
    assert!(found.iter().all(|found| found.instance.release != ReleaseNumber(4)), "{found:?}");

    let mut nowhere = scene.deployment(Preview, 5, "serve");
    nowhere.image = format!("slipway/none@sha256:{}", "0".repeat(64)).parse().expect("an image");
    let missing = scene.runtime.start(&nowhere, &CancellationToken::new()).await;
    assert_eq!(missing, Err(RuntimeError::ImageMissing(nowhere.image)));
}

#[tokio::test]
async fn an_app_that_ends_at_its_start_is_noticed_at_once() {
    let scene = Scene::new().await;
    let instance = scene.start(&scene.deployment(Preview, 1, "exit")).await;
    let begun = Instant::now();
    let ended = scene.ready(&instance, "/health", LONG).await.expect_err("it has ended");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    let RuntimeError::Exited { code, oom, lines } = &ended else { panic!("{ended:?}") };
    assert_eq!((*code, *oom, lines.len()), (7, false, 20));
    assert!(lines.contains(&"ModuleNotFoundError: No module named 'nope'".to_owned()), "{lines:?}");
    assert!(ended.to_string().contains("exit code 7"), "{ended}");

    let instance = scene.start(&scene.deployment(Preview, 2, "oom")).await;
    let ended = scene.ready(&instance, "/health", LONG).await.expect_err("it has ended");
    assert!(matches!(ended, RuntimeError::Exited { oom: true, .. }), "{ended:?}");
}

#[tokio::test]
async fn an_app_that_does_not_answer_well_is_not_ready() {
    let scene = Scene::new().await;
    let instance = scene.serve(&scene.deployment(Preview, 1, "serve")).await;
    let short = Duration::from_millis(300);
    let broken = scene.ready(&instance, "/broken", short).await.expect_err("it answers 500");
    assert!(broken.to_string().contains("GET /broken answered 500"), "{broken}");
    // On a busy machine the probe may close its connection early, and the app's server logs that.
    assert_eq!(broken.lines().first().map(String::as_str), Some("serving"));

    let instance = scene.start(&scene.deployment(Preview, 2, "hang")).await;
    let silent = scene.ready(&instance, "/health", short).await.expect_err("it does not listen");
    assert!(silent.to_string().contains("nothing listens on port 8080"), "{silent}");
    let cancel = CancellationToken::new();
    cancel.cancel();
    let stopped = scene.runtime.wait_ready(&instance, &probe("/"), LONG, &cancel).await;
    assert_eq!(stopped, Err(RuntimeError::Cancelled));
    // As process 1, `sleep` would ignore SIGTERM; the container's init is process 1 and forwards the signal.
    let begun = Instant::now();
    scene.runtime.stop(&instance).await.expect("it stops");
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    scene.runtime.stop(&instance).await.expect("already gone");
}

#[tokio::test]
async fn apps_meet_only_themselves() {
    let scene = Scene::new().await;
    let other = scene.sandbox.app();
    let preview = scene.serve(&scene.deployment(Preview, 1, "serve")).await;
    let prod = scene.serve(&scene.deployment(Prod, 1, "serve")).await;
    let stranger = scene.serve(&scene.deployment_of(&other, Prod, 1, "serve")).await;
    let reach = async |target: &Instance| {
        let ip = target.address.expect("an address").ip();
        get(preview.address, &format!("/reach/{ip}/8080")).await.expect("an answer")
    };
    assert_eq!(reach(&prod).await, "ok");
    assert_ne!(reach(&stranger).await, "ok");

    // Removing one does not change the other.
    scene.runtime.remove_app(&scene.app.0, scene.app.1).await.expect("a removal");
    scene.runtime.remove_app(&scene.app.0, scene.app.1).await.expect("already gone");
    let left = scene.runtime.instances().await.expect("a list");
    assert_eq!(left.iter().map(|found| &found.instance).collect::<Vec<_>>(), [&stranger]);
    assert_eq!(get(stranger.address, "/health").await.expect("an answer"), "ok");
    let filter = scene.sandbox.installation.app_filter(&scene.app.0, scene.app.1);
    let options = bollard::query_parameters::ListNetworksOptionsBuilder::new().filters(&filter).build();
    assert!(scene.sandbox.docker.list_networks(Some(options)).await.expect("a list").is_empty());
}

#[tokio::test]
async fn apps_outlive_their_builder_and_keep_their_address() {
    let scene = Scene::new().await;
    let instance = scene.serve(&scene.deployment(Prod, 2, "serve")).await;
    // An instance of preview must not get the address while prod is down.
    let builder = runtime(&scene.sandbox);
    let found = builder.instances().await.expect("a list");
    assert_eq!(found.len(), 1);
    assert_eq!((&found[0].instance, found[0].state), (&instance, InstanceState::Running));

    scene.sandbox.docker.stop_container(&instance.id, None).await.expect("it stops");
    let preview = scene.serve(&scene.deployment(Preview, 1, "serve")).await;
    assert_ne!(preview.address, instance.address);
    let found = builder.instances().await.expect("a list");
    let state = found.iter().find(|found| found.instance.id == instance.id).map(|found| found.state);
    assert_eq!(state, Some(InstanceState::Stopped));
    scene.sandbox.docker.start_container(&instance.id, None).await.expect("it starts");
    scene.ready(&instance, "/health", LONG).await.expect("it answers again");

    // The engine restarts a crashed container, at the same address.
    let _ = get(instance.address, "/crash").await;
    eventually("it answers again after a crash", LONG, async || {
        get(instance.address, "/health").await.is_ok_and(|answer| answer == "ok")
    })
    .await;
    let container = scene.sandbox.docker.inspect_container(&instance.id, None).await.expect("a container");
    assert_eq!(container.restart_count, Some(1));
}

#[tokio::test]
async fn an_engine_that_is_away_is_told_apart() {
    let docker = crate::engine::connect(Some("unix:///nowhere/docker.sock")).expect("a client");
    let installation = "t".parse().expect("a name");
    let firewall = firewall(&installation);
    let settings = settings(installation, firewall);
    let runtime = DockerRuntime::new(docker, settings);
    assert!(matches!(runtime.ping().await, Err(RuntimeError::Unavailable(why)) if why.contains("cannot be reached")));
    assert!(matches!(runtime.instances().await, Err(RuntimeError::Unavailable(_))));
}

#[tokio::test]
async fn a_switch_changes_the_route_and_removes_what_it_replaced() {
    let scene = Scene::new().await;
    let (runtime, never) = (Runtime::from(scene.runtime.clone()), CancellationToken::new());
    let switch = async |deployment: &Deployment, instance: &Instance| {
        let switched = runtime.releases.switch(deployment, instance, &probe("/health"), LONG, &|_| {}, &never).await;
        switched.expect("it switches")
    };
    let routed_to = || match scene.runtime.inner.settings.traffic.routes().state(&scene.app.0, Preview) {
        Some(RouteState::Up(upstream)) => Some(upstream.release.0),
        _ => None,
    };
    let there = async || {
        let found = scene.runtime.instances().await.expect("a list").into_iter();
        let mut there: Vec<_> = found.map(|f| (f.instance.environment, f.instance.release.0)).collect();
        there.sort_unstable();
        there
    };
    let [one, two, three] = [1, 2, 3].map(|release| scene.deployment(Preview, release, "serve"));
    let first = scene.serve(&one).await;
    switch(&one, &first).await.keep().await;
    scene.serve(&scene.deployment(Prod, 1, "serve")).await;
    let second = scene.serve(&two).await;
    drop(switch(&two, &second).await);
    assert_eq!(routed_to(), Some(1), "the switch was not kept");
    switch(&two, &second).await.keep().await;
    assert_eq!(routed_to(), Some(2));
    let wanted = [(Preview, 2), (Prod, 1)];
    eventually("the old release is removed", LONG, async || there().await == wanted).await;

    // Removing an instance that never received traffic does not change the live one.
    scene.start(&three).await;
    runtime.releases.abandon(&three, Some(&two)).await.expect("it is ended");
    assert_eq!(there().await, wanted);
    assert_eq!(routed_to(), Some(2));
}
