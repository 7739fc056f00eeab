//! Parses a provider's list of its models, with the field names of different servers.

use serde::Deserialize;

use super::error::ModelError;
use crate::domain::ModelId;

/// A model in a provider's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedModel {
    /// Its id.
    pub id: ModelId,
    /// Its title for users, if the provider reports one.
    pub title: Option<String>,
    /// Context window in tokens, if the provider reports it.
    pub context_tokens: Option<u64>,
    /// Maximum tokens of one answer, if the provider reports it.
    pub output_tokens: Option<u32>,
}

#[derive(Deserialize)]
struct ModelsPage {
    data: Vec<ModelEntry>,
}

/// Servers use different names; each field is one of them.
#[derive(Deserialize)]
struct ModelEntry {
    id: String,
    display_name: Option<String>,
    name: Option<String>,
    max_input_tokens: Option<u64>,
    context_length: Option<u64>,
    max_model_len: Option<u64>,
    max_tokens: Option<u64>,
    max_output_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
}

/// Parses a list. Models with an invalid id are skipped.
pub(super) fn read(body: &[u8]) -> Result<Vec<ListedModel>, ModelError> {
    let page: ModelsPage =
        serde_json::from_slice(body).map_err(|_| ModelError::Malformed("its list of models is none".into()))?;
    let models = page.data.into_iter().filter_map(|model| {
        // A limit of 0 is not a real limit.
        let some = |limit: &u64| *limit > 0;
        let context_tokens = model.max_input_tokens.or(model.context_length).or(model.max_model_len);
        let output_tokens = model.max_tokens.or(model.max_output_tokens).or(model.max_completion_tokens);
        Some(ListedModel {
            id: model.id.parse().ok()?,
            title: model.display_name.or(model.name),
            context_tokens: context_tokens.filter(some),
            output_tokens: output_tokens.filter(some).and_then(|limit| u32::try_from(limit).ok()),
        })
    });
    Ok(models.collect())
}
