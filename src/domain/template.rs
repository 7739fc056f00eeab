//! What a template is: a kind of app that can be scaffolded, built and run.

use serde::{Deserialize, Serialize};

use super::deployment::{DeploymentSpec, Probe, ProcessKind, ResourceLimits};
use super::{Invalid, SmokeKind, validated_string};

validated_string! {
    /// A template's name: its folder's.
    TemplateName, check_template_name
}

fn check_template_name(text: &str) -> Result<(), Invalid> {
    let fits = (1..=40).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if fits { Ok(()) } else { Err(Invalid::new("A template's name is made of lowercase letters, digits and hyphens.")) }
}

/// What kind of program a template makes, which decides how it is run and shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TemplateKind {
    /// Files served as they are; has a draft.
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
    /// What people call it.
    pub title: String,
    /// One line about it.
    pub summary: String,
    /// How it is run and shown.
    pub kind: TemplateKind,
    /// Port that the app listens on; absent for a job.
    #[serde(default)]
    pub port: Option<u16>,
    /// Path that answers 2xx when the app is well; absent for a job.
    #[serde(default)]
    pub health: Option<String>,
    /// Files that belong to the platform: neither the model nor a user may write them.
    #[serde(default)]
    pub platform_files: Vec<String>,
    /// Folder that is served as the draft; static sites only.
    #[serde(default)]
    pub draft_root: Option<String>,
    /// What a new version has to prove before it takes traffic, besides answering at `health`. A job proves
    /// itself by one run to its end.
    #[serde(default)]
    pub smoke: Vec<SmokeKind>,
    /// A command, with its arguments, that is run in the image when the workspace is checked without
    /// being deployed; it prints what is wrong and ends with another code than 0.
    #[serde(default)]
    pub check: Vec<String>,
    /// Its process is the container's first one and reaps what others leave behind: no init program is put before it.
    #[serde(default)]
    pub is_init: bool,
    /// Words in a description that suggest this template.
    #[serde(default)]
    pub keywords: Vec<String>,
    /// Which configured base image it is built on: `python` or `nginx`.
    pub base: String,
    /// Prompts to start from.
    #[serde(default)]
    pub examples: Vec<String>,
}

impl TemplateManifest {
    /// How an app of this template is run.
    pub fn deployment(&self) -> Result<DeploymentSpec, Invalid> {
        let process = match (self.kind, self.port, &self.health) {
            (TemplateKind::Job, _, _) => ProcessKind::Job,
            (_, Some(port), Some(path)) if path.starts_with('/') => {
                ProcessKind::Service(Probe { port, path: path.clone() })
            }
            _ => {
                return Err(Invalid::new(
                    "A template that is no job names its `port` and its `health` path, which starts with “/”.",
                ));
            }
        };
        Ok(DeploymentSpec {
            process,
            limits: ResourceLimits::default(),
            schedule: None,
            variables: std::collections::BTreeMap::new(),
            is_init: self.is_init,
        })
    }
}
