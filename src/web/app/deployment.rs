//! A deployment as a strip of steps with their durations, or as a card that says why it failed.

use askama::Template;

use crate::domain::{
    App, AppName, Environment, Job, JobId, JobKind, JobState, ReleaseNumber, SmokeCheck, SmokeCount, Step, StepName,
    StepState, VersionId,
};
use crate::web::format::{self, Html};
use crate::web::highlight::escape_into;
use crate::web::ui;

/// The strip; empty if there is no deployment to show.
#[derive(Template)]
#[template(path = "app/strip.html")]
pub struct Strip<'a> {
    /// The app.
    pub app: &'a AppName,
    /// The deployment to show.
    pub job: Option<DeployView>,
}

/// A deployment.
pub struct DeployView {
    id: JobId,
    state: JobState,
    title: String,
    steps: Vec<StepView>,
    may_stop: bool,
    url: Option<String>,
    /// It changed what visitors see.
    live: bool,
    /// The release that *Undo* brings back.
    undo: Option<ReleaseNumber>,
    checks: Option<ChecksView>,
    failure: Option<FailureView>,
    /// The job's current activity, or what it waits for, from its log.
    doing: Option<Html>,
}

/// The checks of a new version before traffic switched to it.
pub struct ChecksView {
    /// `14 checks passed`.
    pub(super) summary: String,
    /// Those that failed first.
    pub(super) checks: Vec<SmokeCheck>,
}

impl ChecksView {
    pub(super) fn new(checks: &[SmokeCheck]) -> Option<Self> {
        let count = SmokeCount::of(checks);
        let summary = match (count.passed, count.failed) {
            (0, 0) => return None,
            (passed, 0) => format!("{} passed", format::count(u64::from(passed), "check", "checks")),
            (_, failed) => format!("{failed} of {} failed", format::count(u64::from(count.total()), "check", "checks")),
        };
        let mut checks = checks.to_vec();
        checks.sort_by_key(|check| check.ok);
        Some(Self { summary, checks })
    }
}

struct StepView {
    name: &'static str,
    state: Option<StepState>,
    millis: u64,
}

/// A failure and the possible actions.
pub struct FailureView {
    id: JobId,
    sentence: Html,
    hint: Option<String>,
    lines: String,
    checks: Option<ChecksView>,
    still: Option<String>,
    /// The model can fix it.
    ask: bool,
    again: Option<Again>,
    log: Option<String>,
    good: Option<(VersionId, u32)>,
}

struct Again {
    action: String,
    fields: Vec<(&'static str, String)>,
}

impl DeployView {
    /// `version`: the number of the deployed version, if known; `url`: the URL of the environment;
    /// `doing`: the job's current activity.
    pub fn new(job: &Job, app: &App, version: Option<u32>, url: Option<String>, doing: Option<String>) -> Self {
        let ended = job.state.is_final();
        Self {
            id: job.id,
            state: job.state,
            title: title(job, version),
            steps: steps(job),
            may_stop: !ended && !job.cancel_requested,
            url: url.filter(|_| job.state == JobState::Succeeded),
            live: job.state == JobState::Succeeded && job.kind.environment() == Some(Environment::Prod),
            undo: None,
            doing: doing.filter(|_| !ended).map(|words| with_code(&words)),
            checks: ChecksView::new(&job.checks),
            failure: (job.state == JobState::Failed).then(|| FailureView::new(job, app)),
        }
    }

    /// Adds the version to restore if the app's code caused the failure.
    #[must_use]
    pub fn back_to(mut self, good: Option<(VersionId, u32)>) -> Self {
        if let Some(failure) = self.failure.as_mut().filter(|failure| failure.ask) {
            failure.good = good;
        }
        self
    }

    /// Offers *Undo*.
    #[must_use]
    pub fn undo(mut self, release: Option<ReleaseNumber>) -> Self {
        self.undo = release;
        self
    }

    /// The address without `https://`.
    fn host(&self) -> Option<&str> {
        self.url.as_deref().map(format::without_scheme)
    }

    fn class(&self) -> &'static str {
        match self.state {
            JobState::Queued | JobState::Running => "running",
            JobState::Succeeded => "done",
            JobState::Failed => "failed",
            JobState::Cancelled => "cancelled",
        }
    }

    fn icon(&self) -> &'static str {
        match self.state {
            JobState::Queued => "clock",
            JobState::Running => "spinner",
            JobState::Succeeded => "check",
            JobState::Failed => "warning",
            JobState::Cancelled => "stop",
        }
    }

    fn motion(&self) -> &'static str {
        if self.state == JobState::Running { "spin" } else { "" }
    }
}

