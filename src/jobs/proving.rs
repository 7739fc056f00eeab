//! Implements the model's tools `check`, `preview_logs` and `request`: builds the workspace without deploying it, reads
//! the log of the app's preview, and sends requests to it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use secrecy::ExposeSecret;

use super::context::{Failure, JobContext, JobLog};
use super::host_error::host_error;
use super::release::settings;
use crate::bounded_work::Owner;
use crate::build::{BuildError, BuildRequest};
use crate::catalog::Template;
use crate::domain::{App, Environment, HostName, LogStream, PageRequest, SmokeKind, TemplateKind, VersionId};
use crate::error::AppError;
use crate::gateway::RouteState;
use crate::generation::{CheckReport, HostError, PreviewAnswer, PreviewRequest};
use crate::output::LineSink;
use crate::platform::Platform;
use crate::proof::{self, AskError, Fetched, Question, Reader, Signature};
use crate::runtime::RuntimeError;
use crate::workspace::NewFile;

/// Time limit of a check's build.
const BUILD_LIMIT: Duration = Duration::from_mins(5);
/// Maximum number of lines of the preview's log that are returned, and the timeout for reading them.
const LOG_LINES: u32 = 150;
const LOG_WAIT: Duration = Duration::from_secs(5);
/// Timeout of a request to the preview, and the maximum size in bytes of the response body that is read.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
const ANSWER_MAX: usize = 16 * 1024;

/// Builds the current work tree, runs the template's own check in the image, and checks the links of a static site.
/// Nothing is deployed.
pub async fn check(context: &JobContext, app: &App, template: &Template) -> Result<CheckReport, HostError> {
    let platform = &context.platform;
    let _slot = platform.check_slots.acquire().await.map_err(|_| HostError::Failed("Slipway is stopping.".into()))?;
    let _images = platform.image_locks.lock(app.id).await;
    let mut owned: Vec<NewFile> =
        template.platform_files().map(|(path, bytes)| NewFile { path: path.clone(), bytes: bytes.clone() }).collect();
    let command = &template.manifest.check;
    if !command.is_empty()
        && let Some(dockerfile) = owned.iter_mut().find(|file| file.path.as_str() == "Dockerfile")
    {
        // The exec form, so that the command is not interpreted by a shell.
        let words = serde_json::to_string(command).map_err(|error| HostError::Failed(error.to_string()))?;
        dockerfile.bytes.extend_from_slice(format!("\nRUN {words}\n").as_bytes());
    }
    let archive = platform.read_workspace(&app.name, move |workspace| workspace.archive_work(&owned));
    let archive = archive.await.map_err(host_error)?;
    let request = BuildRequest {
        app: app.name.clone(),
        app_id: app.id,
        version: content_id(&archive)?,
        base: template.manifest.base.clone(),
        context: archive,
        time_limit: Some(BUILD_LIMIT),
    };
    let log = CheckLog { log: context.lines(LogStream::Build), lines: Mutex::default() };
    let built = platform.images.build(request, &log, &context.cancel).await;
    let lines = log.lines.into_inner().unwrap_or_else(PoisonError::into_inner);
    match built {
        Ok(_) => {}
        Err(BuildError::Failed { .. } | BuildError::TimedOut { .. }) => {
            // The last line is the engine's own, and contains the whole command.
            let output = &lines[..lines.len().saturating_sub(1)];
            let lines = proof::relevant_lines(output);
            let sentence = lines.iter().rev().find(|line| !line.starts_with(' ')).map_or_else(
                || "It does not build.".to_owned(),
                |line| format!("It does not build: {}", line.trim().chars().take(160).collect::<String>()),
            );
            return Ok(CheckReport { ok: false, sentence, lines });
        }
        Err(error) => return Err(HostError::Refused(format!("It could not be checked now. {error}"))),
    }
    match links(platform, app, template).await? {
        Some(report) => Ok(report),
        None => Ok(CheckReport { ok: true, sentence: "It builds.".to_owned(), lines: Vec::new() }),
    }
}

/// A check's output: it is shown in the job's log, and kept for the tool's result. The build limits its size.
struct CheckLog<'a> {
    log: JobLog<'a>,
    lines: Mutex<Vec<String>>,
}

impl LineSink for CheckLog<'_> {
    fn line(&self, line: String) -> BoxFuture<'_, ()> {
        // The command of the check belongs to Slipway, and is long.
        if line.starts_with("Step ") && line.contains("RUN [\"python3\", \"-c\"") {
            return Box::pin(std::future::ready(()));
        }
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line.clone());
        self.log.line(line)
    }
}

