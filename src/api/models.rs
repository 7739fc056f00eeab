//! Models: the available ones, and the model of an app.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{Json, Path};
use crate::domain::{App, AppName, Effort, ModelChoice, ModelId};
use crate::error::AppResult;
use crate::services::Services;
use crate::services::models::ModelOffer;

/// A model that can be chosen.
#[derive(Serialize, ToSchema)]
#[schema(as = Model)]
pub struct ModelJson {
    /// The provider's id of the model.
    #[schema(value_type = String, example = "claude-opus-5-5")]
    id: ModelId,
    /// Its title.
    title: String,
    /// US dollars per million input tokens; null if the price is not known.
    input_usd: Option<f64>,
    /// US dollars per million output tokens; null if the price is not known.
    output_usd: Option<f64>,
    /// Context window in tokens; null if it is not known.
    context_tokens: Option<u64>,
}

impl From<ModelOffer> for ModelJson {
    fn from(offer: ModelOffer) -> Self {
        Self {
            id: offer.id,
            title: offer.title,
            input_usd: offer.price.map(|price| price.input_usd),
            output_usd: offer.price.map(|price| price.output_usd),
            context_tokens: offer.context_tokens,
        }
    }
}

/// The source of the list of models.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ModelSource {
    /// The provider.
    Provider,
    /// The table of known models, because the provider does not answer.
    Table,
}

/// The models that can be chosen.
#[derive(Serialize, ToSchema)]
pub struct ModelList {
    /// The models. Any other id of the provider can be chosen too.
    models: Vec<ModelJson>,
    /// The model of apps that choose none.
    #[schema(value_type = String)]
    default: ModelId,
    /// The source of the list.
    source: ModelSource,
    /// Always null: there is one page.
    next: Option<String>,
}

/// The model of an app.
#[derive(Serialize, ToSchema)]
#[schema(as = AppModel)]
pub struct AppModelJson {
    /// The app's choice; null: the builder's default.
    #[schema(value_type = Option<String>)]
    model: Option<ModelId>,
    /// The app's choice; null: the model's default.
    effort: Option<Effort>,
    /// The model that answers.
    #[schema(value_type = String)]
    answers: ModelId,
}

impl AppModelJson {
    fn new(services: &Services, app: App) -> Self {
        let (answers, _) = services.model_of(&app);
        Self { model: app.model.model, effort: app.model.effort, answers }
    }
}

/// Request to choose a model.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAppModel {
    /// Any model id of the provider; null or left out: the builder's default.
    #[schema(value_type = Option<String>, example = "claude-sonnet-5-5")]
    model: Option<ModelId>,
    /// How much the model thinks; null or left out: the model's default.
    effort: Option<Effort>,
}

/// List the available models.
///
/// The provider's list, cached for ten minutes; the table of known models if the provider does not answer.
#[utoipa::path(
    get, path = "/api/v1/models", tag = "Models",
    responses((status = 200, description = "Models.", body = ModelList)),
)]
pub async fn list(State(services): State<Services>) -> axum::Json<ModelList> {
    let offers = services.models().await;
    let (_, default) = services.model();
    axum::Json(ModelList {
        models: offers.models.into_iter().map(ModelJson::from).collect(),
        default,
        source: if offers.is_from_provider { ModelSource::Provider } else { ModelSource::Table },
        next: None,
    })
}

/// Get the model of an app.
#[utoipa::path(
    get, path = "/api/v1/apps/{app}/model", tag = "Models", params(("app" = String, Path, description = "The app's name.")),
    responses((status = 200, description = "The model.", body = AppModelJson)),
)]
pub async fn read(State(services): State<Services>, Path(name): Path<AppName>) -> AppResult<axum::Json<AppModelJson>> {
    let app = services.app(&name).await?;
    Ok(axum::Json(AppModelJson::new(&services, app)))
}

/// Choose the model of an app.
///
/// The choice applies from the next turn on. The new model does not get the thinking of the model before.
#[utoipa::path(
    put, path = "/api/v1/apps/{app}/model", tag = "Models", params(("app" = String, Path, description = "The app's name.")),
    request_body = NewAppModel,
    responses((status = 200, description = "The model.", body = AppModelJson)),
)]
pub async fn choose(
    State(services): State<Services>,
    Path(name): Path<AppName>,
    Json(new): Json<NewAppModel>,
) -> AppResult<axum::Json<AppModelJson>> {
    let app = services.choose_model(&name, ModelChoice { model: new.model, effort: new.effort }).await?;
    Ok(axum::Json(AppModelJson::new(&services, app)))
}
