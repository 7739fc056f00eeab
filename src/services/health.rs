//! Health checks of everything that Slipway needs.

use super::Services;
use super::model_key::ModelState;
use crate::build::{BuildEngine, BuildError};
use crate::error::{AppError, AppResult};
use crate::firewall::{Missing, Protection};
use crate::model_choice::Tested;
use crate::runtime::RuntimeError;
use crate::supervision::{TaskState, TaskStatus};

/// Free disk space in bytes below which the check fails.
const DISK_LOW: u64 = 1024 * 1024 * 1024;

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// It passed.
    pub ok: bool,
    /// It passed, but the operator should know about a problem.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub warning: bool,
    /// The result in a sentence.
    pub detail: String,
    /// What the operator should do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The time of the test, if it was not made just now.
    #[serde(skip)]
    pub tested: CheckTime,
}

/// When something was tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CheckTime {
    /// For this report.
    #[default]
    Now,
    /// Earlier.
    At(jiff::Timestamp),
    /// It was not tested yet.
    Never,
}

impl Check {
    fn good(name: &str, detail: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            ok: true,
            warning: false,
            detail: detail.into(),
            hint: None,
            tested: CheckTime::Now,
        }
    }

    fn bad(name: &str, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            ok: false,
            warning: false,
            detail: detail.into(),
            hint: Some(hint.into()),
            tested: CheckTime::Now,
        }
    }

    fn warning(name: &str, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { ok: true, warning: true, ..Self::bad(name, detail, hint) }
    }
}

impl Services {
    /// Why apps cannot be deployed at the moment: the runtime could not be reached.
    pub fn runtime_outage(&self) -> Option<AppError> {
        self.platform.runtime_outage.borrow().clone()
    }

    /// Runs all checks concurrently.
    pub async fn health(&self) -> Vec<Check> {
        let (database, engine, disk) = tokio::join!(self.check_database(), self.check_engine(), self.check_disk());
        [
            vec![database],
            engine,
            vec![disk, self.check_model(), background(&self.platform.lifecycle.supervisor.tasks())],
        ]
        .concat()
    }

    async fn check_database(&self) -> Check {
        match self.platform.store.ping().await {
            Ok(()) => Check::good("database", "The database answers."),
            Err(error) => Check::bad("database", error.to_string(), "Check the server's log and the data directory."),
        }
    }

    async fn check_engine(&self) -> Vec<Check> {
        let platform = &self.platform;
        let builds = async {
            match platform.images.engine() {
                // It is the one that runs apps, which is asked by itself.
                BuildEngine::OnMachine => None,
                BuildEngine::InCluster => Some(self.check_builds().await),
            }
        };
        let firewall = async {
            match platform.runtime.protection {
                Some(_) => Some(self.check_firewall().await),
                None => None,
            }
        };
        let (runtime, builds, firewall) = tokio::join!(platform.runtime.observation.ping(), builds, firewall);
        let (name, check) = (platform.runtime.name, platform.runtime.check);
        let runtime = match runtime {
            Ok(info) => Check::good(check, format!("The {name} answers, version {}.", info.version)),
            Err(
                error @ (RuntimeError::ClusterUnavailable(_)
                | RuntimeError::ClusterRefused(_)
                | RuntimeError::ClusterDenied(_)),
            ) => Check::bad(
                check,
                error.to_string(),
                "Check that the cluster runs and that KUBECONFIG points to it. Live apps keep running, and apps can be written, but not deployed.",
            ),
            Err(error) => bad_engine(error.to_string()),
        };
        [Some(runtime), builds, firewall].into_iter().flatten().collect()
    }

    /// Whether images can be built, and pushed where there is a registry.
    async fn check_builds(&self) -> Check {
        match self.platform.images.ping().await {
            Ok(engine) => good_engine(&engine.version),
            Err(error @ BuildError::RegistryAway { .. }) => Check::bad(
                "registry",
                error.to_string(),
                "Check that the registry runs and is reachable. Apps can be written meanwhile, but not deployed.",
            ),
            Err(error @ BuildError::Registry { .. }) => {
                Check::bad("registry", error.to_string(), "Check the registry's settings, then try again.")
            }
            Err(error) => Check {
                hint: Some(
                    "Check that the engine at DOCKER_HOST runs. Apps can be written meanwhile, but not deployed."
                        .to_owned(),
                ),
                ..bad_engine(error.to_string())
            },
        }
    }

    /// Whether packet filter rules block private addresses for apps and builds.
    async fn check_firewall(&self) -> Check {
        const NAME: &str = "network";
        match self.platform.firewall.ensure().await {
            Protection::Held => {
                Check::good(NAME, "Packet filter rules block this host and private networks for apps and builds.")
            }
            Protection::HeldByService { age } => Check::good(
                NAME,
                format!(
                    "Packet filter rules block this host and private networks for apps and builds. The service \
                     slipway-network-rules has checked them {} seconds ago.",
                    age.as_secs()
                ),
            ),
            Protection::Unknown => Check::warning(NAME, "The packet filter rules were not checked yet.", ""),
            Protection::Missing(why) => {
                let hint = match &why {
                    Missing::NotPermitted | Missing::NotInstalled | Missing::Failed(_) => {
                        "Run scripts/setup --network-rules, which installs iptables and a service that maintains the rules."
                    }
                    Missing::Remote | Missing::OtherNamespace => "Run `slipway network-rules` on the engine's machine.",
                };
                Check::warning(
                    NAME,
                    format!("Apps and builds can reach private networks and services of the engine's host: {why}."),
                    hint,
                )
            }
        }
    }