/// An id for these bytes in the form of a commit id.
fn content_id(archive: &[u8]) -> Result<VersionId, HostError> {
    use sha2::Digest as _;
    let digest = hex::encode(sha2::Sha256::digest(archive));
    digest[..40].parse().map_err(|error: crate::domain::Invalid| HostError::Failed(error.to_string()))
}

/// Checks the links of a static site in the files alone, with responses like those of the server.
async fn links(platform: &Platform, app: &App, template: &Template) -> Result<Option<CheckReport>, HostError> {
    let (true, Some(root)) = (template.manifest.smoke.contains(&SmokeKind::Links), &template.manifest.draft_root)
    else {
        return Ok(None);
    };
    let prefix = format!("{root}/");
    let read = platform.read_workspace(&app.name, move |workspace| {
        let mut files: HashMap<String, Vec<u8>> = HashMap::new();
        for entry in workspace.list()? {
            if let Some(path) = entry.path.as_str().strip_prefix(&prefix) {
                files.insert(path.to_owned(), workspace.read(&entry.path)?);
            }
        }
        Ok(files)
    });
    let files = read.await.map_err(host_error)?;
    let url = platform.config.url(&HostName::App(app.name.clone(), Environment::Preview));
    let host = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest).trim_end_matches('/').to_owned();
    let mut pages: Vec<String> = files.keys().filter_map(|file| proof::page_address(file)).collect();
    pages.sort();
    let reader = Reader { pool: platform.cpu_work.clone(), owner: Owner::App(app.name.clone()) };
    let fetch = |path: String| std::future::ready(Ok(serve(&files, &path)));
    let checks = Box::pin(proof::crawl(&host, "/", &pages, &reader, fetch)).await;
    let failed: Vec<String> = checks.iter().filter(|check| !check.ok).map(crate::domain::SmokeCheck::line).collect();
    Ok(Some(if failed.is_empty() {
        let sentence =
            format!("It builds, and all {} pages and files that belong to each other are there.", checks.len());
        CheckReport { ok: true, sentence, lines: Vec::new() }
    } else {
        let sentence =
            format!("It builds, but {} of {} pages and files are not as they should be.", failed.len(), checks.len());
        CheckReport { ok: false, sentence, lines: failed }
    }))
}

/// The file that the site's server returns for a path.
fn serve(files: &HashMap<String, Vec<u8>>, path: &str) -> Fetched {
    let path = path.split('?').next().unwrap_or_default();
    let path = percent_decoded(path);
    let wanted = path.trim_matches('/');
    let candidates = [
        wanted.to_owned(),
        format!("{wanted}/index.html").trim_start_matches('/').to_owned(),
        format!("{wanted}.html"),
    ];
    match candidates.iter().find_map(|candidate| files.get_key_value(candidate)) {
        Some((name, bytes)) => Fetched {
            status: 200,
            content_type: mime_guess::from_path(name).first_or_octet_stream().to_string(),
            body: bytes.clone(),
            ..Fetched::default()
        },
        None => Fetched { status: 404, ..Fetched::default() },
    }
}

