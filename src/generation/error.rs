//! Errors of a model, with texts for the user.
//!
//! No error contains a key: the client removes it from the provider's text before it
//! creates the error.

use std::time::Duration;

use super::wire::WireFormat;

/// Why the model gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// The key is invalid. 401.
    #[error("The model's provider does not accept the API key.")]
    Unauthorized,
    /// The account cannot pay. 402.
    #[error("The model's provider refuses the request because of the account's billing.")]
    Billing,
    /// The key may not use this. 403.
    #[error("The API key is not allowed to use this model.")]
    Forbidden,
    /// No such model. 404.
    #[error("The provider does not know the model “{model}”.")]
    NotFound {
        /// The requested id.
        model: String,
    },
    /// The request's body is too large. 413.
    #[error("The conversation is too large for one request.")]
    TooLarge,
    /// Too many requests. 429.
    #[error("The provider's rate limit for this API key is reached.")]
    RateLimited {
        /// The wait that the provider requests.
        retry_after: Option<Duration>,
    },
    /// Too busy. 503, 529.
    #[error("The model is overloaded at the moment.")]
    Overloaded {
        /// The wait that the provider requests.
        retry_after: Option<Duration>,
    },
    /// The account's spending limit is reached. 429 that a retry cannot fix.
    #[error("The spending limit of the provider's account is reached.")]
    SpendLimit,
    /// The provider failed. 500, 502, 504 and other 5xx.
    #[error("The model's provider failed (HTTP {status}).")]
    Server {
        /// HTTP status, or 500 for an error within a stream.
        status: u16,
        /// The wait that the provider requests.
        retry_after: Option<Duration>,
    },
    /// The answer broke off.
    #[error("The connection to the model broke off in the middle of its answer.")]
    Disconnected,
    /// The response does not follow the protocol.
    #[error("The model's answer could not be read: {0}.")]
    Malformed(String),
    /// The provider rejects the request. 400 and other 4xx.
    #[error("The model's provider refused the request: {0}")]
    Invalid(String),
    /// The model declines to answer.
    #[error("The model declined this request{}", match .explanation { Some(why) => format!(": {why}"), None => ".".into() })]
    Refused {
        /// Its explanation.
        explanation: Option<String>,
    },
    /// The conversation exceeds the model's context window.
    #[error("The conversation has become too long for the model.")]
    ContextWindow,
    /// Timeout between two pieces of an answer.
    #[error("The model sent nothing for {} seconds.", .after.as_secs())]
    Timeout {
        /// The timeout.
        after: Duration,
    },
    /// The client cannot be created: an invalid base URL, no certificate authorities.
    #[error("The connection to the model cannot be set up: {0}.")]
    Setup(String),
    /// No connection.
    #[error("The model's server at {base_url} cannot be reached.")]
    Unreachable {
        /// Scheme, host and port.
        base_url: String,
    },
    /// The model keeps making calls that cannot be read.
    #[error("The model's answers broke off {times} times in a row.")]
    Unusable {
        /// Number of answers.
        times: u32,
    },
}

