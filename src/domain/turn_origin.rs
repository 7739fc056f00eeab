//! The origin of a turn and its evidence. Stored as columns beside the prompt, so that no code has to
//! parse the prompt.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Attachment, Invalid, TurnId, TurnMode};

/// Why a turn was started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TurnOrigin {
    /// A user wrote its prompt, or answered a question.
    #[default]
    Person,
    /// A user clicked *Continue* on a turn that ended early.
    Continue {
        /// The turn that it continues.
        of: TurnId,
    },
    /// Slipway started it, because the preview of a turn failed.
    Repair(Repair),
    /// A user requested a fix of a failed deployment or of browser errors; Slipway wrote the prompt.
    Fix,
}

/// A turn that repairs the preview of an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Repair {
    /// The user's turn that it repairs, whose limits it shares.
    #[schema(value_type = i64)]
    pub of: TurnId,
    /// The number of the repair of that turn, from 1.
    pub number: u32,
}

impl TurnOrigin {
    /// The value in the API and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Continue { .. } => "continue",
            Self::Repair(_) => "repair",
            Self::Fix => "fix",
        }
    }

    /// The turn that this one continues or repairs.
    pub fn earlier_turn(self) -> Option<TurnId> {
        match self {
            Self::Continue { of } | Self::Repair(Repair { of, .. }) => Some(of),
            Self::Person | Self::Fix => None,
        }
    }

    /// Whether Slipway wrote the prompt because of a failure.
    pub fn is_written_by_slipway(self) -> bool {
        matches!(self, Self::Repair(_) | Self::Fix)
    }
}

/// Output of an app, a build or a browser about a failure. Data for the model, never instructions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Evidence {
    /// Its source, for example `deployment: start_failed`.
    pub source: String,
    /// The lines, joined by line breaks.
    pub text: String,
}

/// One choice of a turn's question, for example `17-1`: the first choice of the question of turn 17.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AnswerId {
    /// The turn that asked.
    pub turn: TurnId,
    /// The number of the choice, from 1.
    pub choice: u32,
}

impl fmt::Display for AnswerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.turn, self.choice)
    }
}

impl FromStr for AnswerId {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let parsed = text.split_once('-').and_then(|(turn, choice)| {
            let id = Self { turn: turn.parse().ok()?, choice: choice.parse().ok().filter(|choice| *choice > 0)? };
            // Only the canonical form is accepted.
            (id.to_string() == text).then_some(id)
        });
        parsed.ok_or_else(|| Invalid::new("This is not the id of an answer: use one of the question's `answers`."))
    }
}

impl TryFrom<String> for AnswerId {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<AnswerId> for String {
    fn from(id: AnswerId) -> Self {
        id.to_string()
    }
}

/// Data of a new turn.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NewTurn {
    /// The user's message, or a fixed sentence of Slipway: see `origin`. Shown, and sent to the model.
    pub prompt: String,
    /// Whether the model may change files.
    pub mode: TurnMode,
    /// Why the turn is started.
    pub origin: TurnOrigin,
    /// The evidence of the failure that the turn is about.
    pub evidence: Option<Evidence>,
    /// The answer to an open question.
    pub answer: Option<AnswerId>,
    /// The attachments.
    pub attachments: Vec<Attachment>,
}

impl NewTurn {
    /// A user's message.
    pub fn of_person(prompt: impl Into<String>, mode: TurnMode) -> Self {
        Self { prompt: prompt.into(), mode, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_id_has_one_canonical_form() {
        let id = AnswerId { turn: TurnId(17), choice: 1 };
        assert_eq!(id.to_string(), "17-1");
        assert_eq!("17-1".parse(), Ok(id));
        for wrong in ["", "17", "17-0", "17-+1", "017-1", "-1-1", "17-1-1", "17-99999999999", "yes"] {
            assert!(wrong.parse::<AnswerId>().is_err(), "{wrong}");
        }
    }
}
