//! Settings for access to the builder.

use secrecy::{ExposeSecret, SecretString};

use super::source::{ConfigError, Key, Sources, key, secret};

pub(super) const KEYS: &[Key] = &[
    secret("admin_password", "SLIPWAY_ADMIN_PASSWORD", "Required to listen on anything but loopback."),
    key("admin_password_file", "SLIPWAY_ADMIN_PASSWORD_FILE", "", "A file that holds the password instead."),
];

pub(super) fn admin_password(sources: &Sources) -> Result<Option<SecretString>, ConfigError> {
    match sources.secret_or_file("admin_password", "admin_password_file")? {
        Some(password) if password.expose_secret().len() < 8 => {
            Err(sources.bad("admin_password", "expected a password of 8 characters or more"))
        }
        other => Ok(other),
    }
}
