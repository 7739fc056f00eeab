//! Who answers turns: the provider, the model of each app, and what the provider says of its models.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::{App, Effort, ModelId};
use crate::generation::{ListedModel, Listing, ModelClient, ModelTable};

/// How long a provider may take to list its models, for somebody who waits for a page; and for a turn, whose
/// stop has to be heard within a second.
const PAGE_PATIENCE: Duration = Duration::from_millis(2500);
const TURN_PATIENCE: Duration = Duration::from_millis(800);

/// Who answers turns.
pub struct Model {
    /// Speaks to it.
    pub client: ModelClient,
    /// The id of the one that answers where an app names none.
    pub id: ModelId,
    /// It is the demo model, and every page says so.
    pub is_demo: bool,
    /// What models cost and how much they take.
    pub table: ModelTable,
    /// What the provider says of its models.
    pub listing: Listing,
}

impl Model {
    /// The provider's own list of models, where it answers. There is but one demo model.
    pub async fn listed(&self) -> Option<Arc<Vec<ListedModel>>> {
        self.listed_within(PAGE_PATIENCE).await
    }

    async fn listed_within(&self, patience: Duration) -> Option<Arc<Vec<ListedModel>>> {
        if self.is_demo { None } else { self.listing.of(&self.client, patience).await }
    }

    /// What is known of models, with what the provider says of this one's limits.
    pub async fn table_for(&self, id: &ModelId) -> ModelTable {
        let listed = self.listed_within(TURN_PATIENCE).await;
        let listed = listed.as_ref().and_then(|models| models.iter().find(|model| model.id == *id));
        listed.map_or_else(|| self.table.clone(), |listed| self.table.with_provider_limits(listed))
    }

    /// Who answers in an app, and how deep it thinks. There is but one demo model.
    pub fn of(&self, app: &App) -> (ModelId, Option<Effort>) {
        if self.is_demo {
            return (self.id.clone(), None);
        }
        (app.model.model.clone().unwrap_or_else(|| self.id.clone()), app.model.effort)
    }
}
