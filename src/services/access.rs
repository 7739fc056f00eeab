//! Who may come in: password, sessions, API tokens.
//!
//! Without a password everybody who reaches the builder is its user: it listens on loopback only.

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::Services;
use super::login_limit::{Attempt, LoginLimit};
use crate::error::{AppError, AppResult, ErrorKind};
use crate::store::access::ApiToken;

/// How long a session lasts.
pub const SESSION_DAYS: i64 = 30;
/// Begins every API token, so that one is recognised where it should not be.
const TOKEN_PREFIX: &str = "slipway_";

/// The password, and how often it may be guessed.
pub struct Access {
    password: Option<SecretString>,
    pub(super) limit: LoginLimit,
}

impl Access {
    pub(super) fn new(password: Option<SecretString>) -> Self {
        Self { password, limit: LoginLimit::new() }
    }
}

pub(super) fn hash(secret: &str) -> String {
    hex::encode(Sha256::digest(secret.as_bytes()))
}

pub(super) fn random_secret() -> String {
    hex::encode(rand::random::<[u8; 32]>())
}

impl Services {
    /// Whether a session or a token is needed.
    pub fn password_is_set(&self) -> bool {
        self.access.password.is_some()
    }

    /// Begins a session; answers with its secret. Attempts are limited.
    pub async fn login(&self, password: &str, attempt: &Attempt) -> AppResult<SecretString> {
        let Some(expected) = &self.access.password else {
            return Err(AppError::conflict("no_password", "No password is set: everything is open to you already."));
        };
        self.access.limit.check(attempt)?;
        // Of equal length, so that the time to compare says nothing about the password's.
        let (given, expected) = (hash(password), hash(expected.expose_secret()));
        if !bool::from(given.as_bytes().ct_eq(expected.as_bytes())) {
            return Err(AppError::new(ErrorKind::Forbidden, "wrong_password", "This is not the password."));
        }
        let secret = random_secret();
        let now = self.now();
        let until = now + jiff::SignedDuration::from_hours(24 * SESSION_DAYS);
        self.platform.store.insert_session(hash(&secret), now, until).await?;
        Ok(SecretString::from(secret))
    }

    /// Whether this session's secret is good.
    pub async fn session_is_valid(&self, secret: &str) -> AppResult<bool> {
        Ok(self.platform.store.session_is_valid(hash(secret), self.now()).await?)
    }

    /// Ends a session.
    pub async fn logout(&self, secret: &str) -> AppResult<()> {
        Ok(self.platform.store.remove_session(hash(secret)).await?)
    }

    /// Whether this API token is good.
    pub async fn token_is_valid(&self, token: &str) -> AppResult<bool> {
        if !token.starts_with(TOKEN_PREFIX) {
            return Ok(false);
        }
        Ok(self.platform.store.use_token(hash(token), self.now()).await?)
    }

    /// All API tokens, newest first.
    pub async fn tokens(&self) -> AppResult<Vec<ApiToken>> {
        Ok(self.platform.store.tokens().await?)
    }

    /// A new API token. Its text is shown this one time.
    pub async fn create_token(&self, name: &str) -> AppResult<(ApiToken, SecretString)> {
        let name = name.trim();
        if name.is_empty() || name.chars().count() > 80 || name.chars().any(char::is_control) {
            return Err(AppError::invalid("Give the token a name of 1 to 80 characters, such as “CI”."));
        }
        let secret = format!("{TOKEN_PREFIX}{}", random_secret());
        let token = self.platform.store.insert_token(name.to_owned(), hash(&secret), self.now()).await?;
        Ok((token, SecretString::from(secret)))
    }

    /// Takes a token back.
    pub async fn revoke_token(&self, id: i64) -> AppResult<()> {
        Ok(self.platform.store.remove_token(id).await?)
    }
}
