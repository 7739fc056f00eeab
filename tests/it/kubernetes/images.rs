//! Images that no kept release needs are removed from the registry and the engine, and the freed space is reported.

use futures_util::StreamExt;
use slipway::domain::{App, Environment, EventBody, EventId, JobState, ReleaseNumber};

use super::stage::{PATIENCE, REGISTRY, Stage, http, until};

async fn in_registry(app: &App, digest: &str) -> bool {
    let url = format!("http://{REGISTRY}/v2/slipway/{}/manifests/{digest}", app.name);
    let request = http().get(url).header("Accept", "application/vnd.docker.distribution.manifest.v2+json");
    request.send().await.expect("an answer").status().is_success()
}

fn in_engine(image: &str) -> bool {
    let looked = std::process::Command::new("docker").args(["image", "inspect", image]).output();
    looked.expect("docker runs").status.success()
}

#[tokio::test(flavor = "multi_thread")]
async fn images_that_no_kept_release_needs_are_removed() {
    let stage = Stage::new().await;
    // A job's pods exit on their own, so several releases are cheap.
    let app = stage.app("scheduled-job").await;
    let mut images = Vec::new();
    for number in 1..=12_u32 {
        stage.write(&app, "job.py", &format!("print('release {number}')\n")).await;
        let job = stage.preview(&app).await;
        assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);
        let release = stage.services.release(&app, Environment::Preview, ReleaseNumber(number)).await.expect("it");
        images.push(release.image);
        if number == 1 {
            // Production keeps what preview could let go of.
            let job = stage.publish(&app).await;
            assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);
        }
    }
    let (live_in_prod, unneeded, oldest_kept) = (&images[0], &images[1], &images[2]);
    until("the second release's image is gone", async || {
        (!in_registry(&app, unneeded.digest()).await && !in_engine(unneeded.as_str())).then_some(())
    })
    .await;
    for kept in [live_in_prod, oldest_kept, &images[11]] {
        assert!(in_registry(&app, kept.digest()).await, "{kept} is gone");
    }
    let mut events = Box::pin(stage.services.app_events(app.id, EventId(0)));
    let told = async {
        while let Some(event) = events.next().await {
            if let EventBody::Log { line, .. } = &event.expect("an event").body
                && line.contains("images were removed")
            {
                return line.clone();
            }
        }
        panic!("the events ended");
    };
    let told = tokio::time::timeout(PATIENCE, told).await.expect("the freed space is reported");
    eprintln!("{told}");
    stage.delete(&app).await;
    for image in &images {
        assert!(!in_registry(&app, image.digest()).await && !in_engine(image.as_str()), "{image} is left");
    }
}
