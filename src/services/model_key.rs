//! The model's key: added, tested, replaced and removed in the page.
//!
//! A key is used only after it has answered a small request. Keys in the environment take precedence, and cannot be changed
//! here. No answer contains a key.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};

use super::Services;
use crate::domain::{Action, App, AppFilter, ModelId, PageRequest, Principal};
use crate::error::{AppError, AppResult, ErrorKind};
use crate::generation::{ModelError, WireFormat};
use crate::model_choice::{Model, ModelSource, Tested};
use crate::model_key::{KeyFileError, ModelKey};

/// How long a test may take.
const TEST_PATIENCE: Duration = Duration::from_secs(25);
/// How long the result of a test is reused, so that repeated clicks send no more requests.
const TEST_COUNTS: Duration = Duration::from_secs(5);
/// Maximum length of an address and of a key in bytes.
const ADDRESS_MAX: usize = 300;
const KEY_MAX: usize = 1_000;

/// Who answers, and what is known of it.
#[derive(Debug, Clone)]
pub struct ModelState {
    /// The demo model answers.
    pub is_demo: bool,
    /// Where it is set.
    pub source: ModelSource,
    /// The default model.
    pub id: ModelId,
    /// How the provider is spoken to.
    pub format: WireFormat,
    /// Where it answers.
    pub address: String,
    /// A key can be added or removed in the page.
    pub may_change: bool,
    /// The last time that it was asked something.
    pub tested: Option<Tested>,
}

/// A key to add.
#[derive(Debug)]
pub struct NewModelKey {
    /// How the provider is spoken to.
    pub format: WireFormat,
    /// Its address; empty: the usual one of the provider.
    pub address: String,
    /// The key.
    pub key: SecretString,
    /// The default model; empty: the usual one of the provider.
    pub model: String,
}

impl Services {
    /// Who answers turns that begin now.
    pub fn model_state(&self) -> ModelState {
        let model = self.platform.model();
        ModelState {
            is_demo: model.is_demo,
            source: model.source,
            id: model.id.clone(),
            format: model.client.format(),
            address: model.address.clone(),
            may_change: self.platform.models.may_change(),
            tested: model.tested(),
        }
    }

    /// Tests a key with one small request. If it answers, it is kept, and used from the next turn on.
    pub async fn add_model_key(&self, by: &Principal, new: NewModelKey) -> AppResult<()> {
        by.check(Action::ManageModel)?;
        self.check_may_change()?;
        let key = self.checked(&new)?;
        let models = &self.platform.models;
        let _one_at_a_time = models.changing.lock().await;
        let model = models.of_key(&key).map_err(|error| refused(&error, key.format))?;
        self.ask(&model).await.map_err(|error| refused(&error, key.format))?;
        let (folder, kept) = (self.platform.config.data_dir.clone(), key.clone());
        written(tokio::task::spawn_blocking(move || kept.save(&folder)).await)?;
        tracing::info!(model = %key.model, address = %key.address, "a model key was added in the page");
        models.use_added(model, key.key);
        Ok(())
    }

    /// Forgets the key that was added in the page. The demo model answers from the next turn on.
    pub async fn remove_model_key(&self, by: &Principal) -> AppResult<()> {
        by.check(Action::ManageModel)?;
        self.check_may_change()?;
        let _one_at_a_time = self.platform.models.changing.lock().await;
        let folder = self.platform.config.data_dir.clone();
        written(tokio::task::spawn_blocking(move || ModelKey::remove(&folder)).await)?;
        tracing::info!("the model key was removed in the page");
        self.platform.models.use_demo();
        Ok(())
    }

    /// Asks the model something small, and records whether it answered.
    pub async fn test_model(&self, by: &Principal) -> AppResult<()> {
        by.check(Action::ManageModel)?;
        let model = self.platform.model();
        if model.is_demo {
            return Ok(());
        }
        let _one_at_a_time = self.platform.models.changing.lock().await;
        let now = self.now();
        let is_fresh = |at: Timestamp| now.duration_since(at).unsigned_abs() < TEST_COUNTS;
        if !model.tested().is_some_and(|tested| is_fresh(tested.at)) {
            // The health page shows what was met.
            let _ = self.ask(&model).await;
        }
        Ok(())
    }

    /// The app that was created or changed last: what a newly added model can build again.
    pub async fn last_app(&self) -> AppResult<Option<App>> {
        Ok(self.list_apps(AppFilter::default(), PageRequest::first(1)).await?.items.into_iter().next())
    }

