//! Generation: the model's side of Slipway.
//!
//! Owns the wire formats (the Messages API, and that of OpenAI-compatible servers), their client, retries,
//! the table of models, the agent's loop and tools, the prompts, and a demo model. Independent of the
//! database, git, containers and pages: it works on a workspace through a
//! [`ToolHost`] and reports progress to a [`TurnSink`].

pub mod agent;
pub mod answer_stream;
pub mod attached;
pub mod client;
pub mod compact;
pub mod demo;
pub mod error;
pub mod history;
pub mod limits;
mod listed;
pub mod listing;
pub mod material;
pub mod models;
pub mod near;
pub mod notes;
pub mod opening;
pub mod outcome;
pub mod ports;
pub mod prompts;
pub mod retry;
pub mod rewrite;
pub mod search;
pub mod toolbox;
pub mod tools;
pub mod verification;
pub mod wire;

pub use agent::{TurnEnd, TurnError, TurnInput, TurnOutcome, run_turn};
pub use client::{ModelClient, PUBLIC_BASE_URL, Provider, Timeouts};
pub use compact::Compaction;
pub use error::ModelError;
pub use limits::{Cap, DayLimit, Spent, Threshold, TurnLimits};
pub use listed::ListedModel;
pub use listing::Listing;
pub use models::{Model, ModelTable};
pub use ports::{
    COMPUTE_TIME, CheckReport, Content, FileEntry, HostError, PreviewAnswer, PreviewRequest, ProtectedFile,
    SearchFound, SearchLimits, ToolHost, TurnSink, Written,
};
pub use retry::RetryPolicy;
pub use wire::{Images, Message, WireFormat};

#[cfg(test)]
#[path = "../../tests/it/support/fake_claude.rs"]
pub(crate) mod fake_claude;
#[cfg(test)]
mod stage;
