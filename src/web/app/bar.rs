//! The bar above an app: its two environments as chips, and the suggested next step.

use std::collections::HashSet;
use std::hash::BuildHasher;

use askama::Template;

use crate::domain::{App, AppId, AppName, Environment, EnvironmentState, EnvironmentStatus, JobId, ReleaseNumber};
use crate::services::deployments::PublishQuestion;
use crate::web::ui;

/// An environment as a word and an icon.
#[derive(Debug, Clone)]
pub struct EnvChip {
    /// `Preview` or `Production`.
    pub title: &'static str,
    state: EnvironmentState,
    /// Its URL, if a release runs in it.
    pub url: Option<String>,
    /// The version that runs.
    pub version: Option<u32>,
    /// The last run of the job failed.
    pub run_failed: bool,
}

impl EnvChip {
    /// `url`: the environment's URL, shown if a release runs in it.
    pub fn new(status: &EnvironmentStatus, url: Option<String>) -> Self {
        let answers = status.release.is_some() && status.state != EnvironmentState::Stopped;
        Self {
            title: status.environment.title(),
            state: status.state,
            url: url.filter(|_| answers),
            version: status.version_number,
            run_failed: false,
        }
    }

    pub(in crate::web) fn word(&self) -> &'static str {
        match self.state {
            EnvironmentState::None => "not deployed",
            EnvironmentState::Deploying => "deploying",
            EnvironmentState::Ready => "ready",
            EnvironmentState::Failed => "failed",
            EnvironmentState::Stopped => "stopped",
        }
    }

    pub(in crate::web) fn class(&self) -> &'static str {
        self.state.as_str()
    }

    pub(in crate::web) fn icon(&self) -> &'static str {
        match self.state {
            EnvironmentState::None => "circle",
            EnvironmentState::Deploying => "spinner",
            EnvironmentState::Ready => "check",
            EnvironmentState::Failed => "cross",
            EnvironmentState::Stopped => "pause",
        }
    }

    pub(in crate::web) fn motion(&self) -> &'static str {
        if self.state == EnvironmentState::Deploying { "spin" } else { "" }
    }
}

/// Both chips of an app; `url` returns the URL of an environment, `failed` lists those whose last run failed.
pub fn chips_of<S: BuildHasher>(
    app: &App,
    url: impl Fn(Environment) -> Option<String>,
    failed: &HashSet<(AppId, Environment), S>,
) -> Vec<EnvChip> {
    let chip = |status: &EnvironmentStatus| EnvChip {
        run_failed: status.release.is_some() && failed.contains(&(app.id, status.environment)),
        ..EnvChip::new(status, url(status.environment))
    };
    app.environments.iter().map(chip).collect()
}

/// The chips in the bar.
#[derive(Template)]
#[template(path = "app/chips.html")]
pub struct Chips {
    /// Preview, then production.
    pub chips: Vec<EnvChip>,
}

/// The button for the suggested next step.
#[derive(Debug, Clone)]
pub enum NextView {
    /// There is a newer version than the one in preview.
    Deploy,
    /// It was deployed and failed, because of its code: the model can fix it.
    Fix(JobId),
    /// Preview runs another version than production; its number.
    Publish(Option<u32>),
    /// Production was rolled back to the first version, from the second one, which preview still runs.
    RolledBack(u32, u32),
    /// A job runs or is queued; a description of it.
    Wait(String),
    /// Production runs the newest version.
    Nothing,
}

/// What is asked before a version is published.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Where it will be, without `https://`; none where it has no address.
    pub host: Option<String>,
    /// Why it is asked.
    pub why: String,
}

impl Ask {
    /// `url`: the address of production.
    pub fn new(question: PublishQuestion, url: Option<String>) -> Self {
        let why = match question {
            PublishQuestion::First => "Nothing was published before.".to_owned(),
            PublishQuestion::ChangesMuch { lines: 0 } => "It differs much from what runs there.".to_owned(),
            PublishQuestion::ChangesMuch { lines } => {
                format!("{} added or removed.", crate::web::format::count(u64::from(lines), "line", "lines"))
            }
        };
        Self { host: url.map(|url| crate::web::format::without_scheme(&url).to_owned()), why }
    }
}