    async fn check_disk(&self) -> Check {
        let folder = self.platform.config.data_dir.clone();
        let free = tokio::task::spawn_blocking(move || -> AppResult<u64> {
            let stat = rustix::fs::statvfs(&folder).map_err(|error| crate::error::AppError::internal(&error))?;
            Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
        });
        match free.await {
            Ok(Ok(free)) if free < DISK_LOW => Check::bad(
                "disk",
                format!("Only {} MiB are free on the data directory's disk.", free / 1024 / 1024),
                "Free some space, or delete unused apps.",
            ),
            Ok(Ok(free)) => Check::good("disk", format!("{} GiB are free.", free / 1024 / 1024 / 1024)),
            _ => Check::bad(
                "disk",
                "The free space on the data directory's disk cannot be read.",
                "Check the server's log.",
            ),
        }
    }

    /// The model is not asked for this: each request would cost money. The last turn or test says how it is.
    fn check_model(&self) -> Check {
        model_check(&self.model_state())
    }
}

fn model_check(model: &ModelState) -> Check {
    const NAME: &str = "model";
    if model.is_demo {
        let check = Check::good(NAME, "Demo mode: a script answers, not an AI.");
        let hint = if model.may_change {
            "Add a key in the settings to build what you describe."
        } else {
            "SLIPWAY_PROVIDER is set to demo."
        };
        return Check { hint: Some(hint.to_owned()), ..check };
    }
    let id = &model.id;
    match &model.tested {
        None => Check {
            tested: CheckTime::Never,
            ..Check::good(NAME, format!("{id}: a key is set. It has not been asked anything since Slipway started."))
        },
        Some(Tested { at, by_turn, outcome }) => {
            let (tested, by) = (CheckTime::At(*at), if *by_turn { "a turn" } else { "a test" });
            match outcome {
                Ok(()) => Check { tested, ..Check::good(NAME, format!("{id} answered {by}.")) },
                // A provider that is away keeps nobody from using what runs.
                Err(error) => Check {
                    tested,
                    ..Check::warning(
                        NAME,
                        format!("{id} did not answer {by}. {}", error.message()),
                        error.hint(model.format),
                    )
                },
            }
        }
    }
}

/// Whether all background tasks run. A recent restart is a warning, also if the task runs now.
fn background(tasks: &[TaskStatus]) -> Check {
    const NAME: &str = "background";
    const HINT: &str = "Check the server's log. Slipway restarts the task; if it keeps failing, the process exits.";
    let failed: Vec<&TaskStatus> = tasks.iter().filter(|task| task.failures > 0).collect();
    if failed.is_empty() {
        return Check::good(NAME, format!("All {} background tasks run.", tasks.len()));
    }
    let sentences: Vec<String> = failed
        .iter()
        .map(|task| {
            let why = task.last_failure.as_deref().unwrap_or_default();
            format!("“{}” failed {} times in the last ten minutes: {why}.", task.name, task.failures)
        })
        .collect();
    let detail = sentences.join(" ");
    if failed.iter().all(|task| task.state == TaskState::Running) {
        Check::warning(NAME, detail, HINT)
    } else {
        Check::bad(NAME, detail, HINT)
    }
}

fn good_engine(version: &str) -> Check {
    Check::good("docker", format!("The Docker engine answers, version {version}."))
}

fn bad_engine(why: String) -> Check {
    Check::bad(
        "docker",
        why,
        "Start Docker (for example with `sudo systemctl start docker`). Apps can be written meanwhile, but not deployed.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_said_to_answer_only_after_it_did() {
        use crate::generation::{ModelError, WireFormat};
        use crate::model_choice::ModelSource;
        let at = jiff::Timestamp::from_second(1_800_000_000).expect("a time");
        let state = |tested| ModelState {
            is_demo: false,
            source: ModelSource::Settings,
            id: "claude-x".parse().expect("an id"),
            format: WireFormat::Anthropic,
            address: "https://api.example.org".into(),
            may_change: false,
            tested,
        };
        let check = model_check(&state(None));
        assert!(check.ok && check.tested == CheckTime::Never && !check.detail.contains("answer"), "{check:?}");
        let check = model_check(&state(Some(Tested { at, by_turn: true, outcome: Ok(()) })));
        assert!(check.tested == CheckTime::At(at) && check.detail == "claude-x answered a turn.", "{check:?}");
        let wrong = Tested { at, by_turn: false, outcome: Err(ModelError::Unauthorized) };
        let check = model_check(&state(Some(wrong)));
        assert!(check.ok && check.warning && check.detail.contains("does not accept the API key"), "{check:?}");
        assert!(check.hint.expect("there is one").contains("Settings"));
    }

    #[test]
    fn background_tasks_that_fail_are_shown() {
        let task = |name, state, failures| TaskStatus {
            name,
            state,
            failures,
            last_failure: (failures > 0).then(|| "it panicked: why".to_owned()),
        };
        let watch =
            |state, failures| background(&[task("reconcile", TaskState::Running, 0), task("watch", state, failures)]);
        let check = watch(TaskState::Running, 0);
        assert!(check.ok && !check.warning, "{check:?}");
        let check = watch(TaskState::Running, 2);
        assert!(check.ok && check.warning, "{check:?}");
        for state in [TaskState::Restarting, TaskState::GivenUp] {
            let check = watch(state, 3);
            assert!(!check.ok && check.hint.is_some(), "{check:?}");
            assert_eq!(check.detail, "“watch” failed 3 times in the last ten minutes: it panicked: why.");
        }
    }
}
