//! For tests: a builder on the in-memory runtime, whose jobs run one by one.

use std::collections::BTreeMap;
use std::sync::Arc;

use tempfile::TempDir;

use super::Jobs;
use crate::config::Config;
use crate::domain::{
    App, Author, Environment, EnvironmentState, Job, JobKind, JobState, ProcessKind, Release, ReleaseNumber,
    ReleaseState,
};
use crate::gateway::RouteState;
use crate::lifecycle::Lifecycle;
use crate::platform::Platform;
use crate::runtime::memory::MemoryRuntime;
use crate::startup;
use crate::store::jobs as table;
use crate::store::releases::{NewRelease, took_over};

/// A builder without workers, and one app.
pub(crate) struct Scene {
    pub(crate) platform: Arc<Platform>,
    pub(crate) jobs: Jobs,
    pub(crate) memory: MemoryRuntime,
    pub(crate) app: App,
    lifecycle: Lifecycle,
    _folder: TempDir,
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.lifecycle.draining.cancel();
        self.lifecycle.aborting.cancel();
    }
}

impl Scene {
    /// With a site as its app.
    pub(crate) async fn new() -> Self {
        Self::of("static-site").await
    }

    /// With an app of this template.
    pub(crate) async fn of(template: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().expect("a folder");
        let nowhere = format!("unix://{}/no-engine.sock", folder.path().display());
        let variables =
            [("SLIPWAY_DATA_DIR", folder.path().join("data").display().to_string()), ("DOCKER_HOST", nowhere)];
        let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value));
        let config = Config::load(None, variables, &[]).expect("a configuration");
        std::fs::create_dir_all(&config.data_dir).expect("a folder");
        let (lifecycle, mut memory) = (Lifecycle::default(), None);
        let platform = startup::platform(config, &lifecycle, async |_, around| {
            let made = MemoryRuntime::new(around.traffic, around.tasks);
            let runtime = made.runtime();
            memory = Some(made);
            Ok(runtime)
        })
        .await
        .expect("a platform");
        let (name, template) = ("tides".parse().expect("a name"), template.parse().expect("a template"));
        let now = platform.clock.now();
        let app = platform.store.insert_app(name, template, "Tides".to_owned(), now).await.expect("an app");
        let jobs = Jobs::new(platform.clone());
        Self { platform, jobs, memory: memory.expect("it was made"), app, lifecycle, _folder: folder }
    }

    /// The app as it is now.
    pub(crate) async fn app_now(&self) -> App {
        self.platform.store.app_by_id(self.app.id).await.expect("an app")
    }

    /// A job that has ended and created a release.
    async fn ended_job(&self, kind: JobKind) -> Job {
        let (id, name, now) = (self.app.id, self.app.name.clone(), self.platform.clock.now());
        let made = self.platform.events.commit(move |t| {
            let job = table::insert(t, id, &name, &kind, Author::Person, now)?;
            let job = table::change_state(t, job.id, JobState::Cancelled, None, None, now)?;
            Ok((job, Vec::new()))
        });
        made.await.expect("a job")
    }

    /// Inserts a release that is being deployed, with an image of its own, into the database only.
    pub(crate) async fn begun(&self, environment: Environment) -> Release {
        let job = self.ended_job(JobKind::Publish { release: ReleaseNumber(1) }).await;
        let template = self.platform.template(&self.app).expect("a template");
        let spec = template.manifest.deployment().expect("settings");
        let new = NewRelease {
            environment,
            version: "a".repeat(40).parse().expect("a version"),
            image: format!("slipway/tides@sha256:{:064}", job.id.0).parse().expect("an image"),
            spec,
            job: job.id,
            from_release: None,
            rolled_back: false,
        };
        self.platform.store.release_for_job(self.app.id, new, self.platform.clock.now()).await.expect("a release")
    }

    /// Inserts a live release into the database only.
    pub(crate) async fn recorded(&self, environment: Environment) -> Release {
        let release = self.begun(environment).await;
        let (id, number, now) = (self.app.id, release.number, self.platform.clock.now());
        let live = self.platform.events.commit(move |t| {
            took_over(t, id, environment, number, now)?;
            Ok(((), Vec::new()))
        });
        live.await.expect("recorded");
        release
    }

    /// A live release that runs.
    pub(crate) async fn live(&self, environment: Environment) -> Release {
        let release = self.recorded(environment).await;
        if let ProcessKind::Service(_) = release.spec.process {
            let instance = self.memory.leave(&self.app.name, self.app.id, environment, release.number.0);
            let address = instance.address.expect("an address");
            let to = crate::gateway::Upstream { address, release: release.number };
            let _ = self.platform.traffic.routes().set(&self.app.name, environment, to);
        }
        release
    }

    /// Runs a job to its end.
    pub(crate) async fn run(&self, kind: JobKind) -> Job {
        self.jobs.enqueue(&self.app, kind, Author::Person).await.expect("queued");
        self.jobs.run_next().await.expect("it is taken")
    }

    /// The release that receives an environment's requests.
    pub(crate) fn routed_to(&self, environment: Environment) -> Option<u32> {
        match self.platform.traffic.routes().state(&self.app.name, environment) {
            Some(RouteState::Up(upstream)) => Some(upstream.release.0),
            _ => None,
        }
    }

    /// An environment's state and live release in the database.
    pub(crate) async fn environment(&self, environment: Environment) -> (EnvironmentState, Option<u32>) {
        let app = self.app_now().await;
        let status = app.environment(environment);
        (status.state, status.release.map(|release| release.0))
    }

    /// The states of an environment's releases, by their numbers.
    pub(crate) async fn release_states(&self, environment: Environment) -> BTreeMap<u32, ReleaseState> {
        let page = crate::domain::PageRequest::first(100);
        let releases = self.platform.store.releases(self.app.id, Some(environment), page).await.expect("releases");
        releases.items.into_iter().map(|release| (release.number.0, release.state)).collect()
    }
}
