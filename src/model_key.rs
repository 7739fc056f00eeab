//! The key that was added in the page: a file in the data directory that only its owner reads.
//!
//! The key is in no log, event, page or answer of the API. What the environment sets takes precedence; whether this file is
//! used at all is the choice of its reader.

use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::domain::ModelId;
use crate::generation::WireFormat;

/// The file, in the data directory.
pub const FILE: &str = "model-key.toml";
/// Read and written by its owner alone.
const PRIVATE: u32 = 0o600;
/// Maximum size of the file in bytes.
const SIZE_MAX: u64 = 16 * 1024;

/// Whom to ask, and with which key.
#[derive(Debug, Clone)]
pub struct ModelKey {
    /// How the provider is spoken to.
    pub format: WireFormat,
    /// Where it answers, without a slash at the end.
    pub address: String,
    /// The key; empty for a server that needs none.
    pub key: SecretString,
    /// The default model.
    pub model: ModelId,
}

/// Why the file cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("the file with the model's key, {}, cannot be used: {reason}", .file.display())]
pub struct KeyFileError {
    file: PathBuf,
    reason: String,
}

/// The content of the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    provider: Provider,
    address: String,
    key: String,
    model: String,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Provider {
    Anthropic,
    OpenAi,
}

impl ModelKey {
    /// The key that is kept in the folder, if there is one.
    pub fn load(folder: &Path) -> Result<Option<Self>, KeyFileError> {
        let file = folder.join(FILE);
        let failed = |reason: String| KeyFileError { file: file.clone(), reason };
        match file.metadata() {
            Ok(found) if found.len() > SIZE_MAX => return Err(failed("it is too large".to_owned())),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error.to_string())),
        }
        let text = std::fs::read_to_string(&file).map_err(|error| failed(error.to_string()))?;
        // The error of the parser would quote the key.
        let content: Content = toml::from_str(&text).map_err(|_| failed("its content cannot be read".to_owned()))?;
        let model = content.model.parse().map_err(|error: crate::domain::Invalid| failed(error.0))?;
        Ok(Some(Self {
            format: match content.provider {
                Provider::Anthropic => WireFormat::Anthropic,
                Provider::OpenAi => WireFormat::OpenAi,
            },
            address: content.address,
            key: SecretString::from(content.key),
            model,
        }))
    }

    /// Keeps the key in the folder; it replaces one that is kept there.
    pub fn save(&self, folder: &Path) -> Result<(), KeyFileError> {
        let file = folder.join(FILE);
        let content = Content {
            provider: match self.format {
                WireFormat::Anthropic => Provider::Anthropic,
                WireFormat::OpenAi => Provider::OpenAi,
            },
            address: self.address.clone(),
            key: self.key.expose_secret().to_owned(),
            model: self.model.to_string(),
        };
        let written = toml::to_string(&content).map_err(|_| std::io::Error::from(ErrorKind::InvalidData));
        let written = written.and_then(|text| {
            // Whole or not at all: a file that is half written would keep the next start from succeeding.
            let fresh = folder.join(format!("{FILE}.new"));
            match std::fs::remove_file(&fresh) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut out = std::fs::OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(&fresh)?;
            out.write_all(text.as_bytes())?;
            out.sync_all()?;
            std::fs::rename(&fresh, &file)
        });
        written.map_err(|error| KeyFileError { file, reason: error.to_string() })
    }

    /// Removes the key from the folder.
    pub fn remove(folder: &Path) -> Result<(), KeyFileError> {
        let file = folder.join(FILE);
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(KeyFileError { file, reason: error.to_string() }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn key(secret: &str) -> ModelKey {
        ModelKey {
            format: WireFormat::OpenAi,
            address: "http://127.0.0.1:11434/v1".into(),
            key: SecretString::from(secret.to_owned()),
            model: "qwen3:32b".parse().unwrap(),
        }
    }

    #[test]
    fn a_key_is_kept_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        assert!(ModelKey::load(folder.path()).unwrap().is_none());
        for secret in ["sk-one \"quoted\"", "sk-two"] {
            key(secret).save(folder.path()).unwrap();
            let found = ModelKey::load(folder.path()).unwrap().expect("it is kept");
            assert_eq!(found.key.expose_secret(), secret);
            assert_eq!((found.format, found.model.as_str()), (WireFormat::OpenAi, "qwen3:32b"));
            let mode = folder.path().join(FILE).metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, PRIVATE);
            assert!(!format!("{found:?}").contains(secret));
        }
        ModelKey::remove(folder.path()).unwrap();
        ModelKey::remove(folder.path()).unwrap();
        assert!(ModelKey::load(folder.path()).unwrap().is_none());
    }

    #[test]
    fn what_is_wrong_with_the_file_is_said_without_its_content() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), "key = sk-secret-1234").unwrap();
        let error = ModelKey::load(folder.path()).expect_err("it is not TOML").to_string();
        assert!(error.contains(FILE) && !error.contains("sk-secret"), "{error}");
    }
}
