//! Tests of reconciling, with a runtime in memory.

use std::time::Duration;

use super::instances::restore_one;
use super::{reconcile, record_scheduled, watch};
use crate::domain::Environment::{Preview, Prod};
use crate::domain::{Author, EnvironmentState, JobKind, ReleaseNumber, RunId, RunState, RunTrigger};
use crate::gateway::RouteState;
use crate::jobs::testing::Scene;
use crate::runtime::memory::Call;
use crate::runtime::{InstanceEvent, InstanceEventKind, InstanceState, LeftRun, RuntimeError, ScheduledRun};

#[tokio::test]
async fn a_live_release_that_is_found_is_routed_to() {
    let scene = Scene::new().await;
    scene.recorded(Prod).await;
    scene.memory.leave(&scene.app.name, scene.app.id, Prod, 1);
    reconcile(&scene.platform).await.expect("reconciled");
    assert_eq!(scene.routed_to(Prod), Some(1));
    assert_eq!(scene.memory.releases(Prod), [1]);
}

#[tokio::test]
async fn a_live_release_that_crashes_again_and_again_stays_as_the_watch_says() {
    let scene = Scene::new().await;
    scene.live(Prod).await;
    let instance = scene.memory.with(|state| {
        state.instances[0].state = InstanceState::Restarting;
        state.instances[0].instance.clone()
    });
    let died = InstanceEvent { instance, kind: InstanceEventKind::Died { code: None, oom: false } };
    watch::take(&scene.platform, died, Duration::ZERO).await;
    reconcile(&scene.platform).await.expect("reconciled");
    assert_eq!((scene.environment(Prod).await.0, scene.routed_to(Prod)), (EnvironmentState::Stopped, None));
    assert_eq!(scene.memory.releases(Prod), [1], "it is left to restart");
    scene.memory.with(|state| state.instances[0].state = InstanceState::Running);
    reconcile(&scene.platform).await.expect("reconciled");
    assert_eq!((scene.environment(Prod).await.0, scene.routed_to(Prod)), (EnvironmentState::Ready, Some(1)));
}

#[tokio::test]
async fn a_live_release_that_is_gone_is_started_again() {
    let scene = Scene::new().await;
    scene.recorded(Prod).await;
    reconcile(&scene.platform).await.expect("reconciled");
    assert_eq!(scene.memory.releases(Prod), [1]);
    assert_eq!(scene.routed_to(Prod), Some(1));
    assert_eq!(scene.environment(Prod).await, (EnvironmentState::Ready, Some(1)));
}

#[tokio::test]
async fn a_live_release_that_does_not_come_back_is_shown_as_stopped_and_tried_again() {
    let scene = Scene::new().await;
    scene.recorded(Prod).await;
    scene.memory.fail(Call::Start, RuntimeError::CannotStart("no memory is left".to_owned()));
    reconcile(&scene.platform).await.expect("reconciled");
    assert_eq!(scene.environment(Prod).await, (EnvironmentState::Stopped, Some(1)));
    assert_eq!(scene.routed_to(Prod), None);
    reconcile(&scene.platform).await.expect("reconciled");
    assert_eq!(scene.environment(Prod).await, (EnvironmentState::Ready, Some(1)));
}

#[tokio::test]
async fn a_live_release_that_a_waiting_job_replaces_is_not_started_again() {
    let scene = Scene::new().await;
    scene.recorded(Preview).await;
    scene.recorded(Prod).await;
    scene
        .jobs
        .enqueue(&scene.app, JobKind::Publish { release: ReleaseNumber(1) }, Author::Person)
        .await
        .expect("queued");
    reconcile(&scene.platform).await.expect("reconciled");
    assert_eq!(scene.memory.releases(Prod), [0_u32; 0]);
    assert_eq!(scene.memory.releases(Preview), [1], "the other environment's is");
}

