//! Whether a turn may change files.

use serde::{Deserialize, Serialize};

use super::words;

/// Whether the model may change files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TurnMode {
    /// It may change files.
    #[default]
    Build,
    /// It reads and answers; it has no writing tools.
    Discuss,
}

words!(TurnMode { Build = "build", Discuss = "discuss" });
