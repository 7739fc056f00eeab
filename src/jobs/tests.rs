//! Rollouts on a runtime in memory: what comes of failures, outages and cancellation at each step.

use super::testing::Scene;
use crate::domain::Environment::{Preview, Prod};
use crate::domain::{
    Author, EnvironmentState, Job, JobKind, JobState, PageRequest, ReleaseNumber, ReleaseState, RunState, RunTrigger,
};
use crate::runtime::RuntimeError;
use crate::runtime::memory::Call;

const PUBLISH: JobKind = JobKind::Publish { release: ReleaseNumber(1) };
/// The steps of a rollout that ask the runtime.
const STEPS: [Call; 3] = [Call::Start, Call::WaitReady, Call::Switch];

fn code(job: &Job) -> &str {
    job.error.as_ref().map_or("", |error| error.code.as_str())
}

/// An app with a live release 1 in preview and in production.
async fn published() -> Scene {
    let scene = Scene::new().await;
    scene.live(Preview).await;
    scene.live(Prod).await;
    scene
}

/// The old release serves on, and the new one is gone.
async fn assert_old_one_serves(scene: &Scene, what: &str) {
    assert_eq!(scene.routed_to(Prod), Some(1), "{what}");
    assert_eq!(scene.memory.releases(Prod), [1], "{what}");
    assert_eq!(scene.environment(Prod).await, (EnvironmentState::Ready, Some(1)), "{what}");
    assert_eq!(scene.release_states(Prod).await[&1], ReleaseState::Ready, "{what}");
}

#[tokio::test]
async fn a_rollout_switches_traffic_and_removes_what_was_before() {
    let scene = published().await;
    let job = scene.run(PUBLISH).await;
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);
    assert_eq!(scene.routed_to(Prod), Some(2));
    assert_eq!(scene.environment(Prod).await, (EnvironmentState::Ready, Some(2)));
    assert_eq!(scene.release_states(Prod).await[&1], ReleaseState::Retired);
    scene.memory.until_releases(Prod, &[2]).await;
    assert_eq!(scene.memory.releases(Preview), [1], "the other environment is left alone");
}

#[tokio::test]
async fn a_roll_back_is_a_rollout_of_an_earlier_image() {
    let scene = published().await;
    scene.run(PUBLISH).await;
    let back = JobKind::Rollback { environment: Prod, release: ReleaseNumber(1) };
    let job = scene.run(back).await;
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);
    assert_eq!(scene.routed_to(Prod), Some(3));
    let release = async |number| {
        scene.platform.store.release(scene.app.id, Prod, ReleaseNumber(number)).await.expect("a release")
    };
    assert_eq!(release(3).await.image, release(1).await.image);
    scene.memory.until_releases(Prod, &[3]).await;
}

#[tokio::test]
async fn the_live_release_can_be_deployed_again() {
    let scene = published().await;
    let job = scene.run(JobKind::Rollback { environment: Prod, release: ReleaseNumber(1) }).await;
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);
    assert_eq!(scene.routed_to(Prod), Some(2));
    let again = scene.platform.store.release(scene.app.id, Prod, ReleaseNumber(2)).await.expect("a release");
    assert_eq!((again.from_release, again.author), (Some(ReleaseNumber(1)), Some(Author::Person)));
    scene.memory.until_releases(Prod, &[2]).await;
}

#[tokio::test]
async fn while_a_release_that_never_answers_is_tried_the_old_one_serves_on() {
    let scene = published().await;
    scene.memory.silence(Prod, 2);
    let job = scene.run(PUBLISH).await;
    assert_eq!((job.state, code(&job)), (JobState::Failed, "health_check_failed"));
    assert_old_one_serves(&scene, "it never answered").await;
    assert_eq!(scene.release_states(Prod).await[&2], ReleaseState::Failed);
}

#[tokio::test]
async fn of_a_first_release_that_never_answers_nothing_is_left() {
    let scene = Scene::new().await;
    scene.live(Preview).await;
    scene.memory.silence(Prod, 1);
    let job = scene.run(PUBLISH).await;
    assert_eq!((job.state, code(&job)), (JobState::Failed, "health_check_failed"));
    assert_eq!(scene.memory.releases(Prod), [0_u32; 0]);
    assert_eq!(scene.environment(Prod).await, (EnvironmentState::Failed, None));
    assert_eq!(scene.platform.traffic.routes().state(&scene.app.name, Prod), None);
}

#[tokio::test]
async fn an_outage_of_a_cluster_at_each_step_is_waited_out() {
    let scene = published().await;
    for step in STEPS {
        scene.memory.fail(step, RuntimeError::ClusterUnavailable("connection refused".to_owned()));
    }
    let job = scene.run(PUBLISH).await;
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);
    assert_eq!(scene.routed_to(Prod), Some(2));
    scene.memory.until_releases(Prod, &[2]).await;
}