#[tokio::test]
async fn an_orphan_is_removed_and_what_is_on_its_way_is_not() {
    let scene = Scene::new().await;
    scene.recorded(Prod).await;
    scene.live(Prod).await;
    let on_its_way = scene.begun(Prod).await;
    for release in [1, on_its_way.number.0, 9] {
        scene.memory.leave(&scene.app.name, scene.app.id, Prod, release);
    }
    let stranger = "stranger".parse().expect("a name");
    scene.memory.leave(&stranger, crate::domain::AppId(77), Preview, 1);
    reconcile(&scene.platform).await.expect("reconciled");
    assert_eq!(scene.memory.releases(Prod), [2, 3], "1 is retired, and 9 is nobody's");
    assert_eq!(scene.memory.releases(Preview), [0_u32; 0], "its app is not known");
}

#[tokio::test]
async fn an_outage_is_told_and_the_next_reconcile_does_the_rest() {
    let scene = Scene::new().await;
    scene.recorded(Prod).await;
    scene.memory.fail(Call::Instances, RuntimeError::Unavailable("The Docker engine cannot be reached.".to_owned()));
    let error = reconcile(&scene.platform).await.expect_err("it is away");
    assert_eq!(error.code, "docker_unavailable");
    reconcile(&scene.platform).await.expect("it is back");
    assert_eq!(scene.routed_to(Prod), Some(1));
}

#[tokio::test]
async fn a_release_that_was_replaced_while_it_was_restored_is_removed_again() {
    let scene = Scene::new().await;
    scene.recorded(Prod).await;
    scene.memory.hold(Call::WaitReady);
    let replace = async {
        scene.memory.until_held(Call::WaitReady).await;
        scene.live(Prod).await;
        scene.memory.go_on();
    };
    let (restored, ()) = tokio::join!(restore_one(&scene.platform, scene.app.id, Prod, false), replace);
    restored.expect("restored");
    assert_eq!(scene.routed_to(Prod), Some(2));
    assert_eq!(scene.memory.releases(Prod), [2]);
}

#[tokio::test]
async fn an_instance_that_somebody_takes_down_is_shown_as_stopped_and_put_back() {
    let scene = Scene::new().await;
    scene.live(Prod).await;
    let instance = scene.memory.with(|state| state.instances[0].instance.clone());
    scene.memory.hold(Call::Start);
    let event = scene.memory.take_down(&instance);
    watch::take(&scene.platform, event, Duration::ZERO).await;
    scene.memory.until_held(Call::Start).await;
    assert_eq!(scene.environment(Prod).await, (EnvironmentState::Stopped, Some(1)));
    let route = scene.platform.traffic.routes().state(&scene.app.name, Prod);
    assert_eq!(route, Some(RouteState::Stopped));

    scene.memory.go_on();
    while scene.environment(Prod).await.0 != EnvironmentState::Ready {
        tokio::task::yield_now().await;
    }
    assert_eq!(scene.routed_to(Prod), Some(1));
    assert_eq!(scene.memory.releases(Prod), [1]);
}

#[tokio::test]
async fn an_instance_that_dies_is_shown_as_stopped_until_it_runs_again() {
    let scene = Scene::new().await;
    scene.live(Prod).await;
    let instance = scene.memory.with(|state| state.instances[0].instance.clone());
    let happens = async |kind| {
        let event = InstanceEvent { instance: instance.clone(), kind };
        watch::take(&scene.platform, event, Duration::ZERO).await;
    };
    happens(InstanceEventKind::Died { code: Some(1), oom: false }).await;
    assert_eq!((scene.environment(Prod).await.0, scene.routed_to(Prod)), (EnvironmentState::Stopped, None));
    happens(InstanceEventKind::Started).await;
    assert_eq!((scene.environment(Prod).await.0, scene.routed_to(Prod)), (EnvironmentState::Ready, Some(1)));
    // An event of another release does not change the state of the live one.
    scene.live(Prod).await;
    happens(InstanceEventKind::Died { code: Some(1), oom: false }).await;
    assert_eq!((scene.environment(Prod).await.0, scene.routed_to(Prod)), (EnvironmentState::Ready, Some(2)));
}

/// A run of the app's release 1 in production that an earlier builder process left.
fn left(scene: &Scene, run: RunId) -> LeftRun {
    LeftRun {
        id: format!("run-{run}"),
        app: scene.app.name.clone(),
        app_id: scene.app.id,
        environment: Prod,
        release: ReleaseNumber(1),
        run,
        started_at: None,
        running: true,
    }
}

