//! *Model and key* in the settings: who answers, what is known of it, and the form for its key.

use askama::Template;

use super::format::{self, When};
use super::ui;
use crate::domain::App;
use crate::error::AppResult;
use crate::model_choice::ModelSource;
use crate::services::Services;
use crate::services::model_key::ModelState;

/// Maximum characters of the description that a button repeats.
const DESCRIPTION_SHOWN: usize = 80;

/// The section.
#[derive(Template)]
#[template(path = "model_key.html")]
pub(super) struct ModelSection {
    is_demo: bool,
    source: ModelSource,
    /// A key can be added in the page.
    may_change: bool,
    model: String,
    address: String,
    /// What was tested last, and how it went.
    tested: Option<TestedView>,
    /// The environment variable that sets the key.
    variable: &'static str,
    /// The addresses and the model that are used where the form names none.
    anthropic_address: String,
    openai_address: String,
    default_model: String,
    /// What was typed, and what is wrong with it.
    typed: Typed,
    problem: Option<String>,
    /// The key was just added: what the model can build again.
    again: Option<Again>,
    just_added: bool,
}

struct TestedView {
    at: When,
    by: &'static str,
    problem: Option<String>,
}

/// An app whose description the model can build again.
struct Again {
    description: String,
    shown: String,
    template: String,
}

/// The form without its key, which is not shown again.
#[derive(Default, Clone)]
pub(super) struct Typed {
    /// The provider.
    pub(super) is_openai: bool,
    /// Its address.
    pub(super) address: String,
    /// The default model.
    pub(super) model: String,
}

/// The result of the form.
#[derive(Default)]
pub(super) struct KeyShown {
    /// A key was just added.
    pub(super) added: bool,
    /// What was typed.
    pub(super) typed: Typed,
    /// What is wrong with it.
    pub(super) problem: Option<String>,
}

impl ModelSection {
    /// The key was added in the page.
    fn is_added(&self) -> bool {
        self.source == ModelSource::AddedKey
    }

    /// The section in its present state.
    pub(super) async fn load(services: &Services, shown: &KeyShown) -> AppResult<Self> {
        let state = services.model_state();
        let last = if shown.added && !state.is_demo { services.last_app().await? } else { None };
        Ok(Self::new(services, state, shown, last.as_ref()))
    }

    fn new(services: &Services, state: ModelState, shown: &KeyShown, last: Option<&App>) -> Self {
        let config = services.config();
        let now = services.now();
        Self {
            is_demo: state.is_demo,
            source: state.source,
            may_change: state.may_change,
            model: state.id.to_string(),
            address: state.address,
            tested: state.tested.map(|tested| TestedView {
                at: When::new(tested.at, now),
                by: if tested.by_turn { "a turn" } else { "a test" },
                problem: tested.outcome.err().map(|error| error.message()),
            }),
            variable: if state.is_demo { "SLIPWAY_PROVIDER" } else { state.format.key_variable() },
            anthropic_address: config.anthropic_base_url.clone(),
            openai_address: config.openai_base_url.clone(),
            default_model: config.model.to_string(),
            typed: shown.typed.clone(),
            problem: shown.problem.clone(),
            again: last.map(|app| Again {
                description: app.description.clone(),
                shown: format::first_line(&app.description, DESCRIPTION_SHOWN),
                template: app.template.to_string(),
            }),
            just_added: shown.added && !state.is_demo,
        }
    }
}

#[cfg(test)]
pub(super) fn sample() -> ModelSection {
    ModelSection {
        is_demo: true,
        source: ModelSource::NotSet,
        may_change: true,
        model: "slipway-demo".into(),
        address: "http://127.0.0.1:1".into(),
        tested: None,
        variable: "ANTHROPIC_API_KEY",
        anthropic_address: "https://api.anthropic.com".into(),
        openai_address: "https://api.openai.com/v1".into(),
        default_model: "claude-opus-5-5".into(),
        typed: Typed::default(),
        problem: None,
        again: None,
        just_added: false,
    }
}
