//! The wire format of a provider.

/// The API of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WireFormat {
    /// The Messages API.
    #[default]
    Anthropic,
    /// Chat completions of OpenAI-compatible servers.
    OpenAi,
}

impl WireFormat {
    /// Its name for users.
    pub fn title(self) -> &'static str {
        match self {
            Self::Anthropic => "the Messages API",
            Self::OpenAi => "OpenAI's chat completions",
        }
    }

    /// The setting with the API key.
    pub fn key_variable(self) -> &'static str {
        match self {
            Self::Anthropic => "ANTHROPIC_API_KEY",
            Self::OpenAi => "OPENAI_API_KEY",
        }
    }

    /// The setting with the base URL.
    pub fn base_url_variable(self) -> &'static str {
        match self {
            Self::Anthropic => "ANTHROPIC_BASE_URL",
            Self::OpenAi => "OPENAI_BASE_URL",
        }
    }
}
