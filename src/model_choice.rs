//! Who answers turns: the provider, the model of each app, and what the provider says of its models.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;

use crate::domain::{App, Effort, ModelId};
use crate::generation::{
    ListedModel, Listing, ModelClient, ModelError, ModelTable, Provider, RetryPolicy, Timeouts, WireFormat,
};
use crate::model_key::ModelKey;

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
    /// Where it is set.
    pub source: ModelSource,
    /// Where it answers.
    pub address: String,
    /// What models cost and how much they take.
    pub table: ModelTable,
    /// What the provider says of its models.
    pub listing: Listing,
    /// The last time that it was asked something.
    tested: Mutex<Option<Tested>>,
}

/// Where the provider and the key are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelSource {
    /// The environment, a flag or the settings file. Pages cannot change it.
    Settings,
    /// The key that was added in the page.
    AddedKey,
    /// There is no key.
    NotSet,
}

/// The last time that a model was asked something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tested {
    /// When.
    pub at: Timestamp,
    /// A turn; else a request that was only a test.
    pub by_turn: bool,
    /// Whether it answered.
    pub outcome: Result<(), ModelError>,
}

/// Who answers turns from now on. A turn keeps the model that it began with.
pub struct Models {
    now: RwLock<Arc<Model>>,
    /// Who answers where there is no key; none where the settings choose.
    demo: Option<Arc<Model>>,
    /// The keys that were added in the page, since this process began. They stay secret when they are replaced.
    added: Mutex<Vec<SecretString>>,
    /// One change or test at a time.
    pub changing: tokio::sync::Mutex<()>,
}

impl Models {
    /// The settings choose who answers.
    pub fn fixed(model: Model) -> Self {
        Self::of(Arc::new(model), None)
    }

    /// The demo model answers until there is a key.
    pub fn until_a_key_is_added(demo: Model) -> Self {
        let demo = Arc::new(demo);
        Self::of(demo.clone(), Some(demo))
    }

    fn of(now: Arc<Model>, demo: Option<Arc<Model>>) -> Self {
        Self { now: RwLock::new(now), demo, added: Mutex::default(), changing: tokio::sync::Mutex::default() }
    }

    /// Who answers now.
    pub fn now(&self) -> Arc<Model> {
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a key in the page has any effect.
    pub fn may_change(&self) -> bool {
        self.demo.is_some()
    }

    /// The model of this key, without a change of who answers.
    pub fn of_key(&self, key: &ModelKey) -> Result<Model, ModelError> {
        let provider = Provider { format: key.format, base_url: key.address.clone(), key: key.key.clone() };
        let client = ModelClient::new(provider, Timeouts::default(), RetryPolicy::default())?;
        let table = self.now().table.clone();
        Ok(Model::new(client, key.model.clone(), ModelSource::AddedKey, key.address.clone(), table))
    }

    /// The model of an added key answers from now on.
    pub fn use_added(&self, model: Model, key: SecretString) {
        self.added.lock().unwrap_or_else(PoisonError::into_inner).push(key);
        self.set(Arc::new(model));
    }

    /// The demo model answers again.
    pub fn use_demo(&self) {
        if let Some(demo) = &self.demo {
            self.set(demo.clone());
        }
    }

    /// The keys that were added in the page.
    pub fn added_keys(&self) -> Vec<SecretString> {
        self.added.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, model: Arc<Model>) {
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = model;
    }
}

impl Model {
    /// One that was asked nothing yet.
    pub fn new(client: ModelClient, id: ModelId, source: ModelSource, address: String, table: ModelTable) -> Self {
        let (listing, tested) = (Listing::default(), Mutex::default());
        Self { client, id, is_demo: false, source, address, table, listing, tested }
    }

    /// It is the demo model.
    #[must_use]
    pub fn demo(self) -> Self {
        Self { is_demo: true, ..self }
    }

    /// The last time that it was asked something.
    pub fn tested(&self) -> Option<Tested> {
        self.tested.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records that it was asked something.
    pub fn was_asked(&self, tested: Tested) {
        *self.tested.lock().unwrap_or_else(PoisonError::into_inner) = Some(tested);
    }

    /// Whom it belongs to, as in the table of models.
    pub fn provider_name(&self) -> &'static str {
        match self.client.format() {
            _ if self.is_demo => "demo",
            WireFormat::Anthropic => "anthropic",
            WireFormat::OpenAi => "openai",
        }
    }

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
