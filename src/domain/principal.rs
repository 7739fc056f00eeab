//! Who asks, and what that one may do. Every check of a permission ends in [`Principal::check`]: roles of accounts
//! become another case there.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{AppName, Invalid, SessionId, TokenId};

/// What an API token may do. Each scope includes the ones before it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Look at things.
    #[default]
    Read,
    /// Make, change, deploy and delete apps.
    Write,
    /// See and end sessions and tokens.
    Admin,
}

impl Scope {
    /// All, the smallest first.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// The word in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }

    /// What it allows, for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Read => "Read",
            Self::Write => "Read and change apps",
            Self::Admin => "Everything but making tokens",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::ALL
            .into_iter()
            .find(|scope| scope.as_str() == text)
            .ok_or_else(|| Invalid::new("A scope is read, write or admin."))
    }
}

/// What an action is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// What is the same for everybody, such as the list of templates.
    Shared,
    /// The builder as a whole.
    Builder,
    /// One app.
    App(&'a str),
}

/// An operation that needs permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'a> {
    /// Look at something.
    Read(Target<'a>),
    /// Change something.
    Write(Target<'a>),
    /// See or end sessions and tokens.
    ManageLogins,
    /// Make an API token, which can do more than the one that asks.
    MakeToken,
}

/// What an API token was made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenGrant {
    /// Which token.
    pub id: TokenId,
    /// What it may do.
    pub scope: Scope,
    /// The one app that it may do it to; none: all.
    pub app: Option<AppName>,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// No password is set: whoever reaches the builder owns it.
    Anyone,
    /// The owner, in a browser that has logged in.
    Session(SessionId),
    /// A program with an API token.
    Token(TokenGrant),
}

/// Why an operation is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The token's scope is too small.
    #[error("This API token may only {0}.")]
    Scope(&'static str),
    /// The token is for one app.
    #[error("This API token is for one app, and this is not about that app alone.")]
    OtherApp,
    /// No token may do it.
    #[error("API tokens are made by a person who has logged in, not by another token.")]
    NeedsSession,
}

impl Principal {
    /// Whether this one may do that.
    pub fn check(&self, action: Action<'_>) -> Result<(), Refusal> {
        match self {
            Self::Anyone | Self::Session(_) => Ok(()),
            Self::Token(grant) => grant.check(action),
        }
    }

    /// The one app that this principal can see; none: all.
    pub fn only_app(&self) -> Option<&AppName> {
        match self {
            Self::Token(grant) => grant.app.as_ref(),
            Self::Anyone | Self::Session(_) => None,
        }
    }

    /// The session, if it is one.
    pub fn session(&self) -> Option<SessionId> {
        match self {
            Self::Session(id) => Some(*id),
            Self::Anyone | Self::Token(_) => None,
        }
    }
}

impl TokenGrant {
    fn check(&self, action: Action<'_>) -> Result<(), Refusal> {
        let (needed, target) = match action {
            Action::Read(target) => (Scope::Read, target),
            Action::Write(target) => (Scope::Write, target),
            Action::ManageLogins => (Scope::Admin, Target::Builder),
            Action::MakeToken => return Err(Refusal::NeedsSession),
        };
        if self.scope < needed {
            return Err(Refusal::Scope(match self.scope {
                Scope::Read => "read",
                Scope::Write | Scope::Admin => "read and change apps",
            }));
        }
        match (&self.app, target) {
            (None, _) | (Some(_), Target::Shared) => Ok(()),
            (Some(own), Target::App(app)) if own.as_str() == app => Ok(()),
            (Some(_), _) => Err(Refusal::OtherApp),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_does_what_its_scope_says_and_no_more() {
        let token = |scope, app: Option<&str>| {
            let app = app.map(|app| app.parse().expect("a name"));
            Principal::Token(TokenGrant { id: TokenId(1), scope, app })
        };
        let actions = [
            Action::Read(Target::Shared),
            Action::Read(Target::App("ducks")),
            Action::Read(Target::App("geese")),
            Action::Read(Target::Builder),
            Action::Write(Target::App("ducks")),
            Action::Write(Target::App("geese")),
            Action::Write(Target::Builder),
            Action::ManageLogins,
            Action::MakeToken,
        ];
        for (principal, allowed) in [
            (Principal::Anyone, "yyyyyyyyy"),
            (Principal::Session(SessionId(1)), "yyyyyyyyy"),
            (token(Scope::Read, None), "yyyynnnnn"),
            (token(Scope::Write, None), "yyyyyyynn"),
            (token(Scope::Admin, None), "yyyyyyyyn"),
            (token(Scope::Read, Some("ducks")), "yynnnnnnn"),
            (token(Scope::Write, Some("ducks")), "yynnynnnn"),
        ] {
            let found: String =
                actions.iter().map(|action| if principal.check(*action).is_ok() { 'y' } else { 'n' }).collect();
            assert_eq!(found, allowed, "{principal:?}");
        }
    }
}
