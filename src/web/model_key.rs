//! The form in the settings that adds, replaces or removes the model's key.

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};
use secrecy::SecretString;
use serde::Deserialize;

use super::Web;
use super::chrome::Chrome;
use super::extract::Form;
use super::model_key_view::{KeyShown, Typed};
use super::reply;
use super::settings::{self, Shown};
use crate::domain::Principal;
use crate::error::{AppError, AppResult, ErrorKind};
use crate::generation::WireFormat;
use crate::services::model_key::NewModelKey;

/// The form's fields.
#[derive(Deserialize)]
pub struct KeyForm {
    provider: ProviderField,
    #[serde(default)]
    key: String,
    #[serde(default)]
    address: String,
    #[serde(default)]
    model: String,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ProviderField {
    Anthropic,
    OpenAi,
}

/// `POST /settings/model-key`: tests the key and keeps it.
pub async fn add(
    State(web): State<Web>,
    chrome: Chrome,
    Extension(principal): Extension<Principal>,
    Form(form): Form<KeyForm>,
) -> AppResult<Response> {
    let is_openai = form.provider == ProviderField::OpenAi;
    let typed = Typed { is_openai, address: form.address.clone(), model: form.model.clone() };
    let format = if is_openai { WireFormat::OpenAi } else { WireFormat::Anthropic };
    let new = NewModelKey { format, address: form.address, key: SecretString::from(form.key), model: form.model };
    match web.services.add_model_key(&principal, new).await {
        Ok(()) => Ok(Redirect::to("/settings?key=added#model").into_response()),
        // The page shows what was typed, except the key, and what is wrong with it.
        Err(error) if error.kind == ErrorKind::Invalid => {
            let AppError { kind, detail, hint, .. } = error;
            let problem = Some(hint.map_or(detail.clone(), |hint| format!("{detail} {hint}")));
            let shown = Shown { key: KeyShown { problem, typed, added: false }, ..Shown::default() };
            let page = settings::filled(&web.services, chrome, &principal, shown).await?;
            let mut response = (kind.status(), reply::page(&page)?).into_response();
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            Ok(response)
        }
        Err(error) => Err(error),
    }
}

/// `POST /settings/model-key/remove`
pub async fn remove(State(web): State<Web>, Extension(principal): Extension<Principal>) -> AppResult<Response> {
    web.services.remove_model_key(&principal).await?;
    Ok(Redirect::to("/settings#model").into_response())
}
