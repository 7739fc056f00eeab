//! Proof before "ready" on a cluster: what does not pass is replaced by the release before it.

use slipway::domain::{Environment, JobState, ReleaseState};

use crate::stage::{self, Stage};

#[tokio::test(flavor = "multi_thread")]
async fn a_site_with_a_broken_link_is_put_back() {
    let stage = Stage::new().await;
    let app = stage.app("static-site").await;
    let one = "<h1>one</h1><a href=two.html>two</a>";
    stage.write(&app, "public/index.html", one).await;
    stage.write(&app, "public/two.html", "<h1>two</h1>").await;
    let job = stage.preview(&app).await;
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);
    assert_eq!(job.checks.len(), 2, "{:?}", job.checks);
    assert!(job.checks.iter().all(|check| check.ok));

    stage.write(&app, "public/index.html", "<h1>three</h1><a href=four.html>four</a>").await;
    let job = stage.preview(&app).await;
    let error = job.error.expect("it fails");
    assert_eq!((job.state, error.code.as_str()), (JobState::Failed, "smoke_failed"), "{error:?}");
    assert!(error.message.contains("GET /four.html"), "{error:?}");
    stage::until("what ran before answers again", async || {
        (stage.fetch(&app, Environment::Preview, "/").await == (200, one.to_owned())).then_some(())
    })
    .await;
    let app = stage.services.app(&app.name).await.expect("the app");
    assert_eq!(app.environment(Environment::Preview).release.map(|release| release.0), Some(1));
    let failed = stage.services.release(&app, Environment::Preview, slipway::domain::ReleaseNumber(2)).await;
    let failed = failed.expect("a release");
    assert_eq!((failed.state, failed.checks.failed), (ReleaseState::Failed, 1));
    stage.delete(&app).await;
}
