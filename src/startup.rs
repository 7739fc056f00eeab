//! Start-up: puts the parts together, reconciles the database, begins to work.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::future::BoxFuture;
use secrecy::SecretString;
use tokio::sync::watch;

use crate::bounded_work::{BoundedWork, PoolBounds};
use crate::build::{BuildSettings, ImageBuilder, Ledger, RegistryLogin};
use crate::catalog::Catalog;
use crate::config::{Config, Provider as Answering, RuntimeKind};
use crate::data_dir::{self, Volume};
use crate::deploy::{DockerRuntime, DockerSettings, KubernetesRuntime, KubernetesSettings, Runtime};
use crate::domain::Clock;
use crate::draining::Draining;
use crate::engine::subnet::SubnetPool;
use crate::engine::{self, Installation};
use crate::events::EventLog;
use crate::firewall::{Firewall, FirewallSettings};
use crate::followed_runs::FollowedRuns;
use crate::gateway::{Gateway, GatewaySettings, Routes};
use crate::generation::demo::{DEMO_MODEL, DemoModel, DemoPace};
use crate::generation::{Listing, ModelClient, ModelTable, Provider, RetryPolicy, Timeouts, WireFormat};
use crate::jobs::{Jobs, recover, rollout, runs, schedule, space};
use crate::lifecycle::Lifecycle;
use crate::locks::AppLocks;
use crate::model_choice::Model;
use crate::platform::Platform;
use crate::services::{Services, sessions};
use crate::store::Store;
use crate::uploads::Uploads;
use crate::workspace::{Limits, Workspaces};

/// Waits between attempts to look at an engine that is not there.
const ENGINE_WAIT: Duration = Duration::from_secs(1);
const ENGINE_WAIT_MAX: Duration = Duration::from_secs(30);
/// Between two looks at the packet filter rules. Each start of a container looks as well.
const PROTECTION_CHECKED_EVERY: Duration = Duration::from_secs(30);

/// A builder that works, without its HTTP side.
pub struct Builder {
    /// What a user can do.
    pub services: Services,
    /// Starting and stopping.
    pub lifecycle: Lifecycle,
    /// Keeps a second builder away from the data directory for as long as this one lives.
    _lock: File,
}

/// Puts the parts together and begins to work.
pub async fn start(config: Config) -> anyhow::Result<Builder> {
    let lifecycle = Lifecycle::default();
    let in_pod = config.runtime == RuntimeKind::Kubernetes && config.cluster.kubeconfig.is_none();
    let lock = data_dir::take(&config.data_dir, if in_pod { Volume::OfPod } else { Volume::Shared })?;
    let store = Store::open(&config.data_dir).await?;
    let password = config.admin_password.as_ref();
    sessions::end_those_of_another_password(&store, &config.data_dir, password, Clock::System.now()).await?;
    let installation = installation(&config.data_dir)?;
    let catalog = Catalog::load(&config.data_dir.join("templates"))?;
    let workspaces = Workspaces::new(config.data_dir.join("workspaces"), Limits::default())?;
    let docker = match &config.docker_cert_path {
        Some(certificates) => engine::connect_with_tls(config.docker_host.as_deref(), certificates),
        None => engine::connect(config.docker_host.as_deref()),
    };
    let docker = docker.map_err(|error| anyhow::anyhow!("DOCKER_HOST: {error}"))?;
    let images = config.data_dir.join("images.json");
    let ledger = Ledger::open(&images).with_context(|| format!("{} cannot be read", images.display()))?;
    let firewall = firewall_of(&config, &installation);
    let build = BuildSettings {
        ledger,
        base_images: config.base_images.clone(),
        registry: config.registry.clone(),
        registry_pull: config.registry_pull.clone(),
        registry_login: config.registry_login.clone().map(|(username, password)| RegistryLogin { username, password }),
        ..BuildSettings::new(installation.clone(), firewall.clone())
    };
    let runtime = runtime(&config, &docker, installation, &firewall).await?;
    let replaces_in_place = runtime.replaces_in_place();
    let platform = Arc::new(Platform {
        browser_errors: crate::browser_errors::BrowserErrors::default(),
        asker: crate::proof::Asker::default(),
        cpu_work: BoundedWork::new("cpu", PoolBounds::of_processors()),
        workspace_work: BoundedWork::new("workspace", PoolBounds::of_disk()),
        export_work: BoundedWork::new("export", PoolBounds::of_downloads()),
        check_slots: tokio::sync::Semaphore::new(config.build_workers),
        clock: Clock::System,
        events: EventLog::start(store.clone(), &lifecycle),
        store,
        workspaces,
        uploads: Uploads::new(config.data_dir.join("uploads")),
        catalog,
        images: ImageBuilder::new(docker, build),
        runtime,
        firewall,
        gateway: Gateway::new(
            Routes::unknown(),
            GatewaySettings {
                // On a cluster previews come through here only where they need the log-in.
                report_errors: !replaces_in_place || config.protects_previews(),
                ..GatewaySettings::default()
            },
        ),
        model: model(&config, &lifecycle)?,
        lifecycle: lifecycle.clone(),
        workspace_locks: AppLocks::default(),
        image_locks: AppLocks::default(),
        route_locks: AppLocks::default(),
        rollout_locks: AppLocks::default(),
        draining: Draining::default(),
        followed_runs: FollowedRuns::default(),
        run_begins: tokio::sync::RwLock::default(),
        schedule: watch::Sender::new(0),
        config,
    });
    let jobs = Jobs::new(platform.clone());
    jobs.recover().await?;
    jobs.start();
    supervise(&platform, &jobs);
    Ok(Builder { services: Services::new(platform, jobs), lifecycle, _lock: lock })
}

