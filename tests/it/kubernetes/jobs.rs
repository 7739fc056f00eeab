//! Scheduled jobs: the cluster starts them, the builder knows of every run.

use k8s_openapi::api::batch::v1::Job;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::{Api, discovery};
use slipway::domain::{Environment, JobState, PageRequest, Run, RunState, RunTrigger};

use super::stage::{Stage, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_runs_by_its_schedule_and_on_demand() {
    let stage = Stage::new().await;
    let app = stage.app("scheduled-job").await;
    stage.write(&app, "job.py", "print('the work is done')\n").await;
    stage.write(&app, "app.toml", "schedule = \"* * * * *\"\n").await;
    let job = stage.preview(&app).await;
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);
    let job = stage.publish(&app).await;
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);

    let group = discovery::group(&stage.operator, "batch").await.expect("a group");
    let resource = group
        .versioned_resources("v1")
        .into_iter()
        .chain(group.versioned_resources("v1beta1"))
        .map(|(resource, _)| resource)
        .find(|resource| resource.kind == "CronJob")
        .unwrap_or_else(|| ApiResource::from_gvk(&GroupVersionKind::gvk("batch", "v1", "CronJob")));
    let schedules: Api<DynamicObject> =
        Api::namespaced_with(stage.operator.clone(), &format!("app-{}", app.name), &resource);
    let schedule = schedules.get(&format!("{}-prod", app.name)).await.expect("a CronJob");
    assert_eq!(schedule.data["spec"]["schedule"], "* * * * *");

    let ended = async |trigger: RunTrigger| -> Run {
        until("the run has ended", async || {
            let runs = stage.services.runs(&app, PageRequest::first(100)).await.expect("runs");
            runs.items.into_iter().find(|run| run.trigger == trigger && run.state != RunState::Running)
        })
        .await
    };
    let log = async |run: &Run| stage.services.run_log(&app, run.id).await.expect("a log");
    let check = ended(RunTrigger::Check).await;
    assert_eq!((check.state, check.exit_code), (RunState::Succeeded, Some(0)));
    assert_eq!(log(&check).await.trim(), "the work is done");

    let by_schedule = ended(RunTrigger::Schedule).await;
    assert_eq!((by_schedule.state, by_schedule.exit_code), (RunState::Succeeded, Some(0)), "{by_schedule:?}");
    assert_eq!(log(&by_schedule).await.trim(), "the work is done");

    // A failing version is refused by its check; a manual run is one more Job.
    let run =
        until("no other run is going on", async || stage.services.run_now(&app.name, Environment::Prod).await.ok())
            .await;
    let manual = ended(RunTrigger::Manual).await;
    assert_eq!(manual.id, run.id);
    assert_eq!(manual.exit_code, Some(0));
    stage.write(&app, "job.py", "print('it broke')\nraise SystemExit(7)\n").await;
    let job = stage.preview(&app).await;
    let error = job.error.expect("an error");
    assert_eq!(error.code, "run_failed", "{error:?}");
    assert!(error.message.contains('7') && error.lines.iter().any(|line| line.contains("it broke")), "{error:?}");

    // Another version has another schedule; rolled back, the one before has its own again.
    let published = async |cron: &str| {
        stage.write(&app, "job.py", "print('the work is done')\n").await;
        stage.write(&app, "app.toml", &format!("schedule = \"{cron}\"\n")).await;
        assert_eq!(stage.preview(&app).await.state, JobState::Succeeded);
        assert_eq!(stage.publish(&app).await.state, JobState::Succeeded);
    };
    let times = async || {
        let schedule = schedules.get(&format!("{}-prod", app.name)).await.expect("a CronJob");
        schedule.data["spec"]["schedule"].as_str().map(str::to_owned)
    };
    // Sunday by a number that clusters do not know.
    published("0 3 * * 5-7").await;
    assert_eq!(times().await.as_deref(), Some("0 3 * * 5,6,0"));
    let job = stage.services.rollback(&app.name, Environment::Prod, None).await.expect("a job");
    assert_eq!(stage.ended(&job).await.state, JobState::Succeeded);
    assert_eq!(times().await.as_deref(), Some("* * * * *"));

    // Without a schedule there is no CronJob.
    stage.write(&app, "job.py", "print('quiet')\n").await;
    stage.write(&app, "app.toml", "\n").await;
    assert_eq!(stage.preview(&app).await.state, JobState::Succeeded);
    assert_eq!(stage.publish(&app).await.state, JobState::Succeeded);
    let gone = schedules.get_opt(&format!("{}-prod", app.name)).await.expect("an answer");
    assert!(gone.is_none_or(|schedule| schedule.metadata.deletion_timestamp.is_some()));
    // Ended runs leave no objects.
    until("no Job is left", async || {
        let jobs = stage.objects::<Job>(&app).list(&ListParams::default()).await.ok()?;
        jobs.items.is_empty().then_some(())
    })
    .await;
    stage.delete(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_during_a_check_is_reported_and_the_job_can_be_cancelled() {
    let stage = Stage::new().await;
    let app = stage.app("scheduled-job").await;
    let counts = |pause: u32| {
        format!("import time\nfor n in range(6):\n    print('count', n, flush=True)\n    time.sleep({pause})\n")
    };
    let runs = async || -> Vec<(RunTrigger, RunState)> {
        let runs = stage.services.runs(&app, PageRequest::first(100)).await.expect("runs");
        runs.items.iter().map(|run| (run.trigger, run.state)).collect()
    };
    stage.write(&app, "job.py", &counts(2)).await;
    let job = stage.services.deploy_preview(&app.name, None).await.expect("a job");
    stage.logged(&job, "count 0").await;
    stage.cluster.cut();
    let said = stage.logged(&job, "will resume by itself").await;
    assert!(said.contains("Kubernetes API server"), "{said}");
    stage.cluster.restore();
    let job = stage.ended(&job).await;
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);
    assert_eq!(runs().await, [(RunTrigger::Check, RunState::Succeeded)], "one run, and the same");
    let lines = stage.services.job_log(&job).await.expect("a log");
    assert_eq!(lines.iter().filter(|(_, line)| line.starts_with("count")).count(), 6, "each line once: {lines:?}");

    // A cancelled job does not wait any more.
    stage.write(&app, "job.py", &counts(60)).await;
    let job = stage.services.deploy_preview(&app.name, None).await.expect("a job");
    stage.logged(&job, "count 0").await;
    stage.cluster.cut();
    stage.logged(&job, "will resume by itself").await;
    stage.services.cancel(job.id).await.expect("a job");
    assert_eq!(stage.ended(&job).await.state, JobState::Cancelled);
    assert_eq!(runs().await[0], (RunTrigger::Check, RunState::Failed));
    stage.cluster.restore();
    until("its Job goes once the cluster is back", async || {
        let jobs = stage.objects::<Job>(&app).list(&ListParams::default()).await.ok()?;
        jobs.items.is_empty().then_some(())
    })
    .await;
    stage.delete(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_builder_rejoins_the_run_of_a_check() {
    let mut stage = Stage::new().await;
    let app = stage.app("scheduled-job").await;
    let counts = "import time\nfor n in range(6):\n    print('count', n, flush=True)\n    time.sleep(1)\n";
    stage.write(&app, "job.py", counts).await;
    let job = stage.services.deploy_preview(&app.name, None).await.expect("a job");
    stage.logged(&job, "count 0").await;
    stage.restart_at_once().await;
    let job = stage.ended(&job).await;
    assert_eq!((job.state, job.attempts), (JobState::Succeeded, 2), "{:?}", job.error);
    let runs = stage.services.runs(&app, PageRequest::first(100)).await.expect("runs").items;
    let [run] = &runs[..] else { panic!("one run, and the same: {runs:?}") };
    assert_eq!((run.trigger, run.state), (RunTrigger::Check, RunState::Succeeded));
    let log = stage.services.run_log(&app, run.id).await.expect("a log");
    assert_eq!(log.lines().count(), 6, "whole, and nothing twice: {log}");
    stage.services.run_now(&app.name, Environment::Preview).await.expect("another run may begin");
    stage.delete(&app).await;
}
