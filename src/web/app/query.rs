//! What the address of an app's page says besides its tab.

use serde::Deserialize;

/// What a page of the app was asked with, besides its tab.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct AppQuery {
    /// Where in the conversation to begin.
    pub turns: Option<String>,
    /// What the composer holds already.
    pub prompt: String,
    /// The turn whose steps are shown at once.
    pub steps: Option<i64>,
    /// A part of the app was asked for, so on a narrow screen it is shown first.
    #[serde(skip)]
    pub looks: bool,
}