impl ModelError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unauthorized => "model_unauthorized",
            Self::Billing => "model_billing",
            Self::Forbidden => "model_forbidden",
            Self::NotFound { .. } => "model_not_found",
            Self::TooLarge => "model_request_too_large",
            Self::RateLimited { .. } => "model_rate_limited",
            Self::Overloaded { .. } => "model_overloaded",
            Self::SpendLimit => "model_spend_limit",
            Self::Server { .. } => "model_failed",
            Self::Disconnected => "model_disconnected",
            Self::Malformed(_) => "model_malformed",
            Self::Invalid(_) => "model_invalid_request",
            Self::Refused { .. } => "model_refused",
            Self::ContextWindow => "model_context_window",
            Self::Timeout { .. } => "model_timeout",
            Self::Setup(_) => "model_setup",
            Self::Unreachable { .. } => "model_unreachable",
            Self::Unusable { .. } => "model_unusable",
        }
    }

    /// What happened, in a sentence.
    pub fn message(&self) -> String {
        self.to_string()
    }

    /// What the user can do, in a sentence; `format` selects the names of settings.
    pub fn hint(&self, format: WireFormat) -> String {
        let (key, base_url) = (format.key_variable(), format.base_url_variable());
        match self {
            Self::Unauthorized => {
                format!("Replace the key in Slipway's Settings. If {key} sets it, restart Slipway with a valid key.")
            }
            Self::Billing => "Check the credit and the payment details of the provider's account.".into(),
            Self::Forbidden => {
                "Use a key that may use this model, or choose a model that this key may use: in the app's Settings, or \
                 for all apps with SLIPWAY_MODEL."
                    .into()
            }
            Self::NotFound { .. } => {
                "Choose a model that this provider has: in the app's Settings, or for all apps with SLIPWAY_MODEL."
                    .into()
            }
            Self::TooLarge | Self::ContextWindow => {
                "Ask for a smaller change, or one that needs fewer files. Changes so far are saved.".into()
            }
            Self::RateLimited { retry_after: Some(after) }
            | Self::Overloaded { retry_after: Some(after) }
            | Self::Server { retry_after: Some(after), .. }
                if after.as_secs() >= 60 =>
            {
                format!("Send the message again in {} minutes.", after.as_secs().div_ceil(60))
            }
            Self::RateLimited { .. } | Self::Overloaded { .. } => "Send the message again in a few minutes.".into(),
            Self::SpendLimit => "Raise the limit in the provider's console, or wait until it is reset.".into(),
            Self::Server { .. } | Self::Disconnected | Self::Timeout { .. } => {
                "Send the message again. If the error persists, check the provider's status page.".into()
            }
            Self::Malformed(_) => format!("Check that {base_url} names a server with {}.", format.title()),
            Self::Invalid(_) => {
                format!(
                    "Check the model in the app's Settings, SLIPWAY_MODEL and {base_url}. The app itself is not affected."
                )
            }
            Self::Refused { .. } => "Rephrase the message. Earlier changes are saved.".into(),
            Self::Setup(_) => {
                format!("Check {base_url}. For https, the package ca-certificates must be installed.")
            }
            Self::Unreachable { .. } => format!("Check this machine's network, and {base_url} if it is set."),
            Self::Unusable { .. } => "Ask for smaller files or smaller steps.".into(),
        }
    }

    /// Maximum attempts of a request that fails like this; 1 if a retry cannot help.
    pub fn max_attempts(&self) -> u32 {
        match self {
            Self::RateLimited { .. } | Self::Overloaded { .. } | Self::Server { .. } | Self::Disconnected => 6,
            Self::Timeout { .. } => 4,
            // The user is waiting, and usually the network is down.
            Self::Unreachable { .. } | Self::Malformed(_) => 3,
            _ => 1,
        }
    }

    /// The wait before the next attempt that the provider requests.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after } | Self::Overloaded { retry_after } | Self::Server { retry_after, .. } => {
                *retry_after
            }
            _ => None,
        }
    }

    /// Converts an error of the provider. `status` is the response's, absent for an error in
    /// mid-stream; `kind` is the error's type, for example `rate_limit_error`, empty if it is not known.
    pub fn reported(
        status: Option<u16>,
        kind: &str,
        message: &str,
        model: &str,
        retry_after: Option<Duration>,
    ) -> Self {
        let said = message.to_ascii_lowercase();
        match (kind, status) {
            // Messages of OpenAI-compatible servers are more precise than their statuses.
            ("insufficient_quota", _) => Self::SpendLimit,
            ("context_length_exceeded" | "exceed_context_size_error", _) => Self::ContextWindow,
            ("model_not_found", _) => Self::NotFound { model: model.to_owned() },
            ("authentication_error" | "invalid_api_key", _) | (_, Some(401)) => Self::Unauthorized,
            ("billing_error", _) | (_, Some(402)) => Self::Billing,
            ("permission_error", _) | (_, Some(403)) => Self::Forbidden,
            ("request_too_large", _) | (_, Some(413)) => Self::TooLarge,
            ("rate_limit_error" | "rate_limit_exceeded", _) | (_, Some(429)) => Self::RateLimited { retry_after },
            ("overloaded_error", _) | (_, Some(503 | 529)) => Self::Overloaded { retry_after },
            ("not_found_error", _) | (_, Some(404)) => Self::NotFound { model: model.to_owned() },
            ("api_error" | "timeout_error" | "server_error" | "internal_server_error", _) => {
                Self::Server { status: status.unwrap_or(500), retry_after }
            }
            (_, Some(status @ 500..)) => Self::Server { status, retry_after },
            _ if said.contains("credit balance") => Self::Billing,
            _ if ["prompt is too long", "context window", "context length", "context size"]
                .iter()
                .any(|words| said.contains(words)) =>
            {
                Self::ContextWindow
            }
            _ => Self::Invalid(sentence(message)),
        }
    }
}

