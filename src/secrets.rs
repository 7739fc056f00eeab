//! The secrets of apps, and the redaction that keeps them out of logs, events and prompts.

use std::collections::BTreeMap;

use secrecy::SecretString;

use crate::domain::{App, Environment, Redaction, TemplateKind};
use crate::error::AppResult;
use crate::platform::Platform;

impl Platform {
    /// The secrets that an app's containers get in an environment, made at first use.
    pub async fn secrets(&self, app: &App, environment: Environment) -> AppResult<BTreeMap<String, SecretString>> {
        let mut secrets = BTreeMap::new();
        if self.template(app)?.manifest.kind == TemplateKind::Webhook {
            let fresh = fresh_webhook_secret();
            let secret = self.store.secret_or_insert(app.id, environment, "WEBHOOK_SECRET", fresh).await?;
            secrets.insert("WEBHOOK_SECRET".to_owned(), secret);
        }
        Ok(secrets)
    }

    /// Replaces the secret of a webhook. Its containers have the new one from their next start on.
    pub async fn replace_webhook_secret(&self, app: &App, environment: Environment) -> AppResult<()> {
        Ok(self.store.replace_secret(app.id, environment, "WEBHOOK_SECRET", fresh_webhook_secret()).await?)
    }

    /// What is taken out of everything that an app wrote: its secrets in both environments, and the
    /// builder's own keys, in their usual forms.
    pub async fn redaction(&self, app: &App) -> AppResult<Redaction> {
        // A template that is gone makes none, and those that were made are still known.
        if self.template(app).is_ok() {
            for environment in Environment::ALL {
                self.secrets(app, environment).await?;
            }
        }
        let secrets = self.store.secrets_of(app.id).await?;
        let config = &self.config;
        let own = [
            ("ANTHROPIC_API_KEY", &config.anthropic_api_key),
            ("OPENAI_API_KEY", &config.openai_api_key),
            ("SLIPWAY_ADMIN_PASSWORD", &config.admin_password),
        ];
        let own = own.iter().filter_map(|(name, value)| Some((*name, value.as_ref()?)));
        let added = self.models.added_keys();
        let own = own.chain(added.iter().map(|key| ("model key", key)));
        Ok(Redaction::new(secrets.iter().map(|(name, value)| (name.as_str(), value)).chain(own)))
    }
}

fn fresh_webhook_secret() -> SecretString {
    SecretString::from(format!("whsec_{}", hex::encode(rand::random::<[u8; 24]>())))
}
