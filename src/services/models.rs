//! The available models, and the model of an app.

use super::Services;
use crate::domain::{App, AppName, Effort, ModelChoice, ModelId};
use crate::error::AppResult;
use crate::generation::models::Price;

/// A model that can be chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelOffer {
    /// The provider's id of the model.
    pub id: ModelId,
    /// Its title.
    pub title: String,
    /// Its price, if known.
    pub price: Option<Price>,
    /// Context window in tokens, if known.
    pub context_tokens: Option<u64>,
}

/// The models that can be chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelOffers {
    /// In the order of the provider or of the table.
    pub models: Vec<ModelOffer>,
    /// The list comes from the provider; else the provider did not answer, and it is the table's.
    pub is_from_provider: bool,
}

impl Services {
    /// The models that can be chosen: the provider's list if it answers, else the table's.
    pub async fn models(&self) -> ModelOffers {
        let model = self.platform.model();
        let table = &model.table;
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
        let provider = model.provider_name();
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

    /// The model and the effort of an app.
    pub fn model_of(&self, app: &App) -> (ModelId, Option<Effort>) {
        self.platform.model().of(app)
    }

    /// Chooses an app's model from the next turn on. Fields without a choice use the builder's default.
    pub async fn choose_model(&self, name: &AppName, choice: ModelChoice) -> AppResult<App> {
        let app = self.app(name).await?;
        self.platform.store.set_model(app.id, choice).await?;
        self.app(name).await
    }
}