#[tokio::test]
async fn an_error_at_each_step_leaves_the_old_release() {
    for step in STEPS {
        let scene = published().await;
        scene.memory.fail(step, RuntimeError::Unavailable("The Docker engine cannot be reached.".to_owned()));
        let job = scene.run(PUBLISH).await;
        assert_eq!((job.state, code(&job)), (JobState::Failed, "docker_unavailable"), "{step:?}");
        assert_old_one_serves(&scene, &format!("{step:?}")).await;
        assert_eq!(scene.release_states(Prod).await[&2], ReleaseState::Failed, "{step:?}");
    }
}

#[tokio::test]
async fn a_cancel_at_each_step_leaves_the_old_release() {
    for step in STEPS {
        let scene = published().await;
        scene.memory.hold(step);
        let queued = scene.jobs.enqueue(&scene.app, PUBLISH, Author::Person).await.expect("queued");
        let cancel = async {
            scene.memory.until_held(step).await;
            scene.jobs.cancel(queued.id).await.expect("asked for");
        };
        let (job, ()) = tokio::join!(scene.jobs.run_next(), cancel);
        assert_eq!(job.expect("it is taken").state, JobState::Cancelled, "{step:?}");
        assert_old_one_serves(&scene, &format!("{step:?}")).await;
    }
}

#[tokio::test]
async fn traffic_goes_back_to_the_old_release_where_the_take_over_cannot_be_recorded() {
    let scene = published().await;
    let refuse = "CREATE TRIGGER refuse BEFORE UPDATE OF state ON releases WHEN NEW.state = 'ready'
                  BEGIN SELECT RAISE(ABORT, 'the disk is full'); END";
    let refused = scene.platform.events.commit(move |t| {
        t.execute_batch(refuse)?;
        Ok(((), Vec::new()))
    });
    refused.await.expect("a trigger");
    let job = scene.run(PUBLISH).await;
    assert_eq!(job.state, JobState::Failed);
    assert_old_one_serves(&scene, "not recorded").await;
}

#[tokio::test]
async fn a_job_that_died_after_the_take_over_removes_the_old_release_when_it_is_taken_up() {
    let scene = published().await;
    scene.run(PUBLISH).await;
    scene.memory.until_releases(Prod, &[2]).await;
    // As if the process had died before the old one was removed, and before the job had ended.
    scene.memory.leave(&scene.app.name, scene.app.id, Prod, 1);
    let mut jobs = scene.platform.store.recent_jobs(scene.app.id, 1).await.expect("jobs");
    let id = jobs.remove(0).id;
    let again = scene.platform.events.commit(move |t| {
        t.execute("UPDATE jobs SET state = 'queued', finished_at = NULL WHERE id = ?1", [id.0])?;
        Ok(((), Vec::new()))
    });
    again.await.expect("queued again");
    let job = scene.jobs.run_next().await.expect("it is taken");
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);
    assert_eq!(scene.memory.releases(Prod), [2]);
    assert_eq!(scene.environment(Prod).await, (EnvironmentState::Ready, Some(2)));
}

#[tokio::test]
async fn a_scheduled_job_proves_itself_by_a_run_and_then_runs_by_its_schedule() {
    let scene = Scene::of("scheduled-job").await;
    scene.recorded(Preview).await;
    let again = JobKind::Rollback { environment: Preview, release: ReleaseNumber(1) };
    let job = scene.run(again).await;
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);
    let runs = scene.platform.store.runs(scene.app.id, PageRequest::first(9)).await.expect("runs").items;
    assert_eq!((runs.len(), runs[0].trigger, runs[0].state), (1, RunTrigger::Check, RunState::Succeeded));
    assert!(scene.memory.with(|state| state.schedules.is_empty()), "a preview runs by no schedule");

    let job = scene.run(JobKind::Publish { release: ReleaseNumber(2) }).await;
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);
    assert_eq!(scene.memory.with(|state| state.schedules.len()), 1);
}

#[tokio::test]
async fn a_check_ends_with_the_job_that_is_cancelled() {
    let scene = Scene::of("scheduled-job").await;
    scene.recorded(Preview).await;
    scene.memory.hold(Call::Run);
    let again = JobKind::Rollback { environment: Preview, release: ReleaseNumber(1) };
    let queued = scene.jobs.enqueue(&scene.app, again, Author::Person).await.expect("queued");
    let cancel = async {
        scene.memory.until_held(Call::Run).await;
        scene.jobs.cancel(queued.id).await.expect("asked for");
    };
    let (job, ()) = tokio::join!(scene.jobs.run_next(), cancel);
    assert_eq!(job.expect("it is taken").state, JobState::Cancelled);
    assert!(scene.memory.with(|state| state.runs.is_empty()), "nothing of it is left");
    assert!(scene.platform.store.open_runs().await.expect("runs").is_empty());
    assert_eq!(scene.environment(Preview).await, (EnvironmentState::Ready, Some(1)));
}
