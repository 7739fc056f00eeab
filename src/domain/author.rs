//! Who requested a job.

use std::fmt;
use std::str::FromStr;

use super::{Invalid, Principal, TokenId};

/// Who requested a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Author {
    /// A user in a browser, or any caller while no password is set.
    Person,
    /// A program with this API token.
    Token(TokenId),
    /// Slipway itself, for example after a turn.
    Slipway,
}

impl From<&Principal> for Author {
    fn from(principal: &Principal) -> Self {
        match principal {
            Principal::Anyone | Principal::Session(_) => Self::Person,
            Principal::Token(grant) => Self::Token(grant.id),
        }
    }
}

impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Person => f.write_str("person"),
            Self::Token(id) => write!(f, "token:{}", id.0),
            Self::Slipway => f.write_str("slipway"),
        }
    }
}

impl FromStr for Author {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let token = || text.strip_prefix("token:").and_then(|id| id.parse().ok()).map(|id| Self::Token(TokenId(id)));
        match text {
            "person" => Ok(Self::Person),
            "slipway" => Ok(Self::Slipway),
            _ => token().ok_or_else(|| Invalid::new(format!("“{text}” is not the author of a job."))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authors_are_read_back() {
        for author in [Author::Person, Author::Slipway, Author::Token(TokenId(7))] {
            assert_eq!(author.to_string().parse(), Ok(author));
        }
        assert!("token:x".parse::<Author>().is_err());
    }
}