/// Starts everything that lives as long as the process, besides the workers.
fn supervise(platform: &Arc<Platform>, jobs: &Jobs) {
    let lifecycle = &platform.lifecycle;
    let on = |work: fn(Arc<Platform>) -> BoxFuture<'static, ()>| {
        let platform = platform.clone();
        move || work(platform.clone())
    };
    lifecycle.supervise("reconcile", on(|platform| Box::pin(reconcile_loop(platform))));
    lifecycle.supervise("packet filter rules", on(|platform| Box::pin(keep_protected(platform))));
    lifecycle.supervise("watch of instances", on(|platform| Box::pin(recover::watch(platform))));
    lifecycle.supervise(
        "idle connections to apps",
        on(|platform| {
            Box::pin(async move {
                platform.gateway.sweep_connections().await;
            })
        }),
    );
    if platform.runtime.keeps_schedules() {
        lifecycle.supervise("scheduled runs", on(|platform| Box::pin(recover::record_scheduled(platform))));
    } else {
        lifecycle.supervise("scheduler", on(|platform| Box::pin(schedule::run(platform))));
    }
    let (small, queue) = (platform.clone(), jobs.clone());
    lifecycle.supervise("size of the database", move || space::keep_small(small.clone(), queue.clone()));
    // Once, and nobody waits for it.
    let (draining, jobs) = (lifecycle.draining.clone(), jobs.clone());
    lifecycle.tasks.spawn(async move { draining.run_until_cancelled(jobs.read_histories()).await });
}

/// What keeps apps and builds away from private addresses.
fn firewall_of(config: &Config, installation: &Installation) -> Firewall {
    Firewall::new(FirewallSettings {
        blocked: config.blocked_networks.clone(),
        allowed: config.allowed_networks.clone(),
        ..FirewallSettings::new(installation, engine::is_local(config.docker_host.as_deref()))
    })
}

/// The firewall of the builder whose data directory the configuration names. Nothing is written there.
pub fn firewall(config: &Config) -> anyhow::Result<Firewall> {
    let has_own_rules = !(config.blocked_networks.is_empty() && config.allowed_networks.is_empty());
    let installation = match std::fs::read_to_string(config.data_dir.join("installation")) {
        Ok(text) => text.trim().parse()?,
        // Only what is allowed or blocked besides the usual depends on whose networks it is for.
        Err(error) if error.kind() == ErrorKind::NotFound && !has_own_rules => "unknown".parse()?,
        Err(error) => {
            let shown = config.data_dir.display();
            return Err(error)
                .with_context(|| format!("no builder has been started in the data directory {shown} yet"));
        }
    };
    Ok(firewall_of(config, &installation))
}

/// Where apps run. A cluster's client is made only where there is a cluster.
async fn runtime(
    config: &Config,
    docker: &bollard::Docker,
    installation: Installation,
    firewall: &Firewall,
) -> anyhow::Result<Runtime> {
    match config.runtime {
        RuntimeKind::Docker => {
            let settings = DockerSettings { installation, subnets: SubnetPool::APPS, firewall: firewall.clone() };
            Ok(Runtime::Docker(DockerRuntime::new(docker.clone(), settings)))
        }
        RuntimeKind::Kubernetes => {
            let settings = KubernetesSettings {
                installation,
                domain: config.apps_domain.clone(),
                protects_previews: config.protects_previews(),
                ingress_class: config.cluster.ingress_class.clone(),
                ingress_namespace: config.cluster.ingress_namespace.clone(),
                builder_namespace: "builder-system".to_owned(),
                builder_account: "builder-controller".to_owned(),
                app_role: "slipway-app-manager".to_owned(),
                blocked: config.blocked_networks.iter().map(ToString::to_string).collect(),
                run_limit: runs::TIME_LIMIT,
            };
            let cluster = KubernetesRuntime::connect(config.cluster.kubeconfig.as_deref(), settings)
                .await
                .map_err(|error| anyhow::anyhow!("KUBECONFIG: {error}"))?;
            Ok(Runtime::Kubernetes(cluster))
        }
    }
}

