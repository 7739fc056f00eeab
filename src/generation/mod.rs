//! Generation: the model's side of Slipway.
//!
//! Owns the Messages API (its wire format, its client, when to try again), the agent's loop and
//! tools, the prompts, and a demo model that speaks the same wire format. Knows nothing of the
//! database, of git, of containers or of pages: it works on a workspace through a
//! [`ToolHost`] and tells what it does to a [`TurnSink`].

pub mod agent;
pub mod client;
pub mod demo;
pub mod error;
pub mod history;
pub mod limits;
pub mod models;
pub mod ports;
pub mod prompts;
pub mod retry;
pub mod toolbox;
pub mod tools;
pub mod wire;

pub use agent::{TurnEnd, TurnError, TurnInput, TurnOutcome, run_turn};
pub use client::{ModelClient, PUBLIC_BASE_URL, Provider, Timeouts, WireFormat};
pub use error::ModelError;
pub use limits::{Cap, TurnLimits};
pub use models::{default_model, find_model, known_models};
pub use ports::{FileEntry, HostError, ToolHost, TurnSink};
pub use retry::RetryPolicy;
pub use wire::{Effort, Message};

#[cfg(test)]
#[path = "../../tests/support/fake_claude.rs"]
mod fake_claude;
#[cfg(test)]
mod stage;