fn percent_decoded(path: &str) -> String {
    let (mut out, mut rest) = (Vec::with_capacity(path.len()), path.as_bytes());
    while let Some((&first, after)) = rest.split_first() {
        let mut byte = [0];
        match after.get(..2) {
            Some(digits) if first == b'%' && hex::decode_to_slice(digits, &mut byte).is_ok() => {
                out.push(byte[0]);
                rest = &after[2..];
            }
            _ => {
                out.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The last lines of the preview's log; for a scheduled job, the output of its newest run.
pub async fn preview_logs(platform: &Platform, app: &App) -> Result<Vec<String>, HostError> {
    let kind = platform.template(app).map_err(host_error)?.manifest.kind;
    if kind == TemplateKind::Job {
        let runs =
            platform.store.runs(app.id, PageRequest::first(1)).await.map_err(|error| host_error(error.into()))?;
        let Some(run) = runs.items.first() else { return Err(HostError::Refused("It has not run yet.".into())) };
        let log = platform.store.run_log(run.id).await.map_err(|error| host_error(error.into()))?;
        let lines: Vec<&str> = log.lines().collect();
        let from = lines.len().saturating_sub(LOG_LINES as usize);
        return Ok(lines[from..].iter().map(|line| (*line).to_owned()).collect());
    }
    let lines = platform.runtime.observation.logs(&app.name, app.id, Environment::Preview, LOG_LINES, false);
    let lines = tokio::time::timeout(LOG_WAIT, lines.collect::<Vec<_>>()).await;
    let lines = lines.map_err(|_| HostError::Refused("The log could not be read in time. Try again.".into()))?;
    lines.into_iter().map(|line| line.map(|line| line.text)).collect::<Result<_, _>>().map_err(|error| match error {
        RuntimeError::Gone => HostError::Refused("Nothing runs in preview yet, so there is no log.".into()),
        error => HostError::Refused(error.to_string()),
    })
}

/// Sends a request to the app's own preview. Slipway determines its address, so that the request cannot reach another
/// host.
pub async fn request(platform: &Platform, app: &App, request: PreviewRequest) -> Result<PreviewAnswer, HostError> {
    let environment = Environment::Preview;
    let Some(RouteState::Up(upstream)) = platform.gateway.routes().state(&app.name, environment) else {
        return Err(HostError::Refused("Nothing runs in preview, so nothing can be asked.".into()));
    };
    let url = platform.config.url(&HostName::App(app.name.clone(), environment));
    let host = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest).trim_end_matches('/');
    let PreviewRequest { method, path, mut headers, body } = request;
    let has = |headers: &[(String, String)], name: &str| headers.iter().any(|(key, _)| key.eq_ignore_ascii_case(name));
    if !body.is_empty() && !has(&headers, "content-type") {
        headers.push(("Content-Type".to_owned(), "application/json".to_owned()));
    }
    let note = sign(platform, app, &method, &path, &mut headers, &body).await.map_err(host_error)?;
    let question = Question {
        method: &method,
        path: &path,
        host,
        headers: &headers,
        body: body.into_bytes(),
        body_max: ANSWER_MAX,
        time_limit: ANSWER_LIMIT,
        body_wait: Duration::from_secs(3),
    };
    let answer = platform.asker.ask(upstream.address, question).await.map_err(|error| match error {
        AskError::Invalid(why) => HostError::Refused(why.to_owned()),
        error => HostError::Refused(format!("{error} preview_logs may say why.")),
    })?;
    let told = |(name, value): (&reqwest::header::HeaderName, &reqwest::header::HeaderValue)| {
        (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    Ok(PreviewAnswer {
        status: answer.status,
        headers: answer.headers.iter().map(told).collect(),
        body: answer.text(),
        truncated: answer.truncated,
        millis: answer.millis,
        note,
    })
}

/// Signs a webhook call that has no signature. The secret is not shown to the model.
async fn sign(
    platform: &Platform,
    app: &App,
    method: &str,
    path: &str,
    headers: &mut Vec<(String, String)>,
    body: &str,
) -> Result<Option<String>, AppError> {
    let is_call = method == "POST" && path.split('?').next() == Some("/webhook");
    let is_signed = headers.iter().any(|(name, _)| name.to_ascii_lowercase().contains("signature"));
    if !is_call || is_signed || platform.template(app)?.manifest.kind != TemplateKind::Webhook {
        return Ok(None);
    }
    let mut secrets = platform.secrets(app, Environment::Preview).await?;
    let Some(secret) = secrets.remove("WEBHOOK_SECRET") else { return Ok(None) };
    // The live version was deployed with its own settings.
    let live = platform.store.app_by_id(app.id).await?.environment(Environment::Preview).version.clone();
    let Some(version) = live else { return Ok(None) };
    let settings = settings(platform, app, &version).await.map_err(|failure| match failure {
        Failure::Failed(error) => AppError::invalid(error.message),
        Failure::Cancelled => AppError::invalid("It was stopped."),
    })?;
    let signature = Signature::parse(settings.signature.as_deref())?;
    headers.extend(proof::sign(signature, secret.expose_secret(), platform.clock.now().as_second(), body));
    Ok(Some("The call was signed for you.".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_as_the_server_finds_them() {
        let files: HashMap<String, Vec<u8>> = ["index.html", "about.html", "docs/index.html", "a b.css", "é.svg"]
            .map(|path| (path.to_owned(), path.as_bytes().to_vec()))
            .into();
        for (path, found, kind) in [
            ("/", "index.html", "text/html"),
            ("/about", "about.html", "text/html"),
            ("/about.html?x=1", "about.html", "text/html"),
            ("/docs", "docs/index.html", "text/html"),
            ("/docs/", "docs/index.html", "text/html"),
            ("/a%20b.css", "a b.css", "text/css"),
            ("/%C3%A9.svg", "é.svg", "image/svg+xml"),
        ] {
            let answer = serve(&files, path);
            assert_eq!((answer.status, String::from_utf8_lossy(&answer.body).as_ref()), (200, found), "{path}");
            assert_eq!(answer.content_type, kind, "{path}");
        }
        for path in ["/gone", "/%2e%2e/secret", "/%"] {
            assert_eq!(serve(&files, path).status, 404, "{path}");
        }
    }
}
