//! A cache of the provider's list of models, with one request at a time and a timeout.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::client::ModelClient;
use super::listed::ListedModel;

/// How long a list is cached, and how long no request is sent after a failure.
const LISTED_FOR: Duration = Duration::from_mins(10);
const FAILED_FOR: Duration = Duration::from_mins(1);

/// The cached list. Concurrent callers wait for the same request.
#[derive(Default)]
pub struct Listing(Mutex<Option<Heard>>);

struct Heard {
    until: Instant,
    models: Option<Arc<Vec<ListedModel>>>,
}

impl Listing {
    /// The provider's list, if it answers in time.
    pub async fn of(&self, client: &ModelClient, patience: Duration) -> Option<Arc<Vec<ListedModel>>> {
        let mut heard = self.0.lock().await;
        if let Some(heard) = heard.as_ref().filter(|heard| heard.until > Instant::now()) {
            return heard.models.clone();
        }
        let models = match client.list_models(patience).await {
            // An empty list counts as no answer.
            Ok(models) => Some(Arc::new(models)).filter(|models| !models.is_empty()),
            Err(error) => {
                tracing::info!(%error, "failed to list the provider's models; using the built-in table");
                None
            }
        };
        let until = Instant::now() + if models.is_some() { LISTED_FOR } else { FAILED_FOR };
        *heard = Some(Heard { until, models: models.clone() });
        models
    }
}
