//! Smoke tests: the requests that a template defines, sent to a new version before it receives traffic.
//!
//! Only newly built versions are tested. Publish and rollback deploy an image that has passed before, so the health
//! check is enough there.

use std::time::Duration;

use futures_util::StreamExt;

use super::context::{Failure, JobContext};
use super::outage::retry_during_outage;
use super::release::settings;
use crate::bounded_work::Owner;
use crate::domain::{
    App, Environment, HostName, JobKind, LogStream, Probe, Release, SmokeCheck, SmokeCount, SmokeKind, VersionId,
};
use crate::platform::Platform;
use crate::proof::{self, Reader, Signature, Smoke};
use crate::runtime::Instance;
use crate::store::{jobs as table, releases};

/// Maximum number of failed checks that the error names.
const NAMED: usize = 8;
/// Maximum number of log lines that are kept with a 5xx response, and how long to wait for them.
const LOG_LINES: u32 = 25;
const LOG_WAIT: Duration = Duration::from_secs(5);
/// Pause without a new line after which the log counts as complete.
const LOG_QUIET: Duration = Duration::from_millis(500);

/// Whether a release is tested.
pub fn is_due(release: &Release) -> bool {
    release.environment == Environment::Preview && release.from_release.is_none()
}

/// Sends the template's requests to the new version. The results are kept with the job.
pub async fn prove(
    context: &JobContext,
    app: &App,
    release: &Release,
    probe: &Probe,
    instance: &Instance,
) -> Result<(), Failure> {
    let platform = &context.platform;
    let kinds = &platform.template(app)?.manifest.smoke;
    if kinds.is_empty() {
        return Ok(());
    }
    let address =
        retry_during_outage(context, || Box::pin(platform.runtime.releases.own_address(instance, probe))).await?;
    let address = address.ok_or_else(unasked)?;
    let url = platform.config.url(&HostName::App(app.name.clone(), release.environment));
    let host = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest).trim_end_matches('/');
    let signing =
        if kinds.contains(&SmokeKind::Signatures) { signing(platform, app, &release.version).await? } else { None };
    let now = platform.clock.now().as_second();
    let pages =
        if kinds.contains(&SmokeKind::Links) { pages(platform, app, &release.version).await? } else { Vec::new() };
    let reader = Reader { pool: platform.cpu_work.clone(), owner: Owner::App(app.name.clone()) };
    let smoke = Smoke { address, host, health: &probe.path, pages: &pages, kinds, signing, now, reader };
    let checks = tokio::select! {
        () = context.cancel.cancelled() => return Err(Failure::Cancelled),
        checks = proof::smoke(&platform.asker, &smoke) => checks,
    };
    let checks: Vec<SmokeCheck> = checks.into_iter().map(|check| context.redaction.check(check)).collect();
    let count = SmokeCount::of(&checks);
    let may_fail = matches!(context.job.kind, JobKind::Preview { ignore_checks: true, .. });
    let ignored = if may_fail { count.failed } else { 0 };
    let (id, kept) = (context.job.id, checks.clone());
    let (app_id, environment, number) = (app.id, release.environment, release.number);
    platform
        .events
        .commit(move |t| {
            releases::ignored_checks(t, app_id, environment, number, ignored)?;
            Ok((table::set_checks(t, id, &kept)?, Vec::new()))
        })
        .await?;
    for check in checks.iter().filter(|check| !check.ok) {
        context.log(LogStream::Deploy, format!("Check failed: {}", check.line())).await;
    }
    context.log(LogStream::Deploy, format!("{} of {} checks passed.", count.passed, count.total())).await;
    if count.failed == 0 {
        return Ok(());
    }
    if may_fail {
        context.log(LogStream::Deploy, "The failed checks are ignored, as requested.".to_owned()).await;
        return Ok(());
    }
    let log = if checks.iter().any(|check| !check.ok && check.status.is_none_or(|status| status >= 500)) {
        last_lines(platform, app, release.environment).await
    } else {
        Vec::new()
    };
    Err(failure(&checks, log))
}

/// The pages among a version's files.
async fn pages(platform: &Platform, app: &App, version: &VersionId) -> Result<Vec<String>, Failure> {
    let Some(root) = &platform.template(app)?.manifest.draft_root else { return Ok(Vec::new()) };
    let (prefix, version) = (format!("{root}/"), version.clone());
    let files = platform.read_workspace(&app.name, move |workspace| workspace.tree_at(&version)).await?;
    let below = files.iter().filter_map(|file| file.path.as_str().strip_prefix(&prefix));
    Ok(below.filter_map(proof::page_address).collect())
}