/// Whether a job is shown in the strip.
pub fn is_shown(kind: &JobKind) -> bool {
    kind.environment().is_some() || *kind == JobKind::Delete
}

/// A sentence about a job and its state.
pub fn title(job: &Job, version: Option<u32>) -> String {
    let what = version.map_or_else(|| "the app".to_owned(), |number| format!("version {number}"));
    let place = job.kind.environment().map_or("", Environment::title).to_lowercase();
    let (doing, did, name) = match &job.kind {
        JobKind::Preview { .. } => {
            (format!("Deploying {what} to preview"), format!("Preview runs {what}"), "Preview deployment")
        }
        JobKind::Publish { .. } => (format!("Publishing {what}"), format!("{} is live", capital(&what)), "Publishing"),
        JobKind::Rollback { .. } => {
            let did = match job.kind.environment() {
                Some(Environment::Prod) => format!("Rolled back: {what} is live"),
                _ => format!("{} is back at {what}", capital(&place)),
            };
            (format!("Rolling {place} back to {what}"), did, "Roll back")
        }
        JobKind::Delete => ("Deleting the app".to_owned(), "The app is deleted".to_owned(), "Deleting"),
        JobKind::Generate { .. } => ("Writing".to_owned(), "Written".to_owned(), "Writing"),
    };
    match job.state {
        JobState::Queued => format!("{name} is queued"),
        JobState::Running if job.cancel_requested => format!("{name} is stopping"),
        JobState::Running => doing,
        JobState::Succeeded => did,
        JobState::Failed => format!("{name} failed"),
        JobState::Cancelled => format!("{name} was stopped"),
    }
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// The steps so far; while the job runs, also the remaining steps.
fn steps(job: &Job) -> Vec<StepView> {
    let mut views: Vec<StepView> = job
        .steps
        .iter()
        .map(|Step { name, state, millis }| StepView { name: name.title(), state: Some(*state), millis: *millis })
        .collect();
    if !job.state.is_final() {
        let all: &[StepName] = match job.kind {
            JobKind::Preview { .. } => &[StepName::Build, StepName::Start, StepName::Check, StepName::Switch],
            JobKind::Publish { .. } | JobKind::Rollback { .. } => &[StepName::Start, StepName::Check, StepName::Switch],
            JobKind::Generate { .. } | JobKind::Delete => &[],
        };
        let begun = |name: &StepName| job.steps.iter().any(|step| step.name == *name);
        let last = all.iter().rposition(begun);
        let to_come = all.iter().enumerate().filter(|(at, name)| last.is_none_or(|last| *at > last) && !begun(name));
        views.extend(to_come.map(|(_, name)| StepView { name: name.title(), state: None, millis: 0 }));
    }
    views
}

impl StepView {
    fn class(&self) -> &'static str {
        match self.state {
            None => "later",
            Some(StepState::Running) => "running",
            Some(StepState::Done) => "done",
            Some(StepState::Skipped) => "skipped",
            Some(StepState::Failed) => "failed",
        }
    }

    fn icon(&self) -> Option<&'static str> {
        match self.state {
            None => None,
            Some(StepState::Running) => Some("spinner"),
            Some(StepState::Done) => Some("check"),
            Some(StepState::Skipped) => Some("dash"),
            Some(StepState::Failed) => Some("cross"),
        }
    }

    fn motion(&self) -> &'static str {
        if self.ticking() { "spin" } else { "" }
    }

    fn ticking(&self) -> bool {
        self.state == Some(StepState::Running)
    }

    fn time(&self) -> String {
        match self.state {
            None => String::new(),
            Some(StepState::Skipped) => "not needed".into(),
            Some(_) => format::duration(self.millis),
        }
    }
}

