//! The product on real parts, through its HTTP API: the real binary, git, a real Docker engine.

#[path = "../support/fake_claude.rs"]
mod fake_claude;
#[path = "../support/mod.rs"]
mod support;

mod browser_errors;
mod failures;
mod files;
mod gateway;
mod hostile;
mod jobs;
mod lifecycle;
mod load;
mod output;
mod preview_access;
mod proof;
mod registry;
mod startup;
mod streams;
mod templates;
mod verifier;

use fake_claude::KEY;

/// How the model is spoken to.
#[derive(Clone, Copy, PartialEq)]
enum Wire {
    Messages,
    Chat,
}

impl Wire {
    /// What the builder is told of a server at this address.
    fn settings(self, base_url: &str) -> Vec<(&'static str, &str)> {
        match self {
            Self::Messages => vec![("ANTHROPIC_API_KEY", KEY), ("ANTHROPIC_BASE_URL", base_url)],
            Self::Chat => vec![
                ("SLIPWAY_PROVIDER", "openai"),
                ("SLIPWAY_MODEL", "some-model"),
                ("OPENAI_API_KEY", KEY),
                ("OPENAI_BASE_URL", base_url),
            ],
        }
    }
}

/// Turns, and what follows them, are played over both wire formats: the modules are there twice.
#[path = ""]
mod over_messages {
    const WIRE: super::Wire = super::Wire::Messages;
    #[path = "follow.rs"]
    #[expect(clippy::duplicate_mod, reason = "each time with another wire format around it")]
    mod follow;
    #[path = "turns.rs"]
    #[expect(clippy::duplicate_mod, reason = "each time with another wire format around it")]
    mod turns;
}
#[path = ""]
mod over_chat {
    const WIRE: super::Wire = super::Wire::Chat;
    #[path = "follow.rs"]
    #[expect(clippy::duplicate_mod, reason = "each time with another wire format around it")]
    mod follow;
    #[path = "turns.rs"]
    #[expect(clippy::duplicate_mod, reason = "each time with another wire format around it")]
    mod turns;
}