/// The next step, and a menu with the other actions.
#[derive(Template)]
#[template(path = "app/next.html")]
pub struct Next<'a> {
    /// The app.
    pub app: &'a AppName,
    /// The button.
    pub step: NextView,
    /// There is a version to deploy.
    pub may_preview: bool,
    /// Preview has a release that can be published.
    pub may_publish: bool,
    /// Asked before anything is published.
    pub ask: Option<Ask>,
    /// The previous release of production, with its version's number.
    pub back: Option<(ReleaseNumber, u32)>,
    /// The conversation shows a failure, with the primary button.
    pub failed: bool,
}

impl Next<'_> {
    /// The class of the button: there is one primary button for a failure.
    fn class(&self) -> &'static str {
        if self.failed { "button" } else { "button primary" }
    }

    fn publish_label(&self) -> String {
        match self.step {
            NextView::Publish(Some(version)) => format!("Publish version {version}"),
            NextView::RolledBack(_, from) => format!("Publish version {from} again"),
            _ => "Publish".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::samples;

    fn next(step: NextView, question: Option<PublishQuestion>) -> samples::Selected {
        shown(step, question, false)
    }

    fn shown(step: NextView, question: Option<PublishQuestion>, failed: bool) -> samples::Selected {
        let app = samples::app();
        let url = Some("https://tides.example.org/".to_owned());
        let ask = question.map(|question| Ask::new(question, url));
        let next = Next { app: &app.name, step, may_preview: false, may_publish: false, ask, back: None, failed };
        samples::select(&next.render().expect("renders"))
    }

    #[test]
    fn a_failure_is_fixed_instead_of_deployed_again() {
        let page = shown(NextView::Fix(JobId(41)), None, true);
        assert_eq!(page.text("#next > form button"), "Fix");
        assert_eq!(page.attribute("#next > form input[name=job]", "value"), "41");
        assert_eq!(page.count(".primary"), 0, "the conversation has the primary button");
        assert_eq!(shown(NextView::Deploy, None, true).count(".primary"), 0);
        assert_eq!(next(NextView::Deploy, None).count(".primary"), 1);
    }

    #[test]
    fn a_first_or_large_publish_asks_in_place() {
        let page = next(NextView::Publish(Some(9)), None);
        assert_eq!((page.count(".confirm"), page.text("#next > form button")), (0, "Publish version 9".to_owned()));
        let page = next(NextView::Publish(Some(9)), Some(PublishQuestion::First));
        assert_eq!(page.count("#next > form"), 0, "one press publishes nothing");
        assert_eq!(page.text(".confirm summary .go"), "Publish version 9");
        assert_eq!(page.text(".confirm form p b"), "Publish to tides.example.org?");
        assert!(page.attribute(".confirm form", "action").ends_with("/publish"), "it works without scripts");
        let page = next(NextView::Publish(Some(9)), Some(PublishQuestion::ChangesMuch { lines: 240 }));
        assert_eq!(page.text(".confirm form p .dim"), "240 lines added or removed.");
    }

    #[test]
    fn a_failed_run_is_marked_where_something_runs() {
        let app = samples::app();
        let failed = HashSet::from(Environment::ALL.map(|environment| (app.id, environment)));
        let marked = |app: &App| {
            let chips = chips_of(app, |_| None, &failed);
            samples::select(&Chips { chips }.render().expect("renders")).count(".run-failed")
        };
        assert_eq!(marked(&app), app.environments.iter().filter(|one| one.release.is_some()).count());
        let empty = App { environments: Environment::ALL.map(EnvironmentStatus::none), ..app };
        assert_eq!(marked(&empty), 0);
    }
}
