//! Which models there are to choose from, and which one answers in an app.

use super::Services;
use crate::config::Provider;
use crate::domain::{App, AppName, Effort, ModelChoice, ModelId};
use crate::error::AppResult;
use crate::generation::models::Price;

/// A model that can be chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelOffer {
    /// What the provider calls it.
    pub id: ModelId,
    /// What people call it.
    pub title: String,
    /// What it costs, if that is known.
    pub price: Option<Price>,
    /// Tokens of a whole conversation, if that is known.
    pub context_tokens: Option<u64>,
}

/// The models that can be chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelOffers {
    /// By the provider's own order, or that of the table.
    pub models: Vec<ModelOffer>,
    /// The provider said so; else it did not answer, and these are the ones of the table.
    pub is_from_provider: bool,
}

impl Services {
    /// The models that can be chosen: the provider's own list where it answers, else the table's.
    pub async fn models(&self) -> ModelOffers {
        let (model, table) = (&self.platform.model, &self.platform.model.table);
        let offer = |id: ModelId, title: Option<String>, context_tokens: Option<u64>| {
            let known = table.find(id.as_str());
            ModelOffer {
                title: known.map(|known| known.title.clone()).or(title).unwrap_or_else(|| id.to_string()),
                price: known.and_then(|known| known.price),
                context_tokens: context_tokens.or(known.map(|known| known.context_tokens)),
                id,
            }
        };
        if let Some(listed) = model.listed().await {
            let models = listed.iter().map(|model| offer(model.id.clone(), model.title.clone(), model.context_tokens));
            return ModelOffers { models: models.collect(), is_from_provider: true };
        }
        let provider = match self.platform.config.provider {
            Provider::Anthropic => "anthropic",
            Provider::OpenAi => "openai",
            Provider::Demo => "demo",
        };
        let mut ids: Vec<ModelId> = table
            .models()
            .iter()
            .filter(|known| known.provider.as_deref().is_none_or(|whose| whose == provider))
            .map(|known| known.id.clone())
            .collect();
        if !ids.contains(&model.id) {
            ids.insert(0, model.id.clone());
        }
        ModelOffers { models: ids.into_iter().map(|id| offer(id, None, None)).collect(), is_from_provider: false }
    }

    /// Who answers in an app, and how deep it thinks.
    pub fn model_of(&self, app: &App) -> (ModelId, Option<Effort>) {
        self.platform.model.of(app)
    }

    /// Has another model answer in an app from the next turn on. What is left open follows the builder.
    pub async fn choose_model(&self, name: &AppName, choice: ModelChoice) -> AppResult<App> {
        let app = self.app(name).await?;
        self.platform.store.set_model(app.id, choice).await?;
        self.app(name).await
    }
}
