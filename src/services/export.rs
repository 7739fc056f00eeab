//! Export of an app: its repository with the whole history, the platform's files, and manifests
//! for `kubectl apply`. It never contains values of secrets.

use std::io::{self, BufWriter, Write};
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::{Stream, StreamExt, stream};
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment as Templates, UndefinedBehavior, context};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::Services;
use crate::bounded_work::{Budget, Owner};
use crate::catalog::Template;
use crate::domain::{App, Environment, HostName, ProcessKind, TemplateKind, WorkspacePath};
use crate::error::{AppError, AppResult};
use crate::jobs::runs;
use crate::workspace::{NewFile, WorkspaceError};

/// Bytes of one piece of an archive.
const PIECE: usize = 64 * 1024;
/// Pieces that are buffered for a slow reader; the archive's thread waits when the buffer is full.
const PIECES: usize = 4;
/// Deadline for the download of an archive.
const EXPORT_TIME: Duration = Duration::from_mins(30);
/// A placeholder for the registry of the image, which the user replaces.
const REGISTRY: &str = "registry.example.com";
/// The schedule of a job without a schedule; its `CronJob` is suspended.
const NEVER: &str = "0 0 1 1 *";

/// The manifests' templates. Their values are text, numbers or names; strings are written
/// as JSON if YAML could read them as another type.
static TEMPLATES: LazyLock<Templates<'static>> = LazyLock::new(|| {
    let mut templates = Templates::new();
    templates.set_auto_escape_callback(|_| AutoEscape::None);
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    templates.set_syntax(SyntaxConfig::builder().keep_trailing_newline(true).build().expect("the default syntax"));
    for (name, text) in [
        ("namespace", include_str!("../../k8s/export/namespace.yaml")),
        ("network", include_str!("../../k8s/export/network.yaml")),
        ("service", include_str!("../../k8s/export/service.yaml")),
        ("job", include_str!("../../k8s/export/job.yaml")),
        ("container", include_str!("../../k8s/export/container.yaml")),
        ("secrets", include_str!("../../k8s/export/secrets.yaml")),
        ("readme", include_str!("../../k8s/export/README-EXPORT.md")),
    ] {
        templates.add_template(name, text).expect("the embedded templates are tested");
    }
    templates
});

/// The values of the manifests.
struct Facts<'a> {
    app: &'a App,
    template: &'a Template,
    /// The host of production.
    host: String,
    /// The schedule of a job.
    schedule: Option<String>,
    /// Its time zone.
    timezone: Option<String>,
    /// Names of the environment variables that are secret.
    secrets: Vec<String>,
}

impl Services {
    /// The app as a stream of pieces of a `.tar.gz`.
    pub async fn export(&self, app: &App) -> AppResult<impl Stream<Item = io::Result<Bytes>> + Send + use<>> {
        let template = self.template_of(app)?;
        let settings = self.settings(app).await?;
        let facts = Facts {
            app,
            host: HostName::App(app.name.clone(), Environment::Prod).to_host(self.apps_domain()),
            schedule: settings.schedule.map(String::from),
            timezone: settings.timezone.map(String::from),
            secrets: self.platform.secrets(app, Environment::Prod).await?.into_keys().collect(),
            template: &template,
        };
        let mut extra = manifests(&facts)?;
        extra.extend(platform_files(&template, &self.platform.config.base_images));

        let (pieces, received) = mpsc::channel(PIECES);
        let (workspaces, name) = (self.platform.workspaces.clone(), app.name.clone());
        let (pool, owner) = (self.platform.export_work.clone(), Owner::App(app.name.clone()));
        let work = move |_: &Budget| {
            let outlet = Outlet { pieces: pieces.clone() };
            let writer = GzEncoder::new(BufWriter::with_capacity(PIECE, outlet), Compression::default());
            let made = workspaces.open(&name).and_then(|workspace| write(&workspace, writer, name.as_str(), &extra));
            if let Err(error) = made {
                tracing::warn!(app = %name, %error, "failed to finish an export");
                // The reader may have disconnected, which may be the cause.
                let _ = pieces.blocking_send(Err(error));
            }
        };
        // The thread ends when the reader disconnects, because the channel is closed.
        let packing = tokio::spawn(async move { pool.run("export", owner, EXPORT_TIME, work).await });
        // A failure before the first piece becomes an error response instead of a truncated archive.
        let mut received = ReceiverStream::new(received);
        let first = match received.next().await {
            Some(Err(error)) => return Err(error.into()),
            None => {
                packing.await.map_err(|error| AppError::internal(&error))??;
                None
            }
            first => first,
        };
        Ok(stream::iter(first).chain(received).map(|piece| piece.map_err(io::Error::other)))
    }
}

