//! The end of the conversation while the last deployment has failed: what is wrong, the lines that say why, and what
//! to do. Pure.

use askama::Template;

use super::deployment::{ChecksView, with_code};
use crate::domain::{App, AppName, Environment, Job, JobId, JobKind, VersionId};
use crate::proof;
use crate::services::trouble::Trouble;
use crate::web::format::{self, Html};
use crate::web::ui;

/// The card; empty if there is no such failure.
#[derive(Template)]
#[template(path = "app/trouble.html")]
pub struct TroubleView<'a> {
    /// The app.
    pub app: &'a AppName,
    /// What to show.
    pub card: Option<Card>,
}

/// A failure and the possible actions. One of them at most is the primary button.
pub struct Card {
    job: JobId,
    title: &'static str,
    reason: Html,
    attempts: Option<u32>,
    unchanged: Option<&'static str>,
    still: Option<String>,
    hint: Option<Html>,
    /// Why Slipway does not try to fix it again.
    tried: Option<String>,
    lines: String,
    checks: Option<ChecksView>,
    primary: bool,
    /// The model can fix it.
    fix: bool,
    fix_label: &'static str,
    again: Option<Again>,
    /// The version that can be deployed although its checks failed.
    anyway: Option<VersionId>,
    /// The app's file to edit.
    file: Option<String>,
    edit: String,
    good: Option<(VersionId, u32)>,
    log: Option<String>,
}

struct Again {
    action: String,
    fields: Vec<(&'static str, String)>,
}

impl Card {
    /// `fix_label`: the words on the button that asks the model.
    pub fn new(trouble: &Trouble, app: &App, fix_label: &'static str) -> Self {
        let job = &trouble.job;
        let error = job.error.as_ref();
        let cause = error.and_then(|error| proof::cause(&error.code, error.lines.iter().map(String::as_str)));
        let reason = cause.or_else(|| error.map(|error| error.message.clone()));
        let hint = error.and_then(|error| error.hint.clone());
        let stopped = trouble.is_code && trouble.attempts > 1;
        let (title, environment) = (title(&job.kind), job.kind.environment());
        let lines = error.map(|error| proof::key_lines(error).join("\n")).unwrap_or_default();
        let checks_failed = error.is_some_and(|error| error.code == "smoke_failed");
        Self {
            job: job.id,
            title,
            reason: with_code(&reason.unwrap_or_else(|| "The reason is not known.".to_owned())),
            attempts: (trouble.attempts > 1).then_some(trouble.attempts),
            unchanged: trouble.fix_changed_nothing.then_some("The last attempt to fix this changed nothing."),
            // What did not start again is what ran there.
            still: match job.kind {
                JobKind::Start { .. } => None,
                _ => environment.and_then(|environment| still_running(app, environment)),
            },
            // What a user can do about their own code is on the buttons.
            hint: hint.as_ref().filter(|_| !trouble.is_code).map(|hint| with_code(hint)),
            tried: hint.filter(|_| stopped),
            primary: !trouble.turn_proposes,
            fix: trouble.is_code,
            fix_label,
            again: again(app, job),
            anyway: match &job.kind {
                JobKind::Preview { version, .. } if checks_failed => Some(version.clone()),
                _ => None,
            },
            edit: trouble.file.as_ref().map_or_else(String::new, |path| {
                format!("/apps/{}/code/{}?edit=1", app.name, format::encode_path(path.as_str(), true))
            }),
            file: trouble.file.as_ref().map(ToString::to_string),
            good: trouble.good.as_ref().map(|version| (version.id.clone(), version.number)),
            log: environment.map(|environment| log_address(app, job, environment, lines.is_empty())),
            checks: ChecksView::new(&job.checks),
            lines,
        }
    }
}

fn title(kind: &JobKind) -> &'static str {
    match kind {
        JobKind::Publish { .. } => "Not published.",
        JobKind::Rollback { .. } => "Not rolled back.",
        JobKind::Start { .. } => "Not started.",
        JobKind::Delete => "Not deleted.",
        JobKind::Preview { .. } | JobKind::Generate { .. } => "Not deployed.",
    }
}

fn again(app: &App, job: &Job) -> Option<Again> {
    let (action, fields) = match &job.kind {
        JobKind::Preview { version, ignore_checks, .. } => {
            let mut fields = vec![("version", version.to_string())];
            if *ignore_checks {
                fields.push(("ignore_checks", "true".to_owned()));
            }
            ("previews", fields)
        }
        JobKind::Publish { .. } => ("publish", Vec::new()),
        JobKind::Rollback { environment, release } => {
            ("rollback", vec![("environment", environment.to_string()), ("release", release.to_string())])
        }
        JobKind::Start { environment } => ("start", vec![("environment", environment.to_string())]),
        JobKind::Generate { .. } | JobKind::Delete => return None,
    };
    Some(Again { action: format!("/apps/{}/{action}", app.name), fields })
}

