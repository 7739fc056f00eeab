//! Callers and their rights. Every permission check calls [`Principal::check`]; roles of accounts
//! would become another case there.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{AppName, Invalid, SessionId, TokenId};

/// The rights of an API token. Each scope includes the ones before it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Read.
    #[default]
    Read,
    /// Create, change, deploy and delete apps.
    Write,
    /// List and end sessions and tokens.
    Admin,
}

impl Scope {
    /// All scopes, the smallest first.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// The value in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }

    /// Its title.
    pub fn title(self) -> &'static str {
        match self {
            Self::Read => "Read",
            Self::Write => "Read and change apps",
            Self::Admin => "Everything except creating tokens",
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

/// The resource of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// Data that is the same for every caller, such as the list of templates.
    Shared,
    /// The builder as a whole.
    Builder,
    /// One app.
    App(&'a str),
}

/// An operation that needs permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'a> {
    /// Read a resource.
    Read(Target<'a>),
    /// Change a resource.
    Write(Target<'a>),
    /// List or end sessions and tokens.
    ManageLogins,
    /// Create an API token, which could have more rights than the caller's token.
    MakeToken,
    /// Add, remove or test the key of the model.
    ManageModel,
}

/// The rights of an API token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenGrant {
    /// The token.
    pub id: TokenId,
    /// Its scope.
    pub scope: Scope,
    /// The only app that it can access; `None`: all apps.
    pub app: Option<AppName>,
}

/// The caller of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// No password is set: every caller has full access.
    Anyone,
    /// A user, in a browser that has logged in.
    Session(SessionId),
    /// A program with an API token.
    Token(TokenGrant),
}

/// Why an operation is forbidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The token's scope is too small.
    #[error("This API token may only {0}.")]
    Scope(&'static str),
    /// The token is for one app.
    #[error("This API token is for one app, and this request is not limited to that app.")]
    OtherApp,
    /// Tokens cannot do it.
    #[error("Log in to create API tokens: a token cannot create other tokens.")]
    NeedsSession,
    /// Tokens cannot change who answers.
    #[error("Log in to change the model’s key: an API token cannot do it.")]
    NeedsLogin,
}

impl Principal {
    /// Checks whether the principal may perform the action.
    pub fn check(&self, action: Action<'_>) -> Result<(), Refusal> {
        match self {
            Self::Anyone | Self::Session(_) => Ok(()),
            Self::Token(grant) => grant.check(action),
        }
    }

    /// The only app that this principal can access; `None`: all apps.
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
            Action::ManageModel => return Err(Refusal::NeedsLogin),
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
    fn a_token_has_exactly_the_rights_of_its_scope() {
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
            Action::ManageModel,
        ];
        for (principal, allowed) in [
            (Principal::Anyone, "yyyyyyyyyy"),
            (Principal::Session(SessionId(1)), "yyyyyyyyyy"),
            (token(Scope::Read, None), "yyyynnnnnn"),
            (token(Scope::Write, None), "yyyyyyynnn"),
            (token(Scope::Admin, None), "yyyyyyyynn"),
            (token(Scope::Read, Some("ducks")), "yynnnnnnnn"),
            (token(Scope::Write, Some("ducks")), "yynnynnnnn"),
        ] {
            let found: String =
                actions.iter().map(|action| if principal.check(*action).is_ok() { 'y' } else { 'n' }).collect();
            assert_eq!(found, allowed, "{principal:?}");
        }
    }
}
