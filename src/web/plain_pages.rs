//! Pages that are not about one app, as they are shown: log in, health, shortcuts. Pure.

use askama::Template;

use super::chrome::Chrome;
use super::format::When;
use super::ui;

/// Asks for the password.
#[derive(Template)]
#[template(path = "login.html")]
pub struct LoginPage {
    /// Around it.
    pub chrome: Chrome,
    /// Where to go afterwards: a path of ours.
    pub to: String,
    /// Why it was refused.
    pub problem: Option<String>,
}

/// Whether everything that is needed is there.
#[derive(Template)]
#[template(path = "health.html")]
pub struct HealthPage {
    /// Around it.
    pub chrome: Chrome,
    /// How all of it is, in a few words.
    pub title: &'static str,
    /// When that was.
    pub checked: When,
    /// One by one.
    pub checks: Vec<CheckView>,
}

/// One thing that is needed.
pub struct CheckView {
    /// What it is.
    pub name: String,
    /// It is well.
    pub ok: bool,
    /// It is well enough to go on, but the operator should know.
    pub warning: bool,
    /// How it is.
    pub detail: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl CheckView {
    fn class(&self) -> &'static str {
        ["not", "ok", "warn"][self.level()]
    }

    fn tag(&self) -> &'static str {
        ["bad", "ok", "warn"][self.level()]
    }

    fn icon(&self) -> &'static str {
        ["cross", "check", "warning"][self.level()]
    }

    fn word(&self) -> &'static str {
        ["fails", "works", "warning"][self.level()]
    }

    fn level(&self) -> usize {
        usize::from(self.ok) + usize::from(self.ok && self.warning)
    }
}

/// What the keyboard can do.
#[derive(Template)]
#[template(path = "shortcuts.html")]
pub struct ShortcutsPage {
    /// Around it.
    pub chrome: Chrome,
    /// Keys, and what they do.
    pub keys: &'static [(&'static [&'static str], &'static str)],
}

/// All shortcuts.
pub const SHORTCUTS: &[(&[&str], &str)] = &[
    (&["Ctrl", "Enter"], "Send the message, or create the app (⌘ on a Mac)"),
    (&["Esc"], "Close the open menu, or leave the field"),
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