fn write(
    workspace: &crate::workspace::Workspace,
    mut writer: GzEncoder<BufWriter<Outlet>>,
    prefix: &str,
    extra: &[NewFile],
) -> Result<(), WorkspaceError> {
    workspace.export(&mut writer, prefix, extra)?;
    Ok(writer.finish()?.flush()?)
}

/// A writer that sends an archive's bytes to the response stream.
struct Outlet {
    pieces: mpsc::Sender<Result<Bytes, WorkspaceError>>,
}

impl Write for Outlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.pieces.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map(|()| bytes.len()).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The platform's files as in a build, except that the Dockerfile names the base image itself,
/// because outside of Slipway there is no build argument for it.
fn platform_files(
    template: &Template,
    base_images: &std::collections::BTreeMap<String, String>,
) -> impl Iterator<Item = NewFile> {
    let base = base_images.get(&template.manifest.base);
    template.platform_files().map(move |(path, bytes)| {
        let named = base.filter(|_| path.as_str() == "Dockerfile").map(|base| {
            let text = String::from_utf8_lossy(bytes);
            text.replacen("ARG BASE_IMAGE\n", &format!("ARG BASE_IMAGE={base}\n"), 1).into_bytes()
        });
        NewFile { path: path.clone(), bytes: named.unwrap_or_else(|| bytes.clone()) }
    })
}

