//! API tokens: create with a scope and an expiry, check, list, revoke.

use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;

use super::Services;
use super::secret::{hash, random_secret};
use crate::domain::{Action, AppName, Principal, Scope, TokenId};
use crate::error::{AppError, AppResult};
use crate::store::access::{ApiToken, NewApiToken};

/// Prefix of every API token, so that leaked tokens can be recognised.
const TOKEN_PREFIX: &str = "slipway_";
/// Default lifetime of a token, in days.
pub const TOKEN_DAYS: u32 = 90;
/// Maximum lifetime of a token, in days; a longer life requires an explicit token without expiry.
pub const TOKEN_DAYS_MAX: u32 = 3650;

/// The expiry of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenEnd {
    /// After this number of days.
    Days(u32),
    /// Never.
    Never,
}

/// Data of a new token.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// Its name.
    pub name: String,
    /// Its rights.
    pub scope: Scope,
    /// The only app that it can access; `None`: all apps.
    pub app: Option<AppName>,
    /// Its expiry.
    pub end: TokenEnd,
}

/// The result of a token check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenCheck {
    /// It is valid.
    Good(Box<ApiToken>),
    /// It expired at this time.
    Ended(Timestamp),
    /// It does not exist, or was revoked.
    Unknown,
}

impl Services {
    /// Checks a token.
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

    /// The names of all API tokens, for the authors of jobs.
    pub async fn token_names(&self) -> AppResult<Vec<(TokenId, String)>> {
        Ok(self.platform.store.tokens().await?.into_iter().map(|token| (token.id, token.name)).collect())
    }

    /// All API tokens, newest first.
    pub async fn tokens(&self, by: &Principal) -> AppResult<Vec<ApiToken>> {
        by.check(Action::ManageLogins)?;
        Ok(self.platform.store.tokens().await?)
    }

    /// Creates an API token. Its text is returned only once.
    pub async fn create_token(&self, by: &Principal, new: NewToken) -> AppResult<(ApiToken, SecretString)> {
        by.check(Action::MakeToken)?;
        let name = new.name.trim();
        if name.is_empty() || name.chars().count() > 80 || name.chars().any(char::is_control) {
            return Err(AppError::invalid("Give the token a name of 1 to 80 characters, such as “CI”."));
        }
        if new.app.is_some() && new.scope == Scope::Admin {
            return Err(AppError::invalid(
                "A token for one app can have the scope “read” or “write”; “admin” is for the whole builder.",
            ));
        }
        let at = self.now();
        let expires_at = match new.end {
            TokenEnd::Never => None,
            TokenEnd::Days(days @ 1..=TOKEN_DAYS_MAX) => Some(at + SignedDuration::from_hours(24 * i64::from(days))),
            TokenEnd::Days(_) => {
                return Err(AppError::invalid(format!("A token expires after 1 to {TOKEN_DAYS_MAX} days, or never.")));
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

    /// Revokes a token.
    pub async fn revoke_token(&self, by: &Principal, id: TokenId) -> AppResult<()> {
        by.check(Action::ManageLogins)?;
        Ok(self.platform.store.remove_token(id).await?)
    }
}
