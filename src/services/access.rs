//! Authentication with the admin password: login and logout.
//!
//! Without a password every caller has full access; the builder then listens only on loopback.

use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use super::Services;
use super::login_limit::{Attempt, LoginLimit};
use super::secret::{hash, random_secret};
use super::sessions::browser_name;
use crate::error::{AppError, AppResult, ErrorKind};
use crate::store::sessions::NewSession;

/// How long a session lasts.
pub const SESSION_DAYS: i64 = 30;

/// The admin password and the limit on login attempts.
pub struct Access {
    password: Option<SecretString>,
    pub(super) limit: LoginLimit,
}

impl Access {
    pub(super) fn new(password: Option<SecretString>) -> Self {
        Self { password, limit: LoginLimit::new() }
    }
}

impl Services {
    /// Whether callers need a session or a token.
    pub fn password_is_set(&self) -> bool {
        self.access.password.is_some()
    }

    /// Starts a session and returns its secret. `browser` is the user agent. Attempts are limited.
    pub async fn login(&self, password: &str, attempt: &Attempt, browser: &str) -> AppResult<SecretString> {
        let Some(expected) = &self.access.password else {
            return Err(AppError::conflict("no_password", "No password is set: no login is needed."));
        };
        self.access.limit.check(attempt)?;
        // Hashes have equal length, so the time to compare does not reveal the length of the password.
        let (given, expected) = (hash(password), hash(expected.expose_secret()));
        if !bool::from(given.as_bytes().ct_eq(expected.as_bytes())) {
            return Err(AppError::new(ErrorKind::Forbidden, "wrong_password", "The password is wrong."));
        }
        let secret = random_secret();
        let now = self.now();
        let until = now + jiff::SignedDuration::from_hours(24 * SESSION_DAYS);
        let session = NewSession {
            hash: hash(&secret),
            at: now,
            until,
            address: attempt.from.to_string(),
            browser: browser_name(browser),
        };
        self.platform.store.insert_session(session).await?;
        Ok(SecretString::from(secret))
    }

    /// Ends the sessions of these secrets.
    pub async fn logout(&self, secrets: Vec<&str>) -> AppResult<()> {
        Ok(self.platform.store.end_sessions_of(secrets.into_iter().map(hash).collect()).await?)
    }
}