async fn insert_run(scene: &Scene, trigger: RunTrigger) -> RunId {
    let (store, now) = (&scene.platform.store, scene.platform.clock.now());
    store.insert_run(scene.app.id, Prod, ReleaseNumber(1), trigger, now).await.expect("a run").id
}

/// Waits until the end of a run is recorded.
async fn followed(scene: &Scene, run: RunId) {
    while scene.platform.followed_runs.contains(run) {
        tokio::task::yield_now().await;
    }
}

async fn run_state(scene: &Scene, run: RunId) -> RunState {
    scene.platform.store.run(run).await.expect("a run").1.state
}

#[tokio::test]
async fn a_run_that_goes_on_without_its_builder_is_followed_to_its_end() {
    let scene = Scene::of("scheduled-job").await;
    scene.live(Prod).await;
    let run = insert_run(&scene, RunTrigger::Manual).await;
    scene.memory.with(|state| state.runs.push((left(&scene, run), None)));
    reconcile(&scene.platform).await.expect("reconciled");
    assert_eq!(run_state(&scene, run).await, RunState::Running);
    // A second pass does not follow the run again.
    reconcile(&scene.platform).await.expect("reconciled");
    scene.memory.end_run(run, 0);
    followed(&scene, run).await;
    assert_eq!(run_state(&scene, run).await, RunState::Succeeded);
    assert!(scene.memory.with(|state| state.runs.is_empty()));
}

#[tokio::test]
async fn a_run_of_which_nothing_is_left_has_failed_and_one_that_nobody_knows_is_ended() {
    let scene = Scene::of("scheduled-job").await;
    scene.live(Prod).await;
    let lost = insert_run(&scene, RunTrigger::Schedule).await;
    scene.memory.with(|state| state.runs.push((left(&scene, RunId(lost.0 + 50)), None)));
    reconcile(&scene.platform).await.expect("reconciled");
    assert_eq!(run_state(&scene, lost).await, RunState::Failed);
    assert!(scene.memory.with(|state| state.runs.is_empty()), "nobody waits for it");
}

#[tokio::test]
async fn a_check_whose_job_is_over_is_ended() {
    let scene = Scene::of("scheduled-job").await;
    scene.live(Prod).await;
    let check = insert_run(&scene, RunTrigger::Check).await;
    scene.memory.with(|state| state.runs.push((left(&scene, check), None)));
    reconcile(&scene.platform).await.expect("reconciled");
    assert_eq!(run_state(&scene, check).await, RunState::Failed);
    assert!(scene.memory.with(|state| state.runs.is_empty()));
}

#[tokio::test]
async fn a_run_that_the_runtime_starts_by_a_schedule_gets_a_number_and_an_end() {
    let scene = Scene::of("scheduled-job").await;
    scene.live(Prod).await;
    let schedules = scene.platform.runtime.schedules.clone().expect("it keeps schedules");
    let recording = tokio::spawn(record_scheduled(scene.platform.clone(), schedules));
    while !scene.memory.is_listened_to() {
        tokio::task::yield_now().await;
    }
    let begun = ScheduledRun {
        id: "tides-prod-1".to_owned(),
        app: scene.app.name.clone(),
        app_id: scene.app.id,
        environment: Prod,
        release: ReleaseNumber(1),
        started_at: scene.platform.clock.now(),
    };
    // The run is reported more than once.
    for _ in 0..2 {
        scene.memory.run_by_schedule(begun.clone());
    }
    scene.memory.until(|state| state.runs.len() == 1).await;
    let run = scene.memory.with(|state| state.runs[0].0.run);
    scene.memory.end_run(run, 3);
    scene.memory.until(|state| state.runs.is_empty()).await;
    followed(&scene, run).await;
    let (_, run) = scene.platform.store.run(run).await.expect("a run");
    assert_eq!((run.trigger, run.state, run.exit_code), (RunTrigger::Schedule, RunState::Failed, Some(3)));
    recording.abort();
}
