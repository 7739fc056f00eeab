//! A template: a kind of app that can be created, built and run.

use serde::{Deserialize, Serialize};

use super::deployment::{DeploymentSpec, Probe, ProcessKind, ResourceLimits};
use super::{Invalid, SmokeKind, validated_string};

validated_string! {
    /// A template's name, which is the name of its folder.
    TemplateName, check_template_name
}

fn check_template_name(text: &str) -> Result<(), Invalid> {
    let fits = (1..=40).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if fits {
        Ok(())
    } else {
        Err(Invalid::new("A template's name can contain only lowercase letters, digits and hyphens."))
    }
}

/// The kind of program, which determines how it is run and shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TemplateKind {
    /// Static files; has a draft.
    Static,
    /// Answers HTTP.
    Service,
    /// Answers signed calls at `/webhook`.
    Webhook,
    /// Runs to its end, by a schedule.
    Job,
}

/// A template's manifest, `template.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemplateManifest {
    /// Its title.
    pub title: String,
    /// One line about it.
    pub summary: String,
    /// Its kind.
    pub kind: TemplateKind,
    /// Port that the app listens on; absent for a job.
    #[serde(default)]
    pub port: Option<u16>,
    /// Path that answers 2xx when the app is healthy; absent for a job.
    #[serde(default)]
    pub health: Option<String>,
    /// Files that belong to the platform: neither the model nor a user may change them.
    #[serde(default)]
    pub platform_files: Vec<String>,
    /// Folder that is served as the draft; static sites only.
    #[serde(default)]
    pub draft_root: Option<String>,
    /// The smoke test of a new version, in addition to the request to `health`. The check of a job
    /// is one run to its end.
    #[serde(default)]
    pub smoke: Vec<SmokeKind>,
    /// A command, with its arguments, that runs in the image when the workspace is checked without
    /// a deployment; it prints errors and exits with a code other than 0.
    #[serde(default)]
    pub check: Vec<String>,
    /// Its process runs as PID 1 and reaps orphaned processes: no init program is added.
    #[serde(default)]
    pub is_init: bool,
    /// Words in a description that suggest this template.
    #[serde(default)]
    pub keywords: Vec<String>,
    /// The configured base image: `python` or `nginx`.
    pub base: String,
    /// Prompts to start from.
    #[serde(default)]
    pub examples: Vec<String>,
}

impl TemplateManifest {
    /// The settings with which an app of this template runs.
    pub fn deployment(&self) -> Result<DeploymentSpec, Invalid> {
        let process = match (self.kind, self.port, &self.health) {
            (TemplateKind::Job, _, _) => ProcessKind::Job,
            (_, Some(port), Some(path)) if path.starts_with('/') => {
                ProcessKind::Service(Probe { port, path: path.clone() })
            }
            _ => {
                return Err(Invalid::new(
                    "A template that is not a job needs a `port` and a `health` path that starts with “/”.",
                ));
            }
        };
        Ok(DeploymentSpec {
            process,
            limits: ResourceLimits::default(),
            schedule: None,
            timezone: None,
            variables: std::collections::BTreeMap::new(),
            is_init: self.is_init,
        })
    }
}
