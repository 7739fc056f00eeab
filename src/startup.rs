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
use tokio_util::task::TaskTracker;

use crate::bounded_work::{BoundedWork, PoolBounds};
use crate::build::{BuildEngine, BuildSettings, ImageBuilder, Ledger, RegistryLogin};
use crate::catalog::Catalog;
use crate::config::{Config, Provider as Answering, RuntimeKind};
use crate::data_dir::{self, Volume};
use crate::domain::Clock;
use crate::engine;
use crate::engine::subnet::SubnetPool;
use crate::events::EventLog;
use crate::firewall::{Firewall, FirewallSettings};
use crate::followed_runs::FollowedRuns;
use crate::gateway::{Gateway, GatewaySettings, Routes, Traffic};
use crate::generation::demo::{DEMO_MODEL, DemoModel, DemoPace};
use crate::generation::{ModelClient, ModelTable, Provider, RetryPolicy, Timeouts, WireFormat};
use crate::jobs::{Jobs, runs, schedule, space};
use crate::lifecycle::Lifecycle;
use crate::locks::AppLocks;
use crate::measuring;
use crate::model_choice::{Model, ModelSource, Models};
use crate::model_key::ModelKey;
use crate::ownership::Installation;
use crate::platform::Platform;
use crate::reconcile;
use crate::runtime::{
    DockerRuntime, DockerSettings, HostMemory, KubernetesRuntime, KubernetesSettings, Protection, Reach, Runtime,
};
use crate::services::{Services, sessions};
use crate::store::Store;
use crate::uploads::Uploads;
use crate::workspace::{Limits, Workspaces};

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
    let platform = platform(config, &lifecycle, runtime).await?;
    let jobs = Jobs::new(platform.clone());
    jobs.recover().await?;
    jobs.start();
    supervise(&platform, &jobs);
    Ok(Builder { services: Services::new(platform, jobs), lifecycle, _lock: lock })
}

/// Puts the parts together. Nothing works yet, but for what all parts need.
pub(crate) async fn platform(
    config: Config,
    lifecycle: &Lifecycle,
    runtime: impl AsyncFnOnce(&Config, Around<'_>) -> anyhow::Result<Runtime>,
) -> anyhow::Result<Arc<Platform>> {
    let store = Store::open(&config.data_dir).await?;
    let password = config.admin_password.as_ref();
    sessions::end_after_password_change(&store, &config.data_dir, password, Clock::System.now()).await?;
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
        engine: match config.runtime {
            RuntimeKind::Docker => BuildEngine::OnMachine,
            RuntimeKind::Kubernetes => BuildEngine::InCluster,
        },
        ..BuildSettings::new(installation.clone(), firewall.clone())
    };
    let traffic = Traffic::new(Routes::unknown());
    let around =
        Around { docker: &docker, installation, firewall: &firewall, traffic: &traffic, tasks: &lifecycle.tasks };
    let runtime = runtime(&config, around).await?;
    Ok(Arc::new(Platform {
        browser_errors: crate::browser_errors::BrowserErrors::default(),
        webhook_calls: crate::webhook_calls::WebhookCalls::default(),
        asker: crate::proof::Asker::default(),
        cpu_work: BoundedWork::new("cpu", PoolBounds::of_processors()),
        workspace_work: BoundedWork::new("workspace", PoolBounds::of_disk()),
        export_work: BoundedWork::new("export", PoolBounds::of_downloads()),
        check_slots: tokio::sync::Semaphore::new(config.build_workers),
        clock: Clock::System,
        events: EventLog::start(store.clone(), lifecycle),
        store,
        workspaces,
        uploads: Uploads::new(config.data_dir.join("uploads")),
        catalog,
        images: ImageBuilder::new(docker, build),
        firewall,
        gateway: Gateway::new(
            traffic.routes().clone(),
            GatewaySettings { report_errors: runtime.previews == Reach::Gateway, ..GatewaySettings::default() },
        ),
        runtime,
        traffic,
        models: models(&config, lifecycle)?,
        lifecycle: lifecycle.clone(),
        workspace_locks: AppLocks::default(),
        image_locks: AppLocks::default(),
        rollout_locks: AppLocks::default(),
        followed_runs: FollowedRuns::default(),
        run_begins: tokio::sync::RwLock::default(),
        schedule: watch::Sender::new(0),
        runtime_outage: watch::Sender::new(None),
        config,
    }))
}