impl FailureView {
    fn new(job: &Job, app: &App) -> Self {
        let error = job.error.as_ref();
        let sentence = error.map_or_else(|| "The deployment failed.".to_owned(), |error| error.message.clone());
        let lines = error.map(|error| error.lines.join("\n")).unwrap_or_default();
        let code = error.map_or("", |error| error.code.as_str());
        let again = match &job.kind {
            JobKind::Preview { version, .. } => Some(Again {
                action: format!("/apps/{}/previews", app.name),
                fields: vec![("version", version.to_string())],
            }),
            JobKind::Publish { .. } => {
                Some(Again { action: format!("/apps/{}/publish", app.name), fields: Vec::new() })
            }
            JobKind::Rollback { environment, release } => Some(Again {
                action: format!("/apps/{}/rollback", app.name),
                fields: vec![("environment", environment.to_string()), ("release", release.to_string())],
            }),
            JobKind::Generate { .. } | JobKind::Delete => None,
        };
        let source =
            if code == "build_failed" { "build" } else { job.kind.environment().map_or("build", Environment::as_str) };
        Self {
            hint: error.and_then(|error| error.hint.clone()),
            still: job.kind.environment().and_then(|environment| still_running(app, environment)),
            log: Some(format!("/apps/{}/logs?source={}", app.name, if lines.is_empty() { "build" } else { source })),
            sentence: with_code(&sentence),
            id: job.id,
            checks: ChecksView::new(&job.checks),
            lines,
            // The app's code caused it, not the machine.
            ask: crate::jobs::follow::is_mendable(code),
            again,
            good: None,
        }
    }
}

/// Names the version that keeps running, so that users know that visitors are not affected.
fn still_running(app: &App, environment: Environment) -> Option<String> {
    let status = app.environment(environment);
    let number = status.version_number.filter(|_| status.release.is_some())?;
    Some(format!("Version {number} keeps running in {}.", environment.title().to_lowercase()))
}

/// A sentence as HTML; text between backticks becomes code.
pub(in crate::web) fn with_code(sentence: &str) -> Html {
    let mut out = String::with_capacity(sentence.len() + 16);
    let mut parts = sentence.split('`');
    escape_into(parts.next().unwrap_or_default(), &mut out);
    let rest: Vec<&str> = parts.collect();
    for (at, part) in rest.iter().enumerate() {
        // An unpaired last backtick is plain text.
        let open = at % 2 == 0;
        if open && at + 1 == rest.len() {
            out.push('`');
        } else {
            out.push_str(if open { "<code>" } else { "</code>" });
        }
        escape_into(part, &mut out);
    }
    Html(out)
}

/// A text as the value of a query parameter; truncated, because addresses have a limited length.
pub fn encode_query(text: &str) -> String {
    let short: String = text.chars().take(1_500).collect();
    format::encode_path(&short, false)
}

#[cfg(test)]
pub(in crate::web) mod samples {
    use super::*;
    use crate::domain::JobError;
    use crate::web::samples;

    pub fn job(state: JobState, kind: JobKind) -> Job {
        let step = |name, state, millis| Step { name, state, millis };
        let failed = state == JobState::Failed;
        let steps = match state {
            JobState::Queued => Vec::new(),
            JobState::Running => vec![
                step(StepName::Build, StepState::Done, 1_234),
                step(StepName::Push, StepState::Skipped, 0),
                step(StepName::Start, StepState::Running, 830),
            ],
            _ => vec![
                step(StepName::Build, if failed { StepState::Failed } else { StepState::Done }, 1_234),
                step(StepName::Start, StepState::Done, 1_800),
                step(StepName::Check, StepState::Done, 400),
            ],
        };
        Job {
            id: JobId(41),
            app_id: samples::app().id,
            app: samples::app().name,
            kind,
            state,
            attempts: 1,
            cancel_requested: false,
            steps,
            checks: if state == JobState::Succeeded { checks() } else { Vec::new() },
            error: failed.then(|| JobError {
                code: "build_failed".into(),
                message: "The image could not be built: pip found no package that matches “fastapi-limits”.".into(),
                hint: Some("Check the names in requirements.txt.".into()),
                lines: [
                    "Step 4/7 : RUN pip install --no-cache-dir -r requirements.txt",
                    "ERROR: Could not find a version that satisfies the requirement fastapi-limits (from versions: none)",
                    "ERROR: No matching distribution found for fastapi-limits",
                ]
                .map(str::to_owned)
                .to_vec(),
            }),
            result: None,
            author: None,
            created_at: samples::now(),
            started_at: Some(samples::now()),
            finished_at: None,
        }
    }

    fn checks() -> Vec<SmokeCheck> {
        let check = |what: &str, path: &str| SmokeCheck {
            what: what.into(),
            method: "GET".into(),
            path: path.into(),
            ok: true,
            status: Some(200),
            millis: 3,
            note: None,
            lines: Vec::new(),
        };
        vec![
            check("page", "/"),
            check("page", "/about"),
            check("stylesheet", "/style.css"),
            check("script", "/script.js"),
        ]
    }