fn log_address(app: &App, job: &Job, environment: Environment, has_no_lines: bool) -> String {
    let built = job.error.as_ref().is_some_and(|error| !error.code.starts_with("build"));
    let source = if built && !has_no_lines { environment.as_str() } else { "build" };
    format!("/apps/{}/logs?source={source}", app.name)
}

/// Names the version that keeps running, so that users know that visitors are not affected.
fn still_running(app: &App, environment: Environment) -> Option<String> {
    let status = app.environment(environment);
    let number = status.version_number.filter(|_| status.release.is_some())?;
    Some(match environment {
        Environment::Prod => format!("Version {number} is still live."),
        Environment::Preview => format!("Version {number} still runs in preview."),
    })
}

#[cfg(test)]
pub(in crate::web) mod samples {
    use super::*;
    use crate::web::samples;

    /// The failure of this job.
    pub fn trouble(job: Job) -> Trouble {
        Trouble {
            is_code: true,
            is_newest: true,
            attempts: 3,
            file: Some("requirements.txt".parse().expect("a path")),
            good: None,
            fix_changed_nothing: false,
            turn_proposes: false,
            job,
        }
    }

    /// The card of the job, rendered.
    pub fn card(trouble: &Trouble) -> String {
        let app = samples::app();
        let card = Some(Card::new(trouble, &app, "Fix with Claude"));
        TroubleView { app: &app.name, card }.render().expect("renders")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{JobError, JobState, ReleaseNumber};
    use crate::web::app::deployment::samples::{job, unproven};
    use crate::web::samples;

    #[test]
    fn a_failure_names_the_running_version_and_has_one_primary_button() {
        let trouble = super::samples::trouble(samples::deployment(JobState::Failed));
        let page = samples::select(&super::samples::card(&trouble));
        let words = page.text("h2");
        assert!(words.starts_with("Not deployed. ") && words.ends_with("(3 attempts)"), "{words}");
        assert!(words.contains("pip could not find fastapi-limits."), "{words}");
        assert_eq!(page.text(".unchanged-note"), "Version 11 still runs in preview.");
        assert_eq!(page.texts(".button"), ["Fix with Claude", "Edit requirements.txt", "Log"]);
        assert_eq!(page.texts(".button.primary"), ["Fix with Claude"]);
        assert_eq!(page.attribute("form[action$=fix] input[name=job]", "value"), "41");
        assert!(page.text("pre").starts_with("ERROR: Could not find a version"), "{}", page.text("pre"));
        // A turn that asks something proposes the next step.
        let page = samples::select(&super::samples::card(&Trouble { turn_proposes: true, ..trouble }));
        assert_eq!(page.count(".button.primary"), 0);
    }

    #[test]
    fn a_fault_of_the_machine_is_tried_again() {
        let mut publish = job(JobState::Failed, JobKind::Publish { release: ReleaseNumber(5) });
        publish.error = Some(JobError {
            code: "docker_unavailable".into(),
            message: "Docker does not answer.".into(),
            hint: Some("Start Docker with `systemctl start docker`.".into()),
            lines: Vec::new(),
        });
        let trouble = Trouble { is_code: false, attempts: 1, file: None, ..super::samples::trouble(publish) };
        let page = samples::select(&super::samples::card(&trouble));
        assert_eq!(page.text("h2"), "Not published. Docker does not answer.");
        assert!(page.text("section").contains("Version 9 is still live."), "{}", page.text("section"));
        assert!(page.text("section").contains("Start Docker with systemctl"), "what to do is said");
        assert_eq!(page.texts(".button"), ["Try again", "Log"]);
        assert_eq!(page.texts(".button.primary"), ["Try again"]);
    }

    #[test]
    fn failed_checks_can_be_ignored() {
        let trouble = Trouble { attempts: 1, ..super::samples::trouble(unproven()) };
        let page = samples::select(&super::samples::card(&trouble));
        assert_eq!(page.text(".checks summary"), "1 of 5 checks failed");
        assert!(page.text(".checks li:first-child").contains("refers to it"), "failed ones first");
        assert_eq!(page.count(".checks h1"), 0, "an app's response is shown as text");
        assert_eq!(page.attribute("form[action$=previews] input[name=ignore_checks]", "value"), "true");
        assert_eq!(page.texts(".button.primary"), ["Fix with Claude"]);
        let built = super::samples::trouble(samples::deployment(JobState::Failed));
        assert_eq!(samples::select(&super::samples::card(&built)).count("input[name=ignore_checks]"), 0);
    }

    #[test]
    fn an_attempt_that_changed_nothing_is_said() {
        let failed = super::samples::trouble(samples::deployment(JobState::Failed));
        let page = samples::select(&super::samples::card(&Trouble { fix_changed_nothing: true, ..failed }));
        assert!(page.text("section").contains("The last attempt to fix this changed nothing."));
    }

    #[test]
    fn nothing_is_shown_without_a_failure() {
        let app = samples::app();
        let html = TroubleView { app: &app.name, card: None }.render().expect("renders");
        assert_eq!(html.trim(), r#"<div id="trouble"></div>"#);
    }
}
