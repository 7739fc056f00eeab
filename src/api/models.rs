//! Models: which there are, which one answers in an app.

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
    /// What the provider calls it.
    #[schema(value_type = String, example = "claude-opus-5-5")]
    id: ModelId,
    /// What people call it.
    title: String,
    /// US dollars per million tokens read; null when its price is not known.
    input_usd: Option<f64>,
    /// US dollars per million tokens written; null when its price is not known.
    output_usd: Option<f64>,
    /// Tokens of a whole conversation; null when that is not known.
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

/// Who says which models there are.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ModelSource {
    /// The provider.
    Provider,
    /// The table of known models, since the provider does not answer.
    Table,
}

/// The models that can be chosen.
#[derive(Serialize, ToSchema)]
pub struct ModelList {
    /// Any other id that the provider knows can be chosen as well.
    models: Vec<ModelJson>,
    /// The one that answers in apps that choose none.
    #[schema(value_type = String)]
    default: ModelId,
    /// Who says so.
    source: ModelSource,
    /// Null: there is one page.
    next: Option<String>,
}

/// Which model answers in an app.
#[derive(Serialize, ToSchema)]
#[schema(as = AppModel)]
pub struct AppModelJson {
    /// What was chosen; null: the builder's default.
    #[schema(value_type = Option<String>)]
    model: Option<ModelId>,
    /// What was chosen; null: the model's own measure.
    effort: Option<Effort>,
    /// The one that answers.
    #[schema(value_type = String)]
    answers: ModelId,
}

impl AppModelJson {
    fn new(services: &Services, app: App) -> Self {
        let (answers, _) = services.model_of(&app);
        Self { model: app.model.model, effort: app.model.effort, answers }
    }
}

/// Which model is to answer.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAppModel {
    /// Any id that the provider knows; null or left out: the builder's default.
    #[schema(value_type = Option<String>, example = "claude-sonnet-5-5")]
    model: Option<ModelId>,
    /// How deep it thinks; null or left out: the model's own measure.
    effort: Option<Effort>,
}

/// List the models that can be chosen.
///
/// The provider's own list where it answers, kept for ten minutes; else the known ones.
#[utoipa::path(
    get, path = "/api/v1/models", tag = "Models",
    responses((status = 200, description = "Models.", body = ModelList)),
)]
pub async fn list(State(services): State<Services>) -> axum::Json<ModelList> {
    let offers = services.models().await;
    let (_, default) = services.model();
    axum::Json(ModelList {
        models: offers.models.into_iter().map(ModelJson::from).collect(),
        default: default.clone(),
        source: if offers.is_from_provider { ModelSource::Provider } else { ModelSource::Table },
        next: None,
    })
}

/// Look which model answers in an app.
#[utoipa::path(
    get, path = "/api/v1/apps/{app}/model", tag = "Models", params(("app" = String, Path, description = "The app's name.")),
    responses((status = 200, description = "The model.", body = AppModelJson)),
)]
pub async fn read(State(services): State<Services>, Path(name): Path<AppName>) -> AppResult<axum::Json<AppModelJson>> {
    let app = services.app(&name).await?;
    Ok(axum::Json(AppModelJson::new(&services, app)))
}

/// Choose the model that answers in an app.
///
/// It holds from the next turn on. What the model before it thought is not shown to the new one.
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
