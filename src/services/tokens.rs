//! API tokens: made with a scope and an end, recognised, taken back.

use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;

use super::Services;
use super::secret::{hash, random_secret};
use crate::domain::{Action, AppName, Principal, Scope, TokenId};
use crate::error::{AppError, AppResult};
use crate::store::access::{ApiToken, NewApiToken};

/// Begins every API token, so that one is recognised where it should not be.
const TOKEN_PREFIX: &str = "slipway_";
/// Days after which a token ends, where nobody says otherwise.
pub const TOKEN_DAYS: u32 = 90;
/// Most days for which a token is made; beyond that it is made without an end, which has to be said.
pub const TOKEN_DAYS_MAX: u32 = 3650;

/// When a token ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenEnd {
    /// After so many days.
    Days(u32),
    /// Never.
    Never,
}

/// A token that somebody wants.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub scope: Scope,
    /// The one app that it may do it to; none: all.
    pub app: Option<AppName>,
    /// When it ends.
    pub end: TokenEnd,
}

/// What a program's token is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenCheck {
    /// It is good.
    Good(Box<ApiToken>),
    /// It was good until then.
    Ended(Timestamp),
    /// We never made it, or it was taken back.
    Unknown,
}

impl Services {
    /// What this token is worth.
    pub async fn check_token(&self, token: &str) -> AppResult<TokenCheck> {
        if !token.starts_with(TOKEN_PREFIX) {
            return Ok(TokenCheck::Unknown);
        }
        let now = self.now();
        Ok(match self.platform.store.use_token(hash(token), now).await? {
            None => TokenCheck::Unknown,
            Some(token) => match token.expires_at.filter(|end| *end <= now) {
                Some(end) => TokenCheck::Ended(end),
                None => TokenCheck::Good(Box::new(token)),
            },
        })
    }

    /// All API tokens, newest first.
    pub async fn tokens(&self, by: &Principal) -> AppResult<Vec<ApiToken>> {
        by.check(Action::ManageLogins)?;
        Ok(self.platform.store.tokens().await?)
    }

    /// A new API token. Its text is shown this one time.
    pub async fn create_token(&self, by: &Principal, new: NewToken) -> AppResult<(ApiToken, SecretString)> {
        by.check(Action::MakeToken)?;
        let name = new.name.trim();
        if name.is_empty() || name.chars().count() > 80 || name.chars().any(char::is_control) {
            return Err(AppError::invalid("Give the token a name of 1 to 80 characters, such as “CI”."));
        }
        if new.app.is_some() && new.scope == Scope::Admin {
            return Err(AppError::invalid("A token for one app can read and write; “admin” is for the whole builder."));
        }
        let at = self.now();
        let expires_at = match new.end {
            TokenEnd::Never => None,
            TokenEnd::Days(days @ 1..=TOKEN_DAYS_MAX) => Some(at + SignedDuration::from_hours(24 * i64::from(days))),
            TokenEnd::Days(_) => {
                return Err(AppError::invalid(format!("A token ends after 1 to {TOKEN_DAYS_MAX} days, or never.")));
            }
        };
        let app = match &new.app {
            None => None,
            Some(app) => Some(self.app(app).await?.id),
        };
        let secret = format!("{TOKEN_PREFIX}{}", random_secret());
        let new = NewApiToken { name: name.to_owned(), hash: hash(&secret), scope: new.scope, app, at, expires_at };
        Ok((self.platform.store.insert_token(new).await?, SecretString::from(secret)))
    }

    /// Takes a token back.
    pub async fn revoke_token(&self, by: &Principal, id: TokenId) -> AppResult<()> {
        by.check(Action::ManageLogins)?;
        Ok(self.platform.store.remove_token(id).await?)
    }
}
