//! One turn: sends requests to the model and runs the tools that it calls, until it has finished.
//!
//! Owns the messages to the model and the order in which progress is shown and stored. Accesses files only
//! through a [`ToolHost`], and the rest of the program only through a [`TurnSink`].
//!
//! A tool runs as soon as its call is complete, while the rest of the answer is still streaming, so
//! each finished file is available at once. From then on the answer is not discarded any more:
//! if it breaks off later, its complete parts become part of the transcript and the conversation
//! continues from there. An answer that breaks off before a tool has run is discarded, and the same request
//! is sent again.

mod answer;
mod input;
mod length;
mod outcome;
mod repeats;
mod transcript;
mod turn;
mod typing;

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::client::ModelClient;
use super::ports::{ToolHost, TurnSink};

pub use input::TurnInput;
pub use outcome::{TurnEnd, TurnError, TurnOutcome};

/// Runs a turn to its end. Never panics because of the model's output; a cancelled turn returns as soon as
/// the running tool, if any, has finished.
pub async fn run_turn<H: ToolHost, S: TurnSink>(
    client: &ModelClient,
    input: &TurnInput,
    host: &mut H,
    sink: &mut S,
    cancel: &CancellationToken,
) -> TurnOutcome {
    // A time in the far future means that there is no limit.
    let now = tokio::time::Instant::now();
    let left = input.limits.wall_time.saturating_sub(input.spent.unwrap_or_default().time);
    let deadline = now.checked_add(left).unwrap_or(now + Duration::from_hours(24 * 365));
    turn::Run::new(client, input, host, sink, cancel, deadline).run().await
}

/// Every script is played over both wire formats, so the module is included twice.
#[cfg(test)]
#[path = ""]
mod over_messages {
    use super::*;
    use crate::domain::{FileState, TurnMode, WorkspacePath};
    use crate::generation::wire::{ContentBlock, Message, WireFormat};
    use crate::generation::{Cap, ModelError, TurnLimits};
    const WIRE: WireFormat = WireFormat::Anthropic;
    #[path = "tests.rs"]
    #[expect(clippy::duplicate_mod, reason = "each time with another wire format around it")]
    mod tests;
}
#[cfg(test)]
#[path = ""]
mod over_chat {
    use super::*;
    use crate::domain::{FileState, TurnMode, WorkspacePath};
    use crate::generation::wire::{ContentBlock, Message, WireFormat};
    use crate::generation::{Cap, ModelError, TurnLimits};
    const WIRE: WireFormat = WireFormat::OpenAi;
    #[path = "tests.rs"]
    #[expect(clippy::duplicate_mod, reason = "each time with another wire format around it")]
    mod tests;
}
#[cfg(test)]
mod dialects;
