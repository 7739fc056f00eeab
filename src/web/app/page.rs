//! An app's page: the bar, the conversation, the stage with its tabs.

use askama::Template;

use crate::domain::AppName;
use crate::web::chrome::Chrome;
use crate::web::ui;

/// The page.
#[derive(Template)]
#[template(path = "app/page.html")]
pub struct AppPage {
    /// Around it.
    pub chrome: Chrome,
    /// The app.
    pub name: AppName,
    /// Rendered chips.
    pub chips: String,
    /// The rendered next step.
    pub next: String,
    /// The rendered deployment strip.
    pub strip: String,
    /// The rendered conversation.
    pub turns: String,
    /// The rendered composer.
    pub composer: String,
    /// The tabs.
    pub tabs: Vec<Tab>,
    /// The rendered tab.
    pub stage: String,
    /// On a narrow screen the stage is shown first.
    pub stage_first: bool,
    /// The last event that is in this page.
    pub after: i64,
}

/// A part of the stage.
pub struct Tab {
    /// Its word in the address.
    pub key: &'static str,
    /// For people.
    pub title: &'static str,
    /// Its address.
    pub href: String,
    /// It is shown.
    pub current: bool,
}

/// All tabs; `current` is the key of the one that is shown.
pub fn tabs(app: &AppName, current: &str) -> Vec<Tab> {
    [
        ("preview", "Preview"),
        ("code", "Code"),
        ("versions", "Versions"),
        ("releases", "Releases"),
        ("logs", "Logs"),
        ("settings", "Settings"),
    ]
    .map(|(key, title)| Tab {
        key,
        title,
        href: if key == "preview" { format!("/apps/{app}") } else { format!("/apps/{app}/{key}") },
        current: key == current,
    })
    .into()
}
