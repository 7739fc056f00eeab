//! Names in hosts: apps, environments, and the hosts of both.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Invalid, validated_string};

/// Minimum length of an app name in bytes.
pub const APP_NAME_MIN: usize = 2;
/// Maximum length of an app name in bytes, so that it fits with `-preview` into a DNS label of 63 bytes.
pub const APP_NAME_MAX: usize = 40;
/// Names that would collide with hosts of the platform itself.
pub const RESERVED_NAMES: [&str; 5] = ["builder", "registry", "www", "api", "localhost"];

validated_string! {
    /// The name of an app: a DNS label of 2–40 characters that starts with a letter and is not reserved.
    AppName, check_app_name
}

validated_string! {
    /// The title that pages show instead of an app's name: one line of 1–60 characters.
    AppTitle, check_app_title
}

/// Maximum length of an app's title in characters.
pub const APP_TITLE_MAX: usize = 60;

fn check_app_title(text: &str) -> Result<(), Invalid> {
    if text.trim().is_empty() || text.trim() != text {
        return Err(Invalid::new("A title must not be empty, and must not start or end with a space."));
    }
    if text.chars().count() > APP_TITLE_MAX {
        return Err(Invalid::new(format!("A title can have at most {APP_TITLE_MAX} characters.")));
    }
    if text.chars().any(char::is_control) {
        return Err(Invalid::new("A title is one line without control characters."));
    }
    Ok(())
}

fn check_app_name(text: &str) -> Result<(), Invalid> {
    if !(APP_NAME_MIN..=APP_NAME_MAX).contains(&text.len()) {
        return Err(Invalid::new(format!("An app name must have {APP_NAME_MIN} to {APP_NAME_MAX} characters.")));
    }
    if !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return Err(Invalid::new("An app name can contain only lowercase letters a–z, digits and hyphens."));
    }
    if !text.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Err(Invalid::new("An app name must start with a letter."));
    }
    if text.ends_with('-') {
        return Err(Invalid::new("An app name must not end with a hyphen."));
    }
    if RESERVED_NAMES.contains(&text) || text.ends_with("-preview") || text.ends_with("-draft") {
        return Err(Invalid::new(format!("“{text}” is reserved for Slipway: choose another name.")));
    }
    Ok(())
}

/// One of an app's two environments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// The environment for testing a version.
    Preview,
    /// The environment for visitors.
    Prod,
}

impl Environment {
    /// Both, in the order of deployment.
    pub const ALL: [Self; 2] = [Self::Preview, Self::Prod];

    /// The value in the API, in labels and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Preview => "preview",
            Self::Prod => "prod",
        }
    }

    /// The title on pages.
    pub fn title(self) -> &'static str {
        match self {
            Self::Preview => "Preview",
            Self::Prod => "Production",
        }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Environment {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "preview" => Ok(Self::Preview),
            "prod" => Ok(Self::Prod),
            _ => Err(Invalid::new("An environment is “preview” or “prod”.")),
        }
    }
}

/// The meaning of a request's host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostName {
    /// `builder.<domain>`: pages and API.
    Builder,
    /// `<app>.<domain>` or `<app>-preview.<domain>`.
    App(AppName, Environment),
    /// `<app>-draft.<domain>`: the current files of the workspace.
    Draft(AppName),
}

impl HostName {
    /// Parses a host (with or without a port) under `domain`. `None` if it is not one of ours.
    pub fn parse(host: &str, domain: &str) -> Option<Self> {
        let host = strip_port(host).trim_end_matches('.').to_ascii_lowercase();
        let label = host.strip_suffix(domain)?.strip_suffix('.')?;
        if label == "builder" {
            return Some(Self::Builder);
        }
        if let Some(app) = label.strip_suffix("-preview") {
            return Some(Self::App(app.parse().ok()?, Environment::Preview));
        }
        if let Some(app) = label.strip_suffix("-draft") {
            return Some(Self::Draft(app.parse().ok()?));
        }
        Some(Self::App(label.parse().ok()?, Environment::Prod))
    }

    /// The host under `domain`, without a port.
    pub fn to_host(&self, domain: &str) -> String {
        match self {
            Self::Builder => format!("builder.{domain}"),
            Self::App(app, Environment::Prod) => format!("{app}.{domain}"),
            Self::App(app, Environment::Preview) => format!("{app}-preview.{domain}"),
            Self::Draft(app) => format!("{app}-draft.{domain}"),
        }
    }
}

/// A `Host` header's value without its port; IPv6 literals keep their brackets.
pub fn strip_port(host: &str) -> &str {
    match host.rfind(':') {
        Some(at) if !host[at..].contains(']') && host[at + 1..].bytes().all(|b| b.is_ascii_digit()) => &host[..at],
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn app_names_are_dns_labels_that_are_not_reserved() {
        for good in ["ab", "a1", "brisk-otter", &"a".repeat(40)] {
            assert!(good.parse::<AppName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "a",
            "1a",
            "-a",
            "a-",
            "Ab",
            "a_b",
            "a.b",
            "../x",
            "ä-b",
            "builder",
            "www",
            "x-preview",
            "x-draft",
            &"a".repeat(41),
        ] {
            assert!(bad.parse::<AppName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn hosts_are_parsed_and_formatted_consistently() {
        for host in [
            "builder.localhost",
            "brisk-otter.localhost",
            "brisk-otter-preview.localhost",
            "brisk-otter-draft.localhost",
        ] {
            let parsed = HostName::parse(&format!("{host}:8080"), "localhost").expect(host);
            assert_eq!(parsed.to_host("localhost"), host);
        }
        for host in ["localhost", "evil.test", "a.b.localhost", "xlocalhost", "registry.localhost", "[::1]:80"] {
            assert_eq!(HostName::parse(host, "localhost"), None, "{host}");
        }
    }
}