/// `k8s/*.yaml` and the file that explains how to use them. Pure.
fn manifests(facts: &Facts<'_>) -> AppResult<Vec<NewFile>> {
    let name = &facts.app.name;
    let spec = facts.template.manifest.deployment()?;
    let probe = match &spec.process {
        ProcessKind::Service(probe) => Some(probe),
        ProcessKind::Job => None,
    };
    let tag = facts.app.head.as_ref().map_or("latest", |head| head.short());
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let mebibytes = |bytes: i64| format!("{}Mi", bytes / 1024 / 1024);
    let values = context! {
        name => name.as_str(),
        image => format!("{REGISTRY}/{name}:{tag}"),
        host => text(&facts.host),
        port => probe.map(|probe| probe.port),
        health => probe.map(|probe| text(&probe.path)),
        schedule => text(facts.schedule.as_deref().unwrap_or(NEVER)),
        suspended => facts.schedule.is_none(),
        timezone => facts.timezone.as_deref().unwrap_or("Etc/UTC"),
        run_seconds => runs::TIME_LIMIT.as_secs(),
        secrets => &facts.secrets,
        cpu => format!("{}m", spec.limits.cpu_millis),
        memory => mebibytes(spec.limits.memory_bytes),
        // Requests are half of the limits, so that a new version fits beside the old one.
        cpu_request => format!("{}m", spec.limits.cpu_millis / 10),
        memory_request => mebibytes(spec.limits.memory_bytes / 2),
        processes => spec.limits.processes,
    };
    let is_job = facts.template.manifest.kind == TemplateKind::Job;
    [
        ("k8s/00-namespace.yaml", "namespace"),
        ("k8s/10-network.yaml", "network"),
        ("k8s/20-app.yaml", if is_job { "job" } else { "service" }),
        ("README-EXPORT.md", "readme"),
    ]
    .into_iter()
    .map(|(path, template)| {
        let path: WorkspacePath = path.parse()?;
        let rendered = TEMPLATES.get_template(template).and_then(|template| template.render(&values));
        let bytes = rendered.map_err(|error| AppError::internal(&format!("{path}: {error:#}")))?.into_bytes();
        Ok(NewFile { path, bytes })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde::Deserialize;

    use super::*;
    use crate::catalog::Catalog;
    use crate::domain::EnvironmentStatus;

    fn files(template: &str, schedule: Option<&str>, secrets: &[&str]) -> Vec<(String, String)> {
        let catalog = Catalog::load(Path::new("/nonexistent")).expect("readable");
        let template = catalog.get(&template.parse().expect("a name")).expect("a template");
        let app = App {
            id: crate::domain::AppId(1),
            name: "brisk-otter".parse().expect("a name"),
            title: None,
            template: template.name.clone(),
            description: String::new(),
            created_at: jiff::Timestamp::UNIX_EPOCH,
            updated_at: jiff::Timestamp::UNIX_EPOCH,
            head: Some("0123456789012345678901234567890123456789".parse().expect("a version")),
            deleting: false,
            model: crate::domain::ModelChoice::default(),
            auto_preview: true,
            environments: Environment::ALL.map(EnvironmentStatus::none),
        };
        let facts = Facts {
            app: &app,
            template,
            host: "brisk-otter.localhost".to_owned(),
            schedule: schedule.map(str::to_owned),
            timezone: None,
            secrets: secrets.iter().map(|secret| (*secret).to_owned()).collect(),
        };
        let files = manifests(&facts).expect("made");
        files.into_iter().map(|file| (file.path.to_string(), String::from_utf8(file.bytes).expect("text"))).collect()
    }

    fn joined(files: &[(String, String)]) -> String {
        files.iter().map(|(path, text)| ["=== ", path, "\n", text].concat()).collect()
    }

    /// Reads every document as YAML.
    fn parsed(files: &[(String, String)]) -> Vec<serde_json::Value> {
        let yaml = files.iter().filter(|(path, _)| path.starts_with("k8s/")).map(|(_, text)| text);
        yaml.flat_map(|text| yaml_serde::Deserializer::from_str(text))
            .map(|document| serde_json::Value::deserialize(document).expect("YAML"))
            .collect()
    }

    #[test]
    fn manifests_of_a_site_match_their_snapshot() {
        insta::assert_snapshot!(joined(&files("static-site", None, &[])));
    }

    #[test]
    fn manifests_of_a_job_match_their_snapshot() {
        insta::assert_snapshot!(joined(&files("scheduled-job", Some("*/15 * * * *"), &[])));
    }

    #[test]
    fn manifests_hold_the_deployment_rules() {
        for (template, schedule, secrets) in [
            ("static-site", None, vec![]),
            ("webhook", None, vec!["WEBHOOK_SECRET"]),
            ("scheduled-job", Some("0 7 * * *\" # x"), vec![]),
            ("scheduled-job", None, vec![]),
        ] {
            let documents = parsed(&files(template, schedule, &secrets));
            let kinds: Vec<_> = documents.iter().map(|document| document["kind"].as_str().expect("a kind")).collect();
            let is_job = template == "scheduled-job";
            let network = if is_job { 3 } else { 4 };
            assert_eq!(kinds[..3], ["Namespace", "ResourceQuota", "LimitRange"]);
            assert_eq!(kinds.iter().filter(|kind| **kind == "NetworkPolicy").count(), network);
            for document in &documents {
                let labels = &document["metadata"]["labels"];
                assert_eq!(labels["app.kubernetes.io/managed-by"], "slipway", "{document}");
                assert_eq!(labels["slipway.dev/app"], "brisk-otter");
            }
            let workload = &documents[3 + network];
            let pod = if is_job {
                assert_eq!(workload["spec"]["schedule"], schedule.unwrap_or(NEVER));
                assert_eq!(workload["spec"]["suspend"].as_bool(), schedule.is_none().then_some(true));
                &workload["spec"]["jobTemplate"]["spec"]["template"]["spec"]
            } else {
                assert_eq!(kinds[3 + network..], ["Deployment", "Service", "Ingress"]);
                &workload["spec"]["template"]["spec"]
            };
            assert_eq!(pod["automountServiceAccountToken"], false);
            assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
            let container = &pod["containers"][0];
            assert_eq!(container["image"], "registry.example.com/brisk-otter:0123456");
            assert_eq!(container["resources"]["limits"], serde_json::json!({ "cpu": "500m", "memory": "128Mi" }));
            let security = &container["securityContext"];
            assert_eq!(security["readOnlyRootFilesystem"], true);
            assert_eq!(security["allowPrivilegeEscalation"], false);
            assert_eq!(security["capabilities"]["drop"], serde_json::json!(["ALL"]));
            assert_eq!(container["volumeMounts"][0]["mountPath"], "/tmp");
            let env = container["env"].as_array().map_or(0, Vec::len);
            assert_eq!(env, secrets.len());
            assert!(container["env"][0]["value"].is_null());
        }
    }

    #[test]
    fn the_dockerfile_builds_without_slipway() {
        let catalog = Catalog::load(Path::new("/nonexistent")).expect("readable");
        let bases = [("python", "python:x"), ("nginx", "nginx:x")];
        let bases = bases.into_iter().map(|(name, image)| (name.to_owned(), image.to_owned())).collect();
        for template in catalog.iter() {
            let dockerfile = platform_files(template, &bases)
                .find(|file| file.path.as_str() == "Dockerfile")
                .expect("every template has one");
            let text = String::from_utf8(dockerfile.bytes).expect("text");
            assert!(text.contains(&format!("\nARG BASE_IMAGE={}:x\n", template.manifest.base)), "{text}");
        }
    }
}
