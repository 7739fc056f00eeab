//! A provider's list of its models, in the words that different servers have for it.

use serde::Deserialize;

use super::error::ModelError;
use crate::domain::ModelId;

/// A model as its provider lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedModel {
    /// Its id.
    pub id: ModelId,
    /// What people call it, if the provider says so.
    pub title: Option<String>,
    /// Tokens of a whole conversation, if the provider says so.
    pub context_tokens: Option<u64>,
    /// Tokens of one answer, if the provider says so.
    pub output_tokens: Option<u32>,
}

#[derive(Deserialize)]
struct ModelsPage {
    data: Vec<ModelEntry>,
}

/// Servers name things differently; each field is one of their names.
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

/// Reads such a list. A model that has an unusual name does not hide the others.
pub(super) fn read(body: &[u8]) -> Result<Vec<ListedModel>, ModelError> {
    let page: ModelsPage =
        serde_json::from_slice(body).map_err(|_| ModelError::Malformed("its list of models is none".into()))?;
    let models = page.data.into_iter().filter_map(|model| {
        // None of either is no limit that anybody could mean.
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
