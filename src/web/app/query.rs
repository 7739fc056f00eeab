//! The query parameters of an app's page.

use serde::Deserialize;

/// The query parameters of an app's page, except those of its tab.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct AppQuery {
    /// The cursor of the conversation.
    pub turns: Option<String>,
    /// The initial text of the composer.
    pub prompt: String,
    /// The turn whose message is the composer's initial text.
    pub edit: Option<i64>,
    /// The turn whose steps are open.
    pub steps: Option<i64>,
    /// A tab was requested, so a narrow screen shows the stage first.
    #[serde(skip)]
    pub looks: bool,
}
