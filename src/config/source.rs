//! Collects values from the file, the environment and flags, as text by key.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use secrecy::SecretString;

use crate::domain::Invalid;

/// One setting.
pub(super) struct Key {
    /// Its name in the file and as a flag (with hyphens).
    pub(super) name: &'static str,
    /// The environment variable.
    pub(super) env: &'static str,
    /// The default value; empty if there is none.
    pub(super) default: &'static str,
    /// A description in one line.
    pub(super) about: &'static str,
    /// Whether its value is hidden.
    pub(super) secret: bool,
}

pub(super) const fn key(name: &'static str, env: &'static str, default: &'static str, about: &'static str) -> Key {
    Key { name, env, default, about, secret: false }
}

pub(super) const fn secret(name: &'static str, env: &'static str, about: &'static str) -> Key {
    Key { name, env, default: "", about, secret: true }
}

/// A setting that is invalid.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// A key that does not exist.
    #[error("unknown key `{key}` in {path}; `slipway config` lists all keys")]
    Unknown {
        /// The key.
        key: String,
        /// The file that contains it.
        path: PathBuf,
    },
    /// A value that does not fit its key.
    #[error("`{key}` ({source_name}): {reason}")]
    Bad {
        /// The key.
        key: &'static str,
        /// The source of the value.
        source_name: String,
        /// The reason.
        reason: String,
    },
}

/// Values as text, each with its source.
pub(super) struct Sources {
    /// All keys, by topic.
    keys: &'static [&'static [Key]],
    /// By the key's name: the value and its source.
    values: BTreeMap<&'static str, (String, String)>,
    /// Whether the builder runs in a cluster.
    pub(super) in_cluster: bool,
}

impl Sources {
    /// Starts with all defaults.
    pub(super) fn new(keys: &'static [&'static [Key]]) -> Self {
        Self { keys, values: BTreeMap::new(), in_cluster: false }
    }

    fn keys(&self) -> impl Iterator<Item = &'static Key> + use<> {
        self.keys.iter().copied().flatten()
    }

    /// Reads the settings in the file `path`.
    pub(super) fn read_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let failed = |reason: String| ConfigError::File { path: path.to_owned(), reason };
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| failed(error.to_string()))?;
        for (name, value) in table {
            let Some(key) = self.keys().find(|key| key.name == name) else {
                return Err(ConfigError::Unknown { key: name, path: path.to_owned() });
            };
            let source = path.display().to_string();
            let text = match value {
                toml::Value::String(text) => text,
                toml::Value::Integer(number) => number.to_string(),
                toml::Value::Float(number) => number.to_string(),
                toml::Value::Boolean(flag) => flag.to_string(),
                _ => {
                    return Err(ConfigError::Bad {
                        key: key.name,
                        source_name: source,
                        reason: "expected a text or a number".to_owned(),
                    });
                }
            };
            self.values.insert(key.name, (text, source));
        }
        Ok(())
    }

    /// Reads an environment variable, if it belongs to a setting.
    pub(super) fn read_variable(&mut self, name: &str, value: String) {
        // Kubernetes sets this variable in every container.
        self.in_cluster |= name == "KUBERNETES_SERVICE_HOST";
        if let Some(key) = self.keys().find(|key| key.env == name) {
            self.values.insert(key.name, (value, format!("environment variable {name}")));
        }
    }

    /// Reads a flag, by its key's name.
    pub(super) fn read_flag(&mut self, name: &'static str, value: String) {
        self.values.insert(name, (value, format!("flag --{}", name.replace('_', "-"))));
    }

    /// Whether the setting has a value from a flag, the environment or the file.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// The value of a setting; none if it is empty.
    pub(super) fn text(&self, name: &'static str) -> Option<&str> {
        let default = || self.keys().find(|key| key.name == name).map_or("", |key| key.default);
        let text = self.values.get(name).map_or_else(default, |(value, _)| value);
        (!text.is_empty()).then_some(text)
    }

    /// Like [`Self::text`], owned.
    pub(super) fn owned(&self, name: &'static str) -> Option<String> {
        self.text(name).map(str::to_owned)
    }

    /// The error for an invalid value.
    pub(super) fn bad(&self, key: &'static str, reason: impl Into<String>) -> ConfigError {
        let source_name = self.values.get(key).map_or_else(|| "default".to_owned(), |(_, source)| source.clone());
        ConfigError::Bad { key, source_name, reason: reason.into() }
    }

    /// Parses a value. `expected` describes its type for the error.
    pub(super) fn parse<T: FromStr>(&self, name: &'static str, expected: &str) -> Result<T, ConfigError> {
        self.text(name).unwrap_or_default().trim().parse().map_err(|_| self.bad(name, format!("expected {expected}")))
    }

    /// Parses a number that is at least 1.
    pub(super) fn positive<T: FromStr + PartialOrd + From<u8>>(&self, name: &'static str) -> Result<T, ConfigError> {
        let number: T = self.parse(name, "a number")?;
        if number < T::from(1) { Err(self.bad(name, "expected a number from 1")) } else { Ok(number) }
    }

    /// Parses a list of values that are separated by commas.
    pub(super) fn list<T: FromStr<Err = Invalid>>(&self, name: &'static str) -> Result<Vec<T>, ConfigError> {
        let text = self.text(name).unwrap_or_default();
        let all = text.split(',').map(str::trim).filter(|value| !value.is_empty());
        all.map(|value| value.parse().map_err(|error: Invalid| self.bad(name, error.0))).collect()
    }

    /// Reads a secret from one key, or from the file that another key names.
    pub(super) fn secret_or_file(
        &self,
        name: &'static str,
        file: &'static str,
    ) -> Result<Option<SecretString>, ConfigError> {
        let from_file = match self.text(file) {
            None => None,
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| self.bad(file, format!("cannot read {path}: {error}")))?;
                Some(text.trim_end_matches(['\r', '\n']).to_owned())
            }
        };
        Ok(self.owned(name).or(from_file).map(SecretString::from))
    }
}