    /// A preview whose version answers but fails its checks.
    pub fn unproven() -> Job {
        let mut job = preview(JobState::Failed);
        job.steps = vec![
            Step { name: StepName::Build, state: StepState::Done, millis: 800 },
            Step { name: StepName::Start, state: StepState::Done, millis: 300 },
            Step { name: StepName::Check, state: StepState::Failed, millis: 120 },
        ];
        job.checks = checks();
        job.checks.push(SmokeCheck {
            ok: false,
            status: Some(404),
            note: Some("It does not exist. /about refers to it.".into()),
            lines: vec!["<h1>There is no such page.</h1>".into()],
            ..job.checks[0].clone()
        });
        job.error = Some(JobError {
            code: "smoke_failed".into(),
            message: "GET /menu (page) returned an error (404), so this version was not put live.".into(),
            hint: None,
            lines: vec!["GET /menu (page): 404. It does not exist. /about refers to it.".into()],
        });
        job
    }

    pub fn preview(state: JobState) -> Job {
        job(state, JobKind::Preview { version: samples::version_id(12), turn: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::samples;

    #[test]
    fn a_failure_names_the_running_version_and_the_possible_actions() {
        let app = samples::app();
        let job = samples::deployment(JobState::Failed);
        let html = Strip { app: &app.name, job: Some(DeployView::new(&job, &app, Some(12), None, None)) }
            .render()
            .expect("renders");
        let page = samples::select(&html);
        assert!(page.text(".failure h2").contains("fastapi-limits"));
        assert_eq!(page.text(".unchanged-note"), "Version 11 keeps running in preview.");
        assert_eq!(page.texts(".failure .button"), ["Ask for a fix", "Try again", "Open the log", "Dismiss"]);
        assert_eq!(page.attribute("form[action$=fix]", "action"), format!("/apps/{}/fix", app.name));
        assert_eq!(page.attribute("form[action$=fix] input[name=job]", "value"), "41");
    }

    #[test]
    fn passed_and_failed_checks_are_shown() {
        let app = samples::app();
        let html = |job: &Job| {
            Strip { app: &app.name, job: Some(DeployView::new(job, &app, Some(12), None, None)) }
                .render()
                .expect("renders")
        };
        let passed = samples::select(&html(&samples::deployment(JobState::Succeeded)));
        assert_eq!(passed.text(".checks summary"), "4 checks passed");
        assert_eq!(passed.count(".checks li.ok"), 4);
        let failed = samples::select(&html(&super::samples::unproven()));
        assert_eq!(failed.text(".checks summary"), "1 of 5 checks failed");
        assert!(failed.text(".checks li:first-child").contains("refers to it"), "failed ones first");
        assert_eq!(failed.count(".checks h1"), 0, "an app's response is shown as text");
        assert!(failed.texts(".failure .button").contains(&"Ask for a fix".to_owned()));
    }

    #[test]
    fn backticks_become_code() {
        assert_eq!(with_code("`a<b` failed").0, "<code>a&lt;b</code> failed");
        assert_eq!(with_code("no code").0, "no code");
        assert_eq!(with_code("one ` alone").0, "one ` alone");
        assert_eq!(with_code("`a` and `b`").0, "<code>a</code> and <code>b</code>");
    }

    #[test]
    fn a_running_deployment_names_its_remaining_steps() {
        let app = samples::app();
        let job = samples::deployment(JobState::Running);
        let html = Strip { app: &app.name, job: Some(DeployView::new(&job, &app, Some(12), None, None)) }
            .render()
            .expect("renders");
        let page = samples::select(&html);
        assert_eq!(page.texts("li"), ["Build 1.2 s", "Push not needed", "Start 0.8 s", "Check", "Switch"]);
        assert_eq!(page.text(".title"), "Deploying version 12 to preview");
    }

    #[test]
    fn the_strip_shows_what_a_job_waits_for_until_it_ends() {
        let app = samples::app();
        let says = "The Kubernetes API server does not answer: connection refused. This goes on as soon as it is back.";
        let shown = |state| {
            let job = Some(DeployView::new(&samples::deployment(state), &app, Some(12), None, Some(says.to_owned())));
            samples::select(&Strip { app: &app.name, job }.render().expect("renders")).texts(".doing")
        };
        assert_eq!(shown(JobState::Running), [says]);
        assert!(shown(JobState::Succeeded).is_empty());
    }
}
