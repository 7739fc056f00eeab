//! Pages that are not about one app, as they are shown: log in, health, settings, shortcuts. Pure.

use askama::Template;

use super::chrome::{Chrome, Theme};
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

/// Look, model, tokens.
#[derive(Template)]
#[template(path = "settings.html")]
pub struct SettingsPage {
    /// Around it.
    pub chrome: Chrome,
    /// Those that can be chosen.
    pub themes: [Theme; 3],
    /// What the model has cost, rendered.
    pub cost: String,
    /// Newest first.
    pub tokens: Vec<TokenView>,
    /// The one that was just made.
    pub made: Option<MadeToken>,
}

/// A token in the list.
pub struct TokenView {
    /// Its number.
    pub id: i64,
    /// What its maker called it.
    pub name: String,
    /// When it was made.
    pub created: When,
    /// When it was last used.
    pub used: Option<When>,
}

/// A token's text, shown once.
pub struct MadeToken {
    /// What its maker called it.
    pub name: String,
    /// The token itself.
    pub plain: String,
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
