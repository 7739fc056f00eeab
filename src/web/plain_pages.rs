//! Views of pages that do not belong to an app: login, health, shortcuts. Pure.

use askama::Template;

use super::chrome::Chrome;
use super::format::When;
use super::ui;

/// Asks for the password.
#[derive(Template)]
#[template(path = "login.html")]
pub struct LoginPage {
    /// The page's frame: navigation, theme.
    pub chrome: Chrome,
    /// The path to redirect to after the login.
    pub to: String,
    /// The reason of a failed login.
    pub problem: Option<String>,
}

/// Asks before something is done that the open page would ask about by itself.
#[derive(Template)]
#[template(path = "confirm.html")]
pub struct ConfirmPage {
    /// The page's frame: navigation, theme.
    pub chrome: Chrome,
    /// The question.
    pub title: String,
    /// What it means.
    pub detail: &'static str,
    /// The address that does it.
    pub action: String,
    /// The word for it.
    pub button: &'static str,
    /// The page where the question arose.
    pub back: String,
}

/// The state of the builder and its dependencies.
#[derive(Template)]
#[template(path = "health.html")]
pub struct HealthPage {
    /// The page's frame: navigation, theme.
    pub chrome: Chrome,
    /// The overall state in a few words.
    pub title: &'static str,
    /// Time of the checks.
    pub checked: When,
    /// The checks.
    pub checks: Vec<CheckView>,
}

/// One check.
pub struct CheckView {
    /// Its name.
    pub name: String,
    /// It passed.
    pub ok: bool,
    /// It passed, but the operator should know about a problem.
    pub warning: bool,
    /// The result in a sentence.
    pub detail: String,
    /// What the operator should do.
    pub hint: Option<String>,
    /// The time of the test, if it was not made for this page.
    pub at: Option<When>,
    /// It was not tested.
    pub untested: bool,
}

impl CheckView {
    /// A button tests it: it is not tested for each page, because that costs money.
    fn may_test(&self) -> bool {
        self.untested || self.at.is_some()
    }

    fn class(&self) -> &'static str {
        ["not", "ok", "warn", "untested"][self.level()]
    }

    fn tag(&self) -> &'static str {
        ["bad", "ok", "warn", ""][self.level()]
    }

    fn icon(&self) -> &'static str {
        ["cross", "check", "warning", "circle"][self.level()]
    }

    fn word(&self) -> &'static str {
        ["fails", "works", "warning", "not tested"][self.level()]
    }

    fn level(&self) -> usize {
        if self.untested { 3 } else { usize::from(self.ok) + usize::from(self.ok && self.warning) }
    }
}

/// The list of keyboard shortcuts.
#[derive(Template)]
#[template(path = "shortcuts.html")]
pub struct ShortcutsPage {
    /// The page's frame: navigation, theme.
    pub chrome: Chrome,
    /// Keys and their actions.
    pub keys: &'static [(&'static [&'static str], &'static str)],
}

/// All shortcuts.
pub const SHORTCUTS: &[(&[&str], &str)] = &[
    (&["Ctrl", "Enter"], "Send the message, or create the app"),
    (&["Ctrl", "S"], "Save the file that is being edited, and keep editing; with Enter instead of S, save and close"),
    (&["Ctrl", "F"], "Find in the file that is being edited"),
    (&["Ctrl", "Shift", "F"], "Find in all files of the app"),
    (&["Esc"], "Close the open menu, or leave the field; in the editor, Tab then moves on instead of indenting"),
    (&["/"], "Write a message; on the list of apps, describe a new one"),
    (&["1"], "Preview"),
    (&["2"], "Code"),
    (&["3"], "Versions"),
    (&["4"], "Releases"),
    (&["5"], "Logs"),
    (&["6"], "Settings"),
    (&["r"], "Reload the app in its frame"),
    (&["a"], "All apps"),
    (&["?"], "This page"),
];
