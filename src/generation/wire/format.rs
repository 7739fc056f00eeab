//! Which wire format a provider speaks.

/// How a provider is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WireFormat {
    /// The Messages API.
    #[default]
    Anthropic,
    /// Chat completions, as OpenAI-compatible servers have them.
    OpenAi,
}

impl WireFormat {
    /// What people call it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Anthropic => "the Messages API",
            Self::OpenAi => "OpenAI's chat completions",
        }
    }

    /// The setting that holds the key.
    pub fn key_variable(self) -> &'static str {
        match self {
            Self::Anthropic => "ANTHROPIC_API_KEY",
            Self::OpenAi => "OPENAI_API_KEY",
        }
    }

    /// The setting that says where it answers.
    pub fn base_url_variable(self) -> &'static str {
        match self {
            Self::Anthropic => "ANTHROPIC_BASE_URL",
            Self::OpenAi => "OPENAI_BASE_URL",
        }
    }
}
