//! One turn: asks the model, runs the tools it calls, until it has done what was asked.
//!
//! Owns what is said to the model and in which order things are shown and kept. Knows files only
//! through a [`ToolHost`], and the rest of the program only through a [`TurnSink`].
//!
//! Tools run as soon as their call is complete, while the rest of the answer is still coming, so
//! that each finished file is there at once. From then on the answer is not thrown away any more:
//! if it breaks off later, what was complete becomes part of the transcript and the conversation
//! goes on from there. An answer that breaks off before any tool ran is void, and the same request
//! is made again.

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

/// Runs a turn to its end. Never panics on what a model sends; a cancelled turn returns as soon as
/// the tool at work, if any, is done.
pub async fn run_turn<H: ToolHost, S: TurnSink>(
    client: &ModelClient,
    input: &TurnInput,
    host: &mut H,
    sink: &mut S,
    cancel: &CancellationToken,
) -> TurnOutcome {
    // The far future stands for a limit that no clock reaches.
    let now = tokio::time::Instant::now();
    let left = input.limits.wall_time.saturating_sub(input.spent.unwrap_or_default().time);
    let deadline = now.checked_add(left).unwrap_or(now + Duration::from_hours(24 * 365));
    turn::Run::new(client, input, host, sink, cancel, deadline).run().await
}

/// Every script is played over both wire formats: the module is there twice.
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