    async fn ask(&self, model: &Model) -> Result<(), ModelError> {
        let outcome = model.client.test(model.id.as_str(), TEST_PATIENCE).await;
        model.was_asked(Tested { at: self.now(), by_turn: false, outcome: outcome.clone() });
        outcome
    }

    fn check_may_change(&self) -> AppResult<()> {
        if self.platform.models.may_change() {
            return Ok(());
        }
        Err(AppError::conflict("model_is_set", "The settings that Slipway was started with choose the model.")
            .hint("Change the environment variables or slipway.toml, and restart Slipway."))
    }

    fn checked(&self, new: &NewModelKey) -> AppResult<ModelKey> {
        let config = &self.platform.config;
        let address = match (new.address.trim(), new.format) {
            ("", WireFormat::Anthropic) => config.anthropic_base_url.clone(),
            ("", WireFormat::OpenAi) => config.openai_base_url.clone(),
            (address, _) => address.trim_end_matches('/').to_owned(),
        };
        let key = new.key.expose_secret().trim().to_owned();
        if key.len() > KEY_MAX || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(AppError::invalid("An API key has letters, digits and special characters, without spaces."));
        }
        if key.is_empty() && new.format == WireFormat::Anthropic {
            return Err(AppError::invalid("Paste the API key."));
        }
        check_address(&address, !key.is_empty())?;
        let model = match (new.model.trim(), new.format) {
            ("", WireFormat::Anthropic) => config.model.clone(),
            ("", WireFormat::OpenAi) => return Err(AppError::invalid("Name the model: this server has its own.")),
            (model, _) => model.parse()?,
        };
        Ok(ModelKey { format: new.format, address, key: SecretString::from(key), model })
    }
}

/// An address that a key may be sent to.
fn check_address(address: &str, has_key: bool) -> AppResult<()> {
    let url = Url::parse(address).ok().filter(|url| {
        let is_plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
        matches!(url.scheme(), "http" | "https") && url.has_host() && is_plain && address.len() <= ADDRESS_MAX
    });
    let Some(url) = url else {
        return Err(AppError::invalid("The address must begin with https:// or http://, without a user or a query."));
    };
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let is_near = host == "localhost"
        || host.parse::<IpAddr>().is_ok_and(|address| match address {
            IpAddr::V4(address) => address.is_loopback() || address.is_private(),
            IpAddr::V6(address) => address.is_loopback() || address.is_unique_local(),
        });
    if url.scheme() == "http" && has_key && !is_near {
        return Err(AppError::invalid("Over http:// the key would be readable on the way: use https://."));
    }
    Ok(())
}

/// What the provider said to the test. It is the typed key that is wrong, not Slipway.
fn refused(error: &ModelError, format: WireFormat) -> AppError {
    let hint = match error {
        ModelError::Unauthorized => "Check the key and the provider.".to_owned(),
        ModelError::NotFound { .. } => "Choose a model that this provider has.".to_owned(),
        ModelError::Unreachable { .. } => "Check the address, and this machine's network.".to_owned(),
        ModelError::Malformed(_) | ModelError::Setup(_) => {
            format!("Check that the address names a server with {}.", format.title())
        }
        _ => error.hint(format),
    };
    AppError::new(ErrorKind::Invalid, error.code(), format!("{} The key was not saved.", error.message())).hint(hint)
}

fn written(result: Result<Result<(), KeyFileError>, tokio::task::JoinError>) -> AppResult<()> {
    match result {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(AppError::internal(&error)),
        Err(error) => Err(AppError::internal(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_sent_over_https_or_to_a_private_address_only() {
        for (address, has_key, is_good) in [
            ("https://api.example.org", true, true),
            ("http://127.0.0.1:11434/v1", true, true),
            ("http://[::1]:8000", true, true),
            ("http://192.168.1.7:8000/v1", true, true),
            ("http://models.example.org", false, true),
            ("http://models.example.org", true, false),
            ("http://localhost.example.org", true, false),
            ("https://user:secret@api.example.org", true, false),
            ("https://api.example.org?key=1", true, false),
            ("ftp://api.example.org", true, false),
            ("api.example.org", true, false),
            ("", true, false),
        ] {
            assert_eq!(check_address(address, has_key).is_ok(), is_good, "{address} {has_key}");
        }
    }
}