/// A provider's message as one short sentence on one line.
fn sentence(message: &str) -> String {
    let mut words = message.split_whitespace().collect::<Vec<_>>().join(" ");
    if words.is_empty() {
        return "it gave no reason.".into();
    }
    if let Some((at, _)) = words.char_indices().nth(400) {
        words.truncate(at);
        words.push('…');
    }
    if !words.ends_with(['.', '…', '!', '?']) {
        words.push('.');
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_types_are_read() {
        let reported = |status, kind| ModelError::reported(status, kind, "Some words", "m", None);
        assert_eq!(reported(Some(401), ""), ModelError::Unauthorized);
        assert_eq!(reported(Some(402), "billing_error"), ModelError::Billing);
        assert_eq!(reported(Some(403), "permission_error"), ModelError::Forbidden);
        assert_eq!(reported(Some(404), "not_found_error"), ModelError::NotFound { model: "m".into() });
        assert_eq!(reported(Some(413), ""), ModelError::TooLarge);
        assert_eq!(reported(None, "overloaded_error"), ModelError::Overloaded { retry_after: None });
        assert_eq!(reported(Some(504), "timeout_error"), ModelError::Server { status: 504, retry_after: None });
        assert_eq!(reported(Some(502), ""), ModelError::Server { status: 502, retry_after: None });
        assert_eq!(reported(None, "api_error"), ModelError::Server { status: 500, retry_after: None });
        assert_eq!(reported(Some(400), "invalid_request_error"), ModelError::Invalid("Some words.".into()));
        let long = ModelError::reported(Some(400), "invalid_request_error", "prompt is too long: 1 > 0", "m", None);
        assert_eq!(long, ModelError::ContextWindow);
        // Errors of OpenAI-compatible servers.
        assert_eq!(reported(Some(429), "insufficient_quota"), ModelError::SpendLimit);
        assert_eq!(reported(Some(429), "rate_limit_exceeded"), ModelError::RateLimited { retry_after: None });
        assert_eq!(reported(Some(400), "context_length_exceeded"), ModelError::ContextWindow);
        assert_eq!(reported(Some(400), "model_not_found"), ModelError::NotFound { model: "m".into() });
        assert_eq!(reported(None, "server_error"), ModelError::Server { status: 500, retry_after: None });
        let long = ModelError::reported(Some(400), "", "This model's maximum context length is 8192 tokens", "m", None);
        assert_eq!(long, ModelError::ContextWindow);
    }

    #[test]
    fn only_temporary_errors_are_retried() {
        for hopeless in [ModelError::Unauthorized, ModelError::SpendLimit, ModelError::Refused { explanation: None }] {
            assert_eq!(hopeless.max_attempts(), 1);
        }
        assert!(ModelError::Overloaded { retry_after: None }.max_attempts() > 3);
        assert!(ModelError::Disconnected.max_attempts() > 1);
    }

    #[test]
    fn each_error_has_a_message_and_a_hint() {
        let wait = Duration::from_secs(200);
        for error in [
            ModelError::Unauthorized,
            ModelError::RateLimited { retry_after: Some(wait) },
            ModelError::Refused { explanation: Some("Not this.".into()) },
            ModelError::Refused { explanation: None },
            ModelError::Timeout { after: wait },
            ModelError::Unreachable { base_url: "http://127.0.0.1:9".into() },
            ModelError::Invalid(sentence(&"x ".repeat(600))),
        ] {
            assert!(error.message().ends_with(['.', '…']), "{error}");
            for format in [WireFormat::Anthropic, WireFormat::OpenAi] {
                assert!(error.hint(format).ends_with('.'), "{error}");
            }
            assert!(error.message().len() < 600);
        }
        let limited = ModelError::RateLimited { retry_after: Some(wait) };
        assert_eq!(limited.hint(WireFormat::Anthropic), "Send the message again in 4 minutes.");
        assert!(ModelError::Unauthorized.hint(WireFormat::OpenAi).contains("OPENAI_API_KEY"));
    }
}
