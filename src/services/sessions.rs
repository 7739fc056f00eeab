//! Sessions of browsers: find, list, end; a new admin password ends all of them.

use std::io::{ErrorKind, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use super::Services;
use super::secret::hash;
use crate::domain::{Action, Principal, SessionId};
use crate::error::AppResult;
use crate::store::Store;
use crate::store::access::USE_KEPT_EVERY_MS;
use crate::store::sessions::Session;

/// Name of the file in the data directory with the key of the password's HMAC.
const KEY_FILE: &str = "login.key";
/// Maximum length of a stored user agent, in characters.
const BROWSER_MAX: usize = 300;

/// Ends all sessions if the password has changed since the last start.
///
/// The database stores an HMAC of the password, under a random key in a separate file. A slow hash would need no
/// file, but would delay every start by the time that one guess should take; because the key is elsewhere, a copy of the
/// database alone does not allow guessing.
pub async fn end_after_password_change(
    store: &Store,
    data_dir: &Path,
    password: Option<&SecretString>,
    now: Timestamp,
) -> anyhow::Result<()> {
    let verifier = match password {
        None => None,
        Some(password) => {
            let mut mac = Hmac::<Sha256>::new_from_slice(&key(data_dir)?).expect("any length of key will do");
            mac.update(b"slipway admin password\0");
            mac.update(password.expose_secret().as_bytes());
            Some(hex::encode(mac.finalize().into_bytes()))
        }
    };
    if let Some(ended) = store.keep_password_verifier(verifier, now).await?
        && ended > 0
    {
        tracing::info!(ended, "the admin password has changed: all sessions have ended");
    }
    Ok(())
}

/// Reads the key, or creates it.
fn key(data_dir: &Path) -> anyhow::Result<Vec<u8>> {
    let path = data_dir.join(KEY_FILE);
    let shown = path.display();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let fresh = hex::encode(rand::random::<[u8; 32]>());
            // Written to a temporary file and renamed, so that a crash leaves no partial key.
            let beside = data_dir.join("login.key.new");
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&beside)
                .with_context(|| format!("cannot write {}", beside.display()))?;
            file.write_all(fresh.as_bytes()).and_then(|()| file.sync_all()).context("cannot write the key")?;
            std::fs::rename(&beside, &path).with_context(|| format!("cannot write {shown}"))?;
            fresh
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read {shown}")),
    };
    match hex::decode(text.trim()) {
        Ok(key) if key.len() == 32 => Ok(key),
        _ => bail!("{shown} is not a key of 64 hexadecimal digits: remove it; all users then have to log in again"),
    }
}

/// The user agent in the form that is stored.
pub(super) fn browser_name(user_agent: &str) -> String {
    user_agent.chars().filter(|c| !c.is_control()).take(BROWSER_MAX).collect()
}

impl Services {
    /// The session of the first valid secret, with one database query; records the time of use, to the
    /// minute.
    pub async fn find_session(&self, secrets: Vec<&str>, from: IpAddr) -> AppResult<Option<SessionId>> {
        if secrets.is_empty() {
            return Ok(None);
        }
        let now = self.now();
        let hashes = secrets.into_iter().map(hash).collect();
        let Some(session) = self.platform.store.find_session(hashes, now).await? else { return Ok(None) };
        let from = from.to_string();
        let is_old = session.last_used_at.as_millisecond() < now.as_millisecond() - USE_KEPT_EVERY_MS;
        if is_old || session.address != from {
            self.platform.store.touch_session(session.id, now, from).await?;
        }
        Ok(Some(session.id))
    }

    /// The hash of the first valid secret.
    pub(super) async fn session_hash(&self, secrets: impl Iterator<Item = &str>) -> AppResult<Option<String>> {
        let found = self.platform.store.find_session(secrets.map(hash).collect(), self.now()).await?;
        Ok(found.map(|session| session.hash))
    }

    /// All active sessions, most recently used first.
    pub async fn sessions(&self, by: &Principal) -> AppResult<Vec<Session>> {
        by.check(Action::ManageLogins)?;
        Ok(self.platform.store.sessions(self.now()).await?)
    }

    /// Ends a session.
    pub async fn end_session(&self, by: &Principal, id: SessionId) -> AppResult<()> {
        by.check(Action::ManageLogins)?;
        Ok(self.platform.store.end_session(id).await?)
    }

    /// Ends all sessions, including the caller's.
    pub async fn end_all_sessions(&self, by: &Principal) -> AppResult<()> {
        by.check(Action::ManageLogins)?;
        let ended = self.platform.store.end_all_sessions().await?;
        tracing::info!(ended, "all sessions have been ended");
        Ok(())
    }
}
