//! Pages and fragments: templates, and the handlers that fill them from the services.
//!
//! Every page works without scripts: forms are plain forms, tabs are addresses. htmx and a few modules
//! make pages faster and live. Depends on the services and the domain, not on engines,
//! git or SQL.

pub mod app;
pub mod assets;
pub mod browser;
pub mod chrome;
pub mod cost;
pub mod error_page;
pub mod extract;
pub mod format;
pub mod highlight;
pub mod home;
pub mod home_view;
#[cfg(test)]
mod live_page;
pub mod login;
pub mod made_with;
mod made_with_view;
pub mod markdown;
pub mod model_key;
mod model_key_view;
pub mod plain;
pub mod plain_pages;
pub mod preview_access;
pub mod reply;
#[cfg(test)]
mod samples;
pub mod settings;
#[cfg(test)]
mod tests;
pub mod ui;
pub mod upload;
mod visible;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::HeaderMap;
use axum::routing::{get, post};

use app::feed::Feeds;
use chrome::Chrome;
use tower_http::compression::CompressionLayer;

use crate::services::Services;

/// Maximum size of a form in bytes: the editor saves a file with one.
const FORM_MAX: usize = 4 * 1024 * 1024;

/// The state that handlers share.
#[derive(Clone)]
pub struct Web {
    services: Services,
    feeds: Feeds,
    new_tokens: settings::NewTokens,
}

impl Web {
    fn chrome(&self, headers: &HeaderMap, password: bool) -> Chrome {
        let (demo, model) = self.services.model();
        Chrome::new(headers, password, demo, model.to_string())
    }
}

/// All pages. The guard authenticates callers before this router.
pub fn router(services: Services) -> Router {
    let web = Web { feeds: Feeds::new(services.clone()), new_tokens: settings::NewTokens::default(), services };
    Router::new()
        .route("/", get(home::list))
        .route("/apps", post(home::create).layer(DefaultBodyLimit::max(upload::FORM_MAX)))
        .route("/suggest", get(home::suggest))
        .route("/suggest/name", get(home::suggest_name))
        .route("/login", get(login::page).post(login::login).layer(DefaultBodyLimit::max(login::FORM_MAX)))
        .route("/logout", post(login::logout))
        .route("/preview-access", get(preview_access::redirect_with_ticket))
        .route("/health", get(plain::health))
        .route("/health/model-test", post(plain::test_model))
        .route("/shortcuts", get(plain::shortcuts))
        .route("/settings", get(settings::page))
        .route("/settings/model-key", post(model_key::add))
        .route("/settings/model-key/remove", post(model_key::remove))
        .route("/settings/tokens", post(settings::make_token))
        .route("/settings/tokens/{id}/revoke", post(settings::revoke_token))
        .route("/settings/sessions/end", post(settings::end_all_sessions))
        .route("/settings/sessions/{id}/end", post(settings::end_session))
        .route("/settings/keys", post(plain::keys))
        .route("/theme", post(plain::theme))
        .route("/demo-note", post(plain::dismiss_demo_note))
        .route("/made-with/{name}", get(made_with::page))
        .route("/made-with/{name}/page", get(made_with::frame))
        .route("/jobs/{id}/cancel", post(app::actions::cancel))
        .merge(app::routes())
        .fallback(error_page::not_found)
        .method_not_allowed_fallback(error_page::method_not_allowed)
        .layer(DefaultBodyLimit::max(FORM_MAX))
        .layer(axum::middleware::from_fn_with_state(web.clone(), error_page::layer))
        // The layer does not compress event streams, so it does not buffer them.
        .layer(CompressionLayer::new().gzip(true).br(false))
        .route("/static/{hash}/{*name}", get(assets::serve))
        .route("/favicon.ico", get(assets::favicon))
        .with_state(web)
}
