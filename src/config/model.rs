//! Settings for the model.

use super::source::{ConfigError, Key, Sources, key, secret};
use crate::domain::{Invalid, ModelId};

pub(super) const KEYS: &[Key] = &[
    secret(
        "anthropic_api_key",
        "ANTHROPIC_API_KEY",
        "Key for Claude. Without one, the key that was added in the page, else the demo model.",
    ),
    key("anthropic_base_url", "ANTHROPIC_BASE_URL", "https://api.anthropic.com", "Where the Messages API is."),
    secret(
        "openai_api_key",
        "OPENAI_API_KEY",
        "Key for an OpenAI-compatible server; many on one's own machine want none.",
    ),
    key(
        "openai_base_url",
        "OPENAI_BASE_URL",
        "https://api.openai.com/v1",
        "Where that server is, e.g. http://127.0.0.1:11434/v1.",
    ),
    key("model", "SLIPWAY_MODEL", "claude-opus-5-5", "Any model that the provider knows; with openai it must be set."),
    key("provider", "SLIPWAY_PROVIDER", "anthropic", "anthropic, openai (any OpenAI-compatible server) or demo."),
    key("demo_pace", "SLIPWAY_DEMO_PACE", "1", "How fast the demo model types: 1 is watchable, 0 at once."),
];

/// The provider of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// The Messages API.
    Anthropic,
    /// An OpenAI-compatible server.
    OpenAi,
    /// The demo model inside Slipway.
    Demo,
}

/// Reads the provider and the model.
pub(super) fn provider(sources: &Sources, has_key: bool) -> Result<(Provider, ModelId), ConfigError> {
    let provider = match sources.text("provider").unwrap_or_default() {
        "anthropic" if !has_key => Provider::Demo,
        "anthropic" => Provider::Anthropic,
        "demo" => Provider::Demo,
        "openai" => Provider::OpenAi,
        _ => return Err(sources.bad("provider", "expected anthropic, openai or demo")),
    };
    if provider == Provider::OpenAi && !sources.is_set("model") {
        let reason = "the server of SLIPWAY_PROVIDER=openai has models of its own: set SLIPWAY_MODEL to one of them";
        return Err(sources.bad("model", reason));
    }
    let model = sources.text("model").unwrap_or_default().trim().parse();
    Ok((provider, model.map_err(|error: Invalid| sources.bad("model", error.0))?))
}

/// Reads the URL of a server, and removes a slash at its end.
pub(super) fn address(sources: &Sources, name: &'static str) -> Result<String, ConfigError> {
    let address = sources.text(name).unwrap_or_default().trim().trim_end_matches('/');
    if address.starts_with("http://") || address.starts_with("https://") {
        Ok(address.to_owned())
    } else {
        Err(sources.bad(name, "expected an address that starts with http:// or https://"))
    }
}

pub(super) fn demo_pace(sources: &Sources) -> Result<f64, ConfigError> {
    let pace: f64 = sources.parse("demo_pace", "a number")?;
    if (0.0..=100.0).contains(&pace) {
        Ok(pace)
    } else {
        Err(sources.bad("demo_pace", "expected a number from 0 to 100"))
    }
}
