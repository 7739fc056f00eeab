//! The frame of every page: theme, model, whether a password is set.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};

use super::Web;
use crate::guard::PasswordSet;

/// Cookie that holds the theme.
pub const THEME_COOKIE: &str = "slipway_theme";
/// Cookie that switches single-key shortcuts off.
pub const KEYS_COOKIE: &str = "slipway_keys";

/// Cookie that remembers that the note of demo mode was dismissed.
pub const DEMO_NOTE_COOKIE: &str = "slipway_demo_note";

/// Light or dark.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Theme {
    /// The system's setting.
    #[default]
    System,
    /// Always light.
    Light,
    /// Always dark.
    Dark,
}

impl Theme {
    /// In the order of the buttons.
    pub const ALL: [Self; 3] = [Self::System, Self::Light, Self::Dark];

    /// The word in the cookie and the form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    pub(in crate::web) fn title(self) -> &'static str {
        match self {
            Self::System => "Match system",
            Self::Light => "Light",
            Self::Dark => "Dark",
        }
    }

    pub(in crate::web) fn icon(self) -> &'static str {
        match self {
            Self::System => "screen",
            Self::Light => "sun",
            Self::Dark => "moon",
        }
    }

    pub(in crate::web) fn verb(self) -> &'static str {
        match self {
            Self::System => "Use the system’s theme",
            Self::Light => "Use the light theme",
            Self::Dark => "Use the dark theme",
        }
    }

    /// The theme that the menu offers.
    pub(in crate::web) fn next(self) -> Self {
        match self {
            Self::System => Self::Dark,
            Self::Dark => Self::Light,
            Self::Light => Self::System,
        }
    }

    /// The value of `data-theme`, if the system is not followed.
    pub(in crate::web) fn attribute(self) -> Option<&'static str> {
        (self != Self::System).then(|| self.as_str())
    }
}

/// The data of the frame around every page.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that do not depend on each other, each with a name of its own"
)]
pub struct Chrome {
    /// Light or dark.
    pub theme: Theme,
    /// Single-key shortcuts are on.
    pub keys: bool,
    /// The demo model answers.
    pub demo: bool,
    /// The note that says so is shown in conversations.
    pub demo_note: bool,
    /// The model's name.
    pub model: String,
    /// A password is set, so the page offers to log out.
    pub password: bool,
}

impl Chrome {
    /// Reads the cookies of the request; the arguments are settings of the installation.
    pub fn new(headers: &HeaderMap, password: bool, demo: bool, model: String) -> Self {
        let theme = match cookie(headers, THEME_COOKIE) {
            Some("light") => Theme::Light,
            Some("dark") => Theme::Dark,
            _ => Theme::System,
        };
        let demo_note = demo && cookie(headers, DEMO_NOTE_COOKIE) != Some("off");
        Self { theme, keys: cookie(headers, KEYS_COOKIE) != Some("off"), demo, demo_note, model, password }
    }
}

impl FromRequestParts<Web> for Chrome {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Infallible> {
        let password = parts.extensions.get::<PasswordSet>().is_some_and(|set| set.0);
        Ok(web.chrome(&parts.headers, password))
    }
}

/// A cookie's value.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
pub(super) fn sample() -> Chrome {
    Chrome {
        theme: Theme::System,
        keys: true,
        demo: false,
        demo_note: false,
        model: "claude-sonnet-4-5".into(),
        password: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_cookie_among_others() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, "a=1; slipway_theme=dark".parse().expect("a value"));
        headers.append(header::COOKIE, "slipway_keys=off".parse().expect("a value"));
        let chrome = Chrome::new(&headers, false, true, String::new());
        assert!(chrome.theme == Theme::Dark && !chrome.keys && chrome.demo_note);
        headers.append(header::COOKIE, "slipway_demo_note=off".parse().expect("a value"));
        assert!(!Chrome::new(&headers, false, true, String::new()).demo_note, "dismissed for good");
        assert!(!Chrome::new(&HeaderMap::new(), false, false, String::new()).demo_note, "another model answers");
        assert_eq!(cookie(&headers, "theme"), None);
    }
}