/// Starts everything that lives as long as the process, besides the workers.
fn supervise(platform: &Arc<Platform>, jobs: &Jobs) {
    let lifecycle = &platform.lifecycle;
    let on = |work: fn(Arc<Platform>) -> BoxFuture<'static, ()>| {
        let platform = platform.clone();
        move || work(platform.clone())
    };
    lifecycle.supervise("reconcile", on(|platform| Box::pin(reconcile::run(platform))));
    lifecycle.supervise("watch of instances", on(|platform| Box::pin(reconcile::watch(platform))));
    if let Some(standby) = platform.runtime.standby.clone() {
        let platform = platform.clone();
        lifecycle.supervise("paused releases", move || reconcile::end_paused(platform.clone(), standby.clone()));
    }
    if let Some(protection) = platform.runtime.protection.clone() {
        lifecycle.supervise("packet filter rules", move || keep_protected(protection.clone()));
    }
    lifecycle.supervise(
        "idle connections to apps",
        on(|platform| {
            Box::pin(async move {
                platform.gateway.sweep_connections().await;
            })
        }),
    );
    lifecycle.supervise("measurements", on(|platform| Box::pin(measuring::run(platform))));
    let (draining, at_the_end) = (lifecycle.draining.clone(), platform.clone());
    lifecycle.tasks.spawn(async move {
        draining.cancelled().await;
        measuring::record_rest(&at_the_end).await;
    });
    match platform.runtime.schedules.clone() {
        Some(schedules) => {
            let platform = platform.clone();
            lifecycle
                .supervise("scheduled runs", move || reconcile::record_scheduled(platform.clone(), schedules.clone()));
        }
        None => lifecycle.supervise("scheduler", on(|platform| Box::pin(schedule::run(platform)))),
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

/// What a runtime is put together with.
pub(crate) struct Around<'a> {
    docker: &'a bollard::Docker,
    installation: Installation,
    firewall: &'a Firewall,
    pub(crate) traffic: &'a Traffic,
    pub(crate) tasks: &'a TaskTracker,
}

/// Where apps run. A cluster's client is made only where there is a cluster.
async fn runtime(config: &Config, around: Around<'_>) -> anyhow::Result<Runtime> {
    let Around { docker, installation, firewall, traffic, tasks } = around;
    let (traffic, tasks) = (traffic.clone(), tasks.clone());
    match config.runtime {
        RuntimeKind::Docker => {
            let firewall = firewall.clone();
            let memory = if engine::is_local(config.docker_host.as_deref()) {
                HostMemory::here()
            } else {
                HostMemory::unknown()
            };
            let keeps_replaced = !config.keep_replaced.is_zero();
            let subnets = SubnetPool::APPS;
            let settings = DockerSettings { installation, subnets, firewall, traffic, tasks, keeps_replaced, memory };
            Ok(DockerRuntime::new(docker.clone(), settings).into())
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
                reconcile_every: config.cluster.reconcile_every,
            };
            let kubeconfig = config.cluster.kubeconfig.as_deref();
            let cluster = KubernetesRuntime::connect(kubeconfig, settings, traffic, tasks)
                .await
                .map_err(|error| anyhow::anyhow!("KUBECONFIG: {error}"))?;
            Ok(cluster.into())
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

fn models(config: &Config, lifecycle: &Lifecycle) -> anyhow::Result<Models> {
    let table = ModelTable::load(&config.data_dir)?;
    let client = |format, base_url: &str, key: Option<SecretString>| {
        let key = key.unwrap_or_else(|| SecretString::from(String::new()));
        let provider = Provider { format, base_url: base_url.to_owned(), key };
        ModelClient::new(provider, Timeouts::default(), RetryPolicy::default())
    };
    let (format, address, key) = match config.provider {
        Answering::Demo => {
            let (demo, server) =
                DemoModel::bind(DemoPace::new(config.demo_pace)).context("the demo model cannot be started")?;
            let server = Arc::new(server);
            // Turns that are told to stop still ask it.
            lifecycle.supervise_to_the_end("demo model", move || {
                let server = server.clone();
                async move { server.serve().await }
            });
            let source = if config.chooses_model { ModelSource::Settings } else { ModelSource::NotSet };
            let client = client(WireFormat::Anthropic, &demo.base_url, Some(demo.key))?;
            let demo = Model::new(client, DEMO_MODEL.parse()?, source, demo.base_url, table).demo();
            if config.chooses_model {
                return Ok(Models::fixed(demo));
            }
            let models = Models::until_a_key_is_added(demo);
            if let Some(key) = ModelKey::load(&config.data_dir)? {
                models.use_added(models.of_key(&key)?, key.key);
            }
            return Ok(models);
        }
        Answering::Anthropic => (WireFormat::Anthropic, &config.anthropic_base_url, config.anthropic_api_key.clone()),
        Answering::OpenAi => (WireFormat::OpenAi, &config.openai_base_url, config.openai_api_key.clone()),
    };
    let client = client(format, address, key)?;
    Ok(Models::fixed(Model::new(client, config.model.clone(), ModelSource::Settings, address.clone(), table)))
}

/// Has the packet filter rules stand, from the start and again and again: a restart of the engine or another program
/// may remove them.
async fn keep_protected(protection: Arc<dyn Protection>) {
    loop {
        if let Err(error) = protection.protect().await {
            tracing::debug!(%error, "failed to inspect the engine's networks");
        }
        tokio::time::sleep(PROTECTION_CHECKED_EVERY).await;
    }
}