/// Which of the builders that share an engine this is; made once.
fn installation(folder: &Path) -> anyhow::Result<Installation> {
    let file = folder.join("installation");
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let fresh = hex::encode(rand::random::<[u8; 6]>());
            std::fs::write(&file, &fresh).with_context(|| format!("cannot write {}", file.display()))?;
            fresh
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
    };
    text.trim().parse().map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))
}

fn model(config: &Config, lifecycle: &Lifecycle) -> anyhow::Result<Model> {
    let table = ModelTable::load(&config.data_dir)?;
    let (format, base_url, key) = match config.provider {
        Answering::Demo => {
            let (demo, server) =
                DemoModel::bind(DemoPace::new(config.demo_pace)).context("the demo model cannot be started")?;
            let server = Arc::new(server);
            // Turns that are told to stop still ask it.
            lifecycle.supervise_to_the_end("demo model", move || {
                let server = server.clone();
                async move { server.serve().await }
            });
            (WireFormat::Anthropic, demo.base_url, Some(demo.key))
        }
        Answering::Anthropic => {
            (WireFormat::Anthropic, config.anthropic_base_url.clone(), config.anthropic_api_key.clone())
        }
        Answering::OpenAi => (WireFormat::OpenAi, config.openai_base_url.clone(), config.openai_api_key.clone()),
    };
    let is_demo = config.provider == Answering::Demo;
    let id = if is_demo { DEMO_MODEL.parse()? } else { config.model.clone() };
    let provider = Provider { format, base_url, key: key.unwrap_or_else(|| SecretString::from(String::new())) };
    let client = ModelClient::new(provider, Timeouts::default(), RetryPolicy::default())?;
    Ok(Model { client, id, is_demo, table, listing: Listing::default() })
}

/// Has the packet filter rules stand, from the start and again and again: a restart of the engine or another program
/// may remove them.
async fn keep_protected(platform: Arc<Platform>) {
    loop {
        if let Err(error) = platform.runtime.protect().await {
            tracing::debug!(%error, "failed to inspect the engine's networks");
        }
        tokio::time::sleep(PROTECTION_CHECKED_EVERY).await;
    }
}

/// Reconciles the engine as soon as it can be reached, and again after each of its outages. Runs in the background.
async fn reconcile_loop(platform: Arc<Platform>) {
    // Subscribed before the first reconcile, so that an outage right after it is noticed.
    let mut reached = platform.runtime.reached();
    reconcile(&platform, reached.as_mut()).await;
    if let Err(error) = platform.images.remove_leftovers().await {
        tracing::warn!(%error, "failed to remove leftovers of earlier builds");
    }
    if let Some(reached) = &mut reached {
        while reached.changed().await.is_ok() {
            tracing::info!("the watch has reached the engine; reconciling");
            reconcile(&platform, Some(reached)).await;
        }
    }
    // Drift is reverted at each interval.
    loop {
        if let Err(error) = recover::keep(&platform).await {
            tracing::warn!(%error, "failed to reconcile what runs");
        }
        if let Err(error) = rollout::remove_unneeded(&platform).await {
            tracing::warn!(%error, "failed to remove failed releases; the next reconcile retries");
        }
        tokio::time::sleep(platform.config.cluster.reconcile_every).await;
    }
}

/// Reconciles until it succeeds.
async fn reconcile(platform: &Arc<Platform>, mut reached: Option<&mut watch::Receiver<u64>>) {
    let mut wait = ENGINE_WAIT;
    loop {
        if let Some(reached) = &mut reached {
            reached.borrow_and_update();
        }
        let Err(error) = recover::reconcile(platform).await else { return };
        // The engine may stay away for long: waiting requests are answered now.
        platform.gateway.routes().are_known();
        tracing::warn!(%error, "failed to reconcile with the engine; retrying");
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(ENGINE_WAIT_MAX);
    }
}
