//! The form in an app's settings that chooses its model.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

use crate::domain::{App, AppName, Effort, ModelChoice, ModelId};
use crate::error::AppResult;
use crate::generation::models::Price;
use crate::services::Services;
use crate::services::models::ModelOffers;
use crate::web::Web;
use crate::web::extract::{Form, Path};
use crate::web::format;
use crate::web::home::field;
use crate::web::reply::{self, Caller};

/// The form.
#[derive(Template)]
#[template(path = "app/model.html")]
pub struct ModelForm<'a> {
    app: &'a AppName,
    /// The demo model answers, regardless of the choice.
    is_demo: bool,
    chosen: &'a str,
    default: &'a str,
    offers: Vec<OfferView>,
    is_from_provider: bool,
    efforts: Vec<EffortView>,
    /// The choice was just saved.
    saved: bool,
}

struct OfferView {
    id: String,
    about: String,
}

struct EffortView {
    word: &'static str,
    title: &'static str,
    chosen: bool,
}

impl<'a> ModelForm<'a> {
    /// `default`: the builder's default model.
    pub fn new(app: &'a App, is_demo: bool, default: &'a str, offers: &ModelOffers) -> Self {
        let price = |price: Price| {
            if price.input_usd <= 0.0 && price.output_usd <= 0.0 {
                return "free".to_owned();
            }
            format!("{} in, {} out per million tokens", format::money(price.input_usd), format::money(price.output_usd))
        };
        let view = |effort: Effort| EffortView {
            word: effort.as_str(),
            title: match effort {
                Effort::Low => "Low",
                Effort::Medium => "Medium",
                Effort::High => "High",
                Effort::Xhigh => "Very high",
                Effort::Max => "Most",
            },
            chosen: app.model.effort == Some(effort),
        };
        Self {
            app: &app.name,
            is_demo,
            chosen: app.model.model.as_ref().map_or("", ModelId::as_str),
            default,
            offers: offers
                .models
                .iter()
                .map(|offer| {
                    let price = offer.price.map(price).unwrap_or_default();
                    let title = if offer.title == offer.id.as_str() { String::new() } else { offer.title.clone() };
                    let about = [title, price].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>();
                    OfferView { id: offer.id.to_string(), about: about.join(" · ") }
                })
                .collect(),
            is_from_provider: offers.is_from_provider,
            efforts: Effort::ALL.into_iter().map(view).collect(),
            saved: false,
        }
    }
}

/// The rendered form; `saved`: it was just submitted.
pub async fn form(services: &Services, app: &App, saved: bool) -> AppResult<String> {
    let (is_demo, default) = services.model();
    reply::render(&ModelForm { saved, ..ModelForm::new(app, is_demo, default.as_str(), &services.models().await) })
}

/// The form's fields.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
pub struct ChooseForm {
    model: String,
    effort: String,
}

/// `POST /apps/{app}/model`
pub async fn choose(
    State(web): State<Web>,
    caller: Caller,
    Path(name): Path<AppName>,
    Form(form): Form<ChooseForm>,
) -> AppResult<Response> {
    let choice = ModelChoice {
        model: if form.model.trim().is_empty() { None } else { Some(field(&form.model)?) },
        effort: if form.effort.is_empty() { None } else { Some(field(&form.effort)?) },
    };
    let app = web.services.choose_model(&name, choice).await?;
    if caller.is_htmx() {
        return Ok(reply::html(self::form(&web.services, &app, true).await?));
    }
    Ok(reply::done(caller, &format!("/apps/{name}/settings#model")))
}
