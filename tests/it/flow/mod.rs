//! The product on real parts, through its HTTP API: the real binary, git, a real Docker engine.

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
mod queue;
mod recordings;
mod registry;
mod startup;
mod streams;
mod templates;
mod verifier;

use crate::fake_claude::Wire;

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