/// The failure of a test whose requests could not be sent. The version is not its cause.
fn unasked() -> Failure {
    Failure::failed(
        "not_asked",
        "The new version answered, and had gone before it could be asked what it has to prove.",
    )
    .hint("Deploy again. If it goes again, see what ends the app's pods in the cluster.")
}

/// How calls of this version's webhook are signed, with this environment's secret.
async fn signing(
    platform: &Platform,
    app: &App,
    version: &VersionId,
) -> Result<Option<(Signature, secrecy::SecretString)>, Failure> {
    let settings = settings(platform, app, version).await?;
    let signature = Signature::parse(settings.signature.as_deref())
        .map_err(|error| Failure::failed("bad_settings", error.to_string()).hint("Fix app.toml, then deploy again."))?;
    let mut secrets = platform.secrets(app, Environment::Preview).await?;
    Ok(secrets.remove("WEBHOOK_SECRET").map(|secret| (signature, secret)))
}

/// The app's last log lines; none if they cannot be read, since the test's result does not depend on them.
async fn last_lines(platform: &Platform, app: &App, environment: Environment) -> Vec<String> {
    let mut log = platform.runtime.observation.logs(&app.name, app.id, environment, LOG_LINES, true);
    let mut lines = Vec::new();
    let read = async {
        // Lines that the app wrote during its response may arrive later.
        while let Ok(Some(Ok(line))) = tokio::time::timeout(LOG_QUIET, log.next()).await {
            lines.push(line.text);
        }
    };
    let _ = tokio::time::timeout(LOG_WAIT, read).await;
    lines.split_off(lines.len().saturating_sub(LOG_LINES as usize))
}

/// The failure of a job whose version has failed its smoke test.
fn failure(checks: &[SmokeCheck], log: Vec<String>) -> Failure {
    let failed: Vec<&SmokeCheck> = checks.iter().filter(|check| !check.ok).collect();
    let message = match failed[..] {
        [SmokeCheck { method, path, status: Some(status @ 400..), .. }] if method == "GET" => {
            format!("GET {path} returned an error ({status}), so this version was not put live.")
        }
        [one] => format!("A check failed, so this version was not put live: {}", one.line()),
        _ => format!("{} of {} checks failed, so this version was not put live.", failed.len(), checks.len()),
    };
    let mut lines = Vec::new();
    for check in failed.iter().take(NAMED) {
        lines.push(check.line());
        lines.extend(check.lines.iter().map(|line| format!("    {line}")));
    }
    if failed.len() > NAMED {
        lines.push(format!("… and {} more.", failed.len() - NAMED));
    }
    if !log.is_empty() {
        lines.push(proof::LOG_HEADING.to_owned());
        lines.extend(log);
    }
    Failure::failed("smoke_failed", message)
        .hint("The checks show what is wrong. Ask for a fix, or edit the code and deploy again.")
        .lines(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, ok: bool) -> SmokeCheck {
        SmokeCheck {
            what: "endpoint".into(),
            method: "GET".into(),
            path: path.into(),
            ok,
            status: Some(if ok { 200 } else { 500 }),
            millis: 1,
            note: (!ok).then(|| "It answered 500.".into()),
            lines: if ok { Vec::new() } else { vec!["Internal Server Error".into()] },
        }
    }

    #[test]
    fn the_failure_shows_its_evidence() {
        let Failure::Failed(error) =
            failure(&[check("/a", true), check("/b", false)], vec!["ZeroDivisionError".into()])
        else {
            panic!("a failure")
        };
        assert_eq!(error.code, "smoke_failed");
        assert_eq!(error.message, "GET /b returned an error (500), so this version was not put live.");
        assert_eq!(
            error.lines,
            [
                "GET /b (endpoint): 500. It answered 500.",
                "    Internal Server Error",
                "The app's last lines:",
                "ZeroDivisionError"
            ]
        );
        let many: Vec<SmokeCheck> = (0..10).map(|n| check(&format!("/{n}"), false)).collect();
        let Failure::Failed(error) = failure(&many, Vec::new()) else { panic!("a failure") };
        assert_eq!(error.message, "10 of 10 checks failed, so this version was not put live.");
        assert_eq!(error.lines.last().map(String::as_str), Some("… and 2 more."));
    }
}
